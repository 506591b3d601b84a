public import Bounded

/// Up to `capacity` bytes of text kept in place: names, labels, file contents. What is longer is cut.
///
/// Invariant: 0 <= count <= capacity.
public struct FixedText<let capacity: Int>: Sendable {
  private var storage: InlineArray<capacity, UInt8>
  public private(set) var count = 0

  public init() { storage = InlineArray(repeating: 0) }

  public init(_ bytes: Bytes) {
    self.init()
    append(bytes)
  }

  public var isEmpty: Bool { count == 0 }

  public subscript(index: Int) -> UInt8 {
    precondition(index >= 0 && index < count)
    return storage[index]
  }

  /// Appends what fits; false when something was cut.
  @discardableResult
  public mutating func append(_ bytes: Bytes) -> Bool {
    let fitting = min(bytes.count, capacity - count)
    for index in 0..<fitting { storage[count + index] = bytes[index] }
    count += fitting
    return fitting == bytes.count
  }

  @discardableResult
  public mutating func append(_ literal: StaticString) -> Bool { append(Bytes(literal)) }

  @discardableResult
  public mutating func append(decimal value: UInt64) -> Bool {
    guard value >= 10 else { return append(digit: value) }
    guard append(decimal: value / 10) else { return false }
    return append(digit: value % 10)
  }

  private mutating func append(digit: UInt64) -> Bool {
    guard count < capacity else { return false }
    storage[count] = 48 + UInt8(digit)
    count += 1
    return true
  }

  /// Keeps the first `count` bytes.
  public mutating func truncate(to count: Int) {
    precondition(count >= 0 && count <= self.count)
    self.count = count
  }

  /// Lends the text for the length of the call.
  public func withBytes<Result>(_ body: (Bytes) -> Result) -> Result {
    storage.span.withUnsafeBytes { body(Bytes(UnsafeRawBufferPointer(rebasing: $0[0..<count]))) }
  }

  /// Lets `body` fill the whole capacity; it returns how many bytes are text, or a negative errno, which empties the
  /// text.
  public mutating func fill(_ body: (UnsafeMutableRawBufferPointer) -> Int64) -> Int64 {
    var span = storage.mutableSpan
    let result = span.withUnsafeMutableBytes { body($0) }
    precondition(result <= Int64(capacity))
    count = result > 0 ? Int(result) : 0
    return result
  }

  public func write(to writer: inout ByteWriter) {
    for index in 0..<count { writer.write(storage[index]) }
  }

  public static func == (left: FixedText, right: Bytes) -> Bool { left.withBytes { $0 == right } }
  public static func != (left: FixedText, right: Bytes) -> Bool { !(left == right) }
}

/// A name, label or consumer of the kernel's GPIO: 31 bytes at most.
public typealias ShortText = FixedText<32>
