import Bounded
import MQTTWire
import Taps
import Testing

/// Presses, long presses and sequences of them, with their times.
@Suite struct ButtonEventTests {
  private func button(long: Int64 = 800, multi: Int64 = 0, debounce: UInt32 = 0) -> InputLine {
    InputLine {
      $0.events = ButtonSettings(longNanoseconds: long * 1_000_000, multiNanoseconds: multi * 1_000_000)
      $0.debounceMicroseconds = debounce * 1000
    }
  }

  private func events(_ line: inout InputLine) -> [String] { line.takeTold().filter { !$0.contains("=") } }

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
