import Bounded
import MQTTBroker
import MQTTWire
import Taps
import Testing

@testable import Gateway

@Suite("From the beginning of the end nothing moves but to what is safe, whoever asks")
struct EndTests {
  /// One way to ask for a movement.
  struct Way: CustomTestStringConvertible, Sendable {
    let what: String
    /// While the board serves.
    var before: @Sendable (World) -> Void = { _ in }
    let ask: @Sendable (World) -> Void
    var testDescription: String { what }

    /// A client's command.
    static func command(_ what: String, _ topic: String, _ payload: String) -> Way {
      Way(what: what) { $0.send("c", .publish(topic: topic, payload: payload, qos: 1, packetID: 99)) }
    }

    /// A Will that is due when its client is lost.
    static func will(_ what: String, _ topic: String, _ payload: String) -> Way {
      Way(
        what: "Will: " + what,
        before: { world in world.connect("w", will: WillFields(topic: topic, payload: payload, qos: 1)) },
        ask: { $0.lose("w") })
    }

    /// Something that a deadline brings, within a minute.
    static func timer(_ what: String, _ topic: String, _ payload: String) -> Way {
      Way(
        what: "timer: " + what, before: { world in world.command("c", topic, payload) }, ask: { $0.pass(seconds: 60) })
    }
  }

  static let outputs = [
    output("relay"),
    output("bell") { $0.pulseNanoseconds = seconds(30) },
    output("valve") {
      $0.initial = .on
      $0.isSafeActive = true
    },
    output("pump") { $0.onExit = .keep },
    output("lamp") { $0.onExit = .release },
    output("up") {
      $0.group = 0
      $0.onExit = .keep
    },
    output("down") {
      $0.group = 0
      $0.onExit = .keep
    },
    output("leased") {
      $0.lease = OutputLease(client: utf8("holder"), graceNanoseconds: seconds(20))
      $0.onExit = .keep
    },
    output("limited") {
      $0.maxOnNanoseconds = seconds(40)
      $0.onExit = .keep
    },
  ]

  static let taps = settings { taps in
    taps.outputs = outputs
    taps.groups = [group("shutter", deadTimeMilliseconds: 500)]
    taps.levels = [
      level("led") { $0.safe = 1000 },
      level("fan") {
        $0.onExit = .keep
        $0.maxOnNanoseconds = seconds(40)
        $0.lease = LevelLease(client: utf8("holder"), graceNanoseconds: seconds(20), levelWhenLost: 300)
      },
      level("strip") { $0.onExit = .release },
    ]
    taps.rules = [
      rule("set", "other/thing", [on(3)]),
      rule("dim", "other/dim", [.level(1, LevelCommand(.level(7000)))]),
      rule("tell", "other/tell", publish: "b/pump/set", payload: "ON"),
      rule("late", "other/late == x", [on(3)]) { $0.forNanoseconds = seconds(30) },
      rule("follow", "b/bell == ON", [on(4)]),
    ]
  }

