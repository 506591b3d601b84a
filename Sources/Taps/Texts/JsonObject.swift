public import Bounded
import MQTTWire

/// A member's value, as it stands in the text.
enum JsonValue: BitwiseCopyable {
  case string(JsonString)
  case number(Bytes)
  case bool(Bool)
  case null
  case object
  case list
}

struct JsonMember: BitwiseCopyable {
  let name: JsonString
  let value: JsonValue
  /// The objects and lists around the member: 1 is the outermost object alone.
  let depth: Int
}

enum JsonError: Error {
  /// The text is no object by RFC 8259.
  case malformed
  /// Objects and lists are nested in more than `JsonObjectReader.depthMax` levels.
  case tooDeep
}

/// Reads one JSON object (RFC 8259), strictly and without memory of its own: each member lies where the text lies.
///
///     {"state": "ON", "for": 30, "update": {"state": null}}
///
/// The time is in proportion to the text's length, whatever the text holds, and no function calls itself for what is
/// nested. The caller bounds the length.
///
/// Invariant: of `containers` the lowest `depth` bits say which of the open containers are objects, the innermost in the
/// lowest bit; 0 <= depth <= depthMax.
struct JsonObjectReader {
  private let text: Bytes
  private var index = 0
  private var containers: UInt32 = 0
  private var depth = 0
  /// The innermost container has had no element yet.
  private var isFirst = true

  /// Levels of objects and lists, the outermost object among them.
  static var depthMax: Int { 16 }

  init(_ text: Bytes) throws(JsonError) {
    self.text = text
    guard UTF8Check.isValid(text) else { throw .malformed }  // §8.1
    skipWhitespace()
    guard index < text.count, text[index] == UInt8(ascii: "{") else { throw .malformed }
    try open(isObject: true)
    skipWhitespace()
  }

  /// The next member of the outermost object; what is nested in its members is read over. nil at the end.
  mutating func next() throws(JsonError) -> JsonMember? {
    while let member = try nextAtAnyDepth() {
      if member.depth == 1 { return member }
    }
    return nil
  }

  /// The next member of any object. The members of a member that is an object follow it. nil after the last one, with
  /// nothing but whitespace behind the outermost object.
  @inline(never) mutating func nextAtAnyDepth() throws(JsonError) -> JsonMember? {
    while depth > 0 {
      let isObject = containers & 1 == 1
      if take(isObject ? UInt8(ascii: "}") : UInt8(ascii: "]")) {
        containers >>= 1
        depth -= 1
        isFirst = false
        skipWhitespace()
        continue
      }
      if !isFirst {
        guard take(UInt8(ascii: ",")) else { throw .malformed }
        skipWhitespace()
      }
      isFirst = false
      guard isObject else {
        _ = try readValue()
        skipWhitespace()
        continue
      }
      let depth = depth
      let name = try readString()
      skipWhitespace()
      guard take(UInt8(ascii: ":")) else { throw .malformed }
      skipWhitespace()
      let value = try readValue()
      skipWhitespace()
      return JsonMember(name: name, value: value, depth: depth)
    }
    guard index == text.count else { throw .malformed }
    return nil
  }

  /// Of an object and a list, the bracket alone.
  private mutating func readValue() throws(JsonError) -> JsonValue {
    guard index < text.count else { throw .malformed }
    switch text[index] {
    case UInt8(ascii: "\""): return .string(try readString())
    case UInt8(ascii: "{"):
      try open(isObject: true)
      return .object
    case UInt8(ascii: "["):
      try open(isObject: false)
      return .list
    case UInt8(ascii: "t"): return try readWord("true", .bool(true))
    case UInt8(ascii: "f"): return try readWord("false", .bool(false))
    case UInt8(ascii: "n"): return try readWord("null", .null)
    default: return .number(try readNumber())
    }
  }

  private mutating func open(isObject: Bool) throws(JsonError) {
    guard depth < JsonObjectReader.depthMax else { throw .tooDeep }
    index += 1
    containers = containers << 1 | (isObject ? 1 : 0)
    depth += 1
    isFirst = true
  }

  private mutating func readWord(_ word: StaticString, _ value: JsonValue) throws(JsonError) -> JsonValue {
    guard text.from(index).hasPrefix(Bytes(word)) else { throw .malformed }
    index += word.utf8CodeUnitCount
    return value
  }

  private mutating func readString() throws(JsonError) -> JsonString {
    guard take(UInt8(ascii: "\"")) else { throw .malformed }
    let start = index
    while index < text.count {
      let byte = text[index]
      if byte < 0x20 { throw .malformed }  // §7
      index += 1
      if byte == UInt8(ascii: "\"") { return JsonString(text[start..<(index - 1)]) }
      if byte == UInt8(ascii: "\\") { try skipEscape() }
    }
    throw .malformed
  }

  /// §7: what follows the backslash.
  private mutating func skipEscape() throws(JsonError) {
    guard index < text.count else { throw .malformed }
    let kind = text[index]
    index += 1
    guard kind == UInt8(ascii: "u") else {
      guard Bytes("\"\\/bfnrt").contains(kind) else { throw .malformed }
      return
    }
    guard index + 4 <= text.count, JsonString.hexNumber(text[index..<(index + 4)]) != nil else { throw .malformed }
    index += 4
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

extension JsonObjectReader {
  /// The value at `path` in the object that is `text`; nil where there is none. The whole text is read before.
  ///
  /// `a.b` is member b of the object that is member a, or a member with the name `a.b`. It leads through objects, not
  /// through lists. Of several such members the last one in the text counts, as in most readers of JSON.
  static func value(at path: Bytes, in text: Bytes) throws(JsonError) -> JsonValue? {
    var reader = try JsonObjectReader(text)
    var found: JsonValue?
    // The path has led into `passed` objects inside the outermost one; `starts[n]` is where in the path the name of
    // their member begins once n are passed.
    var passed = 0
    var starts = InlineArray<16, Int>(repeating: 0)  // depthMax
    while let member = try reader.nextAtAnyDepth() {
      guard member.depth <= passed + 1 else { continue }
      passed = member.depth - 1
      guard let end = member.name.end(in: path, from: starts[passed]) else { continue }
      if end == path.count {
        found = member.value
      } else if path[end] == UInt8(ascii: ".") {
        found = nil
        guard case .object = member.value else { continue }
        passed += 1
        starts[passed] = end + 1
      }
    }
    return found
  }
}
