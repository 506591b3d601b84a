import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

/// Slow and stuck readers, large payloads, partial packets (docs/limits.md; §4.7, §4.13).
@Suite struct OutboxTests {
  // MARK: Readers

  @Test func stuckReaderLosesQoS0AndTheOthersGetAll() {
    let world = World(clients: ["pub", "stuck", "sub"])
    for name in ["stuck", "sub"] { world.subscribe(name, "t") }
    world.read("stuck", bytesPerFlush: 0)
    let payload = String(repeating: "x", count: 1000)
    for index in 0..<300 {
      world.send("pub", .publish(topic: "t", payload: payload, qos: 1, packetID: 1))
      world.expect("pub", .pubAck(1))
      #expect(world.takeAll("sub").count == 1, "message \(index)")
    }
    let dropped = Int(world.broker.counters.qos0Dropped)
    #expect(dropped > 100)
    #expect(world.pool("outbox_chunks").used <= world.broker.limits.outboxChunksPerConnection + 1)
    world.read("stuck", bytesPerFlush: nil)
    #expect(world.takeAll("stuck").count == 300 - dropped)
    world.send("pub", .publish(topic: "t"))
    world.expect("stuck", .publish(topic: "t"))
    world.finish()
  }

  @Test func largeMessagesAreStoredOnceTheyPileUp() {  // and go straight through before, without a block
    let world = World(clients: ["pub", "sub"])
    world.subscribe("sub", "t")
    let payload = String(repeating: "x", count: 4000)
    let lentBefore = world.pool("message_blocks").used
    world.send("pub", .publish(topic: "t", payload: payload))
    world.expect("sub", .publish(topic: "t", payload: payload))
    let peak = world.pool("message_blocks").peak
    world.read("sub", bytesPerFlush: 0)
    for index in 0..<20 { world.send("pub", .publish(topic: "t", payload: payload + "\(index)")) }
    #expect(world.pool("message_blocks").used > lentBefore && world.pool("message_blocks").peak > peak)
    #expect(world.broker.counters.qos0Dropped == 0)
    world.read("sub", bytesPerFlush: nil)
    #expect(world.takeAll("sub").map(\.payload) == (0..<20).map { payload + "\($0)" })
    #expect(world.pool("message_blocks").used == lentBefore)
    world.finish()
  }

  /// Without a block for it a large message with QoS 0 is copied for each receiver.
  @Test func whatCannotBeStoredIsCopied() {
    var limits = Limits.forTests
    limits.packetBytesMax = 2048
    limits.blockCount = 12
    limits.blocksKeptForQoS = 0
    limits.blocksKeptForRetained = 0
    let world = World(clients: ["pub", "b", "c"], limits: limits)
    for name in ["b", "c"] { world.subscribe(name, "t") }
    world.send("pub", .publish(topic: "kept", payload: String(repeating: "k", count: 1400), retain: true))
    let message = Packet.publish(topic: "t", payload: String(repeating: "x", count: 1900))
    world.send("pub", message)
    for name in ["b", "c"] { world.expect(name, message) }
    world.finish()
  }

  /// After `receive` nobody but an outbox that was lent them knows the bytes: what the broker publishes later does not look.
  @Test func bytesAreKnownWhileTheirPacketIsTaken() {
    let world = World(clients: ["pub", "sub"])
    world.subscribe("sub", "t")
    for size in [1, 4000] {
      world.send("pub", .publish(topic: "t", payload: String(repeating: "x", count: size)))
      #expect(world.broker.outboxes.lendable.isEmpty)
    }
    world.finish()
  }

