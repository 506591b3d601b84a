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

  /// An optional sign, digits with at most one point before, between or behind them, and optionally an exponent: `-12`,
  /// `+.5`, `5.`, `2.5e-3`. ASCII whitespace around it is ignored. Of more than 18 digits, and of more than 18 after
  /// the point, the last are dropped: `1e-19` is 0.
  public init(parsing text: Bytes) throws(ParseError) {
    let trimmed = text.trimmingASCIIWhitespace
    guard !trimmed.isEmpty else { throw .empty }
    let isNegative = trimmed[0] == UInt8(ascii: "-")
    let full = PlainDecimal.power(PlainDecimal.digitsMax - 1)  // from here on there is no room for a digit more

    var mantissa: Int64 = 0
    var exponent = 0  // of the mantissa's last digit
    var hasDigits = false
    var hasPoint = false
    var index = isNegative || trimmed[0] == UInt8(ascii: "+") ? 1 : 0
    while index < trimmed.count {
      let byte = trimmed[index]
      if byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") {
        hasDigits = true
        if mantissa < full {
          mantissa = mantissa * 10 + Int64(byte - UInt8(ascii: "0"))
          if hasPoint { exponent -= 1 }
        } else if !hasPoint {
          exponent += 1
        }
      } else if byte == UInt8(ascii: "."), !hasPoint {
        hasPoint = true
      } else {
        break
      }
      index += 1
    }
    guard hasDigits else { throw .notANumber }
    if index < trimmed.count { exponent += try PlainDecimal.exponent(trimmed.from(index)) }

    if mantissa == 0 { exponent = 0 }
    while exponent > 0 {
      guard mantissa < full else { throw .tooLarge }
      mantissa *= 10
      exponent -= 1
    }
    while exponent < -PlainDecimal.digitsMax, mantissa > 0 {
      mantissa /= 10
      exponent += 1
    }
    self.init(mantissa: isNegative ? -mantissa : mantissa, places: mantissa == 0 ? 0 : -exponent)
  }

  /// `e3`, `E-12`. No text is so long that its digits outweigh an exponent of nine digits; longer ones stay there.
  private static func exponent(_ text: Bytes) throws(ParseError) -> Int {
    guard text[0] == UInt8(ascii: "e") || text[0] == UInt8(ascii: "E") else { throw .notANumber }
    let isNegative = text.count > 1 && text[1] == UInt8(ascii: "-")
    var index = isNegative || text.count > 1 && text[1] == UInt8(ascii: "+") ? 2 : 1
    guard index < text.count else { throw .notANumber }
    var value = 0
    while index < text.count {
      let byte = text[index]
      guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { throw .notANumber }
      if value < 100_000_000 { value = value * 10 + Int(byte - UInt8(ascii: "0")) }
      index += 1
    }
    return isNegative ? -value : value
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
