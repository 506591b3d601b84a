public import Bounded
import MQTTBroker
import MQTTWire
import Taps

/// What commands, rules, timers and the end make of lines and levels. A commanded tap's state waits until it is told: no
/// number of commands in one call of the broker can lose one.
extension Gateway {
  // MARK: Lines

  /// Sets lines in order; the output whose line failed, which ends it, or nil.
  func set(_ sets: LineSets, at now: Instant) -> Int? {
    for index in 0..<sets.count where !set(sets[index], at: now) { return sets[index].output }
    return nil
  }

  private func set(_ set: LineSet, at now: Instant) -> Bool {
    var reason = scratch.writer()
    let wall = board.wallNanoseconds
    guard board.set(line: taps.outputs[set.output].lineIndex, active: set.active, reason: &reason) else {
      let update = taps.lineFailed(output: set.output, reason.written, at: now, wallNanoseconds: wall)
      if update.fault != nil {  // once, not with every retry
        board.tell(.fault(tap: taps.settings.outputs[set.output].name, reason: reason.written))
      }
      taps.tellLater(.output(set.output), update)
      return false
    }
    board.tell(.switched(output: set.output, active: set.active, by: set.by))
    // The turn began a while ago, and some drivers take theirs: dead times count from the line.
    taps.tellLater(.output(set.output), taps.lineSet(set, at: board.now, wallNanoseconds: wall))
    board.stateChanged(at: now)
    return true
  }

  /// Timers that are due: ends of pulses, dead times, leases; and figures.
  func advanceOutputs(at now: Instant) {
    while let sets = taps.takeDueOutput(at: now) {
      _ = set(sets, at: now)
      settle(at: now)
    }
    while let stats = taps.takeDueStats(at: now, wallNanoseconds: board.wallNanoseconds) { publish(stats, at: now) }
  }

  // MARK: Levels

  /// Whether the driver has taken it.
  func write(_ set: LevelSet, level index: Int, by: Bytes, at now: Instant) -> Bool {
    var reason = scratch.writer()
    let isDone = board.write(level: index, share: taps.levels[index].share(of: set.level), reason: &reason)
    let wall = board.wallNanoseconds
    let update =
      isDone
      ? taps.levels[index].written(set, by: by, at: now, wallNanoseconds: wall)
      : fail(level: index, reason.written, at: now)
    taps.tellLater(.level(index), update)
    if isDone { board.stateChanged(at: now) }
    return isDone
  }

  private func fail(level index: Int, _ reason: Bytes, at now: Instant) -> TapUpdate {
    let update = taps.levels[index].failed(reason, at: now, wallNanoseconds: board.wallNanoseconds)
    if update.fault != nil {  // once, not with every retry
      board.tell(.fault(tap: taps.settings.levels[index].name, reason: reason))
    }
    return update
  }

  /// The board has opened the device, at start or after a fault, and it drives what the tap has.
  public func levelOpened(_ index: Int, at now: Instant) {
    publish(taps.levels[index].opened(at: now, wallNanoseconds: board.wallNanoseconds), at: now)
  }

  /// The device cannot be opened, or a write that had been given up has failed; `reason` is for people.
  public func levelFailed(_ index: Int, _ reason: Bytes, at now: Instant) {
    publish(fail(level: index, reason, at: now), at: now)
  }

  func advanceLevels(at now: Instant) {
    for index in 0..<taps.levels.count where taps.levels[index].nextDeadline <= now {
      while let due = taps.levels[index].due(at: now) {
        _ = write(LevelSet(due.level), level: index, by: due.by, at: now)
        settle(at: now)
      }
    }
  }

  // MARK: The end

  /// Gives each output and level its safe level, keeps what it has or lets it go, as `on_exit` says, and gives the lines
  /// back, so that nothing can set them any more. Call `beginEnd` before.
  public func leave(at now: Instant) {
    for output in 0..<taps.outputs.count {
      guard let last = taps.exitSet(output: output) else { continue }
      _ = set(last, at: now)
      settle(at: now)
    }
    for output in 0..<taps.outputs.count {
      if let stats = taps.stats(output: output, at: now, wallNanoseconds: board.wallNanoseconds) {
        publish(stats, at: now)
      }
      board.giveBack(
        line: taps.outputs[output].lineIndex, letsGo: taps.settings.outputs[output].onExit == .release)
    }
    leaveLevels(at: now)
  }

  private func leaveLevels(at now: Instant) {
    let settings = taps.settings.levels
    board.finishLevels { index in
      switch settings[index].onExit {
      case .keep: .keep
      case .safe: .share(taps.levels[index].share(of: settings[index].safe))
      case .release: .release
      }
    } ended: { index, isDone, reason in
      guard settings[index].onExit == .safe else { return }
      let update =
        isDone
        ? taps.levels[index].written(
          LevelSet(settings[index].safe), by: Bytes("safe"), at: now, wallNanoseconds: board.wallNanoseconds)
        : fail(level: index, reason, at: now)
      publish(update, at: now)
    }
  }
}
