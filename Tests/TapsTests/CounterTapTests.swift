import Bounded
import MQTTWire
import Taps
import Testing

/// A counter whose owner does as `CounterTap` asks. Times are milliseconds.
private struct Meter {
  let tap: TapList<CounterTap>
  var sequence: UInt32 = 0
  private(set) var told: [String] = []

  init(seesBothEdges: Bool? = nil, isHigh: Bool = false, _ change: (inout CounterSettings) -> Void = { _ in }) {
    var settings = counter()
    change(&settings)
    tap = board(base: "b", counters: [settings]).counters
    note(
      tap[0].lineHealed(
        isHigh: isHigh, seesBothEdges: seesBothEdges ?? tap[0].needsBothEdges(isCounted: true),
        at: Instant(nanoseconds: 0).moment))
    #expect(told == ["0 water/total=\(tap[0].valueText.text)"])
    told = []
  }

  mutating func note(_ update: TapUpdate) {
    for publication in [update.fault, update.state].compactMap({ $0 }) {
      told.append(
        "\(publication.wallNanoseconds / 1_000_000) \(publication.topic.text.dropFirst(2))=\(publication.payload.text)")
    }
  }

  /// An edge; `skipping` of the kernel's numbers are missing before it.
  mutating func edge(_ isRising: Bool = true, at milliseconds: Int64, skipping: UInt32 = 0, isCounted: Bool = true) {
    wait(until: milliseconds)
    sequence &+= 1 + skipping
    let at = Instant(milliseconds: milliseconds)
    tap[0].edgeReceived(
      LineEdge(
        at: Moment(at: at, wallNanoseconds: at.nanoseconds), isRising: isRising, sequence: isCounted ? sequence : nil))
    wait(until: milliseconds)
  }

  mutating func wait(until milliseconds: Int64) {
    let end = Instant(milliseconds: milliseconds)
    while tap[0].nextDeadline <= end {
      let now = tap[0].nextDeadline
      while let update = tap[0].advance(to: now) { note(update) }
    }
  }

  mutating func takeTold() -> [String] {
    defer { told = [] }
    return told
  }
}

@Suite struct CounterTapTests {
  static func decimal(_ text: String) -> PlainDecimal { try! withLent(text) { try PlainDecimal(parsing: $0) } }

  @Test func topics() {
    var settings = counter()
    let without = board(counters: [settings]).counters
    #expect(without[0].totalTopic.text == "home/cellar/water/total")
    #expect(without[0].commandTopic.text == "home/cellar/water/total/set")
    #expect(without[0].faultTopic.text == "home/cellar/water/fault")
    #expect(without[0].rateTopic.isEmpty)
    settings.rate = RateSettings(period: .minute)
    #expect(board(counters: [settings]).counters[0].rateTopic.text == "home/cellar/water/rate")
  }

  @Test(
    arguments: [
      ("1", nil, 0, "0"), ("1", nil, 18_446_744_073_709_551_615, "18446744073709551615"), ("450", nil, 1, "0.002"),
      ("450", nil, 449, "0.997"), ("450", nil, 450, "1.000"), ("450", 6, 449, "0.997777"), ("450", 0, 899, "1"),
      ("0.5", nil, 3, "6"), ("0.001", nil, 7, "7000"), ("1.5", nil, 100, "66.666"), ("999999.999", 6, 1, "0.000001"),
      ("1000", nil, 18_234_622, "18234.622"), ("3", 6, 10_000_000_000_000_000, "3333333333333333.333333"),
    ] as [(String, Int?, UInt64, String)])
  func totalIsPulsesByPulsesPerUnit(perUnit: String, digits: Int?, pulses: UInt64, text: String) {
    var settings = counter()
    settings.pulsesPerUnit = Self.decimal(perUnit)
    settings.digits = digits
    let tap = board(counters: [settings]).counters
    tap[0].restore(pulses: pulses)
    _ = tap[0].lineHealed(isHigh: false, seesBothEdges: false, at: Instant(nanoseconds: 0).moment)
    #expect(tap[0].valueText.text == text)
  }

  /// #75: half of a water meter's pulses were lost by polling. Edges that a full queue dropped are counted too.
  @Test func pain7NoPulseIsLostWhenTheQueueOverflows() {
    var meter = Meter()
    meter.edge(at: 10)
    meter.edge(at: 2000, skipping: 997)
    meter.edge(at: 2001)
    meter.wait(until: 9000)
    #expect(meter.tap[0].pulses == 1000)
    #expect(meter.tap[0].lostCount == 0)
    #expect(meter.takeTold() == ["10 water/total=1", "2000 water/total=999", "3000 water/total=1000"])
  }

