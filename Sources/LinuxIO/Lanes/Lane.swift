import Bounded
import CLinux
import Synchronization

/// What one lane does: a value that lives on the lane's thread and nowhere else, so it may have state without a lock.
protocol LaneWork: Sendable {
  associatedtype Request: BitwiseCopyable
  associatedtype Answer: BitwiseCopyable

  /// Runs on the lane's thread, once for each request and in their order. May block, for as long as it likes.
  mutating func answer(_ request: Request) -> Answer
}

/// One thread beside the loop, for work that may block: it takes requests of a fixed size from a `Mailbox`, answers them
/// in order, and tells the loop by a descriptor. The loop waits for none of it unless it asks to.
///
/// To give the loop another such thread, write a `LaneWork` (what a request and an answer hold, and what is done), and a
/// class around a `Lane` of it whose methods say it in the words of the subject: `SlowLane`, `LevelLane`, `FileSaver` and
/// `HandlerLane` are the examples. A lane for storage answers with how far it has synced; one that hashes passwords takes
/// as many requests as CONNECTs may wait; one that looks up names is left behind when the resolver hangs. Bytes
/// that do not fit a request lie in memory beside the mailbox, one part for each place (`freePlace`).
///
/// What hangs holds up its own lane, and never the loop or another lane. Two things that must not wait for each other have
/// a lane each. Each takes its stack, which the plan counts, two descriptors and the memory of its mailbox, all of it
/// from start on: after that a lane allocates nothing.
///
/// Both threads obey one rule, so that no wake-up is lost: publish, then signal; take the signal, then look.
///
/// For one submitting thread.
final class Lane<Work: LaneWork> {
  private let shared: LaneShared<Work.Request, Work.Answer>
  private var isStopped = false

  /// Starts the thread.
  /// - Parameters:
  ///   - work: moves to the thread.
  ///   - name: of the thread, as `ps -L` shows it; 15 bytes at most.
  ///   - requestsMax: requests without an answer taken, 1 or more.
  init(_ work: Work, name: StaticString, stackBytes: Int, requestsMax: Int) throws(LinuxError) {
    let shared = try LaneShared<Work.Request, Work.Answer>(requestsMax)
    self.shared = shared
    try startThread(name, stackBytes: stackBytes) {
      var work = work
      shared.run { work.answer($0) }
    }
  }

  /// Stops the thread and does not wait for it: see `stop`. What both threads use lives until the thread has ended.
  deinit { shared.stop() }

  /// Readable when answers wait.
  var fd: Int32 { shared.done }

  /// Requests whose answers were not taken.
  var underway: Int { shared.mailbox.underway }

  /// As `Mailbox.freePlace`.
  var freePlace: Int? { isStopped ? nil : shared.mailbox.freePlace }

  /// false when `requestsMax` are under way, and after `stop`; nothing is asked then.
  func submit(_ request: Work.Request) -> Bool {
    guard !isStopped, shared.mailbox.post(request) else { return false }
    shared.signal(shared.wake)
    return true
  }

  /// The next answer, in the order of the requests; nil when there is none, and then `fd` is quiet until there is. An answer
  /// that is left behind may leave `fd` quiet: take them until nil, unless no more than one can be there.
  func takeAnswer() -> Work.Answer? {
    shared.takeSignal(shared.done)
    return shared.mailbox.take()
  }

  /// Takes all answers, unread: where a request's end is all that there is to know.
  func takeAllAnswers() { shared.mailbox.takeAll() }

  /// The next answer, waited for until `deadline` at most; nil when nothing is under way, too.
  func waitForAnswer(until deadline: Instant) -> Work.Answer? {
    guard underway > 0 else { return nil }
    return wait(until: deadline) { shared.mailbox.take() }
  }

  /// When the thread began the request that it is at; nil while it is at none. After `submit` to a lane with nothing under
  /// way it is nil until the thread begins just that request.
  var begunAt: Instant? {
    let at = shared.begunAt.load(ordering: .relaxed)
    return at == 0 ? nil : Instant(nanoseconds: at)
  }

