public import Bounded
import CLinux

/// The kernel's clocks. Deadlines use CLOCK_BOOTTIME, which goes on during suspend and never jumps.
public enum Clock {
  /// CLOCK_BOOTTIME.
  public static func now() -> Instant { Instant(nanoseconds: clinux_clock(Int32(CLINUX_CLOCK_BOOTTIME))) }

  /// CLOCK_REALTIME: nanoseconds since 1970, UTC.
  public static func wallNanoseconds() -> Int64 { clinux_clock(Int32(CLINUX_CLOCK_REALTIME)) }

  /// Both, one right after the other.
  public static func moment() -> Moment { Moment(at: now(), wallNanoseconds: wallNanoseconds()) }

  /// Sleeps for about this long: for commands and for the end, never in the loop's turns.
  public static func sleep(milliseconds: Int64) { clinux_sleep(milliseconds * 1_000_000) }

  /// CLOCK_MONOTONIC in nanoseconds: the clock of edge events.
  public static func monotonicNanoseconds() -> Int64 { clinux_clock(Int32(CLINUX_CLOCK_MONOTONIC)) }

  /// The difference to add to a CLOCK_MONOTONIC timestamp to get nanoseconds since 1970. Valid until the wall clock is
  /// set.
  public static func wallOffsetNanoseconds() -> Int64 { wallNanoseconds() - monotonicNanoseconds() }

  /// The difference to add to a CLOCK_MONOTONIC timestamp to get an `Instant`. Valid until the next suspend.
  public static func bootOffsetNanoseconds() -> Int64 { now().nanoseconds - monotonicNanoseconds() }
}
