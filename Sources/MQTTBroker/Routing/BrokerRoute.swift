import Bounded
import MQTTWire

/// The room reserved for a message, so that nothing can be missing when taps act on it and it is routed. `commit` or
/// `giveBack` follows.
struct Reserved: BitwiseCopyable {
  /// Null: nobody holds the message beyond this call.
  var stored = Handle<Message>.null
  /// The slot of the topic's retained message; null: the message is not retained.
  var slot = Handle<Retained>.null
  /// It has room when the retained message that it replaces is gone.
  var replacesFirst = false
}

/// From one message to all its receivers (§3.3.4). Everything that they need is reserved before anything is changed, so
/// a message is refused as a whole or kept as a whole, and its acknowledgement tells which.
extension Broker {
  /// Reserves and routes.
  mutating func route(_ message: Inbound, at now: Instant) -> ReasonCode {
    topics.match(message.topic)
    guard let reserved = reserve(message, at: now) else { return .quotaExceeded }
    return commit(message, reserved, at: now)
  }

  /// Reserves what the message needs, for the receivers that the last match leads to. `nil`: it is refused for what its
  /// publisher lacks, a retained message's place or room for its bytes, or by `queue_full: refuse`. Receivers that lack
  /// room lose their own.
  @inline(__always) mutating func reserve(_ message: Inbound, at now: Instant) -> Reserved? {
    guard let promisedCount = collectReceivers(of: message, mayRefuse: true, at: now) else { return nil }
    let keepsRetained = message.retain && !message.payload.isEmpty
    guard
      promisedCount > 0 || keepsRetained
        || message.payload.count >= limits.referenceBytesMin && receivers.count > 0 && !goesStraightOut(message)
    else { return Reserved() }
    return reserveBody(message, isPromised: promisedCount > 0, keepsRetained: keepsRetained, at: now)
  }

  /// Collects the receivers that the last match leads to, and makes room for their deliveries.
  /// - Parameter mayRefuse: as in `makeRoom(forDeliveriesOf:mayRefuse:at:)`.
  @inline(__always) mutating func collectReceivers(
    of message: Inbound, mayRefuse: Bool, at now: Instant
  ) -> Int? {
    if rights.isInForce {
      rights.match(message.topic)
      receivers.collectJudged(publisher: message.publisher, topics, subscriptions, sessions, &rights)
      counters.deliveriesDenied &+= UInt64(receivers.deniedCount)
      work.did(rights.takeLookedCount())
    } else {
      receivers.collect(publisher: message.publisher, topics, subscriptions, sessions, &rights)
    }
    work.did(topics.visitedCount &+ receivers.lookedCount &+ receivers.count)
    return makeRoom(forDeliveriesOf: message, mayRefuse: mayRefuse, at: now)
  }

  /// Makes room for the deliveries of those receivers that get the message with QoS 1 or 2. How many these are; `nil`: one
  /// of them has a full queue, and `queue_full: refuse` refuses the message.
  /// - Parameter mayRefuse: `false`: the message has been accepted, and a full queue refuses it no more.
  @inline(__always) mutating func makeRoom(
    forDeliveriesOf message: Inbound, mayRefuse: Bool, at now: Instant
  ) -> Int? {
    var needed = 0
    var cellsNeeded = 0
    var position = 0
    while position < receivers.count {
      let receiver = receivers[position]
      if min(receiver.qos, message.qos) != .atMostOnce {
        if mayRefuse, limits.queueFull == .refuse, isQueueFull(receiver.session) {
          counters.queueRefusals &+= 1
          limitHit(.queued, by: receiver.session, .refusedSender)
          return nil
        }
        needed += 1
        if receiver.hasIdentifier { cellsNeeded += subscriptions.extraIdentifierCount(receiver) }
      }
      position += 1
    }
    if needed > 0, !deliveries.hasRoom(for: needed, identifierCells: cellsNeeded) {
      makeRoom(forDeliveries: needed, identifierCells: cellsNeeded, at: now)
    }
    return needed
  }

