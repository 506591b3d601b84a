import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

/// PUBLISH to a client: in flight, waiting, repeated, expired, too large (§4.3, §4.4, §4.6, §4.9).
@Suite struct DeliveryTests {
  /// `pub` and `sub`, which has subscribed to `t` and keeps its session.
  private func makeWorld(
    receiveMaximum: UInt32? = nil, version: ProtocolVersion = .v5, limits: Limits = .forTests
  ) -> World {
    let world = World(clients: ["pub"], limits: limits)
    connect(world, receiveMaximum, version)
    world.subscribe("sub", "t", qos: 2)
    return world
  }

  @discardableResult private func connect(
    _ world: World, _ receiveMaximum: UInt32? = nil, _ version: ProtocolVersion = .v5
  ) -> Bool {
    world.connect(
      "sub", version, cleanStart: false, sessionExpiry: version == .v5 ? 1000 : nil, receiveMaximum: receiveMaximum
    ).sessionPresent
  }

  private func publish(_ world: World, _ payloads: ClosedRange<Int>, qos: UInt8 = 1) {
    for payload in payloads {
      world.send("pub", .publish(topic: "t", payload: "\(payload)", qos: qos, packetID: UInt16(payload)))
      if qos == 2 { world.send("pub", .pubRel(UInt16(payload))) }
    }
    #expect(
      world.takeAll("pub").allSatisfy { packet in
        if case .pubAck(_, .success, nil) = packet { return true }
        if case .pubRec(_, .success, nil) = packet { return true }
        if case .pubComp(_, .success) = packet { return true }
        return false
      })
  }

  private func expect(
    _ world: World, _ payloads: ClosedRange<Int>, qos: UInt8 = 1, firstID: UInt16, dup: Bool = false,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    var id = firstID
    for payload in payloads {
      world.expect(
        "sub", .publish(topic: "t", payload: "\(payload)", qos: qos, packetID: id, dup: dup),
        sourceLocation: sourceLocation)
      id += 1
    }
    world.expectNothing("sub", sourceLocation: sourceLocation)
  }

  // MARK: In flight

  @Test(arguments: [ProtocolVersion.v311, .v5]) func qos2GoesItsWholeWay(version: ProtocolVersion) {  // §4.3.3
    let world = makeWorld(version: version)
    publish(world, 1...1, qos: 2)
    expect(world, 1...1, qos: 2, firstID: 1)
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
    let world = makeWorld()
    world.send("sub", .pubRec(77))
    world.expect("sub", .pubRel(77, .packetIdentifierNotFound))
    publish(world, 1...1, qos: 1)
    expect(world, 1...1, firstID: 1)
    world.send("sub", .pubRec(1))  // QoS 1 is not received by PUBREC
    world.expect("sub", .pubRel(1, .packetIdentifierNotFound))
    world.send("sub", .pubComp(1), .pubAck(9))
    #expect(world.pool("deliveries").used == 1)
    world.send("sub", .pubAck(1))
    #expect(world.pool("deliveries").used == 0)
    world.finish()
  }

  @Test func errorsFreeThePacketID() {  // §4.3.3: PUBREC with 0x80 or more ends it
    let world = makeWorld(receiveMaximum: 1)
    publish(world, 1...3, qos: 2)
    expect(world, 1...1, qos: 2, firstID: 1)
    world.send("sub", .pubRec(1, .quotaExceeded))
    expect(world, 2...2, qos: 2, firstID: 2)
    world.send("sub", .pubRec(2, .unspecifiedError))
    expect(world, 3...3, qos: 2, firstID: 3)
    world.finish()
  }

  @Test func pubAckWithAnErrorIsAnAnswer() {  // §4.3.2
    let world = makeWorld(receiveMaximum: 1)
    publish(world, 1...2)
    expect(world, 1...1, firstID: 1)
    world.send("sub", .pubAck(1, .quotaExceeded))
    expect(world, 2...2, firstID: 2)
    world.finish()
  }

  @Test func clientsReceiveMaximumIsKept() {  // §3.3.4-9, §4.9
    let world = makeWorld(receiveMaximum: 3)
    publish(world, 1...8)
    expect(world, 1...3, firstID: 1)
    world.send("sub", .pubAck(2))
    expect(world, 4...4, firstID: 4)
    world.send("sub", .pubAck(1), .pubAck(3), .pubAck(4))
    expect(world, 5...7, firstID: 5)
    world.send("pub", .publish(topic: "t", payload: "free"))  // QoS 0 needs no place
    world.expect("sub", .publish(topic: "t", payload: "free"))
    world.finish()
  }

  @Test func pubRecDoesNotOpenTheWindow() {  // §4.9: PUBCOMP does
    let world = makeWorld(receiveMaximum: 1)
    publish(world, 1...2, qos: 2)
    expect(world, 1...1, qos: 2, firstID: 1)
    world.send("sub", .pubRec(1))
    world.expect("sub", .pubRel(1))
    world.expectNothing("sub")
    world.send("sub", .pubComp(1))
    expect(world, 2...2, qos: 2, firstID: 2)
    world.finish()
  }

  @Test func ourWindowBoundsAClientThatTakesAll() {
    let world = makeWorld(version: .v311)
    publish(world, 1...20)
    expect(world, 1...16, firstID: 1)
    world.finish()
  }

  @Test func packetIDsInUseAreSkipped() {  // §2.2.1-4
    var limits = Limits.forTests
    limits.inflightMax = 3
    let world = makeWorld(limits: limits)
    publish(world, 1...2)
    expect(world, 1...2, firstID: 1)
    world.send("sub", .pubAck(2))  // 1 stays
    for round in 3...65_535 {
      world.send("pub", .publish(topic: "t", qos: 1, packetID: 1))
      world.send("sub", .pubAck(UInt16(round)))
    }
    _ = world.takeAll("sub")
    publish(world, 5...5)
    expect(world, 5...5, firstID: 2)
    world.finish()
  }

  @Test func afterTheLastPacketIDComesTheFirst() {  // §2.2.1-3: never 0, with nothing in flight either
    let world = makeWorld()
    world.broker.sessions.visit { $0.pointee.outgoing = Outgoing(lastPacketID: 65_533) }
    publish(world, 1...4)
    let ids: [UInt16] = [65_534, 65_535, 1, 2]
    for (index, id) in ids.enumerated() {
      world.expect("sub", .publish(topic: "t", payload: "\(index + 1)", qos: 1, packetID: id))
    }
    world.finish()
  }

  // MARK: Offline

  @Test(arguments: [ProtocolVersion.v311, .v5]) func messagesWaitForTheAbsent(version: ProtocolVersion) {  // §4.1
    let world = makeWorld(version: version)
    world.lose("sub")
    publish(world, 1...2)
    publish(world, 3...3, qos: 2)
    world.send("pub", .publish(topic: "t", payload: "gone"))  // QoS 0 does not wait
    #expect(connect(world, nil, version))
    world.expect(
      "sub", .publish(topic: "t", payload: "1", qos: 1, packetID: 1),
      .publish(topic: "t", payload: "2", qos: 1, packetID: 2), .publish(topic: "t", payload: "3", qos: 2, packetID: 3))
    world.expectNothing("sub")
    world.finish()
  }

  @Test func queueDropsItsOldest() {  // limits: queue_full: drop-oldest
    var limits = Limits.forTests
    limits.queuedMax = 3
    let world = makeWorld(limits: limits)
    world.lose("sub")
    publish(world, 1...8)
    #expect(world.broker.counters.queuedDropped == 5)
    #expect(connect(world))
    expect(world, 6...8, firstID: 1)
    world.finish()
  }

  @Test func queueDropsItsNewest() {  // limits: queue_full: drop-newest
    var limits = Limits.forTests
    limits.queuedMax = 3
    limits.queueFull = .dropNewest
    let world = makeWorld(limits: limits)
    world.lose("sub")
    publish(world, 1...8)
    #expect(world.broker.counters.queuedDropped == 5)
    #expect(connect(world))
    expect(world, 1...3, firstID: 1)
    world.finish()
  }

  @Test func fullQueueRefuses() {  // limits: queue_full: refuse; the publisher is told
    var limits = Limits.forTests
    limits.queuedMax = 1
    limits.queueFull = .refuse
    let world = makeWorld(limits: limits)
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
    #expect(connect(world))
    expect(world, 1...1, firstID: 1)
    world.finish()
  }

  @Test func whatIsInFlightIsNotDropped() {
    var limits = Limits.forTests
    limits.queuedMax = 2
    let world = makeWorld(receiveMaximum: 2, limits: limits)
    publish(world, 1...8)
    expect(world, 1...2, firstID: 1)
    #expect(world.broker.counters.queuedDropped == 4)
    world.send("sub", .pubAck(1), .pubAck(2))
    expect(world, 7...8, firstID: 3)
    world.finish()
  }

  // MARK: Redelivery

  @Test(arguments: [ProtocolVersion.v311, .v5]) func unacknowledgedMessagesAreRepeated(version: ProtocolVersion) {
    let world = makeWorld(version: version)  // §4.4-1: DUP, same ids, same order
    publish(world, 1...3)
    publish(world, 4...5, qos: 2)
    _ = world.takeAll("sub")
    world.send("sub", .pubAck(2), .pubRec(5))
    world.expect("sub", .pubRel(5))
    world.lose("sub")
    publish(world, 6...6)
    #expect(connect(world, nil, version))
    world.expect(
      "sub", .publish(topic: "t", payload: "1", qos: 1, packetID: 1, dup: true),
      .publish(topic: "t", payload: "3", qos: 1, packetID: 3, dup: true),
      .publish(topic: "t", payload: "4", qos: 2, packetID: 4, dup: true), .pubRel(5),
      .publish(topic: "t", payload: "6", qos: 1, packetID: 6))
    world.expectNothing("sub")
    world.finish()
  }

  @Test func smallerReceiveMaximumOnResume() {  // the repeats wait for their turn, and all newer ones behind them
    let world = makeWorld()
    publish(world, 1...6)
    expect(world, 1...6, firstID: 1)
    world.lose("sub")
    publish(world, 7...7)
    #expect(connect(world, 2))
    expect(world, 1...2, firstID: 1, dup: true)
    world.send("sub", .pubAck(2))
    expect(world, 3...3, firstID: 3, dup: true)
    world.send("sub", .pubAck(1), .pubAck(3))
    expect(world, 4...5, firstID: 4, dup: true)
    world.send("sub", .pubAck(4))
    expect(world, 6...6, firstID: 6, dup: true)
    world.send("sub", .pubAck(5), .pubAck(6))
    expect(world, 7...7, firstID: 7)
    world.finish()
  }

  @Test func acknowledgedBeforeItWasRepeated() {  // by a client that remembers it
    let world = makeWorld()
    publish(world, 1...4, qos: 2)
    expect(world, 1...4, qos: 2, firstID: 1)
    world.lose("sub")
    #expect(connect(world, 1))
    expect(world, 1...1, qos: 2, firstID: 1, dup: true)
    world.send("sub", .pubRec(2), .pubRec(3, .unspecifiedError), .pubComp(2))
    world.expect("sub", .pubRel(2), .pubRel(2))  // the answer, and its turn among the repeats
    world.send("sub", .pubRec(1))
    world.expect("sub", .pubRel(1))
    world.expectNothing("sub")  // 1 was sent here, so it takes its place until PUBCOMP (§4.9)
    world.send("sub", .pubComp(1))
    expect(world, 4...4, qos: 2, firstID: 4, dup: true)
    world.finish()
  }

  @Test func releasesTakeNoPlaceInTheWindow() {  // §4.9: only a PUBLISH of this connection does
    let world = makeWorld()
    publish(world, 1...3, qos: 2)
    expect(world, 1...3, qos: 2, firstID: 1)
    world.send("sub", .pubRec(1), .pubRec(2))
    world.expect("sub", .pubRel(1), .pubRel(2))
    world.lose("sub")
    #expect(connect(world, 1))
    world.expect(
      "sub", .pubRel(1), .pubRel(2), .publish(topic: "t", payload: "3", qos: 2, packetID: 3, dup: true))
    world.expectNothing("sub")
    world.finish()
  }

  @Test func lostAgainWhileRepeating() {
    let world = makeWorld()
    publish(world, 1...5)
    expect(world, 1...5, firstID: 1)
    for _ in 0..<3 {
      world.lose("sub")
      #expect(connect(world, 2))
      expect(world, 1...2, firstID: 1, dup: true)
    }
    world.lose("sub")
    #expect(connect(world))
    expect(world, 1...5, firstID: 1, dup: true)
    world.finish()
  }

  @Test func repeatedThroughASlowTransport() {
    let world = makeWorld()
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

  // MARK: Expiry

  @Test func remainingTimeIsForwarded() {  // §3.3.2-6
    let world = makeWorld()
    world.lose("sub")
    world.send("pub", .publish(topic: "t", payload: "60", qos: 1, packetID: 1, properties: [.expiry(60)]))
    world.send("pub", .publish(topic: "t", payload: "20", qos: 1, packetID: 2, properties: [.expiry(20)]))
    world.send("pub", .publish(topic: "t", payload: "never", qos: 1, packetID: 3))
    world.advance(seconds: 20.001)
    #expect(connect(world))
    world.expect(
      "sub", .publish(topic: "t", payload: "60", qos: 1, packetID: 1, properties: [.expiry(40)]),
      .publish(topic: "t", payload: "never", qos: 1, packetID: 2))
    world.expectNothing("sub")
    #expect(world.broker.counters.expired == 1)
    world.finish()
  }

  @Test func aFreshMessageHasItsWholeTime() {
    let world = makeWorld()
    world.send("pub", .publish(topic: "t", payload: "a", properties: [.user("k", "v"), .expiry(60)]))
    world.expect("sub", .publish(topic: "t", payload: "a", properties: [.expiry(60), .user("k", "v")]))
    world.finish()
  }

  // MARK: Maximum Packet Size

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
    let world = makeWorld()
    publish(world, 1...1)
    world.send("pub", .publish(topic: "t", payload: String(repeating: "x", count: 100), qos: 1, packetID: 2))
    publish(world, 3...3)
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

  // MARK: Topic aliases (§3.3.2.3.4)

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
