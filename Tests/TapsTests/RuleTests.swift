import Bounded
import MQTTWire
import Testing

@testable import Taps

private func bytes(_ text: String) -> [UInt8] { [UInt8](text.utf8) }

func rule(_ name: String, _ when: String, _ change: (inout RuleSettings) -> Void = { _ in }) -> RuleSettings {
  var rule = RuleSettings(name: bytes(name), when: RuleWhen(parsing: bytes(when))!)
  rule.message = RuleMessage(topic: bytes("out"), payload: bytes("x"))
  change(&rule)
  return rule
}

/// Rules, a clock, and what they have done, as text.
final class RuleWorld {
  let table: RuleTable
  private(set) var now = Instant(milliseconds: 1000)
  private let memory: UnsafeMutableRawBufferPointer

  init(_ rules: [RuleSettings], outputCount: Int = 2) {
    var settings = TapSettings(base: bytes("b"))
    settings.outputs = (0..<outputCount).map {
      OutputSettings(name: bytes("o\($0)"), pin: LineAddress(line: bytes("\($0)")))
    }
    settings.rules = rules
    #expect(settings.problem() == nil)
    var counting = Reservation.counting()
    _ = RuleTable(settings, in: &counting)
    memory = .allocate(byteCount: max(64, counting.byteCount), alignment: 64)
    memory.initializeMemory(as: UInt8.self, repeating: 0)
    var reservation = Reservation(region: memory)
    table = RuleTable(settings, in: &reservation)
    table.prepare(settings)
  }

  deinit { memory.deallocate() }

  /// What fires on a message: `rule:frost`, with the message's payload behind it.
  @discardableResult func send(_ payload: String, rule: Int = 0, depth: Int = 0, isOwn: Bool = false) -> [String] {
    withLent(payload) { _ = table.messageReceived(rule: rule, $0, depth: depth, isOwn: isOwn, at: now) }
    return fired()
  }

  func fired() -> [String] {
    var names: [String] = []
    while let fired = table.takeFired() {
      let message = table.message(of: fired)
      names.append(table.by(fired.rule).text + (message.map { " \($0.payload.text)" } ?? ""))
    }
    return names
  }

  func pass(milliseconds: Int64) -> [String] {
    now = now.adding(milliseconds: milliseconds)
    table.advance(to: now)
    return fired()
  }
}

@Suite struct RuleTests {
  struct Case: Sendable {
    let when: String
    let filter: String
    var member = ""
    var comparison: RuleOperator?
    var value = ""
  }

  static let good = [
    Case(when: "home/air", filter: "home/air"),
    Case(when: "home/+/air/#", filter: "home/+/air/#"),
    Case(when: "home/living room", filter: "home/living room"),
    Case(when: "home/air < 5", filter: "home/air", comparison: .less, value: "5"),
    Case(when: "home/air <= -0.5", filter: "home/air", comparison: .lessOrEqual, value: "-0.5"),
    Case(when: "home/air  >=  5", filter: "home/air", comparison: .greaterOrEqual, value: "5"),
    Case(when: "home/living room > 5", filter: "home/living room", comparison: .greater, value: "5"),
    Case(when: "home/bell == ON", filter: "home/bell", comparison: .equal, value: "ON"),
    Case(when: "home/bell != a == b", filter: "home/bell", comparison: .notEqual, value: "a == b"),
    Case(
      when: "home/bell/event .event_type == press_end", filter: "home/bell/event", member: "event_type",
      comparison: .equal, value: "press_end"),
    Case(when: "a .b > 1", filter: "a", member: "b", comparison: .greater, value: "1"),
    Case(when: "a .b.c > 1e3", filter: "a", member: "b.c", comparison: .greater, value: "1e3"),
  ]

  @Test(arguments: good) func aConditionIsUnderstood(_ row: Case) throws {
    let when = try #require(RuleWhen(parsing: bytes(row.when)))
    #expect(when.filter == bytes(row.filter))
    #expect(when.member == bytes(row.member))
    #expect(when.comparison == row.comparison)
    #expect(when.value == bytes(row.value))
  }

  @Test(arguments: [
    "", " ", "a <", "a < ", "a < b", "< 5", "a = 5", "a =< 5", "a+ < 5", "$SYS/x", "$share/g/a", "a .b", "#/a",
    "a == ", "a > 1e", "a > 1e18", "a > 0x10", "a >5", "a .a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q == 1",
  ]) func whatIsNoConditionIsRefused(_ text: String) {
    #expect(RuleWhen(parsing: bytes(text)) == nil)
  }

  // MARK: Comparisons

  struct Answer: Sendable {
    let when: String
    let yes: [String]
    let no: [String]
    var notComparable: [String] = []
  }

