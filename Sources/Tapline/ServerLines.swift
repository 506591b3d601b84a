import Bounded
import LinuxIO
import MQTTBroker
import MQTTWire
import Taps

/// The board's lines: opened at start and again when they come back, set by commands, read by edges.
extension Server {
  private static var retrySeconds: Int64 { 5 }

  /// Requests a tap's line and publishes its state; what goes wrong is the tap's fault and is tried again.
  func openLine(_ line: Int, at now: Instant) {
    retryAt[line] = .never
    let wall = Clock.wallNanoseconds()
    let (pin, settings, name) = request(for: line)
    var consumer = FixedText<80>(Bytes("tapline:"))
    name.lend { _ = consumer.append($0) }
    do throws(LineError) {
      let address = try find(pin)
      let request = try open(address, settings, consumer: consumer)
      requests[line] = request
      if request.fd >= 0 { poll(request.fd, .line, line) }
      guard let isActive = settings.direction == .output ? settings.initialActive : request.get() else {
        failLine(line, Bytes("line does not answer"), at: now)
        return
      }
      if let input = taps.inputIndex(ofLine: line) {
        publish(taps.inputs[input].lineHealed(active: isActive, wallNanoseconds: wall), at: now)
      } else {
        publish(taps.outputs[line].lineHealed(active: isActive, wallNanoseconds: wall), at: now)
      }
    } catch {
      var text = loop.scratch.writer()
      describe(error, pin, into: &text)
      // The scratch memory is used again to publish; a fault's text is shorter than this.
      FixedText<160>(text.written.first(min(text.count, 160))).withBytes { failLine(line, $0, at: now) }
    }
  }

  private func request(for line: Int) -> (pin: Taps.LineAddress, settings: LineSettings, name: [UInt8]) {
    if let index = taps.inputIndex(ofLine: line) {
      let input = configuration.taps.inputs[index]
      var settings = LineSettings(direction: .input)
      settings.edges = .both
      settings.activeLow = input.active == .low
      switch input.bias {
      case .asIs: settings.bias = .asIs
      case .disabled: settings.bias = .disabled
      case .pullUp: settings.bias = .pullUp
      case .pullDown: settings.bias = .pullDown
      }
      if lines.capabilities.contains(.kernelDebounce) { settings.debounceMicroseconds = input.debounceMicroseconds }
      settings.eventsMax = 64
      return (input.pin, settings, input.name)
    }
    let output = configuration.taps.outputs[line]
    var settings = LineSettings(direction: .output)
    settings.activeLow = output.active == .low
    settings.initialActive = taps.outputs[line].requestedActive
    switch output.drive {
    case .pushPull: settings.drive = .pushPull
    case .openDrain: settings.drive = .openDrain
    case .openSource: settings.drive = .openSource
    }
    return (output.pin, settings, output.name)
  }

