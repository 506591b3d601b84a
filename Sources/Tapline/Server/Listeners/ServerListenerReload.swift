import Bounded
import LinuxIO
import MQTTBroker
import MQTTWire
import TLS
import TaplineConfiguration

/// A reload's change of listeners is taken over in one turn, after everything that can fail has been done. Clients that are
/// connected stay, whatever becomes of their listener; only those that have not come to CONNECT at a listener that is changed
/// are closed. Connections of a certificate that was replaced stay too, until there are too many such certificates.
extension Server {
  /// `false`: the kernel does not poll a new listener, and nothing is changed.
  func takeOver(_ change: ListenerChange, at now: Instant) -> Bool {
    guard let desk = reload.desk.listeners, !change.isNothing else { return true }
    guard openListeners(of: change) else {
      change.discard(&desk.opening)
      return false
    }
    for place in change.removed {
      closeEarlyStreams(ofListener: place, at: now)
      removeSocketFile(listeners[place], of: streams.listener(at: place))
      if let listener = streams.stopListening(at: place) { stopped(listener, desk) }
    }
    for place in change.altered {
      closeEarlyStreams(ofListener: place, at: now)
      if case .unix(let path, let mode) = change.rows[place]!.settings.endpoint {
        path.lend { streams.listener(at: place)?.setMode(mode, at: $0) }
      }
    }
    listeners = change.table
    desk.table = change.table
    layers.adopt(change.table.layers)
    changeContexts(change)
    return true
  }

  private func openListeners(of change: ListenerChange) -> Bool {
    for (index, new) in change.opened.enumerated() where !streams.listen(new.listener, at: new.place) {
      for earlier in change.opened[..<index] { _ = streams.stopListening(at: earlier.place) }
      return false
    }
    return true
  }

  private func stopped(_ listener: Listener, _ desk: ListenerDesk) {
    if listener.isPassed {
      log.write(
        .warning, .server,
        "tapline: the socket unit still listens there, and its clients wait for nobody; expected systemctl stop of it")
    }
    desk.opening.takeBack(listener)
  }

  /// What is said before MQTT is judged by the listener's settings, so who has not come to CONNECT cannot go on with others.
  private func closeEarlyStreams(ofListener listener: Int, at now: Instant) {
    guard layers.isUsed else { return }
    for place in 0..<streams.gauge.capacity {
      guard let stream = streams.stream(at: place), case .layer = Speaker(bits: streams.owner(of: stream)),
        layers.listener(of: place) == listener
      else { continue }
      if let id = layers.connection(of: place), !broker.awaitsConnect(id) { continue }
      close(stream, at: now)
    }
  }

  // MARK: Contexts

  private func changeContexts(_ change: ListenerChange) {
    guard let service = loop.service else { return }
    for place in change.removed { service.retire(listener: place) }
    for place in change.altered where change.table[place].layers.tls == nil { service.retire(listener: place) }
    service.put(change.contexts)
    service.makeRoom { slot in
      for place in 0..<streams.gauge.capacity where tls.context(of: place) == slot { return true }
      return false
    }
    if service.slots.hasEnding { reload.endedCount = 0 }
  }

  /// Ends some of the connections whose context gives way.
  func endOldConnections(at now: Instant) {
    guard let service = loop.service, var place = reload.endedCount else { return }
    var left = Server.connectionsEndedMax
    while place < streams.gauge.capacity, left > 0 {
      if let slot = tls.context(of: place), service.slots[slot] == .ending, let stream = streams.stream(at: place) {
        left -= 1
        reload.endedConnectionCount += 1
        end(stream, at: now)
      }
      place += 1
    }
    guard place == streams.gauge.capacity else {
      reload.endedCount = place
      return
    }
    service.ended()
    reload.endedCount = nil
    tellEndedConnections()
  }

  private static var connectionsEndedMax: Int { 64 }

  /// Says why, as far as the kernel takes it at once.
  private func end(_ stream: StreamID, at now: Instant) {
    if let id = layers.connection(of: stream.index), !broker.isClosing(id) {
      brokerTurn(at: now) { $0.close(id, .administrativeAction, at: now) }
      if streams.isOpen(stream) { flush(stream, at: now) }
    }
    if streams.isOpen(stream) { close(stream, at: now) }
  }

  private func tellEndedConnections() {
    let count = reload.endedConnectionCount
    reload.endedConnectionCount = 0
    guard count > 0 else { return }
    log.line(.notice, .server) { line in
      line.write("tapline: ")
      line.writeDecimal(UInt64(count))
      line.write(count == 1 ? " connection" : " connections")
      line.write(" ended, of certificates that were replaced more than once since")
    }
  }
}
