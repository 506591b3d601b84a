import Bounded
import Gateway
import LinuxIO
import MQTTBroker
import MQTTWire
public import TaplineConfiguration
import Taps

/// What a descriptor in the poller is; the low half of its token is an index, or a stream's handle.
enum TokenKind: UInt32 {
  case stream = 0
  case listener
  case line
  case signals
  case slowLane
  case stateFile
  case level
  case passwords
  case reload
  case handshakes

  func token(_ low: Int) -> UInt64 { UInt64(rawValue) << 32 | UInt64(UInt32(low)) }
}

/// The turns: wait, take what came in, do what is due, write what is to be written, one flush a connection.
extension Server {
  /// Serves until SIGTERM or SIGINT. 0 after an orderly end, 70 when the handlers' thread cannot be started.
  public func run() -> Int32 {
    do throws(LinuxError) {
      try startHandlerLane()
    } catch {
      log.write(.error, .server, "tapline: the handlers' thread cannot be started")
      return 70
    }
    start()
    var before = Clock.now()
    while !isStopping { before = turn(from: before) }
    stop()
    return 0
  }

  /// Starts and serves; what keeps it from starting is in the log. The process's exit status: 0; 78 where the configuration
  /// names files that are wrong; or 70.
  public static func run(_ configuration: Configuration, allocationCount: (() -> UInt64)? = nil) -> Int32 {
    do throws(StartError) {
      let server = try Server(configuration)
      server.allocationCount = allocationCount
      return server.run()
    } catch {
      let log = Log(configuration.log)
      for text in [error.text] + error.more {
        log.line(.error, .server) { line in
          line.write("tapline: ")
          text.bytes.lend { line.write($0.first(min($0.count, line.free))) }
        }
      }
      return error.isConfiguration ? 78 : 70
    }
  }

  func publishStatus(online: Bool, at now: Instant) {
    guard configuration.taps.hasStatus else { return }
    gateway.publish(taps.status(online: online, wallNanoseconds: Clock.wallNanoseconds()), at: now)
  }

  func start() {
    MappedMemory.touchStack(byteCount: Server.stackBytes)
    let moment = Clock.moment()
    let now = moment.at
    publishStatus(online: true, at: now)
    tellWhatTheKernelKeeps()
    gateway.startDiscovery(previous: board.stateKeeper?.previousEntries.map { $0.name } ?? [], at: now)
    gateway.rulesMustWait = true  // an output that is not requested yet does what no rule wants
    for line in 0..<taps.lineCount { openLine(line, at: moment) }
    gateway.rulesMustWait = false
    gateway.settle(at: now)
    board.stateChanged(at: now)  // so that a file that cannot be written is told of now
    callBroker { $0.startSys(at: now) }
    ownFigures()
    publishVersion(at: now)
    gateway.advance(to: moment)
    MappedMemory.trim()
    keepAlive(at: now)
    log.line(.notice, .server) { line in
      line.write("tapline: ready, ")
      line.writeDecimal(UInt64(memory.byteCount / 1024))
      line.write(" KiB reserved, ")
      line.writeDecimal(UInt64(configuration.listeners.count))
      line.write(" listeners, ")
      line.writeDecimal(UInt64(taps.lineCount))
      line.write(" lines, ")
      line.writeDecimal(UInt64(taps.sensors.count))
      line.write(" sensors")
    }
    service.ready()
    figures.loopAt = now
    figures.allocationsAtStart = allocationCount?() ?? 0
  }

  /// `before` is now; when the turn is over it is what is returned. A deadline of a client that comes while the loop waits is
  /// judged in the turn after this one, which reads what has come up to then.
  @_optimize(speed) func turn(from before: Instant) -> Instant {
    let due = nextDeadline
    let count = poller.wait(until: broker.hasReady || streams.hasReadable ? before : due, now: before)
    let moment = Clock.moment()
    let now = moment.at
    var index = 0
    while index < count {
      dispatch(poller.event(index), at: moment)
      index += 1
    }
    streams.polled(since: before)
    takeStreams(at: now)
    if let users { refuseGivenWay(users, at: now) }
    reportStreams()
    gateway.advance(to: moment, heardUntil: streams.heardUntil)
    // What falls due in this turn is seen before the next wait.
    if due <= now { ringAlarms(at: moment) }
    flushReady(at: now)
    tellNotices(at: now)
    let ended = Clock.now()
    figures.turnTimes.add(nanoseconds: ended.since(now))
    return ended
  }

  func poll(_ fd: Int32, _ kind: TokenKind, _ low: Int) {
    do throws(LinuxError) {
      try poller.add(fd, token: kind.token(low), interest: .read)
    } catch {
      log.write(.error, .server, "tapline: a descriptor cannot be polled")  // ENOMEM, or max_user_watches
    }
  }

  @_optimize(speed) private func dispatch(_ event: Poller.Event, at moment: Moment) {
    let low = Int(event.token & 0xFFFF_FFFF)
    switch TokenKind(rawValue: UInt32(event.token >> 32)) {
    case .stream, .listener: if let stream = streams.take(event) { flush(stream, at: moment.at) }
    case .line: readEdges(line: low, at: moment)
    case .signals: takeSignals(at: moment.at)
    case .slowLane: takeReadings(lane: low, at: moment)
    case .stateFile: takeStateOutcome(at: moment.at)
    case .level: takeLevelResult(low, at: moment)
    case .passwords: takeCheckedPassword(at: moment.at)
    case .reload: takeReload(at: moment.at)
    case .handshakes: takeHandshakes(at: moment.at)
    case nil: break
    }
  }

  @inline(never) private func takeSignals(at now: Instant) {
    while let signal = signals.next() {
      switch signal {
      case .stop: isStopping = true
      case .reload: reloadWanted(at: now)
      case .report: reportPools()
      }
    }
  }
}
