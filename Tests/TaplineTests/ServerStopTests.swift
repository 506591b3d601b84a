import Bounded
import Foundation
import LinuxIO
import MQTTBroker
import MQTTWire
import Taps
import Testing

@testable import Tapline

@Suite("An orderly stop: outputs are made safe, and nothing moves them after that")
struct ServerStopTests {
  /// One way to ask for a movement when the end has begun.
  struct Way: CustomTestStringConvertible {
    let what: String
    /// Where a client's Will goes, and what it says.
    let topic: String
    var payload = "ON"
    /// A handler of the embedding program publishes the message once it sees the Will.
    var isByHandler = false
    var testDescription: String { what }
  }

  static let taps = """
      outputs:
        relay: {pin: GPIO17}
        bell: {pin: GPIO22, pulse: 1h}
        valve: {pin: GPIO23, initial: on, safe: on}
        pump: {pin: GPIO24, on_exit: keep}
        lamp: {pin: GPIO25, on_exit: release}
        follower: {pin: GPIO5}
      leds:
        led: {led: ACT}
      rules:
        mirror: {when: b/relay/set == ON, set: {follower: on}}
        both: {when: other/thing, set: {follower: on, relay: on, pump: on}}
        dim: {when: other/thing, publish: {topic: b/led/set, payload: "70"}}
    """

