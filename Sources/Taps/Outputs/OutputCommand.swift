import Bounded
import MQTTWire

/// What somebody wants of an output.
public struct OutputCommand: BitwiseCopyable, Equatable, Sendable {
  public enum Level: BitwiseCopyable, Sendable {
    case on
    case off
    case toggle
  }
  public var level: Level
  /// For this long; nil is for good. Then a timed ON goes off, and a timed OFF goes back to what was. Nanoseconds.
  public var forNanoseconds: Int64?

  public init(_ level: Level, forNanoseconds: Int64? = nil) {
    self.level = level
    self.forNanoseconds = forNanoseconds
  }

  /// Longer payloads are no commands.
  static var payloadBytesMax: Int { 256 }
}

/// What is wrong with a command's payload.
enum OutputCommandError: Error {
  case notUnderstood(StaticString)
  /// As it stands in the text, with its escapes.
  case unknownKey(Bytes)
}

extension OutputCommand {
  private static var setWords: StaticString { "expected ON, OFF, TOGGLE, 1, 0, true or false" }

  /// A message on `<tap>/set`: ON, OFF, TOGGLE, 1, 0, true or false in any case, with ASCII whitespace around it, or
  /// `{"state":"ON","for":"30s"}`, where the state may be `true`, `false`, 1 or 0 too.
  init(set payload: Bytes) throws(OutputCommandError) {
    let text = payload.trimmingASCIIWhitespace
    guard !text.isEmpty, text[0] == UInt8(ascii: "{") else {
      guard let level = Level(word: text) else { throw .notUnderstood(OutputCommand.setWords) }
      self.init(level)
      return
    }
    let fields = try Fields(text, levelKey: "state", isPulse: false)
    guard let level = fields.level else { throw .notUnderstood("state: expected ON, OFF or TOGGLE") }
    self.init(level, forNanoseconds: fields.forNanoseconds)
  }

  /// A message on `<tap>/pulse`: a number of milliseconds, a time such as `500ms`, or `{"for":"500ms","level":"ON"}`.
  /// Nothing at all, and an object without `for`, is a pulse of the configured length, 0 when there is none.
  init(pulse payload: Bytes, configuredNanoseconds: Int64) throws(OutputCommandError) {
    let text = payload.trimmingASCIIWhitespace
    var fields = Fields()
    if !text.isEmpty {
      if text[0] == UInt8(ascii: "{") {
        fields = try Fields(text, levelKey: "level", isPulse: true)
      } else {
        fields.forNanoseconds =
          text.count <= OutputCommand.payloadBytesMax ? DurationText.parse(text, bare: .milliseconds) : nil
        if fields.forNanoseconds == nil {
          throw .notUnderstood("expected milliseconds or {\"for\":\"500ms\"}, 1ms to 7d")
        }
      }
    }
    if fields.forNanoseconds == nil, configuredNanoseconds > 0 { fields.forNanoseconds = configuredNanoseconds }
    guard let length = fields.forNanoseconds else {
      throw .notUnderstood("no pulse is configured: expected milliseconds")
    }
    self.init(fields.level ?? .on, forNanoseconds: length)
  }

  /// The members of a command's object, each at most once.
  private struct Fields {
    var level: Level?
    var forNanoseconds: Int64?

    init() {}

    /// Whether the text is JSON at all comes first: it is read to its end before a member is found fault with.
    init(_ text: Bytes, levelKey: StaticString, isPulse: Bool) throws(OutputCommandError) {
      guard text.count <= OutputCommand.payloadBytesMax else { throw .notUnderstood("expected at most 256 bytes") }
      var wrong: OutputCommandError?
      var reader = try Fields.reader(text)
      while let member = try Fields.next(&reader) {
        let (key, value) = (member.name, member.value)
        if key == Bytes(levelKey) {
          if level != nil { wrong = wrong ?? .notUnderstood("a key is given twice") }
          level = Level(value, canToggle: !isPulse)
          if level == nil {
            wrong = wrong ?? .notUnderstood(isPulse ? "level: expected ON or OFF" : "state: expected ON, OFF or TOGGLE")
          }
        } else if key == Bytes("for") {
          if forNanoseconds != nil { wrong = wrong ?? .notUnderstood("a key is given twice") }
          forNanoseconds = DurationText.parse(value)
          if forNanoseconds == nil {
            wrong = wrong ?? .notUnderstood("for: expected 500ms, 2s, 5m, 1h or seconds, 1ms to 7d")
          }
        } else {
          wrong = wrong ?? .unknownKey(key.raw)
        }
      }
      if let wrong { throw wrong }
    }

    private static func reader(_ text: Bytes) throws(OutputCommandError) -> JsonObjectReader {
      do throws(JsonError) { return try JsonObjectReader(text) } catch { throw OutputCommandError(error) }
    }

    private static func next(
      _ reader: inout JsonObjectReader
    ) throws(OutputCommandError) -> JsonMember? {
      do throws(JsonError) { return try reader.next() } catch { throw OutputCommandError(error) }
    }
  }
}

extension OutputCommandError {
  fileprivate init(_ error: JsonError) {
    switch error {
    case .malformed: self = .notUnderstood("expected JSON: an object with its members")
    case .tooDeep: self = .notUnderstood("expected JSON of at most 16 levels")
    }
  }
}

extension OutputCommand.Level {
  fileprivate init?(word: Bytes) {
    if word.equalsIgnoringASCIICase("on") || word.equalsIgnoringASCIICase("1") || word.equalsIgnoringASCIICase("true") {
      self = .on
    } else if word.equalsIgnoringASCIICase("off") || word.equalsIgnoringASCIICase("0")
      || word.equalsIgnoringASCIICase("false")
    {
      self = .off
    } else if word.equalsIgnoringASCIICase("toggle") {
      self = .toggle
    } else {
      return nil
    }
  }

  fileprivate init?(_ value: JsonValue, canToggle: Bool) {
    switch value {
    case .bool(let isOn):
      self = isOn ? .on : .off
    case .string(let text):
      self.init(text.lend { OutputCommand.Level(word: $0) }, canToggle: canToggle)
    case .number(let text):
      self.init(OutputCommand.Level(word: text), canToggle: canToggle)
    case .null, .object, .list:
      return nil
    }
  }

  private init?(_ level: OutputCommand.Level?, canToggle: Bool) {
    guard let level, canToggle || level != .toggle else { return nil }
    self = level
  }
}
