import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

/// Retained messages (§3.3.1.3, §3.8.4): kept, replaced, removed, replayed behind the SUBACK.
@Suite struct RetainedTests {
  @Test func isKeptReplacedAndRemoved() {
    let world = World(clients: ["pub"])
    world.send("pub", .publish(topic: "t", payload: "1", retain: true))
    world.connect("a")
    world.subscribe("a", "t")
    world.expect("a", .publish(topic: "t", payload: "1", retain: true))
    world.send("pub", .publish(topic: "t", payload: "2", retain: true))
    world.expect("a", .publish(topic: "t", payload: "2"))
    #expect(world.pool("retained").used == 1)
    world.connect("b")
    world.subscribe("b", "t")
    world.expect("b", .publish(topic: "t", payload: "2", retain: true))
    // §3.3.1-6, §3.3.1-7: an empty payload removes it, and is delivered as any message.
    world.send("pub", .publish(topic: "t", retain: true))
    for name in ["a", "b"] { world.expect(name, .publish(topic: "t")) }
    #expect(world.pool("retained").used == 0)
    world.connect("c")
    world.subscribe("c", "t")
    world.expectNothing("a", "b", "c")
    world.send("pub", .publish(topic: "t", retain: true))  // nothing to remove
    world.send("pub", .publish(topic: "t", payload: "plain"))  // §3.3.1-8: a message without RETAIN is not kept
    #expect(world.pool("retained").used == 0)
    world.finish()
  }

  @Test func agesBeginAnewAtTheirEnd() {
    let world = World(clients: ["pub"])
    world.broker.retained.beginAges(at: .max - 2)
    world.connect("early")
    for topic in ["a", "b", "c", "d"] { world.send("pub", .publish(topic: topic, payload: "x", retain: true)) }
    #expect(world.broker.retained.age == 2)
    for name in ["early", "late"] {
      if name == "late" { world.connect(name) }
      world.subscribe(name, "+")
      #expect(world.takeAll(name).compactMap(\.topic).sorted() == ["a", "b", "c", "d"])
      world.subscribe(name, "b")
      #expect(world.takeAll(name).compactMap(\.topic) == ["b"])
    }
    world.finish()
  }

  @Test func subAckComesFirst() {  // §3.8.4: SUBACK first, then the retained messages as the outbox drains
    let world = World(clients: ["pub", "sub"])
    for index in 0..<5 { world.send("pub", .publish(topic: "t/\(index)", payload: "x", retain: true)) }
    world.send("sub", .subscribe(1, ["t/#", "t/0"]), .pingReq)
    world.expect("sub", .subAck(1, [.success, .success]))
    #expect(world.takeAll("sub").count == 7)  // 5, 1 of them once more for `t/0`, and the PINGRESP
    world.finish()
  }

  @Test func wildcardsReplayWhatMatches() {
    let world = World(clients: ["pub", "sub"])
    for topic in ["a", "a/b", "a/b/c", "b", "/a", "$dollar/a"] {
      world.send("pub", .publish(topic: topic, payload: topic, retain: true))
    }
    let rows: [(String, [String])] = [
      ("#", ["a", "a/b", "a/b/c", "b", "/a"]), ("+", ["a", "b"]), ("a/#", ["a", "a/b", "a/b/c"]),
      ("+/+", ["a/b", "/a"]),
      ("a/+", ["a/b"]), ("$dollar/#", ["$dollar/a"]), ("none/#", []),
    ]
    for (filter, topics) in rows {
      world.subscribe("sub", filter)
      let got = world.takeAll("sub")
      #expect(got.compactMap(\.topic).sorted() == topics.sorted(), "\(filter)")
      #expect(got.allSatisfy { $0 == .publish(topic: $0.topic!, payload: $0.topic!, retain: true) })
      world.unsubscribe("sub", filter)
    }
    world.finish()
  }

  @Test func qosIsTheSmallerOne() {
    let world = World(clients: ["pub", "sub"])
    for qos in UInt8(0)...2 {
      world.send("pub", .publish(topic: "t/\(qos)", payload: "\(qos)", qos: qos, packetID: 1, retain: true), .pubRel(1))
    }
    for granted in UInt8(0)...2 {
      world.subscribe("sub", "t/+", qos: granted, id: 7)
      let got = world.takeAll("sub")
      #expect(got.count == 3)
      for packet in got {
        guard case .publish(_, let payload, let qos, let packetID, true, false, [.identifier(7)]) = packet else {
          Issue.record("\(packet)")
          continue
        }
        #expect(qos == min(granted, UInt8(payload)!))
        #expect((packetID == 0) == (qos == 0))
        if qos == 1 { world.send("sub", .pubAck(packetID)) }
        if qos == 2 { world.send("sub", .pubRec(packetID), .pubComp(packetID)) }
      }
      _ = world.takeAll("sub")
    }
    #expect(world.pool("deliveries").used == 0)
    world.finish()
  }

