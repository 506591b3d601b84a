public import Bounded

/// What a sensor's file said.
public struct SensorResult: BitwiseCopyable, Sendable {
  /// The number that the request had.
  public var sensor: UInt32
  /// Why there is nothing; nil when the file was read. ENODEV: nothing has that name.
  public var error: LinuxError?
  /// The file's first 256 bytes. Empty without an error is a failed measurement: w1 drivers answer so.
  public var content: FixedText<256>
}

/// One thread that reads sensor files, so that a read that takes a second, or for ever, never holds up the loop. A read
/// that hangs holds up the other sensors of the lane, so a device has one of its own: each sensor's deadline, kept by the
/// loop, says so. For one submitting thread.
public final class SlowLane {
  private let lane: Lane<SensorReads>

  /// - Parameters:
  ///   - requestsMax: requests under way at once, 1 or more: one a sensor.
  ///   - sysfsRoot: in place of `/sys`.
  public init(requestsMax: Int, sysfsRoot: Bytes = Bytes("/sys")) throws(LinuxError) {
    guard sysfsRoot.count < 256 else { throw .nameTooLong }
    let reads = SensorReads(files: SensorFile(root: FixedText<256>(sysfsRoot)))
    lane = try Lane(reads, name: "sensors", stackBytes: SlowLane.stackBytes, requestsMax: requestsMax)
  }

  public static var stackBytes: Int { 64 * 1024 }

  /// Readable when a result waits.
  public var fd: Int32 { lane.fd }

  /// Requests without a result taken yet.
  public var underway: Int { lane.underway }

  /// Asks for a sensor's file: `place`, `name` and `file` as `SensorFile.read` takes them, 64 and 192 bytes at most. false
  /// when the mailbox is full or a text is too long. A sensor whose last request is still under way should not be asked
  /// again.
  public func submit(sensor: UInt32, place: SensorPlace?, name: Bytes, file: Bytes) -> Bool {
    guard name.count <= 64, file.count <= 192 else { return false }
    return lane.submit(
      SensorReads.Request(sensor: sensor, place: place, name: FixedText<64>(name), file: FixedText<192>(file)))
  }

  /// The next result, nil when there is none; then `fd` is quiet until there is. To be taken until nil.
  public func takeResult() -> SensorResult? { lane.takeAnswer() }
}

private struct SensorReads: LaneWork {
  struct Request: BitwiseCopyable {
    var sensor: UInt32
    var place: SensorPlace?
    var name: FixedText<64>
    var file: FixedText<192>
  }

  let files: SensorFile

  func answer(_ request: Request) -> SensorResult {
    var content = FixedText<256>()
    let count = request.name.withBytes { name in
      request.file.withBytes { file in files.read(request.place, name: name, file: file, into: &content) }
    }
    return SensorResult(
      sensor: request.sensor, error: count < 0 ? LinuxError(errno: -count) : nil, content: content)
  }
}
