public import Bounded
public import MQTTWire

/// What somebody wants of a PWM channel or a LED.
enum LevelCommand: BitwiseCopyable, Equatable {
  /// A level: 0...10000.
  case level(Int)
  /// The last level above 0.
  case on
  case off
  case toggle

  private static var words: StaticString { "expected 0 to 100, ON, OFF or TOGGLE" }
  static var payloadBytesMax: Int { 256 }

  /// A message on `<tap>/set`: a percentage with decimals or without, ON, OFF or TOGGLE in any case, or
  /// `{"state":"ON","brightness":35}`, in which either may be missing.
  init(_ payload: Bytes) throws(LevelCommandError) {
    let text = payload.trimmingASCIIWhitespace
    guard text.count <= LevelCommand.payloadBytesMax else { throw LevelCommandError("expected at most 256 bytes") }
    guard let first = text.isEmpty ? nil : text[0], first == UInt8(ascii: "{") else {
      guard let command = LevelCommand(word: text) ?? LevelCommand(number: text) else {
        throw LevelCommandError(LevelCommand.words)
      }
      self = command
      return
    }
    let parsed: Parsed
    do throws(JsonError) {
      parsed = try LevelCommand.read(text)
    } catch {
      throw LevelCommandError("expected JSON such as {\"state\":\"ON\",\"brightness\":35}")
    }
    if let wrong = parsed.wrong { throw LevelCommandError(wrong) }
    guard let command = parsed.command else { throw LevelCommandError("expected state or brightness") }
    self = command
  }

  /// Whether it is JSON at all comes first: the object is read to its end before a member is found fault with.
  private static func read(_ text: Bytes) throws(JsonError) -> Parsed {
    var state: LevelCommand?
    var brightness: LevelCommand?
    var wrong: StaticString?
    var reader = try JsonObjectReader(text)
    while let (key, value) = try reader.next() {
      if key == Bytes("state") {
        if state != nil { wrong = wrong ?? "a key is given twice" }
        state = LevelCommand(state: value)
        if state == nil { wrong = wrong ?? "state: expected ON, OFF or TOGGLE" }
      } else if key == Bytes("brightness") {
        if brightness != nil { wrong = wrong ?? "a key is given twice" }
        if case .number(let number) = value { brightness = LevelCommand(number: number) }
        if brightness == nil { wrong = wrong ?? "brightness: expected 0 to 100" }
      } else {
        wrong = wrong ?? "unknown key; expected state and brightness"
      }
    }
    if state == .toggle, brightness != nil { wrong = wrong ?? "TOGGLE and brightness do not go together" }
    return Parsed(command: state == .on || state == nil ? brightness ?? state : state, wrong: wrong)
  }

  private struct Parsed {
    let command: LevelCommand?
    let wrong: StaticString?
  }