  static let ways: [Way] =
    [
      .command("set", "b/relay/set", "ON"),
      .command("set, JSON, timed", "b/relay/set", #"{"state":"ON","for":"1h"}"#),
      .command("toggle", "b/relay/set", "TOGGLE"),
      .command("pulse", "b/relay/pulse", "3600000"),
      .command("momentary", "b/bell/set", "ON"),
      .command("an output whose safe level is ON", "b/valve/set", "OFF"),
      .command("an output that keeps its level", "b/pump/set", "ON"),
      .command("an output that is let go", "b/lamp/set", "ON"),
      .command("group", "b/up/set", "ON"),
      .command("leased", "b/leased/set", "ON"),
      .command("level", "b/led/set", "100"),
      .command("level by word", "b/led/set", "ON"),
      .command("level that is kept", "b/fan/set", "50"),
      .command("level that is let go", "b/strip/set", #"{"brightness":35}"#),
      .command("rule", "other/thing", "x"),
      .command("rule on a level", "other/dim", "x"),
      .command("rule that publishes a command", "other/tell", "x"),
      .command("handler", "ask/b/pump/set", "ON"),
      .will("set", "b/relay/set", "ON"),
      .will("momentary", "b/bell/set", "PRESS"),
      .will("kept", "b/pump/set", "ON"),
      .will("group", "b/down/set", "ON"),
      .will("level", "b/fan/set", "100"),
      .will("rule", "other/thing", "x"),
      .will("handler", "ask/b/lamp/set", "ON"),
      .timer("end of a pulse", "b/pump/pulse", "30000"),
      .timer("end of a timed OFF", "b/valve/set", #"{"state":"OFF","for":30}"#),
      .timer("max_on", "b/limited/set", "ON"),
      .timer("lease", "b/leased/set", "ON"),
      .timer("level's time", "b/strip/set", #"{"brightness":35,"for":30}"#),
      .timer("level's max_on and lease", "b/fan/set", "50"),
      .timer("rule's time", "other/late", "x"),
      Way(
        what: "timer: dead time of a group",
        before: {
          $0.command("c", "b/up/set", "ON")
          $0.command("c", "b/down/set", "ON")
        }, ask: { $0.pass(seconds: 60) }),
      Way(
        what: "the program itself",
        ask: { world in
          withBytes("b/pump/set") { topic in
            withBytes("ON") { _ = world.gateway.publish(topic: topic, payload: $0, qos: .atMostOnce, retain: false) }
          }
        }),
      Way(
        what: "rules that waited when the end began",
        before: { world in
          world.gateway.rulesMustWait = true
          world.command("c", "other/thing", "x")
        },
        ask: { world in
          world.gateway.rulesMustWait = false
          world.turn()
        }),
    ]

  /// A handler that publishes what `ask/TOPIC` says on TOPIC.
  static func world() -> World {
    let world = World(taps) { world in
      let pattern = try! TapPattern("ask/#")
      _ = world.gateway.addHandler(pattern) { [unowned world] message, captures in
        _ = world.gateway.publish(topic: captures.rest, payload: message.payload, qos: .atMostOnce, retain: false)
        return .accept
      }
    }
    world.connect("c")
    world.pass(seconds: 1)  // a dead time counts from the start, too
    return world
  }

  /// What each safe level is, `nil` for what is kept and let go.
  static let safeLines: [Bool?] = [false, false, true, nil, nil, nil, nil, nil, nil]

  @Test(arguments: ways) func itMovesWhileTheBoardServes(_ way: Way) {
    let world = EndTests.world()
    way.before(world)
    _ = world.board.takeChanges()
    way.ask(world)
    #expect(!world.board.takeChanges().isEmpty)
  }

  @Test(arguments: ways) func itMovesNothingInTheLastTurn(_ way: Way) {
    let world = EndTests.world()
    way.before(world)
    let lines = world.board.lines
    let shares = world.board.shares
    _ = world.board.takeChanges()
    world.gateway.beginEnd()
    way.ask(world)
    #expect(world.board.takeChanges() == [])
    world.leave()
    EndTests.expectSafe(world, lines, shares)
  }

  @Test(arguments: ways) func itMovesNothingOnceTheBoardHasLeft(_ way: Way) {
    let world = EndTests.world()
    way.before(world)
    let lines = world.board.lines
    let shares = world.board.shares
    _ = world.board.takeChanges()
    world.gateway.beginEnd()
    world.leave()
    way.ask(world)
    world.closeAll()
    EndTests.expectSafe(world, lines, shares)
  }

  /// - Parameters: what was there when the end began.
  private static func expectSafe(_ world: World, _ lines: [Bool], _ shares: [UInt64]) {
    let changes = world.board.takeChanges()
    #expect(
      changes.map(\.description) == ["line 0 OFF by=safe", "line 1 OFF by=safe", "line 2 ON by=safe", "level 0 1000"])
    #expect(world.board.lines == zip(safeLines, lines).map { $0 ?? $1 })
    #expect(world.board.shares == [share(1000), shares[1], shares[2]])
    #expect(world.board.lastJobs == [.share(share(1000)), .keep, .release])
    let letsGo = [4: true]
    for index in outputs.indices { #expect(world.board.givenBack[index] == letsGo[index, default: false]) }
    #expect(world.retained("b/relay") == "OFF by=safe")
    #expect(world.retained("b/valve") == "ON by=safe")
    #expect(world.retained("b/led") == "10 by=safe")
  }

  @Test(arguments: ["b/pump/set", "b/pump/pulse", "b/led/set"]) func whoAsksIsTold(topic: String) {
    let world = EndTests.world()
    world.gateway.beginEnd()
    let text = "131: the board is stopping"
    #expect(world.command("c", topic, "1") == text)
    world.leave()
    #expect(world.command("c", topic, "1") == text)
  }

  /// A safe level that cannot be set is a fault, and the others get theirs.
  @Test func aSafeLevelThatFailsIsToldAndHoldsUpNobody() {
    let world = EndTests.world()
    world.command("c", "b/relay/set", "ON")
    world.command("c", "b/bell/set", "ON")
    world.board.isBroken[0] = true
    world.board.drivers[0] = .hangs
    world.gateway.beginEnd()
    world.leave()
    #expect(world.board.lines[0] && !world.board.lines[1] && world.board.lines[2])
    #expect(world.retained("b/relay") == "ON by=c")
    #expect(world.retained("b/relay/fault") == "broken")
    #expect(world.retained("b/bell") == "OFF by=safe")
    #expect(world.retained("b/led/fault") == "does not end")
  }

  /// 20 Wills when all connections are closed, each for an output of its own: none is carried out, all are answered for.
  @Test func twentyWillsMoveNothing() {
    let world = World(settings { $0.outputs = (0..<20).map { index in output("r\(index)") { $0.onExit = .keep } } })
    for index in 0..<20 { world.connect("w\(index)", will: WillFields(topic: "b/r\(index)/set", payload: "ON")) }
    world.gateway.beginEnd()
    world.leave()
    world.closeAll()
    #expect(world.board.takeChanges() == [])
    #expect((0..<20).allSatisfy { world.retained("b/r\($0)") == "OFF" })
  }
}