  @Test func theKernelsCountGoesAround() {
    var meter = Meter()
    meter.sequence = 0x7FFF_FFF0
    meter.edge(at: 1)
    meter.edge(at: 2, skipping: 0x7FFF_FFF0)
    let before = meter.tap[0].pulses
    for _ in 0..<64 { meter.edge(at: 3) }
    #expect(meter.tap[0].pulses == before + 64)
  }

  /// Which of the missing edges are pulses follows from the edges around them.
  @Test(arguments: [CounterEdge.rising, .falling, .both], [1, 2, 3, 4, 5, 6] as [UInt64])
  func missingEdgesOfBothKindsAreCounted(edge: CounterEdge, seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    var meter = Meter(seesBothEdges: true) { $0.edge = edge }
    var level = false
    var wanted: UInt64 = 0
    var now: Int64 = 0
    for _ in 0..<500 {
      now += 1
      let skipping = random.oneIn(3) ? UInt32(random.below(20)) : 0
      for _ in 0...skipping {
        level.toggle()
        if edge == .both || level == (edge == .rising) { wanted += 1 }
      }
      meter.edge(level, at: now, skipping: skipping)
      check(meter.tap[0].pulses == wanted, "seed \(seed)")
    }
    #expect(meter.tap[0].lostCount == 0)
  }

  /// libgpiod 1.6 does not count; two equal edges say that one is missing.
  @Test func withoutNumbersEqualEdgesTell() {
    var meter = Meter(seesBothEdges: true) { $0.edge = .falling }
    #expect(meter.tap[0].needsBothEdges(isCounted: false) && !meter.tap[0].needsBothEdges(isCounted: true))
    for isRising in [true, false, true, true, false] { meter.edge(isRising, at: 1, isCounted: false) }
    #expect(meter.tap[0].pulses == 3)
    #expect(meter.tap[0].lostCount == 1)
  }

  @Test func anEdgeOlderThanTheLevelReadCounts() {
    var meter = Meter(seesBothEdges: true, isHigh: true) { $0.edge = .both }
    meter.edge(true, at: 1)
    meter.edge(false, at: 2)
    #expect(meter.tap[0].pulses == 2)
    #expect(meter.tap[0].lostCount == 0)
  }

  /// Wirenboard 2.16 to 2.18, Tasmota#516: phantom pulses and double counts. A level that does not last is no pulse,
  /// whatever the kernel makes of the bounces.
  @Test func pain24BouncesAreNoPulses() {
    var meter = Meter(isHigh: true) {
      $0.edge = .falling
      $0.glitchNanoseconds = 3_000_000
    }
    for start in [100, 200] as [Int64] {
      meter.edge(false, at: start)
      meter.edge(true, at: start + 1)
      meter.edge(false, at: start + 1)
      meter.edge(false, at: start + 2)  // two as one: not numbered
      meter.wait(until: start + 30)
      meter.edge(true, at: start + 30)
      meter.edge(false, at: start + 31)
      meter.edge(true, at: start + 32)
    }
    meter.edge(false, at: 300)  // a spike
    meter.edge(true, at: 301)
    meter.wait(until: 5000)
    #expect(meter.tap[0].pulses == 2)
    #expect(meter.tap[0].glitchCount > 0)
    #expect(meter.takeTold() == ["105 water/total=1", "1105 water/total=2"])
  }

  /// msussek#7: totals in floating point, and lost at a reboot. A total is exact after 2^53 pulses, kept and set.
  @Test func pain24TotalsAreExactKeptAndSettable() {
    let kept: UInt64 = 9_007_199_254_740_993
    let tap = board(base: "b", counters: [counter()]).counters
    tap[0].restore(pulses: kept)
    _ = tap[0].lineHealed(isHigh: false, seesBothEdges: false, at: Instant(nanoseconds: 0).moment)
    #expect(tap[0].valueText.text == "9007199254740993")
    tap[0].edgeReceived(LineEdge(at: Instant(nanoseconds: 0).moment, isRising: true, sequence: 1))
    #expect(tap[0].pulses == kept + 1)
    guard case .set(let update) = tap[0].commandReceived(Bytes(" 42 "), wallNanoseconds: 0, by: Bytes("me")) else {
      Issue.record("refused")
      return
    }
    #expect(messages(update) == ["b/water/total=42"])
    #expect(update.state?.by.text == "me")
    #expect(tap[0].pulses == 42)
  }

  @Test(arguments: ["", "x", "-1", "1e", "1e18", "1000000000000000000", "12,5", "{\"total\":1}"])
  func aReadingThatIsNoneIsRefused(payload: String) {
    var meter = Meter()
    meter.edge(at: 1)
    withLent(payload) {
      guard case .refuse(let code, let text) = meter.tap[0].commandReceived($0, wallNanoseconds: 0) else {
        Issue.record("taken")
        return
      }
      #expect(code == .payloadFormatInvalid && !text.isEmpty)
    }
    #expect(meter.tap[0].pulses == 1)
  }

