/// Borrowed bytes that may be changed where they lie. A view is valid only during the call that receives it. Every access
/// is checked, in release builds too.
///
/// Invariant: `base` points to at least `count` readable and writable bytes while the view is lent.
public struct MutableBytes: BitwiseCopyable, @unchecked Sendable {
  @usableFromInline let base: UnsafeMutableRawPointer
  public let count: Int

  @inlinable public init(_ base: UnsafeMutableRawPointer, count: Int) {
    precondition(count >= 0)
    self.base = base
    self.count = count
  }

  @inlinable public init(_ buffer: UnsafeMutableRawBufferPointer) {
    precondition(buffer.baseAddress != nil)
    self.init(buffer.baseAddress!, count: buffer.count)
  }

  @inlinable public var isEmpty: Bool { count == 0 }

  /// The same bytes, to be read.
  @inlinable public var bytes: Bytes { Bytes(base, count: count) }

  @inlinable public subscript(index: Int) -> UInt8 {
    get {
      precondition(UInt(bitPattern: index) < UInt(bitPattern: count))
      return base.load(fromByteOffset: index, as: UInt8.self)
    }
    nonmutating set {
      precondition(UInt(bitPattern: index) < UInt(bitPattern: count))
      base.storeBytes(of: newValue, toByteOffset: index, as: UInt8.self)
    }
  }

  /// The part from `lower` up to `upper`; traps outside 0...count.
  @inlinable public subscript(range: Range<Int>) -> MutableBytes {
    precondition(range.lowerBound >= 0 && range.upperBound <= count)
    return MutableBytes(base + range.lowerBound, count: range.upperBound &- range.lowerBound)
  }

  @inlinable public func from(_ start: Int) -> MutableBytes { self[start..<count] }
  @inlinable public func first(_ length: Int) -> MutableBytes { self[0..<length] }

  /// Copies the part `range` to where `start` is; the two may overlap. Traps outside 0...count.
  @inlinable public func move(_ range: Range<Int>, to start: Int) {
    let part = self[range]
    let place = self[start..<start &+ part.count]
    place.base.copyMemory(from: part.base, byteCount: part.count)
  }

  /// Copies `bytes` to where `start` is; traps where they do not fit.
  @inlinable public func copy(_ bytes: Bytes, to start: Int) {
    let place = self[start..<start &+ bytes.count]
    if let source = bytes.buffer.baseAddress { place.base.copyMemory(from: source, byteCount: bytes.count) }
  }

  /// Combines the bytes with the four of `key` by exclusive or, again and again, the lowest byte of `key` first. Eight
  /// bytes at a time, wherever they lie. A second call with the same key restores the bytes.
  @inlinable public func mask(with key: UInt32) {
    let pattern = (UInt64(key) &<< 32 | UInt64(key)).littleEndian
    let end = count & ~7
    var index = 0
    while index < end {
      let word = base.loadUnaligned(fromByteOffset: index, as: UInt64.self) ^ pattern
      base.storeBytes(of: word, toByteOffset: index, as: UInt64.self)
      index &+= 8
    }
    var rest = UInt64(key) &<< 32 | UInt64(key)
    while index < count {
      let byte = base.load(fromByteOffset: index, as: UInt8.self) ^ UInt8(truncatingIfNeeded: rest)
      base.storeBytes(of: byte, toByteOffset: index, as: UInt8.self)
      rest &>>= 8
      index &+= 1
    }
  }
}
