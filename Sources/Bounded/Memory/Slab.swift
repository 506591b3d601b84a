/// Names one entry of a `Slab`: an index and the generation in which it was lent, so that a stale handle is
/// noticed. Four bytes; all zero is `null`.
public struct Handle<Element>: BitwiseCopyable, Equatable, Sendable {
  @usableFromInline let raw: UInt32  // generation (12 bits, 1...4095), index (20 bits)

  @inlinable init(index: Int, generation: UInt32) { raw = generation << 20 | UInt32(index) }
  @inlinable init(raw: UInt32) { self.raw = raw }

  @inlinable public static var null: Handle { Handle(raw: 0) }
  @inlinable public var isNull: Bool { raw == 0 }
  @inlinable public var index: Int { Int(raw & 0xF_FFFF) }
  @inlinable var generation: UInt32 { raw >> 20 }

  /// The handle as a number, for a poller's token or a log line.
  @inlinable public var bits: UInt32 { raw }
  @inlinable public init(bits: UInt32) { raw = bits }

  @inlinable public static func == (left: Handle, right: Handle) -> Bool { left.raw == right.raw }
}

/// A fixed number of entries, lent and given back; memory is taken once.
///
/// Invariant: an entry is either lent (its generation's handle reaches it) or on the free list or fresh
/// (never lent yet, index >= freshIndex).
public struct Slab<Element: BitwiseCopyable>: ~Copyable {
  @usableFromInline let elements: UnsafeMutablePointer<Element>
  /// 0x1000 while lent, and the generation of the last loan, 1...4095, or 0 before the first: one comparison judges a
  /// handle. The first bytes of an entry that is free are the next free one's index + 1.
  @usableFromInline let states: UnsafeMutablePointer<UInt16>
  @usableFromInline var freeHead: UInt32 = 0  // index + 1
  @usableFromInline var freshIndex = 0
  public var gauge: Gauge
  private let pinned = Pinned()

  public init(capacity: Int, name: StaticString, in reservation: inout Reservation) {
    precondition(capacity <= Reservation.entriesMax)
    precondition(MemoryLayout<Element>.stride >= 4 && MemoryLayout<Element>.alignment >= 4)
    elements = reservation.take(Element.self, count: capacity, name: name)
    states = reservation.take(UInt16.self, count: capacity, name: "  states")
    gauge = Gauge(capacity: capacity)
  }

  @inlinable public var capacity: Int { gauge.capacity }
  @inlinable public var count: Int { gauge.used }
  @inlinable public var hasRoom: Bool { gauge.free > 0 }

  /// Lends an entry that holds `value`; `nil`, counted as refused, when all are lent.
  @inlinable public mutating func lend(_ value: Element) -> Handle<Element>? {
    let index: Int
    if freeHead != 0 {
      index = Int(freeHead) - 1
      freeHead = nextFree(index).pointee
    } else if freshIndex < capacity {
      index = freshIndex
      freshIndex += 1
    } else {
      gauge.refused &+= 1
      return nil
    }
    gauge.lent()
    let generation = (states[index] & 0xFFF) % 4095 + 1
    states[index] = 0x1000 | generation
    elements[index] = value
    return Handle(index: index, generation: UInt32(generation))
  }

  @inlinable func nextFree(_ index: Int) -> UnsafeMutablePointer<UInt32> {
    UnsafeMutableRawPointer(elements + index).assumingMemoryBound(to: UInt32.self)
  }

  @inlinable public mutating func giveBack(_ handle: Handle<Element>) {
    precondition(isLent(handle))
    let index = handle.index
    states[index] &= 0xFFF
    nextFree(index).pointee = freeHead
    freeHead = UInt32(index) + 1
    gauge.givenBack()
  }

  /// Whether this handle still reaches its entry.
  @inlinable @inline(__always) public func isLent(_ handle: Handle<Element>) -> Bool {
    let index = handle.index
    return index < capacity && UInt32(states[index]) == 0x1000 | handle.generation
  }

  /// The lent entry; a stale handle is our own mistake and traps. Inlined always: it is
  /// most of what a routing does.
  @inlinable public subscript(handle: Handle<Element>) -> Element {
    @inline(__always) unsafeAddress {
      precondition(isLent(handle))
      return UnsafePointer(elements + handle.index)
    }
    @inline(__always) nonmutating unsafeMutableAddress {
      precondition(isLent(handle))
      return elements + handle.index
    }
  }

  /// The address of a lent entry, for a type that wraps this slab's subscript.
  @inlinable @inline(__always) public func address(_ handle: Handle<Element>) -> UnsafeMutablePointer<Element> {
    precondition(isLent(handle))
    return elements + handle.index
  }

  /// What the entry holds, or held when it was given back; nil once its place has been lent again. The first four bytes of
  /// an entry that was given back are the slab's.
  @inlinable public func latest(_ handle: Handle<Element>) -> Element? {
    guard handle.index < capacity, UInt32(states[handle.index] & 0xFFF) == handle.generation else { return nil }
    return elements[handle.index]
  }

  /// The handle of the entry at `index` if it is lent: for walks over all entries by index.
  @inlinable public func handle(at index: Int) -> Handle<Element>? {
    precondition(index >= 0 && index < capacity)
    guard states[index] & 0x1000 != 0 else { return nil }
    return Handle(index: index, generation: UInt32(states[index] & 0xFFF))
  }

  /// Lends every entry that is lent in turn; `body` may change it, and neither lends nor gives back.
  public func visit(_ body: (UnsafeMutablePointer<Element>) -> Void) {
    var index = 0
    while index < capacity {
      if let handle = handle(at: index) { body(address(handle)) }
      index += 1
    }
  }
}
