import Bounded
import Gateway
import LinuxIO
import MQTTBroker
import MQTTWire
import TaplineConfiguration

/// Clients at the far ends of serial lines (docs/serial.md). A line has a stream while its device is there, and a connection
/// from a CONNECT to its end; what its framer does not take for a packet never reaches the broker.
extension Server {
  /// Opens what is due, and ends bursts whose line has become quiet. After the turn's reads: a line that has bytes is not
  /// quiet.
  func advancePorts(at now: Instant) {
    for index in 0..<ports.count {
      let port = ports[index]
      if port.retryAt <= now { open(port, index, at: now) }
      guard port.quietAt <= now else { continue }
      guard let stream = port.stream, !streams.mayHaveBytes(stream) else {
        port.quietAt = port.stream == nil ? .never : now.adding(nanoseconds: port.gapNanoseconds)
        continue
      }
      port.quietAt = .never
      port.framer.quiet()
      takePackets(of: port, at: now)
    }
  }

  private func open(_ port: SerialPort, _ index: Int, at now: Instant) {
    port.retryAt = .never
    let fd: Int32
    switch port.openDevice() {
    case .success(let opened): fd = opened
    case .failure(let error): return failed(port, error.text, at: now)
    }
    let owner = Speaker.port(index).bits
    makeWay(for: .local, at: now)
    guard let stream = streams.add(fd, .terminal, owner: owner, from: PeerAddress(serialLine: index)) else {
      Streams.close(unserved: fd)
      streamsReport.refusedCount += 1
      streamsReport.isDue = true
      return failed(port, Bytes("no connection is free; raise limits: connections"), at: now)
    }
    streamsReport.isDue = true
    port.stream = stream
    port.isMissingTold = false
    log.line(.notice, .server) { line in
      writeName(of: port, into: &line)
      line.write(" is open, ")
      line.writeDecimal(UInt64(port.line.baud))
      line.write(" baud")
    }
  }

  /// Said once, until the device is there again.
  private func failed(_ port: SerialPort, _ text: Bytes, at now: Instant) {
    port.tryLater(at: now)
    if port.isMissingTold { return }
    port.isMissingTold = true
    log.line(.warning, .server) { line in
      writeName(of: port, into: &line)
      line.write(" cannot be opened: ")
      line.write(text)
      line.write("; trying again")
    }
  }

  private func writeName(of port: SerialPort, into line: inout ByteWriter) {
    line.write("tapline: serial line ")
    port.path.lend { line.write($0) }
  }

  /// The stream is closed: the device was pulled, or failed.
  func portClosed(_ index: Int, at now: Instant) {
    let port = ports[index]
    port.stream = nil
    port.framer.reset()
    port.quietAt = .never
    port.tryLater(at: now)
    if !isStopping {
      log.line(.warning, .server) { line in
        writeName(of: port, into: &line)
        line.write(" is gone; trying again")
      }
      port.isMissingTold = true
    }
    endConnection(of: port, at: now)
  }

  func endConnection(of port: SerialPort, at now: Instant) {
    guard let id = port.connection else { return }
    port.connection = nil
    // The next client's bytes are not this one's to hold back.
    if let stream = port.stream { streams.hold(stream, false) }
    brokerTurn(at: now) { $0.detach(id, at: now) }  // a Will may run taps
  }

  func portReceived(_ bytes: Bytes, _ index: Int, at now: Instant) {
    let port = ports[index]
    port.heard(at: now)
    var input = bytes
    while !input.isEmpty {
      port.framer.receive(&input)
      takePackets(of: port, at: now)
      if port.stream == nil { return }
    }
  }

  private func takePackets(of port: SerialPort, at now: Instant) {
    while let packet = port.framer.next() {
      guard let stream = port.stream else { return }
      if packet[0] == PacketType.connect.rawValue << 4 {
        // The far side has begun anew, whatever was there before.
        endConnection(of: port, at: now)
        guard port.stream == stream else { return }
        port.connection = callBroker {
          $0.attach(allowsAnonymous: port.allowsAnonymous, transport: stream.bits, at: now)
        }
      }
      guard let id = port.connection, !broker.isClosing(id) else {
        port.framer.countUnwanted(packet)
        continue
      }
      take(packet, on: id, stream, lends: false, at: now)
      if port.stream == stream, port.connection == id, !broker.wantsInput(id) { streams.hold(stream, true) }
    }
  }

  // MARK: Figures

  /// `$SYS/tapline/serial/N/...` with the line's place among the serial lines, where they have changed.
  func publishPortFigures(at now: Instant) {
    for index in 0..<ports.count {
      let (new, old) = (ports[index].figures, ports[index].published)
      ports[index].published = new
      let state: StaticString = new.isConnected ? "connected" : new.isOpen ? "open" : "missing"
      if new.isOpen != old?.isOpen || new.isConnected != old?.isConnected {
        publishPortFigure(index, "state", at: now) { $0.write(state) }
      }
      if new.skippedBytes != old?.skippedBytes {
        publishPortFigure(index, "skipped_bytes", at: now) { $0.writeDecimal(new.skippedBytes) }
      }
    }
  }

  private func publishPortFigure(
    _ index: Int, _ name: StaticString, at now: Instant, _ write: (inout ByteWriter) -> Void
  ) {
    let memory = gateway.scratch.buffer
    var topic = ByteWriter(UnsafeMutableRawBufferPointer(rebasing: memory[..<64]))
    topic.write("$SYS/tapline/serial/")
    topic.writeDecimal(UInt64(index))
    topic.write("/")
    topic.write(name)
    var payload = ByteWriter(UnsafeMutableRawBufferPointer(rebasing: memory[64...]))
    write(&payload)
    gateway.publishOwn(topic: topic.written, payload: payload.written, retain: true, runsTaps: false, at: now)
  }
}
