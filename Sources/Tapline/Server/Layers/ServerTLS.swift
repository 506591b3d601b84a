import Bounded
import Gateway
import Layers
import LinuxIO
import MQTTBroker
import TLS
import TaplineConfiguration

/// Streams with TLS: handshakes with the lane, records in the loop. What is read of such a stream is still the kernel's;
/// only what was used is taken off, in whole records.
extension Server {
  var tls: TLSTable {
    _read { yield loop.tls }
    _modify { yield &loop.tls }
  }

  /// The name in the certificate of the client on this stream; nil: it has shown none, or one that names nobody. Valid
  /// until the next record is written.
  func certificateName(of stream: StreamID) -> Bytes? {
    guard tls.isUsed, streams.isOpen(stream), tls.stage(of: stream.index) == .open,
      let settings = listeners[tls.listener(of: stream.index)].layers.tls
    else { return nil }
    return tls.certificateName(settings.identity, of: stream.index)
  }

  // MARK: Reading

  @inline(never) func receivedRecords(_ bytes: Bytes, on stream: StreamID, at now: Instant) {
    if layers.phase(of: stream.index) == .proxyHeader { return receivedProxyHeader(bytes, on: stream, at: now) }
    switch tls.stage(of: stream.index) {
    case .hello, .called: receivedHello(bytes, on: stream, at: now)
    case .shaking: receivedFlight(bytes, on: stream, at: now)
    case .open: receivedSealed(bytes, on: stream, at: now)
    case .none, .waiting, .away, .lastFlight: streams.hold(stream, true)
    }
  }

  /// The proxy's header comes before TLS.
  private func receivedProxyHeader(_ bytes: Bytes, on stream: StreamID, at now: Instant) {
    switch ProxyHeader.parse(bytes) {
    case .incomplete:
      awaitMore(stream, at: now)
    case .refused:
      refuse(stream, .proxyHeader, at: now)
    case .complete(let header):
      layers.proxyHeaderTaken(of: stream.index)
      guard takeOff(header.byteCount, of: stream, at: now) else { return }
      if let source = header.source {
        streams.setPeer(
          PeerAddress(ip: source.bytes, isIPv6: source.isIPv6, port: header.sourcePort), of: stream)
        guard admitClient(of: stream, at: now) else { return }
      }
      streams.look(stream)
    }
  }

  /// The kernel keeps what is not all there; a peer that has ended will not complete it.
  private func awaitMore(_ stream: StreamID, at now: Instant) {
    if streams.isEnding(stream) { close(stream, at: now) }
  }

  /// Takes bytes off that were used. `false`: the stream has failed and is closed.
  private func takeOff(_ byteCount: Int, of stream: StreamID, at now: Instant) -> Bool {
    if streams.consume(stream, byteCount) { return true }
    close(stream, at: now)
    return false
  }

  /// A handshake gets a slot and memory when its first record is all there.
  private func receivedHello(_ bytes: Bytes, on stream: StreamID, at now: Instant) {
    let place = stream.index
    guard bytes[0] == 0x16 else { return refuse(stream, .tls(.notTLS, .empty), at: now) }
    guard bytes.count >= 5 else { return awaitMore(stream, at: now) }
    let recordCount = 5 + (Int(bytes[3]) << 8 | Int(bytes[4]))
    guard recordCount <= 5 + 16_384 else { return refuse(stream, .tls(.recordTooLong, .empty), at: now) }
    guard bytes.count >= recordCount else { return awaitMore(stream, at: now) }
    let isCalled = tls.stage(of: place) == .called
    let lent = isCalled ? tls.slot(of: place) : loop.handshakes.lend(to: stream, from: source(of: stream), at: now)
    guard let slot = lent else {
      tls.wait(place)
      return streams.hold(stream, true)
    }
    guard let (context, contextSlot) = loop.service?.context(ofListener: tls.listener(of: place)),
      let connection = TLSConnection(context, isBounded: true)
    else {
      if !isCalled { loop.handshakes.giveBack(slot) }
      return refuse(stream, .tls(.noMemory, .empty), at: now)
    }
    tls.shake(place, connection, slot: slot)
    tls.setContext(contextSlot, of: place)
    receivedFlight(bytes, on: stream, at: now)
  }

