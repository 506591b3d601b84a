import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

@Suite("Who holds the most beyond its share gives way; nobody else is refused or loses anything")
struct GiveWayTests {
  /// Clients that take room and do not give it back.
  enum Hoarder: String, CaseIterable, Sendable {
    case absent, absentInFlight, neverAcknowledging, notReading, manyIdentifiers

    func join(_ world: World, _ name: String, _ version: ProtocolVersion) {
      let isAbsent = self != .neverAcknowledging && self != .notReading
      world.connect(
        name, version, cleanStart: version == .v5 || !isAbsent, sessionExpiry: version == .v5 && isAbsent ? 1000 : nil)
      if self == .manyIdentifiers, version == .v5 {
        for id in 0..<UInt32(40) {
          let levels = ["z", "a", "b", "c", "d"].enumerated().map { id >> $0.offset & 1 == 0 ? $0.element : "+" }
          world.subscribe(name, levels.joined(separator: "/") + (id < 32 ? "/+" : "/#"), qos: 1, id: id + 1)
        }
      } else {
        world.subscribe(name, "#", qos: 1)
      }
      if self == .notReading { world.read(name, bytesPerFlush: 0) }
      if isAbsent, self != .absentInFlight { world.lose(name) }
    }
  }

  /// Ten of them, at default limits: each message of every publisher is taken, and a subscriber that reads gets all.
  @Test(arguments: Hoarder.allCases, [16, 300, 3000, 30_000])
  func hoardersSilenceNobody(hoarder: Hoarder, payloadByteCount: Int) {
    let world = World(clients: ["live"], limits: Limits())
    for version in [ProtocolVersion.v5, .v311] {
      for index in 0..<5 { hoarder.join(world, "h\(version)\(index)", version) }
    }
    if hoarder == .absentInFlight {
      // Each has as many in flight as its window takes, and goes.
      world.connect("first")
      for index in 0..<32 {
        world.send("first", .publish(topic: "z/a/b/c/d/\(index)", payload: "x", qos: 1, packetID: 1))
      }
      for version in [ProtocolVersion.v5, .v311] { for index in 0..<5 { world.lose("h\(version)\(index)") } }
    }
    world.subscribe("live", "z/#", qos: 1)
    world.connect("p5", .v5)
    world.connect("p4", .v311)
    let payload = String(repeating: "x", count: payloadByteCount)
    for index in 0..<500 / (1 + payloadByteCount / 3000) {
      let name = index % 2 == 0 ? "p5" : "p4"
      let qos = UInt8(1 + index / 2 % 2)
      world.send(
        name, .publish(topic: "z/a/b/c/d/\(index % 20)", payload: payload, qos: qos, packetID: 1),
        qos == 2 ? .pubRel(1) : .pingReq)
      world.expect(name, qos == 2 ? .pubRec(1) : .pubAck(1))
      world.expect(name, qos == 2 ? .pubComp(1) : .pingResp)
      guard case .publish(_, payload, 1, let id, false, false, _)? = world.takeFirst("live") else {
        Issue.record("message \(index) did not arrive")
        return
      }
      world.send("live", .pubAck(id))
    }
    #expect(world.broker.counters.publishesRefused == 0)
    #expect(world.broker.counters.gaveWay > 0 || hoarder == .notReading || hoarder == .neverAcknowledging)
  }

