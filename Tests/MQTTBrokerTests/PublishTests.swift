import Bounded
import MQTTBroker
import MQTTWire
import Testing

/// PUBLISH from a client: what is acknowledged, what is refused, what ends the connection (§3.3, §4.3).
@Suite struct PublishTests {
  // MARK: Acknowledgements

  @Test func eachQoSHasItsAnswer() {  // §4.3
    let world = World(clients: ["pub", "sub"])
    world.subscribe("sub", "t", qos: 2)
    world.send("pub", .publish(topic: "t", payload: "0"))
    world.expectNothing("pub")
    world.send("pub", .publish(topic: "t", payload: "1", qos: 1, packetID: 11))
    world.expect("pub", .pubAck(11))
    world.send("pub", .publish(topic: "t", payload: "2", qos: 2, packetID: 12))
    world.expect("pub", .pubRec(12))
    world.send("pub", .pubRel(12))
    world.expect("pub", .pubComp(12))
    world.expect(
      "sub", .publish(topic: "t", payload: "0"), .publish(topic: "t", payload: "1", qos: 1, packetID: 1),
      .publish(topic: "t", payload: "2", qos: 2, packetID: 2))
    world.expectNothing("pub", "sub")
    world.finish()
  }

  @Test func nobodyListens() {  // §3.4.2.1: 0x10; 3.1.1 has no words
    let world = World(clients: ["pub"], old: ["old"])
    world.send("pub", .publish(topic: "t", qos: 1, packetID: 1), .publish(topic: "t", qos: 2, packetID: 2))
    world.expect("pub", .pubAck(1, .noMatchingSubscribers), .pubRec(2, .noMatchingSubscribers))
    world.send("old", .publish(topic: "t", qos: 1, packetID: 1), .publish(topic: "t", qos: 2, packetID: 2))
    world.expect("old", .pubAck(1), .pubRec(2))
    world.send("pub", .pubRel(2))
    world.expect("pub", .pubComp(2))
    world.finish()
  }

  /// §3.4.2.1, §3.5.2.1: 0x10 says that nobody got the message and that nothing of it is kept.
  @Test func theAnswerTellsWhetherAnybodyListens() {
    struct Row {
      let what: String
      var topic = "t"
      var payload = "x"
      var retain = false
      let isHeard: Bool
      let prepare: (World) -> Void
    }
    let rows = [
      Row(what: "nobody", isHeard: false) { _ in },
      Row(what: "another topic", isHeard: false) { $0.subscribe("a", "u/#", qos: 2) },
      Row(what: "only the publisher, with No Local", isHeard: false) {
        $0.subscribe("pub", "#", qos: 2, noLocal: true)
      },
      Row(what: "the publisher", isHeard: true) { $0.subscribe("pub", "#", noLocal: false) },
      Row(what: "the publisher with No Local, and another filter of its own", isHeard: true) {
        $0.subscribe("pub", "#", noLocal: true)
        $0.subscribe("pub", "t")
      },
      Row(what: "the publisher with No Local, and somebody else", isHeard: true) {
        $0.subscribe("pub", "#", noLocal: true)
        $0.subscribe("a", "t")
      },
      Row(what: "a bridge that is the publisher", isHeard: false) {
        $0.lose("pub")
        $0.connect("pub", isBridge: true)
        $0.subscribe("pub", "#", qos: 1)
      },
      Row(what: "an absent session, QoS 1", isHeard: true) {
        $0.subscribe("a", "t", qos: 1)
        $0.lose("a")
      },
      Row(what: "an absent session, QoS 0", isHeard: true) {  // it subscribes, though it loses the message
        $0.subscribe("a", "t")
        $0.lose("a")
      },
      Row(what: "one who unsubscribed", isHeard: false) {
        $0.subscribe("a", "t")
        $0.unsubscribe("a", "t")
      },
      Row(what: "a shared subscription", isHeard: true) { $0.subscribe("a", "$share/g/t", qos: 1) },
      Row(what: "a shared subscription of the publisher's own", isHeard: true) { $0.subscribe("pub", "$share/g/t") },
      Row(what: "kept for who comes", retain: true, isHeard: true) { _ in },
      Row(what: "removes what is kept", payload: "", retain: true, isHeard: false) {
        $0.send("a", .publish(topic: "t", payload: "x", retain: true))
      },
      Row(what: "a tap", topic: "tap/set", isHeard: true) { _ in },
      Row(what: "wildcards and $", topic: "$x", isHeard: false) { $0.subscribe("a", "#") },
    ]
    for row in rows {
      for qos in UInt8(1)...2 {
        let world = World(clients: ["pub"])
        _ = world.addTap("tap/set")
        world.connect("a", sessionExpiry: 100)
        row.prepare(world)
        _ = world.takeAll("pub")
        world.send(
          "pub", .publish(topic: row.topic, payload: row.payload, qos: qos, packetID: 7, retain: row.retain))
        let reason: ReasonCode = row.isHeard ? .success : .noMatchingSubscribers
        let answer = world.takeAll("pub").filter { $0.topic == nil }
        #expect(answer == [qos == 1 ? .pubAck(7, reason) : .pubRec(7, reason)], "\(row.what), QoS \(qos)")
        world.finish()
      }
    }
  }

