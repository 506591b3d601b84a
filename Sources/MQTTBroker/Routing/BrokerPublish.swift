public import Bounded
public import MQTTWire

/// PUBLISH from a client and the acknowledgements both ways (§3.3 to §3.7, §4.3).
extension Broker {
  mutating func publishReceived(
    _ header: FixedHeader, _ body: Bytes, on id: ConnectionID, at now: Instant
  ) throws(WireError) {
    let version = connections[id].version
    let packet = try Publish(body: body, flags: header.flags, version: version, from: .client)
    counters.publishesReceived &+= 1
    let session = connections[id].session
    // MQTT 5 was told; 3.1.1 is refused as for any other lack of room (§3.2.2.3.5).
    if packet.retain, limits.retainedMax == 0, version == .v5 { throw .init(.retainNotSupported) }

    var topic = packet.topic
    if let alias = packet.topicAlias {  // §3.3.2.3.4
      do throws(WireError) {
        topic = try outboxes.resolve(alias, packet.topic, of: connections[id].outbox)
      } catch {
        aliasHit(error, alias, on: id)
        throw error
      }
      if Outboxes.isSpoilt(topic) {
        counters.publishesDenied &+= 1
        refusePublish(packet, .notAuthorized, .empty, on: id, at: now)
        return
      }
    }
    if packet.qos == .exactlyOnce {
      if packetIDs.contains(packet.packetID, of: session, sessions) {
        // Seen and not released yet: it is not delivered again (§4.3.3, method B).
        sendAck(.pubRec, packet.packetID, .success, after: acks.written, on: id)
        return
      }
      // Messages with QoS 1 are acknowledged at once, so only QoS 2 can exceed our Receive Maximum (§3.3.4-7).
      guard packetIDs.hasRoom(session, sessions) else {
        limitHit(.inflight, on: id, size: limits.inflightMax + 1, .disconnected)
        throw .init(.receiveMaximumExceeded)
      }
    }

    if let reason = objection(to: topic) {
      if let (limit, size) = excess(of: topic) { limitHit(limit, on: id, size: size) }
      refusePublish(packet, reason, .empty, on: id, at: now)
      return
    }
    guard let author = author(session, of: topic) else {
      if let alias = packet.topicAlias, !packet.topic.isEmpty { outboxes.spoil(alias, of: connections[id].outbox) }
      refusePublish(packet, .notAuthorized, .empty, on: id, at: now)
      return
    }
    var forwarded = Bytes.empty
    if !packet.properties.isEmpty {
      forwarded = packet.properties.bytes
      if packet.topicAlias != nil || packet.messageExpirySeconds != nil {
        var writer = messageScratch.writer()
        Publish.writeForwardable(packet.properties, into: &writer)
        forwarded = writer.written
      }
    }
    var message = Inbound(
      topic: topic, forwarded: forwarded, payload: packet.payload, qos: packet.qos, retain: packet.retain,
      expiresAt: .never, author: author)
    if let seconds = packet.messageExpirySeconds { message.expiresAt = now.adding(seconds: Int64(seconds)) }

    let ran = counters.tapsRun
    let outcome = isRepeated(packet, topic, session) ? .accept : publish(message, at: now)
    guard !outcome.reason.isError else {
      refusePublish(packet, outcome.reason, outcome.reasonString, on: id, at: now)
      return
    }
    if packet.qos != .atMostOnce, counters.tapsRun != ran {
      repeated.add(repeated.mark(packet, topic: topic, clientID: sessions.clientID(session)), at: session.index)
    }
    switch packet.qos {
    case .atMostOnce:
      break
    case .atLeastOnce:
      sendAck(.pubAck, packet.packetID, outcome.reason, after: acks.written, on: id)
    case .exactlyOnce:
      packetIDs.take(packet.packetID, of: session, sessions)
      sendAck(.pubRec, packet.packetID, outcome.reason, after: acks.written, on: id)
    }
  }

  /// Whether taps have run for this very message already.
  private mutating func isRepeated(_ packet: Publish, _ topic: Bytes, _ session: Handle<Session>) -> Bool {
    guard packet.dup, packet.qos != .atMostOnce, tapCount > 0,
      repeated.contains(repeated.mark(packet, topic: topic, clientID: sessions.clientID(session)))
    else { return false }
    counters.repeatsIgnored &+= 1
    return true
  }

