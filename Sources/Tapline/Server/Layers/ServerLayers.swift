import Bounded
import Gateway
import Layers
import LinuxIO
import MQTTBroker
import TLS
import TaplineConfiguration

/// Streams with a layer: what comes before MQTT, and frames around it.
extension Server {
  /// A connection at a listener that has a layer.
  @inline(never) func arrivedLayered(at listener: Int, at now: Instant) {
    let peer = streams.arrivedPeer
    let isProxy = layers.isProxy(peer, listener: listener)
    guard isProxy || !layers.needsProxyHeader(listener: listener) else {
      return tellRefused(.stranger, from: peer, at: now)  // and it is closed
    }
    let isSecure = layers.hasTLS(listener: listener)
    let opened = admit(SourceAddress(peer), isProxy: isProxy, at: now) {
      streams.admit(isSecure ? .records : .plain, owner: Speaker.layer.bits)
    }
    guard let opened else { return }
    layers.arrived(opened.index, listener: listener, isProxy: isProxy)
    if isSecure { tls.begin(opened.index, listener: listener) }
  }

  // MARK: Reading

  @inline(never) func receivedLayered(_ bytes: Bytes, on stream: StreamID, at now: Instant) {
    if tls.stage(of: stream.index) != .none { return receivedRecords(bytes, on: stream, at: now) }
    receivedInput(streams.mutable(bytes), on: stream, at: now)
  }

  /// Bytes that nothing lies around any more but frames; they may be changed.
  func receivedInput(_ bytes: MutableBytes, on stream: StreamID, at now: Instant) {
    let place = stream.index
    var input = bytes
    while true {
      switch layers.next(&input, of: place) {
      case .needsInput:
        return
      case .needsRoom(let oldest):
        makeRoom(oldest, at: now)
      case .client(let peer):
        streams.setPeer(peer, of: stream)
        guard admitClient(of: stream, at: now) else { return }
      case .mqtt:
        guard admitClient(of: stream, at: now) else { return }
        guard tls.stage(of: place) != .none else { return becomePlain(stream, input.bytes, at: now) }
        layers.stay(place)
      case .opened(let client):
        if let client { streams.setPeer(client, of: stream) }
        guard admitClient(of: stream, at: now) else { return }
        flushLayered(stream, at: now)
        guard streams.isOpen(stream) else { return }
      case .frames(let arrival):
        return receivedFrames(arrival, on: stream, at: now)
      case .refused(let refusal):
        return refuse(stream, refusal, at: now)
      }
    }
  }

  /// The stream's client counts with its own address. `false`: it has too many connections, and this one is closed.
  func admitClient(of stream: StreamID, at now: Instant) -> Bool {
    guard layers.isProxy(stream.index), let peer = streams.peer(of: stream) else { return true }
    let source = SourceAddress(peer)
    guard let refusal = admission.setSource(source, of: stream.bits, at: now) else { return true }
    close(stream, at: now)
    callBroker { $0.streamRefused(refusal, from: source) }
    return false
  }

  /// The stream that has kept others from the room for what comes in part for the longest is closed.
  private func makeRoom(_ oldest: Int, at now: Instant) {
    guard let stream = streams.stream(at: oldest) else { return }
    let source = streams.peer(of: stream).map { SourceAddress($0) } ?? .local
    layers.counters.gaveWay &+= 1
    close(stream, at: now)
    callBroker { $0.streamGaveWay(.pendingConnections, from: source) }
  }

  /// Nothing lies between the stream and the broker any more.
  private func becomePlain(_ stream: StreamID, _ bytes: Bytes, at now: Instant) {
    let settings = listeners[layers.listener(of: stream.index)]
    _ = layers.end(stream.index)
    let speaker = Speaker.none(allowsAnonymous: settings.isAnonymousAllowed, policy: settings.framerPolicy)
    streams.setOwner(speaker.bits, of: stream)
    guard !bytes.isEmpty,
      let id = attach(stream, allowsAnonymous: settings.isAnonymousAllowed, policy: settings.framerPolicy, at: now)
    else { return }
    streams.setOwner(Speaker.mqtt(id).bits, of: stream)
    handLayered(bytes, to: id, stream, at: now)
  }

