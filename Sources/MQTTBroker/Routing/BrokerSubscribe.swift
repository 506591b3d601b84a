import Bounded
import MQTTWire

/// SUBSCRIBE and UNSUBSCRIBE (§3.8 to §3.11), plain and shared (§4.8).
extension Broker {
  @_optimize(size) mutating func subscribeReceived(_ packet: Subscribe, on id: ConnectionID, at now: Instant)
    throws(WireError)
  {
    var answer = try beginAnswer(.subAck, packet.packetID, codeCount: packet.filterCount, on: id)
    let session = connections[id].session
    let version = connections[id].version
    let isBridge = connections[id].isBridge
    var filters = packet.filters
    var remaining = limits.filtersPerPacketMax
    if packet.filterCount > remaining { limitHit(.filtersPerPacket, on: id, size: packet.filterCount) }
    while let entry = filters.next() {
      work.did(Work.filterSteps)
      let reason = subscribe(
        session, entry.filter, isBridge ? entry.options.ofBridge : entry.options, identifier: packet.subscriptionID,
        mayAdd: remaining > 0)
      remaining -= 1
      SubAck.write(reason, of: .subAck, into: &answer, version: version)
    }
    sendControl(answer.written, on: id)
    pump(session, at: now)  // retained messages follow the SUBACK
  }

  // MARK: The answer

  /// The packet up to its Reason Codes, if there is room for all of them, and the client takes it (§3.1.2-24). It is
  /// shorter than what it answers.
  @_optimize(size) private mutating func beginAnswer(
    _ type: PacketType, _ packetID: UInt16, codeCount: Int, on id: ConnectionID
  ) throws(WireError) -> ByteWriter {
    let version = connections[id].version
    let byteCount = SubAck.byteCount(type, codeCount: codeCount, version: version)
    guard byteCount <= Int(connections[id].packetBytesMax) else { throw .packetTooLarge }
    guard hasAnswerRoom(byteCount, on: id) else {
      outboxHit(on: id, .disconnected)
      throw .quotaExceeded
    }
    var answer = messageScratch.writer()
    SubAck.begin(type, packetID: packetID, codeCount: codeCount, into: &answer, version: version)
    return answer
  }

  /// Whether the answer has room beside the room promised to acknowledgements that wait.
  private func hasAnswerRoom(_ byteCount: Int, on id: ConnectionID) -> Bool {
    outboxes.hasRoom(connections[id].outbox, for: byteCount + connections[id].acks.byteCount, use: .control)
  }

  /// Whether this SUBSCRIBE or UNSUBSCRIBE has to wait for its answer's room, which a flush may make.
  func awaitsAnswerRoom(_ header: FixedHeader, _ body: Bytes, on id: ConnectionID) -> Bool {
    guard connections[id].state == .connected, !connections[id].outbox.isEmpty else { return false }
    if hasAnswerRoom(body.count, on: id) { return false }  // it is shorter than that
    let version = connections[id].version
    var byteCount = 0
    do throws(WireError) {
      if header.type == .subscribe {
        let count = try Subscribe(body: body, flags: header.flags, version: version).filterCount
        byteCount = SubAck.byteCount(.subAck, codeCount: count, version: version)
      } else {
        let count = try Unsubscribe(body: body, flags: header.flags, version: version).filterCount
        byteCount = SubAck.byteCount(.unsubAck, codeCount: count, version: version)
      }
    } catch {
      return false  // what it is answered with has its room
    }
    return byteCount <= Int(connections[id].packetBytesMax) && !hasAnswerRoom(byteCount, on: id)
  }

  // MARK: One filter

  /// The form was judged. `mayAdd`: whether the packet may bring another subscription; what is there may always be
  /// changed.
  @_optimize(size) private mutating func subscribe(
    _ session: Handle<Session>, _ text: Bytes, _ options: SubscriptionOptions, identifier: UInt32, mayAdd: Bool
  ) -> ReasonCode {
    let shared = SharedFilter(text)
    if shared != nil, limits.sharedGroupsMax == 0 { return .sharedSubscriptionsNotSupported }  // §3.2.2.3.13
    let filter = shared?.filter ?? text
    let groupName = shared?.group ?? .empty
    if let (limit, size) = excess(of: filter) {
      limitHit(limit, by: session, size: size)
      return .quotaExceeded
    }
    let known = subscriptions.find(session, filter, groupName, topics)
    guard maySubscribe(session, to: filter) else {
      if let known { subscriptions.remove(known, &topics, sessions, &shares) }
      return .notAuthorized
    }
    if let existing = known {
      subscriptions.change(existing, options, identifier: identifier)
      if groupName.isEmpty, options.retainHandling == 0 {
        subscriptions.beginReplay(existing, upTo: retained.age, sessions)
      }
      return ReasonCode(granted: options.qos)
    }
    guard mayAdd else { return .quotaExceeded }
    do throws(Limit) {
      let made = try add(session, filter, groupName, options, identifier: identifier)
      // Retained messages are not sent to a shared subscription (§4.8.2).
      if groupName.isEmpty, options.retainHandling < 2 { subscriptions.beginReplay(made, upTo: retained.age, sessions) }
      return ReasonCode(granted: options.qos)
    } catch {
      limitHit(error, by: session)
      return .quotaExceeded
    }
  }

  @_optimize(size) private mutating func add(
    _ session: Handle<Session>, _ filter: Bytes, _ groupName: Bytes, _ options: SubscriptionOptions, identifier: UInt32
  ) throws(Limit) -> Handle<Subscription> {
    let (node, use) = try topics.intern(filter, by: .session(session), shares.joint, sessions)
    do throws(Limit) {
      return try subscriptions.add(
        session, node, groupName, options, identifier: identifier, use: use, &topics, sessions, &shares)
    } catch {
      topics.prune(node)
      throw error
    }
  }

  /// However many there are: they make room.
  @_optimize(size) mutating func unsubscribeReceived(_ packet: Unsubscribe, on id: ConnectionID, at now: Instant)
    throws(WireError)
  {
    var answer = try beginAnswer(.unsubAck, packet.packetID, codeCount: packet.filterCount, on: id)
    let session = connections[id].session
    let version = connections[id].version
    var filters = packet.filters
    while let text = filters.next() {
      work.did(Work.filterSteps)
      SubAck.write(unsubscribe(session, text), of: .unsubAck, into: &answer, version: version)
    }
    sendControl(answer.written, on: id)
  }

  @_optimize(size) private mutating func unsubscribe(_ session: Handle<Session>, _ text: Bytes) -> ReasonCode {
    let shared = SharedFilter(text)
    let found = subscriptions.find(session, shared?.filter ?? text, shared?.group ?? .empty, topics)
    guard let found else { return .noSubscriptionExisted }
    subscriptions.remove(found, &topics, sessions, &shares)
    return .success
  }
}