  /// A large message for one receiver leaves from where it was read; what the socket does not take is copied before
  /// that memory is used again.
  @Test(arguments: ["sub", "old"]) func largeMessagesAreLent(receiver: String) {
    let isOld = receiver == "old"
    let world = World(clients: ["pub", "sub"], old: ["oldPub", "old"])
    world.subscribe(receiver, "t")
    let publisher = isOld ? "oldPub" : "pub"
    let id = world.client(receiver).id
    let packets = ["a", "b", "c"].map { Packet.publish(topic: "t", payload: String(repeating: $0, count: 3000)) }
    var bytes = packets.flatMap { $0.bytes(isOld ? .v311 : .v5) }
    let sent = bytes
    var parts = [Bytes](repeating: .empty, count: 8)
    bytes.withUnsafeMutableBytes { memory in
      let whole = Bytes(UnsafeRawBufferPointer(memory))
      var input = whole
      _ = world.broker.receive(&input, on: world.client(publisher).id, lends: true, at: world.now)
      let count = parts.withUnsafeMutableBufferPointer { world.broker.gather(id, into: $0) }
      #expect(count == 1 && parts[0] == whole && parts[0].isWithin(whole))
      #expect(world.pool("outbox_chunks").used == 0)
      world.broker.sent(4000, on: id, at: world.now)
      world.broker.settle()
      for place in memory.indices { memory[place] = 0 }
    }
    let count = parts.withUnsafeMutableBufferPointer { world.broker.gather(id, into: $0) }
    #expect(parts[..<count].flatMap { $0.array() } == Array(sent[4000...]))
    world.broker.sent(sent.count - 4000, on: id, at: world.now)
    #expect(world.pool("outbox_chunks").used == 0)
    world.finish()
  }

  /// What is not the very packet that came in is not lent: another version, properties, a retained message, a fault of
  /// form that only the publisher made.
  @Test func otherPacketsAreNotLent() {
    let world = World(clients: ["pub", "sub"], old: ["old"])
    world.subscribe("old", "o")
    world.subscribe("sub", "t")
    let payload = String(repeating: "x", count: 3000)
    for (packet, receiver) in [
      (Packet.publish(topic: "o", payload: payload), "old"),
      (Packet.publish(topic: "t", payload: payload, properties: [.expiry(10)]), "sub"),
      (Packet.publish(topic: "t", payload: payload, qos: 1, packetID: 1), "sub"),
    ] {
      let bytes = packet.bytes(.v5)
      bytes.withUnsafeBytes { memory in
        var input = Bytes(memory)
        _ = world.broker.receive(&input, on: world.client("pub").id, lends: true, at: world.now)
        var parts = [Bytes](repeating: .empty, count: 40)
        let count = parts.withUnsafeMutableBufferPointer {
          world.broker.gather(world.client(receiver).id, into: $0)
        }
        #expect(!parts[..<count].contains { $0.isWithin(Bytes(memory)) })
        let byteCount = parts[..<count].reduce(0) { $0 + $1.count }
        #expect(byteCount > payload.utf8.count)
        world.broker.sent(byteCount, on: world.client(receiver).id, at: world.now)
        world.broker.settle()
      }
    }
  }

  @Test func stuckReaderKeepsQoS1() {  // it waits in the session, not in the outbox
    let world = World(clients: ["pub", "stuck"])
    world.subscribe("stuck", "t", qos: 1)
    world.read("stuck", bytesPerFlush: 0)
    let payload = String(repeating: "x", count: 10_000)
    for index in 0..<40 {
      world.send("pub", .publish(topic: "t", payload: payload + "\(index)", qos: 1, packetID: 1))
      world.expect("pub", .pubAck(1))
    }
    world.read("stuck", bytesPerFlush: 4000)
    var got: [String?] = []
    while let packet = world.takeFirst("stuck") {
      got.append(packet.payload)
      world.send("stuck", .pubAck(packet.packetID!))
    }
    #expect(got == (0..<40).map { payload + "\($0)" })
    world.finish()
  }