  @inline(never) private func handLayered(_ bytes: Bytes, to id: ConnectionID, _ stream: StreamID, at now: Instant) {
    hand(bytes, to: id, stream, isLayered: true, at: now)
  }

  func refuse(_ stream: StreamID, _ refusal: LayerRefusal, at now: Instant) {
    if let peer = streams.peer(of: stream) { tellRefused(refusal, from: peer, at: now) }
    switch refusal {
    case .stranger, .proxyHeader, .firstBytes, .tls:
      close(stream, at: now)
    case .upgrade:
      layers.awaitPeer(of: stream.index, at: now)
      flushLayered(stream, at: now)
    }
  }

  private func receivedFrames(_ arrival: WebSocketArrival, on stream: StreamID, at now: Instant) {
    let place = stream.index
    // A packet is a step, and several frames are less work than a packet.
    callBroker { $0.didOtherWork(arrival.frameCount / 8) }
    if layers.isOpen(place), !arrival.payload.isEmpty {
      guard let id = layers.connection(of: place) ?? attachLayered(stream, at: now) else { return }
      if !broker.isClosing(id) { handLayered(arrival.payload, to: id, stream, at: now) }
    }
    guard streams.isOpen(stream) else { return }
    guard let end = arrival.end else { return flushLayered(stream, at: now) }
    let isAnswer: Bool
    let code: WebSocketCloseCode?
    switch end {
    case .close(let found):
      isAnswer = true
      code = found
    case .failure(let found):
      isAnswer = false
      code = found
    }
    guard layers.phase(of: place) == .webSocket else { return close(stream, at: now) }  // the answer to our close
    if !isAnswer { layers.counters.webSocketsFailed &+= 1 }
    flushLayered(stream, at: now)  // what the broker has answered goes before the close
    guard streams.isOpen(stream) else { return }
    guard layers.phase(of: place) == .webSocket else { return close(stream, at: now) }
    closeFrames(stream, code, isAnswer: isAnswer, at: now)
  }

  private func attachLayered(_ stream: StreamID, at now: Instant) -> ConnectionID? {
    let settings = listeners[layers.listener(of: stream.index)]
    guard
      let id = attach(
        stream, allowsAnonymous: settings.isAnonymousAllowed, policy: settings.framerPolicy, at: now)
    else { return nil }
    layers.setConnection(id, of: stream.index)
    return id
  }

  // MARK: Writing

  /// Writes what is there for the stream, in frames.
  @inline(never) func flushLayered(_ stream: StreamID, at now: Instant) {
    let place = stream.index
    guard flushSecure(stream, at: now) else { return }
    writeFrames(stream, at: now)
    guard streams.isOpen(stream) else { return }
    if let id = layers.connection(of: place) {
      if broker.isFinished(id), layers.phase(of: place) == .plain {
        if !tls.hasOutput(place) { close(stream, at: now) }
      } else if broker.isFinished(id) {
        closeFrames(stream, isStopping ? .goingAway : .normal, isAnswer: false, at: now)
      } else if streams.isHeld(stream), broker.wantsInput(id) {
        streams.hold(stream, false)
      }
    } else if layers.isOver(place, hasUnread: streams.mayHaveBytes(stream)), !tls.hasOutput(place) {
      close(stream, at: now)
    } else if streams.isHeld(stream) {
      streams.hold(stream, false)
    }
  }

