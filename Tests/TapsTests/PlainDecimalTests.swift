import Bounded
import Testing

@testable import Taps

@Suite struct PlainDecimalTests {
  func parsed(_ text: String) -> Result<PlainDecimal, PlainDecimal.ParseError> {
    withLent(text) { bytes in
      do throws(PlainDecimal.ParseError) { return .success(try PlainDecimal(parsing: bytes)) } catch {
        return .failure(error)
      }
    }
  }

  @Test(
    arguments: [
      ("0", 0, 0), ("7", 7, 0), ("23500\n", 23_500, 0), ("-1", -1, 0), ("+1", 1, 0), ("-0", 0, 0), ("-0.0", 0, 0),
      ("007", 7, 0), ("0.5", 5, 1), ("-0.25", -25, 2), ("101.325390625", 101_325_390_625, 9), ("23.500000000", 235, 1),
      ("100", 100, 0), ("  12 \r\n", 12, 0), ("\t1\n", 1, 0), ("999999999999999999", 999_999_999_999_999_999, 0),
      ("-999999999999999999", -999_999_999_999_999_999, 0), ("000000000000000000000000000001", 1, 0),
      ("0.000000000000000001", 1, 18), ("0.0000000000000000019", 1, 18), ("0.0000000000000000001", 0, 0),
      ("12345678901234567.89", 123_456_789_012_345_678, 1), ("123456789012345678.9", 123_456_789_012_345_678, 0),
      ("3.14159265358979323846264338327950288", 314_159_265_358_979_323, 17),
      (".5", 5, 1), ("5.", 5, 0), ("-.5", -5, 1), ("+5", 5, 0), ("+.5", 5, 1), ("0.", 0, 0), (".0", 0, 0),
      ("5.\n", 5, 0),
      ("1e3", 1000, 0), ("1E3", 1000, 0), ("1e+3", 1000, 0), ("1e-3", 1, 3), ("2.50e+1", 25, 0), ("2.5E-2", 25, 3),
      ("-1.5e2", -150, 0), (".5e1", 5, 0), ("5.e-1", 5, 1), ("1e0", 1, 0), ("1e-0", 1, 0), ("1e0003", 1000, 0),
      ("0e999999999999", 0, 0), ("-0e-5", 0, 0), ("0.000e30", 0, 0), ("1e17", 100_000_000_000_000_000, 0),
      ("9.99999999999999999e17", 999_999_999_999_999_999, 0), ("1000000000000000000e-1", 100_000_000_000_000_000, 0),
      ("123456789012345678901234e-20", 123_456_789_012_345_678, 14), ("0.0000000000000000001e19", 1, 0),
      // What is finer than 18 decimals is dropped, as without an exponent.
      ("1e-18", 1, 18), ("19e-19", 1, 18), ("1e-19", 0, 0), ("-1e-19", 0, 0), ("5.6e-45", 0, 0),
      ("1e-99999999999999999999", 0, 0),
    ] as [(String, Int64, Int)]) func number(text: String, mantissa: Int64, places: Int)
  {
    #expect(parsed(text) == .success(PlainDecimal(mantissa: mantissa, places: places)))
  }

  @Test(
    arguments: [
      ("", .empty), ("\n", .empty), (" \t\r\n", .empty), ("-", .notANumber), ("+", .notANumber), (".", .notANumber),
      ("-.", .notANumber), ("+.", .notANumber), ("1..2", .notANumber), ("1.2.3", .notANumber),
      ("--1", .notANumber), ("+-1", .notANumber), ("1-", .notANumber), ("1 2", .notANumber), ("1\n2", .notANumber),
      ("1,5", .notANumber), ("0x10", .notANumber), ("NaN", .notANumber), ("nan", .notANumber),
      ("inf", .notANumber), ("-inf", .notANumber), ("Infinity", .notANumber), ("N/A", .notANumber),
      ("1\0", .notANumber),
      ("\0", .notANumber), ("٣", .notANumber), ("１", .notANumber), ("1°C", .notANumber), ("'", .notANumber),
      ("e5", .notANumber), (".e5", .notANumber), ("-e5", .notANumber), ("1e", .notANumber), ("1e+", .notANumber),
      ("1e-", .notANumber), ("1e+-3", .notANumber), ("1ee3", .notANumber), ("1e3e3", .notANumber),
      ("1e3.", .notANumber), ("1e.5", .notANumber), ("1e 3", .notANumber), ("1 e3", .notANumber),
      ("1_000", .notANumber), ("1e1_0", .notANumber), ("0x1e3", .notANumber), ("1e3x", .notANumber),
      ("1d3", .notANumber), ("1\u{65}\0", .notANumber), ("- 1", .notANumber), (".5.", .notANumber),
      ("1e18", .tooLarge), ("-1e18", .tooLarge), ("0.1e19", .tooLarge), ("1e99999999999999999999", .tooLarge),
      ("1000000000000000000", .tooLarge), ("-1000000000000000000", .tooLarge),
      ("99999999999999999999999999999999999999999999", .tooLarge),
      ("9999999999999999999999999999999.5", .tooLarge), ("9999999999999999999999999999999x", .notANumber),
    ] as [(String, PlainDecimal.ParseError)]) func notANumber(text: String, error: PlainDecimal.ParseError)
  {
    #expect(parsed(text) == .failure(error))
  }

