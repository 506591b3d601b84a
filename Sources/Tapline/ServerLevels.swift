import Bounded
import LinuxIO
import MQTTBroker
import MQTTWire
import TaplineConfiguration
import Taps

/// PWM channels and LEDs: files of /sys, written on a thread of their own each.
///
/// A command's acknowledgement tells whether the kernel took the level, so the turn waits for its write: until it has
/// taken `answerNanoseconds`, and once: an output that has not answered is faulted, and refuses what follows
/// without waiting, until its write has returned.
extension Server {
  /// A chip on a slow bus needs a millisecond; the rest is for a busy processor.
  private static var answerNanoseconds: Int64 { 250_000_000 }
  /// For all outputs together, at the orderly end and in `tapline safe`: there a safe level counts for more than a quick end.
  static var safeNanoseconds: Int64 { 5_000_000_000 }

  static func startLevelLanes(_ levels: [LevelSettings], sysfsRoot: [UInt8]) throws(LinuxError) -> [LevelLane] {
    var lanes: [LevelLane] = []
    for level in levels { lanes.append(try levelLane(level, sysfsRoot: sysfsRoot)) }
    return lanes
  }

  static func levelLane(_ level: LevelSettings, sysfsRoot: [UInt8]) throws(LinuxError) -> LevelLane {
    try sysfsRoot.lend { root throws(LinuxError) in try LevelLane(level.target.device, sysfsRoot: root) }
  }

  /// Gives each lane its last job, all of them at the same time, and tells how it ended; then the lanes take no more. A
  /// driver that hangs holds up no other, and none of those that have nothing left to do.
  /// - Parameters:
  ///   - job: of the lane with this index; nil: nothing is to be written, whatever its driver is doing.
  ///   - nanoseconds: how long all drivers together may take.
  ///   - ended: called once for each lane with a job, in their order; the result is nil when its driver has not returned.
  static func finish(
    _ lanes: [LevelLane], within nanoseconds: Int64 = safeNanoseconds, _ job: (Int) -> (job: LevelJob, share: UInt64)?,
    ended: (Int, LevelResult?) -> Void
  ) {
    let deadline = Clock.now().adding(nanoseconds: nanoseconds)
    func submit(_ index: Int) -> Bool {
      let isTaken = job(index).map { lanes[index].submit($0.job, share: $0.share) } ?? false
      lanes[index].end()
      return isTaken
    }
    for index in lanes.indices where !lanes[index].isBusy || job(index) == nil { _ = submit(index) }
    for index in lanes.indices where job(index) != nil {
      let lane = lanes[index]
      var end = deadline
      if !lane.isEnded {
        // A write is under way, and must not come after the last one.
        guard lane.wait(until: deadline) != nil, submit(index) else {
          lane.end()
          ended(index, nil)
          continue
        }
        end = max(deadline, Clock.now().adding(nanoseconds: answerNanoseconds))  // it begins later than the others
      }
      ended(index, lane.wait(until: end))
    }
  }

  // MARK: Time

  /// Carries out what timers and leases want.
  func advanceLevels(at now: Instant) {
    for index in 0..<taps.levels.count where taps.levels[index].nextDeadline <= now {
      while let due = taps.levels[index].due(at: now) {
        taps.tellLater(.level(index), write(LevelSet(due.level), index, by: due.by, at: now))
        stateChanged(at: now)
      }
    }
    settle(at: now)
  }

  /// Opens what is not open: at start, and after a fault, every 5 s.
  func retryLevels(at now: Instant) {
    for index in 0..<taps.levels.count where taps.levels[index].retryAt <= now {
      taps.levels[index].tried()
      _ = levelLanes[index].submit(.open, share: taps.levels[index].share(of: taps.levels[index].level))
    }
  }

  /// The result of a retry, or of a write that took longer than its command waited for.
  func takeLevelResult(_ index: Int, at now: Instant) {
    guard let result = levelLanes[index].takeResult() else { return }
    // A command that was refused for its late answer must not count after all: back to what the tap has.
    if result.failure == nil, levelLanes[index].lastJob == .set {
      _ = levelLanes[index].submit(.open, share: taps.levels[index].share(of: taps.levels[index].level))
      return
    }
    publish(update(index, result, set: nil, by: .empty, at: now), at: now)
  }

  /// - Parameter set: what was written; nil: what the tap has.
  private func update(_ index: Int, _ result: LevelResult, set: LevelSet?, by: Bytes, at now: Instant) -> TapUpdate {
    guard let failure = result.failure else {
      let wall = Clock.wallNanoseconds()
      guard let set else { return taps.levels[index].opened(at: now, wallNanoseconds: wall) }
      return taps.levels[index].written(set, by: by, at: now, wallNanoseconds: wall)
    }
    var text = loop.scratch.writer()
    configuration.taps.levels[index].target.describe(failure, into: &text)
    // The scratch memory is used again to publish; a fault's text is shorter than this.
    return FixedText<160>(text.written.first(min(text.count, 160))).withBytes { fail(index, $0, at: now) }
  }

