import Bounded
import Gateway
import LinuxIO
import MQTTBroker
import MQTTWire
import TaplineConfiguration
import Taps

/// Inputs and counters: their lines' edges, levels and deadlines.
extension Server {
  func request(input index: Int) -> (pin: LineAddress, settings: LineSettings, name: [UInt8]) {
    let input = configuration.taps.inputs[index]
    var settings = LineSettings(direction: .input)
    settings.edges = .both
    settings.activeLow = input.active == .low
    settings.bias = LineSettings.Bias(input.bias)
    if input.debounceMode == .settle, capabilities.contains(.kernelDebounce) {
      settings.debounceMicroseconds = input.debounceMicroseconds
    }
    settings.eventsMax = Server.inputEventsMax
    return (input.pin, settings, input.name)
  }

  func request(counter index: Int) -> (pin: LineAddress, settings: LineSettings, name: [UInt8]) {
    let counter = configuration.taps.counters[index]
    var settings = LineSettings(direction: .input)
    let tap = taps.counters[index]
    let needsBoth = tap.needsBothEdges(isCounted: capabilities.contains(.sequenceNumbers))
    settings.edges = needsBoth ? .both : tap.countsRising ? .rising : .falling
    settings.bias = LineSettings.Bias(counter.bias)
    settings.eventsMax = Server.counterEventsMax
    return (counter.pin, settings, counter.name)
  }

  /// Edges that the kernel keeps of a line; a meter's come fastest, and are to be counted after a pause of the loop.
  static var inputEventsMax: UInt16 { 64 }
  static var counterEventsMax: UInt16 { 1024 }

  private var capabilities: LineCapabilities { board.lines.capabilities }

  /// Takes the edges that wait, as many as the kernel keeps for a line; then does what is due of the line's tap.
  func readEdges(line: Int, at moment: Moment) {
    let owner = taps.owner(ofLine: line)
    if let request = board.requests[line], request.fd >= 0 {
      do throws(LinuxError) {
        try takeEdges(of: request, owner, at: moment.at)
      } catch {
        FixedText<160>(error.text.first(min(error.text.count, 160))).withBytes { failLine(line, $0, at: moment) }
        return
      }
    }
    advance(owner, to: moment.at, at: moment.at)
    guard case .input(let input) = owner, taps.inputs[input].levelIsDue(at: moment.at),
      let request = board.requests[line]
    else {
      return
    }
    guard let isActive = request.get() else {
      failLine(line, Bytes("line does not answer"), at: moment)
      return
    }
    gateway.publish(taps.inputs[input].levelRead(active: isActive, at: moment), at: moment.at)
  }

  private func takeEdges(of request: LineRequest, _ owner: LineOwner, at now: Instant) throws(LinuxError) {
    let wallOffset = Clock.wallOffsetNanoseconds()
    let bootOffset = Clock.bootOffsetNanoseconds()
    let isCounted = request.capabilities.contains(.sequenceNumbers)
    var rounds = 16  // x 64: the kernel keeps 1024 edges at most
    while rounds > 0 {
      rounds -= 1
      let count = try request.readEdges(into: board.edges)
      for index in 0..<count {
        let edge = board.edges[index]
        let at = Instant(nanoseconds: max(0, edge.timestampNanoseconds &+ bootOffset))
        advance(owner, to: at, at: now)
        let told = LineEdge(
          at: Moment(at: at, wallNanoseconds: edge.timestampNanoseconds &+ wallOffset),
          isRising: edge.rising, sequence: isCounted ? edge.sequence : nil)
        switch owner {
        case .output: break
        case .input(let input): gateway.publish(taps.inputs[input].edgeReceived(told), at: now)
        case .counter(let counter):
          taps.counters[counter].edgeReceived(told)
          board.stateChanged(at: now)
        }
      }
      if count < board.edges.capacity { return }
    }
  }

  private func advance(_ owner: LineOwner, to time: Instant, at now: Instant) {
    switch owner {
    case .output: break
    case .input(let input):
      while let update = taps.inputs[input].advance(to: time) { gateway.publish(update, at: now) }
    case .counter(let counter):
      while let update = taps.counters[counter].advance(to: time) { gateway.publish(update, at: now) }
    }
  }

  /// Does what is due for all inputs and counters. Edges come first: one that waits may be older than a deadline.
  func advanceInputs(at moment: Moment) {
    for index in 0..<taps.inputs.count {
      if taps.inputs[index].nextDeadline <= moment.at { readEdges(line: taps.inputs[index].lineIndex, at: moment) }
    }
    for index in 0..<taps.counters.count {
      if taps.counters[index].nextDeadline <= moment.at { readEdges(line: taps.counters[index].lineIndex, at: moment) }
    }
  }
}
