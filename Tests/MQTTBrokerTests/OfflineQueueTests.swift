import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

/// Messages that wait for a client: in what order, how many, and which are dropped when its queue is full (§4.1).
@Suite struct OfflineQueueTests {
  @Test(arguments: [ProtocolVersion.v311, .v5]) func messagesWaitForTheAbsent(version: ProtocolVersion) {  // §4.1
    let world = World.withSubscriber(version: version)
    world.lose("sub")
    world.publish(1...2)
    world.publish(3...3, qos: 2)
    world.send("pub", .publish(topic: "t", payload: "gone"))  // QoS 0 does not wait
    #expect(world.resumeSubscriber(version: version))
    world.expect(
      "sub", .publish(topic: "t", payload: "1", qos: 1, packetID: 1),
      .publish(topic: "t", payload: "2", qos: 1, packetID: 2), .publish(topic: "t", payload: "3", qos: 2, packetID: 3))
    world.expectNothing("sub")
    world.finish()
  }

  @Test func queueDropsItsOldest() {  // limits: queue_full: drop-oldest
    var limits = Limits.forTests
    limits.queuedMax = 3
    let world = World.withSubscriber(limits: limits)
    world.lose("sub")
    world.publish(1...8)
    #expect(world.broker.counters.queuedDropped == 5)
    #expect(world.resumeSubscriber())
    world.expect(6...8, firstID: 1)
    world.finish()
  }

  @Test func queueDropsItsNewest() {  // limits: queue_full: drop-newest
    var limits = Limits.forTests
    limits.queuedMax = 3
    limits.queueFull = .dropNewest
    let world = World.withSubscriber(limits: limits)
    world.lose("sub")
    world.publish(1...8)
    #expect(world.broker.counters.queuedDropped == 5)
    #expect(world.resumeSubscriber())
    world.expect(1...3, firstID: 1)
    world.finish()
  }

  @Test func fullQueueRefuses() {  // limits: queue_full: refuse; the publisher is told
    var limits = Limits.forTests
    limits.queuedMax = 1
    limits.queueFull = .refuse
    let world = World.withSubscriber(limits: limits)
    world.connect("pub5", .v5)
    world.connect("pub311", .v311)
    world.lose("sub")
    world.send("pub5", .publish(topic: "t", payload: "1", qos: 1, packetID: 1))
    world.expect("pub5", .pubAck(1))
    world.send("pub5", .publish(topic: "t", payload: "2", qos: 1, packetID: 2))
    world.expect("pub5", .pubAck(2, .quotaExceeded))
    world.send("pub311", .publish(topic: "t", payload: "3", qos: 1, packetID: 1))
    world.expectClosed("pub311")
    #expect(world.broker.counters.queueRefusals == 2)
    #expect(world.broker.counters.queuedDropped == 0)
    #expect(world.resumeSubscriber())
    world.expect(1...1, firstID: 1)
    world.finish()
  }

  @Test func whatIsInFlightIsNotDropped() {
    var limits = Limits.forTests
    limits.queuedMax = 2
    let world = World.withSubscriber(receiveMaximum: 2, limits: limits)
    world.publish(1...8)
    world.expect(1...2, firstID: 1)
    #expect(world.broker.counters.queuedDropped == 4)
    world.send("sub", .pubAck(1), .pubAck(2))
    world.expect(7...8, firstID: 3)
    world.finish()
  }
}
