public import Bounded

/// Up to `capacity` bytes of text kept in place: names, labels, file contents. What is longer is cut.
///
/// Inlined throughout, so that the host build needs no type metadata, which the runtime would allocate at first use.
///
/// Invariant: 0 <= count <= capacity.
public struct FixedText<let capacity: Int>: BitwiseCopyable, Sendable {
  @usableFromInline var storage: InlineArray<capacity, UInt8>
  @usableFromInline var byteCount = 0

  @inlinable
  public init() { storage = InlineArray(repeating: 0) }

  @inlinable
  public init(_ bytes: Bytes) {
    self.init()
    append(bytes)
  }

  @inlinable
  public var count: Int { byteCount }

  @inlinable
  public var isEmpty: Bool { byteCount == 0 }

  @inlinable
  public subscript(index: Int) -> UInt8 {
    precondition(index >= 0 && index < count)
    return storage[index]
  }

  /// Appends what fits; false when something was cut.
  @inlinable
  @discardableResult
  public mutating func append(_ bytes: Bytes) -> Bool {
    let fitting = min(bytes.count, capacity - count)
    for index in 0..<fitting { storage[count + index] = bytes[index] }
    byteCount += fitting
    return fitting == bytes.count
  }

  @inlinable
  @discardableResult
  public mutating func append(_ literal: StaticString) -> Bool { append(Bytes(literal)) }

  @inlinable
  @discardableResult
  public mutating func append(decimal value: UInt64) -> Bool {
    guard value >= 10 else { return append(digit: value) }
    guard append(decimal: value / 10) else { return false }
    return append(digit: value % 10)
  }

  @inlinable
  mutating func append(digit: UInt64) -> Bool {
    guard count < capacity else { return false }
    storage[count] = 48 + UInt8(digit)
    byteCount += 1
    return true
  }

  /// Keeps the first `count` bytes.
  @inlinable
  public mutating func truncate(to count: Int) {
    precondition(count >= 0 && count <= self.count)
    byteCount = count
  }

  /// Lends the text for the length of the call, and throws what it throws.
  @inlinable
  public func withBytes<Result, Failure: Error>(
    _ body: (Bytes) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try storage.span.withUnsafeBytes { bytes throws(Failure) in
      try body(Bytes(UnsafeRawBufferPointer(rebasing: bytes[0..<count])))
    }
  }

  /// Lets `body` fill the whole capacity; it returns how many bytes are text, or a negative errno, which empties the
  /// text.
  @inlinable
  public mutating func fill(_ body: (UnsafeMutableRawBufferPointer) -> Int64) -> Int64 {
    var span = storage.mutableSpan
    let result = span.withUnsafeMutableBytes { body($0) }
    precondition(result <= Int64(capacity))
    byteCount = result > 0 ? Int(result) : 0
    return result
  }

  @inlinable
  public func write(to writer: inout ByteWriter) {
    for index in 0..<count { writer.write(storage[index]) }
  }

  @inlinable
  public static func == (left: FixedText, right: Bytes) -> Bool { left.withBytes { $0 == right } }
  @inlinable
  public static func != (left: FixedText, right: Bytes) -> Bool { !(left == right) }
}

/// A name, label or consumer of the kernel's GPIO: 31 bytes at most.
public typealias ShortText = FixedText<32>
