import Bounded
import MQTTBroker
import MQTTWire
import Taps
import Testing

@testable import Gateway

@Suite("Rules are carried out in the turn of their message, in order, and no chain of them is endless")
struct RuleTests {
  /// A world with a client `c` and one, `s`, that sees everything.
  private func world(_ change: (inout TapSettings) -> Void) -> World {
    let world = World(settings(change))
    world.connect("c")
    world.connect("s")
    world.subscribe("s", "#")
    return world
  }

  // MARK: Chains

  /// `x/0` to `x/1` to `x/2` and so on.
  private func chain(_ length: Int) -> [RuleSettings] {
    (0..<length).map { rule("r\($0)", "x/\($0)", publish: "x/\($0 + 1)") }
  }

  @Test(arguments: 1...8) func aChainOfUpToEightRunsToItsEnd(length: Int) {
    let world = world { $0.rules = chain(length) }
    #expect(world.command("c", "x/0", "go") == "ok")
    #expect(world.messages("s") == (0...length).map { "x/\($0)=go" })
    #expect(world.gateway.rules.counters.fired == UInt64(length))
    #expect(world.gateway.rules.counters.cut == 0)
  }

  @Test func theNinthIsCutAndToldOnce() {
    let world = world { $0.rules = chain(9) }
    for _ in 0..<3 {
      #expect(world.command("c", "x/0", "go") == "ok")
      #expect(world.messages("s") == (0...8).map { "x/\($0)=go" })
    }
    #expect(world.gateway.rules.counters.cut == 3)
    #expect(world.board.takeNotices() == ["loop rule:r8"])
    // A chain that begins further down is not so deep.
    #expect(world.command("c", "x/1", "go") == "ok")
    #expect(world.messages("s") == (1...9).map { "x/\($0)=go" })
    #expect(world.board.takeNotices() == [])
  }

  /// Through lines: each relay's state is the next one's rule.
  @Test func aChainOfRelaysIsCutAtTheNinth() {
    let world = world {
      $0.outputs = (0..<10).map { output("o\($0)") }
      $0.rules = (0..<9).map { rule("r\($0)", "b/o\($0) == ON", [on($0 + 1)]) }
    }
    #expect(world.command("c", "b/o0/set", "ON") == "ok")
    #expect(world.board.lines == Array(repeating: true, count: 9) + [false])
    #expect(world.messages("s") == ["b/o0/set=ON", "b/o0=ON by=c"] + (1...8).map { "b/o\($0)=ON by=rule:r\($0 - 1)" })
    #expect(world.board.takeNotices() == ["loop rule:r8"])
  }

  /// Two rules that undo each other: the loop ends, the relay's state is true, and so it is the next time.
  @Test func aLoopIsCut() {
    let world = world {
      $0.outputs = [output("o")]
      $0.rules = [rule("up", "b/o == OFF", [on(0)]), rule("down", "b/o == ON", [off(0)])]
    }
    // What is so at start fires already.
    #expect(world.gateway.rules.counters.cut == 1)
    for round in 2...4 {
      _ = world.board.takeChanges()
      #expect(world.command("c", "b/o/set", "TOGGLE") == "ok")
      let changes = world.board.takeChanges()
      #expect(changes.count == 9)
      let isOn = changes[0].value == 1
      #expect(changes.map(\.by) == ["c"] + (1...8).map { ($0 % 2 == 1) == isOn ? "rule:down" : "rule:up" })
      #expect(world.gateway.rules.counters.cut == UInt64(round))
      #expect(world.retained("b/o") == (world.board.lines[0] ? "ON" : "OFF") + " by=" + changes[8].by!)
      #expect(world.isAtRest)
    }
    #expect(world.board.takeNotices() == ["loop rule:up", "loop rule:down"])
  }

  // MARK: Order

