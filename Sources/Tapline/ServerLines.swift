import Bounded
import LinuxIO
import MQTTBroker
import MQTTWire
import TaplineConfiguration
import Taps

/// The board's lines: opened at start and again when they come back, set by commands, read by edges.
extension Server {
  private static var retrySeconds: Int64 { 5 }

  /// Requests a tap's line and publishes its state; what goes wrong is the tap's fault and is tried again.
  func openLine(_ line: Int, at now: Instant) {
    retryAt[line] = .never
    let wall = Clock.wallNanoseconds()
    var (pin, settings, name) = request(for: line)
    var consumer = FixedText<80>(Bytes("tapline:"))
    name.lend { _ = consumer.append($0) }
    do throws(LineError) {
      let address = try lines.find(pin)
      let request = try open(address, &settings, consumer: consumer)
      requests[line] = request
      if request.fd >= 0 { poll(request.fd, .line, line) }
      let isKnown = settings.direction == .output && !settings.keepsLevel
      guard let isActive = isKnown ? settings.initialActive : request.get() else {
        failLine(line, Bytes("line does not answer"), at: now)
        return
      }
      let update: TapUpdate
      switch taps.owner(ofLine: line) {
      case .output(let output):
        let isWanted = settings.keepsLevel ? taps.requestLevel(output: output, found: isActive) : isActive
        if isWanted != isActive, (try? request.set(isWanted)) == nil {  // another one of its group is on
          failLine(line, Bytes("line does not answer"), at: now)
          return
        }
        update = taps.lineHealed(output: output, active: isWanted, at: now, wallNanoseconds: wall)
      case .input(let input):
        update = taps.inputs[input].lineHealed(
          active: isActive, isDebounced: settings.debounceMicroseconds > 0, isPolled: settings.edges == .none, at: now,
          wallNanoseconds: wall)
      case .counter(let counter):
        update = taps.counters[counter].lineHealed(
          isHigh: isActive, seesBothEdges: settings.edges == .both, at: now, wallNanoseconds: wall)
      }
      if update.fault != nil { tell(.notice, .taps, tap: name, Bytes("works again")) }
      publish(update, at: now)
    } catch {
      var text = loop.scratch.writer()
      error.write(of: pin, into: &text)
      // The scratch memory is used again to publish; a fault's text is shorter than this.
      FixedText<160>(text.written.first(min(text.count, 160))).withBytes { failLine(line, $0, at: now) }
    }
  }

  private func request(for line: Int) -> (pin: LineAddress, settings: LineSettings, name: [UInt8]) {
    switch taps.owner(ofLine: line) {
    case .output(let output): return request(output: output)
    case .input(let input): return request(input: input)
    case .counter(let counter): return request(counter: counter)
    }
  }

  private func request(output index: Int) -> (pin: LineAddress, settings: LineSettings, name: [UInt8]) {
    let output = configuration.taps.outputs[index]
    var settings = output.lineSettings
    settings.keepsLevel = output.initial == .keep && taps.outputs[index].state == .waiting
    if !settings.keepsLevel { settings.initialActive = taps.requestLevel(output: index, found: nil) }
    return (output.pin, settings, output.name)
  }

  /// Without edges where the line has none, an input that is then polled; `settings` say so.
  private func open(
    _ address: ChipLine, _ settings: inout LineSettings, consumer: FixedText<80>
  ) throws(LineError) -> LineRequest {
    do throws(LineError) {
      return try LineRequest.open(address, settings, consumer: consumer)
    } catch {
      // The line has no interrupt.
      let hasNoEdges = error.reason == .failed && error.error == .noDeviceOrAddress
      guard hasNoEdges, settings.edges == .both else { throw error }
      settings.edges = .none
      settings.debounceMicroseconds = 0
      return try LineRequest.open(address, settings, consumer: consumer)
    }
  }

