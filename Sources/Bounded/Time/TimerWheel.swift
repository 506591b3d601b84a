/// Deadlines of a fixed set of timers, one per index, in a hierarchical wheel: 6 levels of 64 slots, 1 ms a
/// tick at the lowest. Arming and cancelling are O(1), the next deadline is found by bit maps.
///
/// Invariant: an armed timer is linked in exactly one slot; a level's bit is set exactly when its slot has one.
public struct TimerWheel: ~Copyable {
  private struct Timer: BitwiseCopyable {
    /// Milliseconds, of which the last instant has 44 bits; 0 when not armed.
    private var bits: UInt64
    var next: UInt32  // index + 1
    var previous: UInt32  // index + 1, or 0: head of its slot

    var deadline: Int64 {
      get { Int64(bitPattern: bits >> 16) }
      set { bits = UInt64(bitPattern: newValue) << 16 | bits & 0xFFFF }
    }
    /// level * 64 + slot
    var slot: Int {
      get { Int(bits & 0xFFFF) }
      set { bits = bits & ~0xFFFF | UInt64(newValue) }
    }
  }
  private static var levels: Int { 6 }
  /// Farther deadlines are filed here and looked at again: 63 slots of the top level, over two years.
  private static var span: Int64 { 63 << 30 }

  private let timers: UnsafeMutablePointer<Timer>
  private let heads: UnsafeMutablePointer<UInt32>
  private let occupied: UnsafeMutablePointer<UInt64>
  private let capacity: Int
  private var now: Int64 = 0  // milliseconds
  public private(set) var armedCount = 0

  public init(capacity: Int, name: StaticString, in reservation: inout Reservation) {
    timers = reservation.take(Timer.self, count: capacity, name: name)
    heads = reservation.take(UInt32.self, count: TimerWheel.levels * 64, name: "  slots")
    occupied = reservation.take(UInt64.self, count: TimerWheel.levels, name: "  bit maps")
    self.capacity = capacity
  }

  /// Sets (or moves) the deadline of timer `index`; one already past fires at the next `popExpired`.
  /// `Instant.never` cancels.
  public mutating func arm(_ index: Int, at deadline: Instant) {
    cancel(index)
    guard deadline != .never else { return }
    timers[index].deadline = max(1, deadline.millisecondsRoundedUp)
    link(index)
    armedCount += 1
  }

  public mutating func cancel(_ index: Int) {
    precondition(index >= 0 && index < capacity)
    guard timers[index].deadline != 0 else { return }
    unlink(index)
    timers[index].deadline = 0
    armedCount -= 1
  }

  public func isArmed(_ index: Int) -> Bool {
    precondition(index >= 0 && index < capacity)
    return timers[index].deadline != 0
  }

  /// In milliseconds; 0 when not armed.
  func deadlineMilliseconds(_ index: Int) -> Int64 { timers[index].deadline }

  /// The earliest moment at which `popExpired` may answer something; a far deadline may be looked at early.
  public var nextDeadline: Instant? {
    nextSlot().map { Instant(milliseconds: $0.at) }
  }

  /// Takes out one timer whose deadline is not after `instant`; call until `nil`.
  public mutating func popExpired(at instant: Instant) -> Int? {
    let limit = instant.nanoseconds / 1_000_000  // a tick counts once it is over
    while let slot = nextSlot(), slot.at <= limit {
      if slot.at > now { now = slot.at }
      let index = Int(heads[slot.position]) - 1
      unlink(index)
      if timers[index].deadline <= now {
        timers[index].deadline = 0
        armedCount -= 1
        return index
      }
      link(index)  // one level further down
    }
    if limit > now { now = limit }
    return nil
  }

  private mutating func link(_ index: Int) {
    let when = min(max(timers[index].deadline, now), now + TimerWheel.span)
    let differing = UInt64(bitPattern: (when ^ now) | 63)
    let level = min((63 - differing.leadingZeroBitCount) / 6, TimerWheel.levels - 1)
    let slot = Int((when >> Int64(level * 6)) & 63)
    let position = level * 64 + slot
    timers[index].slot = position
    timers[index].previous = 0
    timers[index].next = heads[position]
    if heads[position] != 0 { timers[Int(heads[position]) - 1].previous = UInt32(index) + 1 }
    heads[position] = UInt32(index) + 1
    occupied[level] |= 1 << UInt64(slot)
  }

  private mutating func unlink(_ index: Int) {
    let timer = timers[index]
    let position = timer.slot
    if timer.next != 0 { timers[Int(timer.next) - 1].previous = timer.previous }
    if timer.previous != 0 {
      timers[Int(timer.previous) - 1].next = timer.next
    } else {
      heads[position] = timer.next
      if timer.next == 0 { occupied[position / 64] &= ~(1 << UInt64(position % 64)) }
    }
  }

  /// The first occupied slot from now on, and the millisecond at which it begins.
  private func nextSlot() -> (position: Int, at: Int64)? {
    var best: (position: Int, at: Int64)?
    var level = 0
    while level < TimerWheel.levels {
      if occupied[level] != 0 {
        let shift = Int64(level * 6)
        let current = Int((now >> shift) & 63)
        let rotated = occupied[level] &>> UInt64(current) | occupied[level] &<< UInt64((64 - current) & 63)
        let distance = rotated.trailingZeroBitCount
        let start = ((now >> shift) + Int64(distance)) << shift
        let at = max(start, now)
        if best == nil || at < best!.at { best = ((level * 64) + (current + distance) % 64, at) }
      }
      level += 1
    }
    return best
  }
}
