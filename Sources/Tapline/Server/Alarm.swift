import Bounded
import Gateway
import LinuxIO
import MQTTBroker
import TaplineConfiguration
import Taps

/// The work that the loop does at times of its own, whatever comes in; in the order in which it is done. Each case has
/// its deadline and its work in the two tables below, so the loop cannot wait for work that is then not done.
enum Alarm: UInt8 {
  case ports = 0
  case levels, sensors, inputs, presses, state, gatewayFigures, figures, lines, listeners, silentStreams, layers,
    reload, watchdog, log
}

extension Server {
  /// When the loop must turn again if nothing comes in before.
  var nextDeadline: Instant {
    var earliest = gateway.nextDeadline
    var number: UInt8 = 0
    while let alarm = Alarm(rawValue: number) {
      earliest = min(earliest, deadline(of: alarm))
      number += 1
    }
    return earliest
  }

  func ringAlarms(at moment: Moment) {
    var number: UInt8 = 0
    while let alarm = Alarm(rawValue: number) {
      if deadline(of: alarm) <= moment.at { ring(alarm, at: moment) }
      number += 1
    }
  }

  private func deadline(of alarm: Alarm) -> Instant {
    switch alarm {
    case .ports: ports.reduce(.never) { min($0, $1.nextDeadline) }
    case .levels: (0..<taps.levels.count).reduce(.never) { min($0, taps.levels[$1].retryAt) }
    case .sensors: taps.nextSensorDeadline
    case .inputs: taps.nextInputDeadline
    case .presses: presses.reduce(.never) { min($0, $1.nextAt) }
    case .state: board.stateKeeper?.dueAt ?? .never
    case .gatewayFigures: gatewayFiguresDeadline
    case .figures: figures.loopAt
    case .lines: board.retryAt.reduce(.never, min)
    case .listeners: streams.nextDeadline
    case .silentStreams: admission.nextDeadline
    case .layers: min(layers.nextDeadline, loop.handshakes.nextDeadline)
    case .reload: reloadDeadline
    case .watchdog: watchdogAt
    case .log: log.nextDeadline
    }
  }

  private func ring(_ alarm: Alarm, at moment: Moment) {
    let now = moment.at
    switch alarm {
    case .ports: advancePorts(at: now)
    case .levels: retryLevels(at: now)
    case .sensors: takeDueSensors(at: moment)
    case .inputs: advanceInputs(at: moment)
    case .presses: advancePresses(at: now)
    case .state: advanceState(at: now)
    case .gatewayFigures: publishGatewayFigures(at: now)
    case .figures: publishFigures(at: now)
    case .lines: for line in 0..<board.retryAt.count where board.retryAt[line] <= now { openLine(line, at: moment) }
    case .listeners: streams.advance(to: now)
    case .silentStreams: closeSilentStreams(at: now)
    case .layers:
      closeOverdueLayers(at: now)
      closeOverdueHandshakes(at: now)
    case .reload: goOnWithReload(at: now)
    case .watchdog: keepAlive(at: now)
    case .log: log.advance(to: now)
    }
  }

  /// Half the time that the service manager waits for.
  func keepAlive(at now: Instant) {
    guard let nanoseconds = service.watchdogNanoseconds else { return }
    service.keepAlive()
    watchdogAt = now.adding(nanoseconds: nanoseconds / 2)
  }
}
