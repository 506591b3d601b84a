public import Bounded
public import MQTTWire

/// What becomes of a message on `<base>/<tap>/total/set`.
public enum CounterAnswer: BitwiseCopyable {
  /// The reading is this one now, and is published.
  case set(TapUpdate)
  /// Answer with this code and Reason String. Nothing changes.
  case refuse(ReasonCode, Bytes)
}

/// A meter's line and its topics: edges in, a total and a rate out.
///
/// Pulses are counted by the kernel's numbers of the edges, not by the edges that arrive: those that a full queue
/// dropped count too. For each batch of edges the owner calls `advance` to the time of an edge until nil, then
/// `edgeReceived`, edge after edge; then `advance` to now until nil.
///
/// It has more than twenty properties: its topics, its settings, what is counted, and what was published of the total
/// and of the rate. The parts with a life of their own are types (`Debounce`, `EdgeNumbers`, `RateWindow`,
/// `FaultReport`).
public struct CounterTap: BitwiseCopyable {
  public enum State: BitwiseCopyable, Equatable {
    /// The line was not requested yet.
    case waiting
    case counting
    case faulted
  }
  public private(set) var state = State.waiting
  /// Since the meter was new; what is to be kept on disk.
  public private(set) var pulses: UInt64 = 0
  /// Edges that are in no pulse's count because it is not known of which level they were, or because they came
  /// without a number.
  public private(set) var lostCount: UInt64 = 0
  /// Levels that did not last.
  public private(set) var glitchCount: UInt64 = 0
  /// The line's place among all lines: outputs first, then inputs, then counters.
  public let lineIndex: Int
  public let totalTopic: Bytes
  /// `<base>/<tap>/total/set`.
  public let commandTopic: Bytes
  /// Empty without a rate.
  public let rateTopic: Bytes
  public var faultTopic: Bytes { fault.topic }

  private let edge: CounterEdge
  private let scale: PulseScale
  private let deltaPulses: UInt64
  private let throttleNanoseconds: Int64
  private var fault: FaultReport
  private var numbers = EdgeNumbers()
  private var debounce: Debounce
  private let hasGlitchFilter: Bool
  private var seesBothEdges = false
  /// No edge came since the level was read.
  private var levelIsFromRead = false

  private var totalText: TextBuffer
  private var publishedPulses: UInt64?
  private var reportAt = Instant.never
  private var reportedAt: Instant?

  private let rate: RateWindow.Settings?
  private var window = RateWindow()
  private var rateText: TextBuffer
  /// Nothing has been on the rate's topic yet: 0 is to be.
  private var firstRateAt = Instant.never
  private var isRateDue = false
  private var wallOffset: Int64 = 0

  static var textBytesMax: Int { 32 }

  init(
    settings: CounterSettings, lineIndex: Int, totalTopic: Bytes, commandTopic: Bytes, rateTopic: Bytes,
    fault: FaultReport,
    totalText: TextBuffer, rateText: TextBuffer
  ) {
    self.lineIndex = lineIndex
    self.commandTopic = commandTopic
    self.totalTopic = totalTopic
    self.rateTopic = rateTopic
    self.fault = fault
    self.totalText = totalText
    self.rateText = rateText
    edge = settings.edge
    scale = PulseScale(settings.pulsesPerUnit, digits: settings.digits)
    deltaPulses = max(1, scale.pulses(in: settings.delta) ?? .max)
    throttleNanoseconds = settings.throttleNanoseconds
    hasGlitchFilter = settings.glitchNanoseconds > 0
    debounce = Debounce(.settle, periodNanoseconds: settings.glitchNanoseconds)
    rate = settings.rate.map { RateWindow.Settings($0) }
  }

  /// Why the line is faulted; empty when it is not.
  public var faultText: Bytes { state == .faulted ? fault.text.bytes : .empty }
  /// The total as it was published last; empty before.
  public var valueText: Bytes { totalText.bytes }

  /// Whether the line is to be requested with both edges: to judge how long a level lasts, or to see from two equal
  /// edges that one is missing where the kernel does not number them.
  public func needsBothEdges(isCounted: Bool) -> Bool { edge == .both || hasGlitchFilter || !isCounted }

  /// The edge to ask for otherwise; true: rising.
  public var countsRising: Bool { edge == .rising }

