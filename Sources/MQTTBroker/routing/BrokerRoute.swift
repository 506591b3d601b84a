import Bounded
import MQTTWire

/// One session that gets the message being routed, once, whatever the number of its matching filters.
struct Receiver: BitwiseCopyable {
  let session: Handle<Session>
  /// First of the matching subscriptions, linked by `nextMatched`; a shared one stands alone.
  var matched: Handle<Subscription>
  var qos: QoS
  var retainAsPublished: Bool
  var hasIdentifier: Bool
}

/// From one message to all its receivers (§3.3.4). Everything that they need is reserved before anything is changed, so
/// a message is refused as a whole or kept as a whole, and its acknowledgement tells which.
extension Broker {
  /// `matched`: the tree has just been matched for this topic.
  mutating func route(_ message: Inbound, at now: Instant, matched: Bool) -> ReasonCode {
    if !matched { topics.match(message.topic) }
    collectReceivers(message)

    var needed = 0
    var cellsNeeded = 0
    var position = 0
    while position < receiverCount {
      let receiver = receivers[position]
      if min(receiver.qos, message.qos) != .atMostOnce {
        if limits.queueFull == .refuse, isQueueFull(receiver.session) {
          counters.queueRefusals &+= 1
          return .quotaExceeded
        }
        needed += 1
        if receiver.hasIdentifier { cellsNeeded += extraIdentifierCount(receiver) }
      }
      position += 1
    }
    guard deliveries.gauge.free >= needed, identifierCells.gauge.free >= cellsNeeded else {
      deliveries.gauge.refused &+= 1
      return .quotaExceeded
    }

    var slot = Handle<Retained>.null
    if message.retain {
      guard let prepared = prepareRetained(message) else { return .quotaExceeded }
      slot = prepared
      if !slot.isNull { giveWay(slot, to: message) }
    }
    let keepsRetained = !slot.isNull
    let isShared = message.payload.count >= limits.referenceBytesMin && receiverCount > 0 && !goesStraightOut(message)
    var stored = Handle<Message>.null
    if needed > 0 || keepsRetained || isShared {
      let kept = keepsRetained ? 0 : limits.blocksKeptForRetained
      let alsoKept = needed > 0 || keepsRetained ? 0 : limits.blocksKeptForQoS
      let isSmall = keepsRetained || message.byteCount <= 8 * limits.blockBytes
      let keptForSmall = isSmall ? 0 : limits.blocksKeptForSmall
      guard let handle = storeMessage(message, keepingFree: kept + alsoKept + keptForSmall) else {
        if keepsRetained { abandonRetained(slot) }
        // QoS 0 alone may be lost, with its counter; a promise may not.
        guard needed == 0, !keepsRetained else { return .quotaExceeded }
        counters.qos0Dropped &+= UInt64(receiverCount)
        return .success
      }
      stored = handle
    }

    // From here on nothing fails.
    if keepsRetained { commitRetained(slot, stored, at: now) }
    deliver(message, stored, at: now)
    if !stored.isNull { release(stored) }
    return receiverCount > 0 || keepsRetained ? .success : .noMatchingSubscribers
  }

  /// Whether a large message has one receiver, which takes its bytes as fast as they come: one copy into large chunks
  /// costs less than many small blocks that are stored and gathered. What piles up is stored.
  private func goesStraightOut(_ message: Inbound) -> Bool {
    guard receiverCount == 1, !receivers[0].hasIdentifier else { return false }
    let id = sessions[receivers[0].session].connection
    guard !id.isNull else { return false }
    guard connections[id].outbox.byteCount < Broker.straightBytesMax || isLendable(message, to: id) else {
      return false
    }
    return outboxes.hasRoom(connections[id].outbox, for: 32 + message.byteCount, use: .data)
  }

  /// Whether this receiver's packet is the very one that came in: the same version, QoS 0, and nothing in it that was
  /// the publisher's affair with us.
  private func isLendable(_ message: Inbound, to id: ConnectionID) -> Bool {
    guard !lendable.isEmpty, lendable[0] == 0x30, message.qos == .atMostOnce, !message.retain,
      message.expiresAt == .never, !message.publisher.isNull
    else { return false }
    let version = connections[id].version
    guard sessions[message.publisher].version == version else { return false }
    // An alias or other properties that are not forwarded would make it longer than what is compared below.
    guard connections[id].sentAliasMax == 0, message.forwarded.isEmpty, message.topic.isWithin(lendable) else {
      return false
    }
    let head = PublishHead(
      version: version, qos: .atMostOnce, retain: false, forwardedByteCount: 0,
      payloadByteCount: message.payload.count)
    return head.packetByteCount(topicByteCount: message.topic.count) == lendable.count
      && lendable.count <= Int(connections[id].packetBytesMax)
  }

