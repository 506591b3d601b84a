public import Bounded
import CLinux

/// Sockets that the service manager made for this process (sd_listen_fds(3)). A listening one is taken for the address that
/// it listens on, so that a socket unit opens nothing that the configuration does not name. A connected one is a client
/// that the service manager has accepted.
public struct PassedSockets {
  /// SD_LISTEN_FDS_START.
  static var firstFD: Int32 { 3 }
  static var countMax: Int { 64 }

  private let firstFD: Int32
  /// Bit n: descriptor `firstFD` + n is there and not taken.
  private var left: UInt64

  public init() {
    self.init(
      firstFD: PassedSockets.firstFD, count: Process.environment("LISTEN_FDS"), pid: Process.environment("LISTEN_PID"))
  }

  init(firstFD: Int32, count: Bytes?, pid: Bytes?) {
    self.firstFD = firstFD
    let isForUs = pid.flatMap { $0.leadingDecimal } == Int64(clinux_pid())
    let number = isForUs ? count.flatMap { $0.leadingDecimal } ?? 0 : 0
    left = number <= 0 ? 0 : .max >> UInt64(64 - min(number, Int64(PassedSockets.countMax)))
  }

  /// Sockets that nobody asked for.
  public var leftCount: Int { left.nonzeroBitCount }

  /// The socket that listens on this numeric address and port.
  /// - Parameter deadPeerSeconds: as `Listener.tcp`'s.
  public mutating func tcp(address text: Bytes, port: UInt16, deadPeerSeconds: Int = 60) -> Listener? {
    guard left != 0, var address = IPAddress(text)?.kernel else { return nil }
    address.port = port
    guard let listener = take(address) else { return nil }
    try? Transport.noticeDeadPeer(listener.fd, withinSeconds: deadPeerSeconds)
    return listener
  }

  /// The socket that listens on this socket file or abstract name.
  public mutating func unix(path: Bytes) -> Listener? {
    guard left != 0, let address = try? unixAddress(path) else { return nil }
    return take(address)
  }

  /// The next connected stream socket.
  public mutating func connection() -> Int32? {
    for index in 0..<PassedSockets.countMax where left >> UInt64(index) & 1 != 0 {
      let fd = firstFD + Int32(index)
      var address = clinux_address()
      guard clinux_is_stream(fd) == 1, clinux_is_listening(fd) == 0, clinux_peer_address(fd, &address) == 0 else {
        continue
      }
      left &= ~(1 << UInt64(index))
      return fd
    }
    return nil
  }

  /// Nobody serves the listener any more. It can be taken again; its clients wait until then, as the service manager listens.
  public mutating func giveBack(_ listener: Listener) {
    precondition(listener.isPassed && listener.fd >= firstFD && listener.fd < firstFD + Int32(PassedSockets.countMax))
    left |= 1 << UInt64(listener.fd - firstFD)
  }

  private mutating func take(_ wanted: clinux_address) -> Listener? {
    for index in 0..<PassedSockets.countMax where left >> UInt64(index) & 1 != 0 {
      let fd = firstFD + Int32(index)
      var address = clinux_address()
      guard clinux_is_stream(fd) == 1, clinux_is_listening(fd) == 1, clinux_local_address(fd, &address) == 0,
        PassedSockets.isSame(address, wanted), clinux_set_nonblocking(fd) == 0
      else { continue }
      left &= ~(1 << UInt64(index))
      return Listener(fd: fd, isUnix: address.family == Int32(CLINUX_UNIX), isPassed: true)
    }
    return nil
  }

  private static func isSame(_ left: clinux_address, _ right: clinux_address) -> Bool {
    guard left.family == right.family, left.port == right.port, left.path_count == right.path_count else {
      return false
    }
    return withUnsafeBytes(of: left.ip) { one in
      withUnsafeBytes(of: right.ip) { Bytes($0) == Bytes(one) }
    }
      && withUnsafeBytes(of: left.path) { one in
        withUnsafeBytes(of: right.path) { Bytes($0) == Bytes(one) }
      }
  }
}
