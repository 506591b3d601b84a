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

/// The file that totals, figures and levels are kept in.
public struct PersistSettings: Sendable, Equatable {
  /// An absolute path.
  public var file: [UInt8]
  /// The least time between two writes, but for those at the start and the end; 1 s to 1 day.
  public var intervalNanoseconds: Int64 = 60_000_000_000

  public init(file: [UInt8]) { self.file = file }
}

/// The treatment of a command with RETAIN. It is never kept, since it would be carried out again and again.
public enum RetainedSet: UInt8, Sendable {
  /// It is carried out as any other.
  case strip
  /// It is refused.
  case reject
}

/// All taps of a board.
public struct TapSettings: Sendable {
  /// Topics are `<base>/<tap>`, `<base>/<tap>/set`, `.../pulse`, `.../stats`, `.../fault` and `<base>/status`.
  public var base: [UInt8]
  /// Whether somebody has chosen the base.
  public var isBaseNamed = false
  public var outputs: [OutputSettings] = []
  public var groups: [OutputGroupSettings] = []
  public var inputs: [InputSettings] = []
  public var counters: [CounterSettings] = []
  public var sensors: [SensorSettings] = []
  /// Where state is kept between two lives of the daemon; nil: nowhere.
  public var persist: PersistSettings?
  /// What else the state file is to hold, for the next start; see `SavedState`.
  public var savedEntries: [SavedEntry] = []
  /// PWM channels and LEDs.
  public var levels: [LevelSettings] = []
  public var layout = TopicLayout.tapline
  /// nil: Home Assistant is told nothing.
  public var discovery: DiscoverySettings?
  public var discoveryKeys: [DiscoveryKeys] = []
  /// Links of inputs among them.
  public var rules: [RuleSettings] = []
  public var retainedSet = RetainedSet.strip
  /// What happens to messages that clients publish on the board's own topics.
  public var foreignWrites = ForeignWrites.refuse

  public enum ForeignWrites: Sendable {
    /// They are refused, or dropped where the client cannot be told.
    case refuse
    /// They are taken as any other message.
    case allow
  }

  /// Bytes; topics are stored once, so this is for the readers of logs.
  public static var baseBytesMax: Int { 256 }
  public static var nameBytesMax: Int { 64 }
  /// Taps of one kind; far above any board's lines.
  public static var tapsMax: Int { 1024 }

  public init(base: [UInt8]) { self.base = base }

  /// Whether the board tells its status: a broker without taps, to which nobody has given a base, has nothing to tell it of.
  public var hasStatus: Bool {
    isBaseNamed || !outputs.isEmpty || !inputs.isEmpty || !counters.isEmpty || !sensors.isEmpty || !levels.isEmpty
  }
}

// MARK: - What cannot be

/// What is wrong with the settings, and where.
public struct TapProblem: Error, Equatable {
  public enum Place: Equatable, Sendable {
    case base
    case output(Int)
    case group(Int)
    case input(Int)
    case counter(Int)
    case sensor(Int)
    case level(Int)
    case rule(Int)
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
      || counters.count > TapSettings.tapsMax || sensors.count > TapSettings.tapsMax
      || rules.count > TapSettings.tapsMax
    {
      return TapProblem(place: .base, text: "at most 1024 taps of one kind")
    }
    if levels.count > LevelSettings.countMax {
      return TapProblem(place: .base, text: "at most 32 PWM channels and LEDs together")
    }
    var names: [[UInt8]] = []
    var pins: [LineAddress] = []
    for (index, output) in outputs.enumerated() {
      let text =
        TapSettings.nameProblem(output.name, besides: names) ?? TapSettings.lineProblem(output.pin, besides: pins)
        ?? output.problem(groups)
      if let text { return TapProblem(place: .output(index), text: text) }
      names.append(output.name)
      pins.append(output.pin)
    }
    if let problem = groupProblem() { return problem }
    for (index, input) in inputs.enumerated() {
      let text =
        TapSettings.nameProblem(input.name, besides: names) ?? TapSettings.lineProblem(input.pin, besides: pins)
        ?? input.problem()
      if let text { return TapProblem(place: .input(index), text: text) }
      names.append(input.name)
      pins.append(input.pin)
    }
    for (index, counter) in counters.enumerated() {
      let text =
        TapSettings.nameProblem(counter.name, besides: names) ?? TapSettings.lineProblem(counter.pin, besides: pins)
        ?? counter.problem()
      if let text { return TapProblem(place: .counter(index), text: text) }
      names.append(counter.name)
      pins.append(counter.pin)
    }
    var channels: [[UInt8]] = []
    for (index, sensor) in sensors.enumerated() {
      // The channels of one device follow each other.
      let isNext = index > 0 && !sensor.channel.isEmpty && sensor.name == sensors[index - 1].name
      let hasFirst = isNext && !sensors[index - 1].channel.isEmpty
      if !hasFirst { channels = [] }
      var text = hasFirst ? nil : TapSettings.nameProblem(sensor.name, besides: names)
      if channels.contains(sensor.channel) { text = "another channel has this name" }
      text = text ?? sensor.problem()
      if let text { return TapProblem(place: .sensor(index), text: text) }
      names.append(sensor.name)
      channels.append(sensor.channel)
    }
    for (index, level) in levels.enumerated() {
      let text = TapSettings.nameProblem(level.name, besides: names) ?? level.problem(besides: levels[..<index])
      if let text { return TapProblem(place: .level(index), text: text) }
      names.append(level.name)
    }
    if let text = discovery?.problem() { return TapProblem(place: .base, text: text) }
    for (index, rule) in rules.enumerated() {
      if let text = rule.problem(outputCount: outputs.count, levelCount: levels.count) {
        return TapProblem(place: .rule(index), text: text)
      }
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

extension TapSettings {
  /// The filter of questions for what a line has: `<base>/+/get`, or what it is in another layout.
  public var questionFilter: [UInt8] {
    layout == .mqttIO
      ? base + Bytes("/+/+/get").array() : layout.topic(.input, .state, base: base, name: Bytes("+/get").array())
  }
}
