import Bounded
import MQTTWire

/// What a client may do with a topic.
enum Right: Int {
  case read, write
}

/// The rules in force, and what they say of the topic that was matched last: which roles may read and write it, which are
/// denied, and which patterns could match it. So a message is matched once, and each receiver is a test of a bit.
///
/// Invariant: `levels` are those of `topic`, unless nothing is matched; a rule is in `patterns` at most once, and only if its
/// filter matches `topic` when each level with `%c` or `%u` is taken for `+`.
struct Rights: ~Copyable {
  private(set) var rules: AccessRules
  private let topicMemory: Scratch
  private let levels: FixedArray<Bytes>
  private let stack: FixedArray<UInt32>
  private let patterns: FixedArray<UInt32>
  private var levelCount = 0
  private var patternCount = 0
  private var topic = Bytes.empty
  /// By `Right`; the last one: who is denied.
  private var members = InlineArray<3, RoleSet>(repeating: RoleSet())
  /// The same of rules for everybody, a bit each.
  private var everybody: UInt8 = 0
  /// Levels and rules that were looked at, for `Work`.
  private var lookedCount = 0
  /// How often a right was asked for, in tests.
  private(set) var writesJudged: UInt64 = 0
  private(set) var readsJudged: UInt64 = 0

  private static var denied: Int { 2 }

  @_optimize(size) init(limits: Limits, sizes: AccessSizes, in reservation: inout Reservation) {
    rules = AccessRules(sizes: sizes, in: &reservation)
    let hasRules = sizes.rules > 0
    topicMemory = Scratch(byteCount: hasRules ? limits.topicBytesMax : 0, name: "rights: topic", in: &reservation)
    levels = FixedArray(count: hasRules ? limits.topicLevelsMax : 0, name: "rights: levels", in: &reservation)
    stack = FixedArray(count: AccessRules.nodeCapacity(sizes), name: "rights: stack", in: &reservation)
    patterns = FixedArray(count: sizes.rules, name: "rights: patterns", in: &reservation)
  }

  @inline(__always) var isInForce: Bool { rules.isInForce }

  /// From here on the other rules are in force, and these are `next`.
  @_optimize(size) mutating func replace(_ next: inout AccessRules) {
    precondition(next.sizes == rules.sizes)
    swap(&rules, &next)
    topic = .empty
  }

  /// The levels and rules looked at since this was asked.
  @_optimize(size) mutating func takeLookedCount() -> Int {
    defer { lookedCount = 0 }
    return lookedCount
  }

  // MARK: Matching a topic

  /// Finds what the rules say of a topic name. Asked for the same topic again, it compares and looks no further.
  @_optimize(size) mutating func match(_ name: Bytes) {
    guard name != topic || topic.isEmpty else { return }
    topic = .empty
    patternCount = 0
    members = InlineArray(repeating: RoleSet())
    everybody = 0
    guard !rules.isEmpty, name.count <= topicMemory.capacity else { return }
    var writer = topicMemory.writer()
    writer.write(name)
    guard split(writer.written) else { return }
    topic = writer.written
    walk(isDollar: Rights.isDollar(topic))
  }

  /// False: it has more levels than a topic may have.
  @_optimize(size) private mutating func split(_ text: Bytes) -> Bool {
    levelCount = 0
    var reader = LevelReader(text)
    while let level = reader.next() {
      guard levelCount < levels.count else { return false }
      levels[levelCount] = level
      levelCount += 1
    }
    return true
  }

  private static func isDollar(_ text: Bytes) -> Bool { !text.isEmpty && text[0] == UInt8(ascii: "$") }

  @_optimize(size) private mutating func walk(isDollar: Bool) {
    var stackCount = 1
    stack[0] = 0
    while stackCount > 0 {
      stackCount -= 1
      lookedCount &+= 1
      let place = Int(stack[stackCount])
      let node = rules.node(place)
      let depth = Int(node.depth)
      let wildcards = depth > 0 || !isDollar  // §4.7.2
      if wildcards, node.rest != 0 { take(Int(node.rest) - 1) }
      guard depth < levelCount else {
        take(place)
        continue
      }
      if wildcards, node.plus != 0 {
        stack[stackCount] = node.plus - 1
        stackCount += 1
      }
      var pattern = node.firstPattern
      while pattern != 0 {
        if wildcards || Rights.isDollar(rules.name(Int(pattern) - 1)) {
          stack[stackCount] = pattern - 1
          stackCount += 1
        }
        pattern = rules.node(Int(pattern) - 1).nextPattern
      }
      if let exact = rules.child(of: place, levels[depth]) {
        stack[stackCount] = UInt32(exact)
        stackCount += 1
      }
    }
  }