  /// What a read may have brought for one receiver since the last flush.
  private static var straightBytesMax: Int { 49_152 }

  // MARK: Receivers

  private mutating func collectReceivers(_ message: Inbound) {
    receiverCount = 0
    routeSerial &+= 1
    if routeSerial == 0 { beginSerialsAnew() }
    var position = 0
    while position < topics.foundCount {
      let node = topics.found(position)
      var subscription = topics[node].subscriptions
      while !subscription.isNull {
        add(subscription, publisher: message.publisher)
        subscription = subscriptions[subscription].nextInNode
      }
      var group = topics[node].groups
      while !group.isNull {
        addMember(of: group)
        group = groups[group].next
      }
      position += 1
    }
  }

  private mutating func beginSerialsAnew() {
    sessions.visit { $0.pointee.matchSerial = 0 }
    routeSerial = 1
  }

  private mutating func add(_ subscription: Handle<Subscription>, publisher: Handle<Session>) {
    let entry = subscriptions.address(subscription)
    let options = entry.pointee.options
    let session = entry.pointee.session
    if options.noLocal, session == publisher { return }  // §3.8.3.1-3
    let identifier = entry.pointee.identifier
    let receiving = sessions.address(session)
    guard receiving.pointee.matchSerial == routeSerial else {
      receiving.pointee.matchSerial = routeSerial
      receiving.pointee.matched = subscription
      entry.pointee.nextMatched = .null
      receivers[receiverCount] = Receiver(
        session: session, matched: subscription, qos: options.qos, retainAsPublished: options.retainAsPublished,
        hasIdentifier: identifier != 0)
      receiverCount += 1
      return
    }
    // Overlapping filters: one copy with the highest QoS and all identifiers (§3.3.4-2, §3.3.4-3). The
    // session's receiver is near the end of the list most often.
    var position = receiverCount - 1
    while receivers[position].matched != receiving.pointee.matched { position -= 1 }
    entry.pointee.nextMatched = receivers[position].matched
    receivers[position].matched = subscription
    receiving.pointee.matched = subscription
    receivers[position].qos = max(receivers[position].qos, options.qos)
    if options.retainAsPublished { receivers[position].retainAsPublished = true }
    if identifier != 0 { receivers[position].hasIdentifier = true }
  }

  /// One member of a shared group, in turn: a connected one with an open window, else a connected one, else
  /// one whose session waits (§4.8.2).
  private mutating func addMember(of group: Handle<SharedGroup>) {
    var best = Handle<Subscription>.null
    var bestScore = 0
    var member = groups[group].turn.isNull ? groups[group].members : groups[group].turn
    var remaining = 2  // to the end of the list, then from its start
    let first = member
    while remaining > 0 {
      while !member.isNull {
        let score = readiness(subscriptions[member].session)
        if score > bestScore {
          best = member
          bestScore = score
        }
        if bestScore == 3 { break }
        member = subscriptions[member].nextInNode
      }
      if bestScore == 3 || groups[group].members == first { break }
      member = groups[group].members
      remaining -= 1
    }
    guard !best.isNull else { return }
    groups[group].turn = subscriptions[best].nextInNode
    subscriptions[best].nextMatched = .null
    let options = subscriptions[best].options
    receivers[receiverCount] = Receiver(
      session: subscriptions[best].session, matched: best, qos: options.qos,
      retainAsPublished: options.retainAsPublished, hasIdentifier: subscriptions[best].identifier != 0)
    receiverCount += 1
  }

  private func readiness(_ session: Handle<Session>) -> Int {
    if sessions[session].connection.isNull { return 1 }
    return sessions[session].queued.count == 0 && sessions[session].inflight.count < sessions[session].window ? 3 : 2
  }

  private func extraIdentifierCount(_ receiver: Receiver) -> Int {
    var count = 0
    var subscription = receiver.matched
    while !subscription.isNull {
      if subscriptions[subscription].identifier != 0 { count += 1 }
      subscription = subscriptions[subscription].nextMatched
    }
    return max(0, count - 1)
  }

  // MARK: Deliveries

  /// All of them before the first `pump`, whose replay may take what was counted on for these.
  private mutating func queueDeliveries(_ message: Inbound, _ stored: Handle<Message>) {
    var position = 0
    while position < receiverCount {
      let receiver = receivers[position]
      position += 1
      let qos = min(receiver.qos, message.qos)
      guard qos != .atMostOnce else { continue }
      enqueue(receiver, stored, qos: qos, retain: receiver.retainAsPublished && message.retain)
    }
  }

