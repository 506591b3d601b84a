import MQTTBroker
import MQTTWire
import Testing

/// Topic Aliases of a client's PUBLISH (§3.3.2.3.4).
@Suite struct PublishAliasTests {
  @Test func aliasStandsForItsTopic() {
    let world = World(clients: ["pub", "sub"])
    world.subscribe("sub", "#")
    world.send(
      "pub", .publish(topic: "a", payload: "1", properties: [.alias(1)]),
      .publish(topic: "b", payload: "2", properties: [.alias(8)]),
      .publish(topic: "", payload: "3", properties: [.user("k", "v"), .alias(1)]),
      .publish(topic: "c", payload: "4", properties: [.alias(1)]),
      .publish(topic: "", payload: "5", properties: [.alias(1)]),
      .publish(topic: "", payload: "6", properties: [.alias(8)]))
    world.expect(
      "sub", .publish(topic: "a", payload: "1"), .publish(topic: "b", payload: "2"),
      .publish(topic: "a", payload: "3", properties: [.user("k", "v")]), .publish(topic: "c", payload: "4"),
      .publish(topic: "c", payload: "5"), .publish(topic: "b", payload: "6"))
    world.finish()
  }

  @Test func aliasIsTheConnectionsOwn() {  // §3.3.2-12; the next one in its place knows nothing of it
    let world = World(clients: ["a"])
    world.send("a", .publish(topic: "t", properties: [.alias(1)]))
    world.lose("a")
    world.connect("b")
    world.send("b", .publish(topic: "", properties: [.alias(1)]))
    world.expectClosed("b", .disconnect(.protocolError))
    world.finish()
  }

  @Test func aliasIsLearntFromARepeatToo() {
    let world = World(clients: ["a"])
    world.send(
      "a", .publish(topic: "t", qos: 2, packetID: 1),
      .publish(topic: "t", qos: 2, packetID: 1, dup: true, properties: [.alias(1)]),
      .publish(topic: "", qos: 1, packetID: 2, properties: [.alias(1)]))
    world.expect("a", .pubRec(1, .noMatchingSubscribers), .pubRec(1), .pubAck(2, .noMatchingSubscribers))
    world.finish()
  }

  @Test func aliasMayStandForEveryTopic() {  // as long as one may be; a longer one is refused each time
    let world = World(clients: ["pub", "sub"])
    world.subscribe("sub", "#")
    for (alias, length) in [(UInt32(1), 129), (2, 512), (8, 511)] {
      let topic = String(repeating: "n", count: length)
      for name in [topic, "", ""] {
        world.send("pub", .publish(topic: name, qos: 1, packetID: 1, properties: [.alias(alias)]))
        world.expect("pub", .pubAck(1))
        world.expect("sub", .publish(topic: topic))
      }
    }
    for name in [String(repeating: "n", count: 513), "", String(repeating: "n", count: 60_000), ""] {
      world.send("pub", .publish(topic: name, qos: 1, packetID: 1, properties: [.alias(2)]))
      world.expect("pub", .pubAck(1, .topicNameInvalid))
      world.send("pub", .publish(topic: name, properties: [.alias(2)]))
    }
    world.expectNothing("pub", "sub")
    world.send("pub", .publish(topic: "short", properties: [.alias(2)]), .publish(topic: "", properties: [.alias(2)]))
    world.expect("sub", .publish(topic: "short"), .publish(topic: "short"))
    world.finish()
  }

  @Test func aliasOutOfRangeEndsIt() {  // 0, over the maximum: 0x94; never set: 0x82
    let cases: [(UInt32, ReasonCode)] = [(0, .topicAliasInvalid), (9, .topicAliasInvalid), (5, .protocolError)]
    for (alias, reason) in cases {
      let world = World(clients: ["a"])
      world.send("a", .publish(topic: alias == 5 ? "" : "t", properties: [.alias(alias)]))
      world.expectClosed("a", .disconnect(reason))
      world.finish()
    }
  }
}
