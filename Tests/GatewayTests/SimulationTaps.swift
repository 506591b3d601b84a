import Bounded
import Taps

/// What the simulation knows of one output, from docs/configuration.md: what it has, and what will change it by itself.
struct ModelOutput {
  /// What comes after a timed command.
  struct End {
    var at: Instant
    let isOn: Bool
  }
  /// An ON that waits for its group's dead time.
  struct Rise {
    var at: Instant
    let nanoseconds: Int64?
    let by: String
  }

  let settings: OutputSettings
  /// What the line has, or had when it was lost.
  var isOn = false
  /// Since when.
  var since: Instant
  var isFaulted = false
  /// What the line is requested with when it is back.
  var wanted = false
  var end: End?
  var rise: Rise?
  /// When max_on ends it.
  var limit: Instant?
  /// When the grace time ends.
  var graceEnd: Instant?
  var isHolderHere = false
  /// What stands on the fault topic; empty: nothing.
  var fault = ""

  init(_ settings: OutputSettings, at now: Instant) {
    self.settings = settings
    since = now
    wanted = settings.initial == .on
    if let lease = settings.lease { graceEnd = now.adding(nanoseconds: lease.graceNanoseconds) }
  }

  var isOnWhenLost: Bool { settings.lease?.isActiveWhenLost ?? false }

  /// Nobody's command lasts longer than the grace time while the holder is away.
  mutating func watchHolder(at now: Instant) {
    guard let lease = settings.lease, !isHolderHere, isOn != isOnWhenLost, graceEnd == nil else { return }
    graceEnd = now.adding(nanoseconds: lease.graceNanoseconds)
  }

  /// The line has this level now; what else was to come stays, or is `end`.
  mutating func has(_ level: Bool, end: End?, at now: Instant) {
    if level != isOn { since = now }
    isOn = level
    wanted = level
    isFaulted = false
    rise = nil
    self.end = end
    if let end {  // not before the level may change again
      let least = since.adding(nanoseconds: end.isOn ? settings.minOffNanoseconds : settings.minOnNanoseconds)
      self.end?.at = max(end.at, least)
    }
    if !level {
      limit = nil
    } else if limit == nil, settings.maxOnNanoseconds > 0 {
      limit = now.adding(nanoseconds: settings.maxOnNanoseconds)
    }
    watchHolder(at: now)
  }

  /// What is due first of what the output has to do by itself; `nil`: nothing.
  mutating func takeDue(at now: Instant) -> (isOn: Bool, by: String, nanoseconds: Int64?)? {
    if let at = limit, at <= now {
      limit = nil
      end = nil
      wanted = false
      return (false, "timer", nil)
    }
    if let at = graceEnd, at <= now {
      graceEnd = nil
      rise = nil
      if end?.isOn != isOnWhenLost { end = nil }
      if !isFaulted, isOn == isOnWhenLost { return takeDue(at: now) }
      wanted = isOnWhenLost
      return (wanted, "lease", nil)
    }
    if let last = end, last.at <= now {
      end = nil
      wanted = last.isOn
      return (last.isOn, "timer", nil)
    }
    if let due = rise, due.at <= now {
      rise = nil
      return (true, due.by, due.nanoseconds)
    }
    return nil
  }
}

/// The same of a PWM channel or an LED.
struct ModelLevel {
  struct End {
    let at: Instant
    let level: Int
  }

  let settings: LevelSettings
  /// What it has, or is to have when its driver is back.
  var level: Int
  var last: Int
  /// Its driver is not there, as it is before it has been opened.
  var isFaulted = true
  var end: End?
  var limit: Instant?
  var graceEnd: Instant?
  var isHolderHere = false
  /// When the driver is to be tried again.
  var retryAt: Instant?
  /// What stands on the state topic and on the fault topic.
  var state = ""
  var fault = ""

  init(_ settings: LevelSettings, at now: Instant) {
    self.settings = settings
    level = settings.initial
    last = settings.initial > 0 ? settings.initial : 10_000
    if let lease = settings.lease { graceEnd = now.adding(nanoseconds: lease.graceNanoseconds) }
    retryAt = now
  }

  /// `levelWhenLost` of no lease is never asked for.
  var levelWhenLost: Int { settings.lease?.levelWhenLost ?? 0 }

