import Bounded

/// Base64 (RFC 4648, 4) as password files have it: padded, without line ends. Each text has one reading, and each value
/// one spelling: bits that say nothing must be 0.
enum Base64 {
  enum Decoded: Equatable {
    case bytes(Int)
    case malformed
    /// More bytes than there is room for.
    case tooMany
  }

  /// Writes the bytes that `text` stands for to the front of `output`.
  static func decode(_ text: Bytes, into output: inout InlineArray<64, UInt8>) -> Decoded {
    guard text.count % 4 == 0 else { return .malformed }
    guard !text.isEmpty else { return .bytes(0) }
    var padding = 0
    while padding < 2, text[text.count - 1 - padding] == UInt8(ascii: "=") { padding += 1 }
    let digits = text.first(text.count - padding)
    var count = 0
    var bits: UInt32 = 0
    var bitCount = 0
    var index = 0
    while index < digits.count {
      guard let value = value(of: digits[index]) else { return .malformed }
      bits = bits << 6 | UInt32(value)
      bitCount += 6
      if bitCount >= 8 {
        bitCount -= 8
        if count < 64 { output[count] = UInt8(truncatingIfNeeded: bits >> UInt32(bitCount)) }
        count += 1
        bits &= (1 << UInt32(bitCount)) - 1
      }
      index += 1
    }
    guard bits == 0 else { return .malformed }
    return count <= 64 ? .bytes(count) : .tooMany
  }

  static func encode(_ bytes: Bytes, into text: inout Text) {
    var index = 0
    while index < bytes.count {
      let length = min(3, bytes.count - index)
      var group = UInt32(bytes[index]) << 16
      if length > 1 { group |= UInt32(bytes[index + 1]) << 8 }
      if length > 2 { group |= UInt32(bytes[index + 2]) }
      for digit in 0..<4 {
        text.add(byte: digit <= length ? character(of: UInt8(group >> UInt32(18 - 6 * digit) & 63)) : UInt8(ascii: "="))
      }
      index += 3
    }
  }

  private static func value(of character: UInt8) -> UInt8? {
    switch character {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"): character - UInt8(ascii: "A")
    case UInt8(ascii: "a")...UInt8(ascii: "z"): character - UInt8(ascii: "a") + 26
    case UInt8(ascii: "0")...UInt8(ascii: "9"): character - UInt8(ascii: "0") + 52
    case UInt8(ascii: "+"): 62
    case UInt8(ascii: "/"): 63
    default: nil
    }
  }

  private static func character(of value: UInt8) -> UInt8 {
    switch value {
    case 0...25: UInt8(ascii: "A") + value
    case 26...51: UInt8(ascii: "a") + value - 26
    case 52...61: UInt8(ascii: "0") + value - 52
    case 62: UInt8(ascii: "+")
    default: UInt8(ascii: "/")
    }
  }
}
