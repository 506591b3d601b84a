public import Bounded
import CLinux
import Synchronization

/// Replaces a file, whole or not at all, on a thread of its own: an SD card may take seconds for it, and neither the
/// loop nor a sensor's reading is to wait for that. One write at a time; an eventfd tells the loop of its end.
///
/// The bytes go to NAME.new, which is synced and then takes the file's name; the directory is synced last. After a
/// power cut there is the old file or the new one. For one submitting thread.
public final class FileSaver {
  private let shared: SaverRoom

  /// - Parameters:
  ///   - path: an absolute path, 500 bytes at most; its directory is there already.
  ///   - memory: for the bytes under way; outlives the process's use of it.
  public init(path: Bytes, memory: UnsafeMutableRawBufferPointer) throws(LinuxError) {
    shared = try SaverRoom(path: path, memory: memory)
    let context = Unmanaged.passRetained(shared)
    let answer = clinux_thread_start(
      { Unmanaged<SaverRoom>.fromOpaque($0!).takeRetainedValue().work() }, context.toOpaque(), FileSaver.stackBytes,
      "file-saver")
    guard answer >= 0 else {
      context.release()
      throw LinuxError(errno: -answer)
    }
  }

  /// The thread ends after its present write.
  deinit { shared.stop() }

  public static var stackBytes: Int { 128 * 1024 }

  /// Readable when a write has ended.
  public var fd: Int32 { shared.isDone }

  /// A write is under way, or its end was not taken yet.
  public var isBusy: Bool { shared.isBusy }

  /// Copies the bytes and has them written. `false`: busy, or more than there is memory for.
  public func save(_ bytes: Bytes) -> Bool { shared.save(bytes) }

  public enum Outcome {
    case saved
    case failed(LinuxError)
  }

  /// How the last write has ended, once; nil while there is nothing to tell.
  public func takeOutcome() -> Outcome? { shared.takeOutcome() }

  /// As `takeOutcome`, but waits for it: at the end, when the loop has nothing else to do.
  public func waitForOutcome(until deadline: Instant) -> Outcome? {
    while isBusy {
      if let outcome = takeOutcome() { return outcome }
      guard Clock.now() < deadline else { return nil }
      Clock.sleep(milliseconds: 2)
    }
    return nil
  }
}

/// What the two threads share. `stage` says whose the memory and the outcome are: the loop's unless it is `wanted`.
private final class SaverRoom: @unchecked Sendable {
  let isDone: Int32
  private let wake: Int32
  private let path: FixedText<512>
  private let memory: UnsafeMutableRawBufferPointer
  private var byteCount = 0
  private var outcome: Int32 = 0
  private let stage = Atomic<UInt8>(SaverRoom.idle)
  private let stopping = Atomic<Bool>(false)

  private static var idle: UInt8 { 0 }
  private static var wanted: UInt8 { 1 }
  private static var done: UInt8 { 2 }

  init(path: Bytes, memory: UnsafeMutableRawBufferPointer) throws(LinuxError) {
    guard path.count <= 500 else { throw LinuxError(errno: Int32(CLINUX_ENAMETOOLONG)) }
    let wake = try check(clinux_eventfd(0))
    isDone = clinux_eventfd(1)
    self.wake = wake
    self.path = FixedText<512>(path)
    self.memory = memory
    guard isDone >= 0 else { throw LinuxError(errno: -isDone) }
  }

  deinit {
    _ = clinux_close(wake)
    if isDone >= 0 { _ = clinux_close(isDone) }
  }

  // The loop's side

  var isBusy: Bool { stage.load(ordering: .relaxed) != SaverRoom.idle }

  func save(_ bytes: Bytes) -> Bool {
    guard !isBusy, bytes.count <= memory.count else { return false }
    memory.copyMemory(from: bytes.buffer)
    byteCount = bytes.count
    stage.store(SaverRoom.wanted, ordering: .releasing)
    signal(wake)
    return true
  }

  func takeOutcome() -> FileSaver.Outcome? {
    // First, so that a signal that comes between the two is not left behind with nothing to take.
    var value: UInt64 = 0
    _ = clinux_read(isDone, &value, 8)
    guard stage.load(ordering: .acquiring) == SaverRoom.done else { return nil }
    stage.store(SaverRoom.idle, ordering: .relaxed)
    return outcome < 0 ? .failed(LinuxError(errno: -outcome)) : .saved
  }

  func stop() {
    stopping.store(true, ordering: .releasing)
    signal(wake)
  }

  private func signal(_ fd: Int32) {
    var one: UInt64 = 1
    _ = clinux_write(fd, &one, 8)
  }

  // The thread's side

  func work() {
    while !stopping.load(ordering: .acquiring) {
      if stage.load(ordering: .acquiring) == SaverRoom.wanted {
        let bytes = Bytes(UnsafeRawBufferPointer(rebasing: memory[..<byteCount]))
        outcome = path.withBytes { Files.replace($0, with: bytes) }
        stage.store(SaverRoom.done, ordering: .releasing)
        signal(isDone)
      }
      var value: UInt64 = 0
      _ = clinux_read(wake, &value, 8)
    }
  }
}

extension Files {
  /// Writes a file anew, whole or not at all. 0 or -errno; then the file is as it was.
  static func replace(_ path: Bytes, with bytes: Bytes) -> Int32 {
    var new = FixedText<512>(path)
    new.append(".new")
    let answer = new.withBytes { new in
      withPath(new) { new in
        _ = clinux_unlink(new)  // left over from a crash
        let answer = create(new, bytes)
        let renamed = answer < 0 ? answer : withPath(path) { clinux_rename(new, $0) }
        if renamed < 0 { _ = clinux_unlink(new) }
        return renamed
      }
    }
    guard answer >= 0 else { return answer }
    return syncDirectory(of: path)
  }

  private static func create(_ path: UnsafePointer<CChar>, _ bytes: Bytes) -> Int32 {
    let fd = clinux_create(path, 0o640)
    guard fd >= 0 else { return fd }
    var answer: Int32 = 0
    var start = 0
    while start < bytes.count, answer >= 0 {
      let count = clinux_write(fd, bytes.buffer.baseAddress! + start, bytes.count - start)
      if count > 0 {
        start += Int(count)
      } else if count != -Int64(CLINUX_EINTR) {
        answer = count < 0 ? Int32(count) : -Int32(CLINUX_EIO)
      }
    }
    if answer >= 0 { answer = clinux_sync(fd) }
    let closed = clinux_close(fd)
    return answer < 0 ? answer : closed
  }

  private static func syncDirectory(of path: Bytes) -> Int32 {
    var end = path.count - 1
    while end > 0, path[end] != UInt8(ascii: "/") { end -= 1 }
    let fd = withPath(path.first(max(end, 1))) { clinux_open_directory($0) }
    guard fd >= 0 else { return fd }
    defer { _ = clinux_close(fd) }
    let answer = clinux_sync(fd)
    // Some file systems cannot; the file itself is safe then as far as they go.
    return answer == -Int32(CLINUX_EINVAL) ? 0 : answer
  }

  /// Renames a file to NAME.bad, so that it is there to be looked at and no longer in the way. 0 or -errno.
  public static func setAside(_ path: Bytes) throws(LinuxError) {
    var bad = FixedText<512>(path)
    bad.append(".bad")
    let answer = bad.withBytes { bad in withPath(bad) { bad in withPath(path) { clinux_rename($0, bad) } } }
    try check(answer)
  }
}
