import Bounded
import MQTTBroker
import MQTTWire
import Testing

/// What has brought other brokers down, class by class; docs/conformance.md says which test shows which class.
@Suite struct NegativeTableTests {
  private static let versions: [ProtocolVersion] = [.v311, .v5]

  /// A body that each type could have.
  private static func body(_ type: UInt8, _ version: ProtocolVersion) -> [UInt8] {
    let block: [UInt8] = version == .v5 ? [0] : []
    switch type {
    case 1: return string("MQTT") + [version.rawValue, 2, 0, 0] + block + string("x")
    case 2: return [0, 0] + block
    case 3: return string("t") + [0, 1] + block
    case 4...7: return [0, 1]
    case 8: return [0, 1] + block + string("t") + [0]
    case 9: return [0, 1] + block + [0]
    case 10: return [0, 1] + block + string("t")
    case 11: return [0, 1] + block + (version == .v5 ? [0] : [])
    default: return []
    }
  }

  private func isEnded(_ world: World, _ name: String, _ version: ProtocolVersion, _ reasons: [ReasonCode]) -> Bool {
    let packets = world.takeAll(name)
    guard !world.isOpen(name) else { return false }
    return version == .v311 ? packets.isEmpty : reasons.contains { packets == [.disconnect($0)] }
  }

  // MARK: Lengths

  @Test(arguments: versions) func hugeRemainingLength(version: ProtocolVersion) {
    let world = World()
    for first in UInt8(1)...15 {
      let header = [first << 4 | ([6, 8, 10].contains(first) ? 2 : 0), 0xFF, 0xFF, 0xFF, 0x7F]
      world.attach("new", version)
      world.send("new", bytes: header)
      #expect(!world.isOpen("new") && world.takeAll("new").isEmpty)
      world.connect("a", version)
      world.send("a", bytes: header)
      #expect(isEnded(world, "a", version, [.packetTooLarge, .malformedPacket]), "\(first)")
    }
    #expect(world.pool("partial_blocks").peak == 0)
    world.finish()
  }

