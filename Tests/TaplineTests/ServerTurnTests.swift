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

  @Test func theVersionIsToldAsOtherBrokersTellTheirs() throws {
    let world = try ServerWorld(taps: Self.relays())
    let client = try world.connect("c")
    client.send(.subscribe(1, [Filter("$SYS/broker/version")]))
    world.run(until: "version") { !client.payloads(on: "$SYS/broker/version").isEmpty }
    #expect(client.payloads(on: "$SYS/broker/version") == ["tapline version \(plainText(Bytes(Version.text)))"])
    world.server.stop()
  }
}
