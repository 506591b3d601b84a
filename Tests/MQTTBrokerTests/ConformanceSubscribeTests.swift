import Bounded
import MQTTBroker
import MQTTWire
import Testing

/// Numbered statements about subscriptions, plain and shared, that no other suite shows; each test is named in
/// docs/conformance.md.
@Suite struct ConformanceSubscribeTests {
  @Test func subscribingAgainChangesNoLocal() {  // 3.8.4-3: the whole subscription is replaced
    let world = World(clients: ["a"])
    for noLocal in [true, false, true] {
      world.subscribe("a", "t", qos: 1, noLocal: noLocal, retainHandling: 2)
      world.send("a", .publish(topic: "t", payload: "x"))
      if !noLocal { world.expect("a", .publish(topic: "t", payload: "x")) }
      world.expectNothing("a")
    }
    #expect(world.pool("subscriptions").used == 1)
    world.finish()
  }

  @Test(arguments: [ProtocolVersion.v311, .v5]) func nothingIsLostByReplacing(version: ProtocolVersion) {  // 3.8.4-4
    let world = World(clients: ["pub"])
    world.send("pub", .publish(topic: "t", payload: "kept", retain: true))
    world.connect("sub", version, receiveMaximum: version == .v5 ? 1 : nil)
    world.subscribe("sub", "t", qos: 1)
    world.expect("sub", .publish(topic: "t", payload: "kept", retain: true))
    for id in UInt16(1)...3 { world.send("pub", .publish(topic: "t", payload: "\(id)", qos: 1, packetID: id)) }
    world.send("sub", .subscribe(9, [Filter("t", qos: 2)]))
    for id in UInt16(4)...5 { world.send("pub", .publish(topic: "t", payload: "\(id)", qos: 1, packetID: id)) }
    var got: [String] = []
    for _ in 0..<10 {
      for packet in world.takeAll("sub") {
        if let payload = packet.payload { got.append(payload) } else { #expect(packet == .subAck(9, [.grantedQoS2])) }
        if case .publish(_, _, 1, let id, _, _, _) = packet { world.send("sub", .pubAck(id)) }
      }
    }
    #expect(got.filter { $0 == "kept" }.count == 1)
    #expect(got.filter { $0 != "kept" } == ["1", "2", "3", "4", "5"])
    world.finish()
  }

  @Test(arguments: [ProtocolVersion.v311, .v5]) func manyFiltersAreAsManyPackets(version: ProtocolVersion) {
    // 3.8.4-5, 3.10.4-6; in 3.1.1 3.8.4-4, 3.10.4-6
    let bad: ReasonCode = version == .v5 ? .quotaExceeded : .unspecifiedError
    let long = String(repeating: "x", count: 513)
    let world = World(clients: ["pub"])
    world.connect("a", version)
    world.send("a", .subscribe(1, ["t", Filter("t", qos: 2), Filter(long), Filter("t", qos: 1), "u"]))
    world.expect("a", .subAck(1, [.success, .grantedQoS2, bad, .grantedQoS1, .success]))
    #expect(world.pool("subscriptions").used == 2)
    world.send("pub", .publish(topic: "t", qos: 2, packetID: 1))
    world.expect("a", .publish(topic: "t", qos: 1, packetID: 1))  // as the last one says
    world.send("a", .unsubscribe(2, ["t", "never", "t", "u"]))
    world.expect(
      "a",
      .unsubAck(
        2, version == .v5 ? [.success, .noSubscriptionExisted, .noSubscriptionExisted, .success] : []))
    #expect(world.pool("subscriptions").used == 0)
    world.finish()
  }

  @Test func unsubscribeComparesExactly() {  // 3.10.4-1
    let world = World(clients: ["a", "pub"])
    world.subscribe("a", "a/+")
    world.subscribe("a", "$share/g/a/+")
    let others = ["a/b", "A/+", "a/+/", "a/#", "/a/+", "$share/h/a/+", "$share/G/a/+"]
    world.send("a", .unsubscribe(8, others))
    world.expect("a", .unsubAck(8, others.map { _ in .noSubscriptionExisted }))
    world.send("a", .unsubscribe(9, ["a/+"]))
    world.expect("a", .unsubAck(9, [.success]))
    world.send("pub", .publish(topic: "a/b"))
    world.expect("a", .publish(topic: "a/b"))  // the shared one is another
    world.unsubscribe("a", "$share/g/a/+")
    world.send("pub", .publish(topic: "a/b"))
    world.expectNothing("a")
    world.finish()
  }

  @Test func afterUnsubscribeNothingIsAdded() {  // 3.10.4-2, 3.10.4-3
    let world = World(clients: ["pub"])
    world.connect("a", receiveMaximum: 1)
    world.subscribe("a", "t", qos: 1)
    for id in UInt16(1)...2 { world.send("pub", .publish(topic: "t", payload: "\(id)", qos: 1, packetID: id)) }
    world.expect("a", .publish(topic: "t", payload: "1", qos: 1, packetID: 1))
    world.unsubscribe("a", "t")
    world.send("pub", .publish(topic: "t", payload: "3", qos: 1, packetID: 3))
    world.expect("pub", .pubAck(1), .pubAck(2), .pubAck(3, .noMatchingSubscribers))
    world.send("a", .pubAck(1))
    world.expect("a", .publish(topic: "t", payload: "2", qos: 1, packetID: 2))  // it waited already
    world.send("a", .pubAck(2))
    world.expectNothing("a")
    world.finish()
  }

  @Test func overlappingFiltersOfOldVersion() {  // 3.1.1 3.3.5-1: the highest QoS, one copy
    let world = World(clients: ["pub"], old: ["sub"])
    for (filter, qos) in [("a/#", UInt8(0)), ("a/b", 2), ("+/b", 1)] { world.subscribe("sub", filter, qos: qos) }
    world.send("pub", .publish(topic: "a/b", payload: "2", qos: 2, packetID: 1))
    world.send("pub", .publish(topic: "a/c", payload: "0", qos: 2, packetID: 2))
    world.expect("sub", .publish(topic: "a/b", payload: "2", qos: 2, packetID: 1), .publish(topic: "a/c", payload: "0"))
    world.expectNothing("sub")
    world.finish()
  }

  // MARK: Shared subscriptions (§4.8.2)

  /// Two members of one group that keep their sessions; the message `payload` with `qos` goes to the one that is
  /// answered first.
  private func share(_ world: World, _ payload: String, qos: UInt8) -> (taker: String, other: String) {
    for name in ["a", "b"] where world.broker.limits.sessionsMax > 0 && !world.openNames.contains(name) {
      world.connect(name, cleanStart: false, sessionExpiry: 100)
      world.subscribe(name, "$share/g/t", qos: 2)
    }
    world.send("pub", .publish(topic: "t", payload: payload, qos: qos, packetID: 1), .pubRel(1))
    let taker = world.client("a").packets.isEmpty ? "b" : "a"
    world.expect(taker, .publish(topic: "t", payload: payload, qos: qos, packetID: 1))
    let other = taker == "a" ? "b" : "a"
    world.expectNothing("a", "b")
    return (taker, other)
  }

  @Test func sharedMemberGetsItsGrantedQoS() {  // 4.8.2-3
    for granted in UInt8(0)...2 {
      let world = World(clients: ["pub", "a"])
      world.subscribe("a", "$share/g/t", qos: granted)
      for sent in UInt8(0)...2 {
        world.send("pub", .publish(topic: "t", qos: sent, packetID: 1), .pubRel(1))
        guard case .publish("t", "", min(granted, sent), _, false, false, [])? = world.takeFirst("a") else {
          Issue.record("granted \(granted), sent \(sent)")
          continue
        }
      }
      world.finish()
    }
  }

  @Test func sharedQoS2IsCompletedWithItsMember() {  // 4.8.2-4
    let world = World(clients: ["pub"])
    let (taker, other) = share(world, "x", qos: 2)
    world.lose(taker)
    world.advance(seconds: 50)
    world.expectNothing(other)
    world.connect(taker, cleanStart: false, sessionExpiry: 100)
    world.expect(taker, .publish(topic: "t", payload: "x", qos: 2, packetID: 1, dup: true))
    world.send(taker, .pubRec(1), .pubComp(1))
    world.expect(taker, .pubRel(1))
    world.expectNothing(other)
    world.finish()
  }

  @Test func sharedQoS2EndsWithItsMember() {  // 4.8.2-5
    let world = World(clients: ["pub"])
    let (taker, other) = share(world, "x", qos: 2)
    world.lose(taker)
    world.advance(seconds: 200)
    #expect(world.pool("deliveries").used == 0)
    world.expectNothing(other)
    world.finish()
  }

  @Test(arguments: [UInt8(1), 2]) func refusedByItsMemberIsForNobodyElse(qos: UInt8) {  // 4.8.2-6
    let world = World(clients: ["pub"])
    let (taker, other) = share(world, "x", qos: qos)
    world.send(taker, qos == 1 ? .pubAck(1, .quotaExceeded) : .pubRec(1, .quotaExceeded))
    world.expectNothing(taker, other)
    #expect(world.pool("deliveries").used == 0)
    world.finish()
  }
}