  private func open(
    _ address: LinuxIO.LineAddress, _ settings: LineSettings, consumer: FixedText<80>
  ) throws(LineError) -> LineRequest {
    // A typed throw does not pass through a closure that lends.
    let result: Result<LineRequest, LineError> = consumer.withBytes { consumer in
      do throws(LineError) {
        return .success(try LineRequest.open(address, settings, consumer: consumer))
      } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }

  private func find(_ pin: Taps.LineAddress) throws(LineError) -> LinuxIO.LineAddress {
    let lines = lines
    let result: Result<LinuxIO.LineAddress, LineError> = pin.line.lend { name in
      pin.chip.lend { chip in
        let number = Values.integer(pin.line)
        let selector = number.map { LineSelector.number($0) } ?? .name(name)
        do throws(LineError) {
          return .success(try lines.find(selector, chip: chip.isEmpty ? nil : chip))
        } catch {
          return .failure(error)
        }
      }
    }
    return try result.get()
  }

  /// `line GPIO17 busy: held by spi0 CS0`, with the likely remedy where there is one.
  private func describe(_ error: LineError, _ pin: Taps.LineAddress, into text: inout ByteWriter) {
    text.write("line ")
    pin.line.lend { text.write($0) }
    switch error.reason {
    case .busy:
      text.write(" busy: held by ")
      if error.consumer.isEmpty { text.write("an unnamed consumer") } else { error.consumer.write(to: &text) }
    case .notFound:
      text.write(" not found; see tapline lines")
    case .noChip:
      text.write(": no such GPIO chip")
      if !pin.chip.isEmpty {
        text.write(" ")
        pin.chip.lend { text.write($0) }
      }
    case .ambiguous:
      text.write(" is on several chips; give chip too")
    case .denied:
      text.write(": permission denied; is the user in group gpio?")
    case .failed:
      text.write(": ")
      text.write(error.error.text)
    }
  }

  /// The line is given back, the tap says why, and the line is tried again.
  private func failLine(_ line: Int, _ reason: Bytes, at now: Instant) {
    closeLine(line)
    retryAt[line] = now.adding(seconds: Server.retrySeconds)
    let wall = Clock.wallNanoseconds()
    let update: TapUpdate
    if let input = taps.inputIndex(ofLine: line) {
      update = taps.inputs[input].lineFailed(reason, wallNanoseconds: wall)
    } else {
      update = taps.outputs[line].lineFailed(reason, wallNanoseconds: wall)
    }
    if update.fault != nil {  // once, not with every retry
      let name = request(for: line).name
      log.line(.warning) { text in
        text.write("tapline: tap ")
        name.lend { text.write($0) }
        text.write(": ")
        text.write(reason)
        text.write("; trying again every 5 s")
      }
    }
    publish(update, at: now)
  }

  func closeLine(_ line: Int) {
    guard let request = requests[line] else { return }
    if request.fd >= 0 { try? poller.remove(request.fd) }
    request.close()
    requests[line] = nil
  }

  // MARK: Outputs

  /// A command for an output, inside the broker's turn: the line changes now, the publications follow when the
  /// broker is free, the acknowledgement tells what happened.
  func commandReceived(output: Int, _ message: TapMessage) -> TapVerdict {
    var verdict = TapVerdict(retain: false)  // a retained command would switch the pin at every restart
    // An empty retained message deletes a retained one: no command.
    if message.payload.isEmpty, message.retain { return verdict }
    switch taps.outputs[output].commandReceived(message.payload) {
    case .refuse(let reason, let text):
      verdict.reason = reason
      verdict.reasonString = text
    case .set(let isActive):
      let line = taps.outputs[output].lineIndex
      let wall = Clock.wallNanoseconds()
      do throws(LinuxError) {
        guard let request = requests[line] else { throw LinuxError(errno: 0) }  // a driven tap has its line
        try request.set(isActive)
        keep(taps.outputs[output].lineSet(active: isActive, wallNanoseconds: wall, by: message.clientID))
      } catch {
        closeLine(line)
        retryAt[line] = message.now.adding(seconds: Server.retrySeconds)
        keep(taps.outputs[output].lineFailed(error.text, wallNanoseconds: wall))
        verdict.reason = .implementationSpecificError
        verdict.reasonString = taps.outputs[output].faultText
      }
    }
    return verdict
  }

  /// Publications of a command wait until the broker is free. There is room: `receive` stops after each packet
  /// that ran a tap, and a command is one tap's.
  private func keep(_ update: TapUpdate) {
    if let state = update.state { keep(state) }
    if let fault = update.fault { keep(fault) }
  }

  private func keep(_ publication: Publication) {
    let isKept = stash.push(
      topic: publication.topic, payload: publication.payload,
      properties: { publication.writeProperties(into: &$0) }, qos: .atMostOnce, retain: publication.retain)
    if !isKept { log.error("tapline: a state found no room to be published; raise limits: tap_publish_bytes") }
  }

  // MARK: Inputs

  /// Takes the edges that wait, a bounded number a turn; where one may be missing the level decides.
  func readEdges(line: Int, at now: Instant) {
    guard let input = taps.inputIndex(ofLine: line), let request = requests[line] else { return }
    let offset = Clock.wallOffsetNanoseconds()
    let isCounted = request.capabilities.contains(.sequenceNumbers)
    do throws(LinuxError) {
      let count = try request.readEdges(into: edges)
      var index = 0
      while index < count {
        let edge = edges[index]
        let update = taps.inputs[input].edgeReceived(
          LineEdge(
            wallNanoseconds: edge.timestampNanoseconds + offset, isRising: edge.rising,
            sequence: isCounted ? edge.sequence : nil))
        publish(update, at: now)
        index += 1
      }
    } catch {
      FixedText<160>(error.text.first(min(error.text.count, 160))).withBytes { failLine(line, $0, at: now) }
      return
    }
    guard taps.inputs[input].needsResync else { return }
    guard let isActive = request.get() else {
      failLine(line, Bytes("line does not answer"), at: now)
      return
    }
    publish(taps.inputs[input].levelRead(active: isActive, wallNanoseconds: Clock.wallNanoseconds()), at: now)
  }

  // MARK: The simulated board

  /// Buttons that press themselves.
  func advancePresses(at now: Instant) {
    guard let chip else { return }
    for index in 0..<presses.count where presses[index].nextAt <= now {
      presses[index].advance()
      chip.setActive(presses[index].settings.offset, presses[index].isPressed)
    }
  }
}

/// A press of the simulated board and where it stands.
struct Press {
  let settings: SimulatedPress
  private(set) var isPressed = false
  private(set) var nextAt: Instant

  init(_ settings: SimulatedPress, from now: Instant) {
    self.settings = settings
    nextAt = now.adding(milliseconds: settings.everyMilliseconds - settings.forMilliseconds)
  }

  mutating func advance() {
    isPressed.toggle()
    let wait = isPressed ? settings.forMilliseconds : settings.everyMilliseconds - settings.forMilliseconds
    nextAt = nextAt.adding(milliseconds: wait)
  }
}
