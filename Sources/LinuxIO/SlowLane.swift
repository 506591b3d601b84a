public import Bounded
import CLinux
import Synchronization

/// What a sensor's file said.
public struct SensorResult: BitwiseCopyable, Sendable {
  /// The number that the request had.
  public var sensor: UInt32
  /// Why there is nothing; nil when the file was read. ENODEV: nothing has that name.
  public var error: LinuxError?
  /// The file's first 256 bytes. Empty without an error is a failed measurement: w1 drivers answer so.
  public var content: FixedText<256>
  /// When the read ended, and how long finding and reading took.
  public var finished: Instant
  public var tookNanoseconds: Int64
}

/// One thread that reads sensor files, so that a read that takes a second, or for ever, never holds up the loop.
/// Requests and results go through two rings of fixed size; an eventfd tells the loop. A read that hangs holds up the
/// other sensors of the lane, so a device has one of its own: each sensor's deadline, kept by the loop, says so. For one
/// submitting thread.
public final class SlowLane {
  private let shared: SlowLaneRings

  /// - Parameters:
  ///   - requestsMax: requests under way at once, 1 or more: one a sensor.
  ///   - sysfsRoot: in place of `/sys`.
  public init(requestsMax: Int, sysfsRoot: Bytes = Bytes("/sys")) throws(LinuxError) {
    precondition(requestsMax >= 1)
    guard sysfsRoot.count < 256 else { throw LinuxError(errno: Int32(CLINUX_ENAMETOOLONG)) }
    shared = try SlowLaneRings(capacity: requestsMax, files: SensorFile(root: FixedText<256>(sysfsRoot)))
    let context = Unmanaged.passRetained(shared)
    let answer = clinux_thread_start(
      { Unmanaged<SlowLaneRings>.fromOpaque($0!).takeRetainedValue().run() }, context.toOpaque(), SlowLane.stackBytes,
      "sensors")
    guard answer >= 0 else {
      context.release()
      throw LinuxError(errno: -answer)
    }
  }

  /// The thread ends after its present read; the rings go with it.
  deinit { shared.stop() }

  public static var stackBytes: Int { 64 * 1024 }

  /// Readable when a result waits.
  public var fd: Int32 { shared.resultsReady }

  /// Requests without a result taken yet.
  public private(set) var underway = 0

  /// Asks for a sensor's file: name and file as `SensorKind` says, 64 and 192 bytes at most. false when the ring is
  /// full or a text is too long. A sensor whose last request is still under way should not be asked again.
  public func submit(sensor: UInt32, kind: SensorKind, name: Bytes, file: Bytes) -> Bool {
    guard underway < shared.capacity, name.count <= 64, file.count <= 192 else { return false }
    shared.push(
      SlowLaneRings.Request(sensor: sensor, kind: kind, name: FixedText<64>(name), file: FixedText<192>(file)))
    underway += 1
    return true
  }

  /// The next result, nil when there is none; then `fd` is quiet until there is.
  public func takeResult() -> SensorResult? {
    guard let result = shared.takeResult() else { return nil }
    underway -= 1
    return result
  }
}

/// Two rings, each with one writer and one reader. Positions only grow; a slot belongs to the side that the other has
/// released it to by storing its position.
///
/// Invariant: resultsTaken <= answered <= submitted <= resultsTaken + capacity.
private final class SlowLaneRings: @unchecked Sendable {
  struct Request {
    var sensor: UInt32 = 0
    var kind = SensorKind.file
    var name = FixedText<64>()
    var file = FixedText<192>()
  }

  let capacity: Int
  let resultsReady: Int32
  private let requestsReady: Int32
  private let files: SensorFile
  private let requests: UnsafeMutablePointer<Request>
  private let results: UnsafeMutablePointer<SensorResult>
  /// Written by the loop.
  private let submitted = Atomic<Int>(0)
  private let stopping = Atomic<Bool>(false)
  /// Written by the lane.
  private let answered = Atomic<Int>(0)
  /// The loop's alone.
  private var resultsTaken = 0

  init(capacity: Int, files: SensorFile) throws(LinuxError) {
    let requestsReady = try check(clinux_eventfd(0))
    let resultsReady = clinux_eventfd(1)
    guard resultsReady >= 0 else {
      _ = clinux_close(requestsReady)
      throw LinuxError(errno: -resultsReady)
    }
    self.capacity = capacity
    self.files = files
    self.requestsReady = requestsReady
    self.resultsReady = resultsReady
    requests = .allocate(capacity: capacity)
    requests.initialize(repeating: Request(), count: capacity)
    results = .allocate(capacity: capacity)
    results.initialize(
      repeating: SensorResult(
        sensor: 0, error: nil, content: FixedText(), finished: Instant(nanoseconds: 0), tookNanoseconds: 0),
      count: capacity)
  }

  deinit {
    _ = clinux_close(requestsReady)
    _ = clinux_close(resultsReady)
    requests.deinitialize(count: capacity)
    requests.deallocate()
    results.deinitialize(count: capacity)
    results.deallocate()
  }

  // The loop's side

  func push(_ request: Request) {
    let position = submitted.load(ordering: .relaxed)
    requests[position % capacity] = request
    submitted.store(position + 1, ordering: .releasing)
    signal(requestsReady)
  }

  func takeResult() -> SensorResult? {
    if resultsTaken == answered.load(ordering: .acquiring) {
      var value: UInt64 = 0
      _ = clinux_read(resultsReady, &value, 8)
      // One that came between the look and the read must not be left behind with a quiet descriptor.
      guard resultsTaken != answered.load(ordering: .acquiring) else { return nil }
    }
    let result = results[resultsTaken % capacity]
    resultsTaken += 1
    return result
  }

  func stop() {
    stopping.store(true, ordering: .releasing)
    signal(requestsReady)
  }

  private func signal(_ fd: Int32) {
    var one: UInt64 = 1
    _ = clinux_write(fd, &one, 8)
  }

  // The lane's side

  func run() {
    var taken = 0
    while true {
      while taken < submitted.load(ordering: .acquiring) {
        if stopping.load(ordering: .acquiring) { return }
        results[taken % capacity] = answer(requests[taken % capacity])
        taken += 1
        answered.store(taken, ordering: .releasing)
        signal(resultsReady)
      }
      if stopping.load(ordering: .acquiring) { return }
      var value: UInt64 = 0
      _ = clinux_read(requestsReady, &value, 8)
    }
  }

  private func answer(_ request: Request) -> SensorResult {
    let started = Clock.now()
    var content = FixedText<256>()
    let count = request.name.withBytes { name in
      request.file.withBytes { file in files.read(request.kind, name: name, file: file, into: &content) }
    }
    let finished = Clock.now()
    return SensorResult(
      sensor: request.sensor, error: count < 0 ? LinuxError(errno: -count) : nil, content: content, finished: finished,
      tookNanoseconds: finished.nanoseconds - started.nanoseconds)
  }
}
