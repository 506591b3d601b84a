import Bounded
import MQTTWire

/// All topic names and filters that anything hangs on, as a tree of levels. A child is found by the hash of
/// its parent and name, so a match costs one look-up a level and branch; nothing recurses on a peer's depth.
///
/// Peers choose the names, so names have a keyed hash. A parent's handle is multiplied by a secret odd number and added: of
/// two children the hashes, or any part of them, are equal by chance only, as nobody outside knows either part.
///
/// Invariant: a node other than the root is used, except while a caller is about to hang something on it.
struct TopicTree: ~Copyable {
  private var nodes: Slab<TopicNode>
  private(set) var index: HashIndex
  private(set) var names: BlockPool
  private let levels: FixedArray<Level>
  private let stack: FixedArray<Step>
  private let levelsMax: Int
  private let key: HashKey
  private let parentFactor: UInt64
  private let recentSeed: UInt64
  private(set) var rootHandle: Handle<TopicNode> = .null

  /// Nodes found by the last `match`, at most one entry a node: each has a subscription or a tap, or it is the topic's own.
  private let found: FixedArray<Handle<TopicNode>>
  private(set) var foundCount = 0
  /// Nodes that the last match has visited.
  private(set) var visitedCount = 0

  /// Of the topic that is being matched; hashed once, whatever the number of branches.
  private struct Level: BitwiseCopyable {
    var name: Bytes
    var hash: UInt64
  }

  private struct Step: BitwiseCopyable {
    var node: Handle<TopicNode>
    var depth: Int
  }
  private let plusHash: UInt64  // of the level's name
  private let hashHash: UInt64
  var recent: RecentMatches
  static var plus: Bytes { Bytes("+") }
  static var hash: Bytes { Bytes("#") }

  @_optimize(size) init(limits: Limits, key: HashKey, in reservation: inout Reservation) {
    let nodesMax = limits.topicNodesMax + 1  // and the root
    nodes = Slab(capacity: nodesMax, name: "topic nodes", in: &reservation)
    index = HashIndex(capacity: nodesMax, name: "  index", in: &reservation)
    names = BlockPool(
      blockCount: limits.topicNameCellsMax, blockBytes: 64, name: "topic name cells", in: &reservation)
    levelsMax = limits.topicLevelsMax
    levels = FixedArray(count: levelsMax, name: "match: levels", in: &reservation)
    stack = FixedArray(count: levelsMax + 2, name: "match: stack", in: &reservation)
    let foundMax = min(nodesMax, limits.subscriptionsMax + limits.tapsMax + 1)
    found = FixedArray(count: foundMax, name: "match: nodes", in: &reservation)
    recent = RecentMatches(in: &reservation)
    plusHash = key.hash(TopicTree.plus)
    hashHash = key.hash(TopicTree.hash)
    parentFactor = key.random(0) | 1
    recentSeed = key.random(1)
    self.key = key
  }

  var gauge: Gauge { nodes.gauge }
  var namesGauge: Gauge { names.gauge }

  subscript(handle: Handle<TopicNode>) -> TopicNode {
    unsafeAddress { UnsafePointer(nodes.address(handle)) }
  }

  func isLent(_ node: Handle<TopicNode>) -> Bool { nodes.isLent(node) }
  func handle(at index: Int) -> Handle<TopicNode>? { nodes.handle(at: index) }

  func found(_ position: Int) -> Handle<TopicNode> {
    precondition(position < foundCount)
    return found[position]
  }

  // MARK: What hangs on a node

  // Each is set by the store whose list begins there; null: the list is empty. The caller prunes afterwards.
  mutating func hang(_ first: Handle<Subscription>, on node: Handle<TopicNode>) {
    willHang(on: node)
    nodes[node].subscriptions = first
  }
  mutating func hang(_ first: Handle<SharedGroup>, on node: Handle<TopicNode>) {
    willHang(on: node)
    nodes[node].groups = first
  }
  mutating func hang(_ slot: Handle<Retained>, on node: Handle<TopicNode>) {
    willHang(on: node)
    nodes[node].retained = slot
  }
  mutating func hangTap(_ number: UInt16, on node: Handle<TopicNode>) {
    willHang(on: node)
    nodes[node].taps = number
  }

  /// From here on the topic that ends at `node` is the board's.
  mutating func own(_ node: Handle<TopicNode>) {
    willHang(on: node)
    nodes[node].childWord |= 4
  }

  /// Matches do not find a node on which nothing hangs, so those that are remembered lack it.
  private mutating func willHang(on node: Handle<TopicNode>) { if !nodes[node].isHung { recent.forget() } }