  private func receivedFlight(_ bytes: Bytes, on stream: StreamID, at now: Instant) {
    let place = stream.index
    let slot = tls.slot(of: place)
    // What was answered goes out first (see `flushHandshake`).
    guard loop.handshakes.flight(of: slot).isEmpty, let connection = tls.connection(of: place) else {
      return streams.hold(stream, true)
    }
    let input = bytes.first(min(bytes.count, Handshakes.inputBytes))
    switch connection.framing(input) {
    case .failure(let fault):
      refuse(stream, .tls(fault, .empty), at: now)
    case .needs:
      awaitMore(stream, at: now)
    case .records(let byteCount):
      loop.handshakes.hand(input.first(byteCount), connection, slot: slot)
      tls.goAway(place)
      streams.hold(stream, true)
      let isSubmitted = loop.service?.lane.submit(UInt32(slot))
      precondition(isSubmitted == true)  // it takes as many as there are slots
    }
  }

  /// The lane has answered.
  func takeHandshakes(at now: Instant) {
    while let (number, _) = loop.service?.lane.takeAnswer() {
      let slot = Int(number)
      let stream = loop.handshakes[slot].stream
      let (connection, step) = loop.handshakes.takeBack(slot, at: now)
      guard !stream.isNull else {  // closed meanwhile
        loop.handshakes.giveBack(slot)
        connection.free()
        goOnWithWaiting(at: now)
        continue
      }
      tls.shake(stream.index, connection, slot: slot)
      guard takeOff(step.taken, of: stream, at: now) else { continue }
      if case .failed(let fault) = step.event {
        writeFlight(of: stream)  // an alert, as far as the kernel takes it
        refuse(stream, .tls(fault, connection.reason), at: now)
      } else {
        flushHandshake(stream, at: now)
      }
    }
  }

  /// `false`: the stream has failed.
  @discardableResult private func writeFlight(of stream: StreamID) -> Bool {
    let slot = tls.slot(of: stream.index)
    while streams.isWritable(stream) {
      let flight = loop.handshakes.flight(of: slot)
      if flight.isEmpty { break }
      loop.parts.places[0] = flight
      guard let taken = streams.write(stream, loop.parts, count: 1) else { return false }
      loop.handshakes.sent(taken, of: slot)
    }
    return true
  }

  /// Sends what the lane has answered; behind the last flight the connection is open.
  private func flushHandshake(_ stream: StreamID, at now: Instant) {
    let place = stream.index
    let slot = tls.slot(of: place)
    guard writeFlight(of: stream) else { return close(stream, at: now) }
    guard loop.handshakes.flight(of: slot).isEmpty else { return }
    if tls.stage(of: place) == .lastFlight {
      tls.open(place)
      tls.counters.opened &+= 1
      loop.handshakes.giveBack(slot)
      goOnWithWaiting(at: now)
    }
    streams.hold(stream, false)
    streams.look(stream)
  }

  private func source(of stream: StreamID) -> SourceAddress {
    streams.peer(of: stream).map { SourceAddress($0) } ?? .local
  }

  /// Lends the slots that are free to streams that wait for one.
  private func goOnWithWaiting(at now: Instant) {
    guard loop.handshakes.isAwaited else { return }
    loop.handshakes.isAwaitedByNobody()
    while let (stream, source) = nextWaiting() {
      guard let slot = loop.handshakes.lend(to: stream, from: source, at: now) else { return }
      tls.call(stream.index, slot: slot)
      streams.hold(stream, false)
      streams.look(stream)
    }
  }

  private func nextWaiting() -> (stream: StreamID, source: SourceAddress)? {
    var next: (stream: StreamID, source: SourceAddress)?
    loop.tls.visitWaiting { place in
      guard let stream = streams.stream(at: place) else { return }
      let source = source(of: stream)
      if let other = next, !loop.handshakes.comes(source, before: other.source) { return }
      next = (stream, source)
    }
    return next
  }

  /// Handshakes whose peers have let others wait.
  func closeOverdueHandshakes(at now: Instant) {
    while let stream = loop.handshakes.overdue(at: now) {
      tls.counters.gaveWay &+= 1
      close(stream, at: now)
    }
  }

