import Bounded

// What the configuration says about outputs with a level between off and full: PWM channels and LEDs of the kernel.
// A level is 0...10000: hundredths of a percent.

/// What a level is written to.
public enum LevelTarget: Sendable, Equatable {
  /// A channel of the PWM chip whose device has this name, such as `1f00098000.pwm`: chips' numbers move between
  /// kernels.
  case pwm(chip: [UInt8], channel: Int, periodNanoseconds: Int64, isActiveLow: Bool)
  /// An LED of the kernel, such as `ACT`. `trigger`: who drives it beside us, nobody by default; empty: as it is.
  case led(name: [UInt8], trigger: [UInt8])
}

/// Binds a level to the connection of a client, as `OutputLease` does an output: when the client is away for longer than
/// `graceNanoseconds`, the level becomes `levelWhenLost`.
public struct LevelLease: Sendable {
  /// The client identifier.
  public var client: [UInt8]
  public var graceNanoseconds: Int64
  public var levelWhenLost: Int
  /// As `OutputLease.keepAliveSecondsMax`.
  public var keepAliveSecondsMax: UInt16?

  public init(client: [UInt8], graceNanoseconds: Int64, levelWhenLost: Int) {
    self.client = client
    self.graceNanoseconds = graceNanoseconds
    self.levelWhenLost = levelWhenLost
  }
}

public struct LevelSettings: Sendable {
  public var name: [UInt8]
  public var target: LevelTarget
  /// From the daemon's start on.
  public var initial = 0
  /// In place of `initial` the level of the last life, where that is known.
  public var isRestored = false
  /// At the end, for `onExit` and for whoever cleans up after a crash.
  public var safe = 0
  public var onExit = OutputExit.safe
  public var scale = LevelScale()
  /// The level becomes 0 when it has been above 0 for this long, whatever commands came in between; 0: never.
  public var maxOnNanoseconds: Int64 = 0
  public var lease: LevelLease?

  public init(name: [UInt8], target: LevelTarget) {
    self.name = name
    self.target = target
  }

  public static var levelMax: Int { 10_000 }
  /// Each has a thread of its own, so that a driver that hangs holds up nobody else.
  public static var countMax: Int { 32 }

  /// What is wrong besides the name, or nil.
  func problem(besides others: ArraySlice<LevelSettings>) -> StaticString? {
    for level in [initial, safe, scale.lowest, scale.highest, lease?.levelWhenLost ?? 0] {
      if level < 0 || level > LevelSettings.levelMax { return "a level must be from 0 to 100" }
    }
    if scale.lowest > scale.highest { return "min must be at most max" }
    if scale.gammaHundredths < 10 || scale.gammaHundredths > 500 { return "gamma must be from 0.1 to 5" }
    for time in [maxOnNanoseconds, lease?.graceNanoseconds ?? 0]
    where time < 0 || time > OutputSettings.nanosecondsMax { return "a time must be at most 30d" }
    if let lease, lease.client.isEmpty { return "a lease needs the client's identifier" }
    for other in others where other.isSame(as: self) { return "another tap has this output" }
    switch target {
    case .pwm(let chip, let channel, let period, _):
      if chip.isEmpty || chip.count > 64 { return "chip must be a device's name of at most 64 bytes" }
      if channel < 0 || channel > 255 { return "channel must be at most 255" }
      if period < 100 || period > 10_000_000_000 { return "frequency must be from 0.1Hz to 10MHz" }
    case .led(let name, let trigger):
      if name.isEmpty || name.count > 64 { return "led must be an LED's name of at most 64 bytes" }
      if trigger.count > 31 { return "trigger must be at most 31 bytes" }
    }
    return nil
  }

  public func isSame(as other: LevelSettings) -> Bool {
    switch (target, other.target) {
    case (.pwm(let chip, let channel, _, _), .pwm(let otherChip, let otherChannel, _, _)):
      return chip == otherChip && channel == otherChannel
    case (.led(let name, _), .led(let otherName, _)): return name == otherName
    default: return false
    }
  }
}

/// How much of the full power a level is: zero is zero; the others lie between `lowest` and `highest`, as the curve
/// of `gamma` says. In integers, so that every machine and every run drive the same.
public struct LevelScale: BitwiseCopyable, Sendable {
  /// 2.2 is 220: eyes see the steps of level^2.2 as equal. 100 is a straight line.
  public var gammaHundredths = 100
  /// The level that is driven for a level just above 0, for fans that stall.
  public var lowest = 0
  /// The level that is driven for 100 %.
  public var highest = 10_000

  public init() {}

  /// In 2^-32 of the full power, 0...2^32. Never falls while the level rises.
  public func share(of level: Int) -> UInt64 {
    precondition(level >= 0 && level <= LevelSettings.levelMax)
    guard level > 0 else { return 0 }
    let from = LevelScale.share(straight: lowest)
    let to = LevelScale.share(straight: highest)
    let curve = gammaHundredths == 100 ? LevelScale.share(straight: level) : curve(LevelScale.share(straight: level))
    guard to - from < 1 << 32 else { return curve }
    return from + ((to - from) * curve + 1 << 31) >> 32
  }

  private static func share(straight level: Int) -> UInt64 { (UInt64(level) << 32 + 5000) / 10_000 }

  /// `share`^gamma: the smallest number whose logarithm is large enough.
  private func curve(_ share: UInt64) -> UInt64 {
    let wanted = LevelScale.minusLog2(share) * UInt64(gammaHundredths) / 100
    var low: UInt64 = 0  // too small, or 0
    var high: UInt64 = 1 << 32
    while high - low > 1 {
      let middle = (low + high) / 2
      if LevelScale.minusLog2(middle) <= wanted { high = middle } else { low = middle }
    }
    return high
  }

  /// -log2(share / 2^32) in 2^-32, for 1...2^32: bit by bit, by squaring.
  private static func minusLog2(_ share: UInt64) -> UInt64 {
    guard share < 1 << 32 else { return 0 }
    let shift = UInt64(UInt32(share).leadingZeroBitCount)
    var number = share << shift  // 2^31...2^32: 1 to 2
    var fraction: UInt64 = 0
    var bit: UInt64 = 1 << 31
    while bit > 0 {
      number = (number * number) >> 31
      if number >= 1 << 32 {
        number >>= 1
        fraction |= bit
      }
      bit >>= 1
    }
    return (shift + 1) << 32 - fraction
  }
}
