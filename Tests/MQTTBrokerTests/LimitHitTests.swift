import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

/// What the log is told of limits at which something is refused, dropped or ended.
@Suite struct LimitHitTests {
  private static let here = SourceAddress(ipv4: 0xC000_0207)
  private static let a = Who.client("a")
  private static let off = Who.client("off")

  private static func subscribe(_ filters: String...) -> @Sendable (World) -> Void {
    { world in
      world.connect("a")
      world.send("a", .subscribe(1, filters.map { Filter($0) }))
    }
  }

  private static func publish(
    _ topic: String, _ payload: String = "x", qos: UInt8 = 1, retain: Bool = false, properties: [Prop] = []
  ) -> @Sendable (World) -> Void {
    { world in
      world.connect("a")
      world.send(
        "a",
        .publish(
          topic: topic, payload: payload, qos: qos, packetID: qos > 0 ? 1 : 0, retain: retain, properties: properties))
    }
  }

  /// "off" is away, and "a" publishes until it loses a message.
  private static func absent(_ payload: String = "x", identifiers: UInt32 = 0) -> @Sendable (World) -> Void {
    { world in
      world.connect("off", sessionExpiry: 1000)
      if identifiers == 0 { world.subscribe("off", "#", qos: 1) }
      for id in 0..<identifiers { world.subscribe("off", ["a/b/c", "a/b/#", "a/#", "#"][Int(id)], qos: 1, id: id + 1) }
      world.lose("off")
      world.connect("a")
      while world.broker.counters.queuedDropped + world.broker.counters.queueRefusals == 0 {
        world.send("a", .publish(topic: "a/b/c", payload: payload, qos: 1, packetID: 1))
      }
    }
  }

  /// So many blocks of 256 bytes for packets of 2 KiB.
  private static func blocks(_ count: Int) -> @Sendable (inout Limits) -> Void {
    {
      $0.packetBytesMax = 2048
      $0.referenceBytesMin = 1024
      $0.blockCount = count
      $0.blocksKeptForQoS = 0
      $0.blocksKeptForRetained = 0
    }
  }

  /// 6 blocks are retained, and 8 are wanted.
  private static func large(in world: World, qos: UInt8 = 0, retain: Bool = false) {
    publish("kept", String(repeating: "x", count: 1400), retain: true)(world)
    world.send(
      "a",
      .publish(
        topic: "t", payload: String(repeating: "x", count: 1900), qos: qos, packetID: qos > 0 ? 2 : 0, retain: retain))
  }

  /// "a" reads nothing, and "pub" publishes until it loses a message.
  private static func stuck(_ world: World) {
    world.connect("a")
    world.subscribe("a", "t")
    world.read("a", bytesPerFlush: 0)
    world.connect("pub")
    while world.broker.counters.qos0Dropped == 0 {
      world.send("pub", .publish(topic: "t", payload: String(repeating: "x", count: 200)))
    }
  }

  private static let long = String(repeating: "t", count: 200)

