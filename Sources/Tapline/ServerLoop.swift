import Bounded
import Gateway
import LinuxIO
import MQTTBroker
import MQTTWire
public import TaplineConfiguration
import Taps

/// What a descriptor in the poller is; the low half of its token is an index, or a connection's handle.
enum TokenKind: UInt64 {
  case connection = 0
  case listener
  case line
  case signals
  case slowLane
  case stateFile
  case level

  func token(_ low: Int) -> UInt64 { rawValue << 32 | UInt64(UInt32(low)) }
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

  /// Starts and serves; what keeps it from starting is in the log. The process's exit status: 0, or 70.
  public static func run(_ configuration: Configuration, allocationCount: (() -> UInt64)? = nil) -> Int32 {
    do throws(StartError) {
      let server = try Server(configuration)
      server.allocationCount = allocationCount
      return server.run()
    } catch {
      Log(configuration.log).line(.error, .server) { line in
        line.write("tapline: ")
        error.text.bytes.lend { line.write($0.first(min($0.count, line.free))) }
      }
      return 70
    }
  }

  func start() {
    MappedMemory.touchStack(byteCount: Server.stackBytes)
    let now = Clock.now()
    gateway.publish(taps.status(online: true, wallNanoseconds: Clock.wallNanoseconds()), at: now)
    tellWhatTheKernelKeeps()
    gateway.startDiscovery(previous: board.stateKeeper?.previousEntries.map { $0.name } ?? [], at: now)
    gateway.rulesMustWait = true  // an output that is not requested yet does what no rule wants
    for line in 0..<taps.lineCount { openLine(line, at: now) }
    gateway.rulesMustWait = false
    gateway.settle(at: now)
    board.stateChanged(at: now)  // so that a file that cannot be written is told of now
    callBroker { $0.startSys(at: now) }
    publishVersion(at: now)
    gateway.advance(to: now)
    MappedMemory.trim()
    if let nanoseconds = service.watchdogNanoseconds { watchdogAt = now.adding(nanoseconds: nanoseconds / 2) }
    log.line(.notice, .server) { line in
      line.write("tapline: ready, ")
      line.writeDecimal(UInt64(memory.byteCount / 1024))
      line.write(" KiB reserved, ")
      line.writeDecimal(UInt64(listeners.count))
      line.write(" listeners, ")
      line.writeDecimal(UInt64(taps.lineCount))
      line.write(" lines, ")
      line.writeDecimal(UInt64(taps.sensors.count))
      line.write(" sensors")
    }
    service.ready()
    figuresAt = now
    allocationsAtStart = allocationCount?() ?? 0
  }

  /// `before` is now; when the turn is over it is what is returned.
  func turn(from before: Instant) -> Instant {
    let deadline = broker.hasReady || !pending.isEmpty ? before : nextDeadline
    let count = poller.wait(until: deadline, now: before)
    let now = Clock.now()
    var index = 0
    while index < count {
      dispatch(poller.event(index), at: now)
      index += 1
    }
    readPending(at: now)
    gateway.advance(to: now)
    advanceBoard(at: now)
    flushReady(at: now)
    tellNotices()
    log.advance(to: now)
    let ended = Clock.now()
    turnTimes.add(nanoseconds: ended.since(now))
    return ended
  }

  private var nextDeadline: Instant {
    var deadline = Instant.earliest(gateway.nextDeadline, taps.nextSensorDeadline, taps.nextInputDeadline)
    for retry in board.retryAt { deadline = min(deadline, retry) }
    for press in presses { deadline = min(deadline, press.nextAt) }
    for listener in listeners { deadline = min(deadline, listener.pausedUntil) }
    return .earliest(
      deadline, watchdogAt, log.nextDeadline, tapCountersDeadline, figuresAt, board.stateKeeper?.dueAt ?? .never)
  }

