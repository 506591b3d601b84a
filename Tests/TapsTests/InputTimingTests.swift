import Bounded
import MQTTWire
import Taps
import Testing

/// An input whose owner does as `InputTap` asks, and a line with a level. Times are milliseconds.
private struct Line {
  let tap: TapList<InputTap>
  var level = false
  var sequence: UInt32 = 0
  /// Messages with their times: "20 button=ON", and of events the type and what is beside it.
  private(set) var told: [String] = []

  init(_ change: (inout InputSettings) -> Void) {
    var settings = input("button")
    change(&settings)
    tap = board(base: "b", inputs: [settings]).inputs
    note(tap[0].lineHealed(active: false, at: Instant(nanoseconds: 0).moment))
    told = []
  }

  mutating func note(_ update: TapUpdate) {
    for publication in [update.fault, update.state, update.event].compactMap({ $0 }) {
      let milliseconds = publication.wallNanoseconds / 1_000_000
      guard publication.topic.text.hasSuffix("/event") else {
        told.append("\(milliseconds) \(publication.topic.text.dropFirst(2))=\(publication.payload.text)")
        continue
      }
      #expect(!publication.retain && publication.isJSON)
      let fields = publication.payload.text.dropFirst().dropLast().split(separator: ",").map {
        $0.split(separator: "\"")
      }
      var text = "\(milliseconds) \(fields[0][2])"
      for field in fields.dropFirst().dropLast() { text += " \(field[0])\(field[1])" }
      #expect(fields.last?[0] == "ts")
      told.append(text)
    }
  }

  /// Edges at these times, each the other way, that are read together at the last one's time.
  mutating func edges(_ milliseconds: Int64...) {
    for at in milliseconds {
      level.toggle()
      sequence += 1
      edge(level, at, sequence)
    }
  }

  mutating func edge(_ isRising: Bool, _ milliseconds: Int64, _ sequence: UInt32?) {
    let at = Instant(milliseconds: milliseconds)
    while let update = tap[0].advance(to: at) { note(update) }
    note(
      tap[0].edgeReceived(
        LineEdge(at: Moment(at: at, wallNanoseconds: at.nanoseconds), isRising: isRising, sequence: sequence)))
  }

  /// Time goes on, with the level read whenever it is due.
  mutating func wait(until milliseconds: Int64) {
    let end = Instant(milliseconds: milliseconds)
    while tap[0].nextDeadline <= end {
      let now = tap[0].nextDeadline
      while let update = tap[0].advance(to: now) { note(update) }
      guard tap[0].levelIsDue(at: now) else { continue }
      note(tap[0].levelRead(active: level, at: Moment(at: now, wallNanoseconds: now.nanoseconds)))
    }
  }

  mutating func takeTold() -> [String] {
    defer { told = [] }
    return told
  }
}

@Suite struct DebounceTests {
  private func line(_ mode: DebounceMode, _ milliseconds: UInt32 = 20) -> Line {
    Line {
      $0.debounceMicroseconds = milliseconds * 1000
      $0.debounceMode = mode
    }
  }

  /// The state is as of the edge since which the level lasts.
  @Test func settleWaitsForTheLastEdge() {
    var line = line(.settle)
    line.edges(100, 101, 103, 104, 110)
    line.wait(until: 129)
    #expect(line.takeTold() == [])
    line.wait(until: 130)
    #expect(line.takeTold() == ["110 button=ON"])
    line.edges(200, 201, 215)
    line.wait(until: 1000)
    #expect(line.takeTold() == ["215 button=OFF"])
  }

  @Test func settleForgetsWhatDidNotLast() {
    var line = line(.settle)
    line.edges(100, 119)
    line.wait(until: 5000)
    #expect(line.takeTold() == [])
    #expect(line.tap[0].lostCount == 0)
  }

  @Test func leadingCountsTheFirstEdgeAtOnce() {
    var line = line(.leading)
    line.edges(100)
    #expect(line.takeTold() == ["100 button=ON"])
    line.edges(101, 103, 104, 110)
    line.wait(until: 1000)
    #expect(line.takeTold() == [])
    line.edges(2000)
    #expect(line.takeTold() == ["2000 button=OFF"])
  }

  /// A press that is over before the time is: both levels are told.
  @Test func leadingLooksAgain() {
    var line = line(.leading)
    line.edges(100, 105)
    #expect(line.takeTold() == ["100 button=ON"])
    line.wait(until: 120)
    #expect(line.takeTold() == ["105 button=OFF"])
    line.edges(125, 126)  // within the time of that change
    line.wait(until: 1000)
    #expect(line.takeTold() == [])
  }