  init?(word: Bytes) {
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

  private init?(state: JsonValue) {
    switch state {
    case .string(let text): self.init(word: text)
    case .bool(let isOn): self = isOn ? .on : .off
    case .number, .null: return nil
    }
  }

  private init?(number text: Bytes) {
    guard let number = try? PlainDecimal(parsing: text), let level = number.level else { return nil }
    self = .level(level)
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

/// What follows a command.
public enum LevelAction: BitwiseCopyable {
  /// Write this level, then tell the tap: `written`, or `failed`.
  case write(Int)
  /// An empty retained message: it deletes and commands nothing.
  case nothing
  case refuse(ReasonCode, Bytes)
}

/// A PWM channel or a LED and its topics: percentages in, percentages out. What it drives is the last level that was
/// written; a fault keeps it, and it is driven again when the device is back.
public struct LevelTap: BitwiseCopyable {
  public enum State: BitwiseCopyable {
    /// Not written to yet.
    case opening
    case driven
    case faulted
  }
  public private(set) var state = State.opening
  public let stateTopic: Bytes
  public let commandTopic: Bytes
  /// What is driven, or will be: 0...10000.
  public private(set) var level: Int
  /// When a faulted one is to be tried again.
  public private(set) var retryAt: Instant
  /// Commands that were refused.
  public private(set) var refusedCount: UInt64 = 0
  private let scale: LevelScale
  private let isRestored: Bool
  private var levelWhenOn: Int
  private var fault: FaultReport
  private var payload: TextBuffer

  static var payloadBytesMax: Int { 8 }
  public static var retrySeconds: Int64 { 5 }

  init(
    settings: LevelSettings, stateTopic: Bytes, commandTopic: Bytes, fault: FaultReport, payload: TextBuffer,
    at now: Instant
  ) {
    self.stateTopic = stateTopic
    self.commandTopic = commandTopic
    self.fault = fault
    self.payload = payload
    level = settings.initial
    levelWhenOn = settings.initial > 0 ? settings.initial : LevelSettings.levelMax
    scale = settings.scale
    isRestored = settings.isRestored
    retryAt = now
  }

  public var faultTopic: Bytes { fault.topic }
  /// Why the tap is faulted; empty when it is not.
  public var faultText: Bytes { state == .faulted ? fault.text.bytes : .empty }
  /// In 2^-32 of the full power.
  public func share(of level: Int) -> UInt64 { scale.share(of: level) }

  /// What an earlier life left it with, for `initial: restore`; before it is opened.
  mutating func restore(level: Int) {
    guard isRestored else { return }
    self.level = level
    if level > 0 { levelWhenOn = level }
  }

  /// A message on `<tap>/set`. Retained or not, who forwards it does not store it.
  public mutating func commandReceived(_ payload: Bytes, isRetained: Bool) -> LevelAction {
    if payload.isEmpty, isRetained { return .nothing }
    let command: LevelCommand
    do throws(LevelCommandError) {
      command = try LevelCommand(payload)
    } catch {
      refusedCount &+= 1
      return .refuse(.payloadFormatInvalid, Bytes(error.text))
    }
    switch state {
    case .opening: return refuse(Bytes("device is not opened yet"))
    case .faulted: return refuse(fault.text.bytes)
    case .driven: break
    }
    switch command {
    case .level(let level): return .write(level)
    case .on: return .write(level > 0 ? level : levelWhenOn)
    case .off: return .write(0)
    case .toggle: return .write(level > 0 ? 0 : levelWhenOn)
    }
  }

  private mutating func refuse(_ text: Bytes) -> LevelAction {
    refusedCount &+= 1
    return .refuse(.implementationSpecificError, text)
  }

  /// The level is driven. `by`: a client identifier, `safe`, or nobody.
  public mutating func written(_ level: Int, by: Bytes, wallNanoseconds: Int64) -> TapUpdate {
    state = .driven
    retryAt = .never
    self.level = level
    if level > 0 { levelWhenOn = level }
    payload.write { LevelTap.write(level, into: &$0) }
    return TapUpdate(
      state: stateNow(by: by, wallNanoseconds: wallNanoseconds), fault: fault.clear(wallNanoseconds: wallNanoseconds))
  }

  /// The level that was written last; `by` caused it.
  func stateNow(by: Bytes, wallNanoseconds: Int64) -> Publication {
    Publication(topic: stateTopic, payload: payload.bytes, wallNanoseconds: wallNanoseconds, by: by)
  }

  func faultNow(wallNanoseconds: Int64) -> Publication { fault.now(wallNanoseconds: wallNanoseconds) }

  /// The device does not do it; `reason` is for people. It is tried again, with the level that it should have.
  public mutating func failed(_ reason: Bytes, at now: Instant, wallNanoseconds: Int64) -> TapUpdate {
    state = .faulted
    retryAt = now.adding(seconds: LevelTap.retrySeconds)
    return TapUpdate(fault: fault.raise(reason, wallNanoseconds: wallNanoseconds))
  }

  /// An attempt is under way.
  public mutating func tried() { retryAt = .never }

  /// `35`, `35.5`, `0.01`: no more decimals than it needs.
  static func write(_ level: Int, into writer: inout ByteWriter) {
    let digits = level % 100 == 0 ? 0 : level % 10 == 0 ? 1 : 2
    PlainDecimal.write(steps: Int64(level / (digits == 0 ? 100 : digits == 1 ? 10 : 1)), digits: digits, into: &writer)
  }

  /// The answer on a command's Response Topic: `{"ok":true,"state":"ON","brightness":35}`.
  public func writeAnswer(into writer: inout ByteWriter) {
    writer.write(
      level > 0 ? "{\"ok\":true,\"state\":\"ON\",\"brightness\":" : "{\"ok\":true,\"state\":\"OFF\",\"brightness\":")
    LevelTap.write(level, into: &writer)
    writer.write("}")
  }
}
