public import Bounded
import CLinux

/// How a serial line carries a byte: a start bit, 8 bits of data, perhaps a parity bit, and a stop bit.
public struct SerialSettings: Sendable, Equatable {
  public enum Parity: Sendable { case none, even, odd }
  public enum Flow: Sendable {
    case none
    /// The wires RTS and CTS say who may send.
    case rtscts
  }

  /// Bits a second; one of those that termios(3) has a name for, 1200 to 4000000.
  public var baud: Int
  public var parity: Parity
  public var flow: Flow

  public init(baud: Int = 115_200, parity: Parity = .none, flow: Flow = .none) {
    self.baud = baud
    self.parity = parity
    self.flow = flow
  }

  /// Nanoseconds that one byte takes.
  public var nanosecondsPerByte: Int64 { Int64(parity == .none ? 10 : 11) * 1_000_000_000 / Int64(baud) }
}

/// A serial device of the kernel: a UART, or a USB adapter.
public enum SerialDevice {
  /// Opens a device, raw and nonblocking, for this process alone; what has come in before is thrown away. Bytes with a
  /// wrong parity bit, bytes without a stop bit and breaks are marked (termios(3), PARMRK). ENOTTY: it is no
  /// terminal. EOPNOTSUPP: it does not have this speed.
  public static func open(_ path: Bytes, _ settings: SerialSettings) throws(LinuxError) -> Int32 {
    let fd = try check(withPath(path) { clinux_terminal_open($0) })
    let parity =
      switch settings.parity {
      case .none: CLINUX_PARITY_NONE
      case .even: CLINUX_PARITY_EVEN
      case .odd: CLINUX_PARITY_ODD
      }
    do throws(LinuxError) {
      try check(
        clinux_terminal_set(fd, Int32(settings.baud), Int32(parity), settings.flow == .rtscts ? 1 : 0))
      try check(clinux_terminal_exclude(fd))
      try check(clinux_terminal_discard(fd))
    } catch {
      Transport.close(fd)
      throw error
    }
    return fd
  }
}