  /// A message that finds no room even if all give way takes nothing from anybody.
  @Test(arguments: [UInt8(1), 2]) func nobodyGivesWayForNothing(qos: UInt8) {
    var limits = Limits()
    limits.packetBytesMax = 131_072
    limits.partialBlockCount = 600
    limits.outboxChunksPerConnection = 1100
    limits.outboxChunksShared = 1200
    let world = World(clients: ["pub"], limits: limits)
    let large = String(repeating: "x", count: 12_000)
    for index in 0..<14 {
      world.send("pub", .publish(topic: "r\(index)", payload: large, qos: 1, packetID: 1, retain: true))
    }
    world.connect("away", sessionExpiry: 1000)
    world.subscribe("away", "#", qos: 1)
    world.send("pub", .publish(topic: "t", payload: "first", qos: 1, packetID: 1))
    for _ in 0..<400 { world.send("pub", .publish(topic: "t", payload: "x", qos: 1, packetID: 1)) }
    world.lose("away")
    _ = world.takeAll("pub")
    let queued = world.pool("deliveries").used
    world.send("pub", .publish(topic: "t", payload: String(repeating: "y", count: 130_000), qos: qos, packetID: 1))
    world.expect("pub", qos == 1 ? .pubAck(1, .quotaExceeded) : .pubRec(1, .quotaExceeded))
    #expect(world.broker.counters.gaveWay == 0 && world.pool("deliveries").used == queued)
    world.finish()
  }

  @Test func whoHoldsItsShareKeepsIt() {
    let world = World(clients: ["pub"], limits: Limits())
    for name in ["modest", "greedy"] {
      world.connect(name, sessionExpiry: 1000)
      world.subscribe(name, name + "/#", qos: 1)
      world.lose(name)
    }
    for index in 0..<5 { world.send("pub", .publish(topic: "modest/a", payload: "\(index)", qos: 1, packetID: 1)) }
    let payload = String(repeating: "x", count: 300)
    for _ in 0..<2000 { world.send("pub", .publish(topic: "greedy/a", payload: payload, qos: 1, packetID: 1)) }
    #expect(world.takeAll("pub").allSatisfy { $0 == .pubAck(1) || $0 == .pubAck(1, .noMatchingSubscribers) })
    world.connect("modest", cleanStart: false, sessionExpiry: 1000)
    #expect(world.takeAll("modest").map(\.payload) == (0..<5).map { "\($0)" })
    world.finish()
  }

  /// Of two that hold too much the one without a client gives way, though it holds less.
  @Test func absentOnesGiveWayFirst() {
    var limits = Limits()
    limits.queuedMax = 3000
    limits.messagesMax = 1536
    let world = World(clients: ["pub"], limits: limits)
    world.connect("here", receiveMaximum: 1)
    world.connect("absent", sessionExpiry: 1000)
    for name in ["here", "absent"] { world.subscribe(name, name, qos: 1) }
    world.lose("absent")
    for (topic, count) in [("absent", 800), ("here", 2600)] {
      for index in 0..<count { world.send("pub", .publish(topic: topic, payload: "\(index)", qos: 1, packetID: 1)) }
    }
    #expect(world.takeAll("pub").allSatisfy { $0 == .pubAck(1) })
    // The absent one is left its share.
    #expect(world.broker.counters.gaveWay == 800 + 2600 - 1536)
    world.connect("absent", cleanStart: false, sessionExpiry: 1000)
    let kept = world.takeAll("absent").compactMap(\.payload)
    #expect(kept.count <= 32 && kept.last == "799")
    world.finish()
  }

  /// Expired messages in the queues of clients that are away make room by themselves.
  @Test func expiredOnesAreSweptFromQueues() {
    let world = World(clients: ["pub"], limits: Limits())
    for index in 0..<4 {
      world.connect("away\(index)", sessionExpiry: 1000)
      world.subscribe("away\(index)", "#", qos: 1)
      world.lose("away\(index)")
    }
    for index in 0..<700 {
      let expiry = Prop.expiry(UInt32(index % 2 + 1))
      world.send(
        "pub", .publish(topic: "t", payload: "x", qos: 1, packetID: 1, properties: index % 10 == 0 ? [] : [expiry]))
    }
    #expect(world.pool("deliveries").used == 2800)
    world.advance(seconds: 4)
    #expect(world.pool("deliveries").used == 280)
    #expect(world.pool("messages").used == 70)
    world.connect("away0", cleanStart: false, sessionExpiry: 1000)
    #expect(world.takeAll("away0").count == 32)  // its window
    world.finish()
  }

