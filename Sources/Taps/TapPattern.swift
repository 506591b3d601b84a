public import Bounded
import MQTTWire

/// What is wrong with a pattern's text.
public enum TapPatternError: Error, Equatable {
  case empty
  case tooLong
  case notUTF8
  /// `$share/...` is for clients; a tap sees every message.
  case shared
  /// `+` or `#` beside other characters in its level.
  case wildcardNotAlone
  case hashNotLast
  /// `{` or `}` anywhere but around a whole level.
  case nameNotAlone
  case nameEmpty
  /// A name is of A-Z, a-z, 0-9, `_` and `-`.
  case nameCharacter
  case nameTwice
  case tooManyNames

  public var text: StaticString {
    switch self {
    case .empty: return "a pattern must not be empty"
    case .tooLong: return "a pattern must be at most 65535 bytes"
    case .notUTF8: return "a pattern must be UTF-8 without U+0000"
    case .shared: return "a pattern must not be a shared subscription"
    case .wildcardNotAlone: return "+ and # must be alone in their level"
    case .hashNotLast: return "# must be the last level"
    case .nameNotAlone: return "{name} must be alone in its level"
    case .nameEmpty: return "{} needs a name"
    case .nameCharacter: return "a name is of letters, digits, _ and -"
    case .nameTwice: return "a name must not stand twice in a pattern"
    case .tooManyNames: return "a pattern has at most 8 names"
    }
  }
}

/// A topic filter whose wildcard levels have names: `sensors/{room}/temperature`. `+` and a last `#` may stand in
/// it too.
///
/// Invariant: `text` is valid, and outlives the pattern: a literal, or bytes that its owner keeps.
public struct TapPattern: BitwiseCopyable, Sendable {
  public let text: Bytes

  public init(_ literal: StaticString) throws(TapPatternError) { try self.init(Bytes(literal)) }

  public init(_ text: Bytes) throws(TapPatternError) {
    guard !text.isEmpty else { throw .empty }
    guard text.count <= 65_535 else { throw .tooLong }
    guard UTF8Check.isValid(text) else { throw .notUTF8 }
    guard !SharedFilter.isShare(text) else { throw .shared }
    var names = Captures()
    var afterHash = false
    var levels = LevelReader(text)
    while let level = levels.next() {
      guard !afterHash else { throw .hashNotLast }
      switch try Level(level) {
      case .literal, .plus: break
      case .hash: afterHash = true
      case .name(let name):
        guard names[name] == nil else { throw .nameTwice }
        guard names.count < Captures.capacity else { throw .tooManyNames }
        names.append(name: name, value: .empty)
      }
    }
    self.text = text
  }

  /// The MQTT topic filter: every `{name}` as `+`. At most `text.count` bytes.
  public func writeFilter(into writer: inout ByteWriter) {
    var isFirst = true
    var levels = LevelReader(text)
    while let level = levels.next() {
      if !isFirst { writer.write(UInt8(ascii: "/")) }
      isFirst = false
      writer.write(TapPattern.isName(level) ? Bytes("+") : level)
    }
  }

  /// What the names stand for in a valid topic name; nil when the topic does not match (§4.7).
  public func captures(of topic: Bytes) -> Captures? {
    guard !topic.isEmpty else { return nil }
    if topic[0] == UInt8(ascii: "$"), isWildcard(text[0]) { return nil }  // §4.7.2
    var captures = Captures()
    var patternLevels = LevelReader(text)
    var topicLevels = LevelReader(topic)
    var topicStart = 0
    while let wanted = patternLevels.next() {
      if wanted == Bytes("#") {
        captures.rest = topicStart <= topic.count ? topic.from(topicStart) : .empty
        return captures
      }
      guard let level = topicLevels.next() else { return nil }
      topicStart += level.count + 1
      if TapPattern.isName(wanted) {
        captures.append(name: wanted[1..<(wanted.count - 1)], value: level)
      } else if wanted != Bytes("+"), wanted != level {
        return nil
      }
    }
    return topicLevels.next() == nil ? captures : nil
  }

  private enum Level {
    case literal
    case plus
    case hash
    case name(Bytes)

    init(_ level: Bytes) throws(TapPatternError) {
      if level == Bytes("+") {
        self = .plus
      } else if level == Bytes("#") {
        self = .hash
      } else if level.contains(UInt8(ascii: "+")) || level.contains(UInt8(ascii: "#")) {
        throw .wildcardNotAlone
      } else if TapPattern.isName(level) {
        let name = level[1..<(level.count - 1)]
        guard !name.isEmpty else { throw .nameEmpty }
        for index in 0..<name.count {
          guard Level.mayStandInName(name[index]) else { throw .nameCharacter }
        }
        self = .name(name)
      } else if level.contains(UInt8(ascii: "{")) || level.contains(UInt8(ascii: "}")) {
        throw .nameNotAlone
      } else {
        self = .literal
      }
    }

    private static func mayStandInName(_ byte: UInt8) -> Bool {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
        return true
      default:
        return false
      }
    }
  }

  private static func isName(_ level: Bytes) -> Bool {
    level.count >= 2 && level[0] == UInt8(ascii: "{") && level[level.count - 1] == UInt8(ascii: "}")
  }

  private func isWildcard(_ byte: UInt8) -> Bool {
    byte == UInt8(ascii: "+") || byte == UInt8(ascii: "#") || byte == UInt8(ascii: "{")
  }
}

/// What a pattern's names stand for in one topic: parts of that topic, lent with it.
///
/// Invariant: 0 <= count <= capacity; the first `count` captures are set.
public struct Captures: BitwiseCopyable {
  public static var capacity: Int { 8 }

  private struct Capture: BitwiseCopyable {
    var name: Bytes
    var value: Bytes
  }
  private var captures = InlineArray<8, Capture>(repeating: Capture(name: .empty, value: .empty))
  public private(set) var count = 0
  /// What a last `#` stands for: all levels from there on; empty when the topic ends before it.
  public internal(set) var rest = Bytes.empty

  init() {}

  public subscript(name: StaticString) -> Bytes? { self[Bytes(name)] }

  public subscript(name: Bytes) -> Bytes? {
    for index in 0..<count {
      if captures[index].name == name { return captures[index].value }
    }
    return nil
  }

  mutating func append(name: Bytes, value: Bytes) {
    precondition(count < Captures.capacity)
    captures[count] = Capture(name: name, value: value)
    count += 1
  }
}
