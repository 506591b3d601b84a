import CLinux

/// Signals as a descriptor: blocked in every thread and read by the loop, so that no handler ever runs. To be made
/// before the first thread is started, which then inherits the mask.
public struct Signals: Sendable {
  public enum Signal: Sendable {
    /// SIGTERM or SIGINT: an orderly stop.
    case stop
    /// SIGHUP.
    case reload
    /// SIGUSR1.
    case report
  }

  /// Readable when a signal waits.
  public let fd: Int32

  public init() throws(LinuxError) {
    var mask: UInt64 = 0
    for number in [CLINUX_SIGTERM, CLINUX_SIGINT, CLINUX_SIGHUP, CLINUX_SIGUSR1] { mask |= 1 << (UInt64(number) - 1) }
    try check(clinux_signal_ignore(Int32(CLINUX_SIGPIPE)))
    try check(clinux_signals_block(mask))
    fd = try check(clinux_signalfd(mask))
  }

  /// The next signal, nil when none waits.
  public func next() -> Signal? {
    switch clinux_signal_read(fd) {
    case Int32(CLINUX_SIGTERM), Int32(CLINUX_SIGINT): return .stop
    case Int32(CLINUX_SIGHUP): return .reload
    case Int32(CLINUX_SIGUSR1): return .report
    default: return nil
    }
  }

  public func close() { _ = clinux_close(fd) }
}
