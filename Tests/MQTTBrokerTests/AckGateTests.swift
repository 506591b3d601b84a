import Bounded
import MQTTBroker
import MQTTWire
import Testing

/// Acknowledgements that wait until the journal has what they promise: in order, each to the connection that it is for.
@Suite struct AckGateTests {
  private func publish(_ id: UInt16, qos: UInt8 = 1, dup: Bool = false) -> Packet {
    .publish(topic: "a", payload: "\(id)", qos: qos, packetID: id, dup: dup)
  }

  // MARK: Waiting

  @Test(arguments: [ProtocolVersion.v311, .v5]) func anAcknowledgementWaitsForTheJournal(version: ProtocolVersion) {
    let world = World(clients: ["sub"])
    world.connect("pub", version)
    world.subscribe("sub", "a")
    world.journaled(1)
    world.send("pub", publish(1))
    world.expect("sub", .publish(topic: "a", payload: "1"))  // the message does not wait
    world.expectNothing("pub")
    world.stored(1)
    world.expect("pub", .pubAck(1))
    world.send("pub", publish(2))  // the journal has all that there is
    world.expect("pub", .pubAck(2))
    world.finish()
  }

  @Test func eachWaitsForItsPosition() {
    let world = World(clients: ["pub"])
    world.connect("sub")
    world.subscribe("sub", "a")
    for id: UInt16 in 1...3 {
      world.journaled(UInt64(10 * id))
      world.send("pub", publish(id))
    }
    _ = world.takeAll("sub")
    for (position, id) in [(9, 0), (10, 1), (19, 0), (30, 2)] as [(UInt64, UInt16)] {
      world.stored(position)
      if id > 0 { world.expect("pub", .pubAck(id)) }
      if position < 30 { world.expectNothing("pub") }
    }
    world.expect("pub", .pubAck(3))
    world.finish()
  }

  @Test func qos2WaitsAtEveryStep() {  // §4.3.3, both ways
    let world = World(clients: ["pub", "sub"])
    world.subscribe("sub", "a", qos: 2)
    world.journaled(1)
    world.send("pub", publish(7, qos: 2), publish(7, qos: 2, dup: true))
    world.expectNothing("pub")
    world.expect("sub", .publish(topic: "a", payload: "7", qos: 2, packetID: 1))
    world.stored(1)
    world.expect("pub", .pubRec(7), .pubRec(7))
    world.journaled(2)
    world.send("pub", .pubRel(7))
    world.send("sub", .pubRec(1))
    world.expectNothing("pub", "sub")
    world.stored(2)
    world.expect("pub", .pubComp(7))
    world.expect("sub", .pubRel(1))
    world.send("sub", .pubComp(1))
    world.finish()
  }

  /// §4.6: also one that promises nothing, such as a refusal, goes behind those before it.
  @Test func laterAcknowledgementsQueueBehind() {
    let world = World(clients: ["pub", "other"])
    world.journaled(5)
    world.send("pub", publish(1), .publish(topic: "$SYS/x", qos: 1, packetID: 2), .pingReq)
    world.expect("pub", .pingResp)  // answers no message
    world.expectNothing("pub")
    world.send("other", .publish(topic: "$SYS/x", qos: 1, packetID: 3))
    world.expect("other", .pubAck(3, .notAuthorized))  // it has nothing that waits
    world.stored(5)
    world.expect("pub", .pubAck(1, .noMatchingSubscribers), .pubAck(2, .notAuthorized))
    world.finish()
  }

  // MARK: Ends

  @Test func anEndedConnectionsAcknowledgementsAreDropped() {
    let world = World(clients: ["sub"])
    world.connect("pub", sessionExpiry: 100)
    world.subscribe("sub", "a", qos: 1)
    let before = world.client("pub").id
    world.journaled(1)
    world.send("pub", publish(1))
    world.expect("sub", .publish(topic: "a", payload: "1", qos: 1, packetID: 1))
    world.lose("pub")
    world.connect("pub", cleanStart: false, sessionExpiry: 100)
    #expect(world.broker.connection(at: before.index) == world.client("pub").id)  // in the same place
    world.stored(1)
    world.expectNothing("pub")
    world.send("pub", publish(1, dup: true))  // as its client must (§4.4)
    world.expect("pub", .pubAck(1))
    world.send("sub", .pubAck(1))
    world.finish()
  }