  /// The time of a bounce ends with the line: nothing is due until the line is back, and its next edge counts by itself.
  @Test(arguments: [DebounceMode.settle, .leading]) func aFaultEndsTheTimeOfABounce(mode: DebounceMode) {
    var line = line(mode)
    line.edges(100)
    #expect(line.tap[0].nextDeadline == Instant(milliseconds: 120))
    line.note(line.tap[0].lineFailed(Bytes("line_gone"), wallNanoseconds: 105_000_000))
    #expect(line.tap[0].nextDeadline == .never)
  }

  /// Edges that are read late are judged by their times, as if they had been read at once.
  @Test(arguments: [DebounceMode.settle, .leading]) func lateEdgesGiveTheSameStates(mode: DebounceMode) {
    let times: [Int64] = [100, 103, 104, 200, 210, 231, 300, 301, 350, 352, 353, 354]
    var early = line(mode)
    var late = line(mode)
    for time in times {
      early.wait(until: time - 1)
      early.edges(time)
    }
    for time in times { late.edges(time) }
    early.wait(until: 900)
    late.wait(until: 900)
    #expect(early.told.count == (mode == .leading ? 8 : 2) && early.told == late.told, "\(early.told) \(late.told)")
  }

  /// #48, #85, #79: several events for one press, and a wrong state at the end. The level is looked at once more.
  @Test(arguments: [DebounceMode.settle, .leading]) func pain5BouncesAreOneChangeAndTheStateIsRight(mode: DebounceMode)
  {
    var line = line(mode)
    line.edges(100, 101, 102)
    line.wait(until: 200)
    #expect(line.takeTold().count == 1)
    // The release's edges are lost but for one that the kernel takes for a press.
    line.level = false
    line.sequence += 1
    line.edge(true, 300, line.sequence)
    line.wait(until: 400)
    #expect(line.takeTold().last?.hasSuffix("button=OFF") == true)
    #expect(line.tap[0].lostCount > 0)
  }

  /// However a contact bounces: states alternate, and the last one is the line's level.
  @Test(arguments: [1, 2, 3, 4, 5, 6, 7, 8] as [UInt64]) func statesAlternateAndEndRight(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    for mode in [DebounceMode.settle, .leading] {
      var line = line(mode)
      var now: Int64 = 0
      for _ in 0..<300 {
        now += Int64(random.oneIn(4) ? random.below(200) : random.below(12)) + 1
        line.wait(until: now - 1)
        // One edge in ten is lost with its number, one in ten without.
        if random.oneIn(10) { line.sequence += 1 }
        if random.oneIn(10) { line.level.toggle() }
        line.edges(now)
      }
      line.wait(until: now + 3000)
      let states = line.told.map { $0.hasSuffix("ON") }
      for (before, after) in zip(states, states.dropFirst()) { check(before != after, "seed \(seed) \(mode)") }
      #expect((states.last ?? false) == line.level)
      #expect(line.tap[0].isActive == line.level)
    }
  }
}

