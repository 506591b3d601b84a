import Bounded
import MQTTBroker
import MQTTWire
import Testing

/// Numbered statements about PUBLISH and its acknowledgements, both ways, that no other suite shows; each test is
/// named in docs/conformance.md.
@Suite struct ConformancePublishTests {
  // MARK: From a client

  @Test func wildcardInResponseTopicEndsIt() {  // 3.3.2-14
    for topic in ["a/#", "+", "a/+/b", ""] {
      let world = World(clients: ["a", "all"])
      world.subscribe("all", "#")
      world.send("a", .publish(topic: "t", properties: [.text(.responseTopic, topic)]))
      world.expectClosed("a", .disconnect(.protocolError))
      world.expectNothing("all")
      world.finish()
    }
  }

  @Test(arguments: [ProtocolVersion.v311, .v5]) func byteOrderMarkIsACharacter(version: ProtocolVersion) {  // 1.5.4-3
    let world = World()
    for name in ["pub", "with", "without"] { world.connect(name, version) }
    world.subscribe("with", "\u{FEFF}t")
    world.subscribe("without", "t")
    world.send("pub", .publish(topic: "\u{FEFF}t", payload: "\u{FEFF}x"))
    guard case .publish(let topic, let payload, _, _, _, _, _)? = world.takeFirst("with") else {
      Issue.record("no message")
      return
    }
    #expect(Array(topic.utf8) == [0xEF, 0xBB, 0xBF, 0x74])
    #expect(Array(payload.utf8) == [0xEF, 0xBB, 0xBF, 0x78])
    world.expectNothing("without")
    world.finish()
  }

  @Test func topicsAreNotNormalized() {  // 4.7.3-4
    let world = World(clients: ["pub", "sub"])
    for topic in ["\u{E9}", "Accounts", "a/b", "/c", "d", " e"] { world.subscribe("sub", topic) }
    for topic in ["e\u{301}", "ACCOUNTS", "a/b/", "a//b", "c", "d ", "e", "a/./b"] {
      world.send("pub", .publish(topic: topic))
      world.expectNothing("sub")
    }
    world.send("pub", .publish(topic: "\u{E9}"))
    #expect(world.takeFirst("sub")?.topic.map { Array($0.utf8) } == [0xC3, 0xA9])
    world.finish()
  }

  @Test func refusedQoS2IsANewMessageNextTime() {  // 4.3.3-9
    var limits = Limits.forTests
    limits.queuedMax = 1
    limits.queueFull = .refuse
    let world = World(clients: ["pub"], limits: limits)
    world.connect("sub", receiveMaximum: 1)
    world.subscribe("sub", "t", qos: 1)
    world.send("pub", .publish(topic: "t", payload: "0", qos: 1, packetID: 1))
    world.expect("pub", .pubAck(1))
    world.send("pub", .publish(topic: "t", payload: "1", qos: 1, packetID: 1))
    world.send("pub", .publish(topic: "t", payload: "2", qos: 2, packetID: 5))
    world.expect("pub", .pubAck(1), .pubRec(5, .quotaExceeded))
    world.send("sub", .pubAck(1))
    world.send("pub", .publish(topic: "t", payload: "3", qos: 2, packetID: 5), .pubRel(5))
    world.expect("pub", .pubRec(5), .pubComp(5))
    world.send("sub", .pubAck(2))
    world.expect(
      "sub", .publish(topic: "t", payload: "0", qos: 1, packetID: 1),
      .publish(topic: "t", payload: "1", qos: 1, packetID: 2), .publish(topic: "t", payload: "3", qos: 1, packetID: 3))
    world.finish()
  }

  @Test func expiryDoesNotEndTheExchange() {  // 4.3.3-13
    let world = World(clients: ["pub"])
    world.connect("sub", sessionExpiry: 1000)
    world.subscribe("sub", "t", qos: 2)
    world.lose("sub")
    world.send("pub", .publish(topic: "t", qos: 2, packetID: 5, properties: [.expiry(5)]))
    world.advance(seconds: 60)
    world.send("pub", .publish(topic: "t", qos: 2, packetID: 5, dup: true, properties: [.expiry(5)]), .pubRel(5))
    world.expect("pub", .pubRec(5), .pubRec(5), .pubComp(5))
    world.connect("sub", cleanStart: false)
    world.expectNothing("sub")
    world.finish()
  }

