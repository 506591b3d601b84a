public import Bounded

/// A decimal number as people and kernel files write it, kept exactly: mantissa / 10^places.
///
/// Invariant: |mantissa| < 10^18, 0 <= places <= 18, and no trailing zero after the point.
public struct PlainDecimal: BitwiseCopyable, Sendable, Equatable {
  public let mantissa: Int64
  public let places: Int

  public static var zero: PlainDecimal { PlainDecimal(mantissa: 0, places: 0) }
  static var digitsMax: Int { 18 }

  /// Traps on numbers outside the invariant's ranges: for numbers that stand in the source.
  public init(mantissa: Int64, places: Int) {
    precondition(mantissa.magnitude < PlainDecimal.power(PlainDecimal.digitsMax).magnitude)
    precondition(places >= 0 && places <= PlainDecimal.digitsMax)
    var mantissa = mantissa
    var places = mantissa == 0 ? 0 : places
    while places > 0, mantissa % 10 == 0 {
      mantissa /= 10
      places -= 1
    }
    self.mantissa = mantissa
    self.places = places
  }

  /// What text is not, when it is not a number.
  public enum ParseError: Error, Equatable {
    case empty
    case notANumber
    /// 10^18 or more.
    case tooLarge
  }

  /// An optional sign, digits, and optionally a point and digits: `-12`, `+0.5`. ASCII whitespace around it is
  /// ignored. Of more than 18 digits those last after the point are dropped.
  public init(parsing text: Bytes) throws(ParseError) {
    let trimmed = text.trimmingASCIIWhitespace
    guard !trimmed.isEmpty else { throw .empty }
    let hasSign = trimmed[0] == UInt8(ascii: "-") || trimmed[0] == UInt8(ascii: "+")
    let isNegative = trimmed[0] == UInt8(ascii: "-")

    var mantissa: Int64 = 0
    var digitCount = 0  // significant ones
    var places = 0
    var pointAt: Int?
    var index = hasSign ? 1 : 0
    guard index < trimmed.count else { throw .notANumber }
    while index < trimmed.count {
      let byte = trimmed[index]
      if byte == UInt8(ascii: ".") {
        guard pointAt == nil, index > (hasSign ? 1 : 0), index + 1 < trimmed.count else { throw .notANumber }
        pointAt = index
      } else if byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") {
        let isFraction = pointAt != nil
        if digitCount < PlainDecimal.digitsMax, !isFraction || places < PlainDecimal.digitsMax {
          mantissa = mantissa * 10 + Int64(byte - UInt8(ascii: "0"))
          if mantissa != 0 { digitCount += 1 }
          if isFraction { places += 1 }
        } else if !isFraction {
          digitCount += 1  // too large, unless what follows is no number at all
        }
      } else {
        throw .notANumber
      }
      index += 1
    }
    guard digitCount <= PlainDecimal.digitsMax else { throw .tooLarge }
    self.init(mantissa: isNegative ? -mantissa : mantissa, places: places)
  }

  public static func < (left: PlainDecimal, right: PlainDecimal) -> Bool {
    if left.mantissa.signum() != right.mantissa.signum() { return left.mantissa.signum() < right.mantissa.signum() }
    let common = max(left.places, right.places)
    let (leftSteps, leftOverflow) = left.mantissa.multipliedReportingOverflow(by: power(common - left.places))
    let (rightSteps, rightOverflow) = right.mantissa.multipliedReportingOverflow(by: power(common - right.places))
    // Only the one with fewer places is multiplied; if that overflows, it is the farther from 0.
    if leftOverflow { return left.mantissa < 0 }
    if rightOverflow { return right.mantissa > 0 }
    return leftSteps < rightSteps
  }

  /// The exact sum; nil where it does not fit.
  func adding(_ other: PlainDecimal) -> PlainDecimal? {
    let common = max(places, other.places)
    guard let left = PlainDecimal.rescaled(self, to: common), let right = PlainDecimal.rescaled(other, to: common),
      case (let sum, let overflow) = left.addingReportingOverflow(right), !overflow,
      sum.magnitude < PlainDecimal.power(PlainDecimal.digitsMax).magnitude
    else { return nil }
    return PlainDecimal(mantissa: sum, places: common)
  }

  /// 10^exponent, 0...18.
  @inline(never) static func power(_ exponent: Int) -> Int64 {
    precondition(exponent >= 0 && exponent <= digitsMax)
    var value: Int64 = 1
    var remaining = exponent
    while remaining > 0 {
      value *= 10
      remaining -= 1
    }
    return value
  }
}