  /// Whether the topic that was matched last is the board's.
  @inline(__always) var foundOwned: Bool {
    var position = 0
    while position < foundCount {
      if nodes[found[position]].isOwned { return true }
      position += 1
    }
    return false
  }

  // MARK: Adding and removing

  /// The node at which `topic` ends, if it is in the tree.
  func find(_ topic: Bytes) -> Handle<TopicNode>? {
    guard !rootHandle.isNull else { return nil }
    var node = rootHandle
    var reader = LevelReader(topic)
    while let level = reader.next() {
      guard let child = child(of: node, level) else { return nil }
      node = child
    }
    return node
  }

  /// The node at which `topic` ends, made with all levels above it where missing; `nil` when there is no room.
  /// The caller hangs something on it, or prunes it.
  mutating func intern(_ topic: Bytes) -> Handle<TopicNode>? {
    if rootHandle.isNull {
      rootHandle = nodes.lend(TopicNode(identity: 0, hash: 0))!  // one more than topicNodesMax
    }
    var node = rootHandle
    var reader = LevelReader(topic)
    while let level = reader.next() {
      if let existing = child(of: node, level) {
        node = existing
      } else if let made = addChild(to: node, level) {
        node = made
      } else {
        prune(node)
        return nil
      }
    }
    return node
  }

  /// One entry in common more, or less, counts on `node`: how many do now.
  @inline(__always) func countCommon(_ node: Handle<TopicNode>, _ change: Int) -> Int {
    nodes[node].commonCount += change
    return nodes[node].commonCount
  }

  /// The level above; not of the root.
  func parent(of node: Handle<TopicNode>) -> Handle<TopicNode> { nodes.handle(at: nodes[node].parentIndex)! }

  /// Cells of its name.
  func cellCount(_ node: Handle<TopicNode>) -> Int {
    let rest = nodes[node].nameRest
    return rest.isNull ? 0 : names.blockCount(for: rest.byteCount)
  }

  /// Nothing was to be had, of nodes or else of cells for their names.
  mutating func countRefused(isOfNodes: Bool) -> Limit {
    if isOfNodes { nodes.gauge.refused &+= 1 } else { names.gauge.refused &+= 1 }
    return isOfNodes ? .topicNodes : .topicNameCells
  }

  /// Removes `node` and the levels above it as far as nothing hangs on them.
  mutating func prune(_ node: Handle<TopicNode>) {
    var node = node
    while node != rootHandle, !nodes[node].isUsed {
      let gone = nodes[node]
      let parent = parent(of: node)
      index.remove(node.index, hash: gone.hash, from: nodes) { $0.hash }
      nodes[parent].childWord -= wordInParent(node)
      if !gone.nameRest.isNull { names.release(gone.nameRest) }
      recent.forget()
      nodes.giveBack(node)
      node = parent
    }
  }

  /// - Parameter hash: of the level's name.
  @inline(__always) private func childHash(_ parent: Handle<TopicNode>, _ hash: UInt64) -> UInt32 {
    UInt32(truncatingIfNeeded: (hash &+ UInt64(parent.bits) &* parentFactor) &>> 32)
  }

  private func child(of parent: Handle<TopicNode>, _ level: Bytes) -> Handle<TopicNode>? {
    child(of: parent, Level(name: level, hash: key.hash(level)))
  }

  @inline(__always) private func child(of parent: Handle<TopicNode>, _ level: Level) -> Handle<TopicNode>? {
    let identity = TopicNode.identity(parentIndex: parent.index, nameByteCount: level.name.count)
    var found = Handle<TopicNode>.null
    _ = index.find(hash: childHash(parent, level.hash)) { candidate in
      guard let node = nodes.handle(at: candidate), nodes[node].has(identity: identity), hasBytes(node, level.name)
      else { return false }
      found = node
      return true
    }
    return found.isNull ? nil : found
  }

  func isNamed(_ node: Handle<TopicNode>, _ level: Bytes) -> Bool {
    nodes[node].nameByteCount == level.count && hasBytes(node, level)
  }

  /// Whether its name, of the same length unless both have more than 20 bytes, is `level`.
  private func hasBytes(_ node: Handle<TopicNode>, _ level: Bytes) -> Bool {
    let entry = nodes.address(node)
    let inlineCount = TopicNode.inlineCount(level.count)
    // By its address: passed by value, the name would be copied byte by byte.
    let isSame = withUnsafeBytes(of: &entry.pointee.name) { Bytes($0).first(inlineCount) == level.first(inlineCount) }
    guard isSame, level.count > inlineCount else { return isSame }
    return names.isEqual(entry.pointee.nameRest, to: level.from(inlineCount))
  }

