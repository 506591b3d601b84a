public import Bounded
public import MQTTWire

/// What rules have done since start.
public struct RuleCounters: BitwiseCopyable, Equatable, Sendable {
  public var fired: UInt64 = 0
  /// Rules that did not fire because they were too far down a chain of rules.
  public var cut: UInt64 = 0
  /// Outputs that did not do what a rule wanted, and messages that were not taken.
  public var refused: UInt64 = 0
  /// Rules that did not fire because too many had, or the payload to be passed on was too long.
  public var dropped: UInt64 = 0
  /// Payloads without the number or the JSON object that a comparison needs.
  public var notComparable: UInt64 = 0

  public init() {}
}

/// A rule that is to be carried out: its actions, then its message. Bytes are valid until the next one is taken.
public struct FiredRule: BitwiseCopyable {
  public let rule: Int
  /// Rules before it in its chain.
  public let depth: Int
  let payload: Bytes
}

/// One rule, compiled, and where it stands.
///
///     unknown ─▶ no ──comparison begins to hold──▶ yes ─▶ fires, at once or at `deadline`
///                 ◀────────────ends──────────────┘        (and the deadline with it)
struct Rule: BitwiseCopyable {
  enum State: UInt8, BitwiseCopyable {
    case unknown
    case no
    case yes
  }
  let by: Bytes
  let filter: Bytes
  let condition: RuleCondition?
  let isEvery: Bool
  let toggles: Bool
  let forNanoseconds: Int64
  let firstAction: Int
  let actionCount: Int
  /// Empty: there is no message.
  let topic: Bytes
  /// nil: that of the message on which it fires.
  let payload: Bytes?
  let qos: QoS
  let retain: Bool
  var state = State.unknown
  var deadline = Instant.never
  var isCutTold = false
}

/// All rules and links of the board, made once from the settings. Pure: it is told of messages, and says what is to be
/// done about them when the broker's turn is over.
///
///     message ─▶ messageReceived ─▶ fired, a ring ─▶ takeFired ─▶ outputs, messages of depth + 1 ─▶ messageReceived ...
///     time ────▶ advance ──────────▶
///
/// First in, first out, and no more than the ring holds: with the depth that bounds what one message can set off.
public final class RuleTable {
  public let count: Int
  public var counters = RuleCounters()
  /// When `advance` has something to do.
  public private(set) var nextDeadline = Instant.never

  /// Rules in a row; what a longer chain wants is cut.
  public static var depthMax: Int { 8 }
  /// Beyond one for each rule, as all of them may fire at start.
  static var firedMax: Int { 64 }
  /// Room for payloads that are passed on; longer ones are not.
  static var payloadBytesMax: Int { 4096 }

  private let rules: TapList<Rule>
  private let actions: TapList<RuleAction>
  private let texts: UnsafeMutableRawPointer
  private let textByteCount: Int
  private var fired: Ring<FiredRule>
  private let payloads: UnsafeMutableRawPointer
  private let payloadCapacity: Int
  private var payloadByteCount = 0

  /// The settings must have no `problem()`. The memory is written by `prepare`.
  public init(_ settings: TapSettings, in reservation: inout Reservation) {
    let all = settings.rules
    count = all.count
    rules = TapList(base: reservation.take(Rule.self, count: count, name: "rules"), count: count)
    var actionCount = 0
    var byteCount = 0
    var passesOn = false
    for rule in all {
      actionCount += rule.actions.count
      byteCount += RuleTable.textByteCount(rule)
      if let message = rule.message, message.payload == nil { passesOn = true }
    }
    actions = TapList(
      base: reservation.take(RuleAction.self, count: actionCount, name: "  actions"), count: actionCount)
    textByteCount = byteCount
    texts = reservation.takeBytes(byteCount, name: "  texts")
    fired = Ring(capacity: all.isEmpty ? 0 : RuleTable.firedMax + count, name: "  fired", in: &reservation)
    payloadCapacity = passesOn ? RuleTable.payloadBytesMax : 0
    payloads = reservation.takeBytes(payloadCapacity, name: "  payloads")
  }

  /// Writes the table's memory. Once, before any other call.
  public func prepare(_ settings: TapSettings) {
    precondition(settings.rules.count == count)
    var writer = ByteWriter(texts, capacity: textByteCount)
    var nextAction = 0
    for (index, rule) in settings.rules.enumerated() {
      var toggles = false
      for (offset, action) in rule.actions.enumerated() {
        (actions.base + nextAction + offset).initialize(to: action)
        if action.isToggle { toggles = true }
      }
      let byStart = writer.count
      writer.write(rule.isLink ? "link:" : "rule:")
      _ = RuleTable.keep(rule.name, &writer)
      let by = writer.written.from(byStart)
      let filter = RuleTable.keep(rule.when.filter, &writer)
      let condition = rule.when.comparison.map {
        RuleCondition(
          comparison: $0, member: RuleTable.keep(rule.when.member, &writer),
          value: RuleTable.keep(rule.when.value, &writer), number: rule.when.number, rearm: rule.rearm)
      }
      let topic = RuleTable.keep(rule.message?.topic ?? [], &writer)
      let payload = rule.message?.payload.map { RuleTable.keep($0, &writer) }
      (rules.base + index).initialize(
        to: Rule(
          by: by, filter: filter, condition: condition, isEvery: rule.isEvery, toggles: toggles,
          forNanoseconds: rule.forNanoseconds, firstAction: nextAction, actionCount: rule.actions.count, topic: topic,
          payload: payload, qos: rule.message?.qos ?? .atMostOnce, retain: rule.message?.retain ?? false))
      nextAction += rule.actions.count
    }
    precondition(!writer.overflowed)
  }