  @Test func controlPacketsAlwaysFindRoom() {  // until the client stops reading its answers
    let world = World(clients: ["pub", "stuck"])
    world.subscribe("stuck", "t")
    world.read("stuck", bytesPerFlush: 0)
    for _ in 0..<200 { world.send("pub", .publish(topic: "t", payload: String(repeating: "x", count: 1000))) }
    for _ in 0..<1200 { world.send("stuck", .pingReq) }
    #expect(!world.wantsInput("stuck"))
    #expect(!world.client("stuck").outgoing.isEmpty)
    #expect(world.broker.counters.controlPacketsDropped == 0)
    world.read("stuck", bytesPerFlush: nil)
    #expect(world.takeAll("stuck").filter { $0 == .pingResp }.count == 1200)
    #expect(world.client("stuck").outgoing.isEmpty)
    world.finish()
  }

  @Test func manyStuckReadersLeaveRoomForTheOthers() {
    let world = World(clients: ["pub", "sub"] + (0..<10).map { "stuck\($0)" })
    world.subscribe("sub", "t")
    for index in 0..<10 {
      world.subscribe("stuck\(index)", "#")
      world.read("stuck\(index)", bytesPerFlush: 0)
    }
    for _ in 0..<600 { world.send("pub", .publish(topic: "other", payload: String(repeating: "x", count: 900))) }
    for index in 0..<10 {
      world.send("stuck\(index)", .pingReq)
      #expect(world.wantsInput("stuck\(index)"))
    }
    world.send("pub", .pingReq)
    world.expect("pub", .pingResp)
    world.send("sub", .pingReq)
    world.expect("sub", .pingResp)
    for index in 0..<10 { world.read("stuck\(index)", bytesPerFlush: nil) }
    #expect(world.pool("outbox_chunks").used == 0)
    world.finish()
  }

  /// More of them than it takes to have every chunk that is shared.
  @Test(arguments: [UInt8(0), 1, 2]) func manyStuckReadersStarveNobody(qos: UInt8) {
    let stuck = (0..<13).map { "stuck\($0)" }
    let world = World(clients: ["pub", "sub"] + stuck)
    world.subscribe("sub", "t", qos: qos)
    for name in stuck {
      world.subscribe(name, "#")
      world.read(name, bytesPerFlush: 0)
    }
    for _ in 0..<600 { world.send("pub", .publish(topic: "other", payload: String(repeating: "x", count: 900))) }
    for round in 1...50 {
      let payload = String(repeating: "y", count: 900) + "\(round)"
      world.send("pub", .publish(topic: "t", payload: payload, qos: qos, packetID: qos == 0 ? 0 : 1))
      world.expect("sub", .publish(topic: "t", payload: payload, qos: qos, packetID: qos == 0 ? 0 : UInt16(round)))
      if qos == 1 { world.send("sub", .pubAck(UInt16(round))) }
      if qos == 2 {
        world.send("sub", .pubRec(UInt16(round)), .pubComp(UInt16(round)))
        world.send("pub", .pubRel(1))
        _ = world.takeAll("sub")
      }
    }
    world.finish()
  }

  struct Service: Sendable, CustomTestStringConvertible {
    let profile: Limits.Profile
    let qos: UInt8
    var testDescription: String { "\(profile) QoS \(qos)" }
  }
  static let services = [Limits.Profile.board, .house].flatMap { profile in
    [UInt8(0), 1, 2].map { Service(profile: profile, qos: $0) }
  }

  /// Readers that take nothing hold all that they may. Who reads gets everything, what comes at once, too, as if they were
  /// not there.
  @Test(arguments: services) func stuckReadersLeaveTheOthersServiceAsItWas(_ service: Service) {
    let stuck = (0..<30).map { "stuck\($0)" }
    let world = World(clients: ["pub", "sub"] + stuck, limits: Limits(service.profile))
    world.subscribe("sub", "t/+", qos: service.qos)
    for name in stuck {
      world.subscribe(name, "#")
      world.read(name, bytesPerFlush: 0)
    }
    for size in [900, 100, 900, 10] {
      for _ in 0..<200 { world.send("pub", .publish(topic: "other", payload: String(repeating: "x", count: size))) }
    }
    for size in [1, 100, 250, 600, 900, 1023, 1024, 1500, 2047, 2048, 5000] {
      let messages = (0..<10).map {
        Packet.publish(
          topic: "t/\($0)", payload: String(repeating: "y", count: size), qos: service.qos,
          packetID: service.qos == 0 ? 0 : UInt16(1 + $0))
      }
      world.send("pub", bytes: messages.flatMap { $0.bytes(.v5) })
      for (index, message) in messages.enumerated() {
        let got = world.takeFirst("sub")
        #expect(got?.topic == message.topic, "\(index) of \(size) bytes")
        if let packetID = got?.packetID, service.qos == 1 { world.send("sub", .pubAck(packetID)) }
        if let packetID = got?.packetID, service.qos == 2 {
          world.send("sub", .pubRec(packetID), .pubComp(packetID))
          world.send("pub", .pubRel(UInt16(1 + index)))
        }
      }
      _ = world.takeAll("sub")
      _ = world.takeAll("pub")
    }
    world.finish()
  }