  private mutating func addChild(to parent: Handle<TopicNode>, _ level: Bytes) -> Handle<TopicNode>? {
    let inlineCount = TopicNode.inlineCount(level.count)
    var rest = Body.null
    if level.count > inlineCount {
      guard let body = names.lend(byteCount: level.count - inlineCount, keepingFree: 0) else { return nil }
      var cursor = names.cursor(body)
      names.write(level.from(inlineCount), at: &cursor)
      rest = body
    }
    let hash = childHash(parent, key.hash(level))
    let identity = TopicNode.identity(parentIndex: parent.index, nameByteCount: level.count)
    var node = TopicNode(identity: identity, hash: hash)
    node.setName(level.first(inlineCount), rest: rest)
    guard let handle = nodes.lend(node) else {
      if !rest.isNull { names.release(rest) }
      return nil
    }
    index.insert(handle.index, hash: hash)
    nodes[parent].childWord += wordInParent(handle)
    recent.forget()
    return handle
  }

  /// What a node is in its parent's `childWord`.
  private func wordInParent(_ node: Handle<TopicNode>) -> UInt32 {
    8 + (isNamed(node, TopicTree.plus) ? 1 : 0) + (isNamed(node, TopicTree.hash) ? 2 : 0)
  }

  func plusChild(of node: Handle<TopicNode>) -> Handle<TopicNode>? {
    nodes[node].childWord & 1 == 0 ? nil : child(of: node, Level(name: TopicTree.plus, hash: plusHash))
  }

  func hashChild(of node: Handle<TopicNode>) -> Handle<TopicNode>? {
    nodes[node].childWord & 2 == 0 ? nil : child(of: node, Level(name: TopicTree.hash, hash: hashHash))
  }

  // MARK: Matching

  /// Finds every node on which something for topic name `topic` hangs (§4.7): read them with `found`.
  /// A topic deeper than the limit matches nothing; it was refused before.
  mutating func match(_ topic: Bytes) {
    // Publishers repeat their topics: looking at one that was matched before takes a tenth of matching it.
    let hash = topic.quickHash(seed: recentSeed)
    if let row = recent.row(of: topic, hash: hash) {
      foundCount = recent.copy(row, into: found)
      visitedCount = foundCount
      return
    }
    walk(topic)
    recent.keep(topic, hash: hash, found, count: foundCount)
  }

  private mutating func walk(_ topic: Bytes) {
    foundCount = 0
    visitedCount = 0
    guard !rootHandle.isNull else { return }
    var levelCount = 0
    var reader = LevelReader(topic)
    while let level = reader.next() {
      guard levelCount < levelsMax else { return }
      levels[levelCount] = Level(name: level, hash: key.hash(level))
      levelCount += 1
    }
    let isDollar = !topic.isEmpty && topic[0] == UInt8(ascii: "$")
    var stackCount = 1
    stack[0] = Step(node: rootHandle, depth: 0)
    while stackCount > 0 {
      stackCount -= 1
      visitedCount &+= 1
      let step = stack[stackCount]
      // Wildcards in the first level do not match topics that begin with $ (§4.7.2).
      let wildcards = step.depth > 0 || !isDollar
      if wildcards, let rest = hashChild(of: step.node) { add(rest) }  // `a/#` matches `a` too (§4.7.1.2)
      guard step.depth < levelCount else {
        add(step.node)
        continue
      }
      if wildcards, let any = plusChild(of: step.node) {
        stack[stackCount] = Step(node: any, depth: step.depth + 1)
        stackCount += 1
      }
      if let exact = child(of: step.node, levels[step.depth]) {
        stack[stackCount] = Step(node: exact, depth: step.depth + 1)
        stackCount += 1
      }
    }
  }

  private mutating func add(_ node: Handle<TopicNode>) {
    guard nodes[node].isHung else { return }
    found[foundCount] = node
    foundCount += 1
  }

  /// Writes the text of the topic or filter that ends at `node`; the writer has room for `topicBytesMax`.
  func write(_ node: Handle<TopicNode>, into writer: inout ByteWriter) {
    var depth = 0
    var current = node
    while current != rootHandle {
      stack[depth] = Step(node: current, depth: 0)
      depth += 1
      current = parent(of: current)
    }
    while depth > 0 {
      depth -= 1
      let level = stack[depth].node
      let byteCount = nodes[level].nameByteCount
      let inlineCount = TopicNode.inlineCount(byteCount)
      withUnsafeBytes(of: nodes[level].name) { writer.write(Bytes($0).first(inlineCount)) }
      if byteCount > inlineCount {
        names.copy(nodes[level].nameRest, from: 0, byteCount: byteCount - inlineCount, into: &writer)
      }
      if depth > 0 { writer.write(UInt8(ascii: "/")) }
    }
  }
}
