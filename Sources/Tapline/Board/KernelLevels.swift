import Bounded
import Gateway
import LinuxIO
import TaplineConfiguration
import Taps

/// PWM channels and LEDs: files of /sys, written on a thread of their own each.
///
/// A command's acknowledgement tells whether the kernel took the level, so the turn waits for its write: until it has
/// taken `answerNanoseconds`, and once: an output that has not answered is faulted, and refuses what follows
/// without waiting, until its write has returned.
extension KernelBoard {
  /// A chip on a slow bus needs a millisecond; the rest is for a busy processor.
  private static var answerNanoseconds: Int64 { 250_000_000 }
  /// For all outputs together, at the orderly end and in `tapline safe`: there a safe level counts for more than a quick end.
  static var safeNanoseconds: Int64 { 5_000_000_000 }

  static func levelLane(_ level: LevelSettings, sysfsRoot: [UInt8]) throws(LinuxError) -> LevelLane {
    try sysfsRoot.lend { root throws(LinuxError) in try LevelLane(level.target.device, sysfsRoot: root) }
  }

  func write(level index: Int, share: UInt64, reason: inout ByteWriter) -> Bool {
    let isTaken = levelLanes[index].submit(.set, share: share)
    return isDone(index, isTaken ? levelLanes[index].wait(atItFor: KernelBoard.answerNanoseconds) : nil, &reason)
  }

  /// Whether the driver did it; if not, why. `result` is nil when it has not returned.
  func isDone(_ index: Int, _ result: LevelResult?, _ reason: inout ByteWriter) -> Bool {
    guard let result else {
      reason.write("write does not return")
      return false
    }
    guard let failure = result.failure else { return true }
    configuration.taps.levels[index].target.describe(failure, into: &reason)
    return false
  }

  func finishLevels(_ job: (Int) -> LastLevel, ended: (Int, Bool, Bytes) -> Void) {
    KernelBoard.finish(levelLanes) { index in
      switch job(index) {
      case .keep: nil
      case .share(let share): (.set, share)
      case .release: (.release, 0)
      }
    } ended: { index, result in
      withUnsafeTemporaryAllocation(byteCount: 160, alignment: 8) { room in
        var reason = ByteWriter(room)
        let isDone = isDone(index, result, &reason)
        ended(index, isDone, reason.written)
      }
    }
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
