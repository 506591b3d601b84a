import Bounded
import Gateway
import LinuxIO
import MQTTBroker
import MQTTWire
import TaplineConfiguration
import Taps

/// The board's lines: opened at start and again when they come back.
extension Server {
  /// Requests a tap's line and publishes its state; what goes wrong is the tap's fault and is tried again.
  func openLine(_ line: Int, at moment: Moment) {
    board.retryAt[line] = .never
    var (pin, settings, name) = request(for: line)
    var consumer = FixedText<80>(Bytes("tapline:"))
    name.lend { _ = consumer.append($0) }
    do throws(LineError) {
      let address = try board.lines.find(pin)
      let request = try open(address, &settings, consumer: consumer)
      board.requests[line] = request
      if request.fd >= 0 { poll(request.fd, .line, line) }
      let isKnown = settings.direction == .output && !settings.keepsLevel
      guard let isActive = isKnown ? settings.initialActive : request.get() else {
        failLine(line, Bytes("line does not answer"), at: moment)
        return
      }
      let update: TapUpdate
      switch taps.owner(ofLine: line) {
      case .output(let output):
        let isWanted = settings.keepsLevel ? taps.requestLevel(output: output, found: isActive) : isActive
        if isWanted != isActive, (try? request.set(isWanted)) == nil {  // another one of its group is on
          failLine(line, Bytes("line does not answer"), at: moment)
          return
        }
        update = taps.lineHealed(output: output, active: isWanted, at: moment)
      case .input(let input):
        update = taps.inputs[input].lineHealed(
          active: isActive, isDebounced: settings.debounceMicroseconds > 0, isPolled: settings.edges == .none,
          at: moment)
      case .counter(let counter):
        update = taps.counters[counter].lineHealed(
          isHigh: isActive, seesBothEdges: settings.edges == .both, at: moment)
      }
      if update.fault != nil { board.tell(.notice, .taps, tap: name, Bytes("works again")) }
      gateway.publish(update, at: moment.at)
    } catch {
      withUnsafeTemporaryAllocation(byteCount: 160, alignment: 8) { room in
        var text = ByteWriter(room)
        error.write(of: pin, into: &text)
        failLine(line, text.written, at: moment)
      }
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
  func failLine(_ line: Int, _ reason: Bytes, at moment: Moment) {
    board.close(line: line)
    board.retryAt[line] = moment.at.adding(seconds: KernelBoard.retrySeconds)
    let update: TapUpdate
    switch taps.owner(ofLine: line) {
    case .output(let output): update = taps.lineFailed(output: output, reason, at: moment)
    case .input(let input): update = taps.inputs[input].lineFailed(reason, wallNanoseconds: moment.wallNanoseconds)
    case .counter(let counter):
      update = taps.counters[counter].lineFailed(reason, wallNanoseconds: moment.wallNanoseconds)
    }
    if update.fault != nil {  // once, not with every retry
      board.tell(.fault(tap: request(for: line).name, reason: reason))
    }
    gateway.publish(update, at: moment.at)
  }

  // MARK: The simulated board

  /// Buttons that press themselves.
  func advancePresses(at now: Instant) {
    guard let chip = board.chip else { return }
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
