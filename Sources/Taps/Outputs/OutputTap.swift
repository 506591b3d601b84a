public import Bounded
import MQTTWire

/// An output line, its topics and its timers: what it has, since when, and until when.
///
///     waiting ──lineHealed──▶ driven ──lineFailed──▶ faulted
///        └─────lineFailed──────────────────────────▶   └──lineHealed──▶ driven
///
/// It decides nothing about other outputs: commands go to the table (see `OutputTable`), which knows the groups.
/// A fault does not stop the timers: what they want then is what the line is requested with when it comes back.
///
/// It has more than twenty properties: five topics, and the instants and values of five timers that run independently.
/// All of them end in the level of one line, so they are decided in one place.
public struct OutputTap: BitwiseCopyable {
  public enum State: BitwiseCopyable, Equatable {
    /// The line was not requested yet.
    case waiting
    case driven(active: Bool)
    case faulted
  }
  public private(set) var state = State.waiting
  /// The line's place among all lines: outputs first, then inputs.
  public let lineIndex: Int
  public let stateTopic: Bytes
  public let commandTopic: Bytes
  public let pulseTopic: Bytes
  public let offPulseTopic: Bytes
  /// Empty without `stats`.
  public let statsTopic: Bytes
  public var faultTopic: Bytes { fault.topic }
  /// The state with which the line is to be requested again after a fault: what it had last, or what a timer has wanted
  /// since.
  public private(set) var requestedActive: Bool
  public internal(set) var refusedCount: UInt64 = 0
  /// Deadlines that were met more than `lateNanoseconds` too late.
  public private(set) var lateCount: UInt64 = 0
  public static var lateNanoseconds: Int64 { 10_000_000 }

  let rules: OutputRules
  private var fault: FaultReport
  private var restoredActive: Bool?

  // The level
  /// What the line had when it was last known: a line whose OFF failed may still be on.
  private(set) var lineActive = false
  /// When the level last changed, or was first known.
  private(set) var changedAt = Instant(nanoseconds: 0)

  // The timers, `never` when they do not run
  /// The end of a timed set; then the line gets `restActive`.
  private(set) var restAt = Instant.never
  private(set) var restActive = false
  private var maxOnAt = Instant.never
  /// The end of the group's dead time; then the line goes on.
  private var delayedAt = Instant.never
  private var delayedNanoseconds: Int64?
  private var delayedBy: TextBuffer?
  private var leaseWatch: LeaseWatch

  // The figures
  /// Times that it went on.
  public private(set) var cycleCount: UInt64 = 0
  private var onNanoseconds: UInt64 = 0
  private var onSince = Instant.never
  private var statsAt = Instant.never
  private var nextStatsAt = Instant(nanoseconds: 0)

  init(
    lineIndex: Int, settings: OutputSettings, groups: [OutputGroupSettings], topics: OutputTopics, fault: FaultReport,
    delayedBy: TextBuffer?, at now: Instant
  ) {
    self.lineIndex = lineIndex
    stateTopic = topics.state
    commandTopic = topics.command
    pulseTopic = topics.pulse
    offPulseTopic = topics.offPulse
    statsTopic = topics.stats
    rules = OutputRules(settings, groups: groups)
    requestedActive = settings.initial == .on
    self.fault = fault
    self.delayedBy = delayedBy
    leaseWatch = LeaseWatch(graceNanoseconds: settings.lease?.graceNanoseconds, at: now)
  }

  /// Why the line is faulted; empty when it is not.
  public var faultText: Bytes { state == .faulted ? fault.text.bytes : .empty }

  /// When `due` has something to do, or the figures are to be published.
  public var nextDeadline: Instant { min(timerDeadline, statsAt) }
  var timerDeadline: Instant { .earliest(restAt, maxOnAt, delayedAt, leaseWatch.deadline) }

  /// A timed set runs.
  var isTimed: Bool { restAt != .never }
  /// It waits for its group's dead time.
  var isDelayed: Bool { delayedAt != .never }
  /// The state that TOGGLE inverts.
  var isMeantActive: Bool { isDelayed || lineActive }

  /// Milliseconds that it has been on in all.
  public func onMilliseconds(at now: Instant) -> UInt64 {
    let running = onSince == .never ? 0 : max(now.since(onSince), 0).magnitude
    return (onNanoseconds &+ running) / 1_000_000
  }

  // MARK: The line

