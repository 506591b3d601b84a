public import Bounded

/// UTF-8 Encoded String (§1.5.4): well-formed, no surrogates D800...DFFF, no U+0000. Control characters and
/// non-characters are allowed, as the standard leaves them to the receiver. U+FEFF is a character.
public enum UTF8Check {
  /// One pass, eight bytes at a time while they are ASCII.
  public static func isValid(_ bytes: Bytes) -> Bool {
    var index = 0
    while index < bytes.count {
      if bytes.count >= 8 {
        // The last eight bytes may overlap those judged before.
        let start = min(index, bytes.count &- 8)
        if isPlain(word(of: bytes, at: start)) {
          index = start &+ 8
          continue
        }
      }
      guard let end = endOfCodePoint(bytes, at: index) else { return false }
      index = end
    }
    return true
  }

  /// As `isValid`, and neither `+` nor `#` among the characters (§4.7.1).
  static func isValidWithoutWildcards(_ bytes: Bytes) -> Bool {
    var index = 0
    while index < bytes.count {
      if bytes.count >= 8 {
        let start = min(index, bytes.count &- 8)
        let word = word(of: bytes, at: start)
        if isPlain(word), isPlain(word ^ eight(0x2B)), isPlain(word ^ eight(0x23)) {
          index = start &+ 8
          continue
        }
      }
      let byte = bytes[index]
      guard byte != 0x2B, byte != 0x23, let end = endOfCodePoint(bytes, at: index) else { return false }
      index = end
    }
    return true
  }

  /// The eight bytes from `index` on, which the caller has seen to be there.
  @inline(__always) private static func word(of bytes: Bytes, at index: Int) -> UInt64 {
    bytes.buffer.loadUnaligned(fromByteOffset: index, as: UInt64.self)
  }

  @inline(__always) private static func eight(_ byte: UInt64) -> UInt64 { byte &* 0x0101_0101_0101_0101 }

  /// Whether each of the eight bytes is 0x01...0x7F. A borrow comes only out of a byte that is 0, so that the
  /// answer is exact.
  @inline(__always) private static func isPlain(_ word: UInt64) -> Bool {
    ((word &- eight(0x01)) | word) & eight(0x80) == 0
  }

  /// Where the character that starts at `index` ends; nil when it is not well-formed (Unicode, Table 3-7).
  @inline(__always) private static func endOfCodePoint(_ bytes: Bytes, at index: Int) -> Int? {
    let first = bytes[index]
    if first < 0x80 { return first == 0 ? nil : index &+ 1 }
    let length: Int
    var second: ClosedRange<UInt8> = 0x80...0xBF
    switch first {
    case 0xC2...0xDF: length = 2
    case 0xE0: (length, second) = (3, 0xA0...0xBF)
    case 0xED: (length, second) = (3, 0x80...0x9F)  // beyond are the surrogates
    case 0xE1...0xEF: length = 3
    case 0xF0: (length, second) = (4, 0x90...0xBF)
    case 0xF1...0xF3: length = 4
    case 0xF4: (length, second) = (4, 0x80...0x8F)  // beyond is U+110000
    default: return nil
    }
    guard bytes.count &- index >= length, second.contains(bytes[index &+ 1]) else { return nil }
    var next = index &+ 2
    while next < index &+ length {
      guard bytes[next] & 0xC0 == 0x80 else { return nil }
      next &+= 1
    }
    return next
  }
}
