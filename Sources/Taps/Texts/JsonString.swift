import Bounded

/// A string of a JSON text, as it stands between the quotes.
///
/// Invariant: each backslash begins an escape of RFC 8259, §7.
struct JsonString: BitwiseCopyable {
  let raw: Bytes

  init(_ raw: Bytes) { self.raw = raw }

  /// Whether the characters are those of `text`.
  static func == (string: JsonString, text: Bytes) -> Bool { string.end(in: text, from: 0) == text.count }

  /// Where these characters end in `text` if they stand there from `start` on.
  @inline(never) func end(in text: Bytes, from start: Int) -> Int? {
    var characters = JsonCharacters(self)
    var index = start
    while let byte = characters.next() {
      guard index < text.count, text[index] == byte else { return nil }
      index += 1
    }
    return index
  }

  /// Longer strings with escapes are no words, times or numbers that a tap understands.
  private static var unescapedBytesMax: Int { 64 }

  /// The answer of `body`, which is lent the characters; nil for a string with escapes that has more than 64 bytes
  /// of them.
  func lend<Answer>(_ body: (Bytes) -> Answer?) -> Answer? {
    guard raw.contains(UInt8(ascii: "\\")) else { return body(raw) }
    return withUnsafeTemporaryAllocation(byteCount: JsonString.unescapedBytesMax, alignment: 8) { room in
      var writer = ByteWriter(room)
      write(into: &writer)
      return writer.overflowed ? nil : body(writer.written)
    }
  }

  /// The characters, as far as there is room.
  @inline(never) private func write(into writer: inout ByteWriter) {
    var characters = JsonCharacters(self)
    while !writer.overflowed, let byte = characters.next() { writer.write(byte) }
  }

  /// nil when not all of `digits` are hexadecimal ones.
  @inline(never) static func hexNumber(_ digits: Bytes) -> UInt32? {
    var number: UInt32 = 0
    for index in 0..<digits.count {
      let byte = digits[index]
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): number = number << 4 | UInt32(byte & 0xF)
      case UInt8(ascii: "A")...UInt8(ascii: "F"), UInt8(ascii: "a")...UInt8(ascii: "f"):
        number = number << 4 | UInt32(byte & 0xF + 9)
      default: return nil
      }
    }
    return number
  }
}

/// The bytes of a string's characters in UTF-8, one after the other.
///
/// A surrogate without its partner has no UTF-8. It becomes the byte 0xFF, which is in no text, so that the string
/// equals none.
struct JsonCharacters {
  private let raw: Bytes
  private var index = 0
  /// What follows of a character that was escaped, the next byte lowest.
  private var pending: UInt32 = 0

  init(_ string: JsonString) { raw = string.raw }

  @inline(never) mutating func next() -> UInt8? {
    if pending != 0 {
      defer { pending >>= 8 }
      return UInt8(truncatingIfNeeded: pending)
    }
    guard index < raw.count else { return nil }
    index += 1
    guard raw[index - 1] == UInt8(ascii: "\\") else { return raw[index - 1] }
    index += 1
    switch raw[index - 1] {
    case UInt8(ascii: "b"): return 0x08
    case UInt8(ascii: "t"): return 0x09
    case UInt8(ascii: "n"): return 0x0A
    case UInt8(ascii: "f"): return 0x0C
    case UInt8(ascii: "r"): return 0x0D
    case UInt8(ascii: "u"): return unicode()
    default: return raw[index - 1]
    }
  }

  /// The first byte of the character whose four digits are next.
  private mutating func unicode() -> UInt8 {
    guard var character = unit(at: index) else { return 0xFF }
    index += 4
    if character & 0xF800 == 0xD800 {
      guard character < 0xDC00, raw.from(index).hasPrefix(Bytes("\\u")), let low = unit(at: index + 2),
        low & 0xFC00 == 0xDC00
      else { return 0xFF }
      index += 6
      character = 0x1_0000 + (character & 0x3FF) << 10 + low & 0x3FF
    }
    if character < 0x80 { return UInt8(character) }
    pending = 0x80 | character & 0x3F
    if character < 0x800 { return UInt8(0xC0 | character >> 6) }
    pending = pending << 8 | 0x80 | character >> 6 & 0x3F
    if character < 0x1_0000 { return UInt8(0xE0 | character >> 12) }
    pending = pending << 8 | 0x80 | character >> 12 & 0x3F
    return UInt8(0xF0 | character >> 18)
  }

  private func unit(at start: Int) -> UInt32? {
    guard start + 4 <= raw.count else { return nil }
    return JsonString.hexNumber(raw[start..<(start + 4)])
  }
}

extension ByteWriter {
  /// Between quotes, with `"`, `\` and control characters escaped; `text` is UTF-8.
  @inline(never) mutating func writeJsonString(_ text: Bytes) {
    write(UInt8(ascii: "\""))
    for index in 0..<text.count {
      writeJsonCharacter(text[index])
    }
    write(UInt8(ascii: "\""))
  }

  mutating func writeJsonCharacter(_ byte: UInt8) {
    if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") {
      write(UInt8(ascii: "\\"))
      write(byte)
    } else if byte < 0x20 {
      write("\\u00")
      write(UInt8(ascii: "0") + (byte >> 4))
      write(byte & 0xF < 10 ? UInt8(ascii: "0") + (byte & 0xF) : UInt8(ascii: "a") + (byte & 0xF) - 10)
    } else {
      write(byte)
    }
  }
}
