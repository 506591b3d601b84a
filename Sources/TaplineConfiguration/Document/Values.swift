/// Scalars' texts as numbers. Nil for what is no such thing; a number that does not fit counts as the largest.
package enum Values {
  /// `0`, `42`, `-7`: decimal digits only.
  package static func integer(_ text: [UInt8]) -> Int? {
    let isNegative = text.first == UInt8(ascii: "-")
    guard let (magnitude, end) = digits(text, from: isNegative ? 1 : 0), end == text.count else { return nil }
    return isNegative ? -magnitude : magnitude
  }

  /// `4096`, `64k`, `1M`, `2G`: bytes; k, M and G are 1024, 1024² and 1024³. A `B` may follow.
  package static func byteCount(_ text: [UInt8]) -> Int? {
    guard let (number, end) = digits(text, from: 0) else { return nil }
    var rest = text[end...]
    if rest.last == UInt8(ascii: "B") { rest = rest.dropLast() }
    guard let unit = rest.first else { return number }
    guard rest.count == 1 else { return nil }
    switch unit | 0x20 {
    case UInt8(ascii: "k"): return number.times(1 << 10)
    case UInt8(ascii: "m"): return number.times(1 << 20)
    case UInt8(ascii: "g"): return number.times(1 << 30)
    default: return nil
    }
  }

  /// `500ms`, `2s`, `5m`, `1h`, `7d`, or `0`: milliseconds. Other numbers without a unit mean nothing.
  static func milliseconds(_ text: [UInt8]) -> Int? {
    guard let (number, end) = digits(text, from: 0) else { return nil }
    let unit = [UInt8](text[end...])
    if unit.isEmpty { return number == 0 ? 0 : nil }
    if unit.equals("ms") { return number }
    if unit.equals("s") { return number.times(1000) }
    if unit.equals("m") { return number.times(60_000) }
    if unit.equals("h") { return number.times(3_600_000) }
    if unit.equals("d") { return number.times(86_400_000) }
    return nil
  }

  /// `660`, `0660`: permission bits.
  static func octal(_ text: [UInt8]) -> Int? {
    guard !text.isEmpty, text.count <= 5 else { return nil }
    var value = 0
    for byte in text {
      guard byte >= 48, byte <= 55 else { return nil }
      value = value * 8 + Int(byte - 48)
    }
    return value
  }

  /// `true`, `yes`, `on`, `false`, `no`, `off`, in any case.
  static func boolean(_ text: [UInt8]) -> Bool? {
    for word: StaticString in ["true", "yes", "on"] where equalsIgnoringCase(text, word) { return true }
    for word: StaticString in ["false", "no", "off"] where equalsIgnoringCase(text, word) { return false }
    return nil
  }

  /// `word` is in lower case.
  @inline(never) static func equalsIgnoringCase(_ text: [UInt8], _ word: StaticString) -> Bool {
    guard text.count == word.utf8CodeUnitCount else { return false }
    for (index, byte) in text.enumerated() {
      let isUpper = byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z")
      guard (isUpper ? byte | 0x20 : byte) == word.utf8Start[index] else { return false }
    }
    return true
  }

  /// The decimal digits from `start` and the index after them; nil when there is none.
  private static func digits(_ text: [UInt8], from start: Int) -> (value: Int, end: Int)? {
    var index = start
    var value = 0
    while index < text.count, text[index] >= 48, text[index] <= 57 {
      value = value.times(10)
      if value < .max { value += Int(text[index] - 48) }
      index += 1
    }
    return index == start ? nil : (value, index)
  }
}

extension Int {
  /// The product, or `max` when it does not fit or comes near.
  fileprivate func times(_ factor: Int) -> Int {
    let (product, overflow) = multipliedReportingOverflow(by: factor)
    return overflow || product > .max - 10 ? .max : product
  }
}
