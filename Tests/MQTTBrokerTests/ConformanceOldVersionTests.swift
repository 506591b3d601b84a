import Bounded
import MQTTBroker
import MQTTWire
import Testing

/// Numbered statements of MQTT 3.1.1 that the other suites show with MQTT 5 only; each test is named in
/// docs/conformance.md.
@Suite struct ConformanceOldVersionTests {
  @Test func exchanges() {  // 2.3.1-6, 3.3.1-3, 3.3.4-1, 4.3.1-1, 4.3.2-2, 4.3.3-2
    let world = World(old: ["pub", "sub"])
    world.subscribe("sub", "t", qos: 2)
    world.send("pub", .publish(topic: "t", payload: "0"))
    world.expectNothing("pub")
    for dup in [false, true] {  // after PUBACK a new message, whatever DUP says
      world.send("pub", .publish(topic: "t", payload: "1", qos: 1, packetID: 7, dup: dup))
      world.expect("pub", .pubAck(7))
    }
    for dup in [false, true] {
      world.send("pub", .publish(topic: "t", payload: "2", qos: 2, packetID: 8, dup: dup))
      world.expect("pub", .pubRec(8))
    }
    world.send("pub", .pubRel(8))
    world.expect("pub", .pubComp(8))
    world.send("pub", .publish(topic: "t", payload: "3", qos: 2, packetID: 8), .pubRel(8))
    world.expect("pub", .pubRec(8), .pubComp(8))
    world.expect(
      "sub", .publish(topic: "t", payload: "0"), .publish(topic: "t", payload: "1", qos: 1, packetID: 1),
      .publish(topic: "t", payload: "1", qos: 1, packetID: 2), .publish(topic: "t", payload: "2", qos: 2, packetID: 3),
      .publish(topic: "t", payload: "3", qos: 2, packetID: 4))
    world.expectNothing("pub", "sub")
    world.finish()
  }

  @Test func retained() {  // 3.3.1-5 to 3.3.1-12, 3.1.2-7
    let world = World(old: ["pub", "now"])
    world.subscribe("now", "t/+", qos: 2)
    world.send("pub", .publish(topic: "t/1", payload: "old", qos: 1, packetID: 1, retain: true))
    world.send("pub", .publish(topic: "t/1", payload: "1", retain: true))  // QoS 0 replaces it too
    world.send("pub", .publish(topic: "t/2", payload: "2", qos: 2, packetID: 2, retain: true), .pubRel(2))
    world.send("pub", .publish(topic: "t/3", payload: "3", retain: true), .publish(topic: "t/3", retain: true))
    world.send("pub", .publish(topic: "t/1", payload: "plain"), .publish(topic: "t/1"), .disconnect())
    world.expect(
      "now", .publish(topic: "t/1", payload: "old", qos: 1, packetID: 1), .publish(topic: "t/1", payload: "1"),
      .publish(topic: "t/2", payload: "2", qos: 2, packetID: 2), .publish(topic: "t/3", payload: "3"),
      .publish(topic: "t/3"), .publish(topic: "t/1", payload: "plain"), .publish(topic: "t/1"))
    #expect(world.pool("retained").used == 2)
    world.connect("later", .v311)
    world.subscribe("later", "t/#", qos: 2)
    world.expect(
      "later", .publish(topic: "t/1", payload: "1", retain: true),
      .publish(topic: "t/2", payload: "2", qos: 2, packetID: 1, retain: true))
    world.expectNothing("now", "later")
    world.finish()
  }