  private static func textByteCount(_ rule: RuleSettings) -> Int {
    let message = rule.message
    return 5 + rule.name.count + rule.when.filter.count + rule.when.member.count + rule.when.value.count
      + (message?.topic.count ?? 0) + (message?.payload?.count ?? 0)
  }

  private static func keep(_ text: [UInt8], _ writer: inout ByteWriter) -> Bytes {
    let start = writer.count
    text.withUnsafeBytes { writer.write(Bytes($0)) }
    return writer.written.from(start)
  }

  // MARK: What a rule is

  public func filter(of rule: Int) -> Bytes { rules[rule].filter }

  /// `rule:NAME` or `link:INPUT`.
  public func by(_ rule: Int) -> Bytes { rules[rule].by }

  public func actionCount(of rule: Int) -> Int { rules[rule].actionCount }

  public func action(_ index: Int, of rule: Int) -> RuleAction {
    precondition(index >= 0 && index < rules[rule].actionCount)
    return actions[rules[rule].firstAction + index]
  }

  /// nil for a rule without one.
  public func message(of fired: FiredRule) -> (topic: Bytes, payload: Bytes, qos: QoS, retain: Bool)? {
    let rule = rules[fired.rule]
    return rule.topic.isEmpty ? nil : (rule.topic, rule.payload ?? fired.payload, rule.qos, rule.retain)
  }

  // MARK: Events

  /// A message on this rule's filter. Whether the log should be told that a chain was cut here: once a rule.
  /// - Parameters:
  ///   - depth: rules before the message in its chain.
  ///   - isOwn: the board's, not a client's.
  public func messageReceived(rule index: Int, _ payload: Bytes, depth: Int, isOwn: Bool, at now: Instant) -> Bool {
    guard let condition = rules[index].condition else { return fire(index, payload, depth: depth) }
    let before = rules[index].state
    switch condition.answer(payload, held: before == .yes) {
    case .notComparable:
      counters.notComparable &+= 1
      fallthrough
    case .no:
      rules[index].state = .no
      rules[index].deadline = .never
      return false
    case .yes:
      rules[index].state = .yes
    }
    if rules[index].isEvery { return fire(index, payload, depth: depth) }
    if before == .yes { return false }
    // What an input or an output has at start was so before: a lamp must not be toggled by a restart.
    if before == .unknown, isOwn, depth == 0, rules[index].toggles { return false }
    guard rules[index].forNanoseconds == 0 else {
      rules[index].deadline = now.adding(nanoseconds: rules[index].forNanoseconds)
      nextDeadline = min(nextDeadline, rules[index].deadline)
      return false
    }
    return fire(index, payload, depth: depth)
  }

  /// Comparisons that have held for long enough.
  public func advance(to now: Instant) {
    guard nextDeadline <= now else { return }
    nextDeadline = .never
    for index in 0..<count {
      if rules[index].deadline <= now {
        rules[index].deadline = .never
        _ = fire(index, .empty, depth: 0)
      }
      nextDeadline = min(nextDeadline, rules[index].deadline)
    }
  }

  private func fire(_ index: Int, _ payload: Bytes, depth: Int) -> Bool {
    guard depth < RuleTable.depthMax else {
      counters.cut &+= 1
      defer { rules[index].isCutTold = true }
      return !rules[index].isCutTold
    }
    var kept = Bytes.empty
    if !rules[index].topic.isEmpty, rules[index].payload == nil {
      guard payload.count <= payloadCapacity - payloadByteCount else {
        counters.dropped &+= 1
        return false
      }
      var writer = ByteWriter(payloads + payloadByteCount, capacity: payload.count)
      writer.write(payload)
      kept = writer.written
    }
    guard fired.push(FiredRule(rule: index, depth: depth, payload: kept)) else {
      counters.dropped &+= 1
      return false
    }
    payloadByteCount += kept.count
    counters.fired &+= 1
    return false
  }

  public var hasFired: Bool { !fired.isEmpty }

  /// What is to be carried out next; call until nil.
  public func takeFired() -> FiredRule? {
    if let next = fired.pop() { return next }
    payloadByteCount = 0
    return nil
  }
}
