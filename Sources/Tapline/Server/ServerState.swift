import Bounded
import LinuxIO
import MQTTBroker
import TaplineConfiguration
import Taps

/// The state file in the loop's turns; a thread of its own writes it.
extension Server {
  func advanceState(at now: Instant) {
    guard let keeper = board.stateKeeper, keeper.dueAt <= now else { return }
    keeper.compose(taps, at: now)
    keeper.write(at: now, nextAt: isAnyOutputOn ? now.adding(seconds: Server.onHoursSeconds) : .never)
  }

  /// On-hours alone are no reason to wear out an SD card.
  private static var onHoursSeconds: Int64 { 3600 }

  private var isAnyOutputOn: Bool {
    for index in 0..<taps.outputs.count {
      if taps.outputs[index].state == .driven(active: true) { return true }
    }
    return false
  }

  /// A write has ended.
  @inline(never) func takeStateOutcome(at now: Instant) {
    guard let keeper = board.stateKeeper, let outcome = keeper.takeOutcome(at: now) else { return }
    tell(outcome, of: keeper)
    publishFigure("$SYS/tapline/state/writes", keeper.figures.writes, at: now)
    publishFigure("$SYS/tapline/state/bytes_written", keeper.figures.bytesWritten, at: now)
    publishFigure("$SYS/tapline/state/failures", keeper.figures.failures, at: now)
  }

  /// Once for each kind of failure in a row.
  private func tell(_ outcome: (isSaved: Bool, error: LinuxError?), of keeper: StateKeeper) {
    let before = keeper.toldError
    keeper.toldError = outcome.error
    guard before != outcome.error else { return }
    log.line(outcome.isSaved ? .notice : .error, .state) { line in
      line.write("tapline: state file ")
      keeper.file.lend { line.write($0) }
      if let error = outcome.error {
        line.write(" cannot be written: ")
        line.write(error.text)
        line.write("; trying again")
      } else {
        line.write(" is written again")
      }
    }
  }

  // MARK: The end

  /// Composes the state for the next start before outputs go to their safe levels, so that it has the commanded states.
  func composeLastState(at moment: Moment) {
    guard let keeper = board.stateKeeper else { return }
    for index in 0..<taps.counters.count { readEdges(line: taps.counters[index].lineIndex, at: moment) }
    keeper.compose(taps, at: moment.at)
  }

  /// SD cards are known to take seconds for a sync; with `safeNanoseconds` it is less than a service manager waits
  /// (TimeoutStopSec).
  private static var lastStateSeconds: Int64 { 10 }

  /// Waits for it, but not for a card that does not answer.
  func writeLastState(at now: Instant) {
    guard let keeper = board.stateKeeper else { return }
    let deadline = Clock.now().adding(seconds: Server.lastStateSeconds)
    _ = keeper.waitForOutcome(until: deadline, at: now)  // of a write that was under way
    if !keeper.isBusy {
      keeper.write(at: now, nextAt: .never)
      if let outcome = keeper.waitForOutcome(until: deadline, at: now) {
        tell(outcome, of: keeper)
        return
      }
    }
    log.write(.error, .state, "tapline: the last state was not written in 10 s; the file is as it was before")
  }
}
