public import Bounded
import MQTTWire

/// One level of a rule's filter. Filters that begin alike share their first levels.
struct AccessNode: BitwiseCopyable {
  enum Kind: UInt8, BitwiseCopyable {
    case name
    case plus
    /// `#`.
    case rest
    /// Its name has `%c` or `%u` in it.
    case pattern
  }
  let parent: UInt32
  /// Levels from the root to here, this one included.
  let depth: UInt16
  fileprivate let nameByteCount: UInt16
  fileprivate let nameStart: UInt32
  let kind: Kind
  // Each a place + 1; 0: there is none.
  fileprivate(set) var plus: UInt32 = 0
  fileprivate(set) var rest: UInt32 = 0
  fileprivate(set) var firstPattern: UInt32 = 0
  let nextPattern: UInt32
  fileprivate(set) var firstRule: UInt32 = 0
}

/// One rule, in the list of the node at which its filter ends.
struct AccessRule: BitwiseCopyable {
  enum Subject: UInt8, BitwiseCopyable { case member, everybody, pattern }
  let node: UInt32
  /// The next rule of the same node, + 1; 0: there is none.
  let next: UInt32
  let subject: Subject
  /// Of a `member`; 0: anonymous clients.
  let role: Role
  let access: Access
  let usesClientID: Bool
  let usesUserName: Bool

  var allowsReading: Bool { access == .read || access == .readWrite }
  var allowsWriting: Bool { access == .write || access == .readWrite }
}

/// A compiled ACL: a tree of the filters' levels. Two are made at the start, the one in force and the next one.
///
/// Rules have no order: a rule that denies beats all that allow, wherever it stands, and what no rule allows is denied.
/// A filter that begins with a wildcard, or with a level of a pattern that does not begin with `$` itself, never covers
/// topics that begin with `$`.
///
/// Invariant: node 0 is the root; a node's parent stands before it; a node of the kind `name` is in `slots`, of which at
/// least half are empty.
public struct AccessRules: ~Copyable {
  public let sizes: AccessSizes
  /// False: no ACL is given, and everything is allowed. An empty ACL denies everything.
  public var isInForce = false
  private let rules: FixedArray<AccessRule>
  private let nodes: FixedArray<AccessNode>
  private let slots: FixedArray<UInt32>  // place + 1 of a node; 0: empty
  private let names: Scratch
  public private(set) var ruleCount = 0
  private var nodeCount = 1
  private var nameByteCount = 0

  @_optimize(size) public init(sizes: AccessSizes, in reservation: inout Reservation) {
    precondition(sizes.rules >= 0 && sizes.levels >= 0 && sizes.nameBytes >= 0)
    self.sizes = sizes
    rules = FixedArray(count: sizes.rules, name: "access rules", in: &reservation)
    nodes = FixedArray(count: AccessRules.nodeCapacity(sizes), name: "  levels", in: &reservation)
    var slotCount = sizes.levels > 0 ? 2 : 0
    while slotCount < 2 * sizes.levels { slotCount *= 2 }
    slots = FixedArray(count: slotCount, name: "  index", in: &reservation)
    names = Scratch(byteCount: sizes.nameBytes, name: "  names", in: &reservation)
  }

  /// The levels and the root.
  static func nodeCapacity(_ sizes: AccessSizes) -> Int { sizes.levels > 0 ? sizes.levels + 1 : 0 }

  func rule(_ index: Int) -> AccessRule { rules[index] }
  func node(_ index: Int) -> AccessNode { nodes[index] }
  var isEmpty: Bool { ruleCount == 0 }

  /// The name of a level of the kinds `name` and `pattern`.
  @_optimize(size) func name(_ node: Int) -> Bytes {
    let start = Int(nodes[node].nameStart)
    return Bytes(UnsafeRawBufferPointer(names.buffer))[start..<start + Int(nodes[node].nameByteCount)]
  }

  // MARK: Changing

  /// Forgets all rules.
  @_optimize(size) public mutating func clear() {
    ruleCount = 0
    nodeCount = 1
    nameByteCount = 0
    if nodes.count > 0 {
      nodes[0] = AccessNode(parent: 0, depth: 0, nameByteCount: 0, nameStart: 0, kind: .name, nextPattern: 0)
    }
    var slot = 0
    while slot < slots.count {
      slots[slot] = 0
      slot += 1
    }
  }

