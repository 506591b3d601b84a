import Bounded
import Gateway
import LinuxIO
import MQTTBroker
import MQTTWire
import TaplineConfiguration
import Taps

/// Logs clients. Lines that many clients may cause leave the port out, so that equal ones are folded.
extension Server {
  // MARK: Clients

  /// Logs connects and disconnects at `info`, and disconnections by the broker at `notice`. Runs in the broker's turn.
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

  @inline(never) func tellOfConnection(_ stream: StreamID) {
    log.line(.debug, .mqtt) { line in
      line.write("tapline: connection")
      writeAddress(of: stream.bits, withPort: true, into: &line)
    }
  }

  /// After each turn.
  @inline(never) func tellNotices(at now: Instant) {
    while let notice = callBroker({ $0.nextNotice() }) {
      if notice.isOfClient || isToldAlready(notice) { continue }
      if notice.kind == .limitHit {
        tellHits(notice, at: now)
        continue
      }
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
        case .limitHit: break
        }
        line.write(": ")
        line.write(notice.reason.text)
        switch notice.kind {
        case .sourceRefused, .takeoverRefused: writeRemedy(notice.limit, into: &line)
        case .connectionFailed, .connectRefused, .limitHit: break
        }
      }
    }
  }

  /// A login that was refused was told of with its user's name.
  private func isToldAlready(_ notice: Notice) -> Bool {
    guard users != nil, case .connectRefused = notice.kind else { return false }
    return notice.reason == .badUserNameOrPassword
  }

  /// `connections (64) are all in use; 192.0.2.7 was refused, and 3 others before; see limits: connections`.
  @inline(never) private func tellHits(_ notice: Notice, at now: Instant) {
    guard let count = callBroker({ $0.takeHits(notice.limit, at: now) }) else { return }
    let (name, measure, value) = notice.limit.facts(configuration.limits)
    log.line(.notice, .mqtt) { line in
      line.write("tapline: ")
      line.write(name)
      line.write(" (")
      line.writeDecimal(UInt64(value))
      line.write(")")
      switch measure {
      case .places where notice.size > 0:
        line.write(": its share is exceeded with ")
        line.writeDecimal(UInt64(notice.size))
      case .places: line.write(notice.limit.hasFloors ? " are all in use, or kept for others" : " are all in use")
      case .seconds: line.write(" are over")
      case .size:
        line.write(" is exceeded")
        if notice.size > 0 {
          line.write(" with ")
          line.writeDecimal(UInt64(notice.size))
        }
      }
      line.write("; ")
      writeWho(notice, into: &line)
      switch notice.outcome {
      case .refused: line.write(" was refused")
      case .refusedSender: line.write(" has no room for a message, and who sent it was refused")
      case .lostMessage: line.write(" has lost a message")
      case .disconnected: line.write(" was disconnected")
      case .gaveWay where notice.isOfSource: line.write(" had sent no CONNECT and gave way to a newcomer")
      case .gaveWay: line.write(" was let in, and the session that was away longest has ended")
      }
      if count > 1 {
        line.write(", and ")
        line.writeDecimal(UInt64(count - 1))
        line.write(count == 2 ? " other before" : " others before")
      }
      writeRemedy(notice.limit, into: &line)
    }
  }

  /// Limits that handlers of the embedding program met since the last time, once a minute.
  func tellHandlerLimits(at now: Instant) {
    let counters = gateway.handlerCounters
    let droppedCount = counters.decoupledDropped &- figures.loggedHandlers.decoupledDropped
    let asideCount = counters.quarantines &- figures.loggedHandlers.quarantines
    guard figures.handlersQuietUntil <= now, droppedCount > 0 || asideCount > 0 else { return }
    figures.loggedHandlers = counters
    figures.handlersQuietUntil = now.adding(seconds: 60)
    let limits = configuration.loopLimits
    if droppedCount > 0 {
      log.line(.notice, .taps) { line in
        line.write("tapline: tap_queue (")
        line.writeDecimal(UInt64(limits.tapQueueMax))
        line.write(") or tap_queue_bytes (")
        line.writeDecimal(UInt64(limits.tapQueueBytesMax))
        line.write(") is exceeded; messages that handlers lost: ")
        line.writeDecimal(droppedCount)
        line.write("; see limits: tap_queue")
      }
    }
    guard asideCount > 0 else { return }
    log.line(.notice, .taps) { line in
      line.write("tapline: tap_microseconds (")
      line.writeDecimal(UInt64(limits.tapMicroseconds))
      line.write(") is exceeded more than tap_overruns (")
      line.writeDecimal(UInt64(limits.tapOverrunsMax))
      line.write(") times in a minute; a handler is set aside for a minute; see limits: tap_microseconds")
    }
  }

  private func writeRemedy(_ limit: Limit, into line: inout ByteWriter) {
    line.write("; see limits: ")
    line.write(limit.facts(configuration.limits).name)
  }

  /// `client 'x'`, `a client at 192.0.2.7`, `192.0.2.7`, or the board, for what it wanted itself.
  private func writeWho(_ notice: Notice, into line: inout ByteWriter) {
    let clientID = broker.clientID(at: notice.limit)
    if !clientID.isEmpty {
      line.write("client ")
      line.write(quoted: clientID)
    } else if notice.transport != 0 {
      guard let peer = streams.peer(of: StreamID(bits: notice.transport)) else { return line.write("a client") }
      line.write("a client at ")
      peer.write(to: &line, withPort: false)
    } else if notice.isOfSource {
      notice.source.write(into: &line)
    } else {
      line.write("a message of the board's own")
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
