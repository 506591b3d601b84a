import Bounded
import Gateway
import LinuxIO
import MQTTBroker
import TaplineConfiguration
import Taps

/// The board that the kernel has: its lines, its PWM channels and LEDs, the state file, the thread of decoupled handlers
/// and the log, as the gateway asks for them.
final class KernelBoard: Board {
  let configuration: Configuration
  let log: Log
  let poller: Poller
  let lines: Lines
  /// The simulated board's; nil on a real one.
  let chip: SimulatedChip?
  /// By the number of the line; nil: it is not there, busy or lost.
  var requests: [LineRequest?]
  /// For the edges of one read.
  let edges: EdgeBuffer
  /// When each missing line is to be requested again.
  var retryAt: [Instant]
  /// One a PWM channel or LED.
  let levelLanes: [LevelLane]
  /// nil without `persist`.
  var stateKeeper: StateKeeper?
  /// nil without decoupled handlers.
  var handlerLane: HandlerLane?

  static var retrySeconds: Int64 { 5 }

  init(_ configuration: Configuration, log: Log, poller: Poller) throws(LinuxError) {
    self.configuration = configuration
    self.log = log
    self.poller = poller
    chip = configuration.board?.isSimulated == true ? SimulatedChip() : nil
    lines = chip.map { Lines(simulated: $0) } ?? Lines()
    edges = try EdgeBuffer(capacity: 64)
    let taps = configuration.taps
    let lineCount = taps.outputs.count + taps.inputs.count + taps.counters.count
    requests = [LineRequest?](repeating: nil, count: lineCount)
    retryAt = [Instant](repeating: .never, count: lineCount)
    var lanes: [LevelLane] = []
    for level in taps.levels { lanes.append(try KernelBoard.levelLane(level, sysfsRoot: configuration.sysfsRoot)) }
    levelLanes = lanes
  }

  var moment: Moment { Clock.moment() }
  var monotonicNanoseconds: Int64 { Clock.monotonicNanoseconds() }

  // MARK: Lines

  func set(line: Int, active: Bool, reason: inout ByteWriter) -> Bool {
    do throws(LinuxError) {
      guard let request = requests[line] else { throw LinuxError(errno: 0) }  // a driven tap has its line
      try request.set(active)
      return true
    } catch {
      reason.write(error.text)
      close(line: line)
      retryAt[line] = Clock.now().adding(seconds: KernelBoard.retrySeconds)
      return false
    }
  }

  func level(ofLine line: Int) -> Bool? { requests[line]?.get() }

  func close(line: Int) {
    guard let request = requests[line] else { return }
    if request.fd >= 0 { try? poller.remove(request.fd) }
    request.close()
    requests[line] = nil
  }

  /// A line that is given back keeps driving on some kernels; as an input it drives nothing.
  func giveBack(line: Int, letsGo: Bool) {
    let wasThere = requests[line] != nil
    close(line: line)
    guard letsGo, wasThere else { return }
    if let address = try? lines.find(configuration.taps.outputs[line].pin),  // outputs are the first lines
      let input = try? LineRequest.open(
        address, LineSettings(direction: .input), consumer: FixedText<80>(Bytes("tapline")))
    {
      input.close()
    }
  }

  // MARK: The state file and handlers

  func stateChanged(at now: Instant) { stateKeeper?.changed(at: now) }

  func forget(announced name: [UInt8], at now: Instant) { stateKeeper?.forget(entryNamed: name, at: now) }

  func submit(handler: Int, topic: Bytes, payload: Bytes) -> Bool {
    handlerLane?.submit(tag: UInt32(handler), topic: topic, payload: payload) ?? false
  }

  // MARK: The log

  func tell(_ notice: GatewayNotice) {
    switch notice {
    case .fault(let tap, let reason): tell(.warning, .taps, tap: tap, reason, "; trying again every 5 s")
    case .switched(let output, let active, let by):
      tell(.debug, output, by: by, active ? Bytes("ON") : Bytes("OFF"))
    case .refused(let output, let reason, let by): tell(.info, output, by: by, reason)
    case .ruleLoop(let by):
      log.line(.warning, .taps) { line in
        line.write("tapline: ")
        line.write(by)
        line.write(" is in a loop of rules, which was cut; see $SYS/tapline/rules/cut")
      }
    case .handlerSetAside(let pattern):
      log.line(.warning, .taps) { line in
        line.write("tapline: handler of ")
        line.write(pattern)
        line.write(" takes too long; set aside for 60 s")
      }
    case .answerLost:
      log.write(
        .error, .taps,
        "tapline: an answer found no room to be published; raise limits: tap_publishes or tap_publish_bytes")
    case .discoveryLost:
      log.write(.error, .taps, "tapline: a discovery message found no room; raise limits: retained or blocks")
    case .homeAssistantUnheard:
      log.write(.warning, .taps, "tapline: no room to hear when Home Assistant comes; raise limits: taps")
    }
  }

  /// `tapline: tap NAME/CHANNEL: TEXT; REMEDY`.
  func tell(
    _ priority: Log.Priority, _ area: Log.Area, tap name: [UInt8], channel: [UInt8] = [], _ text: Bytes,
    _ remedy: StaticString = ""
  ) {
    log.line(priority, area) { line in
      line.write("tapline: tap ")
      name.lend { line.write($0) }
      if !channel.isEmpty { line.write("/") }
      channel.lend { line.write($0) }
      line.write(": ")
      line.write(text)
      line.write(remedy)
    }
  }

  /// Logs who switched an output, or why it was not switched: `tapline: tap NAME: TEXT, by 'WHO'`.
  private func tell(_ priority: Log.Priority, _ output: Int, by author: Bytes, _ text: Bytes) {
    log.line(priority, .taps) { line in
      line.write("tapline: tap ")
      configuration.taps.outputs[output].name.lend { line.write($0) }
      line.write(": ")
      line.write(text)
      line.write(", by ")
      line.write(quoted: author)
    }
  }
}
