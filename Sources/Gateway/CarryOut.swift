public import Bounded
import MQTTBroker
import MQTTWire
import Taps

/// Carries out on lines and levels what commands, rules, timers and the end ask for. A commanded tap's state waits
/// until it is told, so no number of commands in one call of the broker can lose one.
extension Gateway {
  // MARK: Lines

  /// Sets lines in order; the output whose line failed, which ends it, or nil.
  func set(_ sets: LineSets, at now: Instant) -> Int? {
    for index in 0..<sets.count where !set(sets[index], at: now) { return sets[index].output }
    return nil
  }

  private func set(_ set: LineSet, at now: Instant) -> Bool {
    var reason = scratch.writer()
    let isDone = board.set(line: taps.outputs[set.output].lineIndex, active: set.active, reason: &reason)
    // The turn began a while ago, and some drivers take theirs: dead times count from the line.
    let moment = board.moment
    guard isDone else {
      let update = taps.lineFailed(output: set.output, reason.written, at: moment)
      if update.fault != nil {  // once, not with every retry
        board.tell(.fault(tap: taps.settings.outputs[set.output].name, reason: reason.written))
      }
      taps.tellLater(.output(set.output), update)
      return false
    }
    board.tell(.switched(output: set.output, active: set.active, by: set.by))
    taps.tellLater(.output(set.output), taps.lineSet(set, at: moment))
    board.stateChanged(at: now)
    return true
  }

  /// Timers that are due: ends of pulses, dead times, leases; and figures.
  func advanceOutputs(at moment: Moment) {
    while let sets = taps.takeDueOutput(at: moment.at) {
      _ = set(sets, at: moment.at)
      settle(at: moment.at)
    }
    while let stats = taps.takeDueStats(at: moment) { publish(stats, at: moment.at) }
  }

  // MARK: Levels

  /// Whether the driver has taken it.
  func write(_ set: LevelSet, level index: Int, by: Bytes, at now: Instant) -> Bool {
    var reason = scratch.writer()
    let isDone = board.write(level: index, share: taps.levels[index].share(of: set.level), reason: &reason)
    // The timers of a level count from the turn's beginning.
    let moment = Moment(at: now, wallNanoseconds: board.moment.wallNanoseconds)
    let update =
      isDone
      ? taps.levels[index].written(set, by: by, at: moment)
      : fail(level: index, reason.written, at: moment)
    taps.tellLater(.level(index), update)
    if isDone { board.stateChanged(at: now) }
    return isDone
  }

  private func fail(level index: Int, _ reason: Bytes, at moment: Moment) -> TapUpdate {
    let update = taps.levels[index].failed(reason, at: moment)
    if update.fault != nil {  // once, not with every retry
      board.tell(.fault(tap: taps.settings.levels[index].name, reason: reason))
    }
    return update
  }

  /// The board has opened the device, at start or after a fault, and it drives what the tap has.
  public func levelOpened(_ index: Int, at moment: Moment) {
    publish(taps.levels[index].opened(at: moment), at: moment.at)
  }

  /// The device cannot be opened, or a write that had been given up has failed; `reason` is for people.
  public func levelFailed(_ index: Int, _ reason: Bytes, at moment: Moment) {
    publish(fail(level: index, reason, at: moment), at: moment.at)
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
      if let stats = taps.stats(output: output, at: board.moment) { publish(stats, at: now) }
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
        ? taps.levels[index].written(LevelSet(settings[index].safe), by: Bytes("safe"), at: board.moment)
        : fail(level: index, reason, at: board.moment)
      publish(update, at: now)
    }
  }
}
