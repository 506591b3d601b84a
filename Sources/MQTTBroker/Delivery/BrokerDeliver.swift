import Bounded
import MQTTWire

/// Out to one session: its queue, what is in flight, redelivery (§4.3, §4.4, §4.9).
extension Broker {
  enum Sending: UInt8 { case sent, noRoom, tooLarge }

  // MARK: Queue

  /// Puts a stored message into a session's queue, or not when that is full (`limits.queueFull`). Room for it was made by
  /// `reserve`, or seen by `replay`; a session for which there is none loses its own oldest message, or this one.
  mutating func enqueue(
    _ receiver: Receiver, _ message: Handle<Message>, qos: QoS, retain: Bool
  ) {
    if isQueueFull(receiver.session) {
      counters.queuedDropped &+= 1
      sessions.countDropped(receiver.session)
      limitHit(.queued, by: receiver.session, .lostMessage)
      guard limits.queueFull == .dropOldest else { return }
      // What is sent already is never given up.
      deliveries.dropQueued(receiver.session, sessions, &messages)
    }
    let cellCount = receiver.hasIdentifier ? subscriptions.extraIdentifierCount(receiver) : 0
    if !deliveries.hasRoom(for: 1, identifierCells: cellCount), !makeOwnRoom(receiver, cellCount) { return }
    deliveries.queue(message, for: receiver, qos: qos, retain: retain, subscriptions, sessions, &messages)
    holders.grew(receiver.session, sessions.address(receiver.session))
    let expiresAt = messages[message].expiresAt
    if expiresAt != .never, let due = deliveries.sweep.expect(expiresAt) { timers.arm(queueSweepTimer, at: due) }
  }

  /// No room could be made: the session loses its own oldest messages, as many as make room for the new one, or the new
  /// one. `false`: the new one.
  private mutating func makeOwnRoom(_ receiver: Receiver, _ cellCount: Int) -> Bool {
    let session = receiver.session
    deliveries.countRefused()
    limitHit(deliveries.hasRoom ? .subscriptionIDCells : .deliveries, by: session, .lostMessage)
    let missing = cellCount - deliveries.identifiers.gauge.free
    let isEnough =
      missing > 0
      ? deliveries.cellsToGiveUp(session, sessions, withInflight: false) >= missing
      : sessions[session].outgoing.queued.count > 0
    repeat {
      counters.queuedDropped &+= 1
      sessions.countDropped(session)
      guard isEnough, deliveries.dropOldestQueued(session, sessions, &messages, withCells: missing > 0) else {
        return false
      }
    } while !deliveries.hasRoom(for: 1, identifierCells: cellCount)
    return true
  }

  func isQueueFull(_ session: Handle<Session>) -> Bool { sessions[session].outgoing.queued.count >= limits.queuedMax }

  /// Sends what may be sent: repeats first, then the queue while the window is open, then retained messages.
  mutating func pump(_ session: Handle<Session>, at now: Instant) {
    let id = sessions[session].connection
    guard !id.isNull, connections[id].state == .connected else { return }
    if !sessions[session].outgoing.redelivery.isNull {
      guard redeliver(session, on: id, at: now) else { return }
    }
    if sessions[session].outgoing.queued.count > 0 {
      guard sendQueued(session, on: id, at: now) else { return }
    }
    if sessions[session].subscriptions.replayCount > 0 { replay(session, on: id, at: now) }
  }

  /// Others may have made room: each that waits for it has one try.
  mutating func pumpStarved(at now: Instant) {
    var remaining = outboxes.starvedCount
    while remaining > 0, let index = outboxes.nextStarved() {
      remaining -= 1
      guard let id = connections.handle(at: index), connections[id].state == .connected else { continue }
      pump(connections[id].session, at: now)
    }
  }

  /// There is no room now. Who has bytes under way tries again when they are `sent`.
  mutating func waitForRoom(_ id: ConnectionID) -> Bool {
    outboxes.waitForRoom(id, connections[id].outbox)
    return false
  }

  /// `false`: the outbox has no room.
  mutating func sendQueued(_ session: Handle<Session>, on id: ConnectionID, at now: Instant) -> Bool {
    while true {
      let entry = sessions.address(session)
      let delivery = entry.pointee.outgoing.queued.head
      guard !delivery.isNull, entry.pointee.outgoing.inflight.count < entry.pointee.window else { return true }
      if messages.hasExpired(deliveries[delivery].message, at: now) {  // §3.3.2-5
        deliveries.dropQueued(session, sessions, &messages)
        counters.expired &+= 1
        continue
      }
      guard mayRead(session, deliveries[delivery].message) else {
        deliveries.dropQueued(session, sessions, &messages)
        continue
      }
      deliveries.assignPacketID(session, sessions)
      switch send(delivery, on: id, at: now) {
      case .noRoom:
        return waitForRoom(id)
      case .tooLarge:
        deliveries.dropQueued(session, sessions, &messages)
        counters.oversizeDropped &+= 1
      case .sent:
        deliveries.sent(session, sessions, messages)
      }
    }
  }

  // MARK: Redelivery

