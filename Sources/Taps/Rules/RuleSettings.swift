import Bounded
public import MQTTWire

// What the configuration says about rules: when a message comes that is so, outputs are set and messages published.

/// How a message is compared.
public enum RuleOperator: UInt8, BitwiseCopyable, Sendable {
  case equal
  case notEqual
  case less
  case lessOrEqual
  case greater
  case greaterOrEqual

  public var isOrder: Bool { self != .equal && self != .notEqual }
}

/// `FILTER [.MEMBER] [OP VALUE]`.
public struct RuleWhen: Sendable {
  /// Which messages are looked at.
  public var filter: [UInt8]
  /// The member of the payload, a JSON object, that is compared, or its path: `update.state`; empty: the payload itself.
  public var member: [UInt8] = []
  /// nil: every message will do.
  public var comparison: RuleOperator?
  /// The value to compare with; compared as a number if it is one.
  public var value: [UInt8] = []
  public var number: PlainDecimal?

  public init(filter: [UInt8]) { self.filter = filter }

  /// What a link waits for: a state, or a member of an event.
  public init(filter: [UInt8], member: [UInt8] = [], is value: [UInt8]) {
    self.filter = filter
    self.member = member
    comparison = .equal
    self.value = value
  }

  /// nil when the text is no such thing. An operator stands between spaces; what follows it is the value to the end.
  public init?(parsing text: [UInt8]) {
    let text = [UInt8](text.drop { $0 == 0x20 })
    guard let found = RuleWhen.findOperator(text) else {
      guard RuleWhen.isFilter(text), !text.contains(0x20) || !RuleWhen.seemsComparison(text) else { return nil }
      self.init(filter: text)
      return
    }
    var subject = [UInt8](text[..<found.start])
    var member: [UInt8] = []
    if let space = subject.lastIndex(of: 0x20), subject.count > space + 2, subject[space + 1] == UInt8(ascii: ".") {
      member = [UInt8](subject[(space + 2)...])
      subject = [UInt8](subject[..<space])
    }
    while subject.last == 0x20 { subject.removeLast() }
    let value = [UInt8](text[found.end...].drop { $0 == 0x20 })
    guard RuleWhen.isFilter(subject), !value.isEmpty else { return nil }
    // A longer path leads deeper than JSON is read.
    guard member.withUnsafeBytes({ Bytes($0).count(of: UInt8(ascii: ".")) }) < JsonObjectReader.depthMax else {
      return nil
    }
    self.init(filter: subject)
    self.member = member
    self.value = value
    comparison = found.comparison
    number = value.withUnsafeBytes { try? PlainDecimal(parsing: Bytes($0)) }
    if found.comparison.isOrder, number == nil { return nil }
  }

  private static func findOperator(_ text: [UInt8]) -> (start: Int, end: Int, comparison: RuleOperator)? {
    let words: [(StaticString, RuleOperator)] = [
      (" == ", .equal), (" != ", .notEqual), (" <= ", .lessOrEqual), (" >= ", .greaterOrEqual), (" < ", .less),
      (" > ", .greater),
    ]
    for start in 0..<text.count where text[start] == 0x20 {
      for (word, comparison) in words
      where text.withUnsafeBytes({ Bytes($0).from(start).hasPrefix(Bytes(word)) }) {
        return (start, start + word.utf8CodeUnitCount, comparison)
      }
    }
    return nil
  }

  /// A topic may have spaces; `a = 5` and `a <` are mistakes all the same.
  private static func seemsComparison(_ text: [UInt8]) -> Bool {
    for index in 0..<text.count where index == 0 || text[index - 1] == 0x20 {
      if Bytes("<>=!.").contains(text[index]) { return true }
    }
    return false
  }

  private static func isFilter(_ text: [UInt8]) -> Bool {
    text.withUnsafeBytes { Topic.isValidFilter(Bytes($0)) } && text.first != UInt8(ascii: "$")
  }
}

/// A rule's wish of an output or a level: its place in `TapSettings.outputs` or `.levels`, and what it should do.
public enum RuleAction: BitwiseCopyable, Equatable, Sendable {
  case output(Int, OutputCommand)
  case level(Int, LevelCommand)

  var isToggle: Bool {
    switch self {
    case .output(_, let command): command.level == .toggle
    case .level(_, let command): command.wish == .toggle
    }
  }
}

/// A rule's message.
public struct RuleMessage: Sendable {
  public var topic: [UInt8]
  /// nil: the payload of the message that the rule fired on.
  public var payload: [UInt8]?
  public var qos = QoS.atMostOnce
  public var retain = false

  public init(topic: [UInt8], payload: [UInt8]? = nil) {
    self.topic = topic
    self.payload = payload
  }
}

public struct RuleSettings: Sendable {
  /// The rule's, or of a link the input's.
  public var name: [UInt8]
  public var isLink = false
  public var when: RuleWhen
  /// Fires at each message for which the comparison holds, not only when it begins to.
  public var isEvery = false
  /// How far a number must go back before the comparison can begin to hold again.
  public var hysteresis = PlainDecimal.zero
  /// How long the comparison must hold; 0: it fires at once.
  public var forNanoseconds: Int64 = 0
  public var actions: [RuleAction] = []
  public var message: RuleMessage?

  public init(name: [UInt8], when: RuleWhen) {
    self.name = name
    self.when = when
  }

  public static var nameBytesMax: Int { 64 }
  public static var forNanosecondsMax: Int64 { 2_592_000_000_000_000 }  // 30 days
  /// The most actions of a rule; they bound what one message sets off.
  public static var actionsMax: Int { 16 }

  /// What is wrong, or nil.
  public func problem(outputCount: Int, levelCount: Int) -> StaticString? {
    let isName = name.withUnsafeBytes { Topic.isValidName(Bytes($0)) }
    guard isName, name.count <= RuleSettings.nameBytesMax else {
      return "a name is UTF-8 of 1 to 64 bytes, without + #"
    }
    if actions.isEmpty, message == nil { return "expected 'set', 'pulse' or 'publish'" }
    if actions.count > RuleSettings.actionsMax { return "at most 16 outputs" }
    for action in actions {
      switch action {
      case .output(let index, _): if index < 0 || index >= outputCount { return "there is no such output" }
      case .level(let index, _): if index < 0 || index >= levelCount { return "there is no such PWM output or LED" }
      }
    }
    if forNanoseconds < 0 || forNanoseconds > RuleSettings.forNanosecondsMax { return "'for' must be at most 30d" }
    if when.comparison == nil, forNanoseconds > 0 { return "'for' needs a comparison in 'when'" }
    if isEvery, forNanoseconds > 0 { return "either 'every' or 'for'" }
    if message != nil, message?.payload == nil, forNanoseconds > 0 {
      return "with 'for' there is no message to take the payload from; give 'payload'"
    }
    if hysteresis < .zero { return "'hysteresis' must be 0 or more" }
    if hysteresis != .zero {
      guard when.comparison?.isOrder == true, !isEvery else { return "'hysteresis' goes with <, <=, > and >= only" }
      if rearm == nil { return "'hysteresis' is out of range" }
    }
    return nil
  }

  /// The number that must be reached before the comparison can begin to hold again.
  var rearm: PlainDecimal? {
    guard let number = when.number, let comparison = when.comparison, comparison.isOrder else { return nil }
    let isAbove = comparison == .greater || comparison == .greaterOrEqual
    return number.adding(
      isAbove ? PlainDecimal(mantissa: -hysteresis.mantissa, places: hysteresis.places) : hysteresis)
  }
}
