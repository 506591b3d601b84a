import Bounded
import Gateway
import LinuxIO
import MQTTBroker
import MQTTWire
import TaplineConfiguration

/// Streams and who speaks on them: arrivals, bytes to the broker, one flush a connection.
extension Server {
  /// Streams are taken in by admission control and are nobody's until their first byte. Then the broker has a connection for
  /// each of them.
  @_optimize(speed) func takeStreams(at now: Instant) {
    callBroker { $0.beginTurn() }
    if let id = callBroker({ $0.takePaused() }) { goOn(with: id, at: now) }
    // What is left is taken in the next turn, first come first served.
    while broker.mayGoOn, let event = streams.next(at: now) {
      switch event {
      case .bytes(let stream, let bytes): received(bytes, on: stream, at: now)
      case .ended(let stream): close(stream, at: now)
      case .arrived(let listener): arrived(at: listener, at: now)
      case .paused(_, let error):
        log.line(.error, .server) { line in
          line.write("tapline: a connection cannot be accepted: ")
          line.write(error.text)
          line.write("; trying again in 1 s")
        }
      }
    }
  }

  @inline(never) private func arrived(at listener: Int, at now: Instant) {
    if layers.hasLayer(listener: listener) { return arrivedLayered(at: listener, at: now) }
    let settings = listeners[listener]
    let speaker = Speaker.none(allowsAnonymous: settings.isAnonymousAllowed, policy: settings.framerPolicy)
    _ = admit(SourceAddress(streams.arrivedPeer), at: now) { streams.admit(.plain, owner: speaker.bits) }
  }

  /// Makes a stream of what `open` opens, if its address may have one more. nil: refused and counted.
  func admit(
    _ source: SourceAddress, isProxy: Bool = false, at now: Instant, open: () -> StreamID?
  ) -> StreamID? {
    makeWay(for: source, isProxy: isProxy, at: now)
    var opened: StreamID?
    let refusal = admission.admit(from: source, isProxy: isProxy, at: now) {
      opened = open()
      return opened?.bits
    }
    streamsReport.isDue = true
    if let opened {
      tellOfConnection(opened)
    } else if let refusal, !gateway.isInCall {
      callBroker { $0.streamRefused(refusal, from: source) }
    } else {
      streamsReport.refusedCount += 1
    }
    return opened
  }

  /// Closes the stream that gives way to a newcomer from `source`, if one does. Not within a call of the broker's, which
  /// knows some of them.
  func makeWay(for source: SourceAddress, isProxy: Bool = false, at now: Instant) {
    guard !gateway.isInCall,
      let (bits, limit) = admission.givesWay(to: source, isProxy: isProxy, hasPlace: streams.hasRoom, at: now)
    else { return }
    let stream = StreamID(bits: bits)
    let peer = streams.peer(of: stream)
    close(stream, at: now)
    callBroker { $0.streamGaveWay(limit, from: peer.map { SourceAddress($0) } ?? .local) }
  }

  /// Closes a stream; who spoke on it is gone.
  func close(_ stream: StreamID, at now: Instant) {
    let speaker = Speaker(bits: streams.owner(of: stream))
    var layered: ConnectionID?
    if case .layer = speaker {
      endSecure(stream, at: now)
      layered = layers.end(stream.index)
    }
    admission.end(stream.bits)
    streams.close(stream)
    streamsReport.isDue = true
    switch speaker {
    case .mqtt(let id): brokerTurn(at: now) { $0.detach(id, at: now) }  // a Will may run taps
    case .port(let index): portClosed(index, at: now)
    case .layer: if let layered { brokerTurn(at: now) { $0.detach(layered, at: now) } }
    case .none: break
    }
  }

  /// Those that have said nothing for `connect_seconds`.
  func closeSilentStreams(at now: Instant) {
    while let bits = admission.popExpired(at: min(now, streams.heardUntil)) {
      close(StreamID(bits: bits), at: now)
      callBroker { $0.streamStayedSilent(bits) }
    }
  }

  /// At the end: those that the broker knows are its to close.
  func closeUnheardStreams(at now: Instant) {
    for place in 0..<streams.gauge.capacity {
      guard let stream = streams.stream(at: place) else { continue }
      switch Speaker(bits: streams.owner(of: stream)) {
      case .none: close(stream, at: now)
      case .layer: if layers.connection(of: place) == nil { close(stream, at: now) }
      case .mqtt, .port: break
      }
    }
  }

  // MARK: Reading

  @inline(__always) private func received(_ bytes: Bytes, on stream: StreamID, at now: Instant) {
    let id: ConnectionID
    switch Speaker(bits: streams.owner(of: stream)) {
    case .mqtt(let speaker):
      id = speaker
    case .none(let allowsAnonymous, let policy):
      guard let attached = attach(stream, allowsAnonymous: allowsAnonymous, policy: policy, at: now) else { return }
      streams.setOwner(Speaker.mqtt(attached).bits, of: stream)
      id = attached
    case .port(let index):
      return portReceived(bytes, index, at: now)
    case .layer:
      return receivedLayered(bytes, on: stream, at: now)
    }
    if broker.isClosing(id) { return streams.hold(stream, true) }
    hand(bytes, to: id, stream, isLayered: false, at: now)
  }

