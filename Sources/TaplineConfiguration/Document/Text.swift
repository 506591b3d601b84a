public import Bounded

/// Bytes of text that grow as they are written: for start-up, errors and the command line, never on the data
/// path. Embedded Swift's `String` would bring its Unicode tables along.
public struct Text: Sendable, Equatable {
  public private(set) var bytes: [UInt8] = []

  public init() {}
  @inline(never) public init(_ literal: StaticString) { add(literal) }
  public init(_ bytes: [UInt8]) { self.bytes = bytes }

  public var count: Int { bytes.count }

  @inline(never) public mutating func add(_ literal: StaticString) {
    bytes.append(contentsOf: UnsafeBufferPointer(start: literal.utf8Start, count: literal.utf8CodeUnitCount))
  }
  public mutating func add(_ more: [UInt8]) { bytes.append(contentsOf: more) }
  public mutating func add(_ more: Text) { bytes.append(contentsOf: more.bytes) }
  public mutating func add(_ more: Bytes) { bytes.append(contentsOf: more.buffer) }
  public mutating func add(byte: UInt8) { bytes.append(byte) }

  /// A decimal number without leading zeros.
  public mutating func add(_ number: Int) {
    if number < 0 { bytes.append(UInt8(ascii: "-")) }
    var magnitude = number.magnitude
    let start = bytes.count
    repeat {
      bytes.append(48 + UInt8(magnitude % 10))
      magnitude /= 10
    } while magnitude > 0
    bytes[start...].reverse()
  }

  /// `number` after as many spaces as it lacks to `width` columns.
  public mutating func add(_ number: Int, width: Int) {
    var digits = Text()
    digits.add(number)
    pad(width - digits.count)
    add(digits)
  }

  /// `words` and as many spaces as they lack to `width` columns; counts bytes.
  @inline(never) public mutating func add(_ words: StaticString, width: Int) {
    add(words)
    pad(width - words.utf8CodeUnitCount)
  }
  public mutating func add(_ words: [UInt8], width: Int) {
    add(words)
    pad(width - words.count)
  }

  @inline(never) public mutating func pad(_ spaces: Int) {
    var left = spaces
    while left > 0 {
      bytes.append(UInt8(ascii: " "))
      left -= 1
    }
  }

  @inline(never) public mutating func endLine() { bytes.append(UInt8(ascii: "\n")) }

  /// A user's word between quotes, at most 64 bytes of it; what no terminal should be sent becomes `?`.
  public mutating func add(quoted word: [UInt8]) {
    bytes.append(UInt8(ascii: "'"))
    var index = 0
    while index < word.count, index < 64 {
      let byte = word[index]
      bytes.append(byte < 0x20 || byte == 0x7F ? UInt8(ascii: "?") : byte)
      index += 1
    }
    // A character is not cut in two.
    if index < word.count {
      while let last = bytes.last, last >= 0x80 { bytes.removeLast() }
      add("...")
    }
    bytes.append(UInt8(ascii: "'"))
  }
  @inline(never) public mutating func add(quoted word: StaticString) {
    bytes.append(UInt8(ascii: "'"))
    add(word)
    bytes.append(UInt8(ascii: "'"))
  }

  /// `count` and a noun that takes an `s` unless there is one of it.
  public mutating func add(_ count: Int, of noun: StaticString) {
    add(count)
    bytes.append(UInt8(ascii: " "))
    add(noun)
    if count != 1 { bytes.append(UInt8(ascii: "s")) }
  }
}

extension [UInt8] {
  @inline(never) package func equals(_ literal: StaticString) -> Bool {
    guard count == literal.utf8CodeUnitCount else { return false }
    var index = 0
    while index < count {
      if self[index] != literal.utf8Start[index] { return false }
      index += 1
    }
    return true
  }

  /// Lends the bytes for the length of `body`, and throws what it throws.
  package func lend<Result, Failure: Error>(_ body: (Bytes) throws(Failure) -> Result) throws(Failure) -> Result {
    try withUnsafeBufferPointer { bytes throws(Failure) in try body(Bytes(UnsafeRawBufferPointer(bytes))) }
  }
}

extension [UInt8] {
  package init(ascii literal: StaticString) {
    self.init(UnsafeBufferPointer(start: literal.utf8Start, count: literal.utf8CodeUnitCount))
  }
}
