import Bounded

/// What a tap is, as far as its topics go.
public enum TapKind: UInt8, Sendable {
  case output
  case input
  case counter
  case sensor
  case pwm
  case led
}

/// What one of a tap's topics is for.
public enum TopicRole: UInt8, Sendable {
  /// The state; of a counter, its total.
  case state
  case set
  case pulse
  /// OFF for some milliseconds, then what was before.
  case offPulse
  case stats
  case event
  case rate
  case fault
}

/// How a board's topics are named: as Tapline does, or as programs expect that knew another gateway.
public enum TopicLayout: UInt8, Sendable {
  case tapline
  case mqttIO
  case tasmota

  /// The shape of a topic: `%b` is the base, `%t` the tap's name (`air/temperature` for one of several values), `%n`
  /// its place among those of its kind, from 1. Empty: there is no such topic.
  @inline(never) public func shape(_ kind: TapKind, _ role: TopicRole) -> StaticString {
    switch self {
    case .tapline: return TopicLayout.tapline(kind, role)
    case .mqttIO: return TopicLayout.mqttIO(kind, role)
    case .tasmota: return TopicLayout.tasmota(kind, role)
    }
  }

  private static func tapline(_ kind: TapKind, _ role: TopicRole) -> StaticString {
    switch role {
    case .state: return kind == .counter ? "%b/%t/total" : "%b/%t"
    case .set: return kind == .counter ? "%b/%t/total/set" : "%b/%t/set"
    case .pulse: return "%b/%t/pulse"
    case .offPulse: return ""
    case .stats: return "%b/%t/stats"
    case .event: return "%b/%t/event"
    case .rate: return "%b/%t/rate"
    case .fault: return "%b/%t/fault"
    }
  }

  /// mqtt-io 2: its topics where it has such taps, else as near as can be.
  private static func mqttIO(_ kind: TapKind, _ role: TopicRole) -> StaticString {
    switch role {
    case .state:
      switch kind {
      case .output, .pwm, .led: return "%b/output/%t"
      case .input: return "%b/input/%t"
      case .counter: return "%b/sensor/%t/total"
      case .sensor: return "%b/sensor/%t"
      }
    case .set: return kind == .counter ? "%b/sensor/%t/total/set" : "%b/output/%t/set"
    case .pulse: return "%b/output/%t/set_on_ms"
    case .offPulse: return "%b/output/%t/set_off_ms"
    case .stats: return "%b/output/%t/stats"
    case .event: return "%b/input/%t/event"
    case .rate: return "%b/sensor/%t/rate"
    case .fault:
      switch kind {
      case .output, .pwm, .led: return "%b/output/%t/fault"
      case .input: return "%b/input/%t/fault"
      case .counter, .sensor: return "%b/sensor/%t/fault"
      }
    }
  }

  /// Tasmota's `FullTopic %prefix%/%topic%/`, the base being its `%topic%`: relays are numbered.
  private static func tasmota(_ kind: TapKind, _ role: TopicRole) -> StaticString {
    switch role {
    case .state:
      switch kind {
      case .output: return "stat/%b/POWER%n"
      case .input, .pwm, .led: return "stat/%b/%t"
      case .counter: return "tele/%b/%t/total"
      case .sensor: return "tele/%b/%t"
      }
    case .set:
      switch kind {
      case .output: return "cmnd/%b/POWER%n"
      case .counter: return "cmnd/%b/%t/total"
      case .input, .sensor, .pwm, .led: return "cmnd/%b/%t"
      }
    case .pulse: return "cmnd/%b/%t/pulse"
    case .offPulse: return ""
    case .stats: return "tele/%b/%t/stats"
    case .event: return "stat/%b/%t/event"
    case .rate: return "tele/%b/%t/rate"
    case .fault: return "tele/%b/%t/fault"
    }
  }

  /// The bytes that topics may have beyond those of the layout `tapline`.
  public var bytesMore: Int { self == .tapline ? 0 : 12 }
  public var levelsMore: Int { self == .tapline ? 0 : 1 }

  /// Names that the layout has for itself.
  public func nameProblem(_ name: [UInt8]) -> StaticString? {
    let isTaken = name.withUnsafeBytes { Bytes($0).hasPrefix(Bytes("POWER")) || Bytes($0) == Bytes("LWT") }
    return self == .tasmota && isTaken ? "POWER and LWT are topics of layout: tasmota" : nil
  }

  // MARK: The board's own

  /// Whether outputs have a third topic for commands.
  public var hasOffPulses: Bool { self == .mqttIO }

  public var statusShape: StaticString {
    self == .tasmota ? "tele/%b/LWT" : "%b/status"
  }

  public func statusText(online: Bool) -> StaticString {
    switch self {
    case .tapline: return online ? "online" : "offline"
    case .mqttIO: return online ? "running" : "stopped"
    case .tasmota: return online ? "Online" : "Offline"
    }
  }

  // MARK: Writing

  /// - Parameters:
  ///   - name: the tap's; not used by a shape without `%t`.
  ///   - number: from 1; not used by a shape without `%n`.
  static func write(
    _ shape: StaticString, base: [UInt8], name: [UInt8] = [], number: Int = 0, into writer: inout ByteWriter
  ) {
    let shape = Bytes(shape)
    var index = 0
    while index < shape.count {
      guard shape[index] == UInt8(ascii: "%") else {
        writer.write(shape[index])
        index += 1
        continue
      }
      switch shape[index + 1] {
      case UInt8(ascii: "b"): writer.write(base)
      case UInt8(ascii: "t"): writer.write(name)
      default: writer.writeDecimal(UInt64(number))
      }
      index += 2
    }
  }

  /// The topic of a tap whose shape has no `%n`. Allocates, so for the start only.
  public func topic(_ kind: TapKind, _ role: TopicRole, base: [UInt8], name: [UInt8]) -> [UInt8] {
    let shape = shape(kind, role)
    var topic = [UInt8](repeating: 0, count: TopicLayout.byteCount(shape, base: base, name: name))
    topic.withUnsafeMutableBytes { room in
      var writer = ByteWriter(room)
      TopicLayout.write(shape, base: base, name: name, into: &writer)
    }
    return topic
  }

  /// The number of bytes that `write` writes.
  static func byteCount(_ shape: StaticString, base: [UInt8], name: [UInt8] = [], number: Int = 0) -> Int {
    let shape = Bytes(shape)
    var count = shape.count
    for index in 0..<shape.count {
      if shape[index] == UInt8(ascii: "%") {
        switch shape[index + 1] {
        case UInt8(ascii: "b"): count += base.count - 2
        case UInt8(ascii: "t"): count += name.count - 2
        default: count += (number < 10 ? 1 : number < 100 ? 2 : number < 1000 ? 3 : 4) - 2
        }
      }
    }
    return count
  }
}

/// The topics of one tap.
struct TopicNames {
  let layout: TopicLayout
  let kind: TapKind
  let base: [UInt8]
  let name: [UInt8]
  /// From 1.
  let number: Int

  /// Writes it; empty where the layout has none.
  @inline(never) func topic(_ role: TopicRole, into writer: inout ByteWriter) -> Bytes {
    let start = writer.count
    TopicLayout.write(layout.shape(kind, role), base: base, name: name, number: number, into: &writer)
    return writer.written.from(start)
  }

  @inline(never) func byteCount(_ role: TopicRole) -> Int {
    TopicLayout.byteCount(layout.shape(kind, role), base: base, name: name, number: number)
  }
}

extension ByteWriter {
  @inline(never) mutating func write(_ bytes: [UInt8]) {
    bytes.withUnsafeBytes { write(Bytes($0)) }
  }
}
