import Bounded
import MQTTBroker
import MQTTWire
import Testing

/// Topic Aliases towards a client (§3.1.2.11.5, §3.3.2.3.4).
@Suite struct ConformanceAliasTests {
  private func connect(_ world: World, _ most: UInt32?, maximumPacketSize: UInt32? = nil) {
    world.connect(
      "sub", cleanStart: false, sessionExpiry: 100, maximumPacketSize: maximumPacketSize,
      properties: most.map { [.number(.topicAliasMaximum, $0)] } ?? [])
  }

  private func aliases(_ packets: [Packet]) -> [UInt32] {
    packets.flatMap { packet -> [UInt32] in
      guard case .publish(_, _, _, _, _, _, let properties) = packet else { return [] }
      return properties.compactMap { if case .number(.topicAlias, let alias) = $0 { alias } else { nil } }
    }
  }

  @Test func noneForThoseWhoDoNotAsk() {  // 3.1.2-27
    let world = World(clients: ["pub"], old: ["old"])
    world.connect("absent")
    world.connect("zero", properties: [.number(.topicAliasMaximum, 0)])
    for name in ["absent", "zero", "old"] {
      world.subscribe(name, "#", qos: 1)
      for _ in 0..<3 { world.send("pub", .publish(topic: "a/topic", payload: "x", qos: 1, packetID: 1)) }
      let got = world.takeAll(name)
      #expect(got.count >= 3)
      #expect(got.allSatisfy { $0.topic == "a/topic" })
      #expect(aliases(got) == [])
    }
    world.finish()
  }

  @Test func firstTopicsGetThem() {  // 3.1.2-26, 3.3.2-8, 3.3.2-11
    let world = World(clients: ["pub"])
    connect(world, 2)
    world.subscribe("sub", "#", qos: 1)
    world.send("pub", .publish(topic: "topic/1"), .publish(topic: "topic/2", qos: 1, packetID: 1))
    world.send("pub", .publish(topic: "topic/3"), .publish(topic: "abc"), .publish(topic: "topic/2"))
    world.send("pub", .publish(topic: "topic/1", qos: 1, packetID: 2, properties: [.user("k", "v")]))
    world.expect(
      "sub", .publish(topic: "topic/1", properties: [.alias(1)]),
      .publish(topic: "topic/2", qos: 1, packetID: 1, properties: [.alias(2)]), .publish(topic: "topic/3"),
      .publish(topic: "abc"), .publish(topic: "", properties: [.alias(2)]),
      .publish(topic: "", qos: 1, packetID: 2, properties: [.alias(1), .user("k", "v")]))
    world.finish()
  }

  @Test func oursAreBoundedToo() {
    let world = World(clients: ["pub"])
    connect(world, 65_535)
    world.subscribe("sub", "#")
    for number in 1...12 { world.send("pub", .publish(topic: "topic/\(number)")) }
    #expect(aliases(world.takeAll("sub")) == Array(1...8))
    world.finish()
  }

  @Test func nextConnectionKnowsNone() {  // 3.3.2-7
    let world = World(clients: ["pub"])
    connect(world, 8)
    world.subscribe("sub", "#", qos: 1)
    for id in UInt16(1)...2 { world.send("pub", .publish(topic: "topic", payload: "\(id)", qos: 1, packetID: id)) }
    #expect(aliases(world.takeAll("sub")) == [1, 1])
    world.lose("sub")
    connect(world, 8)
    world.expect(
      "sub", .publish(topic: "topic", payload: "1", qos: 1, packetID: 1, dup: true, properties: [.alias(1)]),
      .publish(topic: "", payload: "2", qos: 1, packetID: 2, dup: true, properties: [.alias(1)]))
    world.lose("sub")
    connect(world, nil)
    #expect(world.takeAll("sub").map(\.topic) == ["topic", "topic"])
    world.finish()
  }

  @Test func aliasMakesNothingTooLarge() {  // 3.1.2-25: a packet that fits without it goes without it
    let world = World(clients: ["pub"])
    connect(world, 8, maximumPacketSize: 60)
    world.subscribe("sub", "#")
    // Fixed header 2, topic 7, Property Length 1.
    for count in [50, 51, 47] {
      world.send("pub", .publish(topic: "topic", payload: String(repeating: "x", count: count)))
    }
    let got = world.takeAll("sub")
    #expect(got.map { $0.bytes(.v5).count } == [60, 60])
    #expect(aliases(got) == [1])
    #expect(world.broker.counters.oversizeDropped == 1)
    // Once known it saves the name's bytes.
    world.send("pub", .publish(topic: "topic", payload: String(repeating: "x", count: 52)))
    #expect(world.takeAll("sub").map { $0.bytes(.v5).count } == [60])
    world.finish()
  }

