import Foundation
import Testing

/// Runs every test of a suite on the same thread. OpenSSL keeps memory for each thread that has used it and gives it back
/// when the thread ends; a pool ends its threads at any time, in the middle of another test's count.
struct OneThread: SuiteTrait, TestTrait, TestScoping {
  var isRecursive: Bool { true }

  func scopeProvider(for test: Test, testCase: Test.Case?) -> OneThread? { testCase == nil ? nil : self }

  func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    try await withTaskExecutorPreference(OneThread.executor) { try await function() }
  }

  private static let executor = Executor()

  /// Invariant: `jobs` is touched with `condition` locked.
  private final class Executor: TaskExecutor, @unchecked Sendable {
    private let condition = NSCondition()
    private var jobs: [UnownedJob] = []

    init() {
      let thread = Thread { [self] in run() }
      thread.stackSize = 8 << 20
      thread.start()
    }

    func enqueue(_ job: consuming ExecutorJob) {
      let job = UnownedJob(job)
      condition.withLock { jobs.append(job) }
      condition.signal()
    }

    private func run() -> Never {
      while true {
        condition.lock()
        while jobs.isEmpty { condition.wait() }
        let job = jobs.removeFirst()
        condition.unlock()
        job.runSynchronously(on: asUnownedTaskExecutor())
      }
    }
  }
}
