import Bounded
import MQTTWire

/// Out to one session: its queue, what is in flight, redelivery, retained messages by cursor (§4.3, §4.4, §4.9).
extension Broker {
  private enum Sending: UInt8 { case sent, noRoom, tooLarge }

  // MARK: Queue

  /// Puts a stored message into a session's queue, or not when that is full (`limits.queueFull`). The room for it
  /// was reserved by `route` or `replay`.
  mutating func enqueue(
    _ receiver: Receiver, _ message: Handle<Message>, qos: QoS, retain: Bool
  ) {
    if isQueueFull(receiver.session) {
      counters.queuedDropped &+= 1
      sessions[receiver.session].countDropped()
      guard limits.queueFull == .dropOldest else { return }
      // What is sent already is never given up.
      free(popFirst(&sessions.address(receiver.session).pointee.queued))
    }
    var first: UInt32 = 0
    var more = Handle<IdentifierCell>.null
    var subscription = receiver.matched
    while !subscription.isNull {
      let identifier = subscriptions[subscription].identifier
      if identifier != 0, first == 0 {
        first = identifier
      } else if identifier != 0, let cell = identifierCells.lend(IdentifierCell(identifier: identifier, next: more)) {
        more = cell
      }
      subscription = subscriptions[subscription].nextMatched
    }
    let entry = Delivery(message: message, qos: qos, retain: retain, identifier: first, moreIdentifiers: more)
    let delivery = deliveries.lend(entry)!  // reserved
    messages[message].owners += 1
    append(delivery, to: &sessions.address(receiver.session).pointee.queued)
  }

  func isQueueFull(_ session: Handle<Session>) -> Bool { sessions[session].queued.count >= limits.queuedMax }

  /// Sends what may be sent: repeats first, then the queue while the window is open, then retained messages.
  mutating func pump(_ session: Handle<Session>, at now: Instant) {
    let id = sessions[session].connection
    guard !id.isNull, connections[id].state == .connected else { return }
    if !sessions[session].redelivery.isNull {
      guard redeliver(session, on: id, at: now) else { return }
    }
    if sessions[session].queued.count > 0 {
      guard sendQueued(session, on: id, at: now) else { return }
    }
    if sessions[session].replayCount > 0 { replay(session, on: id, at: now) }
  }

  /// Others may have made room: each that waits for it has one try.
  mutating func pumpStarved(at now: Instant) {
    var remaining = starved.count
    while remaining > 0, let index = starved.pop() {
      remaining -= 1
      guard let id = connections.handle(at: index), connections[id].state == .connected else { continue }
      pump(connections[id].session, at: now)
    }
  }

  /// There is no room now. Who has bytes under way tries again when they are `sent`.
  private mutating func waitForRoom(_ id: ConnectionID) -> Bool {
    if connections[id].outbox.isEmpty { starved.push(id.index) }
    return false
  }

  /// `false`: the outbox has no room.
  private mutating func sendQueued(_ session: Handle<Session>, on id: ConnectionID, at now: Instant) -> Bool {
    while !sessions[session].queued.head.isNull, sessions[session].inflight.count < sessions[session].window {
      let delivery = sessions[session].queued.head
      if hasExpired(deliveries[delivery].message, at: now) {  // §3.3.2-5
        free(popFirst(&sessions.address(session).pointee.queued))
        counters.expired &+= 1
        continue
      }
      deliveries[delivery].packetID = unusedPacketID(session)
      switch send(delivery, on: id, at: now) {
      case .noRoom:
        return waitForRoom(id)
      case .tooLarge:
        free(popFirst(&sessions.address(session).pointee.queued))
        counters.oversizeDropped &+= 1
      case .sent:
        _ = popFirst(&sessions.address(session).pointee.queued)
        deliveries[delivery].isSentHere = true
        deliveries[delivery].state = deliveries[delivery].qos == .atLeastOnce ? .awaitingPubAck : .awaitingPubRec
        append(delivery, to: &sessions.address(session).pointee.inflight)
      }
    }
    return true
  }

  private func unusedPacketID(_ session: Handle<Session>) -> UInt16 {
    while sessions[session].unusedPacketIDs == 0 { lookForUnusedPacketIDs(session) }
    sessions[session].unusedPacketIDs -= 1
    sessions[session].lastPacketID = sessions[session].lastPacketID % 65_535 + 1
    return sessions[session].lastPacketID
  }