  /// Goes on from a total kept on disk; before the line is requested.
  public mutating func restore(pulses: UInt64) {
    precondition(state == .waiting)
    self.pulses = pulses
  }

  // MARK: Edges

  public mutating func edgeReceived(_ edge: LineEdge) {
    if state == .faulted {  // left over from the request that ended
      lostCount &+= 1
      return
    }
    let missed = UInt64(numbers.missed(before: edge.sequence))
    guard seesBothEdges else {
      count(1 &+ missed, at: edge.moment)
      return
    }
    countMissed(missed, before: edge)
    levelIsFromRead = false
    if hasGlitchFilter, debounce.isUndecided, debounce.line != edge.isRising { glitchCount &+= 1 }
    if let counting = debounce.edge(edge), isPulse(counting.isRising) { count(1, at: counting.moment) }
  }

  private func isPulse(_ isRising: Bool) -> Bool { edge == .both || isRising == (edge == .rising) }

  /// Edges alternate, so that it is known of which kind those are that are missing between two.
  private mutating func countMissed(_ numbered: UInt64, before edge: LineEdge) {
    var missed = numbered
    if (debounce.line == edge.isRising) != (missed % 2 == 1) {
      // The edge may be older than the level, which was read; or the kernel saw two edges as one.
      if levelIsFromRead { debounce.reset(!debounce.line) } else { lostCount &+= 1 }
      // What is missing in a bounce is no pulse.
      if !levelIsFromRead, !hasGlitchFilter || numbered > 0 { missed &+= 1 }
    }
    guard missed > 0 else { return }
    var found = isPulse(!debounce.line) ? (missed &+ 1) / 2 : missed / 2
    if self.edge == .both { found = missed }
    // They lasted, as far as anybody knows, and so did the level before them.
    if debounce.isUndecided, isPulse(debounce.line) { found &+= 1 }
    debounce.reset(!edge.isRising)
    count(found, at: edge.moment)
  }

  private mutating func count(_ more: UInt64, at moment: Moment) {
    guard more > 0 else { return }
    pulses &+= more
    wallOffset = moment.wallNanoseconds &- moment.at.nanoseconds
    if rate != nil {
      window.pulses(more, at: moment.at)
      isRateDue = window.isKnown
    }
    guard reportAt == .never else { return }
    reportAt = reportedAt.map { max(moment.at, $0.adding(nanoseconds: throttleNanoseconds)) } ?? moment.at
  }

  // MARK: The line

  /// The line cannot be requested or read; `reason` is for people. Total and rate stay on their topics.
  public mutating func lineFailed(_ reason: Bytes, wallNanoseconds: Int64) -> TapUpdate {
    state = .faulted
    debounce.reset(debounce.line)
    window = RateWindow()
    return TapUpdate(fault: fault.raise(reason, wallNanoseconds: wallNanoseconds))
  }

  /// The line was requested, at start or after a fault, and has this level. Its edges are counted from 1.
  /// - Parameter seesBothEdges: the line was requested with both.
  public mutating func lineHealed(isHigh: Bool, seesBothEdges: Bool, at moment: Moment) -> TapUpdate {
    numbers.restart()
    debounce.reset(isHigh)
    levelIsFromRead = true
    self.seesBothEdges = seesBothEdges
    wallOffset = moment.wallNanoseconds &- moment.at.nanoseconds
    state = .counting
    if rate != nil, rateText.bytes.isEmpty { firstRateAt = moment.at }
    let cleared = fault.clear(wallNanoseconds: moment.wallNanoseconds)
    var update = total(mustPublish: cleared != nil, wallNanoseconds: moment.wallNanoseconds)
    update.fault = cleared
    return update
  }

  /// A meter reading in units, 0 or more: the total goes on from it. In any state, as it needs no line.
  public mutating func commandReceived(_ payload: Bytes, wallNanoseconds: Int64, by: Bytes = .empty) -> CounterAnswer {
    guard let reading = try? PlainDecimal(parsing: payload), !(reading < .zero), let pulses = scale.pulses(in: reading)
    else { return .refuse(.payloadFormatInvalid, Bytes("expected a meter reading such as 1234.5")) }
    self.pulses = pulses
    return .set(total(mustPublish: true, wallNanoseconds: wallNanoseconds, by: by))
  }

  // MARK: Time