  @Test func replayKeepsToTheWindow() {
    let world = World(clients: ["pub"])
    for index in 0..<20 {
      world.send("pub", .publish(topic: "t/\(index)", payload: "x", qos: 1, packetID: 1, retain: true))
    }
    world.connect("sub", receiveMaximum: 3)
    world.subscribe("sub", "#", qos: 1)
    var topics: Set<String> = []
    for _ in 0..<20 {
      let got = world.takeAll("sub")
      #expect(got.count <= 3)
      for packet in got {
        #expect(topics.insert(packet.topic!).inserted)
        world.send("sub", .pubAck(packet.packetID!))
      }
    }
    #expect(topics.count == 20)
    world.expectNothing("sub")
    world.finish()
  }

  @Test func replayGoesOnAsTheTransportDrains() {  // constant memory whatever their number
    var limits = Limits.forTests
    limits.packetBytesMax = 8192
    limits.outboxChunksPerConnection = 80  // of which a large message takes two
    limits.outboxChunksShared = 160
    limits.retainedMax = 160
    let world = World(clients: ["pub", "sub"], limits: limits)
    let payload = String(repeating: "x", count: 3000)
    for index in 0..<100 { world.send("pub", .publish(topic: "t/\(index)", payload: payload, retain: true)) }
    world.read("sub", bytesPerFlush: 0)
    world.send("sub", .subscribe(1, ["t/#"]))
    #expect(world.pool("outbox_chunks").used <= world.broker.limits.outboxChunksPerConnection + 1)
    world.send("pub", .publish(topic: "t/99", payload: "new", retain: true))
    world.send("pub", .publish(topic: "t/100", payload: "later", retain: true))
    world.send("pub", .publish(topic: "t/98", retain: true))
    world.read("sub", bytesPerFlush: 1500)
    var got = world.takeAll("sub")
    #expect(got.removeFirst() == .subAck(1, [.success]))
    #expect(Set(got.compactMap(\.topic)).count == got.count)  // none twice
    #expect(got.count == 101)
    #expect(got.contains(.publish(topic: "t/98")))
    #expect(got.contains(.publish(topic: "t/99", payload: "new")))
    world.expectNothing("sub")
    world.finish()
  }

  @Test func replacedWhileItsReplayWaits() {  // the new one comes as a message, the old one not at all
    let world = World(clients: ["pub"])
    for index in 0..<4 {
      world.send("pub", .publish(topic: "t/\(index)", payload: "old", qos: 1, packetID: 1, retain: true))
    }
    world.connect("sub", receiveMaximum: 1)
    world.subscribe("sub", "t/+", qos: 1)
    for index in 0..<4 {
      world.send("pub", .publish(topic: "t/\(index)", payload: "new", qos: 1, packetID: 1, retain: true))
    }
    var got: [Packet] = []
    while let packet = world.takeFirst("sub") {
      got.append(packet)
      world.send("sub", .pubAck(packet.packetID!))
    }
    #expect(got.filter { $0.payload == "new" }.count == 4)
    #expect(got.filter { $0.payload == "old" }.count == 1)  // it was in flight already
    world.finish()
  }

  /// A replay that goes on while a message is routed leaves that message's receivers as they are: a session with a shared
  /// subscription, whose delivery pumps the replay, and with others keeps all its identifiers (§3.3.4-3).
  @Test(arguments: ["#", "+/#", "t/#", "t/0"], ["#", "+/+", "t/#", "t/+"])
  func replayLeavesReceiversAlone(shared: String, replaying: String) {
    for other in ["#", "+/+", "t/#", "t/+", "t/0"] where other != replaying {
      let world = World(clients: ["pub", "sub"])
      let large = String(repeating: "x", count: world.broker.limits.referenceBytesMin - 1)
      for index in 0..<4 {
        world.send("pub", .publish(topic: "t/\(index)", payload: index == 0 ? large : "small", retain: true))
      }
      world.subscribe("sub", "fill")
      world.read("sub", bytesPerFlush: 0)
      while world.broker.counters.qos0Dropped == 0 { world.send("pub", .publish(topic: "fill", payload: large)) }
      world.send("sub", .subscribe(2, [Filter(replaying)], id: 2))  // and its replay waits for room for `large`
      world.send("sub", .subscribe(3, [Filter(other, retainHandling: 2)], id: 3))
      world.send("sub", .subscribe(4, [Filter("$share/g/\(shared)", qos: 1)], id: 4))
      world.send("pub", .publish(topic: "t/0", payload: "live", qos: 1, packetID: 1, retain: true))
      world.read("sub", bytesPerFlush: nil)
      let got = world.takeAll("sub")
      #expect(got.contains { $0.topic == "t/1" }, "the replay went on")
      let live = got.filter { $0.payload == "live" }
      #expect(live.count == 2)
      for case .publish(_, _, let qos, _, _, _, let properties) in live {
        #expect(Set(properties) == (qos == 0 ? [.identifier(2), .identifier(3)] : [.identifier(4)]), "\(other)")
      }
      world.finish()
    }
  }

