import Bounded
import MQTTWire
import Testing

@testable import Taps

@Suite struct TapTableTests {
  func full() -> TapSettings {
    var settings = TapSettings(base: [UInt8]("home/cellar".utf8))
    settings.outputs = [output("relay", pin: "GPIO17"), output("lamp", pin: "GPIO18")]
    settings.inputs = [input("button", pin: "GPIO27"), input("door", pin: "GPIO5"), input("pir", pin: "GPIO6")]
    settings.counters = [counter("water", pin: "GPIO16")]
    settings.sensors = [sensor("air"), sensor("wave", .simulatedWave)]
    return settings
  }

  @Test func planCountsWhatIsTaken() {
    var counting = Reservation.counting()
    let counted = TapTable(full(), in: &counting)
    #expect(counted.byteCount == counting.byteCount)
    #expect(
      counting.rows.map { "\($0.name)" } == [
        "outputs", "line sets", "  answers", "inputs", "counters", "sensors", "PWM channels and LEDs", "untold states",
        "  authors", "  queue", "tap topics", "tap texts",
      ])
    #expect(counting.rows.map(\.entryCount)[0...5] == [2, 8, 160, 3, 1, 2])
    #expect(table(full(), at: Instant(nanoseconds: 0)).byteCount == counted.byteCount)
    // Less than a KiB for a tap.
    #expect(counted.byteCount < 8 * 1024)
  }

  @Test func noTapsAtAll() {
    let table = board()
    #expect(table.lineCount == 0)
    #expect(table.nextSensorDeadline == .never)
    #expect(table.takeDueSensor(at: Instant(nanoseconds: .max - 1).moment) == nil)
  }

  @Test func topicsOfEachTap() {
    let table = table(full(), at: Instant(nanoseconds: 0))
    #expect(table.statusTopic.text == "home/cellar/status")
    #expect((0..<2).map { table.outputs[$0].commandTopic.text } == ["home/cellar/relay/set", "home/cellar/lamp/set"])
    #expect((0..<2).map { table.outputs[$0].stateTopic.text } == ["home/cellar/relay", "home/cellar/lamp"])
    #expect(
      (0..<3).map { table.inputs[$0].stateTopic.text } == ["home/cellar/button", "home/cellar/door", "home/cellar/pir"])
    #expect(
      (0..<3).map { table.inputs[$0].faultTopic.text }
        == ["home/cellar/button/fault", "home/cellar/door/fault", "home/cellar/pir/fault"])
    #expect((0..<2).map { table.sensors[$0].faultTopic.text } == ["home/cellar/air/fault", "home/cellar/wave/fault"])
    for online in [true, false] {
      let status = table.status(online: online, wallNanoseconds: 0)
      #expect(status.topic.text == "home/cellar/status" && status.retain)
      #expect(status.payload.text == (online ? "online" : "offline"))
    }
  }

  @Test func linesAreOutputsThenInputsThenCounters() {
    let table = table(full(), at: Instant(nanoseconds: 0))
    #expect(table.lineCount == 6)
    #expect(
      (0..<6).map { table.owner(ofLine: $0) } == [.output(0), .output(1), .input(0), .input(1), .input(2), .counter(0)])
    #expect(table.counters[0].lineIndex == 5)
    #expect((0..<2).map { table.outputs[$0].lineIndex } == [0, 1])
    #expect((0..<3).map { table.inputs[$0].lineIndex } == [2, 3, 4])
  }

  /// Faults of neighbours do not touch each other's text.
  @Test func tapsDoNotShareMemory() {
    let table = table(full(), at: Instant(nanoseconds: 0))
    let long = String(repeating: "x", count: 200)
    withLent(long) { reason in
      _ = table.lineFailed(output: 0, reason, at: Instant(nanoseconds: 0).moment)
      _ = table.lineFailed(output: 1, Bytes("lamp"), at: Instant(nanoseconds: 0).moment)
      _ = table.inputs[0].lineFailed(reason, wallNanoseconds: 0)
      _ = table.inputs[2].lineFailed(Bytes("pir"), wallNanoseconds: 0)
      for _ in 0..<3 { _ = table.sensors[0].readingFailed(reason, at: Instant(nanoseconds: 0).moment) }
      _ = table.sensors[1].simulatedReading(at: Instant(nanoseconds: 0).moment)
    }
    #expect(table.outputs[0].faultText.text == String(long.prefix(96)))
    #expect(table.outputs[1].faultText.text == "lamp")
    #expect(table.inputs[0].faultText.text == String(long.prefix(96)))
    #expect(table.inputs[1].faultText.isEmpty)
    #expect(table.inputs[2].faultText.text == "pir")
    #expect(table.sensors[0].faultText.text == String(long.prefix(96)))
    #expect(table.sensors[1].valueText.text == "20.0")
  }

  // MARK: Settings that cannot be

  @Test(arguments: ["", "/a", "a/", "a/+", "a/#", "$SYS/a", "a\0", String(repeating: "a", count: 257)])
  func badBase(base: String) {
    let problem = TapSettings(base: [UInt8](base.utf8)).problem()
    #expect(problem?.place == .base)
  }

  @Test(arguments: ["", "a/b", "+", "#", "a+", "$a", "status", "a\0", String(repeating: "a", count: 65)])
  func badName(name: String) {
    #expect(TapSettings.nameProblem([UInt8](name.utf8)) != nil)
  }

  @Test(arguments: ["a", "Status", "statuses", "set", "fault", "böiler 1", String(repeating: "a", count: 64)])
  func goodName(name: String) {
    #expect(TapSettings.nameProblem([UInt8](name.utf8)) == nil)
  }

  @Test func whereAProblemIs() {
    #expect(full().problem() == nil)
    var settings = full()
    settings.inputs[1].name = settings.outputs[0].name
    #expect(settings.problem() == TapProblem(place: .input(1), text: "another tap has this name"))
    settings = full()
    settings.sensors[1].name = settings.inputs[2].name
    #expect(settings.problem() == TapProblem(place: .sensor(1), text: "another tap has this name"))
    settings = full()
    settings.counters[0].pin = settings.inputs[2].pin
    #expect(settings.problem() == TapProblem(place: .counter(0), text: "another tap has this pin"))
    settings = full()
    settings.inputs[2].pin = settings.outputs[1].pin
    #expect(settings.problem() == TapProblem(place: .input(2), text: "another tap has this pin"))
    settings = full()
    settings.outputs[1].pin = LineAddress(line: [])
    #expect(settings.problem()?.place == .output(1))
    settings = full()
    settings.outputs[1].pin.chip = [0x61]  // the same name on another chip
    settings.inputs[0].pin = LineAddress(line: settings.outputs[1].pin.line)
    #expect(settings.problem() == nil)
  }

  @Test func whatASensorCannotHave() {
    var broken: [SensorSettings] = []
    func add(_ change: (inout SensorSettings) -> Void) {
      var settings = sensor()
      change(&settings)
      broken.append(settings)
    }
    add { $0.intervalNanoseconds = 9_999_999 }
    add { $0.intervalNanoseconds = -1 }
    add { $0.digits = -1 }
    add { $0.digits = 10 }
    add { $0.scale = .zero }
    add { $0.delta = PlainDecimal(mantissa: -1, places: 3) }
    add { $0.refreshNanoseconds = -1 }
    add { $0.source = .hwmon(name: [], channel: [0x61]) }
    add { $0.source = .hwmon(name: [0x61], channel: []) }
    add { $0.source = .iio(name: [0x61], channel: [UInt8]("../x".utf8)) }
    add { $0.source = .thermal(type: []) }
    add { $0.source = .supply(name: [UInt8]("../BAT0".utf8), channel: [0x61]) }
    add { $0.source = .supply(name: [0x61], channel: []) }
    add { $0.source = .file(path: []) }
    add { $0.source = .w1(name: []) }
    add { $0.source = .w1(name: [UInt8]("../28-0".utf8)) }
    add { $0.staleNanoseconds = -1 }
    add { $0.channel = [UInt8]("a/b".utf8) }
    add { $0.reject = [PlainDecimal](repeating: .zero, count: 5) }
    add { $0.valid = SensorRange(lowest: PlainDecimal(mantissa: 1, places: 1), highest: .zero) }
    for each in broken {
      var settings = TapSettings(base: [0x61])
      settings.sensors = [each]
      #expect(settings.problem()?.place == .sensor(0))
    }
  }
}

