import Bounded
import MQTTWire
import Testing

@testable import Taps

/// PWM channels and LEDs: what a payload means, what it drives, what is published.
@Suite("Levels")
struct LevelTests {
  static func settings(_ name: String = "strip", initial: Int = 0) -> LevelSettings {
    var settings = LevelSettings(
      name: [UInt8](name.utf8),
      target: .pwm(chip: [UInt8]("fe20c000.pwm".utf8), channel: 0, periodNanoseconds: 1_000_000, isActiveLow: false))
    settings.initial = initial
    return settings
  }

  static func table(_ levels: [LevelSettings]) -> TapTable {
    var settings = TapSettings(base: [UInt8]("home".utf8))
    settings.levels = levels
    return TapsTests.table(settings, at: Instant(nanoseconds: 0))
  }

  /// A table with one tap that is driven.
  static func driven(initial: Int = 0) -> TapTable {
    let table = table([settings(initial: initial)])
    table.levels[0].tried()
    _ = table.levels[0].written(initial, by: .empty, wallNanoseconds: 0)
    return table
  }

  static func answer(_ table: TapTable, _ payload: String, isRetained: Bool = false) -> String {
    withLent(payload) { payload in
      switch table.levels[0].commandReceived(payload, isRetained: isRetained, at: Instant(nanoseconds: 0)) {
      case .nothing: return "nothing"
      case .write(let set):
        _ = table.levels[0].written(set.level, by: .empty, wallNanoseconds: 0)
        return "\(set.level)"
      case .refuse(let reason, let text): return "0x\(String(reason.rawValue, radix: 16)) \(text.text)"
      }
    }
  }

  // MARK: Payloads

  static let words: StaticString = "0x99 expected 0 to 100, ON, OFF or TOGGLE"
  static let json = "0x99 expected JSON such as {\"state\":\"ON\",\"brightness\":35}"
  static let payloads: [(String, String)] = [
    ("0", "0"), ("35", "3500"), ("100", "10000"), ("100.0", "10000"), (" 35.5\n", "3550"), ("0.01", "1"),
    ("33.333", "3333"), ("99.995", "10000"), ("-0", "0"), ("+7", "700"), ("1", "100"),
    ("1e1", "1000"), (".5", "50"), ("5.", "500"), ("{\"brightness\":1e1}", "1000"),
    ("{\"st\\u0061te\":\"o\\u006e\",\"brightness\":3.5E+1}", "3500"),
    ("ON", "10000"), ("on", "10000"), ("Off", "0"), ("TOGGLE", "10000"),
    ("{\"state\":\"ON\",\"brightness\":35}", "3500"), ("{\"brightness\":12.5}", "1250"), ("{\"state\":true}", "10000"),
    ("{\"state\":\"OFF\",\"brightness\":35}", "0"), (" { \"state\" : \"toggle\" } ", "10000"),
    ("", "\(words)"), ("101", "\(words)"), ("100.001", "\(words)"), ("-1", "\(words)"), ("-0.001", "\(words)"),
    ("35%", "\(words)"), ("1e3", "\(words)"), ("true", "\(words)"), ("0x10", "\(words)"), (".", "\(words)"),
    ("1e", "\(words)"),
    ("99999999999999999999", "\(words)"), ("NaN", "\(words)"),
    ("{", json), ("{\"state\":\"ON\"", json), ("{\"brightness\":01}", json), ("{\"brightness\":.5}", json),
    ("{\"state\":{}}", "0x99 state: expected ON, OFF or TOGGLE"),
    ("{\"brightness\":[35]}", "0x99 brightness: expected 0 to 100"),
    ("{}", "0x99 expected state or brightness"),
    ("{\"brightness\":101}", "0x99 brightness: expected 0 to 100"),
    ("{\"brightness\":\"35\"}", "0x99 brightness: expected 0 to 100"),
    ("{\"state\":\"dim\"}", "0x99 state: expected ON, OFF or TOGGLE"),
    ("{\"state\":1}", "0x99 state: expected ON, OFF or TOGGLE"),
    ("{\"state\":\"ON\",\"state\":\"ON\"}", "0x99 a key is given twice"),
    ("{\"brightness\":1,\"brightness\":1}", "0x99 a key is given twice"),
    ("{\"state\":\"TOGGLE\",\"brightness\":1}", "0x99 TOGGLE and brightness do not go together"),
    ("{\"state\":\"ON\",\"color\":\"red\"}", "0x99 unknown key; expected state, brightness and for"),
    ("{\"state\":\"ON\",\"color\":{\"r\":[1]}}", "0x99 unknown key; expected state, brightness and for"),
    (String(repeating: " 1", count: 200), "0x99 expected at most 256 bytes"),
  ]

