public import Bounded
import CLinux
import Synchronization

/// A PWM channel or a LED and the one thread that writes to it, so that a driver that takes its time, or never
/// returns, holds up neither the loop nor another output. One job at a time. For one submitting thread.
///
/// Levels are commands that are acknowledged: whoever submits one may `wait` for the result for a bounded time, which a
/// chip in the processor needs microseconds of, and one behind I2C a millisecond.
public final class LevelLane {
  private let box: LevelBox
  /// A job's result has not been taken yet.
  public private(set) var isBusy = false
  /// The job submitted last.
  public private(set) var lastJob = LevelJob.open
  /// It takes no more jobs.
  public private(set) var isEnded = false

  /// - Parameter sysfsRoot: in place of `/sys`.
  public init(_ device: LevelDevice, sysfsRoot: Bytes = Bytes("/sys")) throws(LinuxError) {
    guard sysfsRoot.count < 256 else { throw LinuxError(errno: Int32(CLINUX_ENAMETOOLONG)) }
    box = try LevelBox(LevelFile(device, root: FixedText<256>(sysfsRoot)))
    let context = Unmanaged.passRetained(box)
    let answer = clinux_thread_start(
      { Unmanaged<LevelBox>.fromOpaque($0!).takeRetainedValue().run() }, context.toOpaque(), LevelLane.stackBytes,
      "level")
    guard answer >= 0 else {
      context.release()
      throw LinuxError(errno: -answer)
    }
  }

  /// The thread ends after its present job.
  deinit { box.stop() }

  public static var stackBytes: Int { 64 * 1024 }

  /// Readable when a result waits.
  public var fd: Int32 { box.answered }

  /// `share` as in `LevelFile.perform`. false while a job is under way, and after `end`.
  public func submit(_ job: LevelJob, share: UInt64) -> Bool {
    guard !isBusy, !isEnded else { return false }
    isBusy = true
    lastJob = job
    box.submit(job, share)
    return true
  }

  /// The job's result, nil when there is none yet.
  public func takeResult() -> LevelResult? {
    guard let result = box.takeResult() else { return nil }
    isBusy = false
    return result
  }

  /// Takes no job from now on; one that is under way goes on.
  public func end() { isEnded = true }

  /// The result of the job that is under way, waited for until the thread has been at it for `nanoseconds`. A busy machine may be
  /// late to run the thread at all, which says nothing of the driver: that is waited for ten times as long.
  public func wait(atItFor nanoseconds: Int64) -> LevelResult? {
    let submittedAt = Clock.now()
    while isBusy {
      let begunAt = box.jobBegunAt
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
  public func wait(until deadline: Instant) -> LevelResult? {
    while isBusy {
      if let result = takeResult() { return result }
      let left = deadline.since(Clock.now())
      guard left > 0 else { return nil }
      _ = clinux_wait_readable(fd, left)
    }
    return nil
  }
}

/// How a job ended.
public struct LevelResult: BitwiseCopyable, Sendable {
  /// nil: the kernel has taken the level.
  public var failure: LevelFailure?
}

/// One job and its result. The thread owns both between `submitted` and `answered`, the loop at all other times.
private final class LevelBox: @unchecked Sendable {
  let answered: Int32
  private let submitted: Int32
  private var file: LevelFile
  private var job = LevelJob.open
  private var share: UInt64 = 0
  private var result = LevelResult(failure: nil)
  private let isStopping = Atomic<Bool>(false)
  private let hasJob = Atomic<Bool>(false)
  private let hasResult = Atomic<Bool>(false)
  /// An `Instant`; 0: the thread has not begun the job.
  private let begunAt = Atomic<Int64>(0)

  init(_ file: LevelFile) throws(LinuxError) {
    let submitted = try check(clinux_eventfd(0))
    let answered = clinux_eventfd(1)
    guard answered >= 0 else {
      _ = clinux_close(submitted)
      throw LinuxError(errno: -answered)
    }
    self.submitted = submitted
    self.answered = answered
    self.file = file
  }

  deinit {
    _ = clinux_close(submitted)
    _ = clinux_close(answered)
  }

  // The loop's side

  func submit(_ job: LevelJob, _ share: UInt64) {
    self.job = job
    self.share = share
    begunAt.store(0, ordering: .relaxed)
    hasJob.store(true, ordering: .releasing)
    signal(submitted)
  }

  var jobBegunAt: Instant? {
    let at = begunAt.load(ordering: .relaxed)
    return at == 0 ? nil : Instant(nanoseconds: at)
  }

  func takeResult() -> LevelResult? {
    // Quiet first: a result that comes after the look makes it readable again.
    var value: UInt64 = 0
    _ = clinux_read(answered, &value, 8)
    return hasResult.exchange(false, ordering: .acquiring) ? result : nil
  }

  func stop() {
    isStopping.store(true, ordering: .releasing)
    signal(submitted)
  }

  private func signal(_ fd: Int32) {
    var one: UInt64 = 1
    _ = clinux_write(fd, &one, 8)
  }

  // The thread's side

  func run() {
    while true {
      var value: UInt64 = 0
      _ = clinux_read(submitted, &value, 8)
      if isStopping.load(ordering: .acquiring) { return }
      guard hasJob.exchange(false, ordering: .acquiring) else { continue }
      begunAt.store(Clock.now().nanoseconds, ordering: .relaxed)
      do throws(LevelFailure) {
        try file.perform(job, share: share)
        result.failure = nil
      } catch {
        result.failure = error
      }
      hasResult.store(true, ordering: .releasing)
      signal(answered)
    }
  }
}
