import Bounded
import Taps
import Testing

@Suite struct RFC3339Tests {
  func text(_ wallNanoseconds: Int64) -> String {
    written { RFC3339.write(wallNanoseconds: wallNanoseconds, into: &$0) }
  }

  @Test(
    arguments: [
      (0, "1970-01-01T00:00:00.000000Z"),
      (999, "1970-01-01T00:00:00.000000Z"),
      (1_000, "1970-01-01T00:00:00.000001Z"),
      (-1, "1969-12-31T23:59:59.999999Z"),
      (-1_000_000_000, "1969-12-31T23:59:59.000000Z"),
      (951_782_399_999_999_999, "2000-02-28T23:59:59.999999Z"),
      (951_782_400_000_000_000, "2000-02-29T00:00:00.000000Z"),
      (951_868_800_000_000_000, "2000-03-01T00:00:00.000000Z"),
      (1_709_164_800_000_000_000, "2024-02-29T00:00:00.000000Z"),
      (1_709_251_199_123_456_789, "2024-02-29T23:59:59.123456Z"),
      (1_735_689_599_999_999_999, "2024-12-31T23:59:59.999999Z"),
      (1_740_787_200_000_000_000, "2025-03-01T00:00:00.000000Z"),
      (1_795_380_086_123_456_000, "2026-11-22T20:41:26.123456Z"),
      (4_107_542_399_999_999_000, "2100-02-28T23:59:59.999999Z"),
      (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000000Z"),
      (Int64.max, "2262-04-11T23:47:16.854775Z"),
      (Int64.min, "1677-09-21T00:12:43.145224Z"),
    ] as [(Int64, String)]) func table(wallNanoseconds: Int64, expected: String)
  {
    #expect(text(wallNanoseconds) == expected)
    #expect(expected.utf8.count == RFC3339.byteCount)
  }

  /// Every day that nanoseconds reach, against a calendar that counts days one by one.
  @Test func everyDay() {
    var (year, month, day) = (1970, 1, 1)
    func pad(_ number: Int, _ width: Int) -> String {
      let digits = String(number)
      return String(repeating: "0", count: width - digits.count) + digits
    }
    for index in 0..<106_751 as Range<Int64> {
      let expected = "\(pad(year, 4))-\(pad(month, 2))-\(pad(day, 2))T12:34:56.000000Z"
      check(text((index * 86_400 + 45_296) * 1_000_000_000) == expected, expected)
      let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
      let lengths = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
      day += 1
      if day > lengths[month - 1] { (day, month) = (1, month + 1) }
      if month > 12 { (month, year) = (1, year + 1) }
    }
    #expect((year, month, day) == (2262, 4, 11))
  }

  @Test func tooLittleRoomIsAnOverflow() {
    for capacity in 1..<RFC3339.byteCount {
      #expect(written(capacity: capacity) { RFC3339.write(wallNanoseconds: 0, into: &$0) } == "(does not fit)")
    }
  }
}
