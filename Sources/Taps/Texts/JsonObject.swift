public import Bounded
import MQTTWire

/// A value of a flat JSON object, as it stands in the text.
enum JsonValue: BitwiseCopyable {
  /// The bytes between the quotes; they have no escapes.
  case string(Bytes)
  case number(Bytes)
  case bool(Bool)
  case null
}

/// What a text is not, when it is no object of this kind.
enum JsonError: Error {
  /// No object by RFC 8259.
  case malformed
  /// Objects and lists inside the object.
  case nested
  /// `\n`, `\u0041` and the like: nothing that a tap understands needs them.
  case escaped
}

/// Reads one flat JSON object (RFC 8259), strictly and without memory of its own: each member lies where the text lies.
///
///     {"state": "ON", "for": 30}
///
/// Takes time in proportion to the text; who wants a bound checks the text's length first.
struct JsonObjectReader {
  private let text: Bytes
  private var index = 0
  private var isFirst = true

  init(_ text: Bytes) throws(JsonError) {
    self.text = text
    guard UTF8Check.isValid(text) else { throw .malformed }  // §8.1
    skipWhitespace()
    guard take(UInt8(ascii: "{")) else { throw .malformed }
    skipWhitespace()
  }

  /// The next member, nil after the last one and nothing but whitespace behind the object.
  @inline(never) mutating func next() throws(JsonError) -> (key: Bytes, value: JsonValue)? {
    if take(UInt8(ascii: "}")) {
      skipWhitespace()
      guard index == text.count else { throw .malformed }
      return nil
    }
    if !isFirst {
      guard take(UInt8(ascii: ",")) else { throw .malformed }
      skipWhitespace()
    }
    isFirst = false
    let key = try readString()
    skipWhitespace()
    guard take(UInt8(ascii: ":")) else { throw .malformed }
    skipWhitespace()
    let value = try readValue()
    skipWhitespace()
    return (key, value)
  }

  private mutating func readValue() throws(JsonError) -> JsonValue {
    guard index < text.count else { throw .malformed }
    switch text[index] {
    case UInt8(ascii: "\""): return .string(try readString())
    case UInt8(ascii: "{"), UInt8(ascii: "["): throw .nested
    case UInt8(ascii: "t"): return try readWord("true", .bool(true))
    case UInt8(ascii: "f"): return try readWord("false", .bool(false))
    case UInt8(ascii: "n"): return try readWord("null", .null)
    default: return .number(try readNumber())
    }
  }

  private mutating func readWord(_ word: StaticString, _ value: JsonValue) throws(JsonError) -> JsonValue {
    guard text.from(index).hasPrefix(Bytes(word)) else { throw .malformed }
    index += word.utf8CodeUnitCount
    return value
  }

  private mutating func readString() throws(JsonError) -> Bytes {
    guard take(UInt8(ascii: "\"")) else { throw .malformed }
    let start = index
    while index < text.count {
      let byte = text[index]
      if byte == UInt8(ascii: "\\") { throw .escaped }
      if byte < 0x20 { throw .malformed }  // §7
      index += 1
      if byte == UInt8(ascii: "\"") { return text[start..<(index - 1)] }
    }
    throw .malformed
  }

  /// Whether all of `text` is one number.
  static func isNumber(_ text: Bytes) -> Bool {
    do throws(JsonError) {
      var reader = JsonObjectReader(numberIn: text)
      let number = try reader.readNumber()
      return number.count == text.count && !text.isEmpty
    } catch {
      return false
    }
  }

  private init(numberIn text: Bytes) { self.text = text }

  /// §6: a sign, no leading zeros, digits after a point and in an exponent.
  private mutating func readNumber() throws(JsonError) -> Bytes {
    let start = index
    _ = take(UInt8(ascii: "-"))
    if !take(UInt8(ascii: "0")) { try skipDigits() }
    if take(UInt8(ascii: ".")) { try skipDigits() }
    if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
      if !take(UInt8(ascii: "+")) { _ = take(UInt8(ascii: "-")) }
      try skipDigits()
    }
    return text[start..<index]
  }

  private mutating func skipDigits() throws(JsonError) {
    let start = index
    while index < text.count, text[index] >= UInt8(ascii: "0"), text[index] <= UInt8(ascii: "9") { index += 1 }
    guard index > start else { throw .malformed }
  }

  private mutating func skipWhitespace() {
    while index < text.count, text[index] == 0x20 || text[index] == 0x09 || text[index] == 0x0A || text[index] == 0x0D {
      index += 1
    }
  }

  private mutating func take(_ byte: UInt8) -> Bool {
    guard index < text.count, text[index] == byte else { return false }
    index += 1
    return true
  }
}

/// What the configuration wants to know of JSON.
public enum JsonText {
  public static func isNumber(_ text: Bytes) -> Bool { JsonObjectReader.isNumber(text) }
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
