import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

/// No packet is larger than its client takes; a message that would be is dropped (§3.1.2.11.4).
@Suite struct MaximumPacketSizeTests {
  @Test(arguments: [UInt8(0), 1]) func maximumPacketSizeIsExact(qos: UInt8) {  // §3.1.2-24, §3.1.2-25
    let size = 60
    let world = World(clients: ["pub"])
    world.connect("sub", maximumPacketSize: UInt32(size))
    world.subscribe("sub", "t", qos: qos)
    // Fixed header 2, topic 3, packet id 2 with QoS 1, Property Length 1.
    let fits = String(repeating: "x", count: size - (qos == 0 ? 6 : 8))
    world.send("pub", .publish(topic: "t", payload: fits, qos: 1, packetID: 1))
    world.send("pub", .publish(topic: "t", payload: fits + "x", qos: 1, packetID: 2))
    world.send("pub", .publish(topic: "t", payload: fits, qos: 1, packetID: 3))
    world.expect("pub", .pubAck(1), .pubAck(2), .pubAck(3))
    let sent = world.takeAll("sub")
    #expect(sent.map(\.payload) == [fits, fits])
    #expect(sent.allSatisfy { $0.bytes(.v5).count == size })
    #expect(world.broker.counters.oversizeDropped == 1)
    world.expectNothing("sub")
    if qos == 1 {
      #expect(world.pool("deliveries").used == 2)
      world.send("sub", .pubAck(1), .pubAck(sent[1].packetID!))
    }
    #expect(world.pool("deliveries").used == 0)
    world.finish()
  }

  @Test func smallerMaximumPacketSizeOnResume() {
    let world = World.withSubscriber()
    world.publish(1...1)
    world.send("pub", .publish(topic: "t", payload: String(repeating: "x", count: 100), qos: 1, packetID: 2))
    world.publish(3...3)
    _ = world.takeAll("sub")
    world.lose("sub")
    world.connect("sub", cleanStart: false, sessionExpiry: 100, maximumPacketSize: 60)
    world.expect(
      "sub", .publish(topic: "t", payload: "1", qos: 1, packetID: 1, dup: true),
      .publish(topic: "t", payload: "3", qos: 1, packetID: 3, dup: true))
    world.expectNothing("sub")
    world.finish()
  }

  @Test func answersKeepToItToo() {  // §3.1.2-24: every packet
    let world = World(clients: ["pub"])
    world.attach("tiny")
    world.send("tiny", .connect(ConnectFields(clientID: "tiny", properties: [.number(.maximumPacketSize, 8)])))
    world.expectClosed("tiny", .connAck(.packetTooLarge))
    // CONNACK of this client takes 2 + 3 + 3 + 5 + 3 + 3 bytes.
    world.connect("a", maximumPacketSize: 19)
    world.send("a", .subscribe(1, (0..<20).map { Filter("f\($0)") }))
    world.expectClosed("a", .disconnect(.packetTooLarge))
    world.finish()
  }
}