  static let rows: [Row] = [
    Row(
      .connections, 1, .address,
      limits: {
        $0.connectionsMax = 1
        $0.pendingConnectionsMax = 1
      },
      meet: {
        $0.connect("a")
        #expect(!$0.attach("b", from: here))
      }),
    Row(
      .connectionsPerAddress, 1, .address, kind: .sourceRefused, limits: { $0.connectionsPerAddressMax = 1 },
      meet: {
        $0.attach("a", from: here)
        #expect(!$0.attach("b", from: here))
      }),
    Row(
      .pendingConnections, 1, .address, .gaveWay, limits: { $0.pendingConnectionsMax = 1 },
      meet: {
        $0.attach("a", from: here)
        #expect($0.attach("b"))
        #expect(!$0.isOpen("a") && $0.isOpen("b"))
      }),
    Row(
      .pendingPerAddress, 1, .address, kind: .sourceRefused, limits: { $0.pendingPerAddressMax = 1 },
      meet: {
        $0.attach("a", from: here)
        #expect(!$0.attach("b", from: here))
      }),
    Row(
      .connectsPerSecond, 20, .address, kind: .sourceRefused, limits: { $0.connectBurst = 1 },
      meet: {
        $0.attach("a", from: here)
        #expect(!$0.attach("b", from: here))
      }),
    Row(
      .connectSeconds, 10, .connection, .disconnected,
      meet: {
        $0.attach("a")
        $0.advance(seconds: 11)
      }),
    Row(
      .packetSeconds, 30, a, .disconnected,
      meet: {
        $0.connect("a")
        $0.send("a", bytes: [0x30, 5, 0])
        $0.advance(seconds: 31)
      }),
    Row(
      .takeovers, 1, a, kind: .takeoverRefused, limits: { $0.takeoversMax = 1 },
      meet: {
        $0.connect("0", clientID: "a")
        $0.connect("1", clientID: "a")
        $0.connect("2", clientID: "a", reason: .connectionRateExceeded)
      }),
    Row(
      .clientIDBytes, 64, .connection, size: 65,
      meet: {
        $0.connect("a", clientID: String(repeating: "i", count: 65), reason: .clientIdentifierNotValid)
      }),
    Row(
      .sessions, 1, .connection, .gaveWay,
      limits: {
        $0.connectionsMax = 1
        $0.pendingConnectionsMax = 1
        $0.sessionsMax = 1
      },
      meet: {
        $0.connect("a", sessionExpiry: 100)
        $0.lose("a")
        $0.connect("b")
      }),
    Row(
      .clientIDCells, 0, .connection, limits: { $0.clientIDCellsMax = 0 },
      meet: {
        $0.connect("a", clientID: String(repeating: "i", count: 33), reason: .quotaExceeded)
      }),
    Row(
      .packetBytes, 65_536, a, .disconnected, size: 100_004,
      meet: {
        $0.connect("a", .v311)
        $0.send("a", bytes: [0x30, 0xA0, 0x8D, 0x06])  // 100,000 in three bytes, and the first byte
      }),
    Row(
      .partialBlocks, 4, a, .disconnected,
      limits: {
        $0.packetBytesMax = 1024
        $0.partialBlockCount = 4
      },
      meet: {
        $0.connect("a")
        $0.connect("b")
        for name in ["a", "b"] { $0.send(name, bytes: [0x30, 0xF7, 0x07] + [UInt8](repeating: 0, count: 700)) }
      }),
    Row(.filtersPerPacket, 2, a, size: 3, limits: { $0.filtersPerPacketMax = 2 }, meet: subscribe("1", "2", "3")),
    Row(.topicBytes, 48, a, size: 200, limits: { $0.topicBytesMax = 48 }, meet: subscribe(long)),
    Row(.topicBytes, 48, a, size: 200, limits: { $0.topicBytesMax = 48 }, meet: publish(long)),
    Row(
      .topicBytes, 48, .connection, size: 200, limits: { $0.topicBytesMax = 48 },
      meet: { $0.connect("a", will: WillFields(topic: long), reason: .topicNameInvalid) }),
    Row(.topicLevels, 3, a, size: 4, limits: { $0.topicLevelsMax = 3 }, meet: subscribe("1/2/3/4")),
    Row(.topicLevels, 3, a, size: 4, limits: { $0.topicLevelsMax = 3 }, meet: publish("1/2/3/4", qos: 0)),
    Row(.topicNodes, 3, a, limits: { $0.topicNodesMax = 3 }, meet: subscribe("1/2/3/4")),
    Row(.topicNodes, 3, a, limits: { $0.topicNodesMax = 3 }, meet: publish("1/2/3/4", retain: true)),
    Row(.topicNameCells, 1, a, limits: { $0.topicNameCellsMax = 1 }, meet: subscribe("1/2/3/4/" + long)),
    Row(.topicNameCells, 1, a, limits: { $0.topicNameCellsMax = 1 }, meet: publish("1/" + long, retain: true)),
    Row(.topicAlias, 8, a, .disconnected, size: 9, meet: publish("t", properties: [.alias(9)])),
    Row(
      .topicAliasCells, 1, a, .disconnected, limits: { $0.topicAliasCellsMax = 1 },
      meet: { world in  // a client is sure of 8 cells of 64 bytes
        world.connect("a")
        for alias in UInt32(1)...3 { world.send("a", .publish(topic: long, payload: "x", properties: [.alias(alias)])) }
      }),
    Row(.subscriptions, 1, a, limits: { $0.subscriptionsMax = 1 }, meet: subscribe("1", "2")),
    Row(.sharedGroups, 1, a, limits: { $0.sharedGroupsMax = 1 }, meet: subscribe("$share/g/1", "$share/g/2")),
    Row(
      .retained, 1, a, limits: { $0.retainedMax = 1 },
      meet: {
        publish("1", retain: true)($0)
        $0.send("a", .publish(topic: "2", payload: "x", qos: 1, packetID: 1, retain: true))
      }),
    Row(
      .messages, 1, .connection,
      limits: {
        $0.messagesMax = 1
        $0.retainedMax = 1
      },
      meet: {
        $0.connect("a", will: WillFields(topic: "t"))
        $0.connect("b", will: WillFields(topic: "t"), reason: .quotaExceeded)
      }),
    Row(
      .messages, 2, off, .lostMessage,
      limits: {
        $0.messagesMax = 2
        $0.retainedMax = 1
      }, meet: absent(String(repeating: "x", count: 11_000))),
    Row(.blocks, 64, off, .lostMessage, limits: blocks(64), meet: absent(String(repeating: "x", count: 300))),
    Row(.blocks, 12, a, limits: blocks(12), meet: { large(in: $0, retain: true) }),
    Row(
      .blocks, 12, a, limits: blocks(12),
      meet: {
        $0.connect("b")
        $0.subscribe("b", "t", qos: 1)
        large(in: $0, qos: 1)
      }),
    Row(.deliveries, 4, off, .lostMessage, limits: { $0.deliveriesMax = 4 }, meet: absent()),
    Row(
      .subscriptionIDCells, 2, off, .lostMessage, limits: { $0.subscriptionIDCellsMax = 2 },
      meet: absent(identifiers: 4)),
    Row(.queued, 2, off, .lostMessage, limits: { $0.queuedMax = 2 }, meet: absent()),
    Row(
      .queued, 2, off, .refusedSender,
      limits: {
        $0.queuedMax = 2
        $0.queueFull = .refuse
      }, meet: absent()),
    Row(
      .inflight, 1, a, .disconnected, size: 2, limits: { $0.inflightMax = 1 },
      meet: {
        publish("t", qos: 2)($0)
        $0.send("a", .publish(topic: "t", payload: "x", qos: 2, packetID: 2))
      }),
    Row(
      .outboxChunks, 1152, a, .lostMessage,
      meet: {
        // Another one holds some of the chunks, too.
        $0.connect("b")
        $0.subscribe("b", "u")
        $0.read("b", bytesPerFlush: 0)
        $0.connect("own")
        for _ in 0..<50 { $0.send("own", .publish(topic: "u", payload: String(repeating: "x", count: 200))) }
        stuck($0)
      }),
    Row(.outboxChunksPerConnection, 576, a, .lostMessage, limits: { $0.outboxChunksShared = 4096 }, meet: stuck),
    Row(
      .outboxChunksPerConnection, 576, a, .disconnected, limits: { $0.outboxChunksShared = 4096 },
      meet: {
        stuck($0)
        while $0.broker.nextNotice() != nil {}
        _ = $0.broker.takeHits(.outboxChunksPerConnection, at: $0.now)
        $0.broker.close($0.client("a").id, .quotaExceeded, at: $0.now)
        $0.advance(seconds: 60)
      }),
  ]