  /// The earliest moment at which `advance` has something to do.
  public var nextDeadline: Instant {
    let deadline = min(debounce.deadline, reportAt)
    guard let rate else { return deadline }
    return .earliest(deadline, firstRateAt, window.endsAt(rate))
  }

  /// Does the next thing that is due up to `now`, with one message; call until nil.
  public mutating func advance(to now: Instant) -> TapUpdate? {
    if let counting = debounce.advance(to: now), isPulse(counting.isRising) { count(1, at: counting.moment) }
    let wall = now.nanoseconds &+ wallOffset
    if firstRateAt <= now {
      firstRateAt = .never
      return rateUpdate(0, wallNanoseconds: wall)
    }
    if reportAt <= now {
      if pulses &- (publishedPulses ?? 0) >= deltaPulses || publishedPulses == nil {
        let update = total(mustPublish: false, wallNanoseconds: wall)
        if update.state != nil { return update }
      }
      reportAt = .never
      reportedAt = now
      if isRateDue, let update = newRate(wallNanoseconds: wall) { return update }
    }
    if let rate, window.endsAt(rate) <= now {
      window = RateWindow()
      isRateDue = false
      return rateUpdate(0, wallNanoseconds: wall)
    }
    return nil
  }

  private mutating func newRate(wallNanoseconds: Int64) -> TapUpdate? {
    isRateDue = false
    guard let rate, let (pulses, nanoseconds) = window.take() else { return nil }
    let steps = scale.rateSteps(pulses, over: nanoseconds, seconds: rate.seconds, digits: rate.digits)
    return rateUpdate(steps, wallNanoseconds: wallNanoseconds)
  }

  /// nil when that stands on the topic already.
  private mutating func rateUpdate(_ steps: Int64, wallNanoseconds: Int64) -> TapUpdate? {
    guard let rate else { return nil }
    let isNew = rateText.rewrite { PlainDecimal.write(steps: steps, digits: rate.digits, into: &$0) }
    guard isNew else { return nil }
    return TapUpdate(
      state: Publication(topic: rateTopic, payload: rateText.bytes, wallNanoseconds: wallNanoseconds))
  }

  private mutating func total(mustPublish: Bool, wallNanoseconds: Int64, by: Bytes = .empty) -> TapUpdate {
    let (pulses, scale) = (pulses, scale)
    let isNew = totalText.rewrite { scale.write(pulses, into: &$0) }
    let isFirst = publishedPulses == nil
    publishedPulses = pulses
    guard isNew || isFirst || mustPublish else { return .none }
    return TapUpdate(state: totalNow(by: by, wallNanoseconds: wallNanoseconds))
  }

  /// The total that was published last; `by` caused it.
  func totalNow(by: Bytes, wallNanoseconds: Int64) -> Publication {
    Publication(
      topic: totalTopic, payload: totalText.bytes, wallNanoseconds: wallNanoseconds, lostCount: lostCount, by: by)
  }
}

/// Pulses since one whose time is known. A rate is counted from pulse to pulse, not from look to look: it is right for
/// one pulse a minute and for a thousand a second.
struct RateWindow: BitwiseCopyable {
  struct Settings: BitwiseCopyable {
    let seconds: Int64
    let digits: Int
    let timeoutNanoseconds: Int64

    init(_ settings: RateSettings) {
      seconds = settings.period.seconds
      digits = settings.digits
      timeoutNanoseconds = settings.timeoutNanoseconds
    }
  }
  private var first: Instant?
  private var last = Instant(nanoseconds: 0)
  private var count: UInt64 = 0

  /// A second pulse has come, later than the first.
  var isKnown: Bool { first.map { count > 0 && last > $0 } ?? false }

  /// The newest of `more` pulses came at `moment`.
  mutating func pulses(_ more: UInt64, at moment: Instant) {
    if first == nil { first = moment } else { count &+= more }
    last = max(last, moment)
  }

  /// The pulses after the first and the time that they took; the last is the first of the next window.
  mutating func take() -> (pulses: UInt64, nanoseconds: Int64)? {
    guard isKnown, let start = first else { return nil }
    let taken = (pulses: count, nanoseconds: last.since(start))
    first = last
    count = 0
    return taken
  }

  /// When the pulses have stopped.
  func endsAt(_ settings: Settings) -> Instant {
    first == nil ? .never : last.adding(nanoseconds: settings.timeoutNanoseconds)
  }
}
