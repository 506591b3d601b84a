import Bounded
import LinuxIO
import TaplineConfiguration

/// Opens the sockets of listeners: those of the service manager first, its own otherwise. The start has it, and then the
/// reload's lane.
struct ListenerOpening {
  private var passed = PassedSockets()
  private let deadPeerSeconds: Int

  init(deadPeerSeconds: Int) { self.deadPeerSeconds = deadPeerSeconds }

  /// Sockets of the service manager that nobody has asked for.
  var leftCount: Int { passed.leftCount }

  /// The next connected socket that the service manager has passed.
  mutating func passedConnection() -> Int32? { passed.connection() }

  /// Nobody is served there any more: the socket is closed, or is the service manager's to listen on.
  mutating func takeBack(_ listener: Listener) {
    if listener.isPassed { passed.giveBack(listener) } else { listener.close() }
  }

  /// A socket that listens, or why there is none. `settings` is no serial line's.
  mutating func open(_ settings: ListenerSettings) -> Result<Listener, Refusal> {
    do throws(LinuxError) {
      let listener = try open(settings.endpoint)
      if settings.layers.tls != nil, !listener.isUnix { try? Transport.limitSegments(listener.fd) }
      return .success(listener)
    } catch {
      var text = Text("cannot listen on ")
      settings.describe(into: &text)
      text.add(": ")
      text.add(error.text)
      text.add(ListenerOpening.remedy(error, settings.endpoint))
      return .failure(Refusal(text: text))
    }
  }

  struct Refusal: Error {
    let text: Text
  }

  private mutating func open(_ endpoint: ListenerSettings.Endpoint) throws(LinuxError) -> Listener {
    switch endpoint {
    case .tcp(let address, let port):
      if let listener = address.lend({ passed.tcp(address: $0, port: port, deadPeerSeconds: deadPeerSeconds) }) {
        return listener
      }
      return try address.lend { address throws(LinuxError) in
        try Listener.tcp(address: address, port: port, backlog: 128, deadPeerSeconds: deadPeerSeconds)
      }
    case .unix(let path, let mode):
      if let listener = path.lend({ passed.unix(path: $0) }) { return listener }
      return try path.lend { path throws(LinuxError) in try Listener.unix(path: path, mode: mode, backlog: 128) }
    case .serial:
      throw .invalid
    }
  }

  private static func remedy(_ error: LinuxError, _ endpoint: ListenerSettings.Endpoint) -> StaticString {
    switch error {
    case .noEntry: "; its directory is missing"
    case .accessDenied:
      switch endpoint {
      case .tcp: "; a port below 1024 needs CAP_NET_BIND_SERVICE"
      case .unix, .serial: "; its directory belongs to another user"
      }
    case .addressInUse:
      switch endpoint {
      case .unix(let path, _) where path.first != UInt8(ascii: "@"):
        "; another broker is running, or what is there is no socket file"
      case .tcp, .unix, .serial: "; is another broker running?"
      }
    case .addressNotAvailable: "; this machine does not have that address now"
    default: ""
    }
  }
}