  /// Actions in their order, each with what follows told before the next; then the message.
  @Test func actionsComeInOrderAndTheMessageLast() {
    let world = world {
      $0.outputs = [output("a"), output("b"), output("c")]
      $0.levels = [level("l")]
      $0.rules = [
        rule("many", "x", [on(2), .level(0, LevelCommand(.level(4000))), on(0)], publish: "y", payload: "done"),
        rule("next", "b/c == ON", [on(1)]),
      ]
    }
    #expect(world.command("c", "x", "go") == "ok")
    #expect(
      world.messages("s") == [
        "x=go", "b/c=ON by=rule:many", "b/l=40 by=rule:many", "b/a=ON by=rule:many", "y=done", "b/b=ON by=rule:next",
      ])
    #expect(
      world.board.takeChanges().map(\.description) == [
        "line 2 ON by=rule:many", "level 0 4000", "line 0 ON by=rule:many", "line 1 ON by=rule:next",
      ])
  }

  @Test func rulesOfOneMessageFireInTheOrderOfTheFile() {
    let world = world {
      $0.rules = (0..<5).map { rule("r\($0)", "x", publish: "y/\($0)", payload: "") }
    }
    #expect(world.command("c", "x", "go") == "ok")
    #expect(world.messages("s") == ["x=go"] + (0..<5).map { "y/\($0)=" })
  }

  /// An output that refuses holds up neither the other actions nor the message, and is counted.
  @Test func aRuleWhoseOutputRefuses() {
    let world = world {
      $0.outputs = [output("a") { $0.minOffNanoseconds = seconds(1000) }, output("b"), output("c")]
      $0.levels = [level("l")]
      $0.rules = [
        rule("many", "x", [on(0), on(1), .level(0, LevelCommand(.on)), on(2)], publish: "y", payload: "done")
      ]
    }
    world.board.isBroken[1] = true
    world.board.drivers[0] = .refuses
    #expect(world.command("c", "x", "go") == "ok")
    #expect(
      world.messages("s") == [
        "x=go", "b/b/fault=broken", "b/l/fault=refused", "b/c=ON by=rule:many", "y=done",
      ])
    #expect(world.gateway.rules.counters.refused == 3)
    #expect(world.board.lines == [false, false, true])
  }

  /// A message that a tap refuses, or that finds no room, is counted too.
  @Test func aRuleWhoseMessageIsRefused() {
    let world = world {
      $0.outputs = [output("o")]
      $0.rules = [rule("bad", "x", publish: "b/o/set", payload: "MAYBE")]
    }
    #expect(world.command("c", "x", "go") == "ok")
    #expect(world.messages("s") == ["x=go"])
    #expect(world.gateway.rules.counters.refused == 1)
    #expect(world.board.takeChanges() == [])
  }

  // MARK: What a rule can do

  /// One action or message of a rule, and what is told of it.
  struct Row: CustomTestStringConvertible, Sendable {
    let rule: RuleSettings
    let told: [String]
    var testDescription: String { "\(told)" }
  }
  static let rows = [
    Row(rule: rule("r", "x", [on(0)]), told: ["b/o=ON by=rule:r"]),
    Row(rule: rule("r", "x", [.output(0, OutputCommand(.toggle))]), told: ["b/o=ON by=rule:r"]),
    Row(rule: rule("r", "x", [.output(0, OutputCommand(.on, forNanoseconds: seconds(1)))]), told: ["b/o=ON by=rule:r"]),
    Row(rule: rule("r", "x", [.level(0, LevelCommand(.level(1250)))]), told: ["b/l=12.5 by=rule:r"]),
    Row(rule: rule("r", "x", [.level(0, LevelCommand(.on))]), told: ["b/l=100 by=rule:r"]),
    Row(rule: rule("r", "x", [.level(0, LevelCommand(.toggle))]), told: ["b/l=100 by=rule:r"]),
    Row(rule: rule("r", "x", publish: "b/o/set", payload: "ON"), told: ["b/o/set=ON", "b/o=ON by=rule:r"]),
    Row(rule: rule("r", "x", publish: "b/o/pulse", payload: "100"), told: ["b/o/pulse=100", "b/o=ON by=rule:r"]),
    Row(rule: rule("r", "x", publish: "b/l/set"), told: ["b/l/set=7", "b/l=7 by=rule:r"]),
    Row(rule: rule("r", "x", publish: "b/m/total/set"), told: ["b/m/total/set=7", "b/m/total=7 by=rule:r"]),
    Row(rule: rule("r", "+/#", [on(0)]) { $0.when = RuleWhen(filter: utf8("x")) }, told: ["b/o=ON by=rule:r"]),
    Row(rule: rule("in", "x == 7", [on(0)]) { $0.isLink = true }, told: ["b/o=ON by=link:in"]),
    Row(rule: rule("r", "x > 6.5", [on(0)]), told: ["b/o=ON by=rule:r"]),
    Row(rule: rule("r", "x < 6.5", [on(0)]), told: []),
    Row(rule: rule("r", "x .a == 1", [on(0)]), told: []),
  ]

  @Test(arguments: rows) func anAction(_ row: Row) {
    let world = world {
      $0.outputs = [output("o")]
      $0.levels = [level("l")]
      $0.counters = [counter("m")]
      $0.rules = [row.rule]
    }
    #expect(world.command("c", "x", "7") == "ok")
    #expect(world.messages("s") == ["x=7"] + row.told)
  }

  /// A rule looks at what a level has, whoever drove it: a client, a timer, a fault that has ended.
  @Test func rulesOnLevels() {
    let world = world {
      $0.outputs = [output("fan")]
      $0.levels = [level("l")]
      $0.rules = [
        rule("hot", "b/l >= 50", [on(0)]) { $0.hysteresis = PlainDecimal(mantissa: 20, places: 0) },
        rule("cold", "b/l < 30", [off(0)]),
      ]
    }
    for (level, isOn) in [(10, false), (49, false), (50, true), (35, true), (49, true), (29, false), (50, true)] {
      #expect(world.command("c", "b/l/set", "\(level)") == "ok")
      #expect(world.board.lines == [isOn], "\(level)")
    }
    #expect(world.command("c", "b/l/set", #"{"brightness":80,"for":10}"#) == "ok")
    world.pass(seconds: 11)
    #expect(world.board.lines == [false])
    #expect(world.retained("b/fan") == "OFF by=rule:cold")
  }

  /// Each message for which it holds, or only the first.
  @Test func everyAndOnce() {
    let world = world {
      $0.rules = [
        rule("once", "x == 1", publish: "once", payload: ""),
        rule("every", "x == 1", publish: "every", payload: "") { $0.isEvery = true },
      ]
    }
    for payload in ["1", "1", "0", "1"] { #expect(world.command("c", "x", payload) == "ok") }
    #expect(
      world.messages("s") == ["x=1", "once=", "every=", "x=1", "every=", "x=0", "x=1", "once=", "every="])
  }

  @Test func forIsCountedFromTheMessage() {
    let world = world {
      $0.outputs = [output("o"), output("p")]
      $0.rules = [
        rule("late", "x == 1", [on(0)]) { $0.forNanoseconds = seconds(10) },
        rule("next", "b/o == ON", [on(1)]),
      ]
    }
    #expect(world.command("c", "x", "1") == "ok")
    world.pass(seconds: 5)
    #expect(world.command("c", "x", "0") == "ok")
    world.pass(seconds: 60)
    #expect(world.board.takeChanges() == [])
    #expect(world.command("c", "x", "1") == "ok")
    let start = world.now
    world.pass(seconds: 60)
    let changes = world.board.takeChanges()
    #expect(changes.map(\.description) == ["line 0 ON by=rule:late", "line 1 ON by=rule:next"])
    #expect(changes.allSatisfy { $0.at.since(start) == seconds(10) })
  }

  // MARK: Whose message it is

  /// Clients, Wills, the program, other rules, timers, figures: a rule hears all of them, and is carried out at once.
  @Test func aRuleHearsEverybody() {
    let world = world {
      $0.outputs = [
        output("o") { $0.hasStats = true },
        output("timed"),
      ]
      $0.rules = [
        rule("x", "x/+", publish: "heard", payload: "") { $0.isEvery = true },
        rule("off", "b/timed == OFF", publish: "heard/off", payload: ""),
        rule("stats", "b/o/stats", publish: "heard/stats"),
        rule("status", "b/status == offline", publish: "heard/status"),
      ]
    }
    #expect(world.command("c", "x/c", "") == "ok")
    #expect(world.messages("s") == ["x/c=", "heard="])
    world.connect("w", will: WillFields(topic: "x/w"))
    world.lose("w")
    #expect(world.messages("s") == ["x/w=gone", "heard="])
    withBytes("x/own") { topic in
      #expect(world.gateway.publish(topic: topic, payload: .empty, qos: .atMostOnce, retain: false))
    }
    world.flush()
    #expect(world.messages("s") == ["x/own=", "heard="])
    #expect(world.command("c", "b/timed/pulse", "1000") == "ok")
    _ = world.messages("s")
    world.leap(milliseconds: 1000)
    #expect(world.messages("s") == ["b/timed=OFF by=timer", "heard/off="])
    // Figures are the gateway's own message as well: what they set off does not wait for the next one.
    #expect(world.command("c", "b/o/set", "ON") == "ok")
    world.pass(seconds: 61)
    _ = world.messages("s")
    world.leap(milliseconds: 60_000)
    let messages = world.messages("s")
    #expect(messages.count == 2 && messages.first?.hasPrefix("b/o/stats=") == true)
    #expect(messages.last?.hasPrefix("heard/stats={\"cycles\":1,") == true)
    world.gateway.publish(world.taps.status(online: false, wallNanoseconds: 0), at: world.now)
    world.flush()
    #expect(world.messages("s") == ["b/status=offline", "heard/status=offline"])
  }

  /// More fire at one time than there is room for: the rest is dropped and counted, and nothing hangs.
  @Test func moreFireThanThereIsRoomFor() {
    let world = world { settings in
      settings.rules = (0..<12).map { index in
        rule("r\(index)", "x/#", publish: "x/\(index)", payload: "")
      }
    }
    #expect(world.command("c", "x", "go") == "ok")
    let counters = world.gateway.rules.counters
    #expect(counters.dropped > 0)
    #expect(!world.gateway.rules.hasFired)
    #expect(world.messages("s").count == 1 + Int(counters.fired))
    #expect(world.command("c", "other", "") == "ok")
  }

  /// While the lines of a board are requested, rules wait; then they are carried out in the order in which they fired.
  @Test func atStartRulesWaitUntilAllLinesAreThere() {
    let world = World(
      settings {
        $0.outputs = [output("first") { $0.initial = .on }, output("second")]
        $0.rules = [rule("follow", "b/first == ON", [on(1)])]
      })
    #expect(world.board.lines == [true, true])
    #expect(world.retained("b/second") == "ON by=rule:follow")
    #expect(world.gateway.rules.counters.refused == 0)
  }
}
