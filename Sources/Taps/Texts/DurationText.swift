import Bounded

/// A length of time as people write it in a payload.
enum DurationText {
  /// From a millisecond to a week, as in the configuration.
  static var nanosecondsMin: Int64 { 1_000_000 }
  static var nanosecondsMax: Int64 { 604_800_000_000_000 }

  /// The unit of a number that names none.
  enum Unit: Int64 {
    case milliseconds = 1_000_000
    case seconds = 1_000_000_000
  }

  /// `500ms`, `1.5s`, `5m`, `1h`, `7d` or a number of `bare` units: nanoseconds, or nil when it is no duration or outside
  /// `nanosecondsMin...nanosecondsMax`.
  static func parse(_ text: Bytes, bare: Unit) -> Int64? {
    let trimmed = text.trimmingASCIIWhitespace
    var end = trimmed.count
    while end > 0, isLetter(trimmed[end - 1]) { end -= 1 }
    guard let unit = nanoseconds(ofUnit: trimmed.from(end), bare: bare), end > 0, trimmed[end - 1] > 0x20 else {
      return nil
    }
    return (try? PlainDecimal(parsing: trimmed.first(end))).flatMap { nanoseconds($0, unit) }
  }

  /// A member of a JSON object: a text with its unit, or seconds.
  static func parse(_ value: JsonValue) -> Int64? {
    switch value {
    case .string(let text): return text.lend { parse($0, bare: .seconds) }
    case .number(let text): return parse(text, bare: .seconds)
    case .bool, .null, .object, .list: return nil
    }
  }

  private static func nanoseconds(_ number: PlainDecimal, _ unit: Int64) -> Int64? {
    let scale = PlainDecimal(mantissa: unit, places: 0)
    guard let value = number.steps(offset: .zero, scale: scale, digits: 0) else { return nil }
    return value >= nanosecondsMin && value <= nanosecondsMax ? value : nil
  }

  private static func nanoseconds(ofUnit word: Bytes, bare: Unit) -> Int64? {
    if word.isEmpty { return bare.rawValue }
    if word == Bytes("ms") { return 1_000_000 }
    if word == Bytes("s") { return 1_000_000_000 }
    if word == Bytes("m") { return 60_000_000_000 }
    if word == Bytes("h") { return 3_600_000_000_000 }
    if word == Bytes("d") { return 86_400_000_000_000 }
    return nil
  }

  private static func isLetter(_ byte: UInt8) -> Bool { byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "z") }

  /// `44 s`, or `300 ms` below a second; rounded up, so that who waits that long has waited enough.
  static func write(nanoseconds: Int64, into writer: inout ByteWriter) {
    let value = max(nanoseconds, 0).magnitude
    let isShort = value < 1_000_000_000
    let unit: UInt64 = isShort ? 1_000_000 : 1_000_000_000
    writer.writeDecimal((value + unit - 1) / unit)
    writer.write(isShort ? " ms" : " s")
  }
}