  @Test func roomThatOthersGiveBackIsUsed() {  // by a client that is silent and has nothing under way
    var limits = Limits.forTests
    limits.packetBytesMax = 2048
    limits.outboxChunkBytes = 704
    limits.outboxChunksPerConnection = 6
    limits.outboxChunksShared = 6
    let stuck = (0..<10).map { "stuck\($0)" }
    let world = World(clients: ["pub", "late"] + stuck, limits: limits)
    for name in stuck {
      world.subscribe(name, "#")
      world.read(name, bytesPerFlush: 0)
    }
    world.subscribe("late", "t", qos: 1)
    let payload = String(repeating: "x", count: 1990)  // three chunks
    for _ in 0..<100 { world.send("pub", .publish(topic: "o", payload: payload)) }
    for _ in 0..<3 { world.send("pub", .publish(topic: "t", payload: payload, qos: 1, packetID: 1)) }
    world.expectNothing("late")
    for name in stuck { world.read(name, bytesPerFlush: nil) }
    #expect(world.takeAll("late").count == 3)
    world.finish()
  }

  @Test func deliveriesThatOthersGiveBackAreUsed() {  // by a replay that waited for one
    var limits = Limits.forTests
    limits.deliveriesMax = 2
    let world = World(clients: ["pub", "first", "late"], limits: limits)
    world.subscribe("first", "t", qos: 1)
    for _ in 0..<2 { world.send("pub", .publish(topic: "t", qos: 1, packetID: 1)) }
    world.send("pub", .publish(topic: "kept", payload: "x", qos: 1, packetID: 1, retain: true))
    world.subscribe("late", "kept", qos: 1)
    world.expectNothing("late")
    world.send("first", .pubAck(1))
    world.advance(seconds: 0)  // the end of the turn
    world.expect("late", .publish(topic: "kept", payload: "x", qos: 1, packetID: 1, retain: true))
    world.finish()
  }

  // MARK: Large payloads

  @Test(arguments: [1, 7, 999, 4096, 100_000]) func largePayloadsGoByReference(bytesPerFlush: Int) {
    let world = World(clients: ["pub", "a", "b", "c"], old: ["old"])
    world.subscribe("a", "t")
    world.subscribe("b", "t", qos: 1)
    world.subscribe("c", "#", qos: 2, id: 9, retainAsPublished: true)
    world.subscribe("old", "t", qos: 1)
    let isTiny = bytesPerFlush < 100
    let payload = String((0..<(isTiny ? 5_000 : 65_000)).map { Character(UnicodeScalar(UInt8(97 + $0 % 26))) })
    for name in ["a", "b", "c", "old"] { world.read(name, bytesPerFlush: bytesPerFlush) }
    world.send(
      "pub", .publish(topic: "t", payload: payload, qos: 1, packetID: 1, retain: true, properties: [.user("k", "v")]))
    world.expect("pub", .pubAck(1))
    let properties: [Prop] = [.user("k", "v")]
    world.expect("a", .publish(topic: "t", payload: payload, properties: properties))
    world.expect("b", .publish(topic: "t", payload: payload, qos: 1, packetID: 1, properties: properties))
    world.expect(
      "c",
      .publish(
        topic: "t", payload: payload, qos: 1, packetID: 1, retain: true, properties: [.identifier(9)] + properties))
    world.expect("old", .publish(topic: "t", payload: payload, qos: 1, packetID: 1))
    #expect(world.pool("messages").used == 1)
    world.finish()
  }