  static let answers = [
    Answer(
      when: "a < 5", yes: ["4.999999999999999999", "-7", " 4 \n", "0", "1e0", ".5", "4.", "5e-1", "1e-99"],
      no: ["5", "5.0", "5.00000000000000001", "6"],
      notComparable: [
        "", "ON", "4,9", "1e", "1e18", "nan", "-", "999999999999999999999", String(repeating: "0", count: 65),
      ]),
    Answer(when: "a <= 5", yes: ["5", "5.00", "4"], no: ["5.00000000000000001"]),
    // What a float of 64 bits cannot tell apart.
    Answer(when: "a > 9007199254740992", yes: ["9007199254740993"], no: ["9007199254740992"]),
    Answer(when: "a >= 0.3", yes: ["0.3", "0.30", "1"], no: ["0.2999999999999999", "-0.3"]),
    Answer(when: "a == 21.5", yes: ["21.5", "21.50", "+21.5"], no: ["21.51"], notComparable: ["warm"]),
    Answer(when: "a != 21.5", yes: ["21", "0"], no: ["21.50"], notComparable: ["warm"]),
    Answer(when: "a == ON", yes: ["ON"], no: ["on", "ON ", "OFF", "", "O"]),
    Answer(when: "a != ON", yes: ["on", "OFF", ""], no: ["ON"]),
    Answer(
      when: "a .n >= 2", yes: ["{\"n\":2}", "{\"m\":1,\"n\":\"3.5\"}", "{\"n\":1e9}", "{\"n\":\"\\u0032\"}"],
      no: ["{\"n\":1}", "{\"m\":5}", "{}"],
      notComparable: ["2", "{\"n\":2", "{\"n\":null}", "{\"n\":[2]}", "{\"n\":{}}", "{\"n\":1e18}", "{\"n\":.5}"]),
    Answer(
      when: "a .ok == true", yes: ["{\"ok\":true}", "{\"ok\":\"true\"}"], no: ["{\"ok\":false}", "{\"ok\":null}"],
      notComparable: ["true"]),
  ]

  @Test(arguments: answers) func aPayloadIsCompared(_ row: Answer) {
    for (payloads, answer) in [(row.yes, 1), (row.no, 0), (row.notComparable, 0)] {
      for payload in payloads {
        let world = RuleWorld([rule("r", row.when)])
        #expect(world.send(payload).count == answer, "\(row.when): \(payload)")
        let isCounted = row.notComparable.contains(payload)
        #expect(world.table.counters.notComparable == (isCounted ? 1 : 0), "\(row.when): \(payload)")
      }
    }
  }

  @Test func aLongObjectIsNotReadAtAll() {
    let world = RuleWorld([rule("r", "a .n == 1")])
    let head = "{\"n\":1"
    #expect(world.send(head + String(repeating: " ", count: 4096 - head.count - 1) + "}") == ["rule:r x"])
    #expect(world.send(head + String(repeating: " ", count: 4096 - head.count) + "}") == [])
    #expect(world.table.counters.notComparable == 1)
  }

  // MARK: When it fires

  @Test func aComparisonFiresWhenItBeginsToHold() {
    let world = RuleWorld([rule("frost", "a < 5")])
    #expect(["6", "4", "3", "5", "4"].map { world.send($0).count } == [0, 1, 0, 0, 1])
    // No number: it does not hold.
    #expect(["2", "?", "2"].map { world.send($0).count } == [0, 0, 1])
    #expect(world.table.counters.fired == 3)
  }

  @Test func everyFiresAtEachMessage() {
    let world = RuleWorld([rule("r", "a < 5") { $0.isEvery = true }, rule("all", "a")])
    #expect(["6", "4", "3"].map { world.send($0).count } == [0, 1, 1])
    #expect(["6", "", "x"].map { world.send($0, rule: 1).count } == [1, 1, 1])
  }

  @Test(arguments: ["<", "<="]) func hysteresisBelow(comparison: String) {
    let world = RuleWorld([
      rule("heat", "a \(comparison) 5") { $0.hysteresis = PlainDecimal(mantissa: 5, places: 1) }
    ])
    #expect(["4.9", "5.4", "4", "5.2", "4"].map { world.send($0).count } == [1, 0, 0, 0, 0])
    #expect(["5.51", "5.2", "4.9"].map { world.send($0).count } == [0, 0, 1])
    // At the bound itself: < 5 ends at 5.5, <= 5 only above it.
    #expect(["5.5", "4.9"].map { world.send($0).count } == [0, comparison == "<" ? 1 : 0])
  }

  @Test(arguments: [">", ">="]) func hysteresisAbove(comparison: String) {
    let world = RuleWorld([rule("cool", "a \(comparison) 25") { $0.hysteresis = PlainDecimal(mantissa: 2, places: 0) }])
    #expect(["25.1", "24", "25.1", "23.1", "26"].map { world.send($0).count } == [1, 0, 0, 0, 0])
    #expect(["22.9", "24.9", "25.1"].map { world.send($0).count } == [0, 0, 1])
    #expect(["23", "25.1"].map { world.send($0).count } == [0, comparison == ">" ? 1 : 0])
  }

