import Bounded

/// How often a client identifier was taken over lately. Otherwise two clients that share an identifier would evict each
/// other forever.
struct Takeovers: BitwiseCopyable {
  private var windowEndsSeconds: UInt32 = 0  // since boot, rounded up
  private var bits: UInt32 = 0  // the count, and in the lowest bit whether a refusal is told

  /// Counts one more; `false`, and nothing is changed: `most` were in the window of this many seconds.
  mutating func count(most: Int, windowSeconds: Int, at now: Instant) -> Bool {
    if windowEnds <= now { self = Takeovers(windowEnds: now.adding(seconds: Int64(windowSeconds))) }
    guard Int(bits >> 1) < most else { return false }
    bits += 2
    return true
  }

  /// Whether this is the first refusal of the window.
  mutating func tellRefusal() -> Bool {
    guard bits & 1 == 0 else { return false }
    bits |= 1
    return true
  }

  init() {}
  private init(windowEnds: Instant) {
    windowEndsSeconds = UInt32(clamping: (windowEnds.millisecondsRoundedUp + 999) / 1000)
  }

  private var windowEnds: Instant { Instant(nanoseconds: 0).adding(seconds: Int64(windowEndsSeconds)) }
}