  /// The level for the line's first request, by `initial`: `found` is what the line has (`keep`) or what was stored
  /// (`restore`), nil when that is not known.
  mutating func start(found: Bool?) {
    precondition(state == .waiting)
    switch rules.initial {
    case .off: requestedActive = false
    case .on: requestedActive = true
    case .keep: requestedActive = found ?? false
    case .restore: requestedActive = found ?? restoredActive ?? false
    }
  }

  /// Takes the state that the last run left, for `initial: restore`.
  mutating func restoreLevel(active: Bool) { restoredActive = active }

  /// The state that `initial: restore` brings back. During a timed set it is the state after it, since nothing would
  /// end the set.
  var savedActive: Bool { isTimed ? restActive : requestedActive }

  mutating func forbidRequestedActive() { requestedActive = false }

  mutating func lineSet(_ set: LineSet, at moment: Moment) -> TapUpdate {
    if set.active, !lineActive { cycleCount &+= 1 }
    restActive = set.restActive
    restAt = set.restAt
    delayedAt = .never
    return have(active: set.active, by: set.by, at: moment)
  }

  /// The line was requested, at start or after a fault, and has this level.
  mutating func lineHealed(active: Bool, at moment: Moment) -> TapUpdate {
    if state == .waiting {
      changedAt = moment.at
      if active, rules.initial != .keep { cycleCount &+= 1 }
    }
    return have(active: active, by: .empty, at: moment)
  }

  /// Published even if it had it before: that is how a client of MQTT 3.1.1 learns that its command was carried out.
  private mutating func have(active: Bool, by: Bytes, at moment: Moment) -> TapUpdate {
    let now = moment.at
    stopCountingOn(at: now)
    if active != lineActive { changedAt = now }
    state = .driven(active: active)
    lineActive = active
    requestedActive = active
    if active {
      onSince = now
      if maxOnAt == .never, rules.maxOnNanoseconds > 0 { maxOnAt = now.adding(nanoseconds: rules.maxOnNanoseconds) }
    } else {
      maxOnAt = .never
    }
    if restAt != .never {
      let least = restActive ? rules.minOffNanoseconds : rules.minOnNanoseconds
      restAt = max(restAt, changedAt.adding(nanoseconds: least))
    }
    watchLease(at: now)
    if !statsTopic.isEmpty { statsAt = max(now, nextStatsAt) }
    let cleared = fault.clear(wallNanoseconds: moment.wallNanoseconds)
    return TapUpdate(state: stateNow(by: by, wallNanoseconds: moment.wallNanoseconds), fault: cleared)
  }

  /// The state that the line has now, or had when it was last known; `by` caused it.
  func stateNow(by: Bytes, wallNanoseconds: Int64) -> Publication {
    Publication(
      topic: stateTopic, payload: StateText.bytes(active: lineActive), wallNanoseconds: wallNanoseconds, by: by)
  }

  func faultNow(wallNanoseconds: Int64) -> Publication { fault.now(wallNanoseconds: wallNanoseconds) }

  /// The last state stays on the state topic.
  mutating func lineFailed(_ reason: Bytes, at moment: Moment) -> TapUpdate {
    stopCountingOn(at: moment.at)
    state = .faulted
    delayedAt = .never
    return TapUpdate(fault: fault.raise(reason, wallNanoseconds: moment.wallNanoseconds))
  }

  private mutating func stopCountingOn(at now: Instant) {
    guard onSince != .never else { return }
    onNanoseconds &+= max(now.since(onSince), 0).magnitude
    onSince = .never
  }

  // MARK: Timers

  /// Goes on at `deadline`, by whom the buffer says.
  mutating func delay(until deadline: Instant, forNanoseconds: Int64?, by: Bytes) {
    restAt = .never
    delayedAt = deadline
    delayedNanoseconds = forNanoseconds
    _ = delayedBy?.replace(.empty, by)
  }

  mutating func delayLonger(until earliest: Instant) {
    if isDelayed { delayedAt = max(delayedAt, earliest) }
  }

  /// Cancels whatever would switch the line on by itself or after a fault, since another output of its group goes
  /// before it.
  mutating func cancelRise() {
    delayedAt = .never
    if restActive { restAt = .never }
    if !lineActive { requestedActive = false }
  }

  mutating func cancelDelay() { delayedAt = .never }

