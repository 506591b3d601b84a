public import Bounded
public import MQTTWire

/// What the line must do about a command, and how the command's PUBLISH is answered.
public enum OutputAction: BitwiseCopyable {
  /// Set the line, then tell the tap: `lineSet` or `lineFailed`.
  case set(active: Bool)
  /// Answer with this code and Reason String, which is valid until the tap's next event. Nothing changes.
  case refuse(ReasonCode, Bytes)
}

/// An output line and its topics: commands in, states out.
///
///     waiting ──lineHealed──▶ driven ──lineFailed──▶ faulted
///        └─────lineFailed──────────────────────────▶   └──lineHealed──▶ driven
public struct OutputTap: BitwiseCopyable {
  public enum State: BitwiseCopyable, Equatable {
    /// The line was not requested yet.
    case waiting
    case driven(active: Bool)
    case faulted
  }
  public private(set) var state = State.waiting
  /// The line's place among all lines: outputs first, then inputs.
  public let lineIndex: Int
  public let stateTopic: Bytes
  public let commandTopic: Bytes
  public var faultTopic: Bytes { fault.topic }
  /// The state with which the line is to be requested, again after a fault: what it had last, or the initial one.
  public private(set) var requestedActive: Bool
  public private(set) var refusedCount: UInt64 = 0
  private var fault: FaultReport

  init(lineIndex: Int, initialActive: Bool, stateTopic: Bytes, commandTopic: Bytes, fault: FaultReport) {
    self.lineIndex = lineIndex
    requestedActive = initialActive
    self.stateTopic = stateTopic
    self.commandTopic = commandTopic
    self.fault = fault
  }

  /// Why the line is faulted; empty when it is not.
  public var faultText: Bytes { state == .faulted ? fault.text.bytes : .empty }

  /// ON, OFF, TOGGLE, 1, 0, true or false in any case, with ASCII whitespace around it. Anything else is
  /// `payloadFormatInvalid`, whatever state the line is in; a line without a level to set is
  /// `implementationSpecificError` with the fault's text.
  public mutating func commandReceived(_ payload: Bytes) -> OutputAction {
    guard let command = Command(payload) else {
      refusedCount &+= 1
      return .refuse(.payloadFormatInvalid, Bytes("expected ON, OFF, TOGGLE, 1, 0, true or false"))
    }
    switch state {
    case .waiting:
      refusedCount &+= 1
      return .refuse(.implementationSpecificError, Bytes("line is not requested yet"))
    case .driven(let active):
      switch command {
      case .on: return .set(active: true)
      case .off: return .set(active: false)
      case .toggle: return .set(active: !active)
      }
    case .faulted:
      refusedCount &+= 1
      return .refuse(.implementationSpecificError, fault.text.bytes)
    }
  }

  /// The line has this level now, by whose command. Published even if it had it before: that is how a client
  /// of MQTT 3.1.1 learns that its command was carried out.
  public mutating func lineSet(active: Bool, wallNanoseconds: Int64, by: Bytes = .empty) -> TapUpdate {
    state = .driven(active: active)
    requestedActive = active
    let cleared = fault.clear(wallNanoseconds: wallNanoseconds)
    return TapUpdate(
      state: Publication(
        topic: stateTopic, payload: StateText.bytes(active: active), wallNanoseconds: wallNanoseconds, by: by),
      fault: cleared)
  }

  /// The line cannot be requested or set; `reason` is for people: "line GPIO17 busy: held by spi0 CS0". The last
  /// state stays on the state topic.
  public mutating func lineFailed(_ reason: Bytes, wallNanoseconds: Int64) -> TapUpdate {
    state = .faulted
    return TapUpdate(fault: fault.raise(reason, wallNanoseconds: wallNanoseconds))
  }

  /// The line was requested, at start or after a fault, and has this level.
  public mutating func lineHealed(active: Bool, wallNanoseconds: Int64) -> TapUpdate {
    lineSet(active: active, wallNanoseconds: wallNanoseconds)
  }

  private enum Command {
    case on
    case off
    case toggle

    init?(_ payload: Bytes) {
      let word = payload.trimmingASCIIWhitespace
      if word.equalsIgnoringASCIICase("on") || word.equalsIgnoringASCIICase("1")
        || word.equalsIgnoringASCIICase("true")
      {
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
  }
}
