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
/// Invariant: an index's link is 0 when it is not in the queue; else it is the next one's index + 1, or, of the last, any.
public struct IndexQueue: ~Copyable {
  private let links: FixedArray<UInt32>
  private var head = 0
  private var tail = 0
  public private(set) var count = 0

  public init(count: Int, name: StaticString, in reservation: inout Reservation) {
    links = FixedArray(count: count, name: name, in: &reservation)
  }

  public var isEmpty: Bool { count == 0 }

  public func contains(_ index: Int) -> Bool { links[index] != 0 }

  public mutating func push(_ index: Int) {
    guard links[index] == 0 else { return }
    links[index] = .max
    if count == 0 { head = index } else { links[tail] = UInt32(index) + 1 }
    tail = index
    count += 1
  }

  public mutating func pop() -> Int? {
    guard count > 0 else { return nil }
    let index = head
    count -= 1
    if count > 0 { head = Int(links[index]) - 1 }
    links[index] = 0
    return index
  }
}