  @Test func aReadingIsInUnits() {
    var meter = Meter { $0.pulsesPerUnit = PlainDecimal(mantissa: 450, places: 0) }
    _ = meter.tap[0].commandReceived(Bytes("18234.622"), wallNanoseconds: 0)
    #expect(meter.tap[0].pulses == 8_205_580)
    #expect(meter.tap[0].valueText.text == "18234.622")
    meter.edge(at: 1)
    #expect(meter.tap[0].pulses == 8_205_581)
  }

  @Test func deltaAndThrottleHoldBack() {
    var meter = Meter {
      $0.pulsesPerUnit = PlainDecimal(mantissa: 100, places: 0)
      $0.delta = PlainDecimal(mantissa: 1, places: 1)
      $0.throttleNanoseconds = 1_000_000_000
    }
    for number in 0..<9 { meter.edge(at: Int64(number) * 10) }
    meter.wait(until: 5000)
    #expect(meter.takeTold() == [])
    meter.edge(at: 5000)
    #expect(meter.takeTold() == ["5000 water/total=0.100"])
    for number in 1...25 { meter.edge(at: 5000 + Int64(number) * 10) }
    #expect(meter.takeTold() == [])
    meter.wait(until: 9000)
    #expect(meter.takeTold() == ["6000 water/total=0.350"])
  }

  @Test func faultAndHealing() {
    var meter = Meter()
    meter.edge(at: 1)
    _ = meter.takeTold()
    meter.note(meter.tap[0].lineFailed(Bytes("gone"), wallNanoseconds: 0))
    meter.edge(at: 2)  // left over
    #expect(meter.tap[0].pulses == 1 && meter.tap[0].lostCount == 1)
    meter.note(
      meter.tap[0].lineHealed(isHigh: false, seesBothEdges: false, at: Instant(nanoseconds: 0).moment))
    #expect(meter.takeTold() == ["0 water/fault=gone", "0 water/fault=", "0 water/total=1"])
    meter.sequence = 0
    meter.edge(at: 3)
    #expect(meter.tap[0].pulses == 2)
  }
}

@Suite struct RateTests {
  private func flow(throttle: Int64 = 1000) -> Meter {
    Meter {
      $0.pulsesPerUnit = PlainDecimal(mantissa: 450, places: 0)
      $0.digits = 0
      $0.rate = RateSettings(period: .minute, timeoutNanoseconds: 10_000_000_000)
      $0.throttleNanoseconds = throttle * 1_000_000
    }
  }

  /// Whoever looks at the topic does not have to guess.
  @Test func pain3TheRateIsThereBeforeAnyPulse() {
    var meter = flow()
    meter.wait(until: 1)
    #expect(meter.takeTold().filter { $0.contains("rate") } == ["0 water/rate=0.00"])
    meter.wait(until: 100_000)
    #expect(meter.takeTold().filter { $0.contains("rate") } == [])
  }

  /// 55.65 pulses a second of a YF-S201 are 7.42 L/min.
  @Test func fastPulses() {
    var meter = flow()
    for number in 0..<200 { meter.edge(at: Int64(number) * 18) }
    let rates = meter.takeTold().filter { $0.contains("rate") }
    #expect(rates == ["0 water/rate=0.00", "1000 water/rate=7.41"])  // it stays 7.41
    meter.wait(until: 60_000)
    #expect(meter.takeTold().filter { $0.contains("rate") } == ["13582 water/rate=0.00"])
  }

  /// One pulse in six seconds: from pulse to pulse, whatever the throttle.
  @Test func slowPulses() {
    var meter = flow()
    for number in 0..<4 { meter.edge(at: Int64(number) * 6000) }
    #expect(meter.takeTold().filter { $0.contains("rate") } == ["0 water/rate=0.00", "6000 water/rate=0.02"])
    meter.edge(at: 21_000)
    #expect(meter.takeTold().filter { $0.contains("rate") } == ["21000 water/rate=0.04"])
    meter.wait(until: 90_000)
    #expect(meter.takeTold() == ["31000 water/rate=0.00"])
    #expect(meter.tap[0].nextDeadline == .never)
  }

  @Test func dropedEdgesAreInTheRate() {
    var meter = flow(throttle: 0)
    meter.edge(at: 0)
    meter.edge(at: 1000, skipping: 449)
    #expect(meter.takeTold().filter { $0.contains("rate") } == ["0 water/rate=0.00", "1000 water/rate=60.00"])
  }

  @Test func aRateOfPulsesAtOnceIsNotInfinite() {
    var meter = flow(throttle: 0)
    meter.edge(at: 5)
    meter.edge(at: 5)
    #expect(meter.takeTold().filter { $0.contains("rate") } == ["0 water/rate=0.00"])
    meter.edge(at: 6, skipping: 4_000_000)
    #expect(meter.takeTold().last?.contains("rate=") == true)
  }
}