  private mutating func deliver(_ message: Inbound, _ stored: Handle<Message>, at now: Instant) {
    queueDeliveries(message, stored)
    // A whole packet is encoded once for all receivers of the same version that need no more than it.
    var packetV5 = Bytes.empty
    var packetV311 = Bytes.empty
    var position = 0
    while position < receiverCount {
      let receiver = receivers[position]
      position += 1
      let retain = receiver.retainAsPublished && message.retain
      guard min(receiver.qos, message.qos) == .atMostOnce else {
        pump(receiver.session, at: now)
        continue
      }
      let id = sessions[receiver.session].connection
      guard !id.isNull else { continue }  // QoS 0 is not kept for the absent (§4.3.1)
      let connection = connections.address(id)
      let version = connection.pointee.version
      if receiver.hasIdentifier || retain || connection.pointee.sentAliasMax > 0
        || message.payload.count >= limits.referenceBytesMin
      {
        sendQoS0(receiver, message, stored, retain: retain, on: id, at: now)
        continue
      }
      switch version {
      case .v5:
        if packetV5.isEmpty { packetV5 = encodeWhole(message, version: .v5, into: encodedV5.writer(), at: now) }
        appendQoS0(packetV5, receiver, message, stored, on: id, at: now)
      case .v311:
        if packetV311.isEmpty {
          packetV311 = encodeWhole(message, version: .v311, into: encodedV311.writer(), at: now)
        }
        appendQoS0(packetV311, receiver, message, stored, on: id, at: now)
      }
    }
  }

  /// The packet as every plain receiver gets it; empty when it is too long for the scratch memory.
  private func encodeWhole(
    _ message: Inbound, version: ProtocolVersion, into scratch: ByteWriter, at now: Instant
  ) -> Bytes {
    var writer = scratch
    let forwarded = version == .v5 ? message.forwarded : .empty
    var head = PublishHead(
      version: version, qos: .atMostOnce, retain: false, forwardedByteCount: forwarded.count,
      payloadByteCount: message.payload.count)
    head.expirySeconds = remainingSeconds(message.expiresAt, at: now)
    head.write(topic: message.topic, into: &writer)
    writer.write(forwarded)
    writer.write(message.payload)
    return writer.overflowed ? .empty : writer.written
  }

  private mutating func appendQoS0(
    _ packet: Bytes, _ receiver: Receiver, _ message: Inbound, _ stored: Handle<Message>, on id: ConnectionID,
    at now: Instant
  ) {
    guard !packet.isEmpty else {
      sendQoS0(receiver, message, stored, retain: false, on: id, at: now)
      return
    }
    let connection = connections.address(id)
    guard packet.count <= Int(connection.pointee.packetBytesMax) else {
      counters.oversizeDropped &+= 1
      return
    }
    guard outboxes.append(packet, to: &connection.pointee.outbox, use: .data) else {
      dropQoS0(receiver.session)
      return
    }
    countSentPublish(id)
  }

  private mutating func sendQoS0(
    _ receiver: Receiver, _ message: Inbound, _ stored: Handle<Message>, retain: Bool, on id: ConnectionID,
    at now: Instant
  ) {
    // Most of what a large message costs is its copy: behind others of its kind it goes out from where it was read.
    // A large one that is not stored goes straight out, to one receiver (`route`).
    if stored.isNull, message.payload.count >= limits.referenceBytesMin, isLendable(message, to: id),
      lentTo.isNull || lentTo == id,
      outboxes.lend(lendable, to: &connections.address(id).pointee.outbox)
    {
      lentTo = id
      countSentPublish(id)
      return
    }
    let version = connections[id].version
    var head = PublishHead(
      version: version, qos: .atMostOnce, retain: retain,
      forwardedByteCount: version == .v5 ? message.forwarded.count : 0, payloadByteCount: message.payload.count)
    head.expirySeconds = remainingSeconds(message.expiresAt, at: now)
    if version == .v5, receiver.hasIdentifier { head.identifiersByteCount = identifiersByteCount(receiver.matched) }
    let topic = useAlias(for: message.topic, in: &head, on: id)
    guard head.packetByteCount(topicByteCount: topic.count) <= Int(connections[id].packetBytesMax) else {
      counters.oversizeDropped &+= 1
      return
    }
    var writer = headScratch.writer()
    head.write(topic: topic, into: &writer)
    if head.identifiersByteCount > 0 { writeIdentifiers(receiver.matched, into: &writer) }
    let forwarded = version == .v5 ? message.forwarded : .empty
    let byReference = !stored.isNull && message.payload.count >= limits.referenceBytesMin
    let copied = writer.count + forwarded.count + (byReference ? 0 : message.payload.count)
    guard outboxes.hasRoom(connections[id].outbox, for: copied, references: byReference ? 1 : 0, use: .data) else {
      dropQoS0(receiver.session)
      return
    }
    var isAppended = outboxes.append(writer.written, to: &connections.address(id).pointee.outbox, use: .data)
    isAppended = outboxes.append(forwarded, to: &connections.address(id).pointee.outbox, use: .data) && isAppended
    if byReference {
      let start = messages[stored].payloadStart
      isAppended =
        outboxes.append(
          messages[stored].body, from: start, to: &connections.address(id).pointee.outbox, bodies: &bodies)
        && isAppended
    } else {
      isAppended =
        outboxes.append(message.payload, to: &connections.address(id).pointee.outbox, use: .data) && isAppended
    }
    precondition(isAppended)  // the room was seen above
    keepAlias(of: topic, head, on: id)
    countSentPublish(id)
  }