  @Test func whatIsNotSentDefinesNone() {
    let world = World(clients: ["pub"])
    connect(world, 8)
    world.subscribe("sub", "#")
    world.read("sub", bytesPerFlush: 0)
    for count in [1000, 0] {  // until not even the shortest message finds room
      let payload = String(repeating: "x", count: count)
      let before = world.broker.counters.qos0Dropped
      while world.broker.counters.qos0Dropped == before { world.send("pub", .publish(topic: "big", payload: payload)) }
    }
    let dropped = world.broker.counters.qos0Dropped
    world.send("pub", .publish(topic: "topic/1", payload: "dropped"))
    #expect(world.broker.counters.qos0Dropped == dropped + 1)
    world.read("sub", bytesPerFlush: nil)
    #expect(world.takeAll("sub").allSatisfy { $0.topic == "big" })
    for _ in 0..<2 { world.send("pub", .publish(topic: "topic/1", payload: "sent")) }
    world.expect(
      "sub", .publish(topic: "topic/1", payload: "sent", properties: [.alias(1)]),
      .publish(topic: "", payload: "sent", properties: [.alias(1)]))
    world.finish()
  }

  @Test func clientCanAlwaysResolveThem() {  // seeded: what is dropped or waits defines no alias
    var random = SeededGenerator(seed: 3_326)
    for _ in 0..<20 {
      let world = World(clients: ["pub"])
      connect(world, 4)
      world.subscribe("sub", "#", qos: 1)
      var known: [UInt32: String] = [:]
      var count = 0
      func take() {
        for packet in world.takeAll("sub") {
          guard case .publish(var topic, let payload, let qos, let id, _, _, let properties) = packet else { continue }
          if let alias = aliases([packet]).first {
            if topic.isEmpty { topic = known[alias] ?? "unknown" } else { known[alias] = topic }
          }
          #expect(payload.hasPrefix(topic + " "))
          #expect(properties.count <= 1)
          count += 1
          if qos == 1 { world.send("sub", .pubAck(id)) }
        }
      }
      for _ in 0..<200 {
        switch random.below(12) {
        case 0: world.read("sub", bytesPerFlush: 0)
        case 1: world.read("sub", bytesPerFlush: 1 + random.below(3000))
        case 2: take()
        default:
          let topic = "topic/\(random.below(6))"
          let payload = topic + " " + String(repeating: "x", count: random.below(6000))
          world.send("pub", .publish(topic: topic, payload: payload, qos: UInt8(random.below(2)), packetID: 1))
          _ = world.takeAll("pub")
        }
      }
      world.read("sub", bytesPerFlush: nil)
      for _ in 0..<30 { take() }
      #expect(count > 30)
      #expect(known.keys.allSatisfy { (1...4).contains($0) })
      world.finish()
    }
  }

  // MARK: Who has them

