/// A fixed number of elements in reserved memory, all zero at first; every access is checked.
public struct FixedArray<Element: BitwiseCopyable>: ~Copyable {
  @usableFromInline let elements: UnsafeMutablePointer<Element>
  public let count: Int

  public init(count: Int, name: StaticString, in reservation: inout Reservation) {
    elements = reservation.take(Element.self, count: count, name: name)
    self.count = count
  }

  @inlinable public subscript(index: Int) -> Element {
    @inline(__always) unsafeAddress {
      precondition(UInt(bitPattern: index) < UInt(bitPattern: count))
      return UnsafePointer(elements + index)
    }
    @inline(__always) nonmutating unsafeMutableAddress {
      precondition(UInt(bitPattern: index) < UInt(bitPattern: count))
      return elements + index
    }
  }
}

/// A fixed number of short texts, each of at most `textBytesMax` bytes, empty at first.
public struct TextTable: ~Copyable {
  private let lengths: FixedArray<UInt16>
  private let texts: UnsafeMutableRawPointer
  public let textBytesMax: Int

  public init(count: Int, textBytesMax: Int, name: StaticString, in reservation: inout Reservation) {
    precondition(textBytesMax <= 65_535)
    lengths = FixedArray(count: count, name: name, in: &reservation)
    texts = reservation.takeBytes(count * textBytesMax, name: "  bytes")
    self.textBytesMax = textBytesMax
  }

  /// The text in `row`; valid until it is set again.
  public subscript(row: Int) -> Bytes { Bytes(texts + row * textBytesMax, count: Int(lengths[row])) }

  /// `false` when it is too long; the row is left as it was.
  public func set(_ row: Int, to text: Bytes) -> Bool {
    precondition(row >= 0 && row < lengths.count)
    guard text.count <= textBytesMax else { return false }
    UnsafeMutableRawBufferPointer(start: texts + row * textBytesMax, count: text.count)
      .copyMemory(from: text.buffer)
    lengths[row] = UInt16(text.count)
    return true
  }
}

/// Memory in which bytes are put together before they go where they belong.
public struct Scratch: ~Copyable {
  private let base: UnsafeMutableRawPointer
  public let capacity: Int

  public init(byteCount: Int, name: StaticString, in reservation: inout Reservation) {
    base = reservation.takeBytes(byteCount, name: name)
    capacity = byteCount
  }

  /// For reading into.
  public var buffer: UnsafeMutableRawBufferPointer { UnsafeMutableRawBufferPointer(start: base, count: capacity) }

  /// Writes from the start; what an earlier writer left is lost.
  public func writer() -> ByteWriter { ByteWriter(base, capacity: capacity) }
}

/// Places for the pieces of one gathered write.
public struct PartList: ~Copyable {
  /// What is in them is the last filler's; all of them are zero at first.
  public let places: UnsafeMutableBufferPointer<Bytes>

  public init(count: Int, name: StaticString, in reservation: inout Reservation) {
    places = UnsafeMutableBufferPointer(start: reservation.take(Bytes.self, count: count, name: name), count: count)
  }
}
