import MQTTBroker
import MQTTWire
import Taps
import Testing

@testable import Gateway

@Suite("Nothing moves for a message that is refused, whatever it would have moved and whyever it is refused")
struct AdmissionTests {
  /// Why the broker has no room for a message.
  enum Lack: String, CaseIterable, Sendable {
    case queueFull, retainedSlots, topicNodes, retainedBlocks, bodyTooLarge
  }

  /// What would do something at once: topic and payload.
  static let consumers = [
    ("b/relay/set", "TOGGLE"), ("b/relay/set", "ON"), ("b/relay/set", #"{"state":"ON","for":"5s"}"#),
    ("b/bell/set", "ON"),
    ("b/led/set", "50"), ("b/pwm/set", "ON"), ("b/water/total/set", "12"), ("b/relay/get", "?"), ("rule/in", "go"),
    ("handler/in", "x"),
  ]

  private final class Seen { var count = 0 }

  private func world(_ lack: Lack, _ seen: Seen) -> World {
    var limits = Limits.forTests
    switch lack {
    case .queueFull:
      limits.queueFull = .refuse
      limits.queuedMax = 1
    case .retainedSlots: limits.retainedMax = 40
    case .topicNodes: limits.topicNodesMax = 127
    case .retainedBlocks: limits.sessionsMax = 4000  // so many that no client is sure of any
    case .bodyTooLarge: break
    }
    let taps = settings {
      $0.outputs = [output("relay"), output("bell") { $0.maxOnNanoseconds = seconds(1) }]
      $0.levels = [level("led"), level("pwm")]
      $0.counters = [counter("water")]
      $0.rules = [rule("r", "rule/in == go", [on(0)], publish: "rule/out", payload: "1")]
    }
    let world = World(taps, limits: limits) { world in
      let pattern = try! TapPattern("handler/{x}")
      precondition(
        world.gateway.addHandler(pattern) { _, _ in
          seen.count += 1
          return .accept
        })
    }
    for name in ["c", "old", "filler"] { world.connect(name, name == "old" ? .v311 : .v5) }
    switch lack {
    case .queueFull:
      world.connect("away", sessionExpiry: 1000)
      world.subscribe("away", "#", qos: 1)
      world.lose("away")
      world.command("filler", "x", "x")
    case .retainedSlots, .topicNodes:
      for index in 0..<200 { world.command("filler", "x/\(index)", "x", retain: true) }
    case .retainedBlocks:
      let payload = String(repeating: "x", count: 4000)
      for index in 0..<400 where world.command("filler", "x/\(index)", payload, retain: true) != "ok" { break }
      for index in 0..<400 where world.command("filler", "y/\(index)", "x", retain: true) != "ok" { break }
    case .bodyTooLarge:
      break
    }
    _ = world.board.takeChanges()
    world.subscribe("c", "rule/out")
    return world
  }

  @Test(arguments: [Lack.queueFull, .retainedSlots, .retainedBlocks], AdmissionTests.consumers.indices)
  func refusedMovesNothing(lack: Lack, consumer: Int) {
    let (topic, payload) = AdmissionTests.consumers[consumer]
    let seen = Seen()
    let world = world(lack, seen)
    let isRetained = lack != .queueFull
    // A question or command of an older client is refused by closing, and repeated.
    for attempt in 1...3 {
      #expect(
        world.command("c", topic, payload, retain: isRetained, properties: [.text(.responseTopic, "answer")]) == "151")
      let old = world.client("old")
      world.send(
        "old", .publish(topic: topic, payload: payload, qos: UInt8(1 + attempt % 2), packetID: 1, retain: isRetained))
      #expect(!old.isOpen)
      world.connect("old", .v311)
    }
    world.pass(seconds: 10)
    #expect(world.board.takeChanges().isEmpty)
    #expect(world.messages("c").isEmpty)
    #expect(seen.count == 0)
    #expect(world.gateway.rules.counters.fired == 0)
  }

  /// One PUBLISH moves a line once: what was carried out is acknowledged when it comes again, in a new session, too.
  @Test(arguments: [ProtocolVersion.v5, .v311], [UInt8(1), 2])
  func repeatedMovesOnce(version: ProtocolVersion, qos: UInt8) {
    let world = World(settings { $0.outputs = [output("relay")] })
    for (index, cleanStart) in [true, true, false, true].enumerated() {
      world.connect("c", version, cleanStart: cleanStart)
      world.send("c", .publish(topic: "b/relay/set", payload: "TOGGLE", qos: qos, packetID: 7, dup: index > 0))
      #expect(world.takeAll("c") == [qos == 1 ? .pubAck(7) : .pubRec(7)])
      world.lose("c")
    }
    #expect(world.board.takeChanges().count == 1)
    world.connect("c", version)
    // Another packet identifier, payload or client, or the same without DUP, is another message.
    let others: [(UInt16, String, Bool)] = [(8, "TOGGLE", true), (7, "ON", true), (7, "TOGGLE", false)]
    for (packetID, payload, dup) in others {
      world.send("c", .publish(topic: "b/relay/set", payload: payload, qos: qos, packetID: packetID, dup: dup))
      if qos == 2 { world.send("c", .pubRel(packetID)) }
    }
    world.connect("d", version)
    world.send("d", .publish(topic: "b/relay/set", payload: "TOGGLE", qos: qos, packetID: 7, dup: true))
    #expect(world.gateway.broker.counters.repeatsIgnored == 3)
    #expect(world.board.takeChanges().count == 4)
  }

  /// As many commands of a client as it may have in flight stay known, whatever other clients command meanwhile.
  @Test(arguments: [ProtocolVersion.v5, .v311], [UInt8(1), 2])
  func othersCommandsPushNoneOut(version: ProtocolVersion, qos: UInt8) {
    let world = World(settings { $0.outputs = [output("relay"), output("other")] })
    world.connect("c", version, cleanStart: false, sessionExpiry: version == .v5 ? 1000 : nil)
    let count = Limits.forTests.inflightMax
    let ids = UInt16(1)...UInt16(count)
    for id in ids {
      world.send("c", .publish(topic: "b/relay/set", payload: "TOGGLE", qos: qos, packetID: id))
      if qos == 2 { world.send("c", .pubRel(id)) }
    }
    world.lose("c")
    for index in 0..<10 {
      let name = "o\(index)"
      world.connect(name, version)
      for id in UInt16(1)...40 {
        world.send(name, .publish(topic: "b/other/set", payload: "TOGGLE", qos: qos, packetID: id))
        if qos == 2 { world.send(name, .pubRel(id)) }
      }
    }
    _ = world.board.takeChanges()
    // In the session, and once more in a new one: the place of the old one has no client since.
    for cleanStart in [false, true] {
      world.connect("c", version, cleanStart: cleanStart)
      for id in ids {
        world.send("c", .publish(topic: "b/relay/set", payload: "TOGGLE", qos: qos, packetID: id, dup: true))
        if qos == 2 { world.send("c", .pubRel(id)) }
      }
      #expect(world.takeAll("c").count == (qos == 2 ? 2 * count : count))
      world.lose("c")
    }
    #expect(world.board.takeChanges().isEmpty)
    #expect(Int(world.gateway.broker.counters.repeatsIgnored) == 2 * count)
  }
}