  /// What a timer wants whose deadline is not after `now`, nil when none does; call until nil.
  mutating func due(at now: Instant) -> OutputDue? {
    if maxOnAt <= now {
      countLate(maxOnAt, at: now)
      maxOnAt = .never
      restAt = .never
      return want(active: false, by: "timer")
    }
    if leaseWatch.takeDue(at: now), let lease = rules.lease {
      delayedAt = .never
      // A timed set must not bring back what the lease has ended.
      if restActive != lease.isActiveWhenLost { restAt = .never }
      if state == .driven(active: lease.isActiveWhenLost) { return due(at: now) }
      return want(active: lease.isActiveWhenLost, by: "lease")
    }
    if restAt <= now {
      countLate(restAt, at: now)
      restAt = .never
      return want(active: restActive, by: "timer")
    }
    if delayedAt <= now {
      countLate(delayedAt, at: now)
      delayedAt = .never
      guard case .driven = state else { return due(at: now) }
      return OutputDue(active: true, by: delayedBy?.bytes ?? .empty, forNanoseconds: delayedNanoseconds)
    }
    return nil
  }

  /// Without a line to set it is remembered for the next request.
  private mutating func want(active: Bool, by: StaticString) -> OutputDue {
    requestedActive = active
    return OutputDue(active: active, by: Bytes(by), forNanoseconds: nil)
  }

  private mutating func countLate(_ deadline: Instant, at now: Instant) {
    if now.since(deadline) > OutputTap.lateNanoseconds { lateCount &+= 1 }
  }

  // MARK: The lease

  mutating func clientConnected() { leaseWatch.clientConnected() }

  mutating func clientLost(at now: Instant) {
    leaseWatch.clientLost()
    watchLease(at: now)
  }

  private mutating func watchLease(at now: Instant) {
    guard let lease = rules.lease, lineActive != lease.isActiveWhenLost else { return }
    leaseWatch.start(at: now)
  }

  // MARK: Figures

  /// Takes the figures that the last run left.
  public mutating func restoreFigures(cycleCount: UInt64, onMilliseconds: UInt64) {
    self.cycleCount = cycleCount
    onNanoseconds = onMilliseconds.multipliedReportingOverflow(by: 1_000_000).partialValue
  }

  var statsDeadline: Instant { statsAt }

  /// They are being published: not again for a minute, and only if there is something new by then.
  mutating func statsTaken(at now: Instant) {
    nextStatsAt = now.adding(nanoseconds: 60_000_000_000)
    statsAt = onSince == .never ? .never : nextStatsAt
  }
}

/// What a timer of an output wants.
struct OutputDue: BitwiseCopyable {
  let active: Bool
  let by: Bytes
  let forNanoseconds: Int64?
}

/// The topics of an output, in the table's memory.
struct OutputTopics: BitwiseCopyable {
  let state: Bytes
  let command: Bytes
  let pulse: Bytes
  /// Empty where the layout has none.
  let offPulse: Bytes
  let stats: Bytes

  init(_ settings: OutputSettings, at index: Int, in table: TapTable, _ writer: inout ByteWriter) {
    let names = table.names(.output, settings.name, index)
    state = names.topic(.state, into: &writer)
    command = names.topic(.set, into: &writer)
    pulse = names.topic(.pulse, into: &writer)
    offPulse = names.topic(.offPulse, into: &writer)
    stats = settings.hasStats ? names.topic(.stats, into: &writer) : .empty
  }
}

/// What an output's settings say, without their texts.
struct OutputRules: BitwiseCopyable {
  struct Lease: BitwiseCopyable {
    let isActiveWhenLost: Bool
  }
  struct Group: BitwiseCopyable {
    let index: Int
    let deadTimeNanoseconds: Int64
    let refuses: Bool
  }
  let initial: OutputInitial
  let retrigger: OutputRetrigger
  let pulseNanoseconds: Int64
  let maxOnNanoseconds: Int64
  let minOnNanoseconds: Int64
  let minOffNanoseconds: Int64
  let group: Group?
  let lease: Lease?

  init(_ settings: OutputSettings, groups: [OutputGroupSettings]) {
    initial = settings.initial
    retrigger = settings.retrigger
    pulseNanoseconds = settings.pulseNanoseconds
    maxOnNanoseconds = settings.maxOnNanoseconds
    minOnNanoseconds = settings.minOnNanoseconds
    minOffNanoseconds = settings.minOffNanoseconds
    group = settings.group.map {
      Group(index: $0, deadTimeNanoseconds: groups[$0].deadTimeNanoseconds, refuses: groups[$0].mode == .refuse)
    }
    lease = settings.lease.map {
      Lease(isActiveWhenLost: $0.isActiveWhenLost)
    }
  }
}
