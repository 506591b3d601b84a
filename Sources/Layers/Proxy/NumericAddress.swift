public import Bounded

/// A numeric address, IPv4 or IPv6 without a zone. It is read as strictly as by inet_pton(3): no leading zeros in IPv4, no
/// more than four digits in a group of IPv6, and one `::` at most, for one group or more.
public struct NumericAddress: BitwiseCopyable, Sendable {
  /// The first 4 or all 16, most significant first; the others are 0.
  public private(set) var bytes = InlineArray<16, UInt8>(repeating: 0)
  public let isIPv6: Bool

  public var byteCount: Int { isIPv6 ? 16 : 4 }

  /// `192.0.2.7` or `2001:db8::7`.
  public init?(_ text: Bytes) { self.init(text, isIPv6: text.contains(0x3A)) }

  @_optimize(size) init?(_ text: Bytes, isIPv6: Bool) {
    self.isIPv6 = isIPv6
    guard isIPv6 ? readIPv6(text) : readIPv4(text, at: 0) else { return nil }
  }

  /// The 4 or 16 bytes at the start of `binary`.
  init(binary: Bytes, isIPv6: Bool) {
    self.isIPv6 = isIPv6
    for index in 0..<byteCount { bytes[index] = binary[index] }
  }

  /// Four bytes from `place` on, of a text that holds nothing else.
  @_optimize(size) private mutating func readIPv4(_ text: Bytes, at place: Int) -> Bool {
    var index = 0
    for part in 0..<4 {
      if part > 0 {
        guard index < text.count, text[index] == 0x2E else { return false }
        index += 1
      }
      let start = index
      var value = 0
      while index < text.count, (0x30...0x39).contains(text[index]) {
        guard index == start || value > 0 else { return false }  // a leading zero
        value = value * 10 + Int(text[index] - 0x30)
        guard value <= 255 else { return false }
        index += 1
      }
      guard index > start else { return false }
      bytes[place + part] = UInt8(value)
    }
    return index == text.count
  }

  @_optimize(size) private mutating func readIPv6(_ text: Bytes) -> Bool {
    var index = 0
    var filled = 0
    var gap: Int?
    if text.hasPrefix(Bytes("::")) {
      gap = 0
      index = 2
    }
    while index < text.count {
      let start = index
      var value: UInt16 = 0
      while index < text.count, let digit = NumericAddress.hexadecimal(text[index]) {
        guard index - start < 4 else { return false }
        value = value << 4 | UInt16(digit)
        index += 1
      }
      guard index > start else { return false }
      if index < text.count, text[index] == 0x2E {  // its last four bytes as IPv4
        guard filled <= 12, readIPv4(text.from(start), at: filled) else { return false }
        filled += 4
        break
      }
      guard filled <= 14 else { return false }
      bytes[filled] = UInt8(value >> 8)
      bytes[filled + 1] = UInt8(value & 0xFF)
      filled += 2
      guard index < text.count else { break }
      guard text[index] == 0x3A, index + 1 < text.count else { return false }
      index += 1
      if text[index] == 0x3A {
        guard gap == nil else { return false }
        gap = filled
        index += 1
      }
    }
    guard let gap else { return filled == 16 }
    guard filled < 16 else { return false }
    moveToEnd(from: gap, upTo: filled)
    return true
  }

  /// What follows `::` ends the address.
  private mutating func moveToEnd(from gap: Int, upTo filled: Int) {
    var from = filled
    var to = 16
    while from > gap {
      from -= 1
      to -= 1
      bytes[to] = bytes[from]
      bytes[from] = 0
    }
  }

  private static func hexadecimal(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 0x30...0x39: byte - 0x30
    case 0x41...0x46: byte - 0x41 + 10
    case 0x61...0x66: byte - 0x61 + 10
    default: nil
    }
  }
}