  @Test func aConditionMustHoldForItsTime() {
    let world = RuleWorld([rule("open", "a == ON") { $0.forNanoseconds = seconds(30) }])
    #expect(world.send("ON") == [])
    #expect(world.table.nextDeadline == world.now.adding(seconds: 30))
    #expect(world.pass(milliseconds: 20_000) == [])
    #expect(world.send("ON") == [])  // the deadline stays
    #expect(world.table.nextDeadline == world.now.adding(seconds: 10))
    #expect(world.pass(milliseconds: 9999) == [])
    #expect(world.pass(milliseconds: 1) == ["rule:open x"])
    #expect(world.table.nextDeadline == .never)
    #expect(world.send("ON") == [])
    #expect(world.pass(milliseconds: 60_000) == [])
  }

  @Test func whatEndsBeforeItsTimeDoesNotFire() {
    let world = RuleWorld([rule("open", "a == ON") { $0.forNanoseconds = seconds(30) }])
    world.send("ON")
    _ = world.pass(milliseconds: 29_999)
    world.send("OFF")
    #expect(world.pass(milliseconds: 60_000) == [])
    world.send("ON")
    #expect(world.pass(milliseconds: 29_999) == [])
    #expect(world.pass(milliseconds: 1) == ["rule:open x"])
  }

  /// Many deadlines, met in turns of any length: each fires once, none before its time.
  @Test func eachDeadlineIsMetOnce() {
    let world = RuleWorld(
      (1...20).map { n in rule("r\(n)", "a == ON") { $0.forNanoseconds = milliseconds(Int64(n) * 7) } })
    for index in 0..<20 { world.send("ON", rule: index) }
    var count = 0
    for step in 1...200 {
      count += world.pass(milliseconds: 1).count
      check(count == min(20, step / 7), "after \(step) ms")
    }
  }

  // MARK: Restarts

  /// A switch that is closed at start was closed before: what is set is set, what is toggled is not.
  @Test func pain20ARestartTogglesNothing() {
    let world = RuleWorld([
      rule("lamp", "a == ON") { $0.actions = [RuleAction.output(0, OutputCommand(.toggle))] },
      rule("fan", "a == ON") { $0.actions = [RuleAction.output(1, OutputCommand(.on))] },
    ])
    #expect(world.send("ON", rule: 0, isOwn: true) == [])
    #expect(world.send("ON", rule: 1, isOwn: true) == ["rule:fan x"])
    #expect(world.send("OFF", rule: 0, isOwn: true) == [])
    #expect(world.send("ON", rule: 0, isOwn: true) == ["rule:lamp x"])
    // A client's message is news, the first one too; so is a rule's.
    let client = RuleWorld(client: world)
    #expect(client.send("ON") == ["rule:lamp x"])
    let chained = RuleWorld(client: world)
    #expect(chained.send("ON", depth: 1, isOwn: true) == ["rule:lamp x"])
  }

  // MARK: Bounds

