import Bounded
import MQTTWire

/// SUBSCRIBE and UNSUBSCRIBE (§3.8 to §3.11), plain and shared (§4.8).
extension Broker {
  mutating func subscribeReceived(_ packet: Subscribe, on id: ConnectionID, at now: Instant) throws(WireError) {
    try checkAnswer(codeCount: packet.filterCount, on: id)
    let session = connections[id].session
    let version = connections[id].version
    var codes = messageScratch.writer()
    var filters = packet.filters
    while let entry = filters.next() {
      codes.write(subscribe(session, entry.filter, entry.options, identifier: packet.subscriptionID).rawValue)
    }
    sendControl(on: id) { writer in
      SubAck(packetID: packet.packetID, reasonCodes: codes.written)
        .encode(type: .subAck, into: &writer, version: version)
    }
    pump(session, at: now)  // retained messages follow the SUBACK
  }

  /// Whether as many Reason Codes can be answered, by our limits and the client's (§3.1.2-24).
  private func checkAnswer(codeCount: Int, on id: ConnectionID) throws(WireError) {
    guard codeCount <= limits.filtersPerPacketMax else { throw .quotaExceeded }
    let length = 3 + codeCount  // packet id, no properties
    guard 1 + ByteCounter.variableByteIntegerByteCount(length) + length <= Int(connections[id].packetBytesMax) else {
      throw .packetTooLarge
    }
    guard outboxes.hasRoom(connections[id].outbox, for: 5 + length, use: .control) else { throw .quotaExceeded }
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
    guard filter.count <= limits.topicBytesMax, Topic.levelCount(filter) <= limits.topicLevelsMax else {
      return .quotaExceeded
    }
    if let existing = findSubscription(session, filter, groupName) {
      subscriptions[existing].options = options
      subscriptions[existing].identifier = identifier
      if groupName.isEmpty, options.retainHandling == 0 { beginReplay(existing) }
      return granted(options.qos)
    }
    guard let node = topics.intern(filter) else { return .quotaExceeded }
    guard let made = addSubscription(session, node, groupName, options, identifier) else {
      topics.prune(node)
      return .quotaExceeded
    }
    // Retained messages are not sent to a shared subscription (§4.8.2).
    if groupName.isEmpty, options.retainHandling < 2 { beginReplay(made) }
    return granted(options.qos)
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
    while let text = filters.next() { codes.write(unsubscribe(session, text).rawValue) }
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
    guard let subscription = findSubscription(session, filter, groupName) else { return .noSubscriptionExisted }
    removeSubscription(subscription)
    return .success
  }

  // MARK: Lists

  private func findSubscription(
    _ session: Handle<Session>, _ filter: Bytes, _ groupName: Bytes
  ) -> Handle<Subscription>? {
    guard let node = topics.find(filter) else { return nil }
    var group = Handle<SharedGroup>.null
    if !groupName.isEmpty {
      guard let found = findGroup(node, groupName) else { return nil }
      group = found
    }
    var subscription = group.isNull ? topics[node].subscriptions : groups[group].members
    while !subscription.isNull {
      if subscriptions[subscription].session == session { return subscription }
      subscription = subscriptions[subscription].nextInNode
    }
    return nil
  }

  private func findGroup(_ node: Handle<TopicNode>, _ name: Bytes) -> Handle<SharedGroup>? {
    var group = topics[node].groups
    while !group.isNull {
      if groupNames.isEqual(groups[group].name, to: name) { return group }
      group = groups[group].next
    }
    return nil
  }

  private mutating func addSubscription(
    _ session: Handle<Session>, _ node: Handle<TopicNode>, _ groupName: Bytes, _ options: SubscriptionOptions,
    _ identifier: UInt32
  ) -> Handle<Subscription>? {
    guard subscriptions.hasRoom else {
      subscriptions.gauge.refused &+= 1
      return nil
    }
    var group = Handle<SharedGroup>.null
    if !groupName.isEmpty {
      guard let found = findGroup(node, groupName) ?? addGroup(node, groupName) else { return nil }
      group = found
    }
    let entry = Subscription(session: session, node: node, group: group, options: options, identifier: identifier)
    let made = subscriptions.lend(entry)!  // the room was seen above
    let head = group.isNull ? topics[node].subscriptions : groups[group].members
    subscriptions[made].nextInNode = head
    if group.isNull { topics[node].subscriptions = made } else { groups[group].members = made }

    let first = sessions[session].subscriptions
    subscriptions[made].nextInSession = first
    if !first.isNull { subscriptions[first].previousInSession = made }
    sessions[session].subscriptions = made
    sessions[session].subscriptionCount += 1
    return made
  }

  private mutating func addGroup(_ node: Handle<TopicNode>, _ name: Bytes) -> Handle<SharedGroup>? {
    guard let body = groupNames.lend(byteCount: name.count, keepingFree: 0) else { return nil }
    var cursor = groupNames.cursor(body)
    groupNames.write(name, at: &cursor)
    guard let group = groups.lend(SharedGroup(node: node, name: body, next: topics[node].groups)) else {
      groupNames.release(body)
      return nil
    }
    topics[node].groups = group
    return group
  }

  mutating func removeSubscription(_ subscription: Handle<Subscription>) {
    endReplay(subscription)
    let entry = subscriptions[subscription]
    let node = entry.isShared ? groups[entry.group].node : entry.node
    if entry.isShared, groups[entry.group].turn == subscription { groups[entry.group].turn = entry.nextInNode }
    let first = entry.isShared ? groups[entry.group].members : topics[node].subscriptions
    if first != subscription {
      // A walk through those of one filter, one a session at most, as for SUBSCRIBE.
      var before = first
      while subscriptions[before].nextInNode != subscription { before = subscriptions[before].nextInNode }
      subscriptions[before].nextInNode = entry.nextInNode
    } else if entry.isShared {
      groups[entry.group].members = entry.nextInNode
    } else {
      topics[node].subscriptions = entry.nextInNode
    }
    if !entry.nextInSession.isNull { subscriptions[entry.nextInSession].previousInSession = entry.previousInSession }
    if !entry.previousInSession.isNull {
      subscriptions[entry.previousInSession].nextInSession = entry.nextInSession
    } else {
      sessions[entry.session].subscriptions = entry.nextInSession
    }
    sessions[entry.session].subscriptionCount -= 1
    subscriptions.giveBack(subscription)
    if entry.isShared, groups[entry.group].members.isNull { removeGroup(entry.group) }
    topics.prune(node)
  }

  private mutating func removeGroup(_ group: Handle<SharedGroup>) {
    let node = groups[group].node
    if topics[node].groups == group {
      topics[node].groups = groups[group].next
    } else {
      var before = topics[node].groups
      while groups[before].next != group { before = groups[before].next }
      groups[before].next = groups[group].next
    }
    groupNames.release(groups[group].name)
    groups.giveBack(group)
  }
}
