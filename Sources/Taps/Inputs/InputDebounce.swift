public import Bounded

/// One edge as the kernel reports it. `isRising` is in logical terms: to active, whichever level that is.
public struct LineEdge: BitwiseCopyable {
  /// When it happened, on the clock of the deadlines.
  public var at: Instant
  /// The same in nanoseconds since 1970 UTC.
  public var wallNanoseconds: Int64
  public var isRising: Bool
  /// The line's own count from its request on: 1, 2, ... and around after 2^32 - 1; nil where the kernel does
  /// not count (libgpiod 1.6).
  public var sequence: UInt32?

  public init(at: Instant, wallNanoseconds: Int64, isRising: Bool, sequence: UInt32?) {
    self.at = at
    self.wallNanoseconds = wallNanoseconds
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

/// When a line took a level, and by which edge.
struct LineMoment: BitwiseCopyable {
  var at: Instant
  var wallNanoseconds: Int64
  var sequence: UInt32?

  init(at: Instant, wallNanoseconds: Int64, sequence: UInt32? = nil) {
    self.at = at
    self.wallNanoseconds = wallNanoseconds
    self.sequence = sequence
  }

  init(_ edge: LineEdge) {
    self.init(at: edge.at, wallNanoseconds: edge.wallNanoseconds, sequence: edge.sequence)
  }

  /// So many nanoseconds later, which no edge marks.
  func later(_ nanoseconds: Int64) -> LineMoment {
    LineMoment(at: at.adding(nanoseconds: nanoseconds), wallNanoseconds: wallNanoseconds &+ nanoseconds)
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
  struct Change: BitwiseCopyable {
    var level: Bool
    var moment: LineMoment
  }
  /// 0: every edge counts.
  private(set) var periodNanoseconds: Int64
  private let mode: DebounceMode
  /// The line's level by its last edge.
  private(set) var line = false
  /// The level that counts.
  private(set) var level = false
  private(set) var deadline = Instant.never
  private var since = LineMoment(at: Instant(nanoseconds: 0), wallNanoseconds: 0)

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

  /// `advance` to the edge's time comes before.
  mutating func edge(_ isRising: Bool, _ moment: LineMoment) -> Change? {
    line = isRising
    since = moment
    if periodNanoseconds == 0 { return follow() }
    switch mode {
    case .settle:
      deadline = moment.at.adding(nanoseconds: periodNanoseconds)
      return nil
    case .leading:
      guard deadline == .never else { return nil }
      deadline = moment.at.adding(nanoseconds: periodNanoseconds)
      return follow()
    }
  }

  /// What the end of the time makes count; nil when it has not come or changes nothing. The level is to be looked at
  /// then in any case: the last edge of a bounce may be the one that is missing.
  mutating func advance(to now: Instant) -> Change? {
    guard deadline <= now else { return nil }
    let ended = deadline
    deadline = .never
    guard isUndecided else { return nil }
    if mode == .leading { deadline = ended.adding(nanoseconds: periodNanoseconds) }
    return follow()
  }

  private mutating func follow() -> Change? {
    guard isUndecided else { return nil }
    level = line
    return Change(level: level, moment: since)
  }
}
