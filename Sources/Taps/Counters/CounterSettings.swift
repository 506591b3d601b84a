import Bounded

/// Which of a counter's edges are pulses, in electrical terms.
public enum CounterEdge: UInt8, BitwiseCopyable, Sendable {
  case rising
  case falling
  case both
}

/// The time that a rate is for.
public enum RatePeriod: UInt8, Sendable {
  case second
  case minute
  case hour

  var seconds: Int64 {
    switch self {
    case .second: return 1
    case .minute: return 60
    case .hour: return 3600
    }
  }
}

/// How fast a counter counts: units per period, from the times of the pulses.
public struct RateSettings: Sendable {
  public var period: RatePeriod
  /// For people, as in `L/min`; may be empty.
  public var unit: [UInt8] = []
  /// Nanoseconds without a pulse after which the rate is 0.
  public var timeoutNanoseconds: Int64
  /// 0...`CounterSettings.digitsMax`.
  public var digits = 2

  public init(period: RatePeriod, timeoutNanoseconds: Int64 = 10_000_000_000) {
    self.period = period
    self.timeoutNanoseconds = timeoutNanoseconds
  }
}

/// Pulses of a meter. The total is pulses / pulsesPerUnit, cut to `digits` decimals.
public struct CounterSettings: Sendable {
  public var name: [UInt8]
  public var pin: LineAddress
  public var bias = LineBias.asIs
  public var edge = CounterEdge.rising
  /// Nanoseconds that a level must last to count; 0: every edge counts. By the edges' times, so that the pulses of a
  /// late batch are judged as they came.
  public var glitchNanoseconds: Int64 = 0
  /// More than 0; less than 10^6 with at most three decimals.
  public var pulsesPerUnit = PlainDecimal(mantissa: 1, places: 0)
  /// For people, as in `L`; may be empty.
  public var unit: [UInt8] = []
  /// 0...`digitsMax`; nil: 0 when a pulse is a whole number of units, else 3.
  public var digits: Int?
  /// nil: there is no rate.
  public var rate: RateSettings?
  /// In units: smaller changes of the total are not published; 0 publishes every change of the text.
  public var delta = PlainDecimal.zero
  /// Total and rate are published once in this many nanoseconds at most.
  public var throttleNanoseconds: Int64 = 1_000_000_000

  public static var digitsMax: Int { 6 }

  public init(name: [UInt8], pin: LineAddress) {
    self.name = name
    self.pin = pin
  }

  /// Whether `pulsesPerUnit` is in its range.
  public var hasFitPulsesPerUnit: Bool {
    pulsesPerUnit.mantissa > 0 && pulsesPerUnit.places <= 3
      && pulsesPerUnit < PlainDecimal(mantissa: 1_000_000, places: 0)
  }

  func problem() -> StaticString? {
    let times = 0...InputSettings.delayNanosecondsMax
    if !hasFitPulsesPerUnit {
      return "pulses_per_unit must be more than 0, less than 1000000 and have at most 3 decimals"
    }
    if let digits, digits < 0 || digits > CounterSettings.digitsMax { return "digits must be 0 to 6" }
    if delta < .zero { return "delta must not be negative" }
    guard times.contains(glitchNanoseconds), times.contains(throttleNanoseconds) else {
      return "glitch and throttle must be 0 to 7d"
    }
    guard let rate else { return nil }
    if rate.digits < 0 || rate.digits > CounterSettings.digitsMax { return "digits must be 0 to 6" }
    let isTimed = rate.timeoutNanoseconds > 0 && times.contains(rate.timeoutNanoseconds)
    return isTimed ? nil : "the rate's timeout must be more than 0 and at most 7d"
  }
}

/// A whole number of pulses as units of a meter.
struct PulseScale: BitwiseCopyable {
  /// pulsesPerUnit = mantissa / factor.
  private let mantissa: UInt64  // less than 10^9
  private let factor: UInt64  // 1, 10, 100 or 1000
  let digits: Int
  private let perUnit: PlainDecimal

  init(_ perUnit: PlainDecimal, digits: Int?) {
    precondition(perUnit.mantissa > 0 && perUnit.mantissa < 1_000_000_000 && perUnit.places <= 3)
    self.perUnit = perUnit
    mantissa = perUnit.mantissa.magnitude
    factor = PlainDecimal.power(perUnit.places).magnitude
    self.digits = digits ?? (factor % mantissa == 0 ? 0 : 3)
  }

  /// Cut, not rounded: what a meter shows was used up. Exact up to 10^16 pulses.
  func write(_ pulses: UInt64, into writer: inout ByteWriter) {
    let rest = pulses % mantissa &* factor  // below 10^12
    writer.writeDecimal(pulses / mantissa &* factor &+ rest / mantissa)
    guard digits > 0 else { return }
    writer.write(UInt8(ascii: "."))
    writer.writeDecimal(rest % mantissa &* PlainDecimal.power(digits).magnitude / mantissa, width: digits)
  }

  /// Rounded; nil when there are 10^18 or more.
  func pulses(in units: PlainDecimal) -> UInt64? {
    units.steps(offset: .zero, scale: perUnit, digits: 0).map { $0.magnitude }
  }

  /// Units per `seconds`, in steps of 10^-digits, for pulses over a time of 1 nanosecond or more.
  func rateSteps(_ pulses: UInt64, over nanoseconds: Int64, seconds: Int64, digits: Int) -> Int64 {
    let units = Double(pulses) * Double(factor) / Double(mantissa)
    let steps = units * Double(seconds) * 1e9 / Double(nanoseconds) * Double(PlainDecimal.power(digits))
    return steps < 1e17 ? Int64(steps + 0.5) : 100_000_000_000_000_000
  }
}
