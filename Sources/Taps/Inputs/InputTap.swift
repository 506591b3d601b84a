public import Bounded

/// An input line and its topics: edges in, states and events out.
///
///     edges ─▶ Debounce ─┬─▶ on_delay, off_delay ─▶ state, retained
///                        └─▶ ButtonEvents ────────▶ event
///
/// For each batch of edges the owner calls `advance` to the time of an edge until nil, then `edgeReceived`, edge
/// after edge; then `advance` to now until nil; then, if `levelIsDue`, it reads the level and tells it by
/// `levelRead`. An edge that comes after that may be older than the level; it is then no loss.
///
/// It has more than twenty properties, because a level is known from three sources (edges, reads, delays), each with
/// its own doubt and deadline. Debouncing, numbering and presses are types of their own (`Debounce`, `EdgeNumbers`,
/// `ButtonEvents`).
public struct InputTap: BitwiseCopyable {
  public enum State: BitwiseCopyable, Equatable {
    /// The level is not known yet.
    case waiting
    case known(active: Bool)
    case faulted
  }
  public private(set) var state = State.waiting
  /// The level is to be read: nothing is known yet, an edge was missed, or edges are not counted.
  public private(set) var needsResync = true
  /// Edges missed since start, as far as the kernel's counts, equal edges and the level tell.
  public private(set) var lostCount: UInt64 = 0
  /// The line's place among all lines: outputs first, then inputs, then counters.
  public let lineIndex: Int
  public let stateTopic: Bytes
  /// Empty without events.
  public let eventTopic: Bytes
  public var faultTopic: Bytes { fault.topic }
  private var fault: FaultReport
  private var numbers = EdgeNumbers()
  /// No edge came since the level was read.
  private var levelIsFromRead = false
  /// The level read last was not that of the last edge; that edge may only be late.
  private var isSuspect = false
  private var levelDueAt = Instant.never
  private var isPolled = false
  private var published: Bool?
  private var publishedLostCount: UInt64 = 0

  private let settings: Debounce
  private var debounce: Debounce
  private let onDelayNanoseconds: Int64
  private let offDelayNanoseconds: Int64
  private var delayDeadline = Instant.never
  private var delayed = Moment(at: Instant(nanoseconds: 0), wallNanoseconds: 0)
  private var button: ButtonEvents?
  private var eventText: TextBuffer

  /// The level is compared with the edges this often: Raspberry Pis lose edges that are close together.
  public static var auditNanoseconds: Int64 { 1_000_000_000 }
  /// The time that a level without an edge must last to count as a missed edge.
  public static var suspectNanoseconds: Int64 { 10_000_000 }
  /// A line without edges is read this often.
  public static var pollNanoseconds: Int64 { 20_000_000 }

  init(
    settings: InputSettings, lineIndex: Int, stateTopic: Bytes, eventTopic: Bytes, eventText: TextBuffer,
    fault: FaultReport
  ) {
    self.lineIndex = lineIndex
    self.stateTopic = stateTopic
    self.eventTopic = eventTopic
    self.eventText = eventText
    self.fault = fault
    self.settings = Debounce(settings.debounceMode, periodNanoseconds: Int64(settings.debounceMicroseconds) * 1000)
    debounce = self.settings
    onDelayNanoseconds = settings.onDelayNanoseconds
    offDelayNanoseconds = settings.offDelayNanoseconds
    button = settings.events.map { ButtonEvents($0) }
  }

  /// Why the line is faulted; empty when it is not.
  public var faultText: Bytes { state == .faulted ? fault.text.bytes : .empty }
  public var isActive: Bool? {
    if case .known(let active) = state { return active }
    return nil
  }

  // MARK: Edges

  public mutating func edgeReceived(_ edge: LineEdge) -> TapUpdate {
    if state == .faulted {  // left over from the request that ended
      lostCount &+= 1
      return .none
    }
    var missed = numbers.missed(before: edge.sequence)
    // Two equal edges in a row: the one between was missed, unless the level was read in between.
    if state != .waiting, debounce.line == edge.isRising, missed == 0, !levelIsFromRead { missed = 1 }
    lostCount &+= UInt64(missed)
    if missed > 0 || edge.sequence == nil {
      needsResync = true
      levelDueAt = edge.moment.at
    }
    levelIsFromRead = false
    isSuspect = false
    return lineChanged(edge)
  }

  private mutating func lineChanged(_ edge: LineEdge) -> TapUpdate {
    if state == .waiting { return levelKnown(edge) }
    guard let counting = debounce.edge(edge) else { return .none }
    return levelChanged(counting)
  }

  // MARK: The level

  /// Whether the level is to be read: after a loss, at the end of a bounce, once a second, or because the line has no
  /// edges. All edges that wait are to be taken before.
  public func levelIsDue(at now: Instant) -> Bool { levelDueAt <= now }

  /// The level as it is now. A level that no edge explains is a missed edge, if it lasts; a loss is published now
  /// if no edge has done so.
  public mutating func levelRead(active: Bool, at moment: Moment) -> TapUpdate {
    let edge = LineEdge(at: moment, isRising: active, sequence: nil)
    if state == .faulted { return .none }
    if state == .waiting { return levelKnown(edge) }
    levelDueAt = moment.at.adding(nanoseconds: isPolled ? InputTap.pollNanoseconds : InputTap.auditNanoseconds)
    let isExplained = isPolled || needsResync || debounce.line == active
    if !isExplained, !isSuspect {
      isSuspect = true
      levelDueAt = moment.at.adding(nanoseconds: InputTap.suspectNanoseconds)
      return .none
    }
    if !isExplained { lostCount &+= 1 }
    needsResync = false
    isSuspect = false
    levelIsFromRead = !isPolled
    let update = debounce.line == active ? .none : lineChanged(edge)
    // With a debounce edges are missed in every bounce; the next state says how many.
    if update.state != nil || lostCount == publishedLostCount || settings.periodNanoseconds > 0 { return update }
    var told = stateUpdate(at: moment, mustPublish: true)
    told.event = update.event
    return told
  }

