import Bounded
import MQTTWire

extension Bytes {
  /// Without the spaces, tabs and line ends before and after.
  var trimmingASCIIWhitespace: Bytes {
    var start = 0
    var end = count
    while start < end, Bytes.isASCIIWhitespace(self[start]) { start += 1 }
    while end > start, Bytes.isASCIIWhitespace(self[end - 1]) { end -= 1 }
    return self[start..<end]
  }

  /// Whether these bytes, with ASCII capitals made small, are `word`, which is in small letters.
  func equalsIgnoringASCIICase(_ word: StaticString) -> Bool {
    let word = Bytes(word)
    guard count == word.count else { return false }
    for index in 0..<count {
      let byte = self[index]
      let isCapital = byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z")
      guard (isCapital ? byte | 0x20 : byte) == word[index] else { return false }
    }
    return true
  }

  /// Space, and U+0009...U+000D.
  private static func isASCIIWhitespace(_ byte: UInt8) -> Bool { byte == 0x20 || byte >= 0x09 && byte <= 0x0D }

  /// The first `limit` bytes, or fewer, so that no character of UTF-8 is cut.
  func prefix(most limit: Int) -> Bytes {
    guard count > limit else { return self }
    var end = limit
    while end > 0, self[end] & 0xC0 == 0x80 { end -= 1 }
    return first(end)
  }
}

extension ByteWriter {
  /// The last `width` digits of `value`, 1...18, with leading zeros.
  mutating func writeDecimal(_ value: UInt64, width: Int) {
    var divisor = PlainDecimal.power(width - 1).magnitude
    while divisor > 0 {
      write(UInt8(ascii: "0") + UInt8(value / divisor % 10))
      divisor /= 10
    }
  }
}

/// A line of text in memory of the table: valid UTF-8 without control characters.
///
/// Invariant: 0 <= count <= capacity bytes at `base` are written.
struct TextBuffer: BitwiseCopyable {
  private let base: UnsafeMutablePointer<UInt8>
  private let capacity: Int
  private var count = 0

  init(_ base: UnsafeMutablePointer<UInt8>, capacity: Int) {
    self.base = base
    self.capacity = capacity
  }

  var bytes: Bytes { Bytes(UnsafeRawPointer(base), count: count) }

  /// Holds `label` and `text` from now on, cut to the capacity; whether that is another text than before.
  /// Control characters, and all that is not ASCII if it is not UTF-8, become `?`.
  mutating func replace(_ label: Bytes, _ text: Bytes) -> Bool {
    let before = count
    count = 0
    let labelChanged = append(label)
    let textChanged = append(text)
    return labelChanged || textChanged || count != before
  }

  /// Appends `text`, and answers whether a byte in the place changed.
  private mutating func append(_ text: Bytes) -> Bool {
    let isUTF8 = UTF8Check.isValid(text)
    let part = text.prefix(most: capacity - count)
    var changed = false
    for index in 0..<part.count {
      var byte = part[index]
      if byte < 0x20 || byte == 0x7F || byte >= 0x80 && !isUTF8 { byte = UInt8(ascii: "?") }
      if base[count] != byte {
        base[count] = byte
        changed = true
      }
      count += 1
    }
    return changed
  }

  /// As `write`; whether that is another text than before. For texts of at most 32 bytes.
  mutating func rewrite(_ body: (inout ByteWriter) -> Void) -> Bool {
    withUnsafeTemporaryAllocation(byteCount: 32, alignment: 8) { room in
      var writer = ByteWriter(room)
      body(&writer)
      precondition(!writer.overflowed)
      let text = writer.written
      return replace(.empty, text)
    }
  }

  /// Empties the buffer and lends it to a writer of at most `capacity` bytes.
  mutating func write(_ body: (inout ByteWriter) -> Void) {
    var writer = ByteWriter(UnsafeMutableRawPointer(base), capacity: capacity)
    body(&writer)
    precondition(!writer.overflowed)
    count = writer.count
  }
}