  static let ways = [
    Way(what: "set", topic: "b/relay/set"),
    Way(what: "set, JSON, timed", topic: "b/relay/set", payload: #"{"state":"ON","for":"1h"}"#),
    Way(what: "toggle", topic: "b/relay/set", payload: "TOGGLE"),
    Way(what: "pulse", topic: "b/relay/pulse", payload: "1h"),
    Way(what: "momentary", topic: "b/bell/set"),
    Way(what: "an output whose safe level is ON", topic: "b/valve/set", payload: "OFF"),
    Way(what: "an output that keeps its level", topic: "b/pump/set"),
    Way(what: "an output that was let go", topic: "b/lamp/set"),
    Way(what: "LED", topic: "b/led/set", payload: "100"),
    Way(what: "LED by word", topic: "b/led/set", payload: "ON"),
    Way(what: "rule", topic: "other/thing", payload: "x"),
    Way(what: "handler", topic: "b/relay/set", isByHandler: true),
    Way(what: "handler on an LED", topic: "b/led/set", isByHandler: true),
  ]

  @Test(arguments: ways) func aWillMovesNothing(_ way: Way) throws {
    let asked = Counter()
    let world = try ServerWorld(taps: Self.taps, leds: ["ACT"]) { server in
      guard way.isByHandler else { return }
      try server.onMessage("handler/will") { _, _ in
        asked.count += 1
        way.topic.utf8CString.withUnsafeBytes { topic in
          way.payload.utf8CString.withUnsafeBytes { payload in
            _ = server.publish(
              topic: Bytes(topic).first(topic.count - 1), payload: Bytes(payload).first(payload.count - 1))
          }
        }
        return .accept
      }
    }
    world.openLED()
    let will = WillFields(topic: way.isByHandler ? "handler/will" : way.topic, payload: way.payload, qos: 1)
    _ = try world.connect("w", will: will)
    world.server.stop()
    #expect(!world.isHigh(17) && !world.isHigh(22) && world.isHigh(23))
    #expect(!world.isHigh(24) && !world.isHigh(25) && !world.isHigh(5))
    #expect(try world.brightness(of: "ACT") == 0)
    if way.isByHandler { #expect(asked.count == 1) }
  }

  /// The same Wills do move their outputs while the server serves: the test above does not pass for want of a movement.
  @Test(arguments: ways) func aWillMovesItsOutputBefore(_ way: Way) throws {
    guard !way.isByHandler else { return }
    let world = try ServerWorld(taps: Self.taps, leds: ["ACT"])
    world.openLED()
    let before = [17, 22, 23, 24, 25, 5].map { world.isHigh($0) }
    let client = try world.connect("w", will: WillFields(topic: way.topic, payload: way.payload, qos: 1))
    client.close()
    world.run(until: "a movement") {
      [17, 22, 23, 24, 25, 5].map { world.isHigh($0) } != before || (try? world.brightness(of: "ACT")) ?? 0 > 0
    }
    world.server.stop()
  }

  /// A command that comes in the last turn, after the signal, is refused and moves nothing.
  @Test(arguments: ["b/pump/set", "b/led/set"]) func aCommandInTheLastTurnIsRefused(topic: String) throws {
    let world = try ServerWorld(taps: Self.taps, leds: ["ACT"])
    world.openLED()
    let client = try world.connect("c")
    world.server.isStopping = true
    client.send(.publish(topic: topic, payload: "ON", qos: 1, packetID: 7))
    world.run(until: "PUBACK") { client.received { $0.packetID == 7 } != nil }
    #expect(
      client.received { $0.packetID == 7 } == .pubAck(7, .implementationSpecificError, text: "the board is stopping"))
    #expect(try world.brightness(of: "ACT") == 0)
    world.server.stop()
    #expect(!world.isHigh(24))
  }

  /// Nor does a rule act in the last turn: an output that keeps its level would keep what the rule has set.
  @Test func aRuleInTheLastTurnMovesNothing() throws {
    let world = try ServerWorld(taps: Self.taps, leds: ["ACT"])
    let client = try world.connect("c")
    client.send(.publish(topic: "other/thing", payload: "x", qos: 1, packetID: 7))
    world.run(until: "the rule has acted") { world.isHigh(24) }
    client.send(.publish(topic: "b/pump/set", payload: "OFF", qos: 1, packetID: 8))
    world.run(until: "PUBACK") { client.received { $0.packetID == 8 } != nil }
    #expect(!world.isHigh(24))
    world.server.isStopping = true
    client.send(.publish(topic: "other/thing", payload: "x", qos: 1, packetID: 9))
    world.run(until: "PUBACK") { client.received { $0.packetID == 9 } != nil }
    #expect(!world.isHigh(24))
    world.server.stop()
    #expect(!world.isHigh(24))
  }

  /// What is found again at the next start is what was commanded, not the safe level.
  @Test func theStateFileHasWhatWasCommanded() throws {
    let file = FileManager.default.temporaryDirectory.appendingPathComponent("tapline-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: file) }
    let world = try ServerWorld(taps: "  persist: \(file.path)\n" + Self.taps, leds: ["ACT"])
    let client = try world.connect("c")
    client.send(.publish(topic: "b/relay/set", payload: "ON", qos: 1, packetID: 7))
    world.run(until: "PUBACK") { client.received { $0.packetID == 7 } != nil }
    #expect(world.isHigh(17))
    let keeper = try #require(world.server.board.stateKeeper)
    let now = Clock.now()
    // A write that is under way comes to its end, so that the last one follows at once.
    _ = keeper.waitForOutcome(until: now.adding(seconds: 120), at: now)
    world.server.stop()
    #expect(!world.isHigh(17))
    _ = keeper.waitForOutcome(until: Clock.now().adding(seconds: 120), at: now)
    let lines = try String(contentsOf: file, encoding: .utf8).split(separator: "\n")
    #expect(lines.contains { $0.hasPrefix("output relay on 1 ") })
    #expect(lines.contains { $0.hasPrefix("output follower on 1 ") })  // the rule "mirror" has set it
    #expect(lines.contains { $0.hasPrefix("output pump off 0 ") })
  }

  /// A handler that publishes when all connections are closed does not enter the broker again.
  @Test func aHandlerMayPublishWhenAllConnectionsAreClosed() throws {
    let seen = Counter()
    let world = try ServerWorld(taps: Self.taps, leds: ["ACT"]) { server in
      try server.onMessage("will/{name}") { _, _ in
        seen.count += 1
        #expect(server.publish(topic: Bytes("seen"), payload: Bytes("x"), retain: true))
        return .accept
      }
    }
    _ = try world.connect("a", will: WillFields(topic: "will/a"))
    _ = try world.connect("b", will: WillFields(topic: "will/b"))
    world.server.stop()
    #expect(seen.count == 2)
  }
}

/// What a handler has counted.
final class Counter {
  var count = 0
}
