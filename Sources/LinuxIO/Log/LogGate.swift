import Bounded

/// Which lines of the log are written: what is the same as the last line is counted instead, and each area has a budget
/// (a token bucket), so that a storm in one hides nothing in another. Time is a parameter; nothing is allocated.
struct LogGate {
  enum Answer: Equatable { case write, repeated, suppressed }

  private struct Budget: BitwiseCopyable {
    /// When it is whole again: the lines taken are what the time until then would fill in.
    var wholeAt = Instant(nanoseconds: 0)
    /// Over 0: the area is silent until then.
    var suppressed: UInt64 = 0
  }

  /// From the last line, or from what was said of its repeats, on; what is the same later is written anew.
  static var repeatSeconds: Int64 { 10 }

  private var nanosecondsPerLine: Int64
  private var burst: Int64
  private var budgets = InlineArray<5, Budget>(repeating: Budget())
  private var last = FixedText<512>()
  private var lastPriority = Log.Priority.notice
  private var repeatsEndAt = Instant(nanoseconds: 0)
  private var repeats: UInt64 = 0

  init(_ settings: LogSettings) {
    nanosecondsPerLine = 1_000_000_000 / Int64(settings.linesPerSecond)
    burst = Int64(settings.burst)
  }

  /// Other budgets from here on; what was taken of the old ones still counts.
  mutating func adopt(_ settings: LogSettings) {
    nanosecondsPerLine = 1_000_000_000 / Int64(settings.linesPerSecond)
    burst = Int64(settings.burst)
  }

  /// After `write` the line is the last one: say `takeRepeats` before it.
  mutating func admit(_ line: Bytes, _ priority: Log.Priority, _ area: Log.Area, at now: Instant) -> Answer {
    if now < repeatsEndAt, priority == lastPriority, last == line {
      repeats &+= 1
      return .repeated
    }
    let place = Int(area.rawValue)
    let wholeAt = max(budgets[place].wholeAt, now)
    guard budgets[place].suppressed == 0, wholeAt.since(now) <= (burst - 1) * nanosecondsPerLine else {
      budgets[place].suppressed &+= 1
      return .suppressed
    }
    budgets[place].wholeAt = wholeAt.adding(nanoseconds: nanosecondsPerLine)
    return .write
  }

  /// Keeps a line that was written, so that the next ones can be compared with it.
  mutating func keep(_ line: Bytes, _ priority: Log.Priority, at now: Instant) {
    last = FixedText(line)
    lastPriority = priority
    repeatsEndAt = now.adding(seconds: LogGate.repeatSeconds)
  }

  /// When `takeRepeats` or `takeSuppressed` has something to say.
  var nextDeadline: Instant {
    var deadline = repeats > 0 ? repeatsEndAt : .never
    for place in 0..<budgets.count where budgets[place].suppressed > 0 {
      deadline = min(deadline, budgets[place].wholeAt)
    }
    return deadline
  }

  /// How often the last line came again, if that is to be said at `now`; nil where it did not.
  mutating func takeRepeats(at now: Instant) -> (count: UInt64, priority: Log.Priority)? {
    guard repeats > 0, repeatsEndAt <= now else { return nil }
    let count = repeats
    repeats = 0
    repeatsEndAt = now.adding(seconds: LogGate.repeatSeconds)
    return (count, lastPriority)
  }

  /// Lines of an area that has its whole budget again.
  mutating func takeSuppressed(at now: Instant) -> (count: UInt64, area: Log.Area)? {
    for place in 0..<budgets.count where budgets[place].suppressed > 0 && budgets[place].wholeAt <= now {
      let count = budgets[place].suppressed
      budgets[place].suppressed = 0
      return (count, Log.Area(rawValue: UInt8(place))!)
    }
    return nil
  }
}
