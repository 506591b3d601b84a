/// Borrowed bytes: where they lie and how many. A view is valid only during the call that receives it. To keep the
/// bytes, copy them into a pool. Every access is checked, in release builds too.
///
/// Invariant: `base` points to at least `count` readable bytes while the view is lent.
public struct Bytes: BitwiseCopyable, @unchecked Sendable {
  @usableFromInline let base: UnsafeRawPointer
  public let count: Int

  @inlinable public init(_ base: UnsafeRawPointer, count: Int) {
    precondition(count >= 0)
    self.base = base
    self.count = count
  }

  @inlinable public init(_ buffer: UnsafeRawBufferPointer) {
    self = buffer.baseAddress.map { Bytes($0, count: buffer.count) } ?? .empty
  }

  /// A literal's bytes, which live as long as the process: `Bytes("$SYS/")`.
  @inlinable public init(_ literal: StaticString) {
    self.init(literal.utf8Start, count: literal.utf8CodeUnitCount)
  }

  @inlinable public static var empty: Bytes { Bytes("") }

  @inlinable public var isEmpty: Bool { count == 0 }

  @inlinable public subscript(index: Int) -> UInt8 {
    precondition(UInt(bitPattern: index) < UInt(bitPattern: count))
    return base.load(fromByteOffset: index, as: UInt8.self)
  }

  /// The part from `lower` up to `upper`; traps outside 0...count.
  @inlinable public subscript(range: Range<Int>) -> Bytes {
    precondition(range.lowerBound >= 0 && range.upperBound <= count)
    return Bytes(base + range.lowerBound, count: range.upperBound &- range.lowerBound)
  }

  @inlinable public func from(_ start: Int) -> Bytes { self[start..<count] }
  @inlinable public func first(_ length: Int) -> Bytes { self[0..<length] }

  /// For calls into the kernel and memcpy; the pointer must not outlive the loan.
  @inlinable public var buffer: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: count) }

  @inlinable public static func == (left: Bytes, right: Bytes) -> Bool {
    guard left.count == right.count else { return false }
    return left.hasPrefix(right)
  }
  @inlinable public static func != (left: Bytes, right: Bytes) -> Bool { !(left == right) }

  @inlinable public func hasPrefix(_ prefix: Bytes) -> Bool {
    guard prefix.count <= count else { return false }
    var index = 0
    while index &+ 8 <= prefix.count {
      guard word(at: index) == prefix.word(at: index) else { return false }
      index &+= 8
    }
    return index == prefix.count || first(prefix.count).end(from: index) == prefix.end(from: index)
  }

  /// How many of the bytes are `byte`, eight at a time.
  @inlinable public func count(of byte: UInt8) -> Int {
    var found: UInt64 = 0
    var index = 0
    while index &+ 8 <= count {
      found &+= Bytes.sum(Bytes.marks(of: byte, in: word(at: index)))
      index &+= 8
    }
    if index < count, count >= 8 {  // the last eight, without those that were counted
      let counted = UInt64(truncatingIfNeeded: 8 &* (8 &- (count &- index)))
      return Int(found &+ Bytes.sum(Bytes.marks(of: byte, in: word(at: count &- 8)) &>> counted))
    }
    while index < count {
      if base.load(fromByteOffset: index, as: UInt8.self) == byte { found &+= 1 }
      index &+= 1
    }
    return Int(found)
  }

  /// The highest bit of each byte of `word` that is `byte`. No carry leaves a byte, so the answer is exact.
  @inlinable @inline(__always) static func marks(of byte: UInt8, in word: UInt64) -> UInt64 {
    let low: UInt64 = 0x7F7F_7F7F_7F7F_7F7F
    let others = word ^ UInt64(byte) &* 0x0101_0101_0101_0101
    return ~(((others & low) &+ low) | others | low)
  }

  @inlinable @inline(__always) static func sum(_ marks: UInt64) -> UInt64 {
    ((marks &>> 7) &* 0x0101_0101_0101_0101) &>> 56
  }

  /// Eight bytes that are all there.
  @inlinable @inline(__always) func word(at index: Int) -> UInt64 {
    base.loadUnaligned(fromByteOffset: index, as: UInt64.self)
  }

  /// The 1...7 bytes from `index` on as a number, the same for the same bytes: in two loads that may overlap, where a
  /// loop over the bytes would take most of the time of a short level's comparison.
  @inlinable @inline(__always) func end(from index: Int) -> UInt64 {
    let length = count &- index
    if length >= 4 {
      let low = base.loadUnaligned(fromByteOffset: index, as: UInt32.self)
      return UInt64(low) | UInt64(base.loadUnaligned(fromByteOffset: count &- 4, as: UInt32.self)) &<< 32
    }
    let middle = UInt64(base.load(fromByteOffset: index &+ length &>> 1, as: UInt8.self)) &<< 8
    let last = UInt64(base.load(fromByteOffset: count &- 1, as: UInt8.self)) &<< 16
    return UInt64(base.load(fromByteOffset: index, as: UInt8.self)) | middle | last
  }

  /// Whether these bytes are some of those, not only equal to some.
  @inlinable public func isWithin(_ whole: Bytes) -> Bool {
    base >= whole.base && base + count <= whole.base + whole.count
  }

  @inlinable public func firstIndex(of byte: UInt8, from start: Int = 0) -> Int? {
    precondition(start >= 0)
    var index = start
    let pattern = UInt64(byte) &* 0x0101_0101_0101_0101
    while index &+ 8 <= count {  // eight bytes at a time: a zero byte in `word` is the one looked for
      let word = UInt64(littleEndian: word(at: index)) ^ pattern
      let zeros = (word &- 0x0101_0101_0101_0101) & ~word & 0x8080_8080_8080_8080
      if zeros != 0 { return index &+ zeros.trailingZeroBitCount / 8 }
      index &+= 8
    }
    while index < count {
      if base.load(fromByteOffset: index, as: UInt8.self) == byte { return index }
      index &+= 1
    }
    return nil
  }

  @inlinable public func contains(_ byte: UInt8) -> Bool { firstIndex(of: byte) != nil }

  /// Multiplies and folds eight bytes at a time, beginning with `seed`. For caches in which two entries of one hash cost no
  /// more than one that is not there: a peer can make as many as it likes. Tables that peers fill use `HashKey`.
  @inlinable public func quickHash(seed: UInt64) -> UInt32 {
    var value = seed ^ 0xCBF2_9CE4_8422_2325
    var index = 0
    while index &+ 8 <= count {
      value = (value ^ word(at: index)) &* 0x9E37_79B9_7F4A_7C15
      value ^= value &>> 29
      index &+= 8
    }
    if index < count {
      value = (value ^ end(from: index)) &* 0x9E37_79B9_7F4A_7C15
      value ^= value &>> 29
    }
    value ^= UInt64(truncatingIfNeeded: count)
    value = (value ^ (value &>> 32)) &* 0x9E37_79B9_7F4A_7C15
    return UInt32(truncatingIfNeeded: value &>> 32)
  }

  /// A copy for text that is made at start-up or in tests; never on the data path.
  public func array() -> [UInt8] { [UInt8](buffer) }
}