  private mutating func dropQoS0(_ session: Handle<Session>) {
    counters.qos0Dropped &+= 1
    sessions[session].countDropped()
  }

  mutating func countSentPublish(_ id: ConnectionID) {
    counters.publishesSent &+= 1
    counters.packetsSent &+= 1
    markReady(id)
  }

  private func identifiersByteCount(_ first: Handle<Subscription>) -> Int {
    var byteCount = 0
    var subscription = first
    while !subscription.isNull {
      let identifier = subscriptions[subscription].identifier
      if identifier != 0 { byteCount += PublishHead.identifierByteCount(identifier) }
      subscription = subscriptions[subscription].nextMatched
    }
    return byteCount
  }

  private func writeIdentifiers(_ first: Handle<Subscription>, into writer: inout ByteWriter) {
    var subscription = first
    while !subscription.isNull {
      let identifier = subscriptions[subscription].identifier
      if identifier != 0 { PublishHead.writeIdentifier(identifier, into: &writer) }
      subscription = subscriptions[subscription].nextMatched
    }
  }

  /// What is left of a message's life, rounded up to whole seconds (§3.3.2.3.3); nil: it has no expiry.
  func remainingSeconds(_ expiresAt: Instant, at now: Instant) -> UInt32? {
    guard expiresAt != .never else { return nil }
    let nanoseconds = max(0, expiresAt.since(now))
    return UInt32(min((nanoseconds + 999_999_999) / 1_000_000_000, Int64(UInt32.max)))
  }

  // MARK: Stored messages

  mutating func storeMessage(_ message: Inbound, keepingFree: Int) -> Handle<Message>? {
    guard messages.hasRoom else {
      messages.gauge.refused &+= 1
      return nil
    }
    guard let body = bodies.lend(byteCount: message.byteCount, keepingFree: keepingFree) else { return nil }
    var cursor = bodies.cursor(body)
    bodies.write(message.topic, at: &cursor)
    bodies.write(message.forwarded, at: &cursor)
    bodies.write(message.payload, at: &cursor)
    return messages.lend(
      Message(
        body: body, propertyByteCount: UInt32(message.forwarded.count), topicByteCount: UInt16(message.topic.count),
        qos: message.qos, retain: message.retain, expiresAt: message.expiresAt))
  }

  /// Message Expiry Interval 0 is for whoever can be sent it at once, with every QoS (§3.3.2.3.3).
  func hasExpired(_ message: Handle<Message>, at now: Instant) -> Bool { messages[message].expiresAt < now }

  mutating func release(_ message: Handle<Message>) {
    messages[message].owners -= 1
    guard messages[message].owners == 0 else { return }
    bodies.release(messages[message].body)
    messages.giveBack(message)
  }

  /// A stored message in one piece again, as if it had just come in.
  func inbound(from message: Handle<Message>) -> Inbound {
    let entry = messages[message]
    var writer = messageScratch.writer()
    bodies.copy(entry.body, from: 0, byteCount: entry.body.byteCount, into: &writer)
    let bytes = writer.written
    let topicEnd = Int(entry.topicByteCount)
    return Inbound(
      topic: bytes.first(topicEnd), forwarded: bytes[topicEnd..<entry.payloadStart],
      payload: bytes.from(entry.payloadStart), qos: entry.qos, retain: entry.retain, expiresAt: entry.expiresAt,
      publisher: .null)
  }
}