  /// §1.5.5: five bytes, and more bytes than needed, wherever a Variable Byte Integer may stand.
  @Test func variableByteIntegersAtEveryPlace() {
    let bad: [[UInt8]] = [
      [0x80, 0x80, 0x80, 0x80, 0x01], [0xFF, 0xFF, 0xFF, 0xFF, 0x7F], [0x80, 0x00], [0x80, 0x80, 0x00],
    ]
    let connect = string("MQTT") + [5, 2, 0, 0]
    let world = World()
    for number in bad {
      let first: [[UInt8]] = [
        [0x10] + number, packet(0x10, connect, number, string("x")),
        packet(0x10, string("MQTT"), [5, 6, 0, 0], [0], string("x"), number, string("w"), string("")),
      ]
      for bytes in first {
        world.attach("new")
        world.send("new", bytes: bytes + [0, 0, 0, 0])
        guard !world.isOpen("new") else { return #expect(Bool(false), "\(bytes)") }
        if case .connAck(.success, _, _)? = world.takeFirst("new") { #expect(Bool(false), "\(bytes)") }
        _ = world.takeAll("new")
      }
      let later: [[UInt8]] = [
        [0x30] + number, [0xC0] + number, packet(0x30, string("t"), number), packet(0x40, [0, 1, 0], number),
        packet(0x50, [0, 1, 0], number), packet(0x62, [0, 1, 0], number), packet(0x70, [0, 1, 0], number),
        packet(0x82, [0, 1], number, string("t"), [0]),
        packet(0x82, [0, 1], [UInt8(number.count + 1), 0x0B] + number, string("t"), [0]),
        packet(0xA2, [0, 1], number, string("t")), packet(0xE0, [0], number), packet(0xF0, [0x18], number),
      ]
      for bytes in later {
        world.connect("a")
        world.send("a", bytes: bytes)
        #expect(isEnded(world, "a", .v5, [.malformedPacket, .protocolError]), "\(bytes)")
      }
    }
    world.finish()
  }

  // MARK: Order of packets

  @Test(arguments: versions) func nothingButConnectComesFirst(version: ProtocolVersion) {
    let world = World()
    for first in UInt8(0)...255 where first != 0x10 {
      world.attach("a", version)
      world.send("a", bytes: packet(first, NegativeTableTests.body(first >> 4, version)))
      #expect(!world.isOpen("a"), "\(first)")
      if first >> 4 != 1 { #expect(world.client("a").packets.isEmpty, "\(first)") }
      _ = world.takeAll("a")
    }
    #expect(world.broker.counters.publishesReceived == 0)
    #expect(world.pool("sessions").peak == 0)
    world.finish()
  }

  /// Every state, type and flags, with a body that fits, none, and one byte too many.
  @Test(arguments: versions) func everyStateAndPacketAndFlags(version: ProtocolVersion) {
    let world = World(clients: ["other"], limits: .forTests)
    world.subscribe("other", "#")
    for first in UInt8(0)...255 {
      let whole = NegativeTableTests.body(first >> 4, version)
      for body in [whole, [], whole + [0]] {
        let bytes = packet(first, body)
        world.attach("new", version)
        world.send("new", bytes: bytes)
        world.lose("new")
        world.connect("a", version, cleanStart: false, sessionExpiry: 10, will: WillFields(topic: "w"))
        world.send("a", bytes: bytes)
        world.lose("a")
        world.connect("a", version, sessionExpiry: 10)  // ended, and takes no bytes
        world.read("a", bytesPerFlush: 0)
        world.send("a", bytes: [0x00, 0] + bytes)
        #expect(!world.isOpen("a") || world.isClosing("a"))
        world.lose("a")
        if world.isOpen("x") { world.lose("x") }
      }
    }
    world.send("other", .pingReq)
    #expect(world.takeAll("other").last == .pingResp)
    world.finish()
  }

  // MARK: Properties

  /// §2.2.2.2: identifier, a good value, and the packets of a client that may have it; W: its Will.
  private static let properties: [(id: UInt8, value: [UInt8], scopes: String)] = [
    (0x01, [1], "3W"), (0x02, u32(1), "3W"), (0x03, string("a"), "3W"), (0x08, string("a"), "3W"),
    (0x09, string("a"), "3W"), (0x0B, [1], "8"), (0x11, u32(1), "1E"), (0x12, string("a"), ""), (0x13, u16(1), ""),
    (0x15, string("a"), "1F"), (0x16, string("a"), "F"), (0x17, [1], "1"), (0x18, u32(1), "W"), (0x19, [1], "1"),
    (0x1A, string("a"), ""), (0x1C, string("a"), "E"), (0x1F, string("a"), "4567EF"), (0x21, u16(1), "1"),
    (0x22, u16(1), "1"), (0x23, u16(1), "3"), (0x24, [1], ""), (0x25, [1], ""),
    (0x26, string("k") + string("v"), "1345678AEFW"), (0x27, u32(1000), "1"), (0x28, [1], ""), (0x29, [1], ""),
    (0x2A, [1], ""),
  ]

  @Test func everyPropertyInEveryPacket() {
    let world = World()
    for (id, value, scopes) in NegativeTableTests.properties {
      let one = [UInt8(value.count + 1), id] + value
      let connect = string("MQTT")
      let packets: [(Character, [UInt8])] = [
        ("1", packet(0x10, connect, [5, 2, 0, 0], one, string("x"))),
        ("W", packet(0x10, connect, [5, 6, 0, 0], [0], string("x"), one, string("w"), string("gone"))),
        ("3", packet(0x30, string("t"), one)), ("4", packet(0x40, [0, 9, 0], one)),
        ("5", packet(0x50, [0, 9, 0], one)), ("6", packet(0x62, [0, 9, 0], one)), ("7", packet(0x70, [0, 9, 0], one)),
        ("8", packet(0x82, [0, 1], one, string("t"), [0])), ("A", packet(0xA2, [0, 1], one, string("t"))),
        ("E", packet(0xE0, [4], one)), ("F", packet(0xF0, [0x18], one)),
      ]
      for (scope, bytes) in packets {
        let isAllowed = scopes.contains(scope)
        let isFirst = scope == "1" || scope == "W"
        if isFirst { world.attach("a") } else { world.connect("a", sessionExpiry: 10) }
        world.send("a", bytes: bytes)
        let answer = world.takeAll("a")
        switch scope {
        case "1" where id == 0x15: #expect(answer == [.connAck(.badAuthenticationMethod)])
        case "1", "W":
          guard case .connAck(let reason, _, _)? = answer.first else { return #expect(Bool(false), "\(id) \(scope)") }
          #expect((reason == .success) == isAllowed, "\(id) in \(scope)")
          #expect(world.isOpen("a") == isAllowed, "\(id) in \(scope)")
        case "E", "F": #expect(!world.isOpen("a") && (answer.isEmpty == (scope == "E" && isAllowed)), "\(id) \(scope)")
        default:
          #expect(world.isOpen("a") == isAllowed, "\(id) in \(scope)")
          if !isAllowed { #expect([[.disconnect(.malformedPacket)], [.disconnect(.protocolError)]].contains(answer)) }
        }
        world.lose("a")
      }
    }
    world.finish()
  }

  // MARK: Packet ids

  /// The client's: each is held, repeats are answered and delivered no more, one over the limit ends the connection.
  @Test(arguments: versions) func unansweredQoS2(version: ProtocolVersion) {
    let world = World(clients: ["sub"])
    world.subscribe("sub", "#", qos: 0)
    func connect() { world.connect("pub", version, cleanStart: false, sessionExpiry: 100) }
    connect()
    for id in UInt16(1)...16 {
      for repeated in [false, true, true] {
        world.send("pub", .publish(topic: "t", qos: 2, packetID: id, dup: repeated))
        world.expect("pub", .pubRec(id))
      }
    }
    #expect(world.takeAll("sub").count == 16)
    for id in stride(from: 17, through: 65_535, by: 131) {
      world.send("pub", .publish(topic: "t", qos: 2, packetID: UInt16(id)))
      #expect(isEnded(world, "pub", version, [.receiveMaximumExceeded]))
      connect()
    }
    world.expectNothing("sub")
    for id in UInt16(1)...16 {
      world.send("pub", .pubRel(id))
      world.expect("pub", .pubComp(id))
    }
    world.finish()
  }

  /// Ours: a client that answers none has as many as its window, whatever it answers with.
  @Test(arguments: versions) func answersToWhatWasNeverSent(version: ProtocolVersion) {
    let world = World(clients: ["pub"])
    world.connect("sub", version)
    world.subscribe("sub", "t", qos: 2)
    for _ in 0..<100 {
      world.send("pub", .publish(topic: "t", qos: 2, packetID: 1), .pubRel(1))
    }
    #expect(world.takeAll("sub").count == 16)
    for id in stride(from: UInt16(17), through: 65_400, by: 131) {
      world.send("sub", .pubAck(id), .pubRec(id), .pubComp(id), .pubRel(id))
      let none: ReasonCode = version == .v5 ? .packetIdentifierNotFound : .success
      world.expect("sub", .pubRel(id, none), .pubComp(id, none))
    }
    world.expectNothing("sub")
    for id in UInt16(1)...16 { world.send("sub", .pubAck(id), .pubComp(id)) }  // none of them is what is awaited
    world.expectNothing("sub")
    world.finish()
  }

  // MARK: Topics

  @Test(arguments: versions) func emptyTopics(version: ProtocolVersion) {
    let world = World()
    let block: [UInt8] = version == .v5 ? [0] : []
    for bytes in [
      packet(0x30, string(""), block), packet(0x32, string(""), [0, 1], block),
      packet(0x82, [0, 1], block, string(""), [0]), packet(0xA2, [0, 1], block, string("")),
    ] {
      world.connect("a", version)
      world.send("a", bytes: bytes)
      #expect(isEnded(world, "a", version, [.malformedPacket, .protocolError]), "\(bytes)")
    }
    world.attach("w", version)
    world.send("w", .connect(ConnectFields(version: version, clientID: "w", will: WillFields(topic: ""))))
    #expect(!world.isOpen("w"))
    #expect(world.pool("topic_nodes").peak <= 1)
    world.finish()
  }

  /// 65,400 levels: refused by the default limits, and walked without recursion where the limits let them in.
  @Test func deepTopics() {
    let slashes = String(repeating: "/", count: 65_399)
    var large = Limits.forTests
    large.packetBytesMax = 200_000
    large.partialBlockCount = 1024
    large.blockCount = 4096
    large.outboxChunksPerConnection = 1600
    large.outboxChunksShared = 4000
    large.topicBytesMax = 65_535
    large.topicLevelsMax = 65_535
    large.topicNodesMax = 110_000
    for limits in [Limits.forTests, large] {
      let isTaken = limits.topicLevelsMax > 65_400
      var all = limits
      all.packetBytesMax = max(limits.packetBytesMax, 200_000)
      all.partialBlockCount = 1024
      all.outboxChunksPerConnection = 1600
      all.outboxChunksShared = 4000
      let world = World(clients: ["a"], limits: all)
      let plus = String(repeating: "+/", count: 32_000) + "#"
      for filter in [slashes, plus] {
        world.send("a", .subscribe(1, [Filter(filter, qos: 1)]))
        world.expect(
          "a", .subAck(1, [isTaken && filter == slashes ? .grantedQoS1 : isTaken ? .grantedQoS1 : .quotaExceeded]))
      }
      world.send("a", .publish(topic: slashes, payload: "x", qos: 1, packetID: 1, retain: true))
      if isTaken {
        let came = world.takeAll("a")
        #expect(came.contains(.publish(topic: slashes, payload: "x", qos: 1, packetID: 1)))
        world.send("a", .publish(topic: slashes, qos: 1, packetID: 2, retain: true))
        _ = world.takeAll("a")
      } else {
        world.expect("a", .pubAck(1, .topicNameInvalid))
      }
      world.send("a", .unsubscribe(3, [slashes, plus]))
      let code: ReasonCode = isTaken ? .success : .noSubscriptionExisted
      #expect(world.takeAll("a").last == .unsubAck(3, [code, code]))
      if !isTaken {
        world.connect("w", will: WillFields(topic: slashes), reason: .topicNameInvalid)
      }
      world.finish()
    }
  }

  /// §4.7.2: not under wildcards; and nobody but the broker speaks on $SYS.
  @Test(arguments: versions) func dollarTopics(version: ProtocolVersion) {
    let world = World(clients: ["sub", "sys"])
    world.subscribe("sub", "#")
    world.subscribe("sub", "+/a")
    world.subscribe("sys", "$SYS/#")
    world.subscribe("sys", "$own/#")
    world.connect("a", version)
    for topic in ["$SYS/broker/uptime", "$SYS/", "$SYS"] {
      world.send(
        "a", .publish(topic: topic, payload: "lie", retain: true),
        .publish(topic: topic, payload: "lie", qos: 1, packetID: 1, retain: true),
        .publish(topic: topic, payload: "lie", qos: 2, packetID: 2, retain: true))
      let answer: ReasonCode = version == .v5 ? .notAuthorized : .success
      world.expect("a", .pubAck(1, answer), .pubRec(2, answer))
      world.send("a", .pubRel(2))
      _ = world.takeAll("a")
    }
    world.connect(
      "w", version, will: WillFields(topic: "$SYS/lie"), reason: .notAuthorized)
    world.send("a", .publish(topic: "$own/a", payload: "x"), .publish(topic: "$SYSTEM", payload: "x"))
    world.expect("sys", .publish(topic: "$own/a", payload: "x"))
    world.expectNothing("sub", "sys")
    #expect(world.pool("retained").used == 0)
    world.finish()
  }
}
