import Bounded
import MQTTBroker
import MQTTWire
import Testing

/// A broker of each profile holds what docs/limits.md says of it, all at the same time.
@Suite struct LimitProfileTests {
  struct Promise: CustomTestStringConvertible, Sendable {
    let profile: Limits.Profile
    let clientCount: Int
    /// Retained messages of 600 bytes, each with three topic levels of its own, as Home Assistant's discovery has.
    let discoveryCount: Int
    /// Payload of a retained message, which another one of the same size replaces.
    let largeByteCount: Int
    var testDescription: String { "\(profile.name)" }
  }

  static let promises = [
    Promise(profile: .board, clientCount: 60, discoveryCount: 200, largeByteCount: 32_000),
    Promise(profile: .house, clientCount: 60, discoveryCount: 2000, largeByteCount: 500_000),
    Promise(profile: .site, clientCount: 1000, discoveryCount: 10_000, largeByteCount: 500_000),
  ]

  static func topic(_ index: Int) -> String {
    let digits = String(index, radix: 16)
    return "homeassistant/sensor/0x00158d00" + String(repeating: "0", count: 8 - digits.count) + digits
      + "/temperature/config"
  }

  @Test(arguments: promises) func carriesWhatItPromises(_ promise: Promise) {
    let world = World(limits: Limits(promise.profile))
    let will = WillFields(topic: "gone", payload: "x")
    for index in 0..<promise.clientCount {
      let name = "client\(index)"
      world.connect(name, index % 2 == 0 ? .v5 : .v311, will: will)
      let filters = (0..<8).map { Filter("devices/\(index)/\($0)", qos: 1) }
      world.send(name, .subscribe(1, filters))
      world.expect(name, .subAck(1, [ReasonCode](repeating: .grantedQoS1, count: 8)))
    }

    let payload = String(repeating: "d", count: 600)
    var sent = 0
    while sent < promise.discoveryCount {
      let batch = sent..<min(sent + 100, promise.discoveryCount)
      let bytes = batch.flatMap {
        Packet.publish(
          topic: LimitProfileTests.topic($0), payload: payload, qos: 1, packetID: UInt16($0 % 100 + 1), retain: true
        ).bytes(.v311)
      }
      world.send("client1", bytes: bytes)
      #expect(world.takeAll("client1") == batch.map { .pubAck(UInt16($0 % 100 + 1)) })
      sent = batch.upperBound
    }
    // zigbee2mqtt's list of devices, and the next one in its place.
    for round in ["1", "2", "3"] {
      let large = String(repeating: round, count: promise.largeByteCount)
      world.send(
        "client3", .publish(topic: "zigbee2mqtt/bridge/devices", payload: large, qos: 1, packetID: 1, retain: true))
      world.expect("client3", .pubAck(1))
    }
    // Home Assistant comes back.
    world.send("client0", .subscribe(2, (0..<500).map { Filter("homeassistant/own/\($0)") }))
    world.expect("client0", .subAck(2, [ReasonCode](repeating: .success, count: 500)))
    world.read("client0", bytesPerFlush: 32_768)
    world.send("client0", .subscribe(3, [Filter("#")]))
    let got = world.takeAll("client0")
    #expect(got.first == .subAck(3, [.success]))
    #expect(got.count == 1 + promise.discoveryCount + 1)
    #expect(Set(got.compactMap(\.topic)).count == promise.discoveryCount + 1)
    // And all are served.
    world.send(
      "client3",
      bytes: (0..<promise.clientCount).flatMap {
        Packet.publish(topic: "devices/\($0)/7", payload: "on", qos: 1, packetID: UInt16($0 + 1)).bytes(.v311)
      })
    for index in 0..<promise.clientCount {
      let packets = world.takeAll("client\(index)")
      #expect(packets.contains(.publish(topic: "devices/\(index)/7", payload: "on", qos: 1, packetID: 1)))
      if index == 3 { #expect(packets.count == promise.clientCount + 1) }
    }
    #expect(world.openNames.count == promise.clientCount)
    for index in 0..<Broker.poolCount {
      let (name, gauge) = world.broker.pool(index)
      if "\(name)" == "topic_alias_clients" { continue }  // the others have none
      #expect(gauge.refused == 0 && gauge.dropped == 0, "\(name)")
    }
    #expect(world.broker.counters.qos0Dropped == 0 && world.broker.counters.publishesRefused == 0)
  }

  @Test(arguments: Limits.Profile.all) func profilesHold(_ profile: Limits.Profile) {
    let limits = Limits(profile)
    #expect(limits.problems.isEmpty)
    var followed = limits
    #expect(followed.follow(limits) { _ in false }.isEmpty)
    let before = Mirror(reflecting: limits).children.map { "\($0)" }
    #expect(Mirror(reflecting: followed).children.map { "\($0)" } == before)
  }
}
