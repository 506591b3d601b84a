import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

/// QoS 1 and 2 to a client: acknowledgements, the send quota and packet identifiers (§2.2.1, §4.3, §4.9).
@Suite struct InFlightTests {
  @Test(arguments: [ProtocolVersion.v311, .v5]) func qos2GoesItsWholeWay(version: ProtocolVersion) {  // §4.3.3
    let world = World.withSubscriber(version: version)
    world.publish(1...1, qos: 2)
    world.expect(1...1, qos: 2, firstID: 1)
    world.send("sub", .pubRec(1))
    world.expect("sub", .pubRel(1))
    #expect(world.pool("messages").used == 0)  // only its packet id is still kept
    world.send("sub", .pubRec(1))  // again: it is released again
    world.expect("sub", .pubRel(1))
    world.send("sub", .pubComp(1))
    #expect(world.pool("deliveries").used == 0)
    world.send("sub", .pubComp(1))
    world.expectNothing("sub")
    world.finish()
  }

  @Test func pubRecOfAnUnknownMessage() {  // §3.6.2.1: 0x92
    let world = World.withSubscriber()
    world.send("sub", .pubRec(77))
    world.expect("sub", .pubRel(77, .packetIdentifierNotFound))
    world.publish(1...1, qos: 1)
    world.expect(1...1, firstID: 1)
    world.send("sub", .pubRec(1))  // QoS 1 is not received by PUBREC
    world.expect("sub", .pubRel(1, .packetIdentifierNotFound))
    world.send("sub", .pubComp(1), .pubAck(9))
    #expect(world.pool("deliveries").used == 1)
    world.send("sub", .pubAck(1))
    #expect(world.pool("deliveries").used == 0)
    world.finish()
  }

  @Test func errorsFreeThePacketID() {  // §4.3.3: PUBREC with 0x80 or more ends it
    let world = World.withSubscriber(receiveMaximum: 1)
    world.publish(1...3, qos: 2)
    world.expect(1...1, qos: 2, firstID: 1)
    world.send("sub", .pubRec(1, .quotaExceeded))
    world.expect(2...2, qos: 2, firstID: 2)
    world.send("sub", .pubRec(2, .unspecifiedError))
    world.expect(3...3, qos: 2, firstID: 3)
    world.finish()
  }

  @Test func pubAckWithAnErrorIsAnAnswer() {  // §4.3.2
    let world = World.withSubscriber(receiveMaximum: 1)
    world.publish(1...2)
    world.expect(1...1, firstID: 1)
    world.send("sub", .pubAck(1, .quotaExceeded))
    world.expect(2...2, firstID: 2)
    world.finish()
  }

  @Test func clientsReceiveMaximumIsKept() {  // §3.3.4-9, §4.9
    let world = World.withSubscriber(receiveMaximum: 3)
    world.publish(1...8)
    world.expect(1...3, firstID: 1)
    world.send("sub", .pubAck(2))
    world.expect(4...4, firstID: 4)
    world.send("sub", .pubAck(1), .pubAck(3), .pubAck(4))
    world.expect(5...7, firstID: 5)
    world.send("pub", .publish(topic: "t", payload: "free"))  // QoS 0 needs no place
    world.expect("sub", .publish(topic: "t", payload: "free"))
    world.finish()
  }

  @Test func pubRecDoesNotOpenTheWindow() {  // §4.9: PUBCOMP does
    let world = World.withSubscriber(receiveMaximum: 1)
    world.publish(1...2, qos: 2)
    world.expect(1...1, qos: 2, firstID: 1)
    world.send("sub", .pubRec(1))
    world.expect("sub", .pubRel(1))
    world.expectNothing("sub")
    world.send("sub", .pubComp(1))
    world.expect(2...2, qos: 2, firstID: 2)
    world.finish()
  }

  @Test func ourWindowBoundsAClientThatTakesAll() {
    let world = World.withSubscriber(version: .v311)
    world.publish(1...20)
    world.expect(1...16, firstID: 1)
    world.finish()
  }

  @Test func packetIDsInUseAreSkipped() {  // §2.2.1-4
    var limits = Limits.forTests
    limits.inflightMax = 200
    let world = World.withSubscriber(limits: limits)
    world.publish(1...2)
    world.expect(1...2, firstID: 1)
    world.send("sub", .pubAck(2))  // 1 stays
    for first in stride(from: 3, through: 65_535, by: 199) {
      let ids = first...min(first + 198, 65_535)
      world.send("pub", bytes: ids.flatMap { _ in Packet.publish(topic: "t", qos: 1, packetID: 1).bytes(.v5) })
      world.send("sub", bytes: ids.flatMap { Packet.pubAck(UInt16($0)).bytes(.v5) })
    }
    _ = world.takeAll("sub")
    world.publish(5...5)
    world.expect(5...5, firstID: 2)
    world.finish()
  }

  @Test func afterTheLastPacketIDComesTheFirst() {  // §2.2.1-3: never 0, with nothing in flight either
    let world = World.withSubscriber()
    world.broker.sessions.visit { $0.pointee.outgoing = Outgoing(lastPacketID: 65_533) }
    world.publish(1...4)
    let ids: [UInt16] = [65_534, 65_535, 1, 2]
    for (index, id) in ids.enumerated() {
      world.expect("sub", .publish(topic: "t", payload: "\(index + 1)", qos: 1, packetID: id))
    }
    world.finish()
  }
}
