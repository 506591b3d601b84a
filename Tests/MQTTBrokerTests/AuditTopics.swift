import MQTTWire

@testable import Bounded
@testable import MQTTBroker

/// Topic nodes, and the lists that hang on them.
extension Audit {
  mutating func topicNodes(_ broker: borrowing Broker) {
    var nameCells = 0
    var nameBlocks = 0
    var children: [Int] = Array(repeating: 0, count: broker.topics.gauge.capacity)
    var indexed = 0
    for index in 0..<broker.topics.gauge.capacity {
      guard let handle = broker.topics.handle(at: index) else { continue }
      let node = broker.topics[handle]
      nodeLists(broker, handle, node, &nameBlocks)
      guard handle != broker.topics.rootHandle else { continue }
      indexed += 1
      check(node.isUsed, "topic node \(index) is not used")
      let parent = broker.topics.parent(of: handle)
      children[parent.index] += 1
      check(broker.topics.index.find(hash: node.hash) { $0 == index } != nil, "topic node \(index): the index")
      if !node.nameRest.isNull { nameCells += broker.topics.names.blockCount(for: node.nameRest.byteCount) }
      if broker.topics.isNamed(handle, TopicTree.plus) {
        check(broker.topics.plusChild(of: parent) == handle, "topic node \(index): + of its parent")
      }
      if broker.topics.isNamed(handle, TopicTree.hash) {
        check(broker.topics.hashChild(of: parent) == handle, "topic node \(index): # of its parent")
      }
    }
    for index in 0..<broker.topics.gauge.capacity {
      guard let handle = broker.topics.handle(at: index) else { continue }
      check(broker.topics[handle].childCount == children[index], "topic node \(index): children")
    }
    check(indexed == broker.topics.index.count, "topic index")
    check(nameCells == broker.topics.namesGauge.used, "topic name cells")
    check(nameBlocks == broker.subscriptions.groupNames.gauge.used, "shared group names")
    check(broker.subscriptions.index.count == broker.subscriptions.gauge.used, "subscription index")
    check(broker.subscriptions.groupIndex.count == broker.subscriptions.groupsGauge.used, "shared group index")
    check(groupsInNodes == broker.subscriptions.groupsGauge.used, "shared groups lent, but at no node")
    check(subscriptionsInNodes == broker.subscriptions.gauge.used, "subscriptions lent, but at no node")
  }

  private mutating func nodeLists(
    _ broker: borrowing Broker, _ handle: Handle<TopicNode>, _ node: TopicNode, _ nameBlocks: inout Int
  ) {
    members(broker, node.subscriptions, of: handle, .null, turn: .null)
    var group = node.groups
    while !group.isNull, groupsInNodes <= broker.limits.sharedGroupsMax {
      let entry = broker.subscriptions[group]
      check(entry.node == handle && !entry.members.isNull, "shared group \(group.index): node or members")
      members(broker, entry.members, of: handle, group, turn: entry.turn)
      nameBlocks += broker.subscriptions.groupNames.blockCount(for: entry.name.byteCount)
      groupsInNodes += 1
      group = entry.next
    }
    guard !node.retained.isNull else { return }
    let isMutual = broker.retained.isLent(node.retained) && broker.retained[node.retained].place.index == handle.index
    check(isMutual, "topic node \(handle.index): its retained message")
  }

  private mutating func members(
    _ broker: borrowing Broker, _ first: Handle<Subscription>, of node: Handle<TopicNode>,
    _ group: Handle<SharedGroup>, turn: Handle<Subscription>
  ) {
    var isTurnFound = turn.isNull
    var previous = Handle<Subscription>.null
    var next = first
    while !next.isNull, subscriptionsInNodes <= broker.limits.subscriptionsMax {
      let entry = broker.subscriptions[next]
      check(
        broker.subscriptions.group(of: entry) == group && broker.subscriptions.node(of: entry, broker.topics) == node,
        "subscription \(next.index) is in a list not its own")
      check(entry.previousInNode == previous, "subscription \(next.index): the one before it")
      previous = next
      if next == turn { isTurnFound = true }
      subscriptionsInNodes += 1
      next = entry.nextInNode
    }
    check(isTurnFound, "shared group \(group.index): whose turn it is")
  }
}
