import Bounded
import MQTTWire

// What the configuration says about taps. Read once at start; text is bytes of UTF-8.

/// Which electrical level counts as active: `ON`, 1, a rising edge.
public enum LineActive: UInt8, Sendable {
  case high
  case low
}

/// What pulls an input that nothing drives. `asIs` leaves what firmware or an overlay has set.
public enum LineBias: UInt8, Sendable {
  case asIs
  case disabled
  case pullUp
  case pullDown
}

/// How an output drives its line.
public enum LineDrive: UInt8, Sendable {
  case pushPull
  case openDrain
  case openSource
}

/// Names a line: by its name on any chip, or with `chip` (name, label or path) by its name or decimal offset
/// there.
public struct LineAddress: Sendable, Equatable {
  /// Empty: any chip.
  public var chip: [UInt8]
  public var line: [UInt8]

  public init(chip: [UInt8] = [], line: [UInt8]) {
    self.chip = chip
    self.line = line
  }
}

public struct OutputSettings: Sendable {
  public var name: [UInt8]
  public var pin: LineAddress
  public var active = LineActive.high
  public var drive = LineDrive.pushPull
  /// The state that the line has from its request on.
  public var initialActive = false

  public init(name: [UInt8], pin: LineAddress) {
    self.name = name
    self.pin = pin
  }
}

/// Both edges of the line are asked for.
public struct InputSettings: Sendable {
  public var name: [UInt8]
  public var pin: LineAddress
  public var active = LineActive.high
  public var bias = LineBias.asIs
  /// How long a level must last to count; 0 is no debounce.
  public var debounceMicroseconds: UInt32 = 0

  public init(name: [UInt8], pin: LineAddress) {
    self.name = name
    self.pin = pin
  }
}

/// Where a sensor's number comes from.
public enum SensorSource: Sendable {
  /// A chip by its `name` and a channel file such as `temp1_input`.
  case hwmon(name: [UInt8], channel: [UInt8])
  /// A thermal zone by its `type`.
  case thermal(type: [UInt8])
  /// A device by its `name` and a channel file such as `in_temp_input`.
  case iio(name: [UInt8], channel: [UInt8])
  /// Any file that holds one number.
  case file(path: [UInt8])
  /// No file: see `SimulatedWave`.
  case simulatedWave
}

/// value = (raw + offset) x scale, with `digits` decimals, rounded half away from zero.
public struct SensorSettings: Sendable {
  public var name: [UInt8]
  public var source: SensorSource
  /// Nanoseconds from read to read, at least `intervalNanosecondsMin`.
  public var intervalNanoseconds: Int64
  /// nil: by source and channel, see `SensorUnit`.
  public var scale: PlainDecimal?
  /// In the file's own unit, before scaling.
  public var offset = PlainDecimal.zero
  /// 0...`digitsMax`; nil: by source and channel, see `SensorUnit`.
  public var digits: Int?
  /// In the published unit: smaller changes are not published; 0 publishes every change of the text.
  public var delta = PlainDecimal.zero
  /// An unchanged value is published again after this many nanoseconds; 0 is never.
  public var refreshNanoseconds: Int64 = 0

  public static var intervalNanosecondsMin: Int64 { 10_000_000 }
  public static var digitsMax: Int { 9 }

  public init(name: [UInt8], source: SensorSource, intervalNanoseconds: Int64) {
    self.name = name
    self.source = source
    self.intervalNanoseconds = intervalNanoseconds
  }
}

/// All taps of a board.
public struct TapSettings: Sendable {
  /// Topics are `<base>/<tap>`, `<base>/<tap>/set`, `<base>/<tap>/fault` and `<base>/status`.
  public var base: [UInt8]
  public var outputs: [OutputSettings] = []
  public var inputs: [InputSettings] = []
  public var sensors: [SensorSettings] = []

  /// Bytes; topics are stored once, so this is for the readers of logs.
  public static var baseBytesMax: Int { 256 }
  public static var nameBytesMax: Int { 64 }
  /// Taps of one kind; far above any board's lines.
  public static var tapsMax: Int { 1024 }

  public init(base: [UInt8]) { self.base = base }
}

// MARK: - What cannot be

/// What is wrong with the settings, and where.
public struct TapProblem: Error, Equatable {
  public enum Place: Equatable, Sendable {
    case base
    case output(Int)
    case input(Int)
    case sensor(Int)
  }
  public let place: Place
  public let text: StaticString