  /// Why a client may not publish to a topic, as far as its name tells.
  func objection(to topic: Bytes) -> ReasonCode? {
    guard topic.count <= limits.topicBytesMax, Topic.levelCount(topic) <= limits.topicLevelsMax else {
      return .topicNameInvalid
    }
    return isClients(topic) ? nil : .notAuthorized
  }

  /// Whether `topic` is not the broker's own. Topics under `$SYS` are, except a bridge's state: mosquitto's bridges publish it
  /// with `notifications`, as a Will and after CONNACK.
  private func isClients(_ topic: Bytes) -> Bool {
    !Topic.isSys(topic) || Topic.matches(filter: Bytes("$SYS/broker/connection/+/state"), name: topic)
  }

  /// Refuses a message: MQTT 5 can say so, 3.1.1 only by closing (3.1.1 §3.3.5-2 allows a positive acknowledgement,
  /// which would be a lie).
  @inline(never) @_optimize(size) private mutating func refusePublish(
    _ packet: Publish, _ reason: ReasonCode, _ text: Bytes, on id: ConnectionID, at now: Instant
  ) {
    counters.publishesRefused &+= 1
    guard packet.qos != .atMostOnce else { return }
    let isLack = reason == .quotaExceeded
    if connections[id].version != .v5, isLack {
      fail(id, reason, at: now)  // the client sends it again when it is back
      return
    }
    sendAck(packet.qos == .atLeastOnce ? .pubAck : .pubRec, packet.packetID, reason, text, after: 0, on: id)
    if packet.qos == .exactlyOnce, connections[id].version != .v5 {
      packetIDs.take(packet.packetID, of: connections[id].session, sessions)  // its PUBREL will come
    }
  }

  // MARK: Own publications

  /// From here on `topic` is the board's: what clients publish there is refused, with 0x87 or by being dropped, and a
  /// retained message of the board's finds its place there whatever others keep. Before the first connection; `false`:
  /// there is no room for it.
  public mutating func own(topic: Bytes) -> Bool {
    guard topic.count <= limits.topicBytesMax, Topic.isValidName(topic), let node = topics.intern(topic) else {
      return false
    }
    if topics[node].isOwned { return true }
    topics.own(node)
    topics.takeInCommon(node, &shares.joint)
    if !Topic.isSys(topic) { ownedCount += 1 }
    shares.keepForBoard(.retained, 1)
    return true
  }

  /// The same for a topic under `$SYS` that is told of later, as long as half of the retained messages are anybody's.
  public mutating func ownFigure(_ topic: StaticString) {
    if shares.kept(.retained) < limits.retainedMax / 2 { _ = own(topic: Bytes(topic)) }
  }

  /// Whether a topic is the board's.
  public func owns(topic: Bytes) -> Bool {
    Topic.isSys(topic) || topics.find(topic).map { topics[$0].isOwned } ?? false
  }

  /// Publishes a message of the broker's own: a tap's state, $SYS. Success, No matching subscribers, or the
  /// reason for which it found no room.
  /// - Parameters:
  ///   - properties: an encoded property block without its length, of properties that may be forwarded.
  ///   - runsTaps: taps see it as a client's; one that refuses it says so in the answer.
  ///   - asker: the client that has named the topic, `TapMessage.publisher`: the message goes only where it may write itself.
  ///     Null: the board has named it.
  public mutating func publish(
    topic: Bytes, payload: Bytes, properties: Bytes = .empty, qos: QoS = .atMostOnce, retain: Bool,
    expirySeconds: UInt32? = nil, runsTaps: Bool = false, asker: Handle<Session> = .null, at now: Instant
  ) -> ReasonCode {
    precondition(topic.count <= limits.topicBytesMax)
    guard mayAnswer(asker, on: topic) else { return .notAuthorized }
    let expiresAt = expirySeconds.map { now.adding(seconds: Int64($0)) } ?? .never
    let message = Inbound(
      topic: topic, forwarded: properties, payload: payload, qos: qos, retain: retain, expiresAt: expiresAt,
      author: .board)
    let reason = runsTaps ? publish(message, at: now).reason : route(message, at: now)
    if reason == .quotaExceeded { counters.internalDropped &+= 1 }
    return reason
  }

