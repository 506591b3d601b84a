public import Bounded

/// Replaces a file, whole or not at all, on a thread of its own: an SD card may take seconds for it, and neither the
/// loop nor a sensor's reading is to wait for that. One write at a time; `fd` tells the loop of its end.
///
/// The bytes go to NAME.new, which is synced and then takes the file's name; the directory is synced last. After a
/// power cut there is the old file or the new one. For one submitting thread.
public final class FileSaver {
  private let lane: Lane<FileReplacing>
  /// The loop's while no write is under way, the thread's otherwise.
  private let memory: UnsafeMutableRawBufferPointer

  /// - Parameters:
  ///   - path: an absolute path, 500 bytes at most; its directory is there already.
  ///   - memory: for the bytes under way; outlives the process's use of it.
  public init(path: Bytes, memory: UnsafeMutableRawBufferPointer) throws(LinuxError) {
    guard path.count <= 500 else { throw .nameTooLong }
    self.memory = memory
    let work = FileReplacing(path: FixedText<512>(path), memory: UnsafeRawBufferPointer(memory))
    lane = try Lane(work, name: "file-saver", stackBytes: FileSaver.stackBytes, requestsMax: 1)
  }

  public static var stackBytes: Int { 128 * 1024 }

  /// Readable when a write has ended.
  public var fd: Int32 { lane.fd }

  /// A write is under way, or its end was not taken yet.
  public var isBusy: Bool { lane.underway > 0 }

  /// Copies the bytes and has them written. `false`: busy, or more than there is memory for.
  public func save(_ bytes: Bytes) -> Bool {
    guard !isBusy, bytes.count <= memory.count else { return false }
    memory.copyMemory(from: bytes.buffer)
    return lane.submit(bytes.count)
  }

  public enum Outcome {
    case saved
    case failed(LinuxError)

    fileprivate init(answer: Int32) { self = answer < 0 ? .failed(LinuxError(errno: -answer)) : .saved }
  }

  /// How the last write has ended, once; nil while there is nothing to tell.
  public func takeOutcome() -> Outcome? { lane.takeAnswer().map { Outcome(answer: $0) } }

  /// As `takeOutcome`, but waits for it: at the end, when the loop has nothing else to do.
  public func waitForOutcome(until deadline: Instant) -> Outcome? {
    lane.waitForAnswer(until: deadline).map { Outcome(answer: $0) }
  }
}

private struct FileReplacing: LaneWork, @unchecked Sendable {
  let path: FixedText<512>
  let memory: UnsafeRawBufferPointer

  /// - Parameter byteCount: of the memory.
  func answer(_ byteCount: Int) -> Int32 {
    path.withBytes { Files.replace($0, with: Bytes(UnsafeRawBufferPointer(rebasing: memory[..<byteCount]))) }
  }
}
