import Bounded
import Gateway
import LinuxIO
import Taps

/// PWM channels and LEDs: opened at start and again when they come back.
extension Server {
  /// Opens what is not open: at start, and after a fault, every 5 s.
  func retryLevels(at now: Instant) {
    for index in 0..<taps.levels.count where taps.levels[index].retryAt <= now {
      taps.levels[index].tried()
      openLevel(index)
    }
  }

  private func openLevel(_ index: Int) {
    _ = board.levelLanes[index].submit(.open, share: taps.levels[index].share(of: taps.levels[index].level))
  }

  /// The result of a retry, or of a write that took longer than its command waited for.
  @inline(never) func takeLevelResult(_ index: Int, at moment: Moment) {
    guard let result = board.levelLanes[index].takeResult() else { return }
    // A command that was refused for its late answer must not count after all: back to what the tap has.
    if result.failure == nil, board.levelLanes[index].lastJob == .set {
      openLevel(index)
      return
    }
    withUnsafeTemporaryAllocation(byteCount: 160, alignment: 8) { room in
      var reason = ByteWriter(room)
      if board.isDone(index, result, &reason) {
        gateway.levelOpened(index, at: moment)
      } else {
        gateway.levelFailed(index, reason.written, at: moment)
      }
    }
  }
}
