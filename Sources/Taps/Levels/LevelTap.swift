public import Bounded
public import MQTTWire

/// What follows a command.
public enum LevelAction: BitwiseCopyable {
  /// Write this level, then tell the tap: `written`, or `failed`.
  case write(LevelSet)
  /// An empty retained message: it deletes and commands nothing.
  case nothing
  case refuse(ReasonCode, Bytes)
}

/// A level to be written, and what comes after it.
public struct LevelSet: BitwiseCopyable, Equatable {
  /// 0...10000.
  public var level: Int
  /// When the level becomes `restLevel`; `never`: it stays.
  public var restAt = Instant.never
  public var restLevel = 0

  public init(_ level: Int) { self.level = level }
}

/// What a timer wants: a level, and who is told to have caused it.
public struct LevelDue: BitwiseCopyable {
  public let level: Int
  public let by: Bytes
}

/// A PWM channel or an LED and its topics: percentages in, percentages out. What it drives is the last level that was
/// written; a fault keeps it, and it is driven again when the device is back. A fault does not stop the timers: what they
/// want then is what is driven when the device comes back.
public struct LevelTap: BitwiseCopyable {
  public enum State: BitwiseCopyable {
    /// Not written to yet.
    case opening
    case driven
    case faulted
  }
  public private(set) var state = State.opening
  public let stateTopic: Bytes
  public let commandTopic: Bytes
  /// What is driven, or will be: 0...10000.
  public private(set) var level: Int
  /// When a faulted one is to be tried again.
  public private(set) var retryAt: Instant
  /// Commands that were refused.
  public private(set) var refusedCount: UInt64 = 0
  private let scale: LevelScale
  private let isRestored: Bool
  private var levelWhenOn: Int
  private let maxOnNanoseconds: Int64
  private let levelWhenLost: Int
  private var fault: FaultReport

  // The timers, `never` when they do not run
  /// The end of a timed set; then the level becomes `restLevel`.
  private var restAt = Instant.never
  private var restLevel = 0
  private var maxOnAt = Instant.never
  private var leaseWatch: LeaseWatch

  private var payload: TextBuffer

  static var payloadBytesMax: Int { 8 }
  public static var retrySeconds: Int64 { 5 }

  init(
    settings: LevelSettings, stateTopic: Bytes, commandTopic: Bytes, fault: FaultReport, payload: TextBuffer,
    at now: Instant
  ) {
    self.stateTopic = stateTopic
    self.commandTopic = commandTopic
    self.fault = fault
    self.payload = payload
    level = settings.initial
    levelWhenOn = settings.initial > 0 ? settings.initial : LevelSettings.levelMax
    scale = settings.scale
    isRestored = settings.isRestored
    maxOnNanoseconds = settings.maxOnNanoseconds
    levelWhenLost = settings.lease?.levelWhenLost ?? 0
    leaseWatch = LeaseWatch(graceNanoseconds: settings.lease?.graceNanoseconds, at: now)
    retryAt = now
  }

  public var faultTopic: Bytes { fault.topic }
  /// Why the tap is faulted; empty when it is not.
  public var faultText: Bytes { state == .faulted ? fault.text.bytes : .empty }
  /// In 2^-32 of the full power.
  public func share(of level: Int) -> UInt64 { scale.share(of: level) }

  /// Takes the level that the last run left, for `initial: restore`. Call before the device is opened.
  mutating func restore(level: Int) {
    guard isRestored else { return }
    self.level = level
    if level > 0 { levelWhenOn = level }
  }

  /// The level with which the next run begins. During a timed set it is the level after it, since nothing would end the
  /// set.
  var savedLevel: Int { restAt == .never ? level : restLevel }

  /// A message on `<tap>/set`. Retained or not, who forwards it does not store it.
  public mutating func commandReceived(_ payload: Bytes, isRetained: Bool, at now: Instant) -> LevelAction {
    if payload.isEmpty, isRetained { return .nothing }
    let command: LevelCommand
    do throws(LevelCommandError) {
      command = try LevelCommand(payload)
    } catch {
      refusedCount &+= 1
      return .refuse(.payloadFormatInvalid, Bytes(error.text))
    }
    return perform(command, at: now)
  }

  /// A client's wish, or a rule's.
  public mutating func perform(_ command: LevelCommand, at now: Instant) -> LevelAction {
    switch state {
    case .opening: return refuse(Bytes("device is not opened yet"))
    case .faulted: return refuse(fault.text.bytes)
    case .driven: break
    }
    var set: LevelSet
    switch command.wish {
    case .level(let level): set = LevelSet(level)
    case .on: set = LevelSet(level > 0 ? level : levelWhenOn)
    case .off: set = LevelSet(0)
    case .toggle: set = LevelSet(level > 0 ? 0 : levelWhenOn)
    }
    if let length = command.forNanoseconds {
      set.restAt = now.adding(nanoseconds: length)
      // While a timer runs the level after it is settled, so that overlapping timed sets end as the first one would have.
      set.restLevel = restAt != .never ? restLevel : set.level == 0 ? level : 0
    }
    return .write(set)
  }