  @Test(arguments: payloads)
  func payload(_ payload: String, _ expected: String) {
    #expect(Self.answer(Self.driven(), payload) == expected)
  }

  @Test func onIsTheLastLevelAboveZero() {
    let table = Self.driven(initial: 4000)
    #expect(Self.answer(table, "TOGGLE") == "0")
    #expect(Self.answer(table, "ON") == "4000")
    #expect(Self.answer(table, "12.5") == "1250")
    #expect(Self.answer(table, "ON") == "1250")  // it is on already
    #expect(Self.answer(table, "0") == "0")
    #expect(Self.answer(table, "{\"state\":\"ON\"}") == "1250")
  }

  @Test func emptyRetainedCommandsNothing() {
    let table = Self.driven(initial: 4000)
    #expect(Self.answer(table, "", isRetained: true) == "nothing")
    #expect(table.levels[0].level == 4000)
  }

  // MARK: State and faults

  @Test(arguments: [(0, "0"), (1, "0.01"), (10, "0.1"), (3500, "35"), (3550, "35.5"), (3555, "35.55"), (10_000, "100")])
  func stateIsAsShortAsItCanBe(_ level: Int, _ text: String) {
    let table = Self.table([Self.settings()])
    #expect(messages(table.levels[0].written(level, by: .empty, wallNanoseconds: 0)) == ["home/strip=\(text)"])
  }

  @Test func stateSaysBy() throws {
    let table = Self.table([Self.settings()])
    try withLent("panel") { client in
      let state = try #require(table.levels[0].written(1, by: client, wallNanoseconds: 0).state)
      #expect(state.retain)
      #expect(try userProperties(state).contains("by=panel"))
    }
  }

  @Test func faultRefusesAndHealsWithTheLastLevel() {
    let table = Self.table([Self.settings(initial: 2000)])
    let start = Instant(milliseconds: 1000)
    #expect(table.levels[0].retryAt <= start)
    #expect(Self.answer(table, "5") == "0x83 device is not opened yet")
    table.levels[0].tried()
    #expect(table.levels[0].retryAt == .never)
    #expect(
      messages(table.levels[0].failed(Bytes("no PWM chip"), at: start.moment))
        == ["home/strip/fault=no PWM chip"])
    #expect(table.levels[0].retryAt == start.adding(seconds: 5))
    #expect(Self.answer(table, "5") == "0x83 no PWM chip")
    #expect(Self.answer(table, "x").hasPrefix("0x99"))
    // Once, not with every retry.
    #expect(messages(table.levels[0].failed(Bytes("no PWM chip"), at: start.moment)) == [])
    #expect(table.levels[0].level == 2000)
    #expect(
      messages(table.levels[0].written(2000, by: .empty, wallNanoseconds: 0))
        == ["home/strip/fault=", "home/strip=20"])
    #expect(table.levels[0].faultText.isEmpty)
    #expect(table.levels[0].retryAt == .never)
    #expect(table.levels[0].refusedCount == 3)
  }

  @Test func answer() {
    let table = Self.table([Self.settings()])
    _ = table.levels[0].written(3550, by: .empty, wallNanoseconds: 0)
    #expect(written { table.levels[0].writeAnswer(into: &$0) } == "{\"ok\":true,\"state\":\"ON\",\"brightness\":35.5}")
    _ = table.levels[0].written(0, by: .empty, wallNanoseconds: 0)
    #expect(written { table.levels[0].writeAnswer(into: &$0) } == "{\"ok\":true,\"state\":\"OFF\",\"brightness\":0}")
  }

  @Test func topicsAreBesideThoseOfOtherTaps() {
    var settings = TapSettings(base: [UInt8]("home".utf8))
    settings.outputs = [output("relay")]
    settings.levels = [
      Self.settings("a"), LevelSettings(name: [UInt8]("b".utf8), target: .led(name: [1], trigger: [])),
    ]
    let table = TapsTests.table(settings, at: Instant(nanoseconds: 0))
    #expect(table.levels[1].commandTopic.text == "home/b/set")
    #expect(table.levels[1].stateTopic.text == "home/b")
    #expect(table.levels[1].faultTopic.text == "home/b/fault")
  }

  // MARK: Settings that cannot be

  @Test func problems() {
    func problem(_ levels: LevelSettings...) -> String? {
      var settings = TapSettings(base: [UInt8]("home".utf8))
      settings.levels = levels
      return settings.problem().map { Bytes($0.text).text }
    }
    #expect(problem(Self.settings()) == nil)
    #expect(problem(Self.settings("a"), Self.settings("b")) == "another tap has this output")
    #expect(problem(Self.settings("a"), Self.settings("a")) == "another tap has this name")
    var wrong = Self.settings()
    wrong.initial = 10_001
    #expect(problem(wrong) == "a level must be from 0 to 100")
    wrong = Self.settings()
    wrong.scale.lowest = 5000
    wrong.scale.highest = 4999
    #expect(problem(wrong) == "min must be at most max")
    wrong = Self.settings()
    wrong.scale.gammaHundredths = 9
    #expect(problem(wrong) == "gamma must be from 0.1 to 5")
    let led = LevelTarget.led(name: [], trigger: [])
    #expect(problem(LevelSettings(name: [1], target: led)) == "led must be an LED's name of at most 64 bytes")
  }
}