  /// Counts the ids from the last one given up to the next one in flight, and steps over that when it is the very
  /// next. Fewer than 65,535 are in flight, so it ends.
  private func lookForUnusedPacketIDs(_ session: Handle<Session>) {
    let last = Int(sessions[session].lastPacketID)
    var unused = 65_535
    var delivery = sessions[session].inflight.head
    while !delivery.isNull {
      let distance = (Int(deliveries[delivery].packetID) - last + 65_534) % 65_535  // 0: the very next
      unused = min(unused, distance)
      delivery = deliveries[delivery].next
    }
    sessions[session].unusedPacketIDs = UInt16(unused)
    if unused == 0 { sessions[session].lastPacketID = sessions[session].lastPacketID % 65_535 + 1 }
  }

  // MARK: In flight

  func findInflight(_ session: Handle<Session>, _ packetID: UInt16) -> Handle<Delivery>? {
    var delivery = sessions[session].inflight.head
    while !delivery.isNull {
      if deliveries[delivery].packetID == packetID { return delivery }
      delivery = deliveries[delivery].next
    }
    return nil
  }

  mutating func removeInflight(_ session: Handle<Session>, _ delivery: Handle<Delivery>) {
    let next = deliveries[delivery].next
    if sessions[session].redelivery == delivery { sessions[session].redelivery = next }
    if sessions[session].inflight.head == delivery {
      sessions[session].inflight.head = next
      if next.isNull { sessions[session].inflight.tail = .null }
    } else {
      var before = sessions[session].inflight.head
      while deliveries[before].next != delivery { before = deliveries[before].next }
      deliveries[before].next = next
      if next.isNull { sessions[session].inflight.tail = before }
    }
    sessions[session].inflight.count -= 1
    free(delivery)
  }

  /// A client is back: everything in flight is to be sent again, in order (§4.4).
  mutating func beginRedelivery(_ session: Handle<Session>) {
    sessions[session].redelivery = sessions[session].inflight.head
    var delivery = sessions[session].inflight.head
    while !delivery.isNull {
      deliveries[delivery].isSentHere = false
      delivery = deliveries[delivery].next
    }
  }

  /// `false`: the outbox or the window is full, nothing newer may be sent before.
  private mutating func redeliver(_ session: Handle<Session>, on id: ConnectionID, at now: Instant) -> Bool {
    while !sessions[session].redelivery.isNull {
      let delivery = sessions[session].redelivery
      if deliveries[delivery].state == .awaitingPubComp {
        guard sendRelease(deliveries[delivery].packetID, on: id) else { return waitForRoom(id) }
      } else {
        // Ids that are taken but not sent on this connection do not count against its Receive Maximum.
        guard sentHereCount(session) < sessions[session].window else { return false }
        deliveries[delivery].isDuplicate = true
        switch send(delivery, on: id, at: now) {
        case .noRoom:
          return waitForRoom(id)
        case .tooLarge:  // its Maximum Packet Size is smaller than before
          counters.oversizeDropped &+= 1
          removeInflight(session, delivery)
          continue
        case .sent:
          deliveries[delivery].isSentHere = true
        }
      }
      sessions[session].redelivery = deliveries[delivery].next
    }
    return true
  }

  private func sentHereCount(_ session: Handle<Session>) -> Int {
    var count = 0
    var delivery = sessions[session].inflight.head
    while !delivery.isNull {
      if deliveries[delivery].isSentHere { count += 1 }
      delivery = deliveries[delivery].next
    }
    return count
  }

  private mutating func sendRelease(_ packetID: UInt16, on id: ConnectionID) -> Bool {
    var writer = headScratch.writer()
    Ack(packetID: packetID, reason: .success).encode(type: .pubRel, into: &writer, version: connections[id].version)
    guard outboxes.append(writer.written, to: &connections.address(id).pointee.outbox, use: .data) else { return false }
    counters.packetsSent &+= 1
    markReady(id)
    return true
  }

  // MARK: Encoding

  private mutating func send(_ delivery: Handle<Delivery>, on id: ConnectionID, at now: Instant) -> Sending {
    let entry = deliveries[delivery]
    var head = head(of: entry.message, qos: entry.qos, retain: entry.retain, on: id, at: now)
    head.isDuplicate = entry.isDuplicate
    head.packetID = entry.packetID
    if head.version == .v5 { head.identifiersByteCount = identifiersByteCount(entry) }
    return send(head, entry.message, on: id, identifier: entry.identifier, more: entry.moreIdentifiers)
  }