  @Test func whoFindsNoSetIsToldSo() {  // 3.2.2-17, 3.2.2-18, 3.1.2-26
    var limits = Limits.forTests
    limits.topicAliasClientsMax = 2
    let world = World(old: ["old"], limits: limits)
    func most(_ name: String, clientID: String? = nil) -> [UInt32] {
      world.connect(name, clientID: clientID, properties: [.number(.topicAliasMaximum, 8)]).properties.compactMap {
        if case .number(.topicAliasMaximum, let most) = $0 { most } else { nil }
      }
    }
    #expect(world.pool("topic_alias_clients").used == 0)  // MQTT 3.1.1 takes none
    #expect(most("a") == [8])
    #expect(most("b") == [8])
    #expect(most("c") == [])
    #expect(world.pool("topic_alias_clients").refused == 1)
    for name in ["a", "b", "c"] { world.subscribe(name, "#") }
    for _ in 0..<2 { world.send("old", .publish(topic: "topic")) }
    for name in ["a", "b"] { #expect(aliases(world.takeAll(name)) == [1, 1]) }
    world.expect("c", .publish(topic: "topic"), .publish(topic: "topic"))
    world.send("c", .publish(topic: "topic", properties: [.alias(1)]))
    world.expectClosed("c", .disconnect(.topicAliasInvalid))
    // A takeover finds what the connection before it had; what is given back is empty.
    world.send("a", .publish(topic: "mine", properties: [.alias(1)]))
    _ = world.takeAll("a")
    #expect(most("a2", clientID: "a") == [8])
    world.expectClosed("a", .disconnect(.sessionTakenOver))
    world.send("a2", .publish(topic: "", properties: [.alias(1)]))
    world.expectClosed("a2", .disconnect(.protocolError))
    #expect(most("d") == [8])
    world.lose("b")
    #expect(most("e") == [8])
    #expect(world.pool("topic_alias_clients").used == 2)
    world.finish()
  }

  @Test func comingAndGoingLosesNone() {
    var limits = Limits.forTests
    limits.topicAliasClientsMax = 3
    let world = World(limits: limits)
    for round in 0..<50 {
      for name in ["a", "b", "c", "d"] { world.connect(name) }
      for alias in UInt32(1)...8 {
        world.send(
          "a", .publish(topic: "round/\(round)/" + String(repeating: "n", count: 50), properties: [.alias(alias)]))
      }
      #expect(world.pool("topic_alias_clients").used == 3)
      #expect(world.pool("topic_alias_cells").used == 8)
      world.send("a", .publish(topic: "", properties: [.alias(9)]))
      world.expectClosed("a", .disconnect(.topicAliasInvalid))
      world.send("b", .disconnect())
      world.lose("c")
      world.lose("d")
      #expect(world.pool("topic_alias_clients").used == 0)
      #expect(world.pool("topic_alias_cells").used == 0)
    }
    #expect(world.pool("topic_alias_clients").refused == 50)
    world.finish()
  }

  // MARK: Where their topics lie

  @Test func cellsRunOut() {  // a client's longer topics: 0x97; what is short always has room
    var limits = Limits.forTests
    limits.topicAliasCellsMax = 10
    let world = World(clients: ["greedy", "modest", "sub"], limits: limits)
    world.subscribe("sub", "#")
    let long = String(repeating: "n", count: 512)  // 8 cells
    world.send("greedy", .publish(topic: long, properties: [.alias(1)]), .publish(topic: "", properties: [.alias(1)]))
    world.expect("sub", .publish(topic: long), .publish(topic: long))
    world.send("greedy", .publish(topic: long, properties: [.alias(1)]))  // the same again takes no more
    world.expect("sub", .publish(topic: long))
    #expect(world.pool("topic_alias_cells").used == 8)
    world.send("modest", .publish(topic: long, properties: [.alias(8)]))
    world.expect("sub", .publish(topic: long))
    world.send("greedy", .publish(topic: long, properties: [.alias(2)]))
    world.expect("sub", .publish(topic: long))
    world.send("greedy", .publish(topic: long, properties: [.alias(3)]))
    world.expectClosed("greedy", .disconnect(.quotaExceeded))
    #expect(world.pool("topic_alias_cells").refused == 1)
    #expect(world.pool("topic_alias_cells").used == 8)  // what it had is free again
    for alias in UInt32(1)...8 {
      world.send("modest", .publish(topic: "\(alias)" + String(repeating: "m", count: 63), properties: [.alias(alias)]))
      world.send("modest", .publish(topic: "", payload: "x", properties: [.alias(alias)]))
    }
    #expect(world.takeAll("sub").count == 16)
    #expect(world.pool("topic_alias_cells").used == 8)
    world.finish()
  }

  @Test func oursLeaveHalfOfTheCells() {
    var limits = Limits.forTests
    limits.topicAliasCellsMax = 6
    let world = World(clients: ["pub"], limits: limits)
    connect(world, 8)
    world.subscribe("sub", "#")
    for number in 1...8 { world.send("pub", .publish(topic: "topic/\(number)")) }
    #expect(aliases(world.takeAll("sub")) == [1, 2, 3])
    world.send("pub", .publish(topic: "topic/2"), .publish(topic: "topic/8"))
    world.expect("sub", .publish(topic: "", properties: [.alias(2)]), .publish(topic: "topic/8"))
    world.lose("sub")
    #expect(world.pool("topic_alias_cells").used == 0)
    world.finish()
  }
}