  public static func == (left: TapProblem, right: TapProblem) -> Bool {
    left.place == right.place && Bytes(left.text) == Bytes(right.text)
  }
}

extension TapSettings {
  /// The first thing that is wrong, or nil. A table is made only of settings without a problem.
  public func problem() -> TapProblem? {
    if let text = TapSettings.baseProblem(base) { return TapProblem(place: .base, text: text) }
    if outputs.count > TapSettings.tapsMax || inputs.count > TapSettings.tapsMax
      || sensors.count > TapSettings.tapsMax
    {
      return TapProblem(place: .base, text: "at most 1024 taps of one kind")
    }
    var names: [[UInt8]] = []
    var pins: [LineAddress] = []
    for (index, output) in outputs.enumerated() {
      let text =
        TapSettings.nameProblem(output.name, besides: names) ?? TapSettings.lineProblem(output.pin, besides: pins)
      if let text { return TapProblem(place: .output(index), text: text) }
      names.append(output.name)
      pins.append(output.pin)
    }
    for (index, input) in inputs.enumerated() {
      let text =
        TapSettings.nameProblem(input.name, besides: names) ?? TapSettings.lineProblem(input.pin, besides: pins)
      if let text { return TapProblem(place: .input(index), text: text) }
      names.append(input.name)
      pins.append(input.pin)
    }
    for (index, sensor) in sensors.enumerated() {
      let text = TapSettings.nameProblem(sensor.name, besides: names) ?? sensor.problem()
      if let text { return TapProblem(place: .sensor(index), text: text) }
      names.append(sensor.name)
    }
    return nil
  }

  /// What is wrong with a base topic, or nil.
  public static func baseProblem(_ base: [UInt8]) -> StaticString? {
    let isName = base.withUnsafeBytes { Topic.isValidName(Bytes($0)) }
    guard isName else { return "base must be a topic: UTF-8, not empty, without + and #" }
    if base.count > baseBytesMax { return "base must be at most 256 bytes" }
    if base[0] == UInt8(ascii: "$") { return "base must not start with $, which is the broker's own" }
    if base[0] == UInt8(ascii: "/") || base[base.count - 1] == UInt8(ascii: "/") {
      return "base must not start or end with /"
    }
    return nil
  }

  /// What is wrong with a tap's name, or nil. Taps of all kinds share one set of names.
  public static func nameProblem(_ name: [UInt8], besides others: [[UInt8]] = []) -> StaticString? {
    let isName = name.withUnsafeBytes { Topic.isValidName(Bytes($0)) }
    guard isName, !name.contains(UInt8(ascii: "/")) else {
      return "a tap's name is one topic level: UTF-8, not empty, without / + #"
    }
    if name.count > nameBytesMax { return "a tap's name must be at most 64 bytes" }
    if name[0] == UInt8(ascii: "$") { return "a tap's name must not start with $" }
    if name.withUnsafeBytes({ Bytes($0) == Bytes("status") }) { return "status is the board's own topic" }
    if others.contains(name) { return "another tap has this name" }
    return nil
  }

  static func lineProblem(_ pin: LineAddress, besides others: [LineAddress]) -> StaticString? {
    if pin.line.isEmpty { return "pin must name a line" }
    return others.contains(pin) ? "another tap has this pin" : nil
  }
}

extension SensorSettings {
  func problem() -> StaticString? {
    if intervalNanoseconds < SensorSettings.intervalNanosecondsMin { return "interval must be at least 10ms" }
    if let digits, digits < 0 || digits > SensorSettings.digitsMax { return "digits must be 0 to 9" }
    if delta < .zero { return "delta must not be negative" }
    if refreshNanoseconds < 0 { return "refresh must not be negative" }
    if let scale, scale == .zero { return "scale must not be 0" }
    switch source {
    case .hwmon(let name, let channel), .iio(let name, let channel):
      if name.isEmpty || channel.isEmpty { return "a sensor needs the device's name and a channel" }
      if channel.contains(UInt8(ascii: "/")) { return "channel is a file's name, without /" }
    case .thermal(let type):
      if type.isEmpty { return "thermal needs the zone's type" }
    case .file(let path):
      if path.isEmpty { return "file needs a path" }
    case .simulatedWave:
      break
    }
    return nil
  }
}