  /// The place is lent as often as its generation counts: the handle is the same, the connection is not.
  @Test func anotherConnectionInThePlaceGetsNone() {
    let world = World()
    world.connect("gone")
    let gone = world.client("gone").id
    world.journaled(1)
    world.send("gone", publish(1))
    world.lose("gone")
    for _ in 0..<4094 {
      world.attach("between")
      world.lose("between")
    }
    world.connect("next")
    #expect(world.client("next").id == gone)
    world.send("next", publish(2))
    world.stored(1)
    world.expect("next", .pubAck(2, .noMatchingSubscribers))
    world.expectNothing("next")
    world.finish()
  }

  @Test func aTakeoverTakesNoAcknowledgements() {
    let world = World()
    world.connect("first", clientID: "c", sessionExpiry: 100)
    world.journaled(1)
    world.send("first", publish(1, qos: 2))
    world.connect("second", clientID: "c", cleanStart: false, sessionExpiry: 100)
    world.expectClosed("first", .disconnect(.sessionTakenOver))
    world.stored(1)
    world.expectNothing("second")
    world.send("second", publish(1, qos: 2, dup: true))
    world.expect("second", .pubRec(1))
    world.finish()
  }

  @Test func aClosingConnectionGetsNone() {
    let world = World(clients: ["c"])
    world.read("c", bytesPerFlush: 0)
    world.journaled(1)
    world.send("c", publish(1), .auth)
    #expect(world.isClosing("c"))
    world.stored(1)
    world.read("c", bytesPerFlush: nil)
    world.expectClosed("c", .disconnect(.protocolError))
    world.finish()
  }

  // MARK: Room

  /// A connection has as many as its outbox promises; what it sends beyond them waits, and nothing is lost.
  @Test(arguments: [ProtocolVersion.v311, .v5]) func aConnectionThatSendsOnIsNotRead(version: ProtocolVersion) {
    var limits = Limits.forTests
    limits.connectionsMax = 64  // and places for acknowledgements
    limits.sessionsMax = 64
    let world = World(clients: ["sub"], limits: limits)
    world.connect("pub", version)
    world.subscribe("sub", "a")
    world.journaled(1)
    var bytes: [UInt8] = []
    for id: UInt16 in 1...60 { bytes += publish(id).bytes(version) }
    world.send("pub", bytes: bytes)  // in one write
    let first = world.takeAll("sub").count
    #expect(first == 22)
    #expect(!world.wantsInput("pub"))
    #expect(world.holdsInput("pub"))
    world.expectNothing("pub")
    var next: UInt16 = 1
    while next <= 60 {
      world.journaled(UInt64(next) + 1)
      world.stored(UInt64(next) + 1)
      let answers = world.takeAll("pub")
      guard !answers.isEmpty else { break }
      for answer in answers {
        #expect(answer == .pubAck(next))
        next += 1
      }
    }
    #expect(next == 61)
    let payloads = world.takeAll("sub")
    #expect(payloads == (23...60).map { .publish(topic: "a", payload: "\($0)") })
    #expect(world.wantsInput("pub"))
    #expect(world.pool("partial_blocks").used == 0)
    #expect(world.broker.counters.controlPacketsDropped == 0)
    world.finish()
  }

  /// Without a place for one more acknowledgement nobody is read, until there is room.
  @Test func withoutPlacesNobodyIsRead() {
    let world = World(clients: ["a", "b"])
    world.journaled(1)
    for id: UInt16 in 1...20 { world.send("a", publish(id)) }
    #expect(!world.wantsInput("a"))
    #expect(!world.wantsInput("b"))
    world.send("b", publish(1), .pingReq)
    world.expectNothing("a", "b")
    world.stored(1)
    for id: UInt16 in 1...20 { world.expect("a", .pubAck(id, .noMatchingSubscribers)) }
    world.expect("b", .pubAck(1, .noMatchingSubscribers), .pingResp)
    world.expectNothing("a", "b")
    world.finish()
  }