  @Test(
    arguments: [
      (0, 0, "0"), (0, 3, "0.000"), (5, 1, "0.5"), (-5, 1, "-0.5"), (235, 1, "23.5"), (-1, 9, "-0.000000001"),
      (1_000, 3, "1.000"), (999_999_999_999_999_999, 9, "999999999.999999999"), (-12, 0, "-12"),
    ] as [(Int64, Int, String)]) func text(steps: Int64, digits: Int, expected: String)
  {
    #expect(written { PlainDecimal.write(steps: steps, digits: digits, into: &$0) } == expected)
  }

  /// raw, offset, scale, digits, text: rounded half away from zero, zero without a sign.
  @Test(
    arguments: [
      ("23450", "0", "0.001", 1, "23.5"), ("23449", "0", "0.001", 1, "23.4"), ("-23450", "0", "0.001", 1, "-23.5"),
      ("23500", "0", "0.001", 1, "23.5"), ("-40", "0", "0.001", 1, "0.0"), ("-50", "0", "0.001", 1, "-0.1"),
      ("-49", "0", "0.001", 0, "0"), ("500", "0", "0.001", 0, "1"), ("-500", "0", "0.001", 0, "-1"),
      ("101.325390625", "0", "10", 1, "1013.3"), ("1000", "-273150", "0.001", 2, "-272.15"),
      ("4095", "0", "0.073242187", 3, "299.927"), ("21000", "17777.777778", "0.0018", 1, "69.8"),
      ("999999999999999999", "0", "0.000001", 0, "1000000000000"), ("0.000000000000000001", "0", "1", 9, "0.000000000"),
      ("999999999999999999", "0", "1", 1, nil), ("999999999999999999", "0", "1000", 0, nil),
      ("999999999999999999", "999999999999999999", "1", 0, nil),
      ("0.123456789012345678", "0", "0.123456789012345678", 9, "0.015241579"),
      ("1", "999999999999999999", "0.000000000000000001", 3, "1.000"),
      ("0.9", "0", "0.999999999999999999", 0, "1"),
      ("0.000000000000000009", "0", "0.999999999999999999", 9, "0.000000000"),
    ] as [(String, String, String, Int, String?)])
  func converted(raw: String, offset: String, scale: String, digits: Int, expected: String?) throws {
    let steps = try parsed(raw).get().steps(offset: parsed(offset).get(), scale: parsed(scale).get(), digits: digits)
    let text = steps.map { steps in written { PlainDecimal.write(steps: steps, digits: digits, into: &$0) } }
    #expect(text == expected)
  }

  @Test func order() throws {
    let ascending = [
      "-999999999999999999", "-1000", "-1.5", "-1", "-0.000000000000000001", "0", "0.000000000000000001", "0.9", "1",
      "1.000000000000000001", "999999999999999999",
    ]
    let numbers = try ascending.map { try parsed($0).get() }
    for (left, leftNumber) in numbers.enumerated() {
      for (right, rightNumber) in numbers.enumerated() {
        // 1.000000000000000001 has 19 digits, the last is dropped: it is 1.
        let isEqual = left == right || Set([left, right]) == [8, 9]
        #expect((leftNumber < rightNumber) == (left < right && !isEqual))
      }
    }
  }

  /// Small and large numbers, against the same in 128 bits.
  @Test(arguments: [1, 2, 3, 4] as [UInt64]) func exact(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    func number(_ magnitude: Int, _ placesMax: Int) -> PlainDecimal {
      PlainDecimal(mantissa: Int64(random.below(2 * magnitude) - magnitude), places: random.below(placesMax + 1))
    }
    func power(_ exponent: Int) -> Int128 { (0..<exponent).reduce(1) { product, _ in product * 10 } }
    for _ in 0..<20_000 {
      let raw = number([10, 1_000, 1_000_000, 1_000_000_000, 1_000_000_000_000_000][random.below(5)], 6)
      let offset = random.oneIn(2) ? .zero : number(1_000_000, 3)
      let scale = number([10, 1_000_000, 1_000_000_000_000][random.below(3)], 12)
      let digits = random.below(10)
      let places = max(raw.places, offset.places)
      let sum =
        Int128(raw.mantissa) * power(places - raw.places)
        + Int128(offset.mantissa) * power(places - offset.places)
      let product = sum * Int128(scale.mantissa)
      let drop = places + scale.places - digits
      let divisor = power(max(drop, 0)).magnitude
      let (scaled, overflow) = product.magnitude.multipliedReportingOverflow(by: power(max(-drop, 0)).magnitude)
      let rounded = overflow ? Int128.max.magnitude : scaled / divisor + (scaled % divisor * 2 >= divisor ? 1 : 0)
      let expected = product < 0 ? -Int128(rounded) : Int128(rounded)
      let steps = raw.steps(offset: offset, scale: scale, digits: digits)
      check(
        steps.map { Int128($0) } == (expected.magnitude < 1_000_000_000_000_000_000 ? expected : nil),
        "(\(raw) + \(offset)) x \(scale) to \(digits): \(String(describing: steps)), not \(expected)")
    }
  }

