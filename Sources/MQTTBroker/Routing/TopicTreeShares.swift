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
    let nodesInCommon = shares.mayBeCommon(.topicNodes, Int(new.nodes), by: holder, sessions)
    if nodesInCommon, shares.mayBeCommon(.topicNameCells, Int(new.nameCells), by: holder, sessions) {
      return (node, holder == .board ? new : .common)
    }
    let nodesAreSure = shares.isSure(
      .topicNodes, Int(all.nodes), by: holder, free: gauge.free, sessions)
    if nodesAreSure,
      shares.isSure(.topicNameCells, Int(all.nameCells), by: holder, free: namesGauge.free, sessions)
    {
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
      let cells = UInt16(cellCount(node))
      all.nodes += 1
      all.nameCells += cells
      if self[node].commonCount == 0 {
        new.nodes += 1
        new.nameCells += cells
      }
      node = self[node].parent
    }
    return (all, new)
  }

  /// An entry of the holder's hangs on `node` from now on.
  mutating func take(
    _ node: Handle<TopicNode>, _ use: TopicUse, by holder: Holder, _ shares: inout JointShares,
    _ sessions: borrowing SessionStore
  ) {
    shares.change(.topicNodes, by: Int(use.nodes), of: holder, sessions)
    shares.change(.topicNameCells, by: Int(use.nameCells), of: holder, sessions)
    if use.nodes == 0 || holder == .board { takeInCommon(node, &shares) }
  }

  /// It does not any more. The caller prunes afterwards.
  mutating func giveBack(
    _ node: Handle<TopicNode>, _ use: TopicUse, by holder: Holder, _ shares: inout JointShares,
    _ sessions: borrowing SessionStore
  ) {
    shares.change(.topicNodes, by: -Int(use.nodes), of: holder, sessions)
    shares.change(.topicNameCells, by: -Int(use.nameCells), of: holder, sessions)
    guard use.nodes == 0 || holder == .board else { return }
    var node = node
    while node != rootHandle {
      guard countCommon(node, -1) == 0 else { return }
      shares.addCommon(.topicNodes, -1)
      shares.addCommon(.topicNameCells, -cellCount(node))
      node = self[node].parent
    }
  }

  mutating func takeInCommon(_ node: Handle<TopicNode>, _ shares: inout JointShares) {
    var node = node
    while node != rootHandle {
      guard countCommon(node, 1) == 1 else { return }
      shares.addCommon(.topicNodes, 1)
      shares.addCommon(.topicNameCells, cellCount(node))
      node = self[node].parent
    }
  }
}