@Suite struct InputLevelTests {
  /// #282: the first event after a reconnect was lost. The state that was there is told as soon as the line is.
  @Test func pain4TheStateIsThereFromTheStart() {
    let tap = board(inputs: [input("door")]).inputs
    #expect(
      messages(tap[0].lineHealed(active: true, at: Instant(nanoseconds: 0).moment))
        == ["home/cellar/door=ON"])
  }

  /// #265: unknown until the first edge. The state is retained from the line's request on, delays or not.
  @Test func pain3TheStateIsKnownBeforeAnyEdge() {
    var settings = input("door")
    settings.onDelayNanoseconds = 60_000_000_000
    settings.debounceMicroseconds = 1_000_000
    let tap = board(inputs: [settings]).inputs
    let update = tap[0].lineHealed(active: true, at: Instant(nanoseconds: 0).moment)
    #expect(messages(update) == ["home/cellar/door=ON"])
    #expect(update.state?.retain == true)
    #expect(tap[0].isActive == true)
  }

  /// #251, #268: always the same state. The kernel's edge says which level; without numbers the level is read too.
  @Test func pain6TheStateFollowsTheEdgeAndTheLevel() {
    var line = Line { _ in }
    line.edges(10, 20, 30)
    #expect(line.takeTold() == ["10 button=ON", "20 button=OFF", "30 button=ON"])
    line.level = false
    line.edge(true, 40, nil)  // libgpiod 1.6 dropped the newest edge of a full queue
    line.wait(until: 50)
    #expect(line.takeTold() == ["40 button=OFF"])
  }

  /// #236, #258: polling and growth. A line at rest is looked at once a second, and a tap's memory is fixed.
  @Test func pain8NothingIsPolledThatHasEdges() {
    let line = Line { _ in }
    #expect(line.tap[0].nextDeadline == Instant(milliseconds: 1000))
    #expect(MemoryLayout<InputTap>.stride <= 512)
    #expect(MemoryLayout<CounterTap>.stride <= 512)
    #expect(MemoryLayout<SensorTap>.stride <= 512)
  }

  /// raspberrypi/linux#5457: edges that are close together are lost without a number. The level tells, within 1.01 s.
  @Test func pain25ALostEdgeIsFoundByTheLevel() throws {
    var line = Line { _ in }
    line.edges(100)
    #expect(line.takeTold() == ["100 button=ON"])
    line.level = false  // no edge, no number
    line.wait(until: 2000)
    #expect(line.takeTold() == ["1010 button=OFF"])
    #expect(line.tap[0].lostCount == 1)
    line.edges(2500)
    line.edges(2600)
    #expect(line.takeTold() == ["2500 button=ON", "2600 button=OFF"])
    #expect(line.tap[0].lostCount == 1)
  }

  /// The edge is only late: it is no loss.
  @Test func aLevelThatAnEdgeExplainsInTimeIsNoLoss() {
    var line = Line { _ in }
    line.wait(until: 999)
    line.level = true
    line.wait(until: 1000)
    line.level = false
    line.edges(1001)
    line.wait(until: 3000)
    #expect(line.takeTold() == ["1001 button=ON"])
    #expect(line.tap[0].lostCount == 0)
  }

  @Test func aLineWithoutEdgesIsPolled() {
    var line = Line { $0.debounceMicroseconds = 50_000 }
    line.note(line.tap[0].lineHealed(active: false, isPolled: true, at: Instant(nanoseconds: 0).moment))
    line.wait(until: 100)
    line.level = true
    line.wait(until: 139)
    line.level = false
    line.wait(until: 199)
    #expect(line.takeTold() == [])  // 120 and 140: too short
    line.level = true
    line.wait(until: 400)
    #expect(line.takeTold() == ["210 button=ON"])
    #expect(line.tap[0].lostCount == 0)
  }

  @Test func kernelDebounceIsNotDoneTwice() {
    var line = Line { $0.debounceMicroseconds = 50_000 }
    line.note(line.tap[0].lineHealed(active: false, isDebounced: true, at: Instant(nanoseconds: 0).moment))
    line.edges(100, 150)
    #expect(line.takeTold() == ["100 button=ON", "150 button=OFF"])
  }
}

@Suite struct InputDelayTests {
  @Test func offDelayHoldsAMotionSensorOn() {
    var line = Line { $0.offDelayNanoseconds = 30_000_000_000 }
    line.edges(1000, 3000, 20_000, 22_000)
    line.wait(until: 51_999)
    #expect(line.takeTold() == ["1000 button=ON"])
    line.wait(until: 52_000)
    #expect(line.takeTold() == ["52000 button=OFF"])
  }

  @Test func onDelayIgnoresAShortOpening() {
    var line = Line { $0.onDelayNanoseconds = 5_000_000_000 }
    line.edges(1000, 5999, 10_000)
    line.wait(until: 20_000)
    #expect(line.takeTold() == ["15000 button=ON"])
    line.edges(20_001)
    #expect(line.takeTold() == ["20001 button=OFF"])
  }

  @Test func aFaultEndsADelay() {
    var line = Line { $0.offDelayNanoseconds = 30_000_000_000 }
    line.edges(1000, 2000)
    line.note(line.tap[0].lineFailed(Bytes("gone"), wallNanoseconds: 0))
    #expect(line.tap[0].nextDeadline == .never)
    _ = line.takeTold()
    line.note(
      line.tap[0].lineHealed(active: false, at: Moment(at: Instant(milliseconds: 5000), wallNanoseconds: 5_000_000_000))
    )
    #expect(line.takeTold() == ["5000 button/fault=", "5000 button=OFF"])
  }
}

@Suite struct ButtonEventTests {
  private func button(long: Int64 = 800, multi: Int64 = 0, debounce: UInt32 = 0) -> Line {
    Line {
      $0.events = ButtonSettings(longNanoseconds: long * 1_000_000, multiNanoseconds: multi * 1_000_000)
      $0.debounceMicroseconds = debounce * 1000
    }
  }

  private func events(_ line: inout Line) -> [String] { line.takeTold().filter { !$0.contains("=") } }

  @Test func shortPress() {
    var line = button()
    line.edges(100, 232)
    line.wait(until: 5000)
    #expect(line.takeTold() == ["100 button=ON", "100 press_start", "232 button=OFF", "232 press_end duration_ms:132"])
  }

  @Test func longPress() {
    var line = button(multi: 300)
    line.edges(100)
    line.wait(until: 899)
    #expect(events(&line) == ["100 press_start"])
    line.wait(until: 2000)
    line.edges(2600)
    line.wait(until: 9000)
    #expect(events(&line) == ["900 long_press_start", "2600 long_press_end duration_ms:2500"])
  }