  @Test(arguments: rows) func isNoted(_ row: Row) throws {
    var limits = Limits.forTests
    row.change(&limits)
    let world = World(limits: limits)
    row.meet(world)
    var hits: [Notice] = []
    while let notice = world.broker.nextNotice() {
      if notice.kind != .connectionFailed, notice.kind != .connectRefused { hits.append(notice) }
    }
    #expect(hits.map(\.limit) == [row.limit])
    let hit = try #require(hits.first)
    #expect(hit.kind == row.kind)
    #expect(hit.outcome == row.outcome)
    #expect(hit.size == row.size)
    #expect(hit.limit.facts(limits).value == row.value)
    // A refused takeover's session is there, connected.
    let name = hit.kind == .limitHit ? world.broker.clientID(at: hit.limit) : world.broker.clientID(of: hit)
    if !name.isEmpty {
      #expect(row.who == .client(text(name)))
    } else if hit.isOfSource || hit.kind == .sourceRefused {
      #expect(row.who == .address && hit.source == LimitHitTests.here)
    } else {
      #expect(row.who == .connection && hit.transport != 0)
    }
    if row.kind == .limitHit { #expect(world.broker.takeHits(row.limit, at: world.now) == 1) }
  }

  /// A limit that nobody is told of is one that nobody finds.
  @Test func eachLimitHasARow() {
    let met = Set(Self.rows.map(\.limit))
    for index in 0..<Limit.count {
      let limit = Limit(rawValue: UInt8(index))!
      #expect(met.contains(limit), "\(limit)")
    }
  }

  @Test func aLimitIsToldOfOnceInAMinute() {
    let world = World(clients: ["a"], limits: .forTests)
    func meet(_ times: Int) {
      for _ in 0..<times {
        world.send(
          "a",
          .subscribe(
            1, [Filter("1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20/21/22/23/24/25/26/27/28/29/30/31/32/33")]))
      }
    }
    func notices() -> Int {
      var count = 0
      while let notice = world.broker.nextNotice() {
        #expect(notice.limit == .topicLevels && notice.size == 33)
        #expect(text(world.broker.clientID(at: notice.limit)) == "a")
        count += 1
      }
      return count
    }
    meet(5)
    #expect(notices() == 1)  // until it is taken
    #expect(world.broker.takeHits(.topicLevels, at: world.now) == 5)
    meet(3)
    #expect(notices() == 1)
    world.advance(seconds: 59)
    #expect(world.broker.takeHits(.topicLevels, at: world.now) == nil)
    meet(2)
    #expect(notices() == 1)
    world.advance(seconds: 1)
    #expect(world.broker.takeHits(.topicLevels, at: world.now) == 5)
    #expect(notices() == 0)
  }

  /// The session of one that is sent away has ended when the log is written; of a long identifier the first bytes are known.
  @Test func whoMetALimitIsKnownAfterwards() {
    let world = World(limits: .forTests)
    for name in ["camera", String(repeating: "c", count: 40)] {
      world.connect(name, .v311)
      world.send(name, bytes: [0x30, 0xFF, 0xFF, 0x7F])
      #expect(!world.isOpen(name))
      while let notice = world.broker.nextNotice() {
        #expect(notice.kind == .connectionFailed || notice.limit == .packetBytes)
        #expect(world.broker.clientID(of: notice).isEmpty)
      }
      #expect(text(world.broker.clientID(at: .packetBytes)) == name.prefix(32))
      #expect(world.broker.takeHits(.packetBytes, at: world.now) == 1)
      world.advance(seconds: 60)
    }
  }

  /// The configuration's key, the number in force, and as many cases as there are rows.
  @Test func limitsHaveTheirKeysAndNumbers() {
    let limits = Limits()
    var names: Set<String> = []
    for index in 0..<Limit.count {
      let (name, _, value) = Limit(rawValue: UInt8(index))!.facts(limits)
      #expect(names.insert("\(name)").inserted)
      #expect(value > 0)
    }
    #expect(Limit(rawValue: UInt8(Limit.count)) == nil)
    let (name, measure, value) = Limit.packetBytes.facts(limits)
    #expect("\(name)" == "packet_bytes" && measure == .size && value == limits.packetBytesMax)
  }

  private func text(_ bytes: Bytes) -> String { String(decoding: bytes.array(), as: UTF8.self) }
}