  /// The line is given back, the tap says why, and the line is tried again.
  func failLine(_ line: Int, _ reason: Bytes, at now: Instant) {
    closeLine(line)
    retryAt[line] = now.adding(seconds: Server.retrySeconds)
    let wall = Clock.wallNanoseconds()
    let update: TapUpdate
    switch taps.owner(ofLine: line) {
    case .output(let output): update = taps.lineFailed(output: output, reason, at: now, wallNanoseconds: wall)
    case .input(let input): update = taps.inputs[input].lineFailed(reason, wallNanoseconds: wall)
    case .counter(let counter): update = taps.counters[counter].lineFailed(reason, wallNanoseconds: wall)
    }
    if update.fault != nil {  // once, not with every retry
      tell(.warning, .taps, tap: request(for: line).name, reason, "; trying again every 5 s")
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

  /// A command for an output, inside the broker's turn: the lines change now, the publications follow when the
  /// broker is free, the acknowledgement tells what happened.
  /// - Parameter place: the topic's, see `TapTable.outputTopic`.
  func commandReceived(_ place: Int, _ message: TapMessage) -> TapVerdict {
    var verdict = TapVerdict(retain: false)  // a retained command would switch the pin at every restart
    let (output, action) = taps.commandReceived(
      place: place, message.payload, isRetained: message.retain,
      by: author(of: message), at: Clock.now())  // the line may have changed since the turn began
    switch action {
    case .refuse(let reason, let text):
      verdict.reason = reason
      verdict.reasonString = text
      tellOfCommand(.info, output, by: author(of: message), text)
    case .set(let sets):
      if let failed = carryOut(sets, at: message.now, inBrokersTurn: true) {
        verdict.reason = .implementationSpecificError
        verdict.reasonString = taps.outputs[failed].faultText
      }
    }
    answer(message, verdict) { writer in
      OutputAnswer.write(state: taps.outputs[output].state == .driven(active: true), into: &writer)
    }
    return verdict
  }

  /// Sets lines in order and announces each; the output whose line failed, which ends it, or nil.
  func carryOut(_ sets: LineSets, at now: Instant, inBrokersTurn: Bool) -> Int? {
    var failed: Int?
    rulesMustWait = true
    for index in 0..<sets.count where failed == nil {
      if !carryOut(sets[index], at: now, inBrokersTurn: inBrokersTurn) { failed = sets[index].output }
    }
    rulesMustWait = false
    if !inBrokersTurn { settle(at: now) }
    return failed
  }

  private func carryOut(_ set: LineSet, at now: Instant, inBrokersTurn: Bool) -> Bool {
    // In the broker's turn publications wait until it is over.
    func announce(_ update: TapUpdate) {
      if inBrokersTurn { taps.tellLater(.output(set.output), update) } else { publish(update, at: now) }
    }
    let line = taps.outputs[set.output].lineIndex
    let wall = Clock.wallNanoseconds()
    do throws(LinuxError) {
      guard let request = requests[line] else { throw LinuxError(errno: 0) }  // a driven tap has its line
      try request.set(set.active)
    } catch {
      closeLine(line)
      retryAt[line] = now.adding(seconds: Server.retrySeconds)
      let update = taps.lineFailed(output: set.output, error.text, at: now, wallNanoseconds: wall)
      if update.fault != nil {
        tell(
          .warning, .taps, tap: configuration.taps.outputs[set.output].name, error.text, "; trying again every 5 s")
      }
      announce(update)
      return false
    }
    tellOfCommand(.debug, set.output, by: set.by, set.active ? Bytes("ON") : Bytes("OFF"))
    // The turn began a while ago, and some drivers take theirs: dead times count from the line.
    announce(taps.lineSet(set, at: Clock.now(), wallNanoseconds: wall))
    stateChanged(at: now)
    return true
  }

  /// Timers that are due: ends of pulses, dead times, leases; and figures.
  func advanceOutputs(at now: Instant) {
    while let sets = taps.takeDueOutput(at: now) { _ = carryOut(sets, at: now, inBrokersTurn: false) }
    while let stats = taps.takeDueStats(at: now, wallNanoseconds: Clock.wallNanoseconds()) { publish(stats, at: now) }
  }

  /// The orderly end: each output gets its safe level, keeps what it has or is let go, as `on_exit` says. Then its line is
  /// given back, so that nothing can set it any more.
  func leaveOutputs(at now: Instant) {
    for output in 0..<taps.outputs.count {
      if let set = taps.exitSet(output: output) { _ = carryOut(set, at: now, inBrokersTurn: false) }
    }
    for output in 0..<taps.outputs.count {
      if let stats = taps.stats(output: output, at: now, wallNanoseconds: Clock.wallNanoseconds()) {
        publish(stats, at: now)
      }
      let line = taps.outputs[output].lineIndex
      if configuration.taps.outputs[output].onExit == .release { letGo(line) } else { closeLine(line) }
    }
  }

  /// A line that is given back keeps driving on some kernels; as an input it drives nothing.
  private func letGo(_ line: Int) {
    guard requests[line] != nil else { return }
    closeLine(line)
    let output = request(for: line)
    if let address = try? lines.find(output.pin),
      let input = try? LineRequest.open(
        address, LineSettings(direction: .input), consumer: FixedText<80>(Bytes("tapline")))
    {
      input.close()
    }
  }

  /// The answer for who asked for one by Response Topic (§4.10).
  func answer(_ message: TapMessage, _ verdict: TapVerdict, _ writeState: (inout ByteWriter) -> Void) {
    guard let properties = try? Properties(message.forwardedProperties, in: .publish),
      let topic = properties.first(.responseTopic)?.value, Topic.isValidName(topic), topic[0] != UInt8(ascii: "$"),
      topic.count <= configuration.limits.topicBytesMax, Topic.levelCount(topic) <= configuration.limits.topicLevelsMax
    else { return }
    var writer = loop.scratch.writer()
    if verdict.reason.isError {
      OutputAnswer.write(refusal: verdict.reasonString, into: &writer)
    } else {
      writeState(&writer)
    }
    let isKept = stash.push(
      topic: topic, payload: writer.written,
      properties: { place in
        place.writeProperty(.payloadFormatIndicator, byte: 1)
        if let correlation = properties.first(.correlationData)?.value {
          place.writeProperty(.correlationData, bytes: correlation)
        }
      }, qos: message.qos, retain: false, runsTaps: false)  // a topic of the client's choice commands nothing
    if !isKept {
      log.write(
        .error, .taps,
        "tapline: an answer found no room to be published; raise limits: tap_publishes or tap_publish_bytes")
    }
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
