import Bounded
import Gateway
import LinuxIO
import MQTTBroker
public import MQTTWire
import TaplineConfiguration

/// Connections that nobody has accepted: brought by the embedding program, or passed by the service manager.
extension Server {
  /// Serves a client on a connected stream descriptor: one end of `Transport.pair`, a socket that was inherited, a pipe
  /// of another process's making that goes both ways. From here on the descriptor is the server's, which makes it
  /// nonblocking and closes it. The client has `limits: connect_seconds` for its CONNECT, and takes one of `limits:
  /// connections`, as any other one.
  ///
  /// To be called on the loop's thread only: before `run`, between turns, or from an inline handler.
  /// - Parameters:
  ///   - allowsAnonymous: lets a client in that says no user name; nil: unless there is a password file.
  ///   - framing: what becomes of bytes that are no packet.
  /// - Returns: `false` where there is no place, which is counted as any other refusal, or where the descriptor cannot be
  ///   polled. It has been closed then.
  public func serve(
    connection fd: Int32, allowsAnonymous: Bool? = nil, framing: FramerPolicy = .disconnect
  ) -> Bool {
    let allowsAnonymous = allowsAnonymous ?? (configuration.users?.passwordFile == nil)
    let speaker = Speaker.none(allowsAnonymous: allowsAnonymous, policy: framing)
    let peer = PeerAddress(of: fd)
    try? Transport.noticeDeadPeer(fd, withinSeconds: configuration.loopLimits.deadPeerSeconds)  // where it is TCP
    // Whoever brings a connection answers for it: its address is not limited.
    let stream = admit(.local, at: Clock.now()) { streams.add(fd, .plain, owner: speaker.bits, from: peer) }
    if stream == nil { Streams.close(unserved: fd) }
    return stream != nil
  }

  /// Tells the broker what has become of streams since the last time. A handler may have brought some while the broker was
  /// in a call.
  func reportStreams() {
    guard streamsReport.isDue, !gateway.isInCall else { return }
    let gauge = streams.gauge
    let refusedCount = streamsReport.refusedCount
    streamsReport = StreamsReport(isDue: false)
    callBroker {
      $0.transports = gauge
      for _ in 0..<refusedCount { $0.streamRefused(.full(.connections), from: .local) }
    }
  }
}

/// Changes of streams of which the broker has not been told yet.
struct StreamsReport {
  /// Some have come or gone, or been refused.
  var isDue = true
  /// Refused for lack of a place.
  var refusedCount = 0
}
