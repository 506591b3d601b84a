import Bounded
import LinuxIO
import MQTTBroker
import TaplineConfiguration
import Taps

/// Where clients come in: the listeners of the configuration, opened here or passed by the service manager.
extension Server {
  func openListeners() throws(StartError) {
    if let raised = try? Process.raiseDescriptorLimit(to: configuration.limits.connectionsMax + taps.lineCount + 64),
      raised < configuration.limits.connectionsMax + taps.lineCount + 32
    {
      log.write(.warning, .server, "tapline: the limit of open files is below limits: connections; see ulimit -n")
    }
    var passed = PassedSockets()
    let deadPeerSeconds = configuration.loopLimits.deadPeerSeconds
    for settings in socketListeners {
      let opened: Result<Listener, LinuxError>
      switch settings.endpoint {
      case .tcp(let address, let port):
        opened = address.lend { address in
          if let listener = passed.tcp(address: address, port: port, deadPeerSeconds: deadPeerSeconds) {
            return .success(listener)
          }
          return Server.catching { () throws(LinuxError) in
            try Listener.tcp(address: address, port: port, backlog: 128, deadPeerSeconds: deadPeerSeconds)
          }
        }
      case .unix(let path, let mode):
        opened = path.lend { path in
          if let listener = passed.unix(path: path) { return .success(listener) }
          return Server.catching { () throws(LinuxError) in try Listener.unix(path: path, mode: mode, backlog: 128) }
        }
      case .serial:
        continue
      }
      switch opened {
      case .failure(let error):
        var text = Text("cannot listen on ")
        settings.describe(into: &text)
        text.add(": ")
        text.add(error.text)
        text.add(Server.remedy(error, settings.endpoint))
        text.add("; see listeners in ")
        text.add(configuration.file)
        throw StartError(text: text)
      case .success(let listener):
        if settings.layers.tls != nil, !listener.isUnix { try? Transport.limitSegments(listener.fd) }
        guard streams.listen(listener) != nil else {
          throw StartError(text: Text("a listener cannot be polled"))  // ENOMEM, or max_user_watches
        }
      }
    }
    while let fd = passed.connection() { _ = serve(connection: fd) }
    if passed.leftCount > 0 {
      log.write(
        .warning, .server,
        "tapline: the socket unit passes a socket that no listener in the configuration names; ignoring it")
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

  private static func catching(_ body: () throws(LinuxError) -> Listener) -> Result<Listener, LinuxError> {
    do throws(LinuxError) {
      return .success(try body())
    } catch {
      return .failure(error)
    }
  }

  /// Takes no more connections, and removes the socket files that are ours.
  func closeListeners() {
    for (index, settings) in socketListeners.enumerated() {
      if case .unix(let path, _) = settings.endpoint { path.lend { streams.removeFile(ofListener: index, at: $0) } }
    }
    streams.closeListeners()
  }
}

extension ListenerSettings {
  /// `127.0.0.1:1883`, `[::1]:1883` or the path.
  func describe(into text: inout Text) {
    switch endpoint {
    case .tcp(let address, let port):
      let isV6 = address.contains(UInt8(ascii: ":"))
      if isV6 { text.add("[") }
      text.add(address)
      text.add(isV6 ? "]:" : ":")
      text.add(Int(port))
    case .unix(let path, _), .serial(let path, _):
      text.add(path)
    }
  }
}