  @Test func replayEndsWithItsSubscription() {
    let world = World(clients: ["pub"])
    for index in 0..<6 {
      world.send("pub", .publish(topic: "t/\(index)", payload: "x", qos: 1, packetID: 1, retain: true))
    }
    world.connect("sub", receiveMaximum: 1)
    world.subscribe("sub", "t/#", qos: 1)
    let first = world.takeFirst("sub")
    world.unsubscribe("sub", "t/#")
    world.send("sub", .pubAck(first?.packetID ?? 0))
    world.expectNothing("sub")
    world.subscribe("sub", "t/0", qos: 1)
    world.expect("sub", .publish(topic: "t/0", payload: "x", qos: 1, packetID: 2, retain: true))
    world.finish()
  }

  @Test func replayGoesOnInTheNextConnection() {
    let world = World(clients: ["pub"])
    for index in 0..<6 {
      world.send("pub", .publish(topic: "t/\(index)", payload: "x", qos: 1, packetID: 1, retain: true))
    }
    world.connect("sub", sessionExpiry: 100, receiveMaximum: 1)
    world.subscribe("sub", "t/#", qos: 1)
    #expect(world.takeAll("sub").count == 1)
    world.lose("sub")
    world.connect("sub", cleanStart: false, sessionExpiry: 100, receiveMaximum: 6)
    let got = world.takeAll("sub")
    #expect(Set(got.compactMap(\.topic)).count == 6)
    #expect(got.count == 6)
    world.finish()
  }

  @Test func retainHandlingSaysWhen() {  // §3.3.1-9 to §3.3.1-11
    let rows: [(handling: UInt8, first: Int, again: Int)] = [(0, 1, 1), (1, 1, 0), (2, 0, 0)]
    for row in rows {
      let world = World(clients: ["pub", "sub"])
      world.send("pub", .publish(topic: "t", payload: "x", retain: true))
      world.subscribe("sub", "t", retainHandling: row.handling)
      #expect(world.takeAll("sub").count == row.first, "handling \(row.handling)")
      world.subscribe("sub", "t", retainHandling: row.handling)
      #expect(world.takeAll("sub").count == row.again, "handling \(row.handling)")
      world.finish()
    }
  }

  @Test func expiredOnesAreNotSent() {  // §3.3.2-5, §3.3.2-6
    let world = World(clients: ["pub"])
    for (topic, seconds) in [("t/1", UInt32(10)), ("t/2", 100), ("t/3", 10)] {
      world.send("pub", .publish(topic: topic, payload: "x", retain: true, properties: [.expiry(seconds)]))
    }
    world.advance(seconds: 30.5)
    world.connect("sub")
    world.subscribe("sub", "t/3")
    world.subscribe("sub", "#")
    world.expect("sub", .publish(topic: "t/2", payload: "x", retain: true, properties: [.expiry(70)]))
    world.expectNothing("sub")
    #expect(world.broker.counters.expired == 2)
    #expect(world.pool("retained").used == 1)
    world.finish()
  }

  @Test func expiredOnesGiveWay() {  // nobody asks for them, and still their place is free
    var limits = Limits.forTests
    limits.retainedMax = 3
    limits.messagesMax = 3
    let world = World(clients: ["pub"], limits: limits)
    for round in 0..<4 {
      for topic in ["a", "b", "c"] {
        world.send(
          "pub",
          .publish(
            topic: "\(topic)\(round)", payload: "x", qos: 1, packetID: 1, retain: true, properties: [.expiry(5)]))
        world.expect("pub", .pubAck(1))
      }
      world.send("pub", .publish(topic: "d", payload: "x", qos: 1, packetID: 1, retain: true))
      world.expect("pub", .pubAck(1, .quotaExceeded))
      world.advance(seconds: 6)
      #expect(world.pool("retained").used == 0)
      #expect(world.pool("topic_nodes").used == 1)
    }
    #expect(world.broker.counters.expired == 12)
    world.finish()
  }

