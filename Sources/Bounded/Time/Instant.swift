/// A point on the clock that counts from boot, suspended time included (CLOCK_BOOTTIME). Always a parameter:
/// the core has no clock.
public struct Instant: BitwiseCopyable, Sendable, Equatable, Comparable {
  /// Nanoseconds since boot, 0 or more.
  public var nanoseconds: Int64

  @inlinable public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }
  /// Saturates at `never`.
  @inlinable public init(milliseconds: Int64) { self = Instant(nanoseconds: 0).adding(milliseconds: milliseconds) }

  /// Later than every deadline.
  @inlinable public static var never: Instant { Instant(nanoseconds: .max) }

  @inlinable public static func < (left: Instant, right: Instant) -> Bool { left.nanoseconds < right.nanoseconds }

  /// The earliest of two to eight instants. `min` of four or more values may put them into an array on the heap; this
  /// never does.
  @inlinable public static func earliest(
    _ first: Instant, _ second: Instant, _ third: Instant = .never, _ fourth: Instant = .never,
    _ fifth: Instant = .never, _ sixth: Instant = .never, _ seventh: Instant = .never, _ eighth: Instant = .never
  ) -> Instant {
    min(min(min(first, second), min(third, fourth)), min(min(fifth, sixth), min(seventh, eighth)))
  }

  /// Saturates at `never`, so that no peer's number can overflow a deadline.
  @inlinable public func adding(nanoseconds more: Int64) -> Instant {
    let (sum, overflow) = nanoseconds.addingReportingOverflow(more)
    return overflow ? .never : Instant(nanoseconds: sum)
  }
  @inlinable public func adding(milliseconds: Int64) -> Instant {
    let (product, overflow) = milliseconds.multipliedReportingOverflow(by: 1_000_000)
    return overflow ? .never : adding(nanoseconds: product)
  }
  @inlinable public func adding(seconds: Int64) -> Instant {
    let (product, overflow) = seconds.multipliedReportingOverflow(by: 1000)
    return overflow ? .never : adding(milliseconds: product)
  }

  /// Nanoseconds from `earlier` to here; negative when it is later.
  @inlinable public func since(_ earlier: Instant) -> Int64 { nanoseconds &- earlier.nanoseconds }

  /// Whole milliseconds, rounded up, so that a deadline is never met early.
  @inlinable public var millisecondsRoundedUp: Int64 {
    nanoseconds / 1_000_000 &+ (nanoseconds % 1_000_000 > 0 ? 1 : 0)
  }
}

/// The clock that counts from boot and the wall clock, read together: deadlines go by the first, people by the second.
public struct Moment: BitwiseCopyable, Sendable {
  public var at: Instant
  /// Nanoseconds since 1970-01-01T00:00:00Z, negative before it. They jump when the wall clock is set.
  public var wallNanoseconds: Int64

  @inlinable public init(at: Instant, wallNanoseconds: Int64) {
    self.at = at
    self.wallNanoseconds = wallNanoseconds
  }

  /// So much later on both clocks; `at` saturates at `never`.
  @inlinable public func adding(nanoseconds: Int64) -> Moment {
    Moment(at: at.adding(nanoseconds: nanoseconds), wallNanoseconds: wallNanoseconds &+ nanoseconds)
  }
}

/// An instant that asks for no alignment of eight bytes: for entries of which there are many.
public struct PackedInstant: BitwiseCopyable, Sendable {
  @usableFromInline let low: UInt32
  @usableFromInline let high: UInt32

  @inlinable public init(_ instant: Instant) {
    let bits = UInt64(bitPattern: instant.nanoseconds)
    low = UInt32(truncatingIfNeeded: bits)
    high = UInt32(truncatingIfNeeded: bits &>> 32)
  }

  @inlinable public var instant: Instant {
    Instant(nanoseconds: Int64(bitPattern: UInt64(high) &<< 32 | UInt64(low)))
  }
}