  private func receivedSealed(_ bytes: Bytes, on stream: StreamID, at now: Instant) {
    let place = stream.index
    guard tls.hasRoom(place) else { return streams.hold(stream, true) }
    if tls.hasPart(place) {
      let (addedCount, record) = tls.complete(bytes, of: place)
      guard takeOff(addedCount, of: stream, at: now), let record else { return }
      let (step, plaintext) = tls.receive(record, of: place)
      tls.giveBackPart(of: place)
      lookAtCramped()
      received(step, plaintext, on: stream, at: now)
      let behind = bytes.from(addedCount)
      guard streams.isOpen(stream), !behind.isEmpty else { return }
      if streams.isHeld(stream) { return streams.look(stream) }
      return receivedSealed(behind, on: stream, at: now)
    }
    let (step, plaintext) = tls.receive(bytes, of: place)
    var takenCount = step.taken
    if case .needsBytes = step.event, takenCount < bytes.count {
      let rest = bytes.from(takenCount)
      if keep(rest, of: stream, at: now) { takenCount = bytes.count }
    }
    guard streams.isOpen(stream), takeOff(takenCount, of: stream, at: now) else { return }
    if takenCount == 0 { awaitMore(stream, at: now) }
    guard streams.isOpen(stream) else { return }
    received(step, plaintext, on: stream, at: now)
  }

  /// Takes the start of a record off the kernel, where there is room for it.
  private func keep(_ bytes: Bytes, of stream: StreamID, at now: Instant) -> Bool {
    if tls.keep(bytes, of: stream.index, at: now) { return true }
    guard let place = tls.parts.overdue(at: now), let slow = streams.stream(at: place) else { return false }
    tls.counters.gaveWay &+= 1
    close(slow, at: now)
    return tls.keep(bytes, of: stream.index, at: now)
  }

  /// There is room again for records in part that were left to the kernel.
  private func lookAtCramped() {
    guard tls.takeCramped() else { return }
    for place in 0..<streams.gauge.capacity where tls.stage(of: place) == .open {
      if let stream = streams.stream(at: place) { streams.look(stream) }
    }
  }

  /// What has come of records, which are taken off.
  private func received(_ step: TLSStep, _ plaintext: MutableBytes, on stream: StreamID, at now: Instant) {
    if !plaintext.isEmpty {
      receivedInput(plaintext, on: stream, at: now)
      guard streams.isOpen(stream) else { return }
    }
    switch step.event {
    case .needsBytes:
      flushLayered(stream, at: now)
    case .needsOutput:
      streams.hold(stream, true)
      streams.look(stream)
      flushLayered(stream, at: now)
    case .plaintextFull, .opened, .done:
      streams.look(stream)
      flushLayered(stream, at: now)
    case .ended:
      close(stream, at: now)
    case .failed(let fault):
      drainSealed(stream)
      refuse(stream, .tls(fault, tls.connection(of: stream.index)?.reason ?? .empty), at: now)
    }
  }

  // MARK: Writing

  /// Before anything else is written to a stream with TLS. `false`: nothing else can be written now.
  func flushSecure(_ stream: StreamID, at now: Instant) -> Bool {
    switch tls.stage(of: stream.index) {
    case .none:
      return true
    case .hello, .waiting, .called, .away:
      return false
    case .shaking, .lastFlight:
      flushHandshake(stream, at: now)
      return false
    case .open:
      guard drainSealed(stream) else {
        close(stream, at: now)
        return false
      }
      return true
    }
  }

  /// Writes the record that waits. `false`: the stream has failed.
  @discardableResult func drainSealed(_ stream: StreamID) -> Bool {
    while tls.hasOutput(stream.index), streams.isWritable(stream) {
      loop.parts.places[0] = tls.output(of: stream.index)
      guard let taken = streams.write(stream, loop.parts, count: 1) else { return false }
      tls.sent(taken, of: stream.index)
    }
    return true
  }

  // MARK: The end

  /// The stream is about to be closed.
  func endSecure(_ stream: StreamID, at now: Instant) {
    let place = stream.index
    switch tls.stage(of: place) {
    case .none: return
    case .hello, .waiting: break
    case .called, .shaking, .away, .lastFlight: loop.handshakes.giveBack(tls.slot(of: place))
    case .open:
      tls.sayEnd(place)
      drainSealed(stream)
    }
    tls.end(place)?.free()
    lookAtCramped()
    goOnWithWaiting(at: now)
  }
}