  /// The line cannot be requested or read; `reason` is for people. The last state stays on the state topic.
  public mutating func lineFailed(_ reason: Bytes, wallNanoseconds: Int64) -> TapUpdate {
    state = .faulted
    needsResync = false
    levelDueAt = .never
    delayDeadline = .never
    debounce.reset(debounce.line)
    button?.reset()
    return TapUpdate(fault: fault.raise(reason, wallNanoseconds: wallNanoseconds))
  }

  /// The line was requested, at start or after a fault, and has this level. Its edges are counted from 1.
  /// - Parameters:
  ///   - isDebounced: the kernel does the debounce.
  ///   - isPolled: the line has no edges; its level is read again and again.
  public mutating func lineHealed(
    active: Bool, isDebounced: Bool = false, isPolled: Bool = false, at moment: Moment
  ) -> TapUpdate {
    numbers.restart()
    debounce = isDebounced ? Debounce(.settle, periodNanoseconds: 0) : settings
    self.isPolled = isPolled
    return levelKnown(LineEdge(at: moment, isRising: active, sequence: nil))
  }

  /// Counts at once: what a line had at start was there before.
  private mutating func levelKnown(_ edge: LineEdge) -> TapUpdate {
    needsResync = false
    isSuspect = false
    levelIsFromRead = true
    let interval = isPolled ? InputTap.pollNanoseconds : InputTap.auditNanoseconds
    levelDueAt = edge.moment.at.adding(nanoseconds: interval)
    debounce.reset(edge.isRising)
    delayDeadline = .never
    button?.reset()
    state = .known(active: edge.isRising)
    return stateUpdate(at: edge.moment, edge.sequence, mustPublish: lostCount != publishedLostCount)
  }

  // MARK: Time

  /// The earliest moment at which `advance` has something to do or the level is to be read.
  public var nextDeadline: Instant { min(timerDeadline, levelDueAt) }

  private var timerDeadline: Instant {
    min(debounce.deadline, decided(delayDeadline), buttonDeadline)
  }

  private var buttonDeadline: Instant {
    guard let button else { return .never }
    return button.hasPending ? Instant(nanoseconds: 0) : decided(button.deadline)
  }

  /// While the debounce has not decided, what its end may call off has to wait.
  private func decided(_ deadline: Instant) -> Instant {
    deadline != .never && debounce.isUndecided ? max(deadline, debounce.deadline) : deadline
  }

  /// Does the next thing that is due up to `now`; call until nil. Its messages bear the times of their deadlines.
  public mutating func advance(to now: Instant) -> TapUpdate? {
    while timerDeadline <= now {
      let update = timerPassed(at: now)
      if update.state != nil || update.event != nil { return update }
    }
    return nil
  }

  private mutating func timerPassed(at now: Instant) -> TapUpdate {
    if button?.hasPending == true { return TapUpdate(event: tell(button?.takePending())) }
    if debounce.deadline <= min(decided(delayDeadline), buttonDeadline) {
      // However the line bounced, at the end of it its level is looked at.
      levelDueAt = debounce.deadline
      guard let counting = debounce.advance(to: now) else { return .none }
      return levelChanged(counting)
    }
    if buttonDeadline <= decided(delayDeadline) {
      return TapUpdate(event: tell(button?.deadlinePassed()))
    }
    delayDeadline = .never
    state = .known(active: debounce.level)
    return stateUpdate(at: delayed, mustPublish: false)
  }

  // MARK: State and events

  private mutating func levelChanged(_ edge: LineEdge) -> TapUpdate {
    let event = tell(button?.levelChanged(edge.isRising, at: edge.moment))
    var update = stateFollows(edge)
    update.event = event
    return update
  }

  private mutating func stateFollows(_ edge: LineEdge) -> TapUpdate {
    delayDeadline = .never
    if state == .known(active: edge.isRising) { return .none }
    let delay = edge.isRising ? onDelayNanoseconds : offDelayNanoseconds
    guard delay == 0 else {
      delayed = edge.moment.adding(nanoseconds: delay)
      delayDeadline = delayed.at
      return .none
    }
    state = .known(active: edge.isRising)
    return stateUpdate(at: edge.moment, edge.sequence, mustPublish: false)
  }

  private mutating func stateUpdate(at moment: Moment, _ sequence: UInt32? = nil, mustPublish: Bool) -> TapUpdate {
    let cleared = fault.clear(wallNanoseconds: moment.wallNanoseconds)
    guard case .known(let active) = state else { return TapUpdate(fault: cleared) }
    guard published != active || cleared != nil || mustPublish else { return .none }
    published = active
    publishedLostCount = lostCount
    return TapUpdate(
      state: Publication(
        topic: stateTopic, payload: StateText.bytes(active: active), wallNanoseconds: moment.wallNanoseconds,
        sequence: sequence, lostCount: lostCount),
      fault: cleared)
  }

  private mutating func tell(_ event: ButtonEvent?) -> Publication? {
    guard let event else { return nil }
    eventText.write { event.write(into: &$0) }
    return Publication(
      topic: eventTopic, payload: eventText.bytes, wallNanoseconds: event.wallNanoseconds, retain: false, isJSON: true)
  }
}