  @Test func aChainIsCut() {
    let world = RuleWorld([rule("loop", "a")])
    for depth in 0..<RuleTable.depthMax { #expect(world.send("x", depth: depth).count == 1) }
    var told: [Bool] = []
    for _ in 0..<3 {
      told.append(
        world.table.messageReceived(
          rule: 0, Bytes("x"), depth: RuleTable.depthMax, isOwn: true, at: world.now))
    }
    #expect(told == [true, false, false])
    #expect(world.fired() == [])
    #expect(world.table.counters.cut == 3)
  }

  @Test func whatTheQueueHasNoRoomForIsCounted() {
    let world = RuleWorld([rule("r", "a")])
    for _ in 0..<(RuleTable.firedMax + 4) {
      _ = world.table.messageReceived(rule: 0, Bytes("x"), depth: 0, isOwn: true, at: world.now)
    }
    #expect(world.fired().count == RuleTable.firedMax + 1)
    #expect(world.table.counters.dropped == 3)
    #expect(world.table.counters.fired == UInt64(RuleTable.firedMax + 1))
  }

  @Test func aPayloadIsPassedOn() {
    let world = RuleWorld([rule("r", "a") { $0.message?.payload = nil }])
    #expect(world.send("one") == ["rule:r one"])
    #expect(world.send("") == ["rule:r "])
    let longest = String(repeating: "y", count: RuleTable.payloadBytesMax)
    #expect(world.send(longest) == ["rule:r \(longest)"])
    #expect(world.send(longest + "y") == [])
    #expect(world.table.counters.dropped == 1)
    #expect(world.send(longest) == ["rule:r \(longest)"])
  }

  @Test func aLinkSaysWhoseItIs() {
    let world = RuleWorld([
      rule("bell", "a") {
        $0.isLink = true
        $0.message = nil
        $0.actions = [
          RuleAction.output(1, OutputCommand(.toggle)), RuleAction.output(0, OutputCommand(.on, forNanoseconds: 5)),
        ]
      }
    ])
    #expect(world.send("x") == ["link:bell"])
    #expect(world.table.actionCount(of: 0) == 2)
    #expect(world.table.action(0, of: 0) == .output(1, OutputCommand(.toggle)))
    #expect(world.table.action(1, of: 0) == .output(0, OutputCommand(.on, forNanoseconds: 5)))
  }

  @Test func noRulesTakeNoMemory() {
    var reservation = Reservation.counting()
    _ = RuleTable(TapSettings(base: bytes("b")), in: &reservation)
    #expect(reservation.byteCount == 0)
  }

  // MARK: What cannot be

  struct Problem: Sendable {
    let text: String
    let change: @Sendable (inout RuleSettings) -> Void
  }

  static let problems = [
    Problem(text: "a name is UTF-8 of 1 to 64 bytes, without + #") { $0.name = [] },
    Problem(text: "a name is UTF-8 of 1 to 64 bytes, without + #") { $0.name = [UInt8](repeating: 65, count: 65) },
    Problem(text: "expected 'set', 'pulse' or 'publish'") { $0.message = nil },
    Problem(text: "there is no such PWM output or LED") { $0.actions = [.level(0, LevelCommand(.on))] },
    Problem(text: "there is no such output") { $0.actions = [RuleAction.output(2, OutputCommand(.on))] },
    Problem(text: "at most 16 outputs") {
      $0.actions = Array(repeating: RuleAction.output(0, OutputCommand(.on)), count: 17)
    },
    Problem(text: "'for' must be at most 30d") { $0.forNanoseconds = RuleSettings.forNanosecondsMax + 1 },
    Problem(text: "'for' needs a comparison in 'when'") {
      $0.when = RuleWhen(filter: [97])
      $0.forNanoseconds = 1
    },
    Problem(text: "either 'every' or 'for'") {
      $0.isEvery = true
      $0.forNanoseconds = 1
    },
    Problem(text: "with 'for' there is no message to take the payload from; give 'payload'") {
      $0.forNanoseconds = 1
      $0.message?.payload = nil
    },
    Problem(text: "'hysteresis' must be 0 or more") { $0.hysteresis = PlainDecimal(mantissa: -1, places: 0) },
    Problem(text: "'hysteresis' goes with <, <=, > and >= only") {
      $0.when = RuleWhen(parsing: [UInt8]("a == 5".utf8))!
      $0.hysteresis = PlainDecimal(mantissa: 1, places: 0)
    },
    Problem(text: "'hysteresis' goes with <, <=, > and >= only") {
      $0.isEvery = true
      $0.hysteresis = PlainDecimal(mantissa: 1, places: 0)
    },
    Problem(text: "'hysteresis' is out of range") {
      $0.hysteresis = PlainDecimal(mantissa: 999_999_999_999_999_999, places: 0)
    },
  ]

  @Test(arguments: problems) func whatIsWrongIsTold(_ row: Problem) {
    var wrong = rule("r", "a < 5")
    #expect(wrong.problem(outputCount: 2, levelCount: 0) == nil)
    row.change(&wrong)
    #expect(wrong.problem(outputCount: 2, levelCount: 0)?.description == row.text)
    var settings = TapSettings(base: bytes("b"))
    settings.outputs = [output("a", pin: "1"), output("b", pin: "2")]
    settings.rules = [rule("good", "a"), wrong]
    #expect(settings.problem()?.place == .rule(1))
  }

  @Test func aSumIsExact() {
    let max = PlainDecimal(mantissa: 999_999_999_999_999_999, places: 0)
    #expect(max.adding(PlainDecimal(mantissa: 1, places: 0)) == nil)
    #expect(max.adding(PlainDecimal(mantissa: -1, places: 0))?.mantissa == 999_999_999_999_999_998)
    #expect(max.adding(PlainDecimal(mantissa: 1, places: 1)) == nil)
    #expect(
      PlainDecimal(mantissa: 1, places: 1).adding(PlainDecimal(mantissa: 2, places: 1))
        == PlainDecimal(mantissa: 3, places: 1))
    #expect(
      PlainDecimal(mantissa: 5, places: 1).adding(PlainDecimal(mantissa: 5, places: 1))
        == PlainDecimal(mantissa: 1, places: 0))
  }
}

extension RuleWorld {
  /// The first rule of that world, as after a start.
  convenience init(client world: RuleWorld) {
    self.init([
      rule("lamp", "a == ON") { $0.actions = [RuleAction.output(0, OutputCommand(.toggle))] }
    ])
  }
}
