import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

/// Full pools (docs/limits.md): only something new is refused, with 0x97 where MQTT 5 has it. A client can always
/// update and delete its own state.
@Suite struct LimitsTests {
  private func limits(_ change: (inout Limits) -> Void) -> Limits {
    var limits = Limits.forTests
    change(&limits)
    return limits
  }

  @Test func connections() {
    let world = World(
      limits: limits {
        $0.connectionsMax = 3
        $0.pendingConnectionsMax = 2
        $0.sessionsMax = 3
      })
    world.attach("p1")
    world.attach("p2")
    #expect(world.attach("p3"))  // too many that have not said who they are: the oldest gives way
    #expect(!world.isOpen("p1") && world.isOpen("p2"))
    world.send("p2", .connect(ConnectFields(clientID: "a")))
    world.send("p3", .connect(ConnectFields(clientID: "b")))
    world.connect("c")
    #expect(!world.attach("d"))
    #expect(world.pool("connections").refused == 1)
    #expect(world.broker.counters.quotaClosed == 1)
    world.lose("c")
    world.connect("d")
    world.finish()
  }

  @Test func pendingConnectionsAreCountedRight() {  // whatever way they leave
    let world = World(limits: limits { $0.pendingConnectionsMax = 1 })
    for round in 0..<5 {
      #expect(world.attach("lost\(round)"))
      world.lose("lost\(round)")
      #expect(world.attach("bad\(round)"))
      world.send("bad\(round)", .pingReq)
      #expect(world.attach("late\(round)"))
      world.advance(seconds: 11)
      #expect(world.attach("refused\(round)", allowsAnonymous: false))
      world.send("refused\(round)", .connect(ConnectFields(clientID: "x")))
      world.connect("taken\(round)", clientID: "y")
    }
    world.finish()
  }

  @Test func sessions() {
    let world = World(
      limits: limits {
        $0.connectionsMax = 2
        $0.pendingConnectionsMax = 2
        $0.sessionsMax = 2
      })
    world.connect("a", sessionExpiry: 100)
    world.connect("b", sessionExpiry: 100)
    world.lose("a")
    world.lose("b")
    world.advance(seconds: 1)
    world.connect("c", sessionExpiry: 100)  // the absent ones give way
    #expect(world.broker.counters.sessionsGivenWay == 1)
    #expect(world.connect("b", cleanStart: false, sessionExpiry: 100).sessionPresent)
    #expect(world.pool("sessions").refused == 0)
    world.finish()
  }

  @Test func subscriptions() {
    let world = World(clients: ["a", "b"], limits: limits { $0.subscriptionsMax = 3 })
    world.send("a", .subscribe(1, ["1", "2", "3", "4", "1"]))
    world.expect("a", .subAck(1, [.success, .success, .success, .quotaExceeded, .success]))
    world.send("b", .subscribe(1, [Filter("5")]))
    world.expect("b", .subAck(1, [.quotaExceeded]))
    world.subscribe("a", "2", qos: 2)
    world.unsubscribe("a", "1")
    world.subscribe("b", "5")
    #expect(world.pool("topic_nodes").used == 4)  // and the root
    world.finish()
  }

  @Test func topicNodesAndNames() {
    let world = World(
      clients: ["a"],
      limits: limits {
        $0.topicNodesMax = 4
        $0.topicNameCellsMax = 1
      })
    world.send("a", .subscribe(1, ["1/2/3", "4/5", "1/x", "y"]))
    world.expect("a", .subAck(1, [.success, .quotaExceeded, .success, .quotaExceeded]))
    #expect(world.pool("topic_nodes").used == 5)
    world.send("a", .publish(topic: "z", payload: "x", qos: 1, packetID: 1, retain: true))
    world.expect("a", .pubAck(1, .quotaExceeded))
    world.send("a", .publish(topic: "1/x", payload: "x", qos: 1, packetID: 2, retain: true))
    world.expect("a", .publish(topic: "1/x", payload: "x"), .pubAck(2))
    world.unsubscribe("a", "1/2/3")
    let long = String(repeating: "n", count: 70)
    world.send("a", .subscribe(5, [Filter(long), Filter(long + "2")]))
    world.expect("a", .subAck(5, [.success, .quotaExceeded]))
    world.finish()
  }

  @Test func sharedGroups() {
    let world = World(clients: ["a", "b"], limits: limits { $0.sharedGroupsMax = 1 })
    world.send("a", .subscribe(1, ["$share/g/t", "$share/h/t", "$share/g/u"]))
    world.expect("a", .subAck(1, [.success, .quotaExceeded, .quotaExceeded]))
    world.subscribe("b", "$share/g/t")  // a further member is no further group
    #expect(world.pool("subscriptions").used == 2)
    #expect(world.pool("topic_nodes").used == 2)
    world.finish()
  }