  /// A message in flight whose bytes were given up ends with its acknowledgement, and is not sent again.
  @Test(arguments: [UInt8(1), 2]) func inFlightWithoutItsMessage(qos: UInt8) {
    var limits = Limits.forTests
    limits.packetBytesMax = 8192
    limits.inflightMax = 100
    limits.blockCount = 256
    limits.blocksKeptForQoS = 16
    limits.blocksKeptForRetained = 16
    let world = World(clients: ["pub"], limits: limits)
    world.connect("slow", sessionExpiry: 1000)
    world.subscribe("slow", "t", qos: qos)
    let payload = String(repeating: "x", count: 1000)
    for _ in 0..<100 where world.broker.counters.gaveWay == 0 {
      world.send("pub", .publish(topic: "t", payload: payload, qos: 1, packetID: 1))
      world.expect("pub", .pubAck(1))
    }
    #expect(world.broker.counters.gaveWay == 1)
    let sent = world.takeAll("slow")
    world.lose("slow")
    world.connect("slow", cleanStart: false, sessionExpiry: 1000)
    let again = world.takeAll("slow").filter { if case .publish(_, _, _, _, _, true, _) = $0 { true } else { false } }
    #expect(again.count == sent.count - 1)
    #expect(again.first?.packetID == sent[1].packetID)
    world.finish()
  }

  /// Retained messages have all that they may have of the blocks, and sessions that are away hold the others, each of
  /// them within its share.
  private func fullWorld() -> World {
    let world = World(clients: ["hoarder", "live"], limits: Limits())
    world.subscribe("live", "z", qos: 1)
    var index = 0
    for byteCount in [2000, 150, 1] {
      let before = world.broker.counters.publishesRefused
      while world.broker.counters.publishesRefused == before {
        let payload = String(repeating: "x", count: byteCount)
        world.send("hoarder", .publish(topic: "r/\(index)", payload: payload, qos: 1, packetID: 1, retain: true))
        index += 1
      }
    }
    for index in 0..<40 {
      world.connect("away\(index)", sessionExpiry: 1000)
      world.subscribe("away\(index)", "q/\(index)", qos: 1)
      world.lose("away\(index)")
      for _ in 0..<3 {
        world.send(
          "hoarder",
          .publish(topic: "q/\(index)", payload: String(repeating: "x", count: 250), qos: 1, packetID: 1))
      }
    }
    return world
  }

  @Test(arguments: [ProtocolVersion.v5, .v311]) func sharesAreOfWhatIsLeft(version: ProtocolVersion) {
    let world = fullWorld()
    world.connect("pub", version)
    for index in 0..<20 {
      let payload = "\(index) " + String(repeating: "x", count: 600)
      world.send("pub", .publish(topic: "z", payload: payload, qos: 1, packetID: 1))
      world.expect("pub", .pubAck(1))
      guard case .publish(_, payload, 1, let id, false, false, _)? = world.takeFirst("live") else {
        Issue.record("message \(index) did not arrive")
        return
      }
      world.send("live", .pubAck(id))
    }
    world.finish()
  }

  /// One session that is away holds all that messages with QoS 1 may take of the blocks.
  private func hoardedWorld() -> World {
    let world = World(clients: ["pub", "live"], limits: Limits())
    world.subscribe("live", "z", qos: 1)
    world.connect("away", sessionExpiry: 1000)
    world.subscribe("away", "q", qos: 1)
    world.lose("away")
    let packet = Packet.publish(topic: "q", payload: String(repeating: "x", count: 250), qos: 1, packetID: 1).bytes(.v5)
    for _ in 0..<100 { world.send("pub", bytes: (0..<10).flatMap { _ in packet }) }
    #expect(world.takeAll("pub").count == 1000)
    #expect(world.broker.messages.bodies.gauge.free <= world.broker.limits.blocksKeptForRetained + 4)
    return world
  }

