import Bounded
import LinuxIO
import MQTTBroker
import MQTTWire
import TaplineConfiguration

/// A serial line as a listener: its device, and the one client at its far end.
///
/// Invariant: `connection` is nil while `stream` is.
final class SerialPort {
  let path: [UInt8]
  let line: SerialSettings
  /// A client without a user name is let in.
  let allowsAnonymous: Bool
  /// How long the line is quiet between bursts.
  let gapNanoseconds: Int64
  var framer: BurstFramer
  /// nil: the device is missing, or is not opened yet.
  var stream: StreamID?
  /// The client's, from its CONNECT on.
  var connection: ConnectionID?
  /// When the burst that is under way has ended, if no more bytes come.
  var quietAt = Instant.never
  var retryAt = Instant(nanoseconds: 0)
  /// The wait after the next failure; doubled each time.
  private var retrySeconds = 1
  /// The log has said that the device is missing.
  var isMissingTold = false
  var published: Figures?

  struct Figures: Equatable {
    var isOpen: Bool
    var isConnected: Bool
    var skippedBytes: UInt64
  }

  private static var retrySecondsMax: Int { 30 }
  /// USB adapters hand over what they have every 16 ms.
  private static var gapNanosecondsMin: Int64 { 30_000_000 }
  private static var gapBytes: Int64 { 20 }

  init(
    path: [UInt8], _ line: SerialSettings, allowsAnonymous: Bool, _ limits: Limits, in reservation: inout Reservation
  ) {
    self.path = path
    self.line = line
    self.allowsAnonymous = allowsAnonymous
    gapNanoseconds = max(SerialPort.gapNanosecondsMin, SerialPort.gapBytes * line.nanosecondsPerByte)
    framer = BurstFramer(packetBytesMax: limits.packetBytesMax, name: "serial line", in: &reservation)
  }

  static func list(_ listeners: [ListenerSettings], _ limits: Limits, in reservation: inout Reservation) -> [SerialPort]
  {
    var ports: [SerialPort] = []
    for settings in listeners {
      guard case .serial(let path, let line) = settings.endpoint else { continue }
      ports.append(
        SerialPort(path: path, line, allowsAnonymous: settings.isAnonymousAllowed, limits, in: &reservation))
    }
    return ports
  }

  /// The device's descriptor.
  func openDevice() -> Result<Int32, LinuxError> {
    path.lend { path in
      do throws(LinuxError) {
        return .success(try SerialDevice.open(path, line))
      } catch {
        return .failure(error)
      }
    }
  }

  /// Bytes have come: the device works.
  func heard(at now: Instant) {
    quietAt = now.adding(nanoseconds: gapNanoseconds)
    retrySeconds = 1
  }

  func tryLater(at now: Instant) {
    retryAt = now.adding(seconds: Int64(retrySeconds))
    retrySeconds = min(2 * retrySeconds, SerialPort.retrySecondsMax)
  }

  var nextDeadline: Instant { min(quietAt, retryAt) }

  var figures: Figures {
    Figures(isOpen: stream != nil, isConnected: connection != nil, skippedBytes: framer.skippedByteCount)
  }
}
