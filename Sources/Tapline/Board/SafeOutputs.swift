import Bounded
import LinuxIO
public import TaplineConfiguration
import Taps

/// `tapline safe`: brings a board's outputs to their safe levels when no daemon runs that could do it, as after a
/// crash, a kill or a watchdog timeout. Takes none of the broker's memory.
///
/// A kernel that keeps levels then leaves the pins so; another one lets each fall to its pull as soon as this ends.
public struct SafeOutputs {
  public private(set) var isSafe = true
  /// A line an output, for people.
  public private(set) var text = Text()

  private let lines: Lines

  public init(_ configuration: Configuration) {
    self.init(
      configuration.taps.outputs,
      lines: configuration.board?.isSimulated == true ? Lines(simulated: SimulatedChip()) : Lines(),
      patienceMilliseconds: 2000)
    leave(configuration.taps.levels, sysfsRoot: configuration.sysfsRoot)
  }

  /// Tries every output, whatever becomes of the others; for `patienceMilliseconds` again, as a chip may come late and a
  /// daemon that was killed may take a moment to be gone.
  init(_ outputs: [OutputSettings], lines: Lines, patienceMilliseconds: Int64) {
    self.lines = lines
    let deadline = Clock.now().adding(milliseconds: patienceMilliseconds)
    var isDone = [Bool](repeating: false, count: outputs.count)
    while true {
      for index in outputs.indices where !isDone[index] { isDone[index] = leave(outputs[index]) == nil }
      guard isDone.contains(false), Clock.now() < deadline else { break }
      Clock.sleep(milliseconds: 50)
    }
    for index in outputs.indices { tell(outputs[index], isDone[index] ? nil : leave(outputs[index])) }
  }

  /// nil: as the output's `on_exit` wants it.
  @inline(never) private func leave(_ output: OutputSettings) -> LineError? {
    var settings: LineSettings
    switch output.onExit {
    case .keep: return nil
    case .release: settings = LineSettings(direction: .input)
    case .safe:
      settings = output.lineSettings
      settings.initialActive = output.isSafeActive
    }
    do throws(LineError) {
      let address = try lines.find(output.pin)
      try LineRequest.open(address, settings, consumer: FixedText<80>(Bytes("tapline-safe"))).close()
      return nil
    } catch {
      return error
    }
  }

  /// PWM channels and LEDs.
  private mutating func leave(_ levels: [LevelSettings], sysfsRoot: [UInt8]) {
    var problems = [Text?](repeating: nil, count: levels.count)
    var lanes: [LevelLane] = []
    var started: [Int] = []
    for index in levels.indices where levels[index].onExit != .keep {
      guard let lane = try? KernelBoard.levelLane(levels[index], sysfsRoot: sysfsRoot) else {
        problems[index] = Text("no thread for it")
        continue
      }
      lanes.append(lane)
      started.append(index)
    }
    KernelBoard.finish(lanes) { lane in
      let level = levels[started[lane]]
      return (.open, level.scale.share(of: level.safe))
    } ended: { lane, result in
      problems[started[lane]] = SafeOutputs.problem(levels[started[lane]], result)
    }
    for index in levels.indices { tell(levels[index], problems[index]) }
  }

  /// nil: it has its safe level.
  private static func problem(_ level: LevelSettings, _ result: LevelResult?) -> Text? {
    guard let result else { return Text("write does not return") }
    guard let failure = result.failure else { return nil }
    return withUnsafeTemporaryAllocation(byteCount: 160, alignment: 8) { room in
      var writer = ByteWriter(room)
      level.target.describe(failure, into: &writer)
      var text = Text()
      text.add(writer.written)
      return text
    }
  }

  private mutating func tell(_ level: LevelSettings, _ problem: Text?) {
    text.add(level.name)
    if let problem {
      isSafe = false
      text.add(": NOT SAFE: ")
      text.add(problem)
    } else {
      text.add(level.onExit == .keep ? ": left as it is (on_exit: keep)" : ": safe level")
    }
    text.endLine()
  }

  @inline(never) private mutating func tell(_ output: OutputSettings, _ error: LineError?) {
    text.add(output.name)
    if let error {
      isSafe = false
      text.add(": NOT SAFE: ")
      withUnsafeTemporaryAllocation(byteCount: 256, alignment: 8) { room in
        var writer = ByteWriter(room)
        error.write(of: output.pin, into: &writer)
        text.add(writer.written)
      }
      if error.consumer.withBytes({ $0.hasPrefix(Bytes("tapline:")) }) {
        text.add("; is tapline running? stop it first")
      }
    } else {
      switch output.onExit {
      case .safe: text.add(output.isSafeActive ? ": on" : ": off")
      case .keep: text.add(": left as it is (on_exit: keep)")
      case .release: text.add(": released (on_exit: release)")
      }
    }
    text.endLine()
  }
}

extension Server {
  /// One line for the log: what a crash leaves on the pins, as far as the kernel says.
  func tellWhatTheKernelKeeps() {
    guard taps.outputs.count > 0 else { return }
    var keeps: Bool?
    var isAmbiguous = false
    for driver: StaticString in ["pinctrl_bcm2835", "pinctrl_rp1"] {
      guard let answer = keepsOutputs(driver) else { continue }
      isAmbiguous = keeps != nil && keeps != answer
      keeps = answer
    }
    let word: StaticString = isAmbiguous ? "unknown" : keeps.map { $0 ? "yes" : "no" } ?? "unknown"
    log.line(.notice, .server) { line in
      line.write("tapline: this kernel keeps outputs after exit: ")
      line.write(word)
    }
  }

  /// A parameter of Raspberry Pi's kernels; nil where there is none.
  private func keepsOutputs(_ driver: StaticString) -> Bool? {
    var path = Text(configuration.sysfsRoot)
    path.add("/module/")
    path.add(driver)
    path.add("/parameters/persist_gpio_outputs")
    let text = path.bytes.lend { try? Files.read($0, bytesMax: 16) }
    switch text?.first {
    case UInt8(ascii: "Y"): return true
    case UInt8(ascii: "N"): return false
    default: return nil
    }
  }
}
