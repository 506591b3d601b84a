import Bounded
import Gateway
import LinuxIO
import MQTTBroker
import MQTTWire
import TaplineConfiguration
import Taps

/// The orderly end: the status says so, clients are told, lines are given back.
extension Server {
  func stop() {
    service.stopping()
    let moment = Clock.moment()
    let now = moment.at
    composeLastState(at: moment)
    isStopping = true
    gateway.leave(at: now)  // before anything that may take its time
    publishStatus(online: false, at: now)
    flushAll(at: now)
    closeUnheardStreams(at: now)
    brokerTurn(at: now) { $0.closeAll(.serverShuttingDown, at: now) }
    flushAll(at: now)
    for line in 0..<taps.lineCount { board.close(line: line) }
    closeListeners()
    writeLastState(at: now)
    log.write(.notice, .server, "tapline: stopped")
    log.end()
  }

  /// Gives every connection one chance to take what waits for it.
  private func flushAll(at now: Instant) {
    var rounds = 4
    while rounds > 0, broker.hasReady {
      flushReady(at: now)
      rounds -= 1
    }
  }
}