  @Test func presses() {
    var line = button(multi: 300)
    line.edges(100, 200)
    line.wait(until: 1000)
    #expect(events(&line) == ["100 press_start", "200 press_end duration_ms:100", "500 multi_press_end count:1"])
    line.edges(2000, 2100, 2300, 2400, 2699, 2700)
    line.wait(until: 9000)
    #expect(
      events(&line) == [
        "2000 press_start", "2100 press_end duration_ms:100", "2300 press_start", "2300 multi_press_ongoing count:2",
        "2400 press_end duration_ms:100", "2699 press_start", "2699 multi_press_ongoing count:3",
        "2700 press_end duration_ms:1", "3000 multi_press_end count:3",
      ])
  }

  @Test func aSequenceThatEndsInALongPress() {
    var line = button(multi: 300)
    line.edges(100, 200, 300)
    line.wait(until: 1500)
    line.edges(1600)
    line.wait(until: 1700)
    line.edges(1800, 1850)
    line.wait(until: 9000)
    #expect(
      events(&line) == [
        "100 press_start", "200 press_end duration_ms:100", "300 press_start", "300 multi_press_ongoing count:2",
        "1100 long_press_start", "1600 long_press_end duration_ms:1300", "1800 press_start",
        "1850 press_end duration_ms:50", "2150 multi_press_end count:1",
      ])
  }

  /// The debounce ends after the deadline that it decides about: times are those of the edges.
  @Test func aDebounceDoesNotMakeAPressLonger() {
    var line = button(long: 800, multi: 300, debounce: 20)
    line.edges(100, 890)
    line.wait(until: 908)
    line.edges(1185)
    line.wait(until: 1203)
    line.edges(1250)
    line.wait(until: 9000)
    #expect(
      events(&line) == [
        "100 press_start", "890 press_end duration_ms:790", "1185 press_start", "1185 multi_press_ongoing count:2",
        "1250 press_end duration_ms:65", "1550 multi_press_end count:2",
      ])
  }

  @Test func aButtonHeldAtStartWasNotPressed() {
    var line = button()
    line.note(line.tap[0].lineHealed(active: true, at: Instant(nanoseconds: 0).moment))
    line.level = true
    line.wait(until: 2000)
    line.edges(2500, 3000, 3100)
    line.wait(until: 9000)
    #expect(events(&line) == ["3000 press_start", "3100 press_end duration_ms:100"])
  }

  @Test func payloadIsJSON() throws {
    let tap = board(inputs: [
      {
        var settings = input("bell")
        settings.events = ButtonSettings()
        return settings
      }()
    ]).inputs
    _ = tap[0].lineHealed(active: false, at: Instant(nanoseconds: 0).moment)
    _ = tap[0].edgeReceived(LineEdge(at: Instant(nanoseconds: 0).moment, isRising: true, sequence: 1))
    let update = tap[0].edgeReceived(
      LineEdge(
        at: Moment(at: Instant(milliseconds: 132), wallNanoseconds: 1_795_380_086_123_456_000), isRising: false,
        sequence: 2))
    let event = try #require(update.event)
    #expect(event.topic.text == "home/cellar/bell/event")
    #expect(
      event.payload.text
        == #"{"event_type":"press_end","duration_ms":132,"ts":"2026-11-22T20:41:26.123456Z"}"#)
  }

  /// Any presses, read when they may: each start has its end, and counts are those of the presses.
  @Test(arguments: [1, 2, 3, 4, 5, 6] as [UInt64]) func startsAndEndsMatch(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    var line = button(long: 500, multi: 200, debounce: random.oneIn(2) ? 10 : 0)
    var now: Int64 = 0
    for _ in 0..<400 {
      now += Int64(random.below(random.oneIn(3) ? 900 : 120)) + 11
      if random.oneIn(2) { line.wait(until: now - 1) }
      line.edges(now)
    }
    line.wait(until: now + 2000)
    let events = events(&line).map { $0.split(separator: " ").map(String.init) }
    var isHeld = false
    var isLong = false
    var count = 0
    for event in events {
      switch event[1] {
      case "press_start":
        check(!isHeld, "seed \(seed)")
        (isHeld, isLong) = (true, false)
        count += 1
      case "multi_press_ongoing": check(isHeld && event[2] == "count:\(count)" && count > 1, "seed \(seed) \(event)")
      case "long_press_start":
        check(isHeld && !isLong, "seed \(seed)")
        isLong = true
      case "press_end", "long_press_end":
        check(isHeld && isLong == (event[1] == "long_press_end"), "seed \(seed) \(event)")
        isHeld = false
        if isLong { count = 0 }
      case "multi_press_end":
        check(!isHeld && event[2] == "count:\(count)", "seed \(seed) \(event) \(count)")
        count = 0
      default: check(false, "\(event)")
      }
    }
    check(events.filter { $0[1] == "press_start" }.count == 200, "seed \(seed)")
  }
}
