import Bounded

/// RFC 4648 §4.
enum Base64 {
  /// Four characters for three bytes, with the padding.
  @_optimize(size) static func write(_ bytes: Bytes, to writer: inout ByteWriter) {
    var index = 0
    while index < bytes.count {
      let left = min(3, bytes.count - index)
      var group: UInt32 = 0
      for place in 0..<3 { group = group << 8 | (place < left ? UInt32(bytes[index + place]) : 0) }
      for place in 0..<4 {
        let value = UInt8(truncatingIfNeeded: group >> UInt32(18 - 6 * place)) & 0x3F
        writer.write(place <= left ? character(value) : 0x3D)
      }
      index += 3
    }
  }

  /// Whether these are 22 characters and the padding: 16 bytes. The last character's 4 bits that no byte has may be
  /// anything, as §3.5 allows.
  @_optimize(size) static func isOf16Bytes(_ text: Bytes) -> Bool {
    guard text.count == 24, text[22] == 0x3D, text[23] == 0x3D else { return false }
    for index in 0..<22 where !isCharacter(text[index]) { return false }
    return true
  }

  private static func isCharacter(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2B, 0x2F: true
    default: false
    }
  }

  private static func character(_ value: UInt8) -> UInt8 {
    switch value {
    case 0..<26: 0x41 + value
    case 26..<52: 0x61 + value - 26
    case 52..<62: 0x30 + value - 52
    case 62: 0x2B
    default: 0x2F
    }
  }
}
