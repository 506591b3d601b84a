import Bounded

/// The lines of a password file: ended by LF or CR LF; the last one may have no end.
struct PasswordLines {
  struct Line {
    /// From 1.
    let number: Int
    /// Without its end.
    let bytes: Bytes
    /// Where the next line begins in the file.
    let end: Int
    let start: Int
  }

  private let file: Bytes
  private var position = 0
  private var number = 0

  init(_ file: Bytes) { self.file = file }

  mutating func next() -> Line? {
    guard position < file.count else { return nil }
    let start = position
    let newline = file.firstIndex(of: UInt8(ascii: "\n"), from: start)
    var end = newline ?? file.count
    position = newline.map { $0 + 1 } ?? end
    if end > start, file[end - 1] == UInt8(ascii: "\r") { end -= 1 }
    number += 1
    return Line(number: number, bytes: file[start..<end], end: position, start: start)
  }
}

extension PasswordLines.Line {
  /// A comment, or nothing but blanks.
  var isNobody: Bool {
    var index = 0
    while index < bytes.count, bytes[index] == UInt8(ascii: " ") || bytes[index] == UInt8(ascii: "\t") { index += 1 }
    return index == bytes.count || bytes[0] == UInt8(ascii: "#")
  }

  /// What stands before the first colon; nil without one.
  var name: Bytes? { bytes.firstIndex(of: UInt8(ascii: ":")).map { bytes.first($0) } }

  func isUser(_ name: Bytes) -> Bool { !isNobody && (self.name.map { $0 == name } ?? false) }
}

/// One user of a password file:
///
///   name ":" "$7$" iterations "$" salt "$" hash      PBKDF2 with HMAC-SHA-512; iterations decimal
///   name ":" "$6$" salt "$" hash                     SHA-512 of password and salt
///
/// The salt (1...64 bytes) and the hash (64 bytes) are base64.
struct PasswordLine {
  let name: Bytes
  let entry: PasswordEntry

  /// Nil for a line that is nobody's: a comment, or nothing but blanks.
  init?(_ line: PasswordLines.Line, nameBytesMax: Int, iterationsMax: Int) throws(PasswordFileError) {
    guard !line.isNobody else { return nil }
    guard let name = line.name else { throw PasswordFileError(line: line.number, .noColon) }
    if let problem = UserName.problem(name, byteCountMax: nameBytesMax) {
      throw PasswordFileError(line: line.number, .name(problem))
    }
    self.name = name
    var fields = Fields(line.bytes.from(name.count + 1), line: line.number)
    entry = try fields.entry(iterationsMax: iterationsMax)
  }
}

/// What stands behind the colon: fields that `$` divides, and begins.
private struct Fields {
  private let line: Int
  private let whole: Bytes
  private var rest: Bytes?

  init(_ bytes: Bytes, line: Int) {
    whole = bytes
    self.line = line
  }

  mutating func entry(iterationsMax: Int) throws(PasswordFileError) -> PasswordEntry {
    guard !whole.isEmpty else { throw error(.noHash) }
    guard whole[0] == UInt8(ascii: "$") else { throw error(.plainText) }
    rest = whole.from(1)
    let schemeText = next() ?? .empty
    let scheme = try readScheme(schemeText)
    let iterationsText = scheme == .pbkdf2 ? next() : Bytes("1")
    let iterations = try readIterations(iterationsText, max: iterationsMax)
    guard let saltText = next(), let hashText = next(), rest == nil else { throw error(.wrongFields(scheme)) }
    var salt = InlineArray<64, UInt8>(repeating: 0)
    let saltByteCount = try byteCount(of: saltText, into: &salt, .saltNotBase64, .saltTooLong)
    guard saltByteCount > 0 else { throw error(.wrongFields(scheme)) }
    guard !hashText.isEmpty else { throw error(.noHash) }
    var hash = InlineArray<64, UInt8>(repeating: 0)
    let hashByteCount = try byteCount(of: hashText, into: &hash, .hashNotBase64, .wrongHashLength)
    guard hashByteCount == PasswordEntry.hashBytes else { throw error(.wrongHashLength) }
    return PasswordEntry(
      scheme: scheme, iterations: UInt32(iterations), salt: salt, saltByteCount: saltByteCount, hash: hash)
  }

  /// Up to the next `$`, or to the end; nil behind the end.
  private mutating func next() -> Bytes? {
    guard let rest else { return nil }
    let end = rest.firstIndex(of: UInt8(ascii: "$"))
    self.rest = end.map { rest.from($0 + 1) }
    return end.map { rest.first($0) } ?? rest
  }

  private func readScheme(_ field: Bytes) throws(PasswordFileError) -> PasswordScheme {
    if field == Bytes("7") { return .pbkdf2 }
    if field == Bytes("6") { return .saltedSHA512 }
    throw error(field.hasPrefix(Bytes("argon2")) ? .argon2 : .unknownScheme)
  }

  /// - Parameter max: at most 2^32 - 1.
  private func readIterations(_ field: Bytes?, max: Int) throws(PasswordFileError) -> Int {
    guard let field else { throw error(.wrongFields(.pbkdf2)) }
    var value = 0
    var index = 0
    while index < field.count {
      guard field[index] >= UInt8(ascii: "0"), field[index] <= UInt8(ascii: "9") else { throw error(.wrongIterations) }
      value = min(value * 10 + Int(field[index] - UInt8(ascii: "0")), 1 << 40)  // a number that large is refused anyway
      index += 1
    }
    guard value > 0 else { throw error(.wrongIterations) }
    guard value <= min(max, Int(UInt32.max)) else { throw error(.tooManyIterations(max: max)) }
    return value
  }

  private func byteCount(
    of text: Bytes, into output: inout InlineArray<64, UInt8>, _ malformed: PasswordFileError.Problem,
    _ tooMany: PasswordFileError.Problem
  ) throws(PasswordFileError) -> Int {
    switch Base64.decode(text, into: &output) {
    case .bytes(let count): return count
    case .malformed: throw error(malformed)
    case .tooMany: throw error(tooMany)
    }
  }

  private func error(_ problem: PasswordFileError.Problem) -> PasswordFileError {
    PasswordFileError(line: line, problem)
  }
}
