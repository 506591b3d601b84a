public import Bounded

/// Date and time in UTC as RFC 3339 writes it, with microseconds: `2026-11-22T20:41:26.123456Z`.
public enum RFC3339 {
  /// Every moment has the same length.
  public static var byteCount: Int { 27 }

  /// `wallNanoseconds` since 1970-01-01T00:00:00Z, negative before it; what is below a microsecond is cut off.
  public static func write(wallNanoseconds: Int64, into writer: inout ByteWriter) {
    let microseconds = floorDivide(wallNanoseconds, by: 1000)
    let seconds = floorDivide(microseconds, by: 1_000_000)
    let days = floorDivide(seconds, by: 86_400)
    let date = civilDate(daysSince1970: days)
    let secondOfDay = seconds - days * 86_400

    write(date.year, width: 4, into: &writer)
    writer.write(UInt8(ascii: "-"))
    write(date.month, width: 2, into: &writer)
    writer.write(UInt8(ascii: "-"))
    write(date.day, width: 2, into: &writer)
    writer.write(UInt8(ascii: "T"))
    write(secondOfDay / 3600, width: 2, into: &writer)
    writer.write(UInt8(ascii: ":"))
    write(secondOfDay / 60 % 60, width: 2, into: &writer)
    writer.write(UInt8(ascii: ":"))
    write(secondOfDay % 60, width: 2, into: &writer)
    writer.write(UInt8(ascii: "."))
    write(microseconds - seconds * 1_000_000, width: 6, into: &writer)
    writer.write(UInt8(ascii: "Z"))
  }

  /// The proleptic Gregorian date. Years are counted from 1 March, so that the leap day is a year's last, and
  /// in eras of 400 years, which are 146 097 days.
  static func civilDate(daysSince1970: Int64) -> (year: Int64, month: Int64, day: Int64) {
    let day = daysSince1970 + 719_468  // since 0000-03-01
    let era = floorDivide(day, by: 146_097)
    let dayOfEra = day - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let monthFromMarch = (5 * dayOfYear + 2) / 153
    let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
    return (
      year: era * 400 + yearOfEra + (month <= 2 ? 1 : 0), month: month,
      day: dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
    )
  }

  private static func floorDivide(_ value: Int64, by divisor: Int64) -> Int64 {
    let quotient = value / divisor
    return value % divisor < 0 ? quotient - 1 : quotient
  }

  private static func write(_ value: Int64, width: Int, into writer: inout ByteWriter) {
    writer.writeDecimal(value.magnitude, width: width)
  }
}