  mutating func watchHolder(at now: Instant) {
    guard let lease = settings.lease, !isHolderHere, level != levelWhenLost, graceEnd == nil else { return }
    graceEnd = now.adding(nanoseconds: lease.graceNanoseconds)
  }

  mutating func has(_ level: Int, end: End?, at now: Instant) {
    self.level = level
    self.end = end
    isFaulted = false
    retryAt = nil
    if level > 0 { last = level }
    if level == 0 {
      limit = nil
    } else if limit == nil, settings.maxOnNanoseconds > 0 {
      limit = now.adding(nanoseconds: settings.maxOnNanoseconds)
    }
    watchHolder(at: now)
    state = ModelLevel.text(level)
  }

  static func text(_ level: Int) -> String {
    let (whole, rest) = (level / 100, level % 100)
    if rest == 0 { return "\(whole)" }
    return rest % 10 == 0 ? "\(whole).\(rest / 10)" : "\(whole).\(rest < 10 ? "0" : "")\(rest)"
  }

  /// One after the other; what a driver that is not there is to do is remembered as the level to have.
  mutating func takeDue(at now: Instant) -> (level: Int, by: String)? {
    while true {
      var due: (level: Int, by: String)?
      if let at = limit, at <= now {
        limit = nil
        end = nil
        due = (0, "timer")
      } else if let at = graceEnd, at <= now {
        graceEnd = nil
        if end?.level != levelWhenLost { end = nil }
        if level == levelWhenLost { continue }
        due = (levelWhenLost, "lease")
      } else if let last = end, last.at <= now {
        end = nil
        due = (last.level, "timer")
      }
      guard let due else { return nil }
      level = due.level
      if !isFaulted { return due }
    }
  }
}

/// The same of a rule: a topic, how its payload is compared, and what is to be done.
struct ModelRule {
  enum Comparison {
    case any
    case equals(String)
    /// At least this, until it is below the second.
    case reaches(Int, rearm: Int)
  }
  enum Action {
    case output(Int, OutputCommand)
    case level(Int, LevelCommand)
  }

  let name: String
  let topic: String
  let comparison: Comparison
  var isEvery = false
  var forNanoseconds: Int64 = 0
  var actions: [Action] = []
  /// `payload` nil: that of the message.
  var message: (topic: String, payload: String?)?

  /// nil: nothing was heard yet.
  var holds: Bool?
  var deadline: Instant?

  /// The settings that make the gateway do the same.
  var settings: RuleSettings {
    var text = topic
    switch comparison {
    case .any: break
    case .equals(let value): text += " == " + value
    case .reaches(let value, _): text += " >= \(value)"
    }
    var settings = rule(name, text, publish: message?.topic, payload: message?.payload)
    settings.isEvery = isEvery
    settings.forNanoseconds = forNanoseconds
    if case .reaches(let value, let rearm) = comparison {
      settings.hysteresis = PlainDecimal(mantissa: Int64(value - rearm), places: 0)
    }
    settings.actions = actions.map { action in
      switch action {
      case .output(let index, let command): .output(index, command)
      case .level(let index, let command): .level(index, command)
      }
    }
    return settings
  }

  private var toggles: Bool {
    actions.contains { action in
      switch action {
      case .output(_, let command): command.level == .toggle
      case .level(_, let command): command.wish == .toggle
      }
    }
  }

  /// Whether it fires on this message.
  /// - Parameter isNews: of a client, or because of another rule.
  mutating func hears(_ payload: String, isNews: Bool, at now: Instant) -> Bool {
    let before = holds
    switch comparison {
    case .any: return true
    case .equals(let value): holds = payload == value
    case .reaches(let value, let rearm):
      // Payloads are decimals with one place at most.
      let tenths = ModelRule.tenths(payload)
      holds = tenths.map { $0 >= (before == true ? rearm : value) * 10 } ?? false
    }
    guard holds == true else {
      deadline = nil
      return false
    }
    if isEvery { return true }
    if before == true || before == nil && toggles && !isNews { return false }
    if forNanoseconds == 0 { return true }
    deadline = now.adding(nanoseconds: forNanoseconds)
    return false
  }

  /// 125 of `12.5`; nil for what is no such number.
  static func tenths(_ text: String) -> Int? {
    let parts = text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    guard parts.count <= 2, let whole = Int(String(parts[0]) ?? "") else { return nil }
    guard parts.count == 2 else { return whole * 10 }
    return Int(String(parts[1]) ?? "").map { whole * 10 + $0 }
  }
}
