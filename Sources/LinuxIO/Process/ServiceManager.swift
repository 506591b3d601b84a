public import Bounded
import CLinux

/// The other end of sd_notify(3): datagrams to NOTIFY_SOCKET. Without a service manager every call does nothing.
public struct ServiceManager: Sendable {
  private let fd: Int32
  /// WATCHDOG_USEC in nanoseconds, nil without a watchdog. `keepAlive` is due at half of it.
  public let watchdogNanoseconds: Int64?

  public init() {
    self.init(
      socket: Process.environment("NOTIFY_SOCKET"), watchdogMicroseconds: Process.environment("WATCHDOG_USEC"),
      watchdogPID: Process.environment("WATCHDOG_PID"))
  }

  init(socket: Bytes?, watchdogMicroseconds: Bytes?, watchdogPID: Bytes?) {
    let isForUs = watchdogPID.map { $0.leadingDecimal == Int64(clinux_pid()) } ?? true
    let microseconds = isForUs ? watchdogMicroseconds.flatMap { $0.leadingDecimal } : nil
    watchdogNanoseconds = microseconds.flatMap { $0 > 0 && $0 < .max / 1000 ? $0 * 1000 : nil }
    fd = socket.map { ServiceManager.connect($0) } ?? -1
  }

  private static func connect(_ path: Bytes) -> Int32 {
    guard var address = try? unixAddress(path) else { return -1 }
    let fd = clinux_datagram_socket()
    guard fd >= 0 else { return -1 }
    guard clinux_connect(fd, &address) == 0 else {
      _ = clinux_close(fd)
      return -1
    }
    return fd
  }

  public var isPresent: Bool { fd >= 0 }

  public func ready() { notify(Bytes("READY=1")) }
  /// The configuration is being read again; `ready` follows. Types `notify-reload` and `notify` know it.
  public func reloading(monotonicMicroseconds: Int64) {
    var lines = FixedText<64>()
    lines.append("RELOADING=1\nMONOTONIC_USEC=")
    lines.append(decimal: UInt64(monotonicMicroseconds))
    lines.withBytes { _ = notify($0) }
  }
  public func stopping() { notify(Bytes("STOPPING=1")) }
  public func keepAlive() { notify(Bytes("WATCHDOG=1")) }

  /// One or more `NAME=value` lines in one datagram, sent without waiting: true when it was.
  @discardableResult
  public func notify(_ lines: Bytes) -> Bool {
    guard fd >= 0 else { return false }
    return clinux_write(fd, lines.buffer.baseAddress, lines.count) == Int64(lines.count)
  }
}
