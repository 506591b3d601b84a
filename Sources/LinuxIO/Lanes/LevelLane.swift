public import Bounded

/// A PWM channel or an LED and the one thread that writes to it, so that a driver that takes its time, or never
/// returns, holds up neither the loop nor another output. One job at a time. For one submitting thread.
///
/// Levels are commands that are acknowledged: whoever submits one may `wait` for the result for a bounded time, which a
/// chip in the processor needs microseconds of, and one behind I2C a millisecond.
public final class LevelLane {
  private let lane: Lane<LevelWrites>
  /// The job submitted last.
  public private(set) var lastJob = LevelJob.open
  /// It takes no more jobs.
  public private(set) var isEnded = false

  /// - Parameter sysfsRoot: in place of `/sys`.
  public init(_ device: LevelDevice, sysfsRoot: Bytes = Bytes("/sys")) throws(LinuxError) {
    guard sysfsRoot.count < 256 else { throw .nameTooLong }
    let writes = LevelWrites(file: LevelFile(device, root: FixedText<256>(sysfsRoot)))
    lane = try Lane(writes, name: "level", stackBytes: LevelLane.stackBytes, requestsMax: 1)
  }

  public static var stackBytes: Int { 64 * 1024 }

  /// Readable when a result waits.
  public var fd: Int32 { lane.fd }

  /// A job's result has not been taken yet.
  public var isBusy: Bool { lane.underway > 0 }

  /// `share` as in `LevelFile.perform`. false while a job is under way, and after `end`.
  public func submit(_ job: LevelJob, share: UInt64) -> Bool {
    guard !isEnded, lane.submit(LevelWrites.Request(job: job, share: share)) else { return false }
    lastJob = job
    return true
  }

  /// The job's result, nil when there is none yet.
  public func takeResult() -> LevelResult? { lane.takeAnswer() }

  /// Takes no job from now on; one that is under way goes on.
  public func end() { isEnded = true }

  /// The result of the job that is under way, waited for until the thread has been at it for `nanoseconds`. A busy machine may be
  /// late to run the thread at all, which says nothing of the driver: that is waited for ten times as long.
  public func wait(atItFor nanoseconds: Int64) -> LevelResult? {
    let submittedAt = Clock.now()
    while isBusy {
      let begunAt = lane.begunAt
      let deadline = begunAt?.adding(nanoseconds: nanoseconds) ?? submittedAt.adding(nanoseconds: 10 * nanoseconds)
      let now = Clock.now()
      // Looked at again in between, as the thread may begin.
      if let result = wait(until: begunAt == nil ? min(deadline, now.adding(nanoseconds: nanoseconds / 8)) : deadline) {
        return result
      }
      if now >= deadline { return nil }
    }
    return nil
  }

  /// The result of the job that is under way, waited for until `deadline` at most; nil when there is no job, too.
  public func wait(until deadline: Instant) -> LevelResult? { lane.waitForAnswer(until: deadline) }
}

/// How a job ended.
public struct LevelResult: BitwiseCopyable, Sendable {
  /// nil: the kernel has taken the level.
  public var failure: LevelFailure?
}

private struct LevelWrites: LaneWork {
  struct Request: BitwiseCopyable {
    var job: LevelJob
    var share: UInt64
  }

  var file: LevelFile

  mutating func answer(_ request: Request) -> LevelResult {
    do throws(LevelFailure) {
      try file.perform(request.job, share: request.share)
      return LevelResult(failure: nil)
    } catch {
      return LevelResult(failure: error)
    }
  }
}