/// Writes into lent memory of a fixed capacity. A write that does not fit writes nothing and sets
/// `overflowed`; later writes do nothing, so that one check after the last write is enough.
///
/// Invariant: 0 <= used <= capacity.
public struct ByteWriter {
  @usableFromInline let base: UnsafeMutableRawPointer
  public let capacity: Int
  @usableFromInline var used = 0
  @usableFromInline var hasOverflowed = false

  @inlinable public init(_ buffer: UnsafeMutableRawBufferPointer) {
    precondition(buffer.baseAddress != nil)
    base = buffer.baseAddress!
    capacity = buffer.count
  }

  @inlinable public init(_ base: UnsafeMutableRawPointer, capacity: Int) {
    precondition(capacity >= 0)
    self.base = base
    self.capacity = capacity
  }

  @inlinable public var count: Int { used }
  @inlinable public var overflowed: Bool { hasOverflowed }
  @inlinable public var free: Int { capacity &- used }
  /// What was written so far.
  @inlinable public var written: Bytes { Bytes(base, count: used) }

  @inlinable mutating func room(_ byteCount: Int) -> UnsafeMutableRawPointer? {
    guard !hasOverflowed, byteCount <= capacity &- used else {
      hasOverflowed = true
      return nil
    }
    let place = base + used
    used &+= byteCount
    return place
  }

  @inlinable public mutating func write(_ byte: UInt8) {
    guard let place = room(1) else { return }
    place.storeBytes(of: byte, as: UInt8.self)
  }

  /// Two bytes, most significant first (§1.5.2).
  @inlinable public mutating func writeUInt16(_ value: UInt16) {
    guard let place = room(2) else { return }
    place.storeBytes(of: value.bigEndian, as: UInt16.self)
  }

  /// Four bytes, most significant first (§1.5.3).
  @inlinable public mutating func writeUInt32(_ value: UInt32) {
    guard let place = room(4) else { return }
    place.storeBytes(of: value.bigEndian, as: UInt32.self)
  }

  @inlinable public mutating func write(_ bytes: Bytes) {
    guard let place = room(bytes.count) else { return }
    place.copyMemory(from: bytes.base, byteCount: bytes.count)
  }

  @inline(never) @_optimize(size) public mutating func write(_ literal: StaticString) { write(Bytes(literal)) }

  /// A decimal number without leading zeros.
  public mutating func writeDecimal(_ value: UInt64) { writeDecimal(value, isNegative: false) }

  public mutating func writeDecimal(_ value: Int64) { writeDecimal(value.magnitude, isNegative: value < 0) }

  @inline(never) private mutating func writeDecimal(_ magnitude: UInt64, isNegative: Bool) {
    var divisor: UInt64 = 1
    var byteCount = isNegative ? 2 : 1
    while magnitude / divisor >= 10 {
      divisor &*= 10
      byteCount += 1
    }
    guard var place = room(byteCount) else { return }
    if isNegative {
      place.storeBytes(of: 45, as: UInt8.self)
      place += 1
    }
    while divisor > 0 {
      place.storeBytes(of: UInt8(48 + (magnitude / divisor) % 10), as: UInt8.self)
      place += 1
      divisor /= 10
    }
  }

  /// Forgets what was written after `count` bytes, and an overflow with it.
  public mutating func truncate(to count: Int) {
    precondition(count >= 0 && count <= used)
    used = count
    hasOverflowed = false
  }
}