  /// The rules of a node that matches.
  @_optimize(size) private mutating func take(_ node: Int) {
    var next = rules.node(node).firstRule
    while next != 0 {
      lookedCount &+= 1
      let index = Int(next) - 1
      let rule = rules.rule(index)
      next = rule.next
      switch rule.subject {
      case .pattern:
        patterns[patternCount] = UInt32(index)
        patternCount += 1
      case .everybody:
        if rule.allowsReading { everybody |= 1 }
        if rule.allowsWriting { everybody |= 2 }
        if rule.access == .deny { everybody |= 4 }
      case .member:
        if rule.allowsReading { members[Right.read.rawValue].insert(rule.role) }
        if rule.allowsWriting { members[Right.write.rawValue].insert(rule.role) }
        if rule.access == .deny { members[Rights.denied].insert(rule.role) }
      }
    }
  }

  // MARK: Judging

  /// Whether a session may read the topic that was matched last. Every message that reaches a client was judged here.
  @_optimize(size) mutating func mayRead(_ session: Handle<Session>, _ sessions: borrowing SessionStore) -> Bool {
    readsJudged &+= 1
    return may(.read, session, sessions)
  }

  /// Whether a session may write to the topic that was matched last. Every message of a client was judged here, or in
  /// `mayWrite(_:_:clientID:)` when it is a Will and its session is not there yet.
  @_optimize(size) mutating func mayWrite(_ session: Handle<Session>, _ sessions: borrowing SessionStore) -> Bool {
    writesJudged &+= 1
    return may(.write, session, sessions)
  }

  /// The same for a client without a session.
  @_optimize(size) mutating func mayWrite(_ identity: Identity, clientID: Bytes) -> Bool {
    writesJudged &+= 1
    let member = Member(role: identity.role, isAnonymous: identity.userName.isEmpty)
    if let answer = answer(.write, member) { return answer }
    return patternsAllow(.write, member, clientID: clientID, userName: identity.userName)
  }

  @_optimize(size) private mutating func may(
    _ right: Right, _ session: Handle<Session>, _ sessions: borrowing SessionStore
  ) -> Bool {
    let member = sessions.member(session)
    if let answer = answer(right, member) { return answer }
    return patternsAllow(
      right, member, clientID: sessions.clientID(session), userName: sessions.userName(session))
  }

  @_optimize(size) private func has(_ what: Int, _ member: Member) -> Bool {
    everybody &>> UInt8(what) & 1 != 0 || member.hasBit && members[what].contains(member.role)
  }

  /// Nil: patterns decide.
  @_optimize(size) private func answer(_ right: Right, _ member: Member) -> Bool? {
    if member.isRevoked || has(Rights.denied, member) { return false }
    return patternCount == 0 ? has(right.rawValue, member) : nil
  }

  @_optimize(size) private mutating func patternsAllow(
    _ right: Right, _ member: Member, clientID: Bytes, userName: Bytes
  ) -> Bool {
    var isAllowed = has(right.rawValue, member)
    var position = 0
    lookedCount &+= patternCount
    while position < patternCount {
      let rule = rules.rule(Int(patterns[position]))
      position += 1
      if rule.access == .deny {
        if matches(rule, clientID, userName) { return false }
      } else if !isAllowed, right == .read ? rule.allowsReading : rule.allowsWriting {
        isAllowed = matches(rule, clientID, userName)
      }
    }
    return isAllowed
  }

  // MARK: Patterns

  /// Whether a pattern, which could match, does so for this client.
  @_optimize(size) private func matches(_ rule: AccessRule, _ clientID: Bytes, _ userName: Bytes) -> Bool {
    guard Rights.applies(rule, clientID, userName) else { return false }
    var place = Int(rule.node)
    while place != 0 {
      let node = rules.node(place)
      if node.kind == .pattern,
        !Rights.fills(rules.name(place), clientID, userName, levels[Int(node.depth) - 1])
      {
        return false
      }
      place = Int(node.parent)
    }
    return true
  }

  /// Whether a pattern can be for a client of these names. One that would bring a level, a wildcard or U+0000 along, or
  /// nothing at all, has no part in it: what a name holds is never more than the text of one level.
  @_optimize(size) private static func applies(_ rule: AccessRule, _ clientID: Bytes, _ userName: Bytes) -> Bool {
    (!rule.usesClientID || isPlain(clientID)) && (!rule.usesUserName || isPlain(userName))
  }

  @_optimize(size) private static func isPlain(_ name: Bytes) -> Bool {
    var index = 0
    while index < name.count {
      switch name[index] {
      case 0, UInt8(ascii: "+"), UInt8(ascii: "#"), UInt8(ascii: "/"): return false
      default: index += 1
      }
    }
    return !name.isEmpty
  }