  private func head(
    of message: Handle<Message>, qos: QoS, retain: Bool, on id: ConnectionID, at now: Instant
  ) -> PublishHead {
    let version = connections[id].version
    let entry = messages[message]
    var head = PublishHead(
      version: version, qos: qos, retain: retain,
      forwardedByteCount: version == .v5 ? Int(entry.propertyByteCount) : 0, payloadByteCount: entry.payloadByteCount)
    head.expirySeconds = remainingSeconds(entry.expiresAt, at: now)
    return head
  }

  /// Appends a stored message to an outbox, whole or not at all.
  private mutating func send(
    _ head: PublishHead, _ message: Handle<Message>, on id: ConnectionID, identifier: UInt32,
    more: Handle<IdentifierCell>
  ) -> Sending {
    let entry = messages[message]
    let topicByteCount = Int(entry.topicByteCount)
    var topicWriter = topicScratch.writer()
    bodies.copy(entry.body, from: 0, byteCount: topicByteCount, into: &topicWriter)
    var head = head
    let topic = useAlias(for: topicWriter.written, in: &head, on: id)
    guard head.packetByteCount(topicByteCount: topic.count) <= Int(connections[id].packetBytesMax) else {
      return .tooLarge
    }
    var writer = headScratch.writer()
    head.write(topic: topic, into: &writer)
    if head.identifiersByteCount > 0 { writeIdentifiers(identifier, more, into: &writer) }

    let bodyStart = head.version == .v5 ? topicByteCount : entry.payloadStart
    let bodyByteCount = entry.body.byteCount - bodyStart
    let byReference = bodyByteCount >= limits.referenceBytesMin
    let copied = writer.count + (byReference ? 0 : bodyByteCount)
    guard outboxes.hasRoom(connections[id].outbox, for: copied, references: byReference ? 1 : 0, use: .data) else {
      return .noRoom
    }
    var isAppended = outboxes.append(writer.written, to: &connections.address(id).pointee.outbox, use: .data)
    if byReference {
      isAppended =
        outboxes.append(entry.body, from: bodyStart, to: &connections.address(id).pointee.outbox, bodies: &bodies)
        && isAppended
    } else {
      var cursor = bodies.cursor(entry.body, at: bodyStart)
      while cursor.remaining > 0 {
        let part = bodies.read(&cursor, most: .max)
        isAppended = outboxes.append(part, to: &connections.address(id).pointee.outbox, use: .data) && isAppended
      }
    }
    precondition(isAppended)  // the room was seen above
    keepAlias(of: topic, head, on: id)
    countSentPublish(id)
    return .sent
  }

  private func identifiersByteCount(_ delivery: Delivery) -> Int {
    guard delivery.identifier != 0 else { return 0 }
    var byteCount = PublishHead.identifierByteCount(delivery.identifier)
    var cell = delivery.moreIdentifiers
    while !cell.isNull {
      byteCount += PublishHead.identifierByteCount(identifierCells[cell].identifier)
      cell = identifierCells[cell].next
    }
    return byteCount
  }

  private func writeIdentifiers(_ first: UInt32, _ more: Handle<IdentifierCell>, into writer: inout ByteWriter) {
    PublishHead.writeIdentifier(first, into: &writer)
    var cell = more
    while !cell.isNull {
      PublishHead.writeIdentifier(identifierCells[cell].identifier, into: &writer)
      cell = identifierCells[cell].next
    }
  }

  // MARK: Retained messages

  /// From now on `pump` sends the retained messages that match this subscription (§3.8.4).
  mutating func beginReplay(_ subscription: Handle<Subscription>) {
    if subscriptions[subscription].replaySlot == Subscription.replayDone {
      sessions[subscriptions[subscription].session].replayCount += 1
    }
    subscriptions[subscription].replaySlot = 0
    subscriptions[subscription].replayAge = retainedAge
  }

  mutating func endReplay(_ subscription: Handle<Subscription>) {
    guard subscriptions[subscription].replaySlot != Subscription.replayDone else { return }
    subscriptions[subscription].replaySlot = Subscription.replayDone
    sessions[subscriptions[subscription].session].replayCount -= 1
  }

  /// Goes on where the last call stopped: constant memory, whatever the number of retained messages.
  private mutating func replay(_ session: Handle<Session>, on id: ConnectionID, at now: Instant) {
    var subscription = sessions[session].subscriptions
    while sessions[session].replayCount > 0, !subscription.isNull {
      if subscriptions[subscription].replaySlot != Subscription.replayDone {
        guard replay(subscription, session, on: id, at: now) else { return }
        endReplay(subscription)
      }
      subscription = subscriptions[subscription].nextInSession
    }
  }