  /// The broker's connection for a stream that has sent the first byte of MQTT; nil: there is none, and it is closed.
  @inline(__always) func attach(
    _ stream: StreamID, allowsAnonymous: Bool, policy: FramerPolicy, at now: Instant
  ) -> ConnectionID? {
    let deadline = admission.heard(stream.bits)
    let attached = callBroker {
      $0.attach(allowsAnonymous: allowsAnonymous, policy: policy, transport: stream.bits, connectBy: deadline, at: now)
    }
    if attached == nil { close(stream, at: now) }
    return attached
  }

  /// Gives the broker what was read. A stream with a layer may outlive its connection.
  @inline(__always) func hand(
    _ bytes: Bytes, to id: ConnectionID, _ stream: StreamID, isLayered: Bool, at now: Instant
  ) {
    let awaitedConnect = broker.awaitsConnect(id)
    // Much came at once: its receivers' bytes go out before the next read adds to them, from where they were read.
    let isBulk = bytes.count >= Server.bulkBytes
    take(bytes, on: id, stream, lends: isBulk, at: now)
    if isBulk {
      flushReady(at: now)
      callBroker { $0.settle() }
    }
    guard streams.isOpen(stream), !isLayered || broker.isAttached(id) else { return }
    if awaitedConnect, !broker.awaitsConnect(id) { admission.leave(stream.bits) }
    // Its answers would find no room: it is read when its outbox has drained (see `flush`).
    if !broker.wantsInput(id) { streams.hold(stream, true) }
  }

  /// Input that has used up the steps of the turn before.
  @inline(never) func goOn(with id: ConnectionID, at now: Instant) {
    let stream = StreamID(bits: broker.transport(of: id))
    take(.empty, on: id, stream, lends: false, at: now)
    if broker.isAttached(id), streams.isOpen(stream), broker.wantsInput(id) { streams.hold(stream, false) }
  }

  private static var bulkBytes: Int { 8192 }

  @inline(__always) func take(_ bytes: Bytes, on id: ConnectionID, _ stream: StreamID, lends: Bool, at now: Instant) {
    gateway.receive(bytes, on: id, lends: lends, at: now) { flush(id, stream, at: now) }
  }

  // MARK: Writing

  /// Every connection that had something to write is flushed once; what that makes ready waits for the next turn.
  @_optimize(speed) func flushReady(at now: Instant) {
    var remaining = configuration.limits.connectionsMax
    while remaining > 0, let id = callBroker({ $0.nextReady() }) {
      remaining -= 1
      flush(id, StreamID(bits: broker.transport(of: id)), at: now)
    }
  }

  /// Flushes whoever speaks on a stream that can be written to again.
  @_optimize(speed) func flush(_ stream: StreamID, at now: Instant) {
    switch Speaker(bits: streams.owner(of: stream)) {
    case .mqtt(let id): flush(id, stream, at: now)
    case .port(let index): if let id = ports[index].connection { flush(id, stream, at: now) }
    case .layer: flushLayered(stream, at: now)
    case .none: break
    }
  }

  @_optimize(speed) private func flush(_ id: ConnectionID, _ stream: StreamID, at now: Instant) {
    let owner = streams.owner(of: stream)
    if !Speaker.isPlain(owner), case .layer = Speaker(bits: owner) { return flushLayered(stream, at: now) }
    while streams.isWritable(stream) {
      let count = broker.gather(id, into: loop.parts.places)
      if count == 0 { break }
      guard let taken = streams.write(stream, loop.parts, count: count) else { return close(stream, at: now) }
      if taken > 0 { callBroker { $0.sent(taken, on: id, at: now) } }
    }
    if broker.isFinished(id) {
      if case .port(let index) = Speaker(bits: owner) {
        endConnection(of: ports[index], at: now)
      } else {
        close(stream, at: now)
      }
    } else if streams.isHeld(stream), broker.wantsInput(id) {
      streams.hold(stream, false)
    }
  }
}

extension SourceAddress {
  init(_ peer: PeerAddress) {
    var high: UInt64 = 0
    var low: UInt64 = 0
    for index in 0..<8 {
      high = high << 8 | UInt64(peer.ip[index])
      low = low << 8 | UInt64(peer.ip[8 + index])
    }
    switch peer.family {
    case .unix, .serial: self = .local
    case .ipv4: self = SourceAddress(ipv4: UInt32(high >> 32))
    case .ipv6: self = SourceAddress(ipv6: high, low)
    }
  }
}
