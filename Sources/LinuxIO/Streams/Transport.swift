public import Bounded
import CLinux

public enum ReadResult: Sendable {
  /// 1 or more.
  case bytes(Int)
  case wouldBlock
  /// The peer has closed its side, or reset the connection.
  case closed
  case failed(LinuxError)
}

public enum WriteResult: Sendable {
  /// Written, perhaps fewer than given.
  case bytes(Int)
  case wouldBlock
  /// The peer is gone.
  case closed
  case failed(LinuxError)
}

/// Reading and writing nonblocking descriptors: sockets, serial lines, pairs in tests.
public enum Transport {
  public enum ReadKind: Sendable {
    case taking
    /// The bytes of a socket are read and stay the kernel's.
    case peeking
    /// The bytes of a socket, which were read before, are taken off. The buffer then holds what it held, or these bytes.
    case discarding
  }

  /// One read(2) or recv(2) into `buffer`, which is not empty.
  public static func read(
    _ fd: Int32, into buffer: UnsafeMutableRawBufferPointer, _ kind: ReadKind = .taking
  ) -> ReadResult {
    precondition(buffer.count > 0)
    while true {
      let count =
        switch kind {
        case .taking: clinux_read(fd, buffer.baseAddress!, buffer.count)
        case .peeking: clinux_peek(fd, buffer.baseAddress!, buffer.count)
        case .discarding: clinux_discard(fd, buffer.baseAddress!, buffer.count)
        }
      if count > 0 { return .bytes(Int(count)) }
      switch Int(-count) {
      case 0, Int(CLINUX_ECONNRESET), Int(CLINUX_EPIPE): return .closed
      case Int(CLINUX_EAGAIN): return .wouldBlock
      case Int(CLINUX_EINTR): continue
      default: return .failed(LinuxError(errno: Int32(-count)))
      }
    }
  }

  /// One write(2). SIGPIPE must be ignored (`Signals`).
  public static func write(_ fd: Int32, _ bytes: Bytes) -> WriteResult {
    while true {
      let count = clinux_write(fd, bytes.buffer.baseAddress, bytes.count)
      guard count != -Int64(CLINUX_EINTR) else { continue }
      return result(count)
    }
  }

  /// One writev(2) of at most 1024 parts.
  public static func write(_ fd: Int32, _ parts: UnsafeBufferPointer<Bytes>) -> WriteResult {
    // `Bytes` is a base and a count, as struct iovec is.
    precondition(MemoryLayout<Bytes>.size == MemoryLayout<clinux_part>.size)
    let first = UnsafeRawPointer(parts.baseAddress)?.assumingMemoryBound(to: clinux_part.self)
    while true {
      let count = clinux_writev(fd, first, Int32(parts.count))
      guard count != -Int64(CLINUX_EINTR) else { continue }
      return result(count)
    }
  }

  private static func result(_ count: Int64) -> WriteResult {
    guard count < 0 else { return .bytes(Int(count)) }
    switch Int(-count) {
    case Int(CLINUX_EAGAIN): return .wouldBlock
    case Int(CLINUX_EPIPE), Int(CLINUX_ECONNRESET): return .closed
    default: return .failed(LinuxError(errno: Int32(-count)))
    }
  }

  /// Makes TCP find out within this many seconds that a peer is gone without a word, its cable pulled or its power off: half
  /// of them silent, then three probes; or bytes that it does not acknowledge for as long, also because it has no room for
  /// them (tcp(7), TCP_USER_TIMEOUT). The connection then reads as failed. A listener's connections inherit it. ENOPROTOOPT or
  /// EOPNOTSUPP where it is no TCP socket.
  /// - Parameter seconds: 2...60,000.
  public static func noticeDeadPeer(_ fd: Int32, withinSeconds seconds: Int) throws(LinuxError) {
    let idle = seconds / 2
    let interval = max(1, (seconds - idle) / 3)
    try check(clinux_set_option(fd, Int32(CLINUX_KEEP_IDLE), Int32(idle)))
    try check(clinux_set_option(fd, Int32(CLINUX_KEEP_INTERVAL), Int32(interval)))
    try check(clinux_set_option(fd, Int32(CLINUX_KEEP_COUNT), Int32((seconds - idle) / interval)))
    try check(clinux_set_option(fd, Int32(CLINUX_USER_TIMEOUT), Int32(seconds * 1000)))
    try check(clinux_set_option(fd, Int32(CLINUX_KEEP_ALIVE), 1))
  }

  /// For a listener whose connections are streams of records, of which a part may stay unread: while less than a segment is
  /// free TCP would announce no window, and the rest of the record could not come. On a loopback a segment has 64 KiB, as
  /// much as the kernel keeps for a connection at first; no network's has more than 8960 bytes.
  public static func limitSegments(_ fd: Int32) throws(LinuxError) {
    try check(clinux_set_option(fd, Int32(CLINUX_SEGMENT_BYTES), 8960))
  }

  /// Ends both directions; the peer reads what was sent, then the end.
  public static func shutdown(_ fd: Int32) { _ = clinux_shutdown(fd, 0) }

  public static func close(_ fd: Int32) { _ = clinux_close(fd) }

  /// A connected pair of unix stream sockets, nonblocking: for a client in the same process (`Server.serve`),
  /// and for tests.
  public static func pair() throws(LinuxError) -> (Int32, Int32) {
    var first: Int32 = -1
    var second: Int32 = -1
    try check(clinux_socket_pair(&first, &second))
    return (first, second)
  }
}