  /// `false`: there is no room now.
  private mutating func replay(
    _ subscription: Handle<Subscription>, _ session: Handle<Session>, on id: ConnectionID, at now: Instant
  ) -> Bool {
    let node = subscriptions[subscription].node
    var writer = filterScratch.writer()
    topics.write(node, into: &writer)
    let filterByteCount = writer.count
    let filter = writer.written
    guard filter.contains(UInt8(ascii: "+")) || filter.contains(UInt8(ascii: "#")) else {
      let slot = topics[node].retained
      guard !slot.isNull, retained[slot].age <= subscriptions[subscription].replayAge else { return true }
      return replay(slot, subscription, session, on: id, at: now)
    }
    while Int(subscriptions[subscription].replaySlot) < limits.retainedMax {
      let index = Int(subscriptions[subscription].replaySlot)
      if let slot = retained.handle(at: index), retained[slot].age <= subscriptions[subscription].replayAge {
        writer.truncate(to: filterByteCount)
        let message = messages[retained[slot].message]
        bodies.copy(message.body, from: 0, byteCount: Int(message.topicByteCount), into: &writer)
        if Topic.matches(filter: filter, name: writer.written.from(filterByteCount)) {
          guard replay(slot, subscription, session, on: id, at: now) else { return false }
        }
      }
      subscriptions[subscription].replaySlot += 1
    }
    return true
  }

  private mutating func replay(
    _ slot: Handle<Retained>, _ subscription: Handle<Subscription>, _ session: Handle<Session>, on id: ConnectionID,
    at now: Instant
  ) -> Bool {
    let message = retained[slot].message
    guard !hasExpired(message, at: now) else {
      removeRetained(slot)
      counters.expired &+= 1
      return true
    }
    let entry = subscriptions[subscription]
    let qos = min(entry.options.qos, messages[message].qos)
    if qos != .atMostOnce {
      // One at a time through the queue: the next follows when this one has left it.
      guard sessions[session].queued.count == 0, sessions[session].inflight.count < sessions[session].window else {
        return false
      }
      guard deliveries.hasRoom else { return waitForRoom(id) }
      subscriptions[subscription].nextMatched = .null
      let receiver = Receiver(
        session: session, matched: subscription, qos: qos, retainAsPublished: true,
        hasIdentifier: entry.identifier != 0)
      enqueue(receiver, message, qos: qos, retain: true)
      _ = sendQueued(session, on: id, at: now)  // queued is as good as sent
      return true
    }
    var head = head(of: message, qos: .atMostOnce, retain: true, on: id, at: now)
    if head.version == .v5, entry.identifier != 0 {
      head.identifiersByteCount = PublishHead.identifierByteCount(entry.identifier)
    }
    let outcome = send(head, message, on: id, identifier: entry.identifier, more: .null)
    if outcome == .tooLarge { counters.oversizeDropped &+= 1 }
    return outcome == .noRoom ? waitForRoom(id) : true
  }

  // MARK: Lists

  private mutating func append(_ delivery: Handle<Delivery>, to list: inout DeliveryList) {
    deliveries[delivery].next = .null
    if list.tail.isNull { list.head = delivery } else { deliveries[list.tail].next = delivery }
    list.tail = delivery
    list.count += 1
  }

  private mutating func popFirst(_ list: inout DeliveryList) -> Handle<Delivery> {
    let first = list.head
    list.head = deliveries[first].next
    if list.head.isNull { list.tail = .null }
    list.count -= 1
    deliveries[first].next = .null
    return first
  }

  private mutating func free(_ delivery: Handle<Delivery>) {
    if !deliveries[delivery].message.isNull { release(deliveries[delivery].message) }
    var cell = deliveries[delivery].moreIdentifiers
    while !cell.isNull {
      let next = identifierCells[cell].next
      identifierCells.giveBack(cell)
      cell = next
    }
    deliveries.giveBack(delivery)
  }

  /// Gives up everything that waits or is in flight: the session ends.
  mutating func dropDeliveries(_ session: Handle<Session>) {
    while sessions[session].queued.count > 0 { free(popFirst(&sessions.address(session).pointee.queued)) }
    while sessions[session].inflight.count > 0 { free(popFirst(&sessions.address(session).pointee.inflight)) }
    sessions[session].redelivery = .null
  }
}