  /// Whether a level is the text of a pattern with these names put in; what they hold is not looked at for `%`.
  @_optimize(size) private static func fills(_ text: Bytes, _ clientID: Bytes, _ userName: Bytes, _ level: Bytes)
    -> Bool
  {
    var at = 0
    var index = 0
    while index < text.count {
      let letter = text[index] == UInt8(ascii: "%") && index + 1 < text.count ? text[index + 1] : 0
      if letter == UInt8(ascii: "c") || letter == UInt8(ascii: "u") {
        let value = letter == UInt8(ascii: "c") ? clientID : userName
        guard level.count - at >= value.count, level[at..<at + value.count] == value else { return false }
        at += value.count
        index += 2
      } else {
        guard at < level.count, level[at] == text[index] else { return false }
        at += 1
        index += 1
      }
    }
    return at == level.count
  }

  // MARK: Filters

  /// Whether a session may subscribe to a filter: it may read something that the filter could match, and it is not denied
  /// everything that the filter could match. What it is sent is judged message by message.
  @_optimize(size) mutating func maySubscribe(
    _ session: Handle<Session>, to filter: Bytes, _ sessions: borrowing SessionStore
  ) -> Bool {
    let member = sessions.member(session)
    let clientID = sessions.clientID(session)
    let userName = sessions.userName(session)
    topic = .empty  // its levels make room for the filter's
    guard !member.isRevoked, !rules.isEmpty, split(filter) else { return false }
    var isAllowed = false
    var index = 0
    while index < rules.ruleCount {
      let rule = rules.rule(index)
      index += 1
      guard rule.access != .write, isFor(rule, member, clientID, userName) else { continue }
      lookedCount &+= Int(rules.node(Int(rule.node)).depth)
      if rule.access == .deny {
        if meets(rule, clientID, userName, covers: true) { return false }
      } else if !isAllowed {
        isAllowed = meets(rule, clientID, userName, covers: false)
      }
    }
    lookedCount &+= index / 8
    return isAllowed
  }

  @_optimize(size) private func isFor(_ rule: AccessRule, _ member: Member, _ clientID: Bytes, _ userName: Bytes)
    -> Bool
  {
    switch rule.subject {
    case .member: member.hasBit && member.role == rule.role
    case .everybody: true
    case .pattern: Rights.applies(rule, clientID, userName)
    }
  }

  /// Whether a rule's filter and the one in `levels` have a topic in common, or the rule's covers all topics of the other.
  @_optimize(size) private func meets(_ rule: AccessRule, _ clientID: Bytes, _ userName: Bytes, covers: Bool) -> Bool {
    let last = rules.node(Int(rule.node))
    let hasRest = last.kind == .rest
    let ownCount = Int(last.depth) - (hasRest ? 1 : 0)
    let otherHasRest = levels[levelCount - 1] == TopicTree.hash
    // A topic has a level at least: `#` alone matches what `+/#` matches.
    let otherCount = levelCount - (otherHasRest && !(covers && levelCount == 1) ? 1 : 0)
    if covers {
      guard hasRest ? otherCount >= ownCount : !otherHasRest && otherCount == ownCount else { return false }
    } else {
      // A filter with `#` matches whatever is as long as its other levels, or longer.
      guard otherHasRest || otherCount >= ownCount, hasRest || ownCount >= otherCount else { return false }
    }
    var place = Int(rule.node)
    while place != 0 {
      let node = rules.node(place)
      let level = Int(node.depth) - 1
      if level == 0, !Rights.agreesOnDollar(node.kind, rules.name(place), levels[0]) { return false }
      if node.kind != .rest, level < otherCount,
        !meets(node.kind, rules.name(place), levels[level], clientID, userName, covers: covers)
      {
        return false
      }
      place = Int(node.parent)
    }
    return true
  }

  @_optimize(size) private func meets(
    _ kind: AccessNode.Kind, _ name: Bytes, _ other: Bytes, _ clientID: Bytes, _ userName: Bytes, covers: Bool
  ) -> Bool {
    if kind == .plus { return true }
    if other == TopicTree.plus { return !covers }
    return kind == .name ? name == other : Rights.fills(name, clientID, userName, other)
  }

  /// Topics that begin with `$` are for those filters only of which the first level does so (§4.7.2).
  @_optimize(size) private static func agreesOnDollar(_ kind: AccessNode.Kind, _ name: Bytes, _ other: Bytes) -> Bool {
    let isOwnDollar = (kind == .name || kind == .pattern) && isDollar(name)
    if isDollar(other) { return isOwnDollar }
    return !isOwnDollar || other != TopicTree.plus && other != TopicTree.hash
  }
}