  private func advanceBoard(at now: Instant) {
    retryLevels(at: now)
    takeDueSensors(at: now)
    advanceInputs(at: now)
    advancePresses(at: now)
    advanceState(at: now)
    publishTapCounters(at: now)
    publishFigures(at: now)
    for line in 0..<board.retryAt.count where board.retryAt[line] <= now { openLine(line, at: now) }
    for index in 0..<listeners.count where listeners[index].pausedUntil <= now {
      listeners[index].pausedUntil = .never
      poll(listeners[index].listener.fd, .listener, index)
    }
    if watchdogAt <= now, let nanoseconds = service.watchdogNanoseconds {
      service.keepAlive()
      watchdogAt = now.adding(nanoseconds: nanoseconds / 2)
    }
  }

  func poll(_ fd: Int32, _ kind: TokenKind, _ low: Int) {
    do throws(LinuxError) {
      try poller.add(fd, token: kind.token(low), interest: .read)
    } catch {
      log.write(.error, .server, "tapline: a descriptor cannot be polled")  // ENOMEM, or max_user_watches
    }
  }

  private func dispatch(_ event: Poller.Event, at now: Instant) {
    let low = Int(event.token & 0xFFFF_FFFF)
    switch TokenKind(rawValue: event.token >> 32) {
    case .connection:
      let id = ConnectionID(bits: UInt32(low))
      guard broker.isAttached(id) else { return }  // closed earlier in this turn
      if event.readable {
        loop.transports[id.index].isReadable = true
        if event.ending { loop.transports[id.index].isEnding = true }
        pending.push(id.index)
      }
      if event.writable || event.hangup {
        loop.transports[id.index].isWritable = true
        flush(id, at: now)
      }
    case .listener: accept(low, at: now)
    case .line: readEdges(line: low, at: now)
    case .signals: takeSignals()
    case .slowLane: takeReadings(lane: low, at: now)
    case .stateFile: takeStateOutcome(at: now)
    case .level: takeLevelResult(low, at: now)
    case nil: break
    }
  }

  private func takeSignals() {
    while let signal = signals.next() {
      switch signal {
      case .stop: isStopping = true
      case .reload:
        log.write(.notice, .server, "tapline: SIGHUP: nothing of this configuration can be changed without a restart")
      case .report: reportPools()
      }
    }
  }

  // MARK: Connections

  /// Takes at most 16 connections a turn, so that a storm of them does not hold up who is connected.
  private func accept(_ index: Int, at now: Instant) {
    var remaining = 16
    while remaining > 0 {
      remaining -= 1
      switch listeners[index].listener.accept() {
      case .wouldBlock:
        return
      case .failed:
        log.write(
          .error, .server,
          "tapline: a connection cannot be accepted: out of descriptors or memory; trying again in 1 s")
        try? poller.remove(listeners[index].listener.fd)
        listeners[index].pausedUntil = now.adding(seconds: 1)
        return
      case .connection(let fd, let peer):
        let settings = listeners[index].settings
        let attached = callBroker {
          $0.attach(
            allowsAnonymous: settings.isAnonymousAllowed, policy: settings.framerPolicy, from: SourceAddress(peer),
            at: now)
        }
        guard let id = attached else {
          Transport.close(fd)  // counted by the broker
          continue
        }
        loop.peers[id.index] = Peer(id: id, address: peer)
        tellOfConnection(id)
        loop.transports[id.index] = TransportState(fd: fd, isReadable: false, isWritable: true)
        do throws(LinuxError) {
          // Both directions once and edge-triggered: no further epoll_ctl for the life of the connection.
          try poller.add(
            fd, token: TokenKind.connection.token(Int(id.bits)), interest: [.read, .write, .edgeTriggered])
        } catch {
          close(id, at: now)
        }
      }
    }
  }

  /// One read for each connection that has bytes, 64 in all; the others, and who has more, are read next turn.
  private func readPending(at now: Instant) {
    var remaining = min(pending.count, 64)
    while remaining > 0, let index = pending.pop() {
      remaining -= 1
      if let id = broker.connection(at: index) { read(id, at: now) }
    }
  }

