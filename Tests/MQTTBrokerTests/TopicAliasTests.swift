import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

/// Topic aliases towards a client (§3.3.2.3.4).
@Suite struct TopicAliasTests {
  @Test func clientsAliasesAreUsed() {  // the first topics get them
    let world = World(clients: ["pub"])
    world.connect("sub", properties: [.number(.topicAliasMaximum, 2)])
    world.send("sub", .subscribe(1, [Filter("topic/#"), Filter("topic/two", qos: 1)]))
    _ = world.takeAll("sub")
    for name in ["one", "two", "three", "one", "two", "three"] { world.send("pub", .publish(topic: "topic/" + name)) }
    world.expect(
      "sub", .publish(topic: "topic/one", properties: [.alias(1)]),
      .publish(topic: "topic/two", properties: [.alias(2)]), .publish(topic: "topic/three"),
      .publish(topic: "", properties: [.alias(1)]), .publish(topic: "", properties: [.alias(2)]),
      .publish(topic: "topic/three"))
    let large = String(repeating: "x", count: 5000)
    for payload in ["x", large] {
      world.send("pub", .publish(topic: "topic/two", payload: payload, qos: 1, packetID: 1, properties: [.expiry(9)]))
      guard case .publish("", payload, 1, _, false, false, let properties)? = world.takeFirst("sub") else {
        Issue.record("no alias for QoS 1")
        continue
      }
      #expect(properties == [.expiry(9), .alias(2)] || properties == [.alias(2), .expiry(9)])
    }
    world.finish()
  }

  @Test func aliasesEndWithTheConnection() {  // §3.3.2-7
    let world = World(clients: ["pub"])
    for round in 0..<3 {
      world.connect("sub", sessionExpiry: 100, properties: [.number(.topicAliasMaximum, 99)])
      world.subscribe("sub", "topic/#", qos: 1)
      world.send("pub", .publish(topic: "topic/\(round)"), .publish(topic: "topic/\(round)"))
      world.expect(
        "sub", .publish(topic: "topic/\(round)", properties: [.alias(1)]),
        .publish(topic: "", properties: [.alias(1)]))
      world.lose("sub")
    }
    world.finish()
  }

  @Test func aliasIsNotKnownBeforeItsMessageWasSent() {  // a message that found no room teaches nothing
    let world = World(clients: ["pub"])
    world.connect("sub", maximumPacketSize: 40, properties: [.number(.topicAliasMaximum, 4)])
    world.subscribe("sub", "#")
    let topic = "a/long/topic/name"
    world.send("pub", .publish(topic: topic, payload: String(repeating: "x", count: 30)))
    world.send("pub", .publish(topic: topic, payload: String(repeating: "x", count: 17)))  // 39 bytes, 42 with an alias
    world.send(
      "pub", .publish(topic: topic, payload: "x"), .publish(topic: topic, payload: String(repeating: "x", count: 30)))
    world.expect(
      "sub", .publish(topic: topic, payload: String(repeating: "x", count: 17)),
      .publish(topic: topic, payload: "x", properties: [.alias(1)]),
      .publish(topic: "", payload: String(repeating: "x", count: 30), properties: [.alias(1)]))
    #expect(world.broker.counters.oversizeDropped == 1)
    world.finish()
  }
}
