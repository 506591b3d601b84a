import Bounded
import MQTTBroker
import MQTTWire
import Taps
import Testing

@testable import Gateway

@Suite("Handlers are asked before anything moves, and rules see what was accepted, whatever their filters")
struct TapPhaseTests {
  enum Refuser: CaseIterable, Sendable {
    case nobody, handler, output, level, counter, question

    /// What it is sent.
    var message: (topic: String, payload: String) {
      switch self {
      case .nobody, .handler: ("b/relay/set", "ON")
      case .output: ("b/tight/set", "ON")
      case .level: ("b/led/set", "nonsense")
      case .counter: ("b/water/total/set", "nonsense")
      case .question: ("b/broken/get", "?")
      }
    }

    /// Filters that match it.
    var filters: [String] {
      let (topic, _) = message
      let levels = topic.split(separator: "/").map { String($0) }
      return [topic, ([levels[0], "+"] + levels[2...]).joined(separator: "/"), "#"]
    }
  }

  /// The embedding program's handlers, in the order in which they are added.
  private enum Handler: CaseIterable { case vetoing, watching, decoupled }
  private static let orders: [[Handler]] = [
    [.vetoing, .watching, .decoupled], [.vetoing, .decoupled, .watching], [.watching, .vetoing, .decoupled],
    [.watching, .decoupled, .vetoing], [.decoupled, .vetoing, .watching], [.decoupled, .watching, .vetoing],
  ]

  private final class Handlers {
    var isVetoing = false
    var seen = 0
  }

  private func world(
    _ refuser: Refuser, _ order: [Handler], rule: String, pattern: (Handler) -> String, _ handlers: Handlers
  ) -> World {
    let taps = settings {
      $0.outputs = [
        output("relay"), output("tight") { $0.minOffNanoseconds = seconds(100_000) }, output("broken"), output("other"),
      ]
      $0.levels = [level("led")]
      $0.counters = [counter("water")]
      $0.rules = [GatewayTests.rule("r", rule, [.output(3, OutputCommand(.toggle))], publish: "rule/out", payload: "x")]
    }
    let world = World(taps) { world in
      for handler in order {
        let pattern = try! TapPattern(kept(pattern(handler)))
        let isAdded =
          switch handler {
          case .vetoing:
            world.gateway.addHandler(pattern) { _, _ in
              handlers.isVetoing ? TapVerdict(reason: .notAuthorized, reasonString: Bytes("not now")) : .accept
            }
          case .watching:
            world.gateway.addHandler(pattern) { _, _ in
              handlers.seen += 1
              return .accept
            }
          case .decoupled: world.gateway.addHandler(pattern, nil)
          }
        precondition(isAdded)
      }
    }
    world.board.isBroken[2] = true
    world.connect("v5")
    world.connect("v311", .v311)
    world.connect("s")
    world.command("v5", "b/broken/set", "ON")  // from here on it is known to be broken
    world.subscribe("s", "#")
    _ = world.board.takeChanges()
    handlers.seen = 0
    return world
  }

  /// A pattern's text is kept for good.
  private func kept(_ text: String) -> Bytes {
    utf8(text).withUnsafeBytes { bytes in
      let room = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
      room.copyMemory(from: bytes)
      return Bytes(UnsafeRawBufferPointer(room))
    }
  }

  @Test(arguments: Refuser.allCases, 0..<6) func whoRefusesIsAskedBeforeWhoActs(refuser: Refuser, order: Int) {
    let filters = refuser.filters
    for choice in 0..<27 {
      let handlers = Handlers()
      let world = world(
        refuser, TapPhaseTests.orders[order], rule: filters[choice % 3],
        pattern: { $0 == .decoupled ? filters[choice / 9] : filters[choice / 3 % 3] }, handlers)
      handlers.isVetoing = refuser == .handler
      for name in ["v5", "v311"] {
        for qos in UInt8(0)...2 { check(world, refuser, name, qos, handlers, "\(choice), \(name), QoS \(qos)") }
      }
      #expect(world.isAtRest)
    }
  }