  @Test func aSweepTakesSomeOfThemATurn() {  // and misses none, whatever is stored while it goes on
    var limits = Limits.forTests
    limits.retainedMax = 1000
    limits.messagesMax = 1000
    limits.topicNodesMax = 2047
    let world = World(clients: ["pub"], limits: limits)
    func store(_ number: Int, expiry: UInt32?) {
      world.send(
        "pub",
        .publish(topic: "\(number)", payload: "x", retain: true, properties: expiry.map { [.expiry($0)] } ?? []))
    }
    for number in 0..<900 { store(number, expiry: [10, 20, nil][number % 3]) }
    world.advance(seconds: 9.999)
    #expect(world.pool("retained").used == 900)
    var used = 900
    for turn in 0..<4 {
      world.advance(seconds: 0.001)
      let now = world.pool("retained").used
      #expect(used - now <= 256)
      used = now
      if turn == 1 { store(3, expiry: 1) }  // a place that it has left behind
    }
    #expect(used == 601)
    world.advance(seconds: 5)
    #expect(world.pool("retained").used == 600)
    world.advance(seconds: 10)
    #expect(world.pool("retained").used == 300)
    world.finish()
  }

  /// §3.3.2.3.3: for those who can have it at once, whatever the QoS; for nobody later.
  @Test(arguments: [UInt8(0), 1, 2]) func expiryOfZero(qos: UInt8) {
    let world = World(clients: ["pub", "sub"])
    world.connect("away", sessionExpiry: 100)
    for name in ["sub", "away"] { world.subscribe(name, "t", qos: qos) }
    world.lose("away")
    let id: UInt16 = qos == 0 ? 0 : 1
    world.send(
      "pub", .publish(topic: "t", payload: "x", qos: qos, packetID: id, retain: true, properties: [.expiry(0)]))
    world.expect("sub", .publish(topic: "t", payload: "x", qos: qos, packetID: id, properties: [.expiry(0)]))
    world.advance(seconds: 0.001)
    world.connect("away", cleanStart: false, sessionExpiry: 100)
    world.connect("new")
    world.subscribe("new", "t", qos: qos)
    world.expectNothing("away", "new")
    world.advance(seconds: 2)
    #expect(world.pool("retained").used == 0)
    world.finish()
  }

  @Test func propertiesAreKept() {
    let world = World(clients: ["pub"], old: ["old"])
    let properties: [Prop] = [.text(.contentType, "c"), .user("k", "v")]
    world.send("pub", .publish(topic: "t", payload: "x", qos: 1, packetID: 1, retain: true, properties: properties))
    world.connect("sub")
    world.subscribe("sub", "t")
    world.expect("sub", .publish(topic: "t", payload: "x", retain: true, properties: properties))
    world.subscribe("old", "t", qos: 1)
    world.expect("old", .publish(topic: "t", payload: "x", qos: 1, packetID: 1, retain: true))
    world.finish()
  }

  @Test func outliveTheirPublisher() {
    let world = World(clients: ["pub"])
    world.send("pub", .publish(topic: "t", payload: "x", retain: true), .disconnect())
    world.advance(seconds: 100_000)
    world.connect("sub")
    world.subscribe("sub", "t")
    world.expect("sub", .publish(topic: "t", payload: "x", retain: true))
    world.finish()
  }

  @Test func tooLargeOnesArePassedOver() {  // §3.1.2-25
    let world = World(clients: ["pub"])
    for (topic, count) in [("t/1", 10), ("t/2", 1000), ("t/3", 10)] {
      let payload = String(repeating: "x", count: count)
      world.send("pub", .publish(topic: topic, payload: payload, qos: 1, packetID: 1, retain: true))
    }
    for qos in UInt8(0)...1 {
      world.connect("sub\(qos)", maximumPacketSize: 100)
      world.subscribe("sub\(qos)", "#", qos: qos)
      #expect(world.takeAll("sub\(qos)").compactMap(\.topic) == ["t/1", "t/3"])
    }
    #expect(world.broker.counters.oversizeDropped == 2)
    world.finish()
  }

  @Test func mayBeSwitchedOff() {  // §3.2.2.3.5, §3.2.2-13, §3.2.2-14: 0x9A
    var limits = Limits.forTests
    limits.retainedMax = 0
    let world = World(old: ["old"], limits: limits)
    #expect(world.connect("a").properties.contains(.number(.retainAvailable, 0)))
    world.connect("b", will: WillFields(topic: "w", retain: true), reason: .retainNotSupported)
    world.expectClosed("b")
    world.send("a", .publish(topic: "t", payload: "x", qos: 1, packetID: 1))
    world.expect("a", .pubAck(1, .noMatchingSubscribers))
    world.send("a", .publish(topic: "t", payload: "x", retain: true))
    world.expectClosed("a", .disconnect(.retainNotSupported))
    world.send("old", .publish(topic: "t", payload: "x", retain: true), .pingReq)
    world.expect("old", .pingResp)
    world.send("old", .publish(topic: "t", payload: "x", qos: 1, packetID: 1, retain: true))
    world.expectClosed("old")
    world.finish()
  }
}
