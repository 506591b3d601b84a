import Bounded

// What the configuration says about outputs and their groups. Times are nanoseconds; 0 is none.

/// The level that an output has from its request on.
public enum OutputInitial: UInt8, BitwiseCopyable, Sendable {
  case off
  case on
  /// What the line has already, so that a restart of the daemon changes nothing.
  case keep
  /// What it had when the daemon ended, from disk; off when that is not known.
  case restore
}

/// What a timed set or a pulse does while the timer of another one runs.
public enum OutputRetrigger: UInt8, BitwiseCopyable, Sendable {
  /// The time begins again.
  case retrigger
  /// Nothing, until the first one is over.
  case ignore
  /// The new time is added, if it asks for the same level; else as `retrigger`.
  case extend
}

/// What becomes of an output when the daemon ends in order.
public enum OutputExit: UInt8, BitwiseCopyable, Sendable {
  case safe
  case keep
  /// The line becomes an input.
  case release
}

/// Binds an output to the connection of a client: when it is lost for longer than `graceNanoseconds`, the output gets
/// `isActiveWhenLost`; while it stays away nobody's command lasts longer than that either.
public struct OutputLease: Sendable {
  /// The client identifier.
  public var client: [UInt8]
  public var graceNanoseconds: Int64
  public var isActiveWhenLost = false
  /// Longest keep alive with which the client holds the lease, in seconds; nil: it holds it with any, and without one.
  public var keepAliveSecondsMax: UInt16?

  public init(client: [UInt8], graceNanoseconds: Int64) {
    self.client = client
    self.graceNanoseconds = graceNanoseconds
  }
}

public struct OutputSettings: Sendable {
  public var name: [UInt8]
  public var pin: LineAddress
  public var active = LineActive.high
  public var drive = LineDrive.pushPull
  public var initial = OutputInitial.off
  /// The length of a pulse whose message names none.
  public var pulseNanoseconds: Int64 = 0
  public var retrigger = OutputRetrigger.retrigger
  /// The output is switched off when it has been on for this long, whatever commands came in between.
  public var maxOnNanoseconds: Int64 = 0
  /// How long it stays on, and off, at least. If the last change is unknown at start, the time counts from the start.
  public var minOnNanoseconds: Int64 = 0
  public var minOffNanoseconds: Int64 = 0
  /// The level at the end, for `onExit` and for whoever cleans up after a crash.
  public var isSafeActive = false
  public var onExit = OutputExit.safe
  /// A group's place in `TapSettings.groups`.
  public var group: Int?
  public var lease: OutputLease?
  /// Publishes `<base>/<tap>/stats`.
  public var hasStats = false

  /// 30 days, for times that a relay or a compressor needs.
  public static var nanosecondsMax: Int64 { 2_592_000_000_000_000 }

  public init(name: [UInt8], pin: LineAddress) {
    self.name = name
    self.pin = pin
  }
}

/// Outputs of which at most one may be on.
public struct OutputGroupSettings: Sendable {
  public enum Mode: UInt8, Sendable {
    /// ON switches the others off first.
    case wait
    /// ON is refused while another one is on.
    case refuse
  }
  public var name: [UInt8]
  /// From the last OFF of one to the ON of another.
  public var deadTimeNanoseconds: Int64 = 0
  public var mode = Mode.wait

  /// So that what one command changes is bounded.
  public static var outputsMax: Int { 8 }

  public init(name: [UInt8]) { self.name = name }
}

// MARK: - What cannot be

extension OutputSettings {
  /// What is wrong besides name and pin, or nil.
  public func problem(_ groups: [OutputGroupSettings]) -> StaticString? {
    for time in [pulseNanoseconds, maxOnNanoseconds, minOnNanoseconds, minOffNanoseconds] {
      if time < 0 || time > OutputSettings.nanosecondsMax { return "a time must be at most 30d" }
    }
    if maxOnNanoseconds > 0, minOnNanoseconds > maxOnNanoseconds { return "min_on must be at most max_on" }
    if maxOnNanoseconds > 0, pulseNanoseconds > maxOnNanoseconds { return "pulse must be at most max_on" }
    if let lease {
      if lease.client.isEmpty { return "a lease needs the client's identifier" }
      if lease.graceNanoseconds < 0 || lease.graceNanoseconds > OutputSettings.nanosecondsMax {
        return "grace must be at most 30d"
      }
    }
    guard let group else { return nil }
    if group < 0 || group >= groups.count { return "there is no such group" }
    // Two of a group could be asked for at once, and nobody is there to wait for the dead time.
    if isSafeActive { return "an output of a group must have safe: off" }
    if let lease, lease.isActiveWhenLost { return "an output of a group must have on_lost: off" }
    return nil
  }
}

extension TapSettings {
  /// The first thing that is wrong with a group, or nil.
  public func groupProblem() -> TapProblem? {
    for (index, group) in groups.enumerated() {
      let place = TapProblem.Place.group(index)
      if let text = TapSettings.nameProblem(group.name) { return TapProblem(place: place, text: text) }
      for other in groups[..<index] where other.name == group.name {
        return TapProblem(place: place, text: "another group has this name")
      }
      if group.deadTimeNanoseconds < 0 || group.deadTimeNanoseconds > OutputSettings.nanosecondsMax {
        return TapProblem(place: place, text: "dead_time must be at most 30d")
      }
      var count = 0
      var onCount = 0
      for output in outputs where output.group == index {
        count += 1
        if output.initial == .on { onCount += 1 }
      }
      if count > OutputGroupSettings.outputsMax {
        return TapProblem(place: place, text: "a group has at most 8 outputs")
      }
      if onCount > 1 { return TapProblem(place: place, text: "one output of a group at most can have initial: on") }
    }
    return nil
  }
}