  /// Adds a rule. When it throws, what was added before still stands.
  @_optimize(size) public mutating func add(_ subject: RuleSubject, _ access: Access, filter: Bytes) throws(RuleProblem)
  {
    guard Topic.isValidFilter(filter), Topic.levelCount(filter) <= Int(UInt16.max) else { throw .badFilter }
    guard ruleCount < rules.count else { throw .noRoom(of: .rules) }
    var isForEverybody = false
    var role: Role = 0
    switch subject {
    case .anonymous: break
    case .role(let given):
      precondition(given != 0)
      role = given
    case .everybody: isForEverybody = true
    }
    var usesClientID = false
    var usesUserName = false
    var node = 0
    var reader = LevelReader(filter)
    while let level = reader.next() {
      let hasClientID = isForEverybody && AccessRules.holds(level, UInt8(ascii: "c"))
      let hasUserName = isForEverybody && AccessRules.holds(level, UInt8(ascii: "u"))
      usesClientID = usesClientID || hasClientID
      usesUserName = usesUserName || hasUserName
      node = try descend(from: node, level, isPattern: hasClientID || hasUserName)
    }
    let isPattern = usesClientID || usesUserName
    rules[ruleCount] = AccessRule(
      node: UInt32(node), next: nodes[node].firstRule,
      subject: isPattern ? .pattern : isForEverybody ? .everybody : .member, role: role, access: access,
      usesClientID: usesClientID, usesUserName: usesUserName)
    ruleCount += 1
    nodes[node].firstRule = UInt32(ruleCount)
  }

  /// Whether a level has `%` and this letter in it.
  @_optimize(size) private static func holds(_ level: Bytes, _ letter: UInt8) -> Bool {
    var index = 0
    while index + 1 < level.count {
      if level[index] == UInt8(ascii: "%"), level[index + 1] == letter { return true }
      index += 1
    }
    return false
  }

  /// The child of this name, made where it is missing.
  @_optimize(size) private mutating func descend(from parent: Int, _ level: Bytes, isPattern: Bool) throws(RuleProblem)
    -> Int
  {
    let kind: AccessNode.Kind =
      level == TopicTree.plus ? .plus : level == TopicTree.hash ? .rest : isPattern ? .pattern : .name
    if nodes.count > 0, let known = child(of: parent, level, kind) { return known }
    guard nodeCount < nodes.count else { throw .noRoom(of: .levels) }
    var nameStart = 0
    if kind == .name || kind == .pattern {
      guard level.count <= names.capacity - nameByteCount else { throw .noRoom(of: .nameBytes) }
      nameStart = nameByteCount
      UnsafeMutableRawBufferPointer(rebasing: names.buffer[nameStart..<nameStart + level.count])
        .copyMemory(from: level.buffer)
      nameByteCount += level.count
    }
    let made = nodeCount
    nodeCount += 1
    nodes[made] = AccessNode(
      parent: UInt32(parent), depth: nodes[parent].depth + 1,
      nameByteCount: kind == .plus || kind == .rest ? 0 : UInt16(level.count),
      nameStart: UInt32(nameStart), kind: kind, nextPattern: kind == .pattern ? nodes[parent].firstPattern : 0)
    switch kind {
    case .name:
      var slot = self.slot(parent, level)
      while slots[slot] != 0 { slot = (slot + 1) & (slots.count - 1) }
      slots[slot] = UInt32(made) + 1
    case .plus: nodes[parent].plus = UInt32(made) + 1
    case .rest: nodes[parent].rest = UInt32(made) + 1
    case .pattern: nodes[parent].firstPattern = UInt32(made) + 1
    }
    return made
  }

  // MARK: Finding

  @_optimize(size) private func child(of parent: Int, _ level: Bytes, _ kind: AccessNode.Kind) -> Int? {
    switch kind {
    case .name: return child(of: parent, level)
    case .plus: return nodes[parent].plus == 0 ? nil : Int(nodes[parent].plus) - 1
    case .rest: return nodes[parent].rest == 0 ? nil : Int(nodes[parent].rest) - 1
    case .pattern:
      var next = nodes[parent].firstPattern
      while next != 0 {
        let place = Int(next) - 1
        if name(place) == level { return place }
        next = nodes[place].nextPattern
      }
      return nil
    }
  }

  @_optimize(size) private func slot(_ parent: Int, _ level: Bytes) -> Int {
    Int(level.quickHash(seed: UInt64(parent) &* 0x9E37_79B9_7F4A_7C15)) & (slots.count - 1)
  }

  /// The child whose name is this very level. The rules' author chooses what the table holds, so no peer can make its
  /// searches long.
  @_optimize(size) func child(of parent: Int, _ level: Bytes) -> Int? {
    var slot = slot(parent, level)
    while slots[slot] != 0 {
      let place = Int(slots[slot]) - 1
      if Int(nodes[place].parent) == parent, name(place) == level { return place }
      slot = (slot + 1) & (slots.count - 1)
    }
    return nil
  }
}