  private func read(_ id: ConnectionID, at now: Instant) {
    if broker.isClosing(id) { return }
    // Its answers would find no room: it is read when its outbox has drained (see `flush`).
    guard broker.wantsInput(id) else { return }
    let fd = loop.transports[id.index].fd
    let buffer = loop.readBuffer.buffer
    switch Transport.read(fd, into: buffer) {
    case .wouldBlock:
      loop.transports[id.index].isReadable = false
    case .closed, .failed:
      close(id, at: now)
    case .bytes(let count):
      // Fewer than asked for: the socket is empty (epoll(7), edge-triggered streams), or the end follows.
      loop.transports[id.index].isReadable = count == buffer.count || loop.transports[id.index].isEnding
      // Much came at once: its receivers' bytes go out before the next read adds to them, from where they were read.
      let isBulk = count >= Server.bulkBytes
      take(Bytes(UnsafeRawBufferPointer(rebasing: buffer[..<count])), on: id, lends: isBulk, at: now)
      if isBulk {
        flushReady(at: now)
        callBroker { $0.settle() }
      }
      if broker.isAttached(id), loop.transports[id.index].isReadable { pending.push(id.index) }
    }
  }

  private static var bulkBytes: Int { 8192 }

  private func take(_ bytes: Bytes, on id: ConnectionID, lends: Bool, at now: Instant) {
    var input = bytes
    while true {
      switch brokerTurn(at: now, { $0.receive(&input, on: id, lends: lends, at: now) }) {
      case .done:
        return
      case .tapsRan:
        break
      case .needsFlush:
        let before = broker.pendingByteCount(id)
        flush(id, at: now)
        guard broker.isAttached(id) else { return }
        // It sends on and on and takes no answers: the kernel's buffer and ours are full of them.
        if broker.pendingByteCount(id) == before {
          brokerTurn(at: now) { $0.close(id, .quotaExceeded, at: now) }
        }
      }
    }
  }

  // MARK: Writing

  /// Every connection that had something to write is flushed once; what that makes ready waits for the next turn.
  func flushReady(at now: Instant) {
    var remaining = configuration.limits.connectionsMax
    while remaining > 0, let id = callBroker({ $0.nextReady() }) {
      remaining -= 1
      flush(id, at: now)
    }
  }

  private func flush(_ id: ConnectionID, at now: Instant) {
    let entry = loop.transports[id.index]
    let waited = !broker.wantsInput(id)
    var isWritable = entry.isWritable
    while isWritable {
      let count = broker.gather(id, into: loop.parts.places)
      if count == 0 { break }
      gatherList.reset()
      var index = 0
      while index < count {
        _ = gatherList.append(loop.parts.places[index])
        index += 1
      }
      switch Transport.write(entry.fd, gatherList) {
      case .bytes(let written):
        if written < gatherList.byteCount { isWritable = false }
        callBroker { $0.sent(written, on: id, at: now) }
      case .wouldBlock:
        isWritable = false
      case .closed, .failed:
        close(id, at: now)
        return
      }
    }
    loop.transports[id.index].isWritable = isWritable
    if broker.isFinished(id) {
      close(id, at: now)
    } else if waited, entry.isReadable, broker.wantsInput(id) {
      pending.push(id.index)
    }
  }

  private func close(_ id: ConnectionID, at now: Instant) {
    let fd = loop.transports[id.index].fd
    try? poller.remove(fd)
    Transport.close(fd)
    brokerTurn(at: now) { $0.detach(id, at: now) }  // a Will may run taps
  }
}

extension SourceAddress {
  init(_ peer: PeerAddress) {
    var prefix: UInt64 = 0
    for index in 0..<8 { prefix = prefix << 8 | UInt64(peer.ip[index]) }
    switch peer.family {
    case .unix: self = .local
    case .ipv4: self = peer.isLoopback ? .local : SourceAddress(ipv4: UInt32(prefix >> 32))
    case .ipv6: self = peer.isLoopback ? .local : SourceAddress(ipv6Prefix: prefix)
    }
  }
}
