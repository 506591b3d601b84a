import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

/// What is sent again when a session is resumed: with DUP, the same identifiers and in the same order (§4.4, §4.6).
@Suite struct RedeliveryTests {
  @Test(arguments: [ProtocolVersion.v311, .v5]) func unacknowledgedMessagesAreRepeated(version: ProtocolVersion) {
    let world = World.withSubscriber(version: version)  // §4.4-1: DUP, same ids, same order
    world.publish(1...3)
    world.publish(4...5, qos: 2)
    _ = world.takeAll("sub")
    world.send("sub", .pubAck(2), .pubRec(5))
    world.expect("sub", .pubRel(5))
    world.lose("sub")
    world.publish(6...6)
    #expect(world.resumeSubscriber(version: version))
    world.expect(
      "sub", .publish(topic: "t", payload: "1", qos: 1, packetID: 1, dup: true),
      .publish(topic: "t", payload: "3", qos: 1, packetID: 3, dup: true),
      .publish(topic: "t", payload: "4", qos: 2, packetID: 4, dup: true), .pubRel(5),
      .publish(topic: "t", payload: "6", qos: 1, packetID: 6))
    world.expectNothing("sub")
    world.finish()
  }

  @Test func smallerReceiveMaximumOnResume() {  // the repeats wait for their turn, and all newer ones behind them
    let world = World.withSubscriber()
    world.publish(1...6)
    world.expect(1...6, firstID: 1)
    world.lose("sub")
    world.publish(7...7)
    #expect(world.resumeSubscriber(receiveMaximum: 2))
    world.expect(1...2, firstID: 1, dup: true)
    world.send("sub", .pubAck(2))
    world.expect(3...3, firstID: 3, dup: true)
    world.send("sub", .pubAck(1), .pubAck(3))
    world.expect(4...5, firstID: 4, dup: true)
    world.send("sub", .pubAck(4))
    world.expect(6...6, firstID: 6, dup: true)
    world.send("sub", .pubAck(5), .pubAck(6))
    world.expect(7...7, firstID: 7)
    world.finish()
  }

  @Test func acknowledgedBeforeItWasRepeated() {  // by a client that remembers it
    let world = World.withSubscriber()
    world.publish(1...4, qos: 2)
    world.expect(1...4, qos: 2, firstID: 1)
    world.lose("sub")
    #expect(world.resumeSubscriber(receiveMaximum: 1))
    world.expect(1...1, qos: 2, firstID: 1, dup: true)
    world.send("sub", .pubRec(2), .pubRec(3, .unspecifiedError), .pubComp(2))
    world.expect("sub", .pubRel(2), .pubRel(2))  // the answer, and its turn among the repeats
    world.send("sub", .pubRec(1))
    world.expect("sub", .pubRel(1))
    world.expectNothing("sub")  // 1 was sent here, so it takes its place until PUBCOMP (§4.9)
    world.send("sub", .pubComp(1))
    world.expect(4...4, qos: 2, firstID: 4, dup: true)
    world.finish()
  }

  @Test func releasesTakeNoPlaceInTheWindow() {  // §4.9: only a PUBLISH of this connection does
    let world = World.withSubscriber()
    world.publish(1...3, qos: 2)
    world.expect(1...3, qos: 2, firstID: 1)
    world.send("sub", .pubRec(1), .pubRec(2))
    world.expect("sub", .pubRel(1), .pubRel(2))
    world.lose("sub")
    #expect(world.resumeSubscriber(receiveMaximum: 1))
    world.expect(
      "sub", .pubRel(1), .pubRel(2), .publish(topic: "t", payload: "3", qos: 2, packetID: 3, dup: true))
    world.expectNothing("sub")
    world.finish()
  }

  @Test func lostAgainWhileRepeating() {
    let world = World.withSubscriber()
    world.publish(1...5)
    world.expect(1...5, firstID: 1)
    for _ in 0..<3 {
      world.lose("sub")
      #expect(world.resumeSubscriber(receiveMaximum: 2))
      world.expect(1...2, firstID: 1, dup: true)
    }
    world.lose("sub")
    #expect(world.resumeSubscriber())
    world.expect(1...5, firstID: 1, dup: true)
    world.finish()
  }

  @Test func repeatedThroughASlowTransport() {
    let world = World.withSubscriber()
    let payload = String(repeating: "x", count: 9000)
    for id in 1...16 {
      world.send("pub", .publish(topic: "t", payload: payload + "\(id)", qos: 2, packetID: UInt16(id)))
    }
    #expect(world.takeAll("sub").count == 16)
    world.lose("sub")
    world.connect("sub", cleanStart: false, sessionExpiry: 1000)
    world.lose("sub")
    world.attach("sub")
    world.client("sub").bytesPerFlush = 777
    world.send(
      "sub", .connect(ConnectFields(clientID: "sub", cleanStart: false, properties: [.sessionExpiry(1000)])))
    _ = world.takeFirst("sub")
    for id in 1...16 {
      world.expect("sub", .publish(topic: "t", payload: payload + "\(id)", qos: 2, packetID: UInt16(id), dup: true))
    }
    world.expectNothing("sub")
    world.finish()
  }
}