  /// A client is not refused for the Will that it brings, while others hold messages that can give way.
  @Test(arguments: [ProtocolVersion.v5, .v311], [false, true])
  func willsFindRoom(version: ProtocolVersion, isHoarded: Bool) {
    let world = isHoarded ? hoardedWorld() : fullWorld()
    for index in 0..<30 {
      world.connect("c\(index)", version, will: WillFields(topic: "z", payload: "gone \(index)", qos: 1))
    }
    for index in 0..<30 {
      world.lose("c\(index)")
      guard case .publish(_, "gone \(index)", 1, let id, false, false, _)? = world.takeFirst("live") else {
        Issue.record("Will \(index) did not arrive")
        return
      }
      world.send("live", .pubAck(id))
    }
    world.finish()
  }

  /// Retained messages leave so little that what one client has waiting for it is all that could give way.
  private func narrowWorld() -> World {
    let world = World(clients: ["pub"], limits: Limits())
    world.connect("away", sessionExpiry: 1000)
    world.subscribe("away", "q", qos: 1)
    world.lose("away")
    world.send("pub", .publish(topic: "q", payload: "kept", qos: 1, packetID: 1))
    world.expect("pub", .pubAck(1))
    let payload = String(repeating: "r", count: 900)
    var index = 0
    repeat {
      world.send("pub", .publish(topic: "r/\(index)", payload: payload, qos: 1, packetID: 1, retain: true))
      index += 1
    } while world.takeFirst("pub") == .pubAck(1)
    return world
  }

  /// Until there is no room for one more.
  private func bringWills(_ world: World, _ version: ProtocolVersion, byteCount: Int) {
    let will = WillFields(topic: "w", payload: String(repeating: "w", count: byteCount), qos: 1)
    for index in 0..<60 {
      world.attach("w\(index)", version)
      world.send("w\(index)", .connect(ConnectFields(version: version, clientID: "w\(index)", will: will)))
      if !world.isOpen("w\(index)") { break }
    }
  }

  private func expectKept(_ world: World) {
    world.connect("away", cleanStart: false, sessionExpiry: 1000)
    #expect(world.takeAll("away").contains { $0.payload == "kept" })
    world.finish()
  }

  /// Whoever is within its share keeps it, however many large Wills are brought.
  @Test(arguments: [ProtocolVersion.v5, .v311], [300, 500, 700, 2000])
  func largeWillsTakeNothing(version: ProtocolVersion, byteCount: Int) {
    let world = narrowWorld()
    bringWills(world, version, byteCount: byteCount)
    expectKept(world)
  }

  /// Nobody gives way for a message that finds no room even so.
  @Test func nobodyGivesWayInVain() {
    let world = narrowWorld()
    bringWills(world, .v5, byteCount: 700)
    // Wills hold more of the blocks than is missing, and they stay.
    let keepingFree = world.broker.messages.bodies.gauge.free + 50
    withInbound("z", "message") { message in
      world.broker.makeRoom(for: message, keepingFree: keepingFree, keepingMessages: 0, at: world.now)
    }
    expectKept(world)
  }

  /// Retained messages reach a new subscription though the deliveries are all taken.
  @Test func replayFindsRoom() {
    var limits = Limits()
    limits.deliveriesMax = 400
    let world = World(clients: ["pub", "new"], limits: limits)
    for index in 0..<20 {
      world.send("pub", .publish(topic: "r/\(index)", payload: "x", qos: 1, packetID: 1, retain: true))
    }
    for index in 0..<4 {
      world.connect("away\(index)", sessionExpiry: 1000)
      world.subscribe("away\(index)", "#", qos: 1, retainHandling: 2)
      world.lose("away\(index)")
    }
    for _ in 0..<100 { world.send("pub", .publish(topic: "z", payload: "x", qos: 1, packetID: 1)) }
    #expect(world.pool("deliveries").free == 0)
    world.subscribe("new", "r/#", qos: 1)
    var got: Set<String> = []
    while let packet = world.takeFirst("new") {
      if let topic = packet.topic, let id = packet.packetID {
        got.insert(topic)
        world.send("new", .pubAck(id))
      }
    }
    #expect(got.count == 20)
    world.finish()
  }
}