  @Test func qos1IsDeliveredAgain() {  // §4.3.2: at least once
    let world = World(clients: ["pub", "sub"])
    world.subscribe("sub", "t", qos: 1)
    world.send(
      "pub", .publish(topic: "t", qos: 1, packetID: 7), .publish(topic: "t", qos: 1, packetID: 7, dup: true))
    world.expect("pub", .pubAck(7), .pubAck(7))
    // DUP is not propagated (§3.3.1-3).
    world.expect("sub", .publish(topic: "t", qos: 1, packetID: 1), .publish(topic: "t", qos: 1, packetID: 2))
    world.finish()
  }

  @Test func qos2IsDeliveredOnce() {  // §4.3.3, method B
    let world = World(clients: ["pub", "sub"])
    world.subscribe("sub", "a", qos: 2)
    world.send(
      "pub", .publish(topic: "a", qos: 2, packetID: 7), .publish(topic: "a", qos: 2, packetID: 7, dup: true))
    world.expect("pub", .pubRec(7), .pubRec(7))
    world.send("pub", .pubRel(7), .pubRel(7))
    world.expect("pub", .pubComp(7), .pubComp(7, .packetIdentifierNotFound))
    world.expect("sub", .publish(topic: "a", qos: 2, packetID: 1))
    world.expectNothing("sub")
    world.finish()
  }

  @Test func releasedPacketIDIsANewMessage() {  // §2.2.1
    let world = World(clients: ["pub", "sub"])
    world.subscribe("sub", "a")
    for round in 1...3 {
      world.send("pub", .publish(topic: "a", payload: "\(round)", qos: 2, packetID: 7), .pubRel(7))
      world.expect("pub", .pubRec(7), .pubComp(7))
      world.expect("sub", .publish(topic: "a", payload: "\(round)"))
    }
    world.finish()
  }

  @Test func unknownPubRelIsAnswered() {  // §3.7.2.1: 0x92; 3.1.1 §4.4: PUBCOMP whatever happened
    let world = World(clients: ["pub"], old: ["old"])
    world.send("pub", .pubRel(9))
    world.expect("pub", .pubComp(9, .packetIdentifierNotFound))
    world.send("old", .pubRel(9))
    world.expect("old", .pubComp(9))
    world.finish()
  }

  @Test func qos2StateOutlivesTheConnection() {  // §4.1, §4.4
    let world = World(clients: ["sub"])
    world.subscribe("sub", "a", qos: 2)
    world.connect("pub", sessionExpiry: 100)
    world.send("pub", .publish(topic: "a", qos: 2, packetID: 7))
    world.lose("pub")
    world.connect("pub", cleanStart: false, sessionExpiry: 100)
    world.send("pub", .publish(topic: "a", qos: 2, packetID: 7, dup: true), .pubRel(7))
    world.expect("pub", .pubRec(7), .pubComp(7))
    world.expect("sub", .publish(topic: "a", qos: 2, packetID: 1))
    world.expectNothing("sub")
    // Begun anew, the same id is a new message.
    world.send("pub", .publish(topic: "a", qos: 2, packetID: 8))
    world.lose("pub")
    world.connect("pub")
    world.send("pub", .publish(topic: "a", qos: 2, packetID: 8))
    world.expect("pub", .pubRec(8))
    world.expect(
      "sub", .publish(topic: "a", qos: 2, packetID: 2), .publish(topic: "a", qos: 2, packetID: 3))
    world.finish()
  }

