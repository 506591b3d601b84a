import Bounded
import LinuxIO
import MQTTBroker
import MQTTWire
import TaplineConfiguration
import Taps

/// What is logged of clients. Lines that many clients may bring about leave the port out, so that the same
/// ones are folded.
extension Server {
  // MARK: Clients

  /// In the broker's turn. Who comes and goes is for `mqtt: info`; whom the broker sends away, for everybody.
  func tell(_ presence: Presence) {
    tellOfLease(presence)
    let priority: Log.Priority =
      switch presence.change {
      case .connected, .disconnected, .lost: .info
      case .closed(let reason): reason == .serverShuttingDown ? .info : .notice
      }
    log.line(priority, .mqtt) { line in
      line.write("tapline: client ")
      line.write(quoted: presence.clientID)
      line.write(" from ")
      streams.peer(of: StreamID(bits: presence.transport))?.write(to: &line, withPort: priority == .info)
      switch presence.change {
      case .connected:
        line.write(presence.isBridge ? " connected as a bridge, MQTT " : " connected, MQTT ")
        line.write(presence.version.text)
      case .disconnected(let reason):
        line.write(" disconnected")
        if reason == .success { return }
        line.write(": ")
        line.write(reason.text)
      case .lost: line.write(" is gone, without a DISCONNECT")
      case .closed(let reason):
        line.write(" was disconnected: ")
        line.write(reason.text)
      }
    }
  }

  private func tellOfLease(_ presence: Presence) {
    guard presence.isHere, !taps.holdsLeases(presence.clientID, keepAliveSeconds: presence.keepAliveSeconds),
      let longest = taps.longestKeepAlive(of: presence.clientID)
    else { return }
    log.line(.warning, .taps) { line in
      line.write("tapline: client ")
      line.write(quoted: presence.clientID)
      line.write(" does not hold its lease: its keep alive is ")
      line.writeDecimal(UInt64(presence.keepAliveSeconds))
      line.write(" s; expected 1 to ")
      line.writeDecimal(UInt64(longest))
      line.write("; see lease: keep_alive")
    }
  }

  func tellOfConnection(_ stream: StreamID) {
    log.line(.debug, .mqtt) { line in
      line.write("tapline: connection")
      writeAddress(of: stream.bits, withPort: true, into: &line)
    }
  }

  /// After each turn.
  func tellNotices() {
    while let notice = callBroker({ $0.nextNotice() }) {
      if notice.isOfClient { continue }
      log.line(.notice, .mqtt) { line in
        line.write("tapline: ")
        switch notice.kind {
        case .connectionFailed:
          line.write("connection closed")
          writeAddress(of: notice.transport, withPort: false, into: &line)
        case .connectRefused:
          line.write("client refused")
          writeAddress(of: notice.transport, withPort: false, into: &line)
        case .sourceRefused:
          line.write("connections refused from ")
          notice.source.write(into: &line)
        case .takeoverRefused:
          line.write("two clients are called ")
          line.write(quoted: broker.clientID(of: notice))
          line.write(", the newer is refused")
        }
        line.write(": ")
        line.write(notice.reason.text)
      }
    }
  }

  /// ` from ADDRESS`; nothing once another stream has its place.
  private func writeAddress(of transport: UInt32, withPort: Bool, into line: inout ByteWriter) {
    guard let peer = streams.peer(of: StreamID(bits: transport)) else { return }
    line.write(" from ")
    peer.write(to: &line, withPort: withPort)
  }

  /// For SIGUSR1.
  func reportPools() {
    for index in 0..<Broker.poolCount {
      let (name, gauge) = broker.pool(index)
      log.line(.notice, .server) { line in
        line.write("tapline: pool ")
        line.write(name)
        line.write(" ")
        gauge.write(into: &line)
      }
    }
  }
}