  private mutating func refuse(_ text: Bytes) -> LevelAction {
    refusedCount &+= 1
    return .refuse(.implementationSpecificError, text)
  }

  /// The level is driven, and its timers run. `by`: a client identifier, a rule, `safe`, `timer`, `lease`, or nobody.
  public mutating func written(_ set: LevelSet, by: Bytes, at moment: Moment) -> TapUpdate {
    state = .driven
    retryAt = .never
    level = set.level
    restAt = set.restAt
    restLevel = set.restLevel
    if level > 0 { levelWhenOn = level }
    watch(at: moment.at)
    payload.write { LevelTap.write(level, into: &$0) }
    return TapUpdate(
      state: stateNow(by: by, wallNanoseconds: moment.wallNanoseconds),
      fault: fault.clear(wallNanoseconds: moment.wallNanoseconds))
  }

  /// The device is back, at start or after a fault, and drives what the tap has; a timed set goes on.
  public mutating func opened(at moment: Moment) -> TapUpdate { written(current, by: .empty, at: moment) }

  private var current: LevelSet {
    var set = LevelSet(level)
    set.restAt = restAt
    set.restLevel = restLevel
    return set
  }

  private mutating func watch(at now: Instant) {
    if level == 0 {
      maxOnAt = .never
    } else if maxOnAt == .never, maxOnNanoseconds > 0 {
      maxOnAt = now.adding(nanoseconds: maxOnNanoseconds)
    }
    if level != levelWhenLost { leaseWatch.start(at: now) }
  }

  /// The level that was written last; `by` caused it.
  func stateNow(by: Bytes, wallNanoseconds: Int64) -> Publication {
    Publication(topic: stateTopic, payload: payload.bytes, wallNanoseconds: wallNanoseconds, by: by)
  }

  func faultNow(wallNanoseconds: Int64) -> Publication { fault.now(wallNanoseconds: wallNanoseconds) }

  /// The device does not do it; `reason` is for people. It is tried again, with the level that it should have.
  public mutating func failed(_ reason: Bytes, at moment: Moment) -> TapUpdate {
    state = .faulted
    retryAt = moment.at.adding(seconds: LevelTap.retrySeconds)
    return TapUpdate(fault: fault.raise(reason, wallNanoseconds: moment.wallNanoseconds))
  }

  // MARK: Timers

  /// When `due` has something to do, or the device is to be tried again.
  public var nextDeadline: Instant { .earliest(restAt, maxOnAt, leaseWatch.deadline, retryAt) }

  /// What a timer wants whose deadline is not after `now`, nil when none does; call until nil. It is the level to drive from
  /// now on, when the device is there: its write may fail, and the timer does not come again.
  public mutating func due(at now: Instant) -> LevelDue? {
    while let due = nextDue(at: now) {
      level = due.level
      if state == .driven { return due }
    }
    return nil
  }

  private mutating func nextDue(at now: Instant) -> LevelDue? {
    if maxOnAt <= now {
      maxOnAt = .never
      restAt = .never
      return LevelDue(level: 0, by: Bytes("timer"))
    }
    if leaseWatch.takeDue(at: now) {
      // A timed set must not bring back what the lease has ended.
      if restLevel != levelWhenLost { restAt = .never }
      if level != levelWhenLost { return LevelDue(level: levelWhenLost, by: Bytes("lease")) }
    }
    if restAt <= now {
      restAt = .never
      return LevelDue(level: restLevel, by: Bytes("timer"))
    }
    return nil
  }

  mutating func clientConnected() { leaseWatch.clientConnected() }

  mutating func clientLost(at now: Instant) {
    leaseWatch.clientLost()
    if level != levelWhenLost { leaseWatch.start(at: now) }
  }

  /// An attempt is under way.
  public mutating func tried() { retryAt = .never }

  /// `35`, `35.5`, `0.01`: no more decimals than it needs.
  static func write(_ level: Int, into writer: inout ByteWriter) {
    let digits = level % 100 == 0 ? 0 : level % 10 == 0 ? 1 : 2
    PlainDecimal.write(steps: Int64(level / (digits == 0 ? 100 : digits == 1 ? 10 : 1)), digits: digits, into: &writer)
  }

  /// The answer on a command's Response Topic: `{"ok":true,"state":"ON","brightness":35}`.
  public func writeAnswer(into writer: inout ByteWriter) {
    writer.write(
      level > 0 ? "{\"ok\":true,\"state\":\"ON\",\"brightness\":" : "{\"ok\":true,\"state\":\"OFF\",\"brightness\":")
    LevelTap.write(level, into: &writer)
    writer.write("}")
  }
}
