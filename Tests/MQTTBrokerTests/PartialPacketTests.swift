import Bounded
import MQTTBroker
import MQTTWire
import Testing

/// Packets that arrive in part: wherever they are cut, and when the blocks for them do not suffice.
@Suite struct PartialPacketTests {
  @Test func everyCutIsTheSame() {
    let packets: [Packet] = [
      .subscribe(1, [Filter("t", qos: 1)]), .publish(topic: "t", payload: "hello", qos: 1, packetID: 2),
      .pingReq, .publish(topic: "t", payload: String(repeating: "x", count: 300), qos: 2, packetID: 3),
    ]
    let bytes = packets.flatMap { $0.bytes(.v5) }
    for length in stride(from: 1, to: 40, by: 3) {
      let world = World(clients: ["a"])
      var position = 0
      while position < bytes.count {
        world.send("a", bytes: Array(bytes[position..<min(position + length, bytes.count)]))
        position += length
      }
      // An acknowledgement is written behind what its message caused.
      world.expect(
        "a", .subAck(1, [.grantedQoS1]), .publish(topic: "t", payload: "hello", qos: 1, packetID: 1), .pubAck(2),
        .pingResp, .publish(topic: "t", payload: String(repeating: "x", count: 300), qos: 1, packetID: 2), .pubRec(3))
      #expect(world.pool("partial_blocks").used == 0)
      #expect(world.pool("partial_blocks").peak <= 2)
      world.finish()
    }
  }

  @Test func blocksAreLentForTheBodyOnly() {  // an idle connection, or a fixed header in part, takes no block
    let world = World(clients: ["a"])
    let small = Packet.publish(topic: "t", payload: "0123456789").bytes(.v5)
    world.send("a", bytes: Array(small[..<2]))
    #expect(world.pool("partial_blocks").used == 0)
    world.send("a", bytes: Array(small[2..<3]))
    #expect(world.pool("partial_blocks").used == 1)
    world.send("a", bytes: Array(small[3...]))
    #expect(world.pool("partial_blocks").used == 0)
    let large = Packet.publish(topic: "t", payload: String(repeating: "x", count: 2000)).bytes(.v5)
    world.send("a", bytes: Array(large[..<1000]))
    #expect(world.pool("partial_blocks").used == 4)  // of what has come, not of what is said to come
    world.lose("a")
    #expect(world.pool("partial_blocks").used == 0)
    world.finish()
  }

