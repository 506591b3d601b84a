public import Bounded

/// What somebody wants of a PWM channel or an LED.
public struct LevelCommand: BitwiseCopyable, Equatable, Sendable {
  public enum Wish: BitwiseCopyable, Equatable, Sendable {
    /// A level: 0...10000.
    case level(Int)
    /// The last level above 0.
    case on
    case off
    case toggle
  }
  public var wish: Wish
  /// For this long; nil is for good. Then a level above 0 becomes 0, and 0 becomes what it was. Nanoseconds.
  public var forNanoseconds: Int64?

  public init(_ wish: Wish, forNanoseconds: Int64? = nil) {
    self.wish = wish
    self.forNanoseconds = forNanoseconds
  }

  static var payloadBytesMax: Int { 256 }

  /// A message on `<tap>/set`: a percentage with decimals or without, ON, OFF or TOGGLE in any case, or
  /// `{"state":"ON","brightness":35,"for":"10m"}`, in which state or brightness may be missing, and `for`.
  init(_ payload: Bytes) throws(LevelCommandError) {
    let text = payload.trimmingASCIIWhitespace
    guard text.count <= LevelCommand.payloadBytesMax else { throw LevelCommandError("expected at most 256 bytes") }
    guard let first = text.isEmpty ? nil : text[0], first == UInt8(ascii: "{") else {
      guard let wish = Wish(word: text) ?? Wish(number: text) else {
        throw LevelCommandError("expected 0 to 100, ON, OFF or TOGGLE")
      }
      self.init(wish)
      return
    }
    let members: Members
    do throws(JsonError) {
      members = try Members(text)
    } catch {
      throw LevelCommandError("expected JSON such as {\"state\":\"ON\",\"brightness\":35}")
    }
    if let wrong = members.wrong { throw LevelCommandError(wrong) }
    guard let wish = members.wish else { throw LevelCommandError("expected state or brightness") }
    self.init(wish, forNanoseconds: members.forNanoseconds)
  }

  private struct Members {
    private(set) var wrong: StaticString?
    private(set) var forNanoseconds: Int64?
    private var state: Wish?
    private var brightness: Wish?

    var wish: Wish? { state == .on || state == nil ? brightness ?? state : state }

    /// Whether it is JSON at all comes first: the object is read to its end before a member is found fault with.
    init(_ text: Bytes) throws(JsonError) {
      var reader = try JsonObjectReader(text)
      while let member = try reader.next() { take(member.name, member.value) }
      if state == .toggle, brightness != nil { complain("TOGGLE and brightness do not go together") }
    }

    private mutating func take(_ key: JsonString, _ value: JsonValue) {
      if key == Bytes("state") {
        if state != nil { complain("a key is given twice") }
        state = Wish(state: value)
        if state == nil { complain("state: expected ON, OFF or TOGGLE") }
      } else if key == Bytes("brightness") {
        if brightness != nil { complain("a key is given twice") }
        if case .number(let number) = value { brightness = Wish(number: number) }
        if brightness == nil { complain("brightness: expected 0 to 100") }
      } else if key == Bytes("for") {
        if forNanoseconds != nil { complain("a key is given twice") }
        forNanoseconds = DurationText.parse(value)
        if forNanoseconds == nil { complain("for: expected 500ms, 2s, 5m, 1h or seconds, 1ms to 7d") }
      } else {
        complain("unknown key; expected state, brightness and for")
      }
    }

    private mutating func complain(_ text: StaticString) { wrong = wrong ?? text }
  }
}

extension LevelCommand.Wish {
  /// ON, OFF or TOGGLE in any case; nil for another word.
  public init?(word: Bytes) {
    if word.equalsIgnoringASCIICase("on") {
      self = .on
    } else if word.equalsIgnoringASCIICase("off") {
      self = .off
    } else if word.equalsIgnoringASCIICase("toggle") {
      self = .toggle
    } else {
      return nil
    }
  }

  /// A percentage from 0 to 100; nil for another text.
  public init?(number text: Bytes) {
    guard let number = try? PlainDecimal(parsing: text), let level = number.level else { return nil }
    self = .level(level)
  }

  fileprivate init?(state: JsonValue) {
    switch state {
    case .string(let text):
      guard let wish = text.lend({ LevelCommand.Wish(word: $0) }) else { return nil }
      self = wish
    case .bool(let isOn): self = isOn ? .on : .off
    case .number, .null, .object, .list: return nil
    }
  }
}

/// What is wrong with a command's payload.
struct LevelCommandError: Error {
  let text: StaticString

  init(_ text: StaticString) { self.text = text }
}

extension PlainDecimal {
  /// A percentage as a level, rounded to hundredths; nil outside 0...100.
  public var level: Int? {
    let full = PlainDecimal(mantissa: 100, places: 0)
    guard !(self < .zero), !(full < self) else { return nil }
    return steps(offset: .zero, scale: PlainDecimal(mantissa: 1, places: 0), digits: 2).map { Int($0) }
  }
}