  /// Ends the thread after the request that it is at; those that wait are dropped. No more are taken.
  /// - Returns: true when the thread has ended: it touches nothing any more. false when it is still at its request at
  ///   `deadline`: it is left behind, and ends by itself should the request ever return.
  func stop(until deadline: Instant) -> Bool {
    isStopped = true
    shared.stop()
    return wait(until: deadline) { shared.hasEnded.load(ordering: .acquiring) ? true : nil } ?? false
  }

  /// What `look` finds, looked for again after each signal of the thread; nil at `deadline`.
  private func wait<Found>(until deadline: Instant, _ look: () -> Found?) -> Found? {
    while true {
      shared.takeSignal(shared.done)
      if let found = look() { return found }
      let left = deadline.since(Clock.now())
      guard left > 0 else { return nil }
      _ = clinux_wait_readable(fd, left)
    }
  }
}

/// What the two threads of a lane share. It goes with the last of them.
private final class LaneShared<Request: BitwiseCopyable, Answer: BitwiseCopyable>: @unchecked Sendable {
  let mailbox: Mailbox<Request, Answer>
  /// eventfd(2), blocking: requests wait, or the thread is to end.
  let wake: Int32
  /// eventfd(2): answers wait, or the thread has ended.
  let done: Int32
  /// Stored by the lane; an `Instant`, 0 while it is at no request. 0 again before an answer is published, so whoever
  /// has the answer never sees the time of its request.
  let begunAt = Atomic<Int64>(0)
  /// Stored by the lane, when it is done with all that is here.
  let hasEnded = Atomic<Bool>(false)
  /// Stored by the loop.
  private let isStopping = Atomic<Bool>(false)

  init(_ requestsMax: Int) throws(LinuxError) {
    let wake = try check(clinux_eventfd(0))
    let done = clinux_eventfd(1)
    guard done >= 0 else {
      _ = clinux_close(wake)
      throw LinuxError(errno: -done)
    }
    self.wake = wake
    self.done = done
    mailbox = Mailbox(capacity: requestsMax)
  }

  deinit {
    _ = clinux_close(wake)
    _ = clinux_close(done)
  }

  func stop() {
    isStopping.store(true, ordering: .releasing)
    signal(wake)
  }

  /// The thread, from its beginning to its end.
  func run(_ work: (Request) -> Answer) {
    while !isStopping.load(ordering: .acquiring) {
      let hasAnswered = mailbox.answerNext { request in
        begunAt.store(Clock.now().nanoseconds, ordering: .relaxed)
        let answer = work(request)
        begunAt.store(0, ordering: .relaxed)
        return answer
      }
      if hasAnswered { signal(done) } else { takeSignal(wake) }
    }
    hasEnded.store(true, ordering: .releasing)
    signal(done)
  }

  func signal(_ fd: Int32) {
    var one: UInt64 = 1
    _ = clinux_write(fd, &one, 8)
  }

  /// Makes `fd` quiet; waits for a signal first where it is the blocking one.
  func takeSignal(_ fd: Int32) {
    var value: UInt64 = 0
    _ = clinux_read(fd, &value, 8)
  }
}

/// Starts a detached thread with all signals blocked.
private func startThread(
  _ name: StaticString, stackBytes: Int, _ body: @escaping @Sendable () -> Void
) throws(LinuxError) {
  precondition(name.utf8Start[name.utf8CodeUnitCount] == 0)
  let context = Unmanaged.passRetained(ThreadBody(body))
  let answer = name.withUTF8Buffer { name in
    name.withMemoryRebound(to: CChar.self) { name in
      clinux_thread_start(
        { Unmanaged<ThreadBody>.fromOpaque($0!).takeRetainedValue().run() }, context.toOpaque(), stackBytes,
        name.baseAddress!)
    }
  }
  guard answer >= 0 else {
    context.release()
    throw LinuxError(errno: -answer)
  }
}

private final class ThreadBody: Sendable {
  let run: @Sendable () -> Void
  init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}