  /// Reserves what the message needs, runs taps, then routes: nothing moves for a message that is refused, and what a tap
  /// has taken is not refused any more.
  mutating func publish(_ message: Inbound, at now: Instant) -> TapVerdict {
    topics.match(message.topic)
    if isForeignWrite(message) {
      return TapVerdict(reason: .notAuthorized, reasonString: Bytes("the board's own topic"))
    }
    guard let reserved = reserve(message, at: now) else { return TapVerdict(reason: .quotaExceeded) }
    guard tapCount > 0 else { return TapVerdict(reason: commit(message, reserved, at: now)) }
    let ran = counters.tapsRun
    let verdict = runTaps(message, at: now)
    if verdict.reason.isError {
      giveBack(reserved)
      return verdict
    }
    guard counters.tapsRun != ran else { return TapVerdict(reason: commit(message, reserved, at: now)) }
    var routed = message
    routed.change(by: verdict, at: now)
    if routed.qos == message.qos, routed.retain == message.retain, routed.expiresAt == message.expiresAt {
      _ = commit(message, reserved, at: now)
    } else {
      commitChanged(routed, reserved, at: now)
    }
    return TapVerdict(reason: .success)
  }

  /// Whether a client's message, the one that was matched last, is for a topic that the board alone writes.
  @inline(__always) func isForeignWrite(_ message: Inbound) -> Bool {
    ownedCount > 0 && !message.isBoards && !acceptsForeignWrites && topics.foundOwned
  }

  /// Runs the taps of the message that was matched last.
  @inline(__always) mutating func runTaps(_ message: Inbound, at now: Instant) -> TapVerdict {
    runTaps(
      TapMessage(
        topic: message.topic, payload: message.payload, qos: message.qos, retain: message.retain,
        forwardedProperties: message.forwarded,
        clientID: message.isBoards ? .empty : sessions.clientID(message.publisher),
        userName: message.isBoards ? .empty : sessions.userName(message.publisher), publisher: message.publisher,
        now: now))
  }

  // MARK: Acknowledgements

  mutating func ackReceived(
    _ ack: Ack, _ type: PacketType, on id: ConnectionID, at now: Instant
  ) throws(WireError) {
    let session = connections[id].session
    switch type {
    case .pubAck:
      finish(session, ack.packetID, from: .awaitingPubAck, at: now)
    case .pubRec:
      recReceived(ack, session, on: id, at: now)
    case .pubComp:
      finish(session, ack.packetID, from: .awaitingPubComp, at: now)
    case .pubRel:
      let isKnown = packetIDs.release(ack.packetID, of: session, sessions)
      let reason: ReasonCode = isKnown ? .success : .packetIdentifierNotFound
      sendAck(.pubComp, ack.packetID, reason, after: acks.written, on: id)
    case .connect, .connAck, .publish, .subscribe, .subAck, .unsubscribe, .unsubAck, .pingReq, .pingResp, .disconnect,
      .auth:
      throw .protocolError
    }
  }

  /// The message has arrived; PUBREL follows, and the packet id stays taken until PUBCOMP (§4.3.3).
  private mutating func recReceived(_ ack: Ack, _ session: Handle<Session>, on id: ConnectionID, at now: Instant) {
    guard let delivery = deliveries.find(ack.packetID, of: session, sessions), deliveries[delivery].qos == .exactlyOnce
    else {
      if !ack.reason.isError { sendAck(.pubRel, ack.packetID, .packetIdentifierNotFound, after: 0, on: id) }
      return
    }
    if ack.reason.isError {
      deliveries.finish(delivery, of: session, sessions, &messages)  // §4.3.3: its packet id is free again
      pump(session, at: now)
      return
    }
    deliveries.received(delivery, of: session, sessions, &messages)
    sendAck(.pubRel, ack.packetID, .success, after: acks.written, on: id)
  }

  private mutating func finish(
    _ session: Handle<Session>, _ packetID: UInt16, from state: Delivery.State, at now: Instant
  ) {
    // An id that is not in flight is no error the standard knows; a client may answer a repeat twice.
    guard let delivery = deliveries.find(packetID, of: session, sessions), deliveries[delivery].state == state else {
      return
    }
    deliveries.finish(delivery, of: session, sessions, &messages)
    pump(session, at: now)
  }
}