  @Test func retained() {
    let world = World(clients: ["a"], limits: limits { $0.retainedMax = 2 })
    for (topic, answer) in [("1", ReasonCode.success), ("2", .success), ("3", .quotaExceeded), ("1", .success)] {
      world.send("a", .publish(topic: topic, payload: "x", qos: 1, packetID: 1, retain: true))
      world.expect("a", .pubAck(1, answer))
    }
    world.send("a", .publish(topic: "2", qos: 1, packetID: 1, retain: true))
    #expect(world.takeFirst("a")?.packetID == 1)
    world.send("a", .publish(topic: "3", payload: "x", qos: 2, packetID: 1, retain: true))
    world.expect("a", .pubRec(1))
    world.send("a", .publish(topic: "4", payload: "x", retain: true))  // QoS 0 is told nothing
    world.expectNothing("a")
    #expect(world.pool("retained").refused == 2)
    #expect(world.broker.counters.publishesRefused == 2)
    world.finish()
  }

  @Test func retainedMessageCanBeReplacedWhenMessagesAreFull() {
    let world = World(
      clients: ["a"],
      limits: limits {
        $0.retainedMax = 2
        $0.messagesMax = 2
      })
    world.send("a", .publish(topic: "1", payload: "x", retain: true), .publish(topic: "2", payload: "x", retain: true))
    world.send("a", .publish(topic: "1", payload: "y", qos: 1, packetID: 1, retain: true))
    world.expect("a", .pubAck(1))
    world.subscribe("a", "1")
    world.expect("a", .publish(topic: "1", payload: "y", retain: true))
    world.finish()
  }

  @Test func deliveries() {  // who lacks room loses its own oldest, counted; the others get theirs
    let world = World(clients: ["pub", "a", "b"], limits: limits { $0.deliveriesMax = 3 })
    world.subscribe("a", "t", qos: 1)
    world.subscribe("b", "#", qos: 2)
    world.send("pub", .publish(topic: "t", qos: 1, packetID: 1))
    world.expect("pub", .pubAck(1))
    world.send("pub", .publish(topic: "t", qos: 2, packetID: 2))
    world.expect("pub", .pubRec(2))
    #expect(world.broker.counters.queuedDropped == 1)
    #expect(world.takeAll("a").count + world.takeAll("b").count == 3)
    world.send("pub", .publish(topic: "u"))  // QoS 0 needs none
    world.expect("b", .publish(topic: "u"))
    world.finish()
  }

  @Test func oldVersionIsClosedRatherThanLiedTo() {  // MQTT 3.1.1 has no answer that refuses
    let world = World(old: ["pub"], limits: limits { $0.retainedMax = 1 })
    world.send("pub", .publish(topic: "t", payload: "x", qos: 1, packetID: 1, retain: true))
    world.expect("pub", .pubAck(1))
    world.send("pub", .publish(topic: "u", payload: "x", qos: 1, packetID: 2, retain: true))
    world.expectClosed("pub")
    world.finish()
  }

  @Test func identifierCells() {
    let world = World(clients: ["pub", "a"], limits: limits { $0.subscriptionIDCellsMax = 1 })
    world.subscribe("a", "t", qos: 1, id: 1)
    world.subscribe("a", "+", qos: 1, id: 2)
    world.send("pub", .publish(topic: "t", qos: 1, packetID: 1))
    world.expect("pub", .pubAck(1))
    world.send("pub", .publish(topic: "t", qos: 1, packetID: 2))
    world.expect("pub", .pubAck(2))  // the receiver's lack, not the publisher's
    #expect(world.broker.counters.queuedDropped == 1)
    world.send("a", .pubAck(1))
    world.send("pub", .publish(topic: "t", qos: 1, packetID: 3))
    world.expect("pub", .pubAck(3))
    #expect(world.takeAll("a").count == 2)
    world.finish()
  }

