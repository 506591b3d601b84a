// Memory of a fixed size, for every module above.
//
// This module owns how memory is taken: once, at the start, from a `Reservation`, which without a region only counts. The
// containers (`FixedArray`, `Slab`, `Ring`, `BlockPool`, `ByteQueuePool`, `TimerWheel` and the others) keep pointers into
// the region and never free them; the region belongs to whoever has mapped it. What a pool lends comes back to it. A full
// pool answers nil or false and counts that in its `Gauge`; a stale `Handle` stops the program.
//
// It imports nothing but the standard library. It does no I/O, reads no clock (an `Instant` is its caller's), starts no
// thread, and knows nothing of MQTT or of a board. Only the rows of a `Reservation` are allocated. Raw pointers stay in
// types that state their invariant; other modules get `Bytes`, which are checked and lent for a call.

/// One pool's line in the plan: how many entries, how many bytes each, and the sum with alignment.
public struct ReservationRow {
  public let name: StaticString
  public let entryCount: Int
  public let entryBytes: Int
  /// entryCount x entryBytes, rounded up to the next multiple of `Reservation.alignment`.
  public let byteCount: Int
}

/// The memory of the loop: one region that is mapped at start and carved up in order, never given back.
/// With no region it only counts, so the plan and the running daemon are the same code: whoever takes
/// memory must not touch it in `init` (the region is zero, and zero is every pool's empty state).
///
/// Invariant: 0 <= byteCount <= capacity, unless it only counts.
public struct Reservation: ~Copyable {
  /// A cache line, so that no two pools share one.
  public static var alignment: Int { 64 }
  /// No pool has more entries: a `Handle` names one by 20 bits.
  public static var entriesMax: Int { 1 << 20 }

  private let base: UnsafeMutableRawPointer?
  private let capacity: Int
  public private(set) var byteCount = 0
  public private(set) var rows: [ReservationRow] = []

  /// Counts only; what is made from it must be thrown away unused.
  public static func counting() -> Reservation { Reservation(base: nil, capacity: .max) }

  /// Carves up `region`, which is zero and stays mapped until the process ends.
  public init(region: UnsafeMutableRawBufferPointer) {
    precondition(region.baseAddress != nil)
    self.init(base: region.baseAddress, capacity: region.count)
  }

  private init(base: UnsafeMutableRawPointer?, capacity: Int) {
    precondition(UInt(bitPattern: base) % UInt(Reservation.alignment) == 0)
    self.base = base
    self.capacity = capacity
  }

  /// Zeroed memory for `count` elements, aligned to `alignment`.
  public mutating func take<Element: BitwiseCopyable>(
    _ type: Element.Type, count: Int, name: StaticString
  ) -> UnsafeMutablePointer<Element> {
    precondition(MemoryLayout<Element>.alignment <= Reservation.alignment)
    return take(count, of: MemoryLayout<Element>.stride, name: name).assumingMemoryBound(to: Element.self)
  }

  // Out of line, as the compiler makes a `take` for every element.
  @inline(never) private mutating func take(
    _ count: Int, of entryBytes: Int, name: StaticString
  ) -> UnsafeMutableRawPointer {
    precondition(count >= 0)
    let bytes = (count * entryBytes + Reservation.alignment - 1) & ~(Reservation.alignment - 1)
    precondition(bytes <= capacity - byteCount)
    // Counting: an address that nobody may touch.
    let place = base.map { $0 + byteCount } ?? UnsafeMutableRawPointer(bitPattern: Reservation.alignment)!
    byteCount += bytes
    rows.append(ReservationRow(name: name, entryCount: count, entryBytes: entryBytes, byteCount: bytes))
    return place
  }

  public mutating func takeBytes(_ count: Int, name: StaticString) -> UnsafeMutableRawPointer {
    UnsafeMutableRawPointer(take(UInt8.self, count: count, name: name))
  }
}

/// What a pool publishes about itself: every refusal and every drop is counted (docs/limits.md).
public struct Gauge: BitwiseCopyable, Sendable {
  public let capacity: Int
  @usableFromInline var usedNow = 0
  @usableFromInline var usedPeak = 0
  /// Requests answered with "no room".
  public var refused: UInt64 = 0
  /// Entries thrown away by the pool's overflow policy.
  public var dropped: UInt64 = 0

  @inlinable public init(capacity: Int) { self.capacity = capacity }
  @inlinable public var used: Int { usedNow }
  @inlinable public var peak: Int { usedPeak }
  @inlinable public var free: Int { capacity &- usedNow }

  @inlinable public mutating func lent(_ count: Int = 1) {
    usedNow &+= count
    if usedNow > usedPeak { usedPeak = usedNow }
  }
  @inlinable public mutating func givenBack(_ count: Int = 1) {
    precondition(count <= usedNow)
    usedNow &-= count
  }

  /// `{"capacity":64,"used":3,"peak":9,"refused":0,"dropped":0}`.
  public func write(into writer: inout ByteWriter) {
    writer.write("{\"capacity\":")
    writer.writeDecimal(UInt64(capacity))
    writer.write(",\"used\":")
    writer.writeDecimal(UInt64(used))
    writer.write(",\"peak\":")
    writer.writeDecimal(UInt64(peak))
    writer.write(",\"refused\":")
    writer.writeDecimal(refused)
    writer.write(",\"dropped\":")
    writer.writeDecimal(dropped)
    writer.write("}")
  }
}