@Suite struct SensorDeadlineTests {
  func at(_ milliseconds: Int64) -> Instant { Instant(milliseconds: milliseconds) }

  /// Every action that is due, as text.
  func due(_ table: TapTable, at milliseconds: Int64) -> [String] {
    var actions: [String] = []
    while let action = table.takeDueSensor(at: at(milliseconds).moment) {
      switch action {
      case .read(let index): actions.append("read \(index)")
      case .publish(let index, let update): actions.append("publish \(index) \(messages(update))")
      }
    }
    #expect(table.nextSensorDeadline > at(milliseconds))
    return actions
  }

  func answer(_ table: TapTable, _ index: Int, at milliseconds: Int64) {
    _ = withLent("20000") { table.sensors[index].readingReceived($0, at: at(milliseconds).moment) }
  }

  @Test func deadlinesAreMultiplesOfTheInterval() {
    let table = board(sensors: [sensor("a"), sensor("b", intervalMilliseconds: 1500)], at: at(100))
    #expect(table.nextSensorDeadline == at(100))
    #expect(table.takeDueSensor(at: at(99).moment) == nil)
    #expect(due(table, at: 100) == ["read 0", "read 1"])
    answer(table, 0, at: 150)
    answer(table, 1, at: 150)
    #expect(table.nextSensorDeadline == at(1100))
    #expect(due(table, at: 1107) == ["read 0"])  // late, but the next one is not
    answer(table, 0, at: 1150)
    #expect(table.sensors[0].nextReadAt == at(2100))
    #expect(table.nextSensorDeadline == at(1600))
    #expect(due(table, at: 1600) == ["read 1"])
    answer(table, 1, at: 1600)
    #expect(due(table, at: 7450) == ["read 0", "read 1"])  // once, not five times
    #expect(table.sensors[0].nextReadAt == at(8100))
    #expect(table.sensors[0].skippedCount == 5)
    #expect(table.sensors[1].nextReadAt == at(7600))
  }