  @Test func pingIsAnsweredBetweenThem() {  // §3.12.4-1
    let world = World(clients: ["a"], old: ["b"])
    for name in ["a", "b"] {
      world.send(name, .pingReq, .publish(topic: "t", qos: 2, packetID: 1), .pingReq)
      world.expect(name, .pingResp)
      #expect(world.takeFirst(name)?.packetID == 1)
      world.expect(name, .pingResp)
    }
    world.finish()
  }

  // MARK: Receive Maximum (§3.3.4, §4.9)

  @Test func oneMessageOverOurReceiveMaximumEndsIt() {  // 0x93
    let world = World(clients: ["pub"])
    let most = UInt16(world.broker.limits.inflightMax)
    for id in 1...most { world.send("pub", .publish(topic: "a", qos: 2, packetID: id)) }
    #expect(world.takeAll("pub").count == Int(most))
    world.send("pub", .publish(topic: "a", qos: 2, packetID: 3, dup: true))  // a repeat is not one more
    world.expect("pub", .pubRec(3))
    world.send("pub", .pubRel(1))
    world.expect("pub", .pubComp(1))
    world.send("pub", .publish(topic: "a", qos: 2, packetID: 100))
    world.expect("pub", .pubRec(100, .noMatchingSubscribers))
    world.send("pub", .publish(topic: "a", qos: 1, packetID: 101))  // answered at once, never in flight
    world.expect("pub", .pubAck(101, .noMatchingSubscribers))
    world.send("pub", .publish(topic: "a", qos: 2, packetID: 102))
    world.expectClosed("pub", .disconnect(.receiveMaximumExceeded))
    #expect(world.broker.counters.quotaClosed == 1)
    world.finish()
  }

  // MARK: What is refused

  @Test func topicNameIsJudged() {  // §3.3.2.1: wildcards 0x90, none at all 0x82, bad UTF-8 0x81
    let cases: [(Packet, ReasonCode)] = [
      (.publish(topic: "a/+"), .topicNameInvalid), (.publish(topic: "a/#"), .topicNameInvalid),
      (.publish(topic: ""), .protocolError), (.raw([0x30, 5, 0, 2, 0xC3, 0x28, 0]), .malformedPacket),
      (.raw([0x30, 4, 0, 1, 0, 0]), .malformedPacket),
    ]
    for (packet, reason) in cases {
      let world = World(clients: ["a"])
      world.send("a", packet, .pingReq)
      world.expectClosed("a", .disconnect(reason))
      world.finish()
    }
  }

  @Test func topicBeyondTheLimitsIsRefusedWithoutEndingIt() {
    let world = World(clients: ["pub", "all"])
    world.subscribe("all", "#")
    let deepest = Array(repeating: "x", count: 32).joined(separator: "/")
    world.send("pub", .publish(topic: deepest, qos: 1, packetID: 1))
    world.expect("pub", .pubAck(1))
    world.expect("all", .publish(topic: deepest))
    world.send("pub", .publish(topic: deepest + "/x", qos: 1, packetID: 2), .publish(topic: deepest + "/x"))
    world.expect("pub", .pubAck(2, .topicNameInvalid))
    let longest = String(repeating: "y", count: 512)
    world.send("pub", .publish(topic: longest, qos: 2, packetID: 3))
    world.expect("pub", .pubRec(3))
    world.expect("all", .publish(topic: longest))
    world.send("pub", .publish(topic: longest + "y", qos: 2, packetID: 4))
    world.expect("pub", .pubRec(4, .topicNameInvalid))
    world.send("pub", .pubRel(4))  // its id was never taken
    world.expect("pub", .pubComp(4, .packetIdentifierNotFound))
    world.expectNothing("all")
    #expect(world.broker.counters.publishesRefused == 3)
    world.finish()
  }