  // MARK: Send quota (§4.9)

  @Test func theRestGoesOnWhileTheQuotaIsUsedUp() {  // 3.3.4-10, 4.9.0-3
    let world = World(clients: ["pub"])
    world.connect("sub", receiveMaximum: 1)
    world.subscribe("sub", "t", qos: 2)
    for id in UInt16(1)...2 { world.send("pub", .publish(topic: "t", payload: "\(id)", qos: 1, packetID: id)) }
    world.expect("sub", .publish(topic: "t", payload: "1", qos: 1, packetID: 1))
    world.send("sub", .pingReq, .publish(topic: "u", qos: 1, packetID: 7), .publish(topic: "u", qos: 2, packetID: 8))
    world.expect("sub", .pingResp, .pubAck(7, .noMatchingSubscribers), .pubRec(8, .noMatchingSubscribers))
    world.send("sub", .pubRel(8), .subscribe(9, ["v"]), .unsubscribe(10, ["v"]))
    world.expect("sub", .pubComp(8), .subAck(9, [.success]), .unsubAck(10, [.success]))
    world.send("pub", .publish(topic: "t", payload: "free"))
    world.expect("sub", .publish(topic: "t", payload: "free"))
    world.expectNothing("sub")
    world.send("sub", .pubAck(1))
    world.expect("sub", .publish(topic: "t", payload: "2", qos: 1, packetID: 2))
    world.finish()
  }

  @Test func quotaIsCountedAnewOnResume() {
    // 3.3.4-9: what is sent again on this connection counts until its PUBCOMP, a PUBREL alone does not
    let world = World(clients: ["pub"])
    world.connect("sub", sessionExpiry: 100)
    world.subscribe("sub", "t", qos: 2)
    for id in UInt16(1)...4 { world.send("pub", .publish(topic: "t", qos: 2, packetID: id), .pubRel(id)) }
    world.send("sub", .pubRec(1))
    _ = world.takeAll("sub")
    world.lose("sub")
    world.connect("sub", cleanStart: false, sessionExpiry: 100, receiveMaximum: 1)
    world.expect("sub", .pubRel(1), .publish(topic: "t", qos: 2, packetID: 2, dup: true))
    world.send("sub", .pubRec(2))
    world.expect("sub", .pubRel(2))
    world.expectNothing("sub")
    world.send("sub", .pubComp(1))  // it never took of this quota
    world.expectNothing("sub")
    world.send("sub", .pubComp(2))
    world.expect("sub", .publish(topic: "t", qos: 2, packetID: 3, dup: true))
    world.send("sub", .pubRec(3, .unspecifiedError))  // gives the place back too
    world.expect("sub", .publish(topic: "t", qos: 2, packetID: 4, dup: true))
    world.expectNothing("sub")
    world.finish()
  }

  @Test func failedAnswersAreNotRepeated() {  // 4.4.0-2
    let world = World(clients: ["pub"])
    world.connect("sub", sessionExpiry: 100)
    world.subscribe("sub", "t", qos: 2)
    world.send("pub", .publish(topic: "t", qos: 1, packetID: 1), .publish(topic: "t", qos: 2, packetID: 2))
    world.send("sub", .pubAck(1, .quotaExceeded), .pubRec(2, .unspecifiedError))
    _ = world.takeAll("sub")
    world.lose("sub")
    world.connect("sub", cleanStart: false)
    world.expectNothing("sub")
    #expect(world.pool("deliveries").used == 0)
    world.finish()
  }

  @Test func tooLargeMessagesDoNotBlock() {  // 3.1.2-25: as if they had been sent
    for qos in UInt8(1)...2 {
      let world = World(clients: ["pub"])
      world.connect("sub", receiveMaximum: 1, maximumPacketSize: 60)
      world.subscribe("sub", "t", qos: qos)
      for (id, count) in [(UInt16(1), 10), (2, 100), (3, 1000), (4, 20), (5, 100)] {
        world.send("pub", .publish(topic: "t", payload: String(repeating: "x", count: count), qos: 1, packetID: id))
      }
      #expect(world.takeAll("pub").count == 5)
      #expect(world.takeFirst("sub")?.payload?.count == 10)
      world.expectNothing("sub")
      world.send("sub", .pubAck(1))
      guard let last = world.takeFirst("sub"), let id = last.packetID else {
        Issue.record("the message behind a large one is not sent")
        return
      }
      #expect(last.payload?.count == 20)
      world.send("sub", .pubAck(id))
      world.expectNothing("sub")
      #expect(world.broker.counters.oversizeDropped == 3)
      #expect(world.pool("deliveries").used == 0)
      world.finish()
    }
  }