  @Test func neverTwoReadsAtATime() {
    let table = board(sensors: [sensor("slow")])
    #expect(due(table, at: 0) == ["read 0"])
    #expect(table.sensors[0].isReading)
    for second in 1...4 { #expect(due(table, at: Int64(second) * 1000) == []) }
    // From five seconds on it is a failure; the third makes a fault.
    #expect(due(table, at: 5000) == ["publish 0 []"])
    #expect(due(table, at: 6000) == ["publish 0 []"])
    #expect(due(table, at: 7000) == ["publish 0 [\"home/cellar/slow/fault=read does not return\"]"])
    #expect(due(table, at: 8000) == ["publish 0 []"])
    #expect(table.sensors[0].skippedCount == 8)
    answer(table, 0, at: 8500)
    #expect(!table.sensors[0].isReading)
    #expect(table.sensors[0].state == .working(failuresInARow: 0))
    #expect(due(table, at: 9000) == ["read 0"])
  }

  @Test func simulatedWaveIsATriangle() {
    let points: [(Int64, Int64)] = [
      (0, 20_000), (6, 20_001), (15_000, 22_500), (30_000, 25_000), (45_000, 22_500), (59_994, 20_001),
      (60_000, 20_000), (90_000, 25_000),
    ]
    for (milliseconds, milli) in points { #expect(SimulatedWave.milli(at: at(milliseconds)) == milli) }
    for milliseconds in stride(from: 0, to: 120_000, by: 7) as StrideTo<Int64> {
      check((20_000...25_000).contains(SimulatedWave.milli(at: at(milliseconds))))
    }
    let table = board(sensors: [sensor("wave", .simulatedWave)])
    #expect(due(table, at: 0) == ["publish 0 [\"home/cellar/wave=20.0\"]"])
    #expect(due(table, at: 15_000) == ["publish 0 [\"home/cellar/wave=22.5\"]"])
    #expect(due(table, at: 30_000) == ["publish 0 [\"home/cellar/wave=25.0\"]"])
    #expect(!table.sensors[0].isReading)
  }

  /// Any order of turns, answers and stalls: deadlines stay multiples, and each is read, skipped or both counted.
  @Test(arguments: [1, 2, 3, 4, 5, 6] as [UInt64]) func noDeadlineIsUncounted(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let intervals: [Int64] = [10, 35, 1000]
    let start = Int64(random.below(1_000_000))
    let table = board(
      sensors: intervals.enumerated().map { sensor("s\($0.offset)", intervalMilliseconds: $0.element) }, at: at(start))
    var now = start
    var reads = [UInt64](repeating: 0, count: 3)
    for _ in 0..<3_000 {
      now += Int64(random.below(random.oneIn(50) ? 20_000 : 30))
      while let action = table.takeDueSensor(at: at(now).moment) {
        if case .read(let index) = action { reads[index] += 1 }
      }
      for index in 0..<3 where table.sensors[index].isReading && random.oneIn(2) { answer(table, index, at: now) }
      for index in 0..<3 {
        let passed = UInt64((now - start) / intervals[index]) + 1
        check(table.sensors[index].nextReadAt == at(start + Int64(passed) * intervals[index]))
        check(reads[index] + table.sensors[index].skippedCount == passed, "seed \(seed)")
      }
    }
  }
}