  @Test func bodyIsStoredOnceForAll() {  // one message, whatever the number of its receivers
    let names = (0..<8).map { "sub\($0)" }
    let world = World(clients: ["pub"] + names)
    for name in names {
      world.subscribe(name, "t", qos: 1)
      world.read(name, bytesPerFlush: 0)
    }
    world.send("pub", .publish(topic: "t", payload: String(repeating: "x", count: 60_000), qos: 1, packetID: 1))
    #expect(world.pool("messages").used == 1)
    #expect(world.pool("message_blocks").used == 235)  // 60 001 bytes
    #expect(world.pool("outbox_chunks").used == 16)  // a head and a reference each
    world.finish()
  }

  @Test func bodyLivesAsLongAsItIsWritten() {  // its sender, its topic and its delivery may be gone
    let world = World(clients: ["pub", "sub"])
    world.subscribe("sub", "t", qos: 2)
    world.read("sub", bytesPerFlush: 0)
    let payload = String(repeating: "x", count: 30_000)
    world.send("pub", .publish(topic: "t", payload: payload, qos: 1, packetID: 1, retain: true))
    world.send("pub", .publish(topic: "t", retain: true), .disconnect())
    world.send("sub", .pubAck(1))
    world.send("sub", .unsubscribe(2, ["t"]))
    #expect(world.pool("messages").used == 0)
    #expect(world.pool("message_blocks").used > 0)
    world.read("sub", bytesPerFlush: 100)
    world.expect(
      "sub", .publish(topic: "t", payload: payload, qos: 1, packetID: 1), .publish(topic: "t"),
      .unsubAck(2, [.success]))
    #expect(world.pool("message_blocks").used == 0)
    world.finish()
  }

  @Test func sizesAroundTheEdges() {  // of a block, of a chunk, of the reference
    let world = World(clients: ["pub", "a", "b"], old: ["old"])
    world.subscribe("a", "t", qos: 0)
    world.subscribe("b", "t", qos: 1)
    world.subscribe("old", "t", qos: 1)
    world.read("b", bytesPerFlush: 100)
    let sizes = [
      0, 1, 250, 254, 255, 256, 257, 510, 990, 998, 1000, 1001, 1002, 1022, 1024, 2047, 2048, 2049, 4090, 8192,
    ]
    for (index, size) in sizes.enumerated() {
      let payload = String(repeating: "x", count: size)
      let id = UInt16(index + 1)
      world.send("pub", .publish(topic: "t", payload: payload, qos: 1, packetID: 1))
      world.expect("a", .publish(topic: "t", payload: payload))
      world.expect("b", .publish(topic: "t", payload: payload, qos: 1, packetID: id))
      world.expect("old", .publish(topic: "t", payload: payload, qos: 1, packetID: id))
      for name in ["b", "old"] { world.send(name, .pubAck(id)) }
    }
    #expect(world.pool("messages").used == 0)
    world.finish()
  }

  @Test func largestPacketIsTakenAndOneByteMoreIsNot() {  // §3.2.2-15: 0x95
    let world = World(clients: ["pub", "sub"])
    world.subscribe("sub", "t")
    let payload = String(repeating: "x", count: 65_536 - 4 - 3 - 1)  // fixed header, topic, Property Length
    world.send("pub", .publish(topic: "t", payload: payload))
    world.expect("sub", .publish(topic: "t", payload: payload))
    world.send("pub", bytes: Array(Packet.publish(topic: "t", payload: payload + "x").bytes(.v5)[..<5]))
    world.expectClosed("pub", .disconnect(.packetTooLarge))  // by its header alone
    #expect(world.broker.counters.tooLargeClosed == 1)
    world.finish()
  }
}