  // MARK: Expiry

  @Test(arguments: [UInt8(1), 2]) func whatWasSentDoesNotExpire(qos: UInt8) {  // 4.3.3-7
    let world = World(clients: ["pub"])
    world.connect("sub", sessionExpiry: 1000)
    world.subscribe("sub", "t", qos: 2)
    world.send("pub", .publish(topic: "t", qos: qos, packetID: 1, properties: [.expiry(5)]), .pubRel(1))
    world.expect("sub", .publish(topic: "t", qos: qos, packetID: 1, properties: [.expiry(5)]))
    world.advance(seconds: 60)
    world.lose("sub")
    world.advance(seconds: 60)
    world.connect("sub", cleanStart: false, sessionExpiry: 1000)
    world.expect("sub", .publish(topic: "t", qos: qos, packetID: 1, dup: true, properties: [.expiry(0)]))
    if qos == 1 {
      world.send("sub", .pubAck(1))
    } else {
      world.send("sub", .pubRec(1), .pubComp(1))
      world.expect("sub", .pubRel(1))
    }
    #expect(world.broker.counters.expired == 0)
    #expect(world.pool("deliveries").used == 0)
    world.finish()
  }

  @Test func expiredBehindAUsedUpQuota() {  // 3.3.2-5
    let world = World(clients: ["pub"])
    world.connect("sub", receiveMaximum: 1)
    world.subscribe("sub", "t", qos: 1)
    world.send("pub", .publish(topic: "t", payload: "1", qos: 1, packetID: 1))
    for payload in ["2", "3"] {
      world.send("pub", .publish(topic: "t", payload: payload, qos: 1, packetID: 2, properties: [.expiry(5)]))
    }
    world.send("pub", .publish(topic: "t", payload: "4", qos: 1, packetID: 4, properties: [.expiry(90)]))
    world.advance(seconds: 30)
    world.expect("sub", .publish(topic: "t", payload: "1", qos: 1, packetID: 1))
    world.expectNothing("sub")
    world.send("sub", .pubAck(1))
    world.expect("sub", .publish(topic: "t", payload: "4", qos: 1, packetID: 2, properties: [.expiry(60)]))
    world.expectNothing("sub")
    #expect(world.broker.counters.expired == 2)
    world.finish()
  }

  // MARK: Order

  @Test(arguments: [UInt8(0), 1, 2]) func orderIsKept(qos: UInt8) {  // 4.6.0-5, 4.6.0-6; repeats 4.6.0-1
    let world = World(clients: ["pub", "all"])
    world.subscribe("all", "#", qos: qos)
    world.connect("sub", sessionExpiry: 100, receiveMaximum: 3)
    world.subscribe("sub", "t", qos: qos)
    var got: [String] = []
    func take() {
      for packet in world.takeAll("sub") {
        guard case .publish(_, let payload, _, let id, _, let dup, _) = packet else { continue }
        if !dup { got.append(payload) }
        if qos == 1 { world.send("sub", .pubAck(id)) }
        if qos == 2 { world.send("sub", .pubRec(id), .pubComp(id)) }
      }
    }
    for number in 1...40 {
      world.send("pub", .publish(topic: "t", payload: "\(number)", qos: qos, packetID: 1), .pubRel(1))
      if number % 7 == 0 { take() }
      if number == 20, qos > 0 {
        world.lose("sub")
        world.connect("sub", cleanStart: false, sessionExpiry: 100, receiveMaximum: 2)
      }
    }
    for _ in 0..<40 { take() }
    let numbers = (1...40).map { "\($0)" }
    #expect(got.filter { Int($0)! > 22 } == numbers.filter { Int($0)! > 22 })
    #expect(got == got.sorted { Int($0)! < Int($1)! })
    #expect(world.takeAll("all").compactMap(\.payload) == Array(numbers.prefix(qos == 0 ? 40 : 16)))
    world.finish()
  }
}