  /// A packet that has arrived in part when its connection must wait is put together afterwards, wherever it was cut.
  @Test func aPacketInPartWaitsToo() {
    let cut = publish(3, qos: 2).bytes(.v5)
    for place in 1..<cut.count {
      let world = World(clients: ["a", "b", "sub"])
      world.subscribe("sub", "a")
      world.send("b", bytes: Array(cut[..<place]))
      world.journaled(1)
      for id: UInt16 in 1...16 { world.send("a", publish(id)) }
      _ = world.takeAll("sub")
      #expect(!world.wantsInput("b"))
      // As a loop that had read already: the broker is given bytes that it does not want.
      let rest = Array(cut[place...]) + publish(4, qos: 1).bytes(.v5)
      rest.withUnsafeBytes { all in
        for part in [Bytes(all).first(1), Bytes(all).from(1)] {
          var input = part
          _ = world.broker.receive(&input, on: world.client("b").id, at: world.now)
          #expect(input.isEmpty)
        }
      }
      world.expectNothing("b", "sub")
      world.stored(1)
      world.expect("b", .pubRec(3), .pubAck(4))
      world.expect("sub", .publish(topic: "a", payload: "3"), .publish(topic: "a", payload: "4"))
      #expect(world.pool("partial_blocks").used == 0)
      world.send("b", .pubRel(3))
      world.expect("b", .pubComp(3))
      world.finish()
    }
  }

  /// Data that fills an outbox leaves what is promised to the acknowledgements.
  @Test func aFullOutboxHasRoomForThem() {
    let world = World(clients: ["pub", "both"])
    world.subscribe("both", "flood")
    world.read("both", bytesPerFlush: 0)
    world.journaled(1)
    for id: UInt16 in 1...10 { world.send("both", publish(id)) }
    for _ in 0..<400 { world.send("pub", .publish(topic: "flood", payload: String(repeating: "x", count: 900))) }
    #expect(world.broker.counters.qos0Dropped > 0)
    world.stored(1)
    world.read("both", bytesPerFlush: nil)
    let answers = world.takeAll("both").filter { $0.topic == nil }
    #expect(answers == (1...10).map { .pubAck($0, .noMatchingSubscribers) })
    #expect(world.broker.counters.controlPacketsDropped == 0)
    world.finish()
  }

  /// Nor does a long answer take it: SUBACK looks for room behind them.
  @Test(arguments: [0, 10] as [UInt16]) func aLongAnswerLeavesTheirRoom(waiting: UInt16) {
    let world = World(clients: ["pub", "both"])
    world.subscribe("both", "flood")
    world.read("both", bytesPerFlush: 0)
    world.journaled(1)
    for id in 0..<waiting { world.send("both", publish(id + 1)) }
    for byteCount in [900, 1] {  // to the last chunk, and to its last bytes
      for _ in 0..<400 {
        world.send("pub", .publish(topic: "flood", payload: String(repeating: "x", count: byteCount)))
      }
    }
    world.send("both", .subscribe(50, (0..<90).map { Filter("f\($0)") }))  // alone it fits the reserved chunk
    #expect(world.client("both").outgoing.isEmpty == (waiting == 0))  // else it is not taken yet
    world.stored(1)
    world.read("both", bytesPerFlush: nil)
    let answers = world.takeAll("both").filter { $0.topic == nil }
    let granted = [ReasonCode](repeating: .success, count: 90)
    #expect(answers == (0..<waiting).map { .pubAck($0 + 1, .noMatchingSubscribers) } + [.subAck(50, granted)])
    world.expectNothing("both")
    #expect(world.broker.counters.controlPacketsDropped == 0)
    world.finish()
  }

  /// While its input waits for us, a client cannot keep itself alive.
  @Test func deadlinesDoNotCountMeanwhile() {
    let world = World(clients: ["a"])
    world.connect("b", keepAliveSeconds: 2)
    world.journaled(1)
    for id: UInt16 in 1...16 { world.send("a", publish(id)) }
    world.send("b", .pingReq)
    world.advance(seconds: 60)
    world.expectNothing("b")
    world.stored(1)
    world.expect("b", .pingResp)
    world.advance(seconds: 2.9)
    #expect(world.isOpen("b"))
    world.advance(seconds: 1)
    world.expectClosed("b", .disconnect(.keepAliveTimeout))
    world.finish()
  }
}
