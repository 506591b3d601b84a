import Bounded
import Foundation
import LinuxIO
import MQTTBroker
import MQTTWire
import TaplineConfiguration
import Testing

@testable import Tapline

@Suite("A turn: what taps want is done when the broker is free, and nothing of it is lost")
struct ServerTurnTests {
  private static let pins = [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21]

  private static func relays(_ more: String = "") -> String {
    "  outputs:\n"
      + pins.map { "    r\($0): {pin: GPIO\($0)\(more)}\n" }.joined()
  }

  /// The Wills of 20 clients become due together: 20 commands, four more than the 16 publications that taps may hand over
  /// in a call. Each has a turn.
  @Test(arguments: ["", "tap_publishes: 4, tap_publish_bytes: 4096"])
  func twentyWillsAtOnceLeaveTwentyTrueStates(limits: String) throws {
    let world = try ServerWorld(taps: Self.relays(), limits: limits)
    for pin in Self.pins {
      let will = WillFields(
        topic: "b/r\(pin)/set", payload: "ON", qos: 1, properties: [.number(.willDelayInterval, 1)])
      try world.connect("client \(pin)", will: will, properties: [.sessionExpiry(60)]).close()
    }
    world.run(until: "all clients are gone") { !world.hasConnections }
    Clock.sleep(milliseconds: 1100)  // all Wills are due before the next turn
    world.run(until: "all Wills") { Self.pins.allSatisfy { world.isHigh($0) } }
    let reader = try world.connect("reader")
    reader.send(.subscribe(1, [Filter("b/+")]))
    world.run(until: "retained states") { reader.payloads(on: "b/r21").isEmpty == false }
    for pin in Self.pins {
      #expect(reader.payloads(on: "b/r\(pin)") == ["ON"])
      #expect(
        reader.received { $0.topic == "b/r\(pin)" }.map { "\($0)".contains(#"user("by", "client \#(pin)")"#) } == true)
    }
    world.server.stop()
  }

  /// Handlers that use up all that taps may hand over do not keep a command's state from being told.
  @Test func handlersThatUseUpTheRoomLoseNoState() throws {
    let world = try ServerWorld(taps: Self.relays(), limits: "tap_publishes: 4, tap_publish_bytes: 4096") { server in
      try server.onMessage("b/{relay}/set") { _, _ in
        for _ in 0..<8 { _ = server.publish(topic: Bytes("noise"), payload: Bytes("x")) }
        return .accept
      }
    }
    let client = try world.connect("c")
    client.send(.publish(topic: "b/r5/set", payload: "ON", qos: 1, packetID: 1))
    world.run(until: "PUBACK") { client.received { $0.packetID == 1 } != nil }
    client.send(.subscribe(2, [Filter("b/r5")]))
    world.run(until: "state") { !client.payloads(on: "b/r5").isEmpty }
    #expect(client.payloads(on: "b/r5") == ["ON"])
    #expect(world.isHigh(5))
    world.server.stop()
  }

  /// The room for what handlers publish is there again once it is published.
  @Test func theRoomForHandlersIsGivenBack() throws {
    var takenCount = 0
    let world = try ServerWorld(taps: Self.relays(), limits: "tap_publishes: 4, tap_publish_bytes: 4096") { server in
      try server.onMessage("in/{number}") { message, _ in
        // Two of them are more than half of the room.
        for _ in 0..<2 where server.publish(topic: Bytes("out"), payload: message.payload) { takenCount += 1 }
        return .accept
      }
    }
    let client = try world.connect("c")
    client.send(.subscribe(1, [Filter("out")]))
    let payload = String(repeating: "x", count: 1500)
    for number in 1...20 {
      let packetID = UInt16(number + 1)
      client.send(.publish(topic: "in/\(number)", payload: payload, qos: 1, packetID: packetID))
      world.run(until: "PUBACK") { client.received { $0.packetID == packetID } != nil }
    }
    #expect(takenCount == 40)
    world.run(until: "all messages") { client.payloads(on: "out").count >= takenCount }
    #expect(client.payloads(on: "out").count == 40)
    world.server.stop()
  }

  /// A client that sends on and takes no answers is closed in the middle of its own turn. Its Will's handler may publish then.
  @Test func aHandlerMayPublishWhenAConnectionIsClosedForTakingNothing() throws {
    let seen = Counter()
    let world = try ServerWorld(taps: Self.relays()) { server in
      try server.onMessage("will/{name}") { _, _ in
        seen.count += 1
        #expect(server.publish(topic: Bytes("b/r7/set"), payload: Bytes("ON")))
        return .accept
      }
    }
    let client = try world.connect("deaf", will: WillFields(topic: "will/deaf"))
    // Each PINGREQ is answered; nobody reads the answers.
    let pings = [UInt8](repeatElement([0xC0, 0], count: 32_768).joined())
    world.run(until: "the connection is closed") {
      client.sendSome(pings)
      return seen.count == 1
    }
    #expect(world.isHigh(7))
    world.server.stop()
  }

  /// What taps publish may be flushed in the middle of a client's own turn. Its connection, which has failed by then, ends
  /// there, and what it sent behind the message is nobody's. The others are served on.
  @Test(arguments: [
    [Packet.pingReq], [.publish(topic: "t", payload: "x", qos: 1, packetID: 9)], [.subscribe(9, ["t"])],
    [.disconnect()], [.raw([0x30])], [.raw([0xFF])], [.publish(topic: "in", payload: "x")], [],
  ])
  func aConnectionMayEndInItsOwnTurn(behind: [Packet]) throws {
    let world = try ServerWorld(taps: Self.relays(), limits: Self.tightOutboxes) { server in
      try server.onMessage("in") { message, _ in
        for _ in 0..<16 { #expect(server.publish(topic: Bytes("out"), payload: message.payload)) }
        return .accept
      }
    }
    let deaf = try Self.fillOutboxes(world)
    let clients = [try world.connect("reader"), try world.connect("gone")]
    for client in clients {
      client.send(.subscribe(1, ["out"]))
      world.run(until: "SUBACK") { client.received { $0.packetID == 1 } != nil }
    }
    clients[1].send(([.publish(topic: "in", payload: "news")] + behind).flatMap { $0.bytes(.v5) })
    clients[1].close()
    world.run(until: "its connection has ended") { world.server.streams.gauge.used == 2 }
    clients[0].send(.pingReq)
    world.run(until: "PINGRESP") { clients[0].received { $0 == .pingResp } != nil }
    #expect(clients[0].payloads(on: "out").first == "news")
    deaf.close()
    world.server.stop()
  }

  /// The same where what the client sent is what ends it: its Will runs a tap, and what the tap publishes has it flushed.
  @Test(arguments: [
    Packet.connect(ConnectFields(clientID: "dying")), .disconnect(.disconnectWithWill), .subscribe(0, ["t"]),
    .raw([0xFF]),
  ])
  func aConnectionMayEndWhileWhatItsWillHasMovedIsTold(fatal: Packet) throws {
    let world = try ServerWorld(taps: Self.relays(), limits: Self.tightOutboxes)
    let deaf = try Self.fillOutboxes(world)
    let dying = try world.connect("dying", will: WillFields(topic: "b/r2/set", payload: "ON"))
    dying.send(fatal.bytes(.v5) + Packet.pingReq.bytes(.v5))
    world.run(until: "its connection has ended") { dying.isEnded }
    #expect(world.isHigh(2))
    deaf.close()
    world.server.stop()
  }

  /// With a client that does not read, outboxes are so full that each publication has all of them flushed.
  private static let tightOutboxes =
    "connections: 8, sessions: 8, pending_connections: 2, packet_bytes: 2k, outbox_chunk_bytes: 512, "
    + "outbox_chunks_per_connection: 10, outbox_chunks: 10"

  /// The client that does not read.
  private static func fillOutboxes(_ world: ServerWorld) throws -> ServerClient {
    let deaf = try world.connect("deaf")
    deaf.send(.subscribe(1, ["noise"]))
    world.run(until: "SUBACK") { deaf.received { $0.packetID == 1 } != nil }
    let talker = try world.connect("talker")
    world.run(until: "the deaf client's outbox is full") {
      talker.send(.publish(topic: "noise", payload: String(repeating: "x", count: 400)))
      return world.server.broker.counters.qos0Dropped > 0
    }
    talker.send(.disconnect())
    world.run(until: "the talker is gone") { world.server.streams.gauge.used == 1 }
    return deaf
  }

  @Test func theVersionIsToldAsOtherBrokersTellTheirs() throws {
    let world = try ServerWorld(taps: Self.relays())
    let client = try world.connect("c")
    client.send(.subscribe(1, [Filter("$SYS/broker/version")]))
    world.run(until: "version") { !client.payloads(on: "$SYS/broker/version").isEmpty }
    #expect(client.payloads(on: "$SYS/broker/version") == ["tapline version \(plainText(Bytes(Version.text)))"])
    world.server.stop()
  }
}