// MARK: - Conversion to steps

extension PlainDecimal {
  /// (self + offset) x scale in steps of 10^-digits, rounded half away from zero; nil from 10^18 steps on.
  /// Exact, but for digits of the sum beyond 18, which are dropped.
  func steps(offset: PlainDecimal, scale: PlainDecimal, digits: Int) -> Int64? {
    guard let (sum, sumPlaces) = sum(with: offset) else { return nil }
    let product = sum.magnitude.multipliedFullWidth(by: scale.mantissa.magnitude)
    let rounded = PlainDecimal.rounded(
      WideMagnitude(high: product.high, low: product.low), places: sumPlaces + scale.places, to: digits)
    guard let rounded, rounded < PlainDecimal.power(PlainDecimal.digitsMax).magnitude else { return nil }
    return (sum < 0) == (scale.mantissa < 0) ? Int64(rounded) : -Int64(rounded)
  }

  /// The sum as a mantissa and its places, with fraction digits dropped where it would not fit otherwise.
  private func sum(with other: PlainDecimal) -> (Int64, Int)? {
    var common = max(places, other.places)
    while true {
      if let left = PlainDecimal.rescaled(self, to: common), let right = PlainDecimal.rescaled(other, to: common) {
        let (sum, overflow) = left.addingReportingOverflow(right)
        if !overflow { return (sum, common) }
      }
      guard common > 0 else { return nil }
      common -= 1
    }
  }

  private static func rescaled(_ number: PlainDecimal, to places: Int) -> Int64? {
    guard places >= number.places else { return number.mantissa / power(number.places - places) }
    let (product, overflow) = number.mantissa.multipliedReportingOverflow(by: power(places - number.places))
    return overflow ? nil : product
  }

  /// `magnitude` / 10^`places` in steps of 10^-digits; nil when that is more than 64 bits.
  private static func rounded(_ magnitude: WideMagnitude, places: Int, to digits: Int) -> UInt64? {
    if places <= digits {
      guard magnitude.high == 0 else { return nil }
      let (product, overflow) = magnitude.low.multipliedReportingOverflow(by: power(digits - places).magnitude)
      return overflow ? nil : product
    }
    var tenths = magnitude
    var dropped = places - digits - 1
    while dropped > 0 {
      let part = min(dropped, 9)
      tenths = tenths.divided(by: UInt32(power(part)))
      dropped -= part
    }
    let steps = tenths.divided(by: 10)
    guard steps.high == 0 else { return nil }
    // What was dropped below the tenths cannot change which half it is.
    let lastTenth = tenths.low &- steps.low &* 10
    return lastTenth >= 5 ? steps.low &+ 1 : steps.low
  }

  /// Writes `steps` x 10^-digits with exactly `digits` decimals; zero has no sign.
  static func write(steps: Int64, digits: Int, into writer: inout ByteWriter) {
    if steps < 0 { writer.write(UInt8(ascii: "-")) }
    let unit = power(digits).magnitude
    writer.writeDecimal(steps.magnitude / unit)
    guard digits > 0 else { return }
    writer.write(UInt8(ascii: "."))
    writer.writeDecimal(steps.magnitude % unit, width: digits)
  }
}

/// 128 bits without a sign, divided in steps of 32: no help from a runtime is needed.
private struct WideMagnitude {
  var high: UInt64
  var low: UInt64

  /// The quotient, rounded down.
  func divided(by divisor: UInt32) -> WideMagnitude {
    let divisor = UInt64(divisor)
    let upper = (high % divisor) << 32 | low >> 32
    let lower = (upper % divisor) << 32 | low & 0xFFFF_FFFF
    return WideMagnitude(high: high / divisor, low: (upper / divisor) << 32 | lower / divisor)
  }
}