  /// - Parameter isPromised: a receiver gets it with QoS 1 or 2.
  mutating func reserveBody(
    _ message: Inbound, isPromised: Bool, keepsRetained: Bool, at now: Instant
  ) -> Reserved? {
    var reserved = Reserved()
    if keepsRetained {
      do throws(Limit) {
        reserved.slot = try retained.prepare(message, &topics, messages, &shares, sessions)
      } catch {
        limitHit(error, by: message.publisher)
        return nil
      }
    }
    let kept = keepsRetained ? 0 : limits.blocksKeptForRetained
    let alsoKept = isPromised || keepsRetained ? 0 : limits.blocksKeptForQoS
    let isSmall = keepsRetained || limits.isSmall(byteCount: message.byteCount)
    var keepingFree = kept + alsoKept + (isSmall ? 0 : limits.blocksKeptForSmall)
    var keepingMessages = 0
    if !keepsRetained || retained[reserved.slot].holder != .board {
      keepingMessages = shares.messagesKeptForBoard
      keepingFree = max(keepingFree, min(limits.blockCount / 4, keepingMessages * RetainedStore.blocksPerOwn))
    }
    if isPromised || keepsRetained,
      !messages.hasRoom(for: message, keepingFree: keepingFree, keepingMessages: keepingMessages)
    {
      makeRoom(for: message, keepingFree: keepingFree, keepingMessages: keepingMessages, at: now)
    }
    if let handle = messages.store(message, keepingFree: keepingFree, keepingMessages: keepingMessages) {
      reserved.stored = handle
      return reserved
    }
    if keepsRetained {
      // A retained message can always be replaced by one that is not larger.
      reserved.replacesFirst = retained.canReplace(reserved.slot, with: message, messages)
      if reserved.replacesFirst { return reserved }
      retained.abandon(reserved.slot, &topics, &messages, &shares, sessions)
      storeHit(message, keepingMessages: keepingMessages)
      return nil
    }
    guard isPromised else { return reserved }  // it is copied for each receiver whose outbox has room
    storeHit(message, keepingMessages: keepingMessages)
    return nil
  }

  /// The message is not routed after all: a tap has refused it.
  mutating func giveBack(_ reserved: Reserved) {
    if !reserved.slot.isNull { retained.abandon(reserved.slot, &topics, &messages, &shares, sessions) }
    if !reserved.stored.isNull { messages.release(reserved.stored) }
  }

  /// Routes a message to those for whom it was reserved. Nothing fails here.
  @inline(__always) mutating func commit(_ message: Inbound, _ reserved: Reserved, at now: Instant) -> ReasonCode {
    commit(message, reserved, keeps: message.retain, at: now)
    return receivers.count > 0 || !reserved.slot.isNull ? .success : .noMatchingSubscribers
  }

  /// - Parameter keeps: it becomes the topic's retained message, or removes it.
  @inline(__always) mutating func commit(
    _ message: Inbound, _ reserved: Reserved, keeps: Bool, at now: Instant
  ) {
    var stored = reserved.stored
    if keeps { keep(message, reserved, &stored) }
    deliver(message, stored, at: now)
    if !stored.isNull { messages.release(stored) }
    if message.retain, ownedCount > 0, message.payload.isEmpty { tellAgain(message, at: now) }
  }

  private mutating func keep(_ message: Inbound, _ reserved: Reserved, _ stored: inout Handle<Message>) {
    guard !reserved.slot.isNull else {
      // §3.3.1.3: an empty payload removes it. What the board says only the board takes back.
      if let node = topics.find(message.topic), !topics[node].retained.isNull,
        message.isBoards || !topics[node].isOwned
      {
        retained.remove(topics[node].retained, &topics, &messages, &shares, sessions)
      }
      return
    }
    if reserved.replacesFirst {
      retained.giveWay(reserved.slot, &messages, &shares, sessions)
      stored = messages.store(message, keepingFree: 0)!  // the room was seen
    }
    let due = retained.commit(reserved.slot, stored, by: message.publisher, &messages, &shares, sessions)
    if let due { timers.arm(sweepTimer, at: due) }
  }

  /// A client has told subscribers that the board's word is no more: they are told it again.
  @_optimize(size) private mutating func tellAgain(_ cleared: Inbound, at now: Instant) {
    guard !cleared.isBoards, let node = topics.find(cleared.topic), topics[node].isOwned,
      !topics[node].retained.isNull
    else { return }
    var message = messages.inbound(from: retained[topics[node].retained].message, in: messageScratch)
    message.retain = false  // it is kept already
    _ = route(message, at: now)
  }

  /// Whether a large message has one receiver, which takes its bytes as fast as they come: one copy into large chunks
  /// costs less than many small blocks that are stored and gathered. What piles up is stored.
  private func goesStraightOut(_ message: Inbound) -> Bool {
    guard receivers.count == 1, !receivers[0].hasIdentifier else { return false }
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
    let lendable = outboxes.lendable
    guard !lendable.isEmpty, lendable[0] == 0x30, message.qos == .atMostOnce, !message.retain,
      message.expiresAt == .never, !message.isBoards
    else { return false }
    let version = connections[id].version
    guard sessions[message.publisher].version == version else { return false }
    // An alias or other properties that are not forwarded would make it longer than what is compared below.
    guard connections[id].outbox.sentAliasMax == 0, message.forwarded.isEmpty, message.topic.isWithin(lendable) else {
      return false
    }
    let head = PublishHead(
      version: version, qos: .atMostOnce, retain: false, forwardedByteCount: 0,
      payloadByteCount: message.payload.count)
    return head.packetByteCount(topicByteCount: message.topic.count) == lendable.count
      && lendable.count <= Int(connections[id].packetBytesMax)
  }

