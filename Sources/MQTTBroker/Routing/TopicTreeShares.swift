import Bounded

/// Who uses what of the topic tree: entries that have their levels in common, and those that take them from their holder's
/// floor (`JointShares`).
extension TopicTree {
  /// The node at which `topic` ends, for an entry of the holder's, and what it may use there. Throws, and counts, what there is
  /// no room of. The caller hangs the entry on it and calls `take`, or prunes it.
  mutating func intern(
    _ topic: Bytes, by holder: Holder, _ shares: JointShares, _ sessions: borrowing SessionStore
  ) throws(Limit) -> (node: Handle<TopicNode>, use: TopicUse) {
    let refusedBefore = gauge.refused
    guard let node = intern(topic) else { throw gauge.refused == refusedBefore ? .topicNameCells : .topicNodes }
    let (all, new) = way(to: node)
    let nodesInCommon = shares.mayBeCommon(.topicNodes, new.levelCount, by: holder, sessions)
    if nodesInCommon, shares.mayBeCommon(.topicNameCells, cellCount(of: new, at: node), by: holder, sessions) {
      return (node, holder == .board ? new : .common)
    }
    let nodesAreSure = shares.isSure(.topicNodes, all.levelCount, by: holder, free: gauge.free, sessions)
    let allCells = cellCount(of: all, at: node)
    if nodesAreSure, shares.isSure(.topicNameCells, allCells, by: holder, free: namesGauge.free, sessions) {
      return (node, all)
    }
    prune(node)
    throw countRefused(isOfNodes: !nodesInCommon && !nodesAreSure)
  }

  /// The levels down to `node`, and those of them that are not in common.
  private func way(to node: Handle<TopicNode>) -> (all: TopicUse, new: TopicUse) {
    var (all, new) = (TopicUse(), TopicUse())
    var node = node
    while node != rootHandle {
      all.levelCount += 1
      if self[node].commonCount == 0 { new.levelCount += 1 }
      node = parent(of: node)
    }
    return (all, new)
  }

  /// Cells of the names of the levels that are used, which are the deepest ones on the way to `node`.
  func cellCount(of use: TopicUse, at node: Handle<TopicNode>) -> Int {
    var count = 0
    var node = node
    var remaining = use.levelCount
    while remaining > 0 {
      count += cellCount(node)
      node = parent(of: node)
      remaining -= 1
    }
    return count
  }

  /// An entry of the holder's hangs on `node` from now on.
  mutating func take(
    _ node: Handle<TopicNode>, _ use: TopicUse, by holder: Holder, _ shares: inout JointShares,
    _ sessions: borrowing SessionStore
  ) {
    shares.change(.topicNodes, by: use.levelCount, of: holder, sessions)
    shares.change(.topicNameCells, by: cellCount(of: use, at: node), of: holder, sessions)
    if use.levelCount == 0 || holder == .board { takeInCommon(node, &shares) }
  }

  /// It does not any more. The caller prunes afterwards.
  mutating func giveBack(
    _ node: Handle<TopicNode>, _ use: TopicUse, by holder: Holder, _ shares: inout JointShares,
    _ sessions: borrowing SessionStore
  ) {
    shares.change(.topicNodes, by: -use.levelCount, of: holder, sessions)
    shares.change(.topicNameCells, by: -cellCount(of: use, at: node), of: holder, sessions)
    guard use.levelCount == 0 || holder == .board else { return }
    var node = node
    while node != rootHandle {
      guard countCommon(node, -1) == 0 else { return }
      shares.addCommon(.topicNodes, -1)
      shares.addCommon(.topicNameCells, -cellCount(node))
      node = parent(of: node)
    }
  }

  mutating func takeInCommon(_ node: Handle<TopicNode>, _ shares: inout JointShares) {
    var node = node
    while node != rootHandle {
      guard countCommon(node, 1) == 1 else { return }
      shares.addCommon(.topicNodes, 1)
      shares.addCommon(.topicNameCells, cellCount(node))
      node = parent(of: node)
    }
  }
}