  private func check(
    _ world: World, _ refuser: Refuser, _ name: String, _ qos: UInt8, _ handlers: Handlers, _ row: String
  ) {
    let (topic, payload) = refuser.message
    let fired = world.gateway.rules.counters.fired
    let submitted = world.board.submitted.count
    handlers.seen = 0
    world.send(name, .publish(topic: topic, payload: payload, qos: qos, packetID: 1))
    let answers = world.takeAll(name)
    if qos == 2 {
      world.send(name, .pubRel(1))
      _ = world.takeAll(name)
    }
    #expect(answers.count == (qos == 0 ? 0 : 1), "\(row)")
    let reason = answers.first?.reason
    guard refuser != .nobody else {
      #expect(reason?.isError != true, "\(row)")
      #expect(world.board.takeChanges().first?.description.hasPrefix("line 0 ON") == true, "\(row)")
      #expect(world.gateway.rules.counters.fired > fired, "\(row)")
      #expect(world.board.submitted.count == submitted + 1, "\(row)")
      #expect(handlers.seen == 1, "\(row)")
      #expect(world.messages("s").first == "b/relay/set=ON", "\(row)")
      return
    }
    if qos > 0, name == "v5" {
      switch refuser {
      case .nobody: break
      case .handler: #expect(reason == .notAuthorized, "\(row)")
      case .output, .question: #expect(reason == .implementationSpecificError, "\(row)")
      case .level, .counter: #expect(reason?.isError == true, "\(row)")
      }
    }
    #expect(world.board.takeChanges().isEmpty, "\(row)")
    #expect(world.gateway.rules.counters.fired == fired, "\(row)")
    #expect(world.board.submitted.count == submitted, "\(row)")
    #expect(world.messages("s").isEmpty, "\(row)")
    if refuser != .handler { #expect(handlers.seen == 1, "\(row)") }
  }

  /// A Will, too: its client cannot be told, so it is counted.
  @Test(arguments: [Refuser.handler, .output, .level], 0..<3) func aWillIsRefusedBeforeAnythingMoves(
    refuser: Refuser, rule: Int
  ) {
    for pattern in refuser.filters {
      for qos in UInt8(0)...2 {
        let handlers = Handlers()
        let world = world(
          refuser, TapPhaseTests.orders[0], rule: refuser.filters[rule], pattern: { _ in pattern }, handlers)
        handlers.isVetoing = refuser == .handler
        let (topic, payload) = refuser.message
        world.connect("w", will: WillFields(topic: topic, payload: payload, qos: qos))
        let fired = world.gateway.rules.counters.fired
        let refused = world.gateway.broker.counters.publishesRefused
        world.lose("w")
        #expect(world.board.takeChanges().isEmpty)
        #expect(world.gateway.rules.counters.fired == fired)
        #expect(world.board.submitted.allSatisfy { $0.contains("broken") })
        #expect(world.messages("s").isEmpty)
        #expect(world.gateway.broker.counters.publishesRefused == refused + 1)
      }
    }
  }

  /// What a rule publishes is a command like a client's: a rule on its topic acts when it was accepted.
  @Test(arguments: ["b/tight/set", "b/relay/set"]) func aRuleOnACommandOfARule(topic: String) {
    let world = World(
      settings {
        $0.outputs = [output("relay"), output("tight") { $0.minOffNanoseconds = seconds(1000) }, output("other")]
        $0.rules = [
          rule("first", "go", publish: topic, payload: "ON"), rule("next", topic + " == ON", [on(2)]),
        ]
      })
    world.connect("c")
    #expect(world.command("c", "go", "") == "ok")
    let isTaken = topic == "b/relay/set"
    #expect(world.board.lines == [isTaken, false, isTaken])
    #expect(world.gateway.rules.counters.refused == (isTaken ? 0 : 1))
  }

  /// No two commands match one message, whatever taps are called: nothing could be refused after something has moved.
  @Test(arguments: [TopicLayout.tapline, .mqttIO, .tasmota]) func aMessageHasOneCommand(layout: TopicLayout) {
    let names = [
      "set", "get", "pulse", "total", "rate", "stats", "output", "input", "sensor", "set_on_ms", "stat", "cmnd",
    ]
    for base in ["b", "set", "get", "output", "cmnd", "b/output"] {
      for shift in 0..<4 {
        let settings = settings {
          $0.base = utf8(base)
          $0.layout = layout
          for (index, name) in names.enumerated() {
            switch (index + shift) % 4 {
            case 0: $0.outputs.append(output(name))
            case 1: $0.inputs.append(input(name))
            case 2: $0.counters.append(counter(name))
            default: $0.levels.append(level(name))
            }
          }
        }
        let world = World(settings)
        let taps = world.taps
        var topics: [String] = []
        for index in 0..<taps.outputTopicCount { topics.append(plainText(taps.outputTopic(index))) }
        for index in 0..<taps.counters.count { topics.append(plainText(taps.counters[index].commandTopic)) }
        for index in 0..<taps.levels.count { topics.append(plainText(taps.levels[index].commandTopic)) }
        #expect(Set(topics).count == topics.count)
        for topic in topics {
          let isQuestion = settings.questionFilter.withUnsafeBytes { filter in
            withBytes(topic) { Topic.matches(filter: Bytes(filter), name: $0) }
          }
          #expect(!isQuestion, "\(topic)")
        }
        #expect(world.isAtRest)
      }
    }
  }
}