  /// Digits, a point anywhere and an exponent, against the digits by their places.
  @Test(arguments: [1, 2, 3, 4] as [UInt64]) func exponents(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    for _ in 0..<20_000 {
      let digits = (0..<(1 + random.below(random.oneIn(4) ? 40 : 8))).map { _ in random.oneIn(3) ? 0 : random.below(10)
      }
      let point = random.below(digits.count + 1)
      let exponent = random.below(61) - 30
      var text = ["", "-", "+"][random.below(3)]
      let isNegative = text == "-"
      text += digits[..<point].map(String.init).joined()
      if point < digits.count || random.oneIn(3) { text += "." }
      text += digits[point...].map(String.init).joined()
      if exponent != 0 || random.oneIn(2) {
        text += ["e", "E"][random.below(2)] + (exponent >= 0 && random.oneIn(2) ? "+" : "") + String(exponent)
      }
      check(parsed(text) == placed(digits, first: point - 1 + exponent, isNegative), text)
    }
  }

  /// The number whose first digit counts 10^first.
  private func placed(
    _ digits: [Int], first: Int, _ isNegative: Bool
  ) -> Result<PlainDecimal, PlainDecimal.ParseError> {
    guard let start = digits.firstIndex(where: { $0 != 0 }) else { return .success(.zero) }
    let highest = first - start
    guard highest < 18 else { return .failure(.tooLarge) }
    guard highest >= -18 else { return .success(.zero) }
    // 18 digits from the first that is not 0, down to the point at least, and none below 10^-18.
    let lowest = max(-18, highest - 17)
    var mantissa: Int64 = 0
    for place in stride(from: highest, through: lowest, by: -1) {
      let index = first - place
      mantissa = mantissa * 10 + Int64(index < digits.count ? digits[index] : 0)
    }
    return .success(PlainDecimal(mantissa: isNegative ? -mantissa : mantissa, places: -lowest))
  }

  /// What is written is read as the same number, with a point and with an exponent.
  @Test(arguments: [1, 2, 3, 4] as [UInt64]) func whatIsWrittenIsRead(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    for _ in 0..<20_000 {
      let magnitude = Int64(random.next() % UInt64(PlainDecimal.power(random.below(19))))
      let number = PlainDecimal(mantissa: random.oneIn(2) ? -magnitude : magnitude, places: random.below(19))
      let text = written { PlainDecimal.write(steps: number.mantissa, digits: number.places, into: &$0) }
      check(parsed(text) == .success(number), text)
      check(parsed("\(number.mantissa)e-\(number.places)") == .success(number), text)
      let whole = String(magnitude)
      check(parsed(".\(whole)E0\(whole.count)") == .success(PlainDecimal(mantissa: magnitude, places: 0)), text)
    }
  }

  /// Any bytes at all: an answer, never a trap.
  @Test(arguments: [1, 2, 3, 4] as [UInt64]) func anyBytes(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let alphabet = [UInt8]("0123456789999000.-+eE \n".utf8)
    for _ in 0..<20_000 {
      let bytes = (0..<random.below(48)).map { _ in
        random.oneIn(60) ? UInt8(truncatingIfNeeded: random.next()) : alphabet[random.below(alphabet.count)]
      }
      withLent(bytes) { text in
        guard let number = try? PlainDecimal(parsing: text) else { return }
        let scale = PlainDecimal(mantissa: Int64(random.below(1_000_000_000)), places: random.below(19))
        let offset = PlainDecimal(mantissa: Int64(random.below(1_000_000_000_000_000_000)), places: random.below(19))
        let digits = random.below(10)
        if let steps = number.steps(offset: offset, scale: scale, digits: digits) {
          check(
            written(capacity: 32) { PlainDecimal.write(steps: steps, digits: digits, into: &$0) } != "(does not fit)")
        }
      }
    }
  }
}