  @Test func brokenPacketsCloseWithoutAWord() {  // 4.8.0-1
    let rows: [(String, [UInt8])] = [
      ("QoS 3 (3.3.1-4)", [0x36, 5, 0, 1, 0x61, 0, 1]), ("DUP with QoS 0 (3.3.1-2)", [0x38, 3, 0, 1, 0x61]),
      ("wildcard # (3.3.2-2)", [0x30, 3, 0, 1, 0x23]), ("wildcard + (4.7.1-1)", [0x30, 5, 0, 3, 0x61, 0x2F, 0x2B]),
      ("no topic (4.7.3-1)", [0x30, 2, 0, 0]), ("U+0000 in a topic (1.5.3-2)", [0x30, 3, 0, 1, 0]),
      ("a surrogate in a topic (1.5.3-1)", [0x30, 5, 0, 3, 0xED, 0xA0, 0x80]),
      ("packet id 0 (2.3.1-1)", [0x32, 5, 0, 1, 0x61, 0, 0]),
      ("SUBSCRIBE, packet id 0 (2.3.1-1)", [0x82, 6, 0, 0, 0, 1, 0x61, 0]),
      ("SUBSCRIBE to nothing (3.8.3-3)", [0x82, 2, 0, 1]),
      ("SUBSCRIBE, QoS 3 (3.8.3-4)", [0x82, 6, 0, 1, 0, 1, 0x61, 3]),
      ("SUBSCRIBE, reserved bits (3.8.3-4)", [0x82, 6, 0, 1, 0, 1, 0x61, 4]),
      ("SUBSCRIBE, not UTF-8 (3.8.3-1)", [0x82, 6, 0, 1, 0, 1, 0xFF, 0]),
      ("UNSUBSCRIBE, packet id 0 (2.3.1-1)", [0xA2, 5, 0, 0, 0, 1, 0x61]),
      ("UNSUBSCRIBE from nothing (3.10.3-2)", [0xA2, 2, 0, 1]),
      ("UNSUBSCRIBE, not UTF-8 (3.10.3-1)", [0xA2, 5, 0, 1, 0, 1, 0xFF]),
    ]
    let world = World(old: ["watch"])
    world.subscribe("watch", "#")
    for (name, bytes) in rows {
      world.connect("a", .v311, will: WillFields(topic: "w"))
      world.send("a", bytes: bytes + [0xC0, 0])
      #expect(world.takeAll("a") == [], "\(name)")
      #expect(!world.isOpen("a"), "\(name)")
      world.expect("watch", .publish(topic: "w", payload: "gone"))  // 3.1.2-8: there was no DISCONNECT
    }
    world.expectNothing("watch")
    #expect(world.pool("subscriptions").used == 1)
    world.finish()
  }

  @Test func noWillNoMessage() {  // 3.1.2-12
    let world = World(old: ["watch", "a"])
    world.subscribe("watch", "#")
    world.lose("a")
    world.connect("a", .v311)
    world.send("a", bytes: [0xF0, 0])
    world.expectNothing("watch")
    world.finish()
  }

  @Test func orderOfOneClient() {  // 4.6.0-5, 4.6.0-6
    for qos in UInt8(0)...2 {
      let world = World(old: ["pub", "sub"])
      world.subscribe("sub", "+", qos: qos)
      var got: [String] = []
      for number in 1...40 {
        world.send("pub", .publish(topic: "t", payload: "\(number)", qos: qos, packetID: 1), .pubRel(1))
        guard number % 9 == 0 || number == 40 else { continue }
        while let packet = world.takeFirst("sub") {
          if let payload = packet.payload { got.append(payload) }
          guard let id = packet.packetID else { continue }
          if case .publish = packet { world.send("sub", qos == 1 ? .pubAck(id) : .pubRec(id)) }
          if case .pubRel = packet { world.send("sub", .pubComp(id)) }
        }
      }
      #expect(got == (1...40).map { "\($0)" })
      world.finish()
    }
  }

  @Test func unsubscribe() {  // 3.10.4-1 to 3.10.4-5
    let world = World(old: ["a", "pub"])
    world.subscribe("a", "a/+", qos: 2)
    world.send("pub", .publish(topic: "a/1", qos: 2, packetID: 1))
    world.send("a", .unsubscribe(5, ["a/1", "A/+", "a/#"]))
    world.send("pub", .publish(topic: "a/2"))
    world.send("a", .unsubscribe(6, ["a/+"]))
    world.send("pub", .publish(topic: "a/3"), .publish(topic: "a/3", qos: 1, packetID: 2))
    world.send("a", .pubRec(1), .pubComp(1))
    world.expect(
      "a", .publish(topic: "a/1", qos: 2, packetID: 1), .unsubAck(5, []), .publish(topic: "a/2"), .unsubAck(6, []),
      .pubRel(1))
    world.expectNothing("a")
    #expect(world.pool("deliveries").used == 0)
    world.finish()
  }
}