  /// Each read of 16 KiB ends in another's middle.
  @Test func manyPublishersOfLargePackets() {
    let names = (0..<10).map { "pub\($0)" }
    let world = World(clients: names + ["sub"], limits: Limits())
    world.subscribe("sub", "#")
    let stream = (0..<32).flatMap {
      Packet.publish(topic: "t\($0)", payload: String(repeating: "x", count: 4096)).bytes(.v5)
    }
    var position = 0
    while position < stream.count {
      let end = min(position + 16_384, stream.count)
      for name in names {
        world.send(name, bytes: Array(stream[position..<end]))
        _ = world.takeAll("sub")
      }
      position = end
    }
    for name in names { #expect(world.isOpen(name)) }
    #expect(world.pool("partial_blocks").dropped == 0)
    #expect(world.broker.counters.publishesReceived == 320)
    world.finish()
  }

  @Test func slowestOfTheDribblersGivesWay() {  // policy disconnect-slowest
    var limits = Limits.forTests
    limits.partialBlockBytes = 64
    limits.partialBlockCount = limits.packetBytesMax / 64
    let world = World(clients: ["a", "b", "c", "small"], old: ["d"], limits: limits)
    let third = limits.packetBytesMax / 3
    let bytes = Packet.publish(topic: "t", payload: String(repeating: "x", count: third * 3 / 2)).bytes(.v5)
    let short = Packet.publish(topic: "t", payload: "short", qos: 1, packetID: 1).bytes(.v5)
    world.send("small", bytes: Array(short[..<4]))
    for name in ["a", "b", "c"] {
      world.advance(seconds: 1)
      world.send(name, bytes: Array(bytes[..<third]))
    }
    world.expectClosed("a", .disconnect(.quotaExceeded))
    world.expectNothing("b", "c", "small")
    world.send("d", bytes: Array(bytes[..<third]))
    world.expectClosed("b", .disconnect(.quotaExceeded))
    // Who has been under way for longer and holds little is not in the way.
    world.send("small", bytes: Array(short[4...]))
    world.expect("small", .pubAck(1, .noMatchingSubscribers))
    world.send("c", bytes: Array(bytes[third...]))
    world.expectNothing("c", "d")
    #expect(world.pool("partial_blocks").dropped == 2)
    #expect(world.broker.counters.quotaClosed == 2)
    world.finish()
  }

  /// Twenty that hold 4000 bytes each, less than the mean, and send no more, do not throw out who sends a large packet,
  /// nor another one that holds no more than its share.
  @Test func whoLetsAPartLieGivesWayToWhoSends() {
    var limits = Limits()
    limits.sysIntervalSeconds = 3600
    let names = (0..<20).map { "lying\($0)" }
    let world = World(clients: names + ["small", "a"], limits: limits)
    let payload = String(repeating: "x", count: 60_000)
    let large = Packet.publish(topic: "t", payload: payload, qos: 1, packetID: 1).bytes(.v5)
    world.send("small", bytes: Array(large[..<700]))
    world.advance(seconds: 1)
    for name in names {
      world.send(name, bytes: Array(large[..<4000]))
      world.advance(seconds: 0.005)
    }
    var position = 0
    while position < large.count {
      let end = min(position + 1460, large.count)
      world.send("a", bytes: Array(large[position..<end]))
      world.advance(seconds: 0.01)
      position = end
    }
    world.expect("a", .pubAck(1, .noMatchingSubscribers))
    #expect(world.isOpen("small"))
    // As many as were needed, those that had lain for the longest.
    let open = names.map { world.isOpen($0) }
    #expect(open.contains(true) && open == open.sorted { !$0 && $1 })
    #expect(world.pool("partial_blocks").dropped == open.count { !$0 })
    world.finish()
  }

  // MARK: Before CONNECT

  private func part(_ byteCount: Int) -> [UInt8] {
    let connect = Packet.connect(
      ConnectFields(clientID: "x", will: WillFields(topic: "w", payload: String(repeating: "x", count: 20_000)))
    ).bytes(.v5)
    return Array(connect[..<byteCount])
  }

  /// All that may be pending hold as much as they can: whoever has said CONNECT finds room for the largest packet.
  @Test func whoHasSaidConnectIsNotThrownOutForOthers() {
    var limits = Limits.forTests
    limits.partialBlockCount = limits.packetBytesMax / limits.partialBlockBytes
    let world = World(clients: ["a", "b"], limits: limits)
    let pending = (0..<limits.pendingConnectionsMax).map { "p\($0)" }
    for name in pending {
      world.attach(name)
      world.send(name, bytes: part(2000))
      world.advance(seconds: 0.002)
    }
    // An eighth of 256 blocks, 8 for each.
    #expect(pending.filter { world.isOpen($0) } == Array(pending.suffix(4)))
    #expect(world.pool("partial_blocks").used == 32)
    let large = Packet.publish(topic: "t", payload: String(repeating: "x", count: 65_000)).bytes(.v5)
    let third = large.count / 3
    for start in stride(from: 0, to: 3 * third, by: third) {
      world.send("a", bytes: Array(large[start..<start + third]))
      #expect(world.isOpen("a"))
    }
    world.send("b", bytes: Array(large[..<100]))
    #expect(world.isOpen("b"))
    world.send("a", bytes: Array(large[(3 * third)...]))
    #expect(world.isOpen("a") && world.broker.counters.publishesReceived == 1)
    #expect(!pending.contains { world.isOpen($0) })  // they were in the way
    world.finish()
  }

  /// A Will of 1 KiB with the longest topic and identifier, a byte at a time, however few blocks there are.
  @Test(arguments: [Limits(.board), Limits(.house), .forTests]) func aConnectFindsItsShare(_ given: Limits) {
    var limits = given
    limits.sysIntervalSeconds = 3600
    let world = World(limits: limits)
    let will = WillFields(topic: String(repeating: "w", count: 512), payload: String(repeating: "x", count: 1024))
    let connect = Packet.connect(ConnectFields(clientID: String(repeating: "c", count: 64), will: will)).bytes(.v5)
    world.attach("a")
    for byte in connect { world.send("a", bytes: [byte]) }
    guard case .connAck(.success, _, _)? = world.takeFirst("a") else {
      Issue.record("no CONNACK")
      return
    }
    world.finish()
  }

  @Test func oneHasAShareOfTheirs() throws {
    let world = World(limits: .forTests)
    world.attach("a")
    world.send("a", bytes: part(12 * 256 - 300))
    #expect(world.isOpen("a"))
    world.send("a", bytes: Array(part(12 * 256 + 100)[(12 * 256 - 300)...]))
    world.expectClosed("a")
    #expect(world.pool("partial_blocks").used == 0 && world.pool("partial_blocks").dropped == 1)
    let notice = world.broker.nextNotice()
    let hit = try #require(notice)
    #expect(hit.kind == .limitHit && hit.limit == .partialBlocks && hit.size == 13)
    world.finish()
  }

  @Test func oneOfTheLargestAlwaysFits() {
    var limits = Limits.forTests
    limits.partialBlockCount = limits.packetBytesMax / limits.partialBlockBytes
    let world = World(clients: ["a"], limits: limits)
    let length = limits.packetBytesMax - 4 - 3 - 1 - 2
    let bytes = Packet.publish(topic: "t", payload: String(repeating: "x", count: length), qos: 1, packetID: 1).bytes(
      .v5)
    #expect(bytes.count == limits.packetBytesMax)
    for byte in bytes { world.send("a", bytes: [byte]) }
    world.expect("a", .pubAck(1, .noMatchingSubscribers))
    world.finish()
  }

  @Test func malformedBytesAreCounted() {  // §4.13.1: every one ends its connection with its reason
    let world = World()
    for round in 0..<20 {
      world.connect("a\(round)", clientID: "a")
      world.send("a\(round)", bytes: [0x30, 0xFF, 0xFF, 0xFF, 0xFF])
      world.expectClosed("a\(round)", .disconnect(.malformedPacket))
    }
    #expect(world.broker.counters.malformedClosed == 20)
    var notices = 0
    while let notice = world.broker.nextNotice() {
      #expect(notice.reason == .malformedPacket)
      notices += 1
    }
    #expect(notices == 20)
    world.finish()
  }
}