  /// The most bytes that reads may have brought for one receiver since the last flush.
  private static var straightBytesMax: Int { 49_152 }

  // MARK: Deliveries

  /// All of them before the first `pump`, whose replay may take what was counted on for these.
  private mutating func queueDeliveries(_ message: Inbound, _ stored: Handle<Message>) {
    var position = 0
    while position < receivers.count {
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
    while position < receivers.count {
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
      if receiver.hasIdentifier || retain || connection.pointee.outbox.sentAliasMax > 0
        || message.payload.count >= limits.referenceBytesMin
      {
        sendQoS0(receiver, message, stored, retain: retain, on: id, at: now)
        continue
      }
      switch version {
      case .v5:
        if packetV5.isEmpty { packetV5 = encodeWhole(message, version: .v5, into: encodedV5.writer(), at: now) }
        appendQoS0(packetV5, receiver, message, stored, on: id, at: now)
      case .v31, .v311:
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
      outboxes.lend(to: &connections[id].outbox, of: id)
    {
      countSentPublish(id)
      return
    }
    let version = connections[id].version
    var head = PublishHead(
      version: version, qos: .atMostOnce, retain: retain,
      forwardedByteCount: version == .v5 ? message.forwarded.count : 0, payloadByteCount: message.payload.count)
    head.expirySeconds = remainingSeconds(message.expiresAt, at: now)
    if version == .v5, receiver.hasIdentifier {
      head.identifiersByteCount = subscriptions.identifiersByteCount(receiver)
    }
    let topic = outboxes.useAlias(
      for: message.topic, in: &head, of: connections[id].outbox, packetBytesMax: Int(connections[id].packetBytesMax))
    guard head.packetByteCount(topicByteCount: topic.count) <= Int(connections[id].packetBytesMax) else {
      counters.oversizeDropped &+= 1
      return
    }
    var writer = headScratch.writer()
    head.write(topic: topic, into: &writer)
    if head.identifiersByteCount > 0 { subscriptions.writeIdentifiers(receiver, into: &writer) }
    let forwarded = version == .v5 ? message.forwarded : .empty
    let byReference =
      !stored.isNull && message.payload.count >= limits.referenceBytesMin
      && outboxes.mayRefer(connections[id].outbox, to: messages[stored].body, messages, retained)
    let copied = writer.count + forwarded.count + (byReference ? 0 : message.payload.count)
    guard outboxes.hasRoom(connections[id].outbox, for: copied, references: byReference ? 1 : 0, use: .data) else {
      dropQoS0(receiver.session)
      return
    }
    var isAppended = outboxes.append(writer.written, to: &connections[id].outbox, use: .data, isPromised: true)
    isAppended =
      outboxes.append(forwarded, to: &connections[id].outbox, use: .data, isPromised: true) && isAppended
    if byReference {
      let start = messages[stored].payloadStart
      isAppended =
        outboxes.append(messages[stored].body, from: start, to: &connections[id].outbox, &messages)
        && isAppended
    } else {
      isAppended =
        outboxes.append(message.payload, to: &connections[id].outbox, use: .data, isPromised: true) && isAppended
    }
    precondition(isAppended)  // the room was seen above
    outboxes.keepAlias(of: topic, head, in: &connections[id].outbox)
    countSentPublish(id)
  }

  private mutating func dropQoS0(_ session: Handle<Session>) {
    counters.qos0Dropped &+= 1
    sessions.countDropped(session)
    outboxHit(on: sessions[session].connection, .lostMessage)
  }

  mutating func countSentPublish(_ id: ConnectionID) {
    counters.publishesSent &+= 1
    counters.packetsSent &+= 1
    outboxes.markReady(id)
  }

  /// What is left of a message's life, rounded up to whole seconds (§3.3.2.3.3); nil: it has no expiry.
  func remainingSeconds(_ expiresAt: Instant, at now: Instant) -> UInt32? {
    guard expiresAt != .never else { return nil }
    let nanoseconds = max(0, expiresAt.since(now))
    return UInt32(min((nanoseconds + 999_999_999) / 1_000_000_000, Int64(UInt32.max)))
  }
}