  private func fail(_ index: Int, _ reason: Bytes, at now: Instant) -> TapUpdate {
    let update = taps.levels[index].failed(reason, at: now, wallNanoseconds: Clock.wallNanoseconds())
    if update.fault != nil {  // once, not with every retry
      tell(.warning, .taps, tap: configuration.taps.levels[index].name, reason, "; trying again every 5 s")
    }
    return update
  }

  // MARK: Commands

  /// A message on `<tap>/set`, inside the broker's turn: publications follow when the broker is free.
  func commandReceived(level index: Int, _ message: TapMessage) -> TapVerdict {
    var verdict = TapVerdict(retain: false)  // a retained command would be carried out at every restart
    if refusesRetained(message) {
      verdict.reason = .implementationSpecificError
      verdict.reasonString = Bytes("a retained command")
      return verdict
    }
    switch taps.levels[index].commandReceived(message.payload, isRetained: message.retain, at: message.now) {
    case .nothing:
      return verdict
    case .refuse(let reason, let text):
      verdict.reason = reason
      verdict.reasonString = text
    case .write(let set):
      taps.tellLater(.level(index), write(set, index, by: author(of: message), at: message.now))
      if case .driven = taps.levels[index].state {
        stateChanged(at: message.now)
      } else {
        verdict.reason = .implementationSpecificError
        verdict.reasonString = taps.levels[index].faultText
      }
    }
    answer(message, verdict) { taps.levels[index].writeAnswer(into: &$0) }
    return verdict
  }

  /// What a rule wants. Whether it was done.
  func carryOut(_ command: LevelCommand, level index: Int, by: Bytes, at now: Instant) -> Bool {
    guard case .write(let set) = taps.levels[index].perform(command, at: now) else { return false }
    taps.tellLater(.level(index), write(set, index, by: by, at: now))
    stateChanged(at: now)
    guard case .driven = taps.levels[index].state else { return false }
    return true
  }

  private func write(_ set: LevelSet, _ index: Int, by: Bytes, at now: Instant) -> TapUpdate {
    let isTaken = levelLanes[index].submit(.set, share: taps.levels[index].share(of: set.level))
    let result = isTaken ? levelLanes[index].wait(atItFor: Server.answerNanoseconds) : nil
    return written(set, index, by: by, result, at: now)
  }

  /// - Parameter result: nil when the write has not returned.
  private func written(_ set: LevelSet, _ index: Int, by: Bytes, _ result: LevelResult?, at now: Instant) -> TapUpdate {
    guard let result else { return fail(index, Bytes("write does not return"), at: now) }
    return update(index, result, set: set, by: by, at: now)
  }

  // MARK: The end

  /// The orderly end: each gets its safe level, keeps what it has or is given back, as `on_exit` says.
  func leaveLevels(at now: Instant) {
    let settings = configuration.taps.levels
    Server.finish(levelLanes) { index in
      switch settings[index].onExit {
      case .keep: return nil
      case .safe: return (.set, taps.levels[index].share(of: settings[index].safe))
      case .release: return (.release, 0)
      }
    } ended: { index, result in
      guard settings[index].onExit == .safe else { return }
      publish(written(LevelSet(settings[index].safe), index, by: Bytes("safe"), result, at: now), at: now)
    }
  }
}

extension LevelTarget {
  fileprivate var device: LevelDevice {
    switch self {
    case .pwm(let chip, let channel, let period, let isActiveLow):
      return .pwm(
        device: chip.lend { FixedText<64>($0) }, channel: UInt32(channel), periodNanoseconds: UInt64(period),
        isInversed: isActiveLow)
    case .led(let name, let trigger):
      return .led(name: name.lend { FixedText<64>($0) }, trigger: trigger.lend { ShortText($0) })
    }
  }

  /// `no PWM chip 1f00098000.pwm`, `duty_cycle: Invalid argument`.
  func describe(_ failure: LevelFailure, into text: inout ByteWriter) {
    let error = failure.error
    if failure.step == .find {
      switch self {
      case .pwm(let chip, _, _, _):
        text.write("no PWM chip ")
        chip.lend { text.write($0) }
      case .led(let name, _):
        text.write("no LED ")
        name.lend { text.write($0) }
      }
    } else if failure.step == .export, error == .busy {
      text.write("channel is used by a driver of the kernel, such as the fan's")
    } else if failure.step == .export, error == .noDevice {
      text.write("the chip has no such channel")
    } else {
      text.write(failure.step.file)
      text.write(": ")
      text.write(error.text)
      if error == .notPermitted || error == .accessDenied { text.write("; is the user in group gpio?") }
      if error == .readOnlyFileSystem { text.write("; see ProtectKernelTunables") }
    }
  }
}