  @Test func replayDoesNotTakeWhatIsPromised() {  // two receivers, two deliveries left, a replay that waits for one
    let world = World(clients: ["pub", "other", "second", "first"], limits: limits { $0.deliveriesMax = 4 })
    for index in 0..<6 {
      world.send("pub", .publish(topic: "r/\(index)", payload: "x", qos: 1, packetID: 1, retain: true))
    }
    _ = world.takeAll("pub")
    for name in ["second", "first"] { world.subscribe(name, "t", qos: 1) }
    world.subscribe("other", "o", qos: 1)
    for _ in 0..<2 { world.send("pub", .publish(topic: "o", qos: 1, packetID: 1)) }
    world.subscribe("first", "r/#", qos: 1)
    #expect(world.takeAll("first").count == 2)
    world.send("other", .pubAck(1), .pubAck(2))
    #expect(world.pool("deliveries").free == 2)
    world.send("pub", .publish(topic: "t", qos: 1, packetID: 2))
    #expect(world.takeAll("pub").last == .pubAck(2))
    world.expect("second", .publish(topic: "t", qos: 1, packetID: 1))
    world.expect("first", .publish(topic: "t", qos: 1, packetID: 3))
    for id in UInt16(1)...10 { world.send("first", .pubAck(id)) }
    #expect(world.takeAll("first").count == 4)
    world.finish()
  }

  @Test func blocksAreKeptForTheHigherClasses() {  // blocks kept for QoS 1 and 2 and for retained messages
    let world = World(
      clients: ["pub"],
      limits: limits {
        $0.packetBytesMax = 4096
        $0.blockCount = 64
        $0.blocksKeptForQoS = 16
        $0.blocksKeptForRetained = 8
      })
    world.connect("sub", sessionExpiry: 100)
    world.subscribe("sub", "t", qos: 1)
    world.lose("sub")
    let kilobyte = String(repeating: "x", count: 1023)
    var answers: [ReasonCode] = []
    for _ in 0..<16 {
      world.send("pub", .publish(topic: "t", payload: kilobyte, qos: 1, packetID: 1))
      if case .pubAck(1, let reason, _)? = world.takeFirst("pub") { answers.append(reason) }
    }
    #expect(answers.filter { $0 == .success }.count == 16)
    #expect(world.broker.counters.queuedDropped == 2)  // 64 blocks less 8, 4 a message: 14 wait
    world.send("pub", .publish(topic: "kept", payload: kilobyte, qos: 1, packetID: 1, retain: true))
    world.expect("pub", .pubAck(1))
    world.finish()
  }

