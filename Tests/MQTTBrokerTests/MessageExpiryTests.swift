import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

/// Message Expiry Interval of what is delivered (§3.3.2.3.3).
@Suite struct MessageExpiryTests {
  @Test func remainingTimeIsForwarded() {  // §3.3.2-6
    let world = World.withSubscriber()
    world.lose("sub")
    world.send("pub", .publish(topic: "t", payload: "60", qos: 1, packetID: 1, properties: [.expiry(60)]))
    world.send("pub", .publish(topic: "t", payload: "20", qos: 1, packetID: 2, properties: [.expiry(20)]))
    world.send("pub", .publish(topic: "t", payload: "never", qos: 1, packetID: 3))
    world.advance(seconds: 20.001)
    #expect(world.resumeSubscriber())
    world.expect(
      "sub", .publish(topic: "t", payload: "60", qos: 1, packetID: 1, properties: [.expiry(40)]),
      .publish(topic: "t", payload: "never", qos: 1, packetID: 2))
    world.expectNothing("sub")
    #expect(world.broker.counters.expired == 1)
    world.finish()
  }

  @Test func aFreshMessageHasItsWholeTime() {
    let world = World.withSubscriber()
    world.send("pub", .publish(topic: "t", payload: "a", properties: [.user("k", "v"), .expiry(60)]))
    world.expect("sub", .publish(topic: "t", payload: "a", properties: [.expiry(60), .user("k", "v")]))
    world.finish()
  }
}
