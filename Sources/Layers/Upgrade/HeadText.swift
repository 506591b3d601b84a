import Bounded

/// Lines of a request head, each ended by CR and LF (RFC 9112 §2.2, and stricter: nothing else ends a line).
///
/// Invariant: 0 <= offset <= bytes.count.
struct HeadReader {
  enum Line {
    /// Without its end. Only blanks, visible ASCII and bytes from 0x80 on are in it.
    case line(Bytes)
    case incomplete
    case malformed
  }

  let bytes: Bytes
  /// Where the next line begins.
  private(set) var offset = 0

  init(_ bytes: Bytes) { self.bytes = bytes }

  @_optimize(size) mutating func next() -> Line {
    var index = offset
    while index < bytes.count {
      let byte = bytes[index]
      if byte == 0x0D {
        guard index + 1 < bytes.count else { return .incomplete }
        guard bytes[index + 1] == 0x0A else { return .malformed }
        let line = bytes[offset..<index]
        offset = index + 2
        return .line(line)
      }
      guard byte >= 0x20 && byte != 0x7F || byte == 0x09 else { return .malformed }
      index += 1
    }
    return .incomplete
  }
}

/// The elements of a list (RFC 9110 §5.6.1), without blanks around them; empty ones are left out.
struct ListReader {
  private var rest: Bytes

  init(_ value: Bytes) { rest = value }

  @_optimize(size) mutating func next() -> Bytes? {
    while !rest.isEmpty {
      let comma = rest.firstIndex(of: 0x2C)
      let element = rest.first(comma ?? rest.count).trimmed
      rest = rest.from(comma.map { $0 + 1 } ?? rest.count)
      if !element.isEmpty { return element }
    }
    return nil
  }
}

extension Bytes {
  /// Without blanks and tabs at both ends.
  var trimmed: Bytes {
    var start = 0
    var end = count
    while start < end, self[start] == 0x20 || self[start] == 0x09 { start += 1 }
    while end > start, self[end - 1] == 0x20 || self[end - 1] == 0x09 { end -= 1 }
    return self[start..<end]
  }

  /// Whether these are the same but for the case of ASCII letters.
  @inline(never) @_optimize(size) func equalsIgnoringCase(_ other: Bytes) -> Bool {
    guard count == other.count else { return false }
    for index in 0..<count where Bytes.lowercase(self[index]) != Bytes.lowercase(other[index]) { return false }
    return true
  }

  func equalsIgnoringCase(_ literal: StaticString) -> Bool { equalsIgnoringCase(Bytes(literal)) }

  /// Whether a list of names in any case has `literal`.
  func lists(_ literal: StaticString) -> Bool {
    var elements = ListReader(self)
    while let element = elements.next() {
      if element.equalsIgnoringCase(literal) { return true }
    }
    return false
  }

  /// One or more characters of a name (RFC 9110 §5.6.2).
  var isToken: Bool {
    for index in 0..<count where !Bytes.isTokenCharacter(self[index]) { return false }
    return count > 0
  }

  /// One or more visible characters of ASCII.
  var isVisible: Bool {
    for index in 0..<count where !(0x21...0x7E).contains(self[index]) { return false }
    return count > 0
  }

  private static func lowercase(_ byte: UInt8) -> UInt8 { (0x41...0x5A).contains(byte) ? byte | 0x20 : byte }

  private static func isTokenCharacter(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5A, 0x5E...0x7A: true  // digits, letters, ^ _ `
    case 0x21, 0x23...0x27, 0x2A, 0x2B, 0x2D, 0x2E, 0x7C, 0x7E: true  // ! # $ % & ' * + - . | ~
    default: false
    }
  }
}