  /// A queue of large messages does not keep the small ones of others out.
  @Test func largeMessagesLeaveRoomForSmallOnes() {
    let world = World(clients: ["pub"], limits: limits { $0.queuedMax = 1000 })
    world.connect("sub", sessionExpiry: 100)
    world.subscribe("sub", "#", qos: 1)
    world.lose("sub")
    func publish(_ byteCount: Int) -> UInt64 {
      let before = world.broker.counters.queuedDropped
      world.send("pub", .publish(topic: "t", payload: String(repeating: "x", count: byteCount), qos: 1, packetID: 1))
      world.expect("pub", .pubAck(1))
      return world.broker.counters.queuedDropped - before
    }
    while publish(10_000) == 0 {}
    for _ in 0..<64 { #expect(publish(10) == 0) }  // a 32nd of 2048 blocks
    #expect(publish(10_000) > 0)
    world.finish()
  }

  /// SUBSCRIBE is granted as far as the limit goes; what is there already may be changed. UNSUBSCRIBE takes nothing.
  @Test(arguments: [ProtocolVersion.v31, .v311, .v5]) func filtersInOnePacket(version: ProtocolVersion) {
    let world = World(limits: limits { $0.filtersPerPacketMax = 4 })
    world.connect("a", version)
    let beyond: ReasonCode = version == .v5 ? .quotaExceeded : .unspecifiedError
    world.send("a", .subscribe(1, ["1", "2", "3", "4"]))
    world.expect("a", .subAck(1, [.success, .success, .success, .success]))
    world.send("a", .subscribe(2, ["5", "5", "6", "1", Filter("7", qos: 1), Filter("2", qos: 2), "8"]))
    world.expect("a", .subAck(2, [.success, .success, .success, .success, beyond, .grantedQoS2, beyond]))
    #expect(world.pool("subscriptions").used == 6)
    world.send("a", .unsubscribe(3, ["1", "2", "3", "4", "5", "6", "7"]))
    let codes = [ReasonCode](repeating: .success, count: 6) + [.noSubscriptionExisted]
    world.expect("a", .unsubAck(3, version == .v5 ? codes : []))
    #expect(world.pool("subscriptions").used == 0)
    world.send("a", .pingReq)
    world.expect("a", .pingResp)
    world.finish()
  }

  /// As many filters as a packet can carry: the answer is as long as they are many, and comes whole.
  @Test(arguments: [ProtocolVersion.v311, .v5]) func asManyFiltersAsAPacketCarries(version: ProtocolVersion) {
    let world = World()
    world.connect("a", version)
    let limit = world.broker.limits.filtersPerPacketMax
    let room = world.broker.limits.packetBytesMax - 8
    let wanted = (0..<room / 7).map { Filter("\(1000 + $0 % 100)") }  // 7 bytes each; 100 that differ
    world.send("a", .subscribe(1, wanted))
    world.expect("a", .subAck(1, [ReasonCode](repeating: .success, count: wanted.count)))
    let others = (0..<room / 8).map { Filter("\(10_000 + $0)") }
    #expect(others.count > 8000)
    let free = world.pool("subscriptions").free - world.broker.shares.kept(.subscriptions)
    world.send("a", .subscribe(2, others))
    guard case .subAck(2, let granted)? = world.takeFirst("a") else {
      Issue.record("no SUBACK")
      return
    }
    #expect(granted.count == others.count)
    #expect(granted.prefix(free).allSatisfy { $0 == .success } && free < limit)
    #expect(granted.dropFirst(free).allSatisfy { $0 == (version == .v5 ? .quotaExceeded : .unspecifiedError) })
    let unwanted = (0..<room / 3).map { _ in "x" }
    #expect(unwanted.count > 21_000)
    world.send("a", .unsubscribe(3, unwanted))
    let none = [ReasonCode](repeating: .noSubscriptionExisted, count: unwanted.count)
    world.expect("a", .unsubAck(3, version == .v5 ? none : []))
    world.expectNothing("a")
    world.finish()
  }

  /// An answer that finds no room behind what its client has not read yet comes when there is some; cut anywhere.
  @Test(arguments: [ProtocolVersion.v311, .v5]) func aLongAnswerWaitsForItsRoom(version: ProtocolVersion) {
    for cut in [0, 3, 900, 5000] {
      let world = World(clients: ["pub"])
      world.connect("a", version)
      world.subscribe("a", "#")
      world.read("a", bytesPerFlush: 0)
      for _ in 0..<80 { world.send("pub", .publish(topic: "t", payload: String(repeating: "x", count: 1000))) }
      #expect(world.broker.counters.qos0Dropped > 0)  // its outbox is full
      let filters = (0..<4000).map { _ in Filter("#", qos: 1) }
      let bytes = Packet.subscribe(9, filters).bytes(version) + [0xC0, 0]
      world.send("a", bytes: Array(bytes[..<cut]))
      world.send("a", bytes: Array(bytes[cut...]))
      #expect(world.isOpen("a"))
      #expect(world.takeAll("a") == [])
      world.read("a", bytesPerFlush: nil)
      let came = world.takeAll("a").filter { $0.topic == nil }
      #expect(came == [.subAck(9, [ReasonCode](repeating: .grantedQoS1, count: 4000)), .pingResp], "cut at \(cut)")
      world.expectNothing("a")
      world.finish()
    }
  }

  /// A client that takes no packet as long as its answer cannot be answered (§3.1.2-24).
  @Test func anAnswerIsNoLongerThanItsClientTakes() {
    let world = World()
    world.connect("a", maximumPacketSize: 60)
    world.send("a", .subscribe(1, (0..<54).map { _ in "t" }))
    world.expect("a", .subAck(1, [ReasonCode](repeating: .success, count: 54)))
    world.send("a", .subscribe(2, (0..<56).map { _ in "t" }))
    world.expectClosed("a", .disconnect(.packetTooLarge))
    world.finish()
  }

  @Test func filterBeyondTheLimits() {
    let world = World(clients: ["a"])
    let deep = Array(repeating: "+", count: 33).joined(separator: "/")
    let long = String(repeating: "x", count: 513)
    world.send("a", .subscribe(1, [Filter(deep), Filter(long), Filter(String(deep.dropLast(2)))]))
    world.expect("a", .subAck(1, [.quotaExceeded, .quotaExceeded, .success]))
    world.finish()
  }

  @Test func longestFilterIsReplayed() {
    let world = World(clients: ["a"])
    let topic = "t/" + String(repeating: "x", count: 510)
    world.send("a", .publish(topic: topic, payload: "kept", retain: true))
    world.send(
      "a",
      .subscribe(
        1, [Filter(String(repeating: "y", count: 508) + "/+/#"), Filter("+/" + String(repeating: "x", count: 510))]))
    world.expect("a", .subAck(1, [.success, .success]), .publish(topic: topic, payload: "kept", retain: true))
    world.finish()
  }
}