  @Test func fieldsAreJudged() {
    let cases: [(String, [UInt8], ReasonCode)] = [
      ("packet id 0 (§2.2.1)", [0x32, 6, 0, 1, 0x61, 0, 0, 0], .protocolError),
      ("QoS 3 (§3.3.1.2)", [0x36, 6, 0, 1, 0x61, 0, 1, 0], .malformedPacket),
      ("DUP with QoS 0 (§3.3.1.1)", [0x38, 4, 0, 1, 0x61, 0], .malformedPacket),
      ("a subscription identifier (§3.3.4)", [0x30, 6, 0, 1, 0x61, 2, 0x0B, 1], .protocolError),
      ("a property of CONNECT (§2.2.2.2)", [0x30, 9, 0, 1, 0x61, 5, 0x11, 0, 0, 0, 1], .malformedPacket),
      ("a property twice (§3.3.2.3.2)", [0x30, 8, 0, 1, 0x61, 4, 1, 0, 1, 0], .protocolError),
      ("properties beyond the packet", [0x30, 4, 0, 1, 0x61, 9], .malformedPacket),
      ("type 0 (§2.1.2)", [0x00, 0], .malformedPacket),
      ("a server's packet", [0xD0, 0], .protocolError),
      ("PINGREQ with a body", [0xC0, 1, 0], .malformedPacket),
    ]
    for (name, bytes, reason) in cases {
      let world = World(clients: ["a"])
      world.send("a", bytes: bytes + [0xC0, 0])
      #expect(world.takeAll("a") == [.disconnect(reason)], "\(name)")
      #expect(!world.isOpen("a"), "\(name)")
      world.finish()
    }
  }

  // MARK: Properties and expiry on the way

  @Test func propertiesGoOnUnaltered() {  // §3.3.2-17 and its like
    let world = World(clients: ["pub", "sub"], old: ["old"])
    world.subscribe("sub", "t")
    world.subscribe("old", "t")
    let properties: [Prop] = [
      .number(.payloadFormatIndicator, 1), .text(.contentType, "text/plain"), .text(.responseTopic, "r"),
      .text(.correlationData, "42"), .user("b", "1"), .user("a", "2"), .user("b", "1"),
    ]
    world.send("pub", .publish(topic: "t", payload: "x", properties: properties))
    world.expect("sub", .publish(topic: "t", payload: "x", properties: properties))
    world.expect("old", .publish(topic: "t", payload: "x"))
    world.finish()
  }

  // MARK: QoS 2 packet ids

  @Test(arguments: [1, 5, 32]) func eachHasItsPacketIDs(inflight: Int) {  // however many the others hold
    var limits = Limits.forTests
    limits.inflightMax = inflight
    let hoarders = (1..<limits.sessionsMax - 1).map { "h\($0)" }
    let world = World(limits: limits)
    for name in hoarders {
      world.connect(name, cleanStart: false, sessionExpiry: 100)
      for id in 1...UInt16(inflight) { world.send(name, .publish(topic: "t", payload: "x", qos: 2, packetID: id)) }
      #expect(world.takeAll(name).count == inflight)
      world.lose(name)
    }
    world.connect("new")
    world.connect("old", .v311)
    for id in 1...UInt16(inflight) {
      world.send("new", .publish(topic: "t", payload: "x", qos: 2, packetID: id))
      world.expect("new", .pubRec(id, .noMatchingSubscribers))
      world.send("old", .publish(topic: "t", payload: "x", qos: 2, packetID: id))
      world.expect("old", .pubRec(id))
    }
    world.finish()
  }

  @Test func packetIDsAreASet() {  // seeded: as a Swift set says
    var random = SeededGenerator(seed: 433)
    var limits = Limits.forTests
    limits.inflightMax = 30
    let world = World(clients: ["pub"], limits: limits)
    var known: Set<UInt16> = []
    for _ in 0..<2000 {
      let id = UInt16(1 + random.below(40))
      if random.oneIn(2) {
        guard known.contains(id) || known.count < 30 else { continue }
        world.send("pub", .publish(topic: "t", payload: "x", qos: 2, packetID: id))
        world.expect("pub", known.contains(id) ? .pubRec(id) : .pubRec(id, .noMatchingSubscribers))
        known.insert(id)
      } else {
        world.send("pub", .pubRel(id))
        world.expect("pub", known.contains(id) ? .pubComp(id) : .pubComp(id, .packetIdentifierNotFound))
        known.remove(id)
      }
    }
    world.finish()
  }
}
