import Bounded
import MQTTWire

/// SUBSCRIBE and UNSUBSCRIBE (§3.8 to §3.11), plain and shared (§4.8).
extension Broker {
  mutating func subscribeReceived(_ packet: Subscribe, on id: ConnectionID, at now: Instant) throws(WireError) {
    try checkAnswer(codeCount: packet.filterCount, on: id)
    let session = connections[id].session
    let version = connections[id].version
    let isBridge = connections[id].isBridge
    var codes = messageScratch.writer()
    var filters = packet.filters
    while let entry = filters.next() {
      work.did(Work.filterSteps)
      let options = isBridge ? entry.options.ofBridge : entry.options
      codes.write(subscribe(session, entry.filter, options, identifier: packet.subscriptionID).rawValue)
    }
    sendControl(on: id) { writer in
      SubAck(packetID: packet.packetID, reasonCodes: codes.written)
        .encode(type: .subAck, into: &writer, version: version)
    }
    pump(session, at: now)  // retained messages follow the SUBACK
  }

  /// Whether as many Reason Codes can be answered, by our limits and the client's (§3.1.2-24).
  private mutating func checkAnswer(codeCount: Int, on id: ConnectionID) throws(WireError) {
    guard codeCount <= limits.filtersPerPacketMax else {
      limitHit(.filtersPerPacket, on: id, size: codeCount, .disconnected)
      throw .quotaExceeded
    }
    let length = 3 + codeCount  // packet id, no properties
    guard 1 + ByteCounter.variableByteIntegerByteCount(length) + length <= Int(connections[id].packetBytesMax) else {
      throw .packetTooLarge
    }
    // What was promised to acknowledgements that wait stays theirs.
    let needed = 5 + length + connections[id].acks.byteCount
    guard outboxes.hasRoom(connections[id].outbox, for: needed, use: .control) else {
      limitHit(.outboxChunks, on: id, .disconnected)
      throw .quotaExceeded
    }
  }

  private mutating func subscribe(
    _ session: Handle<Session>, _ text: Bytes, _ options: SubscriptionOptions, identifier: UInt32
  ) -> ReasonCode {
    var filter = text
    var groupName = Bytes.empty
    if SharedFilter.isShare(text) {
      guard let shared = SharedFilter(text) else { return .topicFilterInvalid }
      guard limits.sharedGroupsMax > 0 else { return .sharedSubscriptionsNotSupported }  // §3.2.2.3.13
      filter = shared.filter
      groupName = shared.group
    }
    guard Topic.isValidFilter(filter) else { return .topicFilterInvalid }
    guard isWithin(filter, by: session) else { return .quotaExceeded }
    if let existing = subscriptions.find(session, filter, groupName, topics) {
      subscriptions.change(existing, options, identifier: identifier)
      if groupName.isEmpty, options.retainHandling == 0 {
        subscriptions.beginReplay(existing, upTo: retained.age, sessions)
      }
      return granted(options.qos)
    }
    let nodesRefused = topics.gauge.refused
    guard let node = topics.intern(filter) else {
      limitHit(topics.gauge.refused == nodesRefused ? .topicNameCells : .topicNodes, by: session)
      return .quotaExceeded
    }
    let made = subscriptions.add(session, node, groupName, options, identifier: identifier, &topics, sessions)
    guard let made else {
      limitHit(subscriptions.gauge.free == 0 ? .subscriptions : .sharedGroups, by: session)
      topics.prune(node)
      return .quotaExceeded
    }
    // Retained messages are not sent to a shared subscription (§4.8.2).
    if groupName.isEmpty, options.retainHandling < 2 { subscriptions.beginReplay(made, upTo: retained.age, sessions) }
    return granted(options.qos)
  }

  private mutating func isWithin(_ filter: Bytes, by session: Handle<Session>) -> Bool {
    guard filter.count <= limits.topicBytesMax else {
      limitHit(.topicBytes, by: session, size: filter.count)
      return false
    }
    let levelCount = Topic.levelCount(filter)
    guard levelCount <= limits.topicLevelsMax else {
      limitHit(.topicLevels, by: session, size: levelCount)
      return false
    }
    return true
  }

  private func granted(_ qos: QoS) -> ReasonCode {
    switch qos {
    case .atMostOnce: return .success
    case .atLeastOnce: return .grantedQoS1
    case .exactlyOnce: return .grantedQoS2
    }
  }

  mutating func unsubscribeReceived(_ packet: Unsubscribe, on id: ConnectionID, at now: Instant) throws(WireError) {
    try checkAnswer(codeCount: packet.filterCount, on: id)
    let session = connections[id].session
    let version = connections[id].version
    var codes = messageScratch.writer()
    var filters = packet.filters
    while let text = filters.next() {
      work.did(Work.filterSteps)
      codes.write(unsubscribe(session, text).rawValue)
    }
    sendControl(on: id) { writer in
      SubAck(packetID: packet.packetID, reasonCodes: codes.written)
        .encode(type: .unsubAck, into: &writer, version: version)
    }
  }

  private mutating func unsubscribe(_ session: Handle<Session>, _ text: Bytes) -> ReasonCode {
    var filter = text
    var groupName = Bytes.empty
    if SharedFilter.isShare(text) {
      guard let shared = SharedFilter(text) else { return .topicFilterInvalid }
      filter = shared.filter
      groupName = shared.group
    }
    guard Topic.isValidFilter(filter) else { return .topicFilterInvalid }
    guard let subscription = subscriptions.find(session, filter, groupName, topics) else {
      return .noSubscriptionExisted
    }
    subscriptions.remove(subscription, &topics, sessions)
    return .success
  }
}
