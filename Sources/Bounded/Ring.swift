/// A first-in first-out queue of a fixed capacity.
///
/// Invariant: 0 <= count <= capacity; the entries are at start, start + 1, ... modulo capacity.
public struct Ring<Element: BitwiseCopyable>: ~Copyable {
  @usableFromInline let elements: UnsafeMutablePointer<Element>
  @usableFromInline var start = 0
  public var gauge: Gauge

  public init(capacity: Int, name: StaticString, in reservation: inout Reservation) {
    elements = reservation.take(Element.self, count: capacity, name: name)
    gauge = Gauge(capacity: capacity)
  }

  @inlinable public var count: Int { gauge.used }
  @inlinable public var isEmpty: Bool { gauge.used == 0 }

  /// `false`, counted as refused, when full.
  @inlinable public mutating func push(_ element: Element) -> Bool {
    guard gauge.free > 0 else {
      gauge.refused &+= 1
      return false
    }
    elements[(start + gauge.used) % gauge.capacity] = element
    gauge.lent()
    return true
  }

  @inlinable public mutating func pop() -> Element? {
    guard gauge.used > 0 else { return nil }
    let element = elements[start]
    start = (start + 1) % gauge.capacity
    gauge.givenBack()
    return element
  }

  /// The entry that is `position` places behind the first.
  @inlinable public subscript(position: Int) -> Element {
    unsafeAddress {
      precondition(position >= 0 && position < gauge.used)
      return UnsafePointer(elements + (start + position) % gauge.capacity)
    }
    nonmutating unsafeMutableAddress {
      precondition(position >= 0 && position < gauge.used)
      return elements + (start + position) % gauge.capacity
    }
  }
}

/// A queue of indices below a fixed count, each in it at most once, so that it never overflows.
///
/// Invariant: `isQueued[index]` exactly when the index is in the ring.
public struct IndexQueue: ~Copyable {
  private var ring: Ring<UInt32>
  let isQueued: FixedArray<Bool>

  public init(count: Int, name: StaticString, in reservation: inout Reservation) {
    ring = Ring(capacity: count, name: name, in: &reservation)
    isQueued = FixedArray(count: count, name: "  queued", in: &reservation)
  }

  public var count: Int { ring.count }
  public var isEmpty: Bool { ring.isEmpty }

  public mutating func push(_ index: Int) {
    guard !isQueued[index] else { return }
    isQueued[index] = true
    let isPushed = ring.push(UInt32(index))
    precondition(isPushed)
  }

  public mutating func pop() -> Int? {
    guard let index = ring.pop() else { return nil }
    isQueued[Int(index)] = false
    return Int(index)
  }
}
