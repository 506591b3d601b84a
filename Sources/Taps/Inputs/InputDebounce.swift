public import Bounded

/// One edge, as the kernel reports it or as a look at the level has found it.
public struct LineEdge: BitwiseCopyable {
  /// When it happened.
  public var moment: Moment
  /// The line's own count from its request on: 1, 2, ... and around after 2^32 - 1; nil where the kernel does
  /// not count (libgpiod 1.6), and of an edge that it has not reported.
  public var sequence: UInt32?
  /// In logical terms: to active, whichever level that is.
  public var isRising: Bool

  public init(at moment: Moment, isRising: Bool, sequence: UInt32?) {
    self.moment = moment
    self.isRising = isRising
    self.sequence = sequence
  }
}

/// The kernel's count of a line's edges, and how many are missing in it.
struct EdgeNumbers: BitwiseCopyable {
  private var last: UInt32 = 0

  /// The line was requested anew: its edges are counted from 1.
  mutating func restart() { last = 0 }

  /// Edges between the last one and this one. A count that goes back, or stands still, is a loss of one: more
  /// is not known.
  mutating func missed(before sequence: UInt32?) -> UInt32 {
    guard let sequence else { return 0 }
    let distance = sequence &- last
    last = sequence
    return distance >= 1 && distance < 1 << 31 ? distance - 1 : 1
  }
}

/// Makes of a line's edges the level that counts, by their timestamps.
///
///     line     ──┐┌┐┌─────────────┐┌┐┌──   each edge starts the time again
///     settle   ────────┐ time ▸ counts     as of the edge that the level lasts since
///     leading  ──┐ time ▸ looked at again  as of the first edge; what the line does meanwhile is ignored
///
/// Invariant: `deadline` is `never` unless the time runs; without a period it always is.
struct Debounce: BitwiseCopyable {
  /// 0: every edge counts.
  private(set) var periodNanoseconds: Int64
  private let mode: DebounceMode
  /// The line's level by its last edge.
  private(set) var line = false
  /// The level that counts.
  private(set) var level = false
  private(set) var deadline = Instant.never
  /// The line's last edge, by which it has its level.
  private var since = LineEdge(
    at: Moment(at: Instant(nanoseconds: 0), wallNanoseconds: 0), isRising: false, sequence: nil)

  init(_ mode: DebounceMode, periodNanoseconds: Int64) {
    self.mode = mode
    self.periodNanoseconds = periodNanoseconds
  }

  /// The line has another level than the one that counts, and it is not decided which will.
  var isUndecided: Bool { line != level }

  /// The level is known without edges.
  mutating func reset(_ level: Bool) {
    line = level
    self.level = level
    deadline = .never
  }

  /// The edge as of which another level counts now; nil: none does. `advance` to the edge's time comes before.
  mutating func edge(_ edge: LineEdge) -> LineEdge? {
    line = edge.isRising
    since = edge
    if periodNanoseconds == 0 { return follow() }
    switch mode {
    case .settle:
      deadline = edge.moment.at.adding(nanoseconds: periodNanoseconds)
      return nil
    case .leading:
      guard deadline == .never else { return nil }
      deadline = edge.moment.at.adding(nanoseconds: periodNanoseconds)
      return follow()
    }
  }

  /// The edge that counts when the debounce time has ended; nil when it has not ended or changes nothing. The caller
  /// must read the level then in any case: the last edge of a bounce may be the one that is missing.
  mutating func advance(to now: Instant) -> LineEdge? {
    guard deadline <= now else { return nil }
    let ended = deadline
    deadline = .never
    guard isUndecided else { return nil }
    if mode == .leading { deadline = ended.adding(nanoseconds: periodNanoseconds) }
    return follow()
  }

  private mutating func follow() -> LineEdge? {
    guard isUndecided else { return nil }
    level = line
    return since
  }
}