  /// `false`: the outbox or the window is full, nothing newer may be sent before.
  @_optimize(size) private mutating func redeliver(_ session: Handle<Session>, on id: ConnectionID, at now: Instant)
    -> Bool
  {
    // Ids that are taken but not sent on this connection do not count against its Receive Maximum.
    var sentHereCount = deliveries.sentHereCount(session, sessions)
    work.did(sessions[session].outgoing.inflight.count)
    while !sessions[session].outgoing.redelivery.isNull {
      let delivery = sessions[session].outgoing.redelivery
      if deliveries.hasGivenWay(delivery) {
        deliveries.finish(delivery, of: session, sessions, &messages)
        continue
      }
      if deliveries[delivery].state == .awaitingPubComp {
        guard sendRelease(deliveries[delivery].packetID, on: id) else { return waitForRoom(id) }
      } else {
        guard mayRead(session, deliveries[delivery].message) else {
          deliveries.finish(delivery, of: session, sessions, &messages)
          continue
        }
        guard sentHereCount < sessions[session].window else { return false }
        deliveries.markDuplicate(delivery)
        switch send(delivery, on: id, at: now) {
        case .noRoom:
          return waitForRoom(id)
        case .tooLarge:  // its Maximum Packet Size is smaller than before
          counters.oversizeDropped &+= 1
          deliveries.finish(delivery, of: session, sessions, &messages)
          continue
        case .sent:
          deliveries.markSentHere(delivery)
          sentHereCount += 1
        }
      }
      deliveries.advanceRedelivery(session, sessions)
    }
    return true
  }

  private mutating func sendRelease(_ packetID: UInt16, on id: ConnectionID) -> Bool {
    var writer = headScratch.writer()
    Ack(packetID: packetID, reason: .success).encode(type: .pubRel, into: &writer, version: connections[id].version)
    guard outboxes.append(writer.written, to: &connections[id].outbox, use: .data) else { return false }
    counters.packetsSent &+= 1
    outboxes.markReady(id)
    return true
  }

  // MARK: Encoding

  private mutating func send(_ delivery: Handle<Delivery>, on id: ConnectionID, at now: Instant) -> Sending {
    let entry = deliveries[delivery]
    var head = head(of: entry.message, qos: entry.qos, retain: entry.retain, on: id, at: now)
    head.isDuplicate = entry.isDuplicate
    head.packetID = entry.packetID
    if head.version == .v5 { head.identifiersByteCount = deliveries.identifiers.byteCount(entry) }
    return send(head, entry.message, on: id, identifier: entry.identifier, more: entry.moreIdentifiers)
  }

  func head(
    of message: Handle<Message>, qos: QoS, retain: Bool, on id: ConnectionID, at now: Instant
  ) -> PublishHead {
    let version = connections[id].version
    let entry = messages[message]
    var head = PublishHead(
      version: version, qos: qos, retain: retain,
      forwardedByteCount: version == .v5 ? entry.propertyByteCount : 0, payloadByteCount: entry.payloadByteCount)
    head.expirySeconds = remainingSeconds(entry.expiresAt, at: now)
    return head
  }

  /// Appends a stored message to an outbox, whole or not at all.
  mutating func send(
    _ head: PublishHead, _ message: Handle<Message>, on id: ConnectionID, identifier: UInt32,
    more: Handle<IdentifierCell>
  ) -> Sending {
    let entry = messages[message]
    let topicByteCount = entry.topicByteCount
    var topicWriter = topicScratch.writer()
    messages.copy(message, from: 0, byteCount: topicByteCount, into: &topicWriter)
    var head = head
    let packetBytesMax = Int(connections[id].packetBytesMax)
    let topic = outboxes.useAlias(
      for: topicWriter.written, in: &head, of: connections[id].outbox, packetBytesMax: packetBytesMax)
    guard head.packetByteCount(topicByteCount: topic.count) <= packetBytesMax else {
      return .tooLarge
    }
    var writer = headScratch.writer()
    head.write(topic: topic, into: &writer)
    if head.identifiersByteCount > 0 { deliveries.identifiers.write(identifier, more, into: &writer) }

    let bodyStart = head.version == .v5 ? topicByteCount : entry.payloadStart
    let bodyByteCount = entry.body.byteCount - bodyStart
    let byReference =
      bodyByteCount >= limits.referenceBytesMin
      && outboxes.mayRefer(connections[id].outbox, to: entry.body, messages, retained)
    let copied = writer.count + (byReference ? 0 : bodyByteCount)
    guard outboxes.hasRoom(connections[id].outbox, for: copied, references: byReference ? 1 : 0, use: .data) else {
      return .noRoom
    }
    var isAppended = outboxes.append(writer.written, to: &connections[id].outbox, use: .data, isPromised: true)
    if byReference {
      isAppended =
        outboxes.append(entry.body, from: bodyStart, to: &connections[id].outbox, &messages) && isAppended
    } else {
      var cursor = messages.bodies.cursor(entry.body, at: bodyStart)
      while cursor.remaining > 0 {
        let part = messages.bodies.read(&cursor, most: .max)
        isAppended =
          outboxes.append(part, to: &connections[id].outbox, use: .data, isPromised: true) && isAppended
      }
    }
    precondition(isAppended)  // the room was seen above
    outboxes.keepAlias(of: topic, head, in: &connections[id].outbox)
    countSentPublish(id)
    return .sent
  }
}