  private func writeFrames(_ stream: StreamID, at now: Instant) {
    let place = stream.index
    let places = loop.parts.places
    let isSecure = tls.stage(of: place) == .open
    while streams.isWritable(stream), !tls.hasOutput(place) {
      let id = layers.connection(of: place)
      var count = 0
      if let id { count = broker.gather(id, into: UnsafeMutableBufferPointer(rebasing: places[1...])) }
      var byteCount = 0
      for index in 0..<count { byteCount += places[1 + index].count }
      let (front, payloadCount) = layers.front(of: place, payloadByteCount: byteCount)
      if front.isEmpty, payloadCount == 0 { return }
      places[0] = front
      count = 1 + Server.trim(places[1..<1 + count], to: payloadCount)
      // The kernel is not asked for nothing.
      let first = front.isEmpty ? 1 : 0
      let written =
        isSecure
        ? tls.seal(places[first..<count], of: place)
        : streams.write(stream, loop.parts, from: first, count: count - first)
      guard let taken = written else { return close(stream, at: now) }
      let sent = layers.sent(taken, of: place, payloadByteCount: payloadCount)
      if sent > 0, let id { callBroker { $0.sent(sent, on: id, at: now) } }
      if isSecure, !drainSealed(stream) { return close(stream, at: now) }
    }
  }

  /// Cuts parts so that they have `byteCount` bytes in all; how many parts these are.
  private static func trim(_ parts: Slice<UnsafeMutableBufferPointer<Bytes>>, to byteCount: Int) -> Int {
    var left = byteCount
    var parts = parts
    var index = parts.startIndex
    while left > 0 {
      if parts[index].count > left { parts[index] = parts[index].first(left) }
      left -= parts[index].count
      index += 1
    }
    return index - parts.startIndex
  }

  /// Sends a close, and gives the peer a moment for its own; who spoke there is gone.
  private func closeFrames(_ stream: StreamID, _ code: WebSocketCloseCode?, isAnswer: Bool, at now: Instant) {
    let (connection, isPossible) = layers.beginClose(code, of: stream.index, isAnswer: isAnswer, at: now)
    streams.hold(stream, false)
    if let connection { brokerTurn(at: now) { $0.detach(connection, at: now) } }  // a Will may run taps
    guard streams.isOpen(stream) else { return }
    guard isPossible else { return close(stream, at: now) }
    flushLayered(stream, at: now)
  }

  // MARK: The end

  /// Peers that have had their moment.
  func closeOverdueLayers(at now: Instant) {
    while let place = layers.popOverdue(at: now) {
      guard let stream = streams.stream(at: place) else { return }
      close(stream, at: now)
    }
  }

  // MARK: What is told

  /// Counts it, and says it in the log, once a minute.
  private func tellRefused(_ refusal: LayerRefusal, from peer: PeerAddress, at now: Instant) {
    layers.counters.count(refusal)
    if case .tls = refusal { tls.counters.failed &+= 1 }
    layers.report.untoldCount += 1
    guard layers.report.quietUntil <= now else { return }
    let otherCount = layers.report.untoldCount - 1
    layers.report = LayerReport(quietUntil: now.adding(seconds: 60), untoldCount: 0)
    log.line(.notice, .mqtt) { line in
      line.write("tapline: connection refused from ")
      peer.write(to: &line, withPort: false)
      switch refusal {
      case .stranger: line.write(": it is not one of the listener's proxies; see listeners: proxies")
      case .proxyHeader: line.write(": it began with no header of the PROXY protocol; see listeners: proxy_protocol")
      case .firstBytes: line.write(": it began with nothing that the listener speaks; see listeners: protocols")
      case .upgrade(let refusal):
        line.write(": its HTTP request was answered ")
        line.writeDecimal(UInt64(refusal.status))
        line.write(": ")
        line.write(refusal.remedy)
      case .tls(let fault, let reason):
        line.write(": ")
        line.write(fault.text)
        guard !reason.isEmpty else { break }
        line.write(" (")
        line.write(reason)
        line.write(")")
      }
      guard otherCount > 0 else { return }
      line.write("; and ")
      line.writeDecimal(UInt64(otherCount))
      line.write(otherCount == 1 ? " other before" : " others before")
    }
  }
}

/// What the log has not been told of connections that were refused before MQTT.
struct LayerReport {
  var quietUntil = Instant(nanoseconds: 0)
  var untoldCount = 0
}