/// How much power a level is.
@Suite("Scale of levels")
struct LevelScaleTests {
  static func scale(gamma: Int = 100, _ lowest: Int = 0, _ highest: Int = 10_000) -> LevelScale {
    var scale = LevelScale()
    scale.gammaHundredths = gamma
    scale.lowest = lowest
    scale.highest = highest
    return scale
  }

  static let full: UInt64 = 1 << 32

  @Test func straightLineIsExact() {
    for level in 0...10_000 {
      let exact = Double(level) / 10_000 * Double(Self.full)
      check(abs(Double(Self.scale().share(of: level)) - exact) <= 0.5001, "\(level)")
    }
  }

  /// Against the floating-point function, which this does not use.
  @Test(arguments: [10, 50, 99, 101, 180, 220, 250, 280, 500])
  func gammaIsThePower(_ gamma: Int) {
    let scale = Self.scale(gamma: gamma)
    var before: UInt64 = 0
    for level in 1...10_000 {
      let share = scale.share(of: level)
      let exact = power(Double(level) / 10_000, Double(gamma) / 100) * Double(Self.full)
      // 10 ppm, and what is below the resolution.
      check(abs(Double(share) - exact) <= exact * 1e-5 + 2, "\(level): \(share), not \(exact)")
      check(share >= before, "\(level) falls")
      before = share
    }
    #expect(before == Self.full)
  }

  @Test(arguments: [100, 220, 500])
  func endsAreExact(_ gamma: Int) {
    #expect(Self.scale(gamma: gamma).share(of: 0) == 0)
    #expect(Self.scale(gamma: gamma).share(of: 10_000) == Self.full)
    let narrow = Self.scale(gamma: gamma, 2000, 8000)
    #expect(narrow.share(of: 0) == 0)  // off is off
    #expect(narrow.share(of: 10_000) == (Self.full * 8 + 5) / 10)
    #expect(narrow.share(of: 1) >= (Self.full * 2 - 5) / 10)
  }

  @Test func rangeOfNothing() {
    for level in 1...10_000 { check(Self.scale(gamma: 220, 3000, 3000).share(of: level) == (Self.full * 3 + 5) / 10) }
  }

  /// x^y for 0 < x <= 1, by halving: no C library in these tests.
  private func power(_ base: Double, _ exponent: Double) -> Double {
    var (result, root, rest) = (1.0, base, exponent)
    var whole = Int(rest)
    rest -= Double(whole)
    while whole > 0 {
      result *= base
      whole -= 1
    }
    while rest > 0, root < 1 {
      root = root.squareRoot()
      rest *= 2
      if rest >= 1 {
        result *= root
        rest -= 1
      }
    }
    return result
  }
}
