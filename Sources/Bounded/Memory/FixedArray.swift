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
  /// All of them are zero at first; later they hold what was written to them last.
  public let places: UnsafeMutableBufferPointer<Bytes>

  public init(count: Int, name: StaticString, in reservation: inout Reservation) {
    places = UnsafeMutableBufferPointer(start: reservation.take(Bytes.self, count: count, name: name), count: count)
  }
}
