import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

@Suite("The board's topics carry the board's word, and have their place whatever others keep")
struct OwnTopicTests {
  private func world(_ change: (inout Limits) -> Void = { _ in }) -> World {
    var limits = Limits.forTests
    change(&limits)
    let world = World(limits: limits)
    for topic in ["b/relay", "b/relay/fault", "b/status"] { #expect(world.own(topic)) }
    return world
  }

  @Test func clientsAreRefusedThere() {
    let world = world()
    world.connect("c5")
    world.connect("c4", .v311)
    world.connect("sub")
    world.subscribe("sub", "#", qos: 1)
    world.publish(topic: "b/relay", payload: "OFF", retain: true)
    world.expect("sub", .publish(topic: "b/relay", payload: "OFF"))
    for retain in [false, true] {
      for payload in ["ON", ""] {
        for topic in ["b/relay", "b/relay/fault", "b/status"] {
          world.send("c5", .publish(topic: topic, payload: payload, qos: 0, retain: retain))
          world.send("c5", .publish(topic: topic, payload: payload, qos: 1, packetID: 1, retain: retain))
          world.send("c5", .publish(topic: topic, payload: payload, qos: 2, packetID: 2, retain: retain))
          #expect(world.takeAll("c5").map(\.reason) == [.notAuthorized, .notAuthorized])
          world.send("c4", .publish(topic: topic, payload: payload, qos: 1, packetID: 1, retain: retain))
          world.expect("c4", .pubAck(1))  // 3.1.1 cannot be told
        }
      }
    }
    world.connect("will", will: WillFields(topic: "b/relay", payload: "ON", retain: true))
    world.lose("will")
    world.expectNothing("sub")
    world.connect("late")
    world.subscribe("late", "b/#")
    world.expect("late", .publish(topic: "b/relay", payload: "OFF", retain: true))
    // Topics beside them, above and below are anybody's.
    for topic in ["b/relay/set", "b", "b/relay/x", "b/relays", "B/relay"] {
      world.send("c5", .publish(topic: topic, payload: "x", qos: 1, packetID: 3))
      world.expect("c5", .pubAck(3))
    }
  }

  @Test func orAreNotIfTheConfigurationSaysSo() {
    let world = world()
    world.broker.acceptsForeignWrites = true
    world.connect("c")
    world.send("c", .publish(topic: "b/relay", payload: "ON", qos: 1, packetID: 1, retain: true))
    #expect(world.takeFirst("c")?.reason?.isError == false)
    // What a client clears is there all the same, and told again.
    world.connect("live")
    world.subscribe("live", "b/relay", retainHandling: 2)
    world.publish(topic: "b/relay", payload: "OFF", retain: true)
    world.expect("live", .publish(topic: "b/relay", payload: "OFF"))
    for qos in [UInt8(0), 1] {
      world.send("c", .publish(topic: "b/relay", qos: qos, packetID: 1, retain: true))
      world.expect("live", .publish(topic: "b/relay"), .publish(topic: "b/relay", payload: "OFF"))
    }
    world.connect("late")
    world.subscribe("late", "b/#")
    world.expect("late", .publish(topic: "b/relay", payload: "OFF", retain: true))
    world.publish(topic: "b/relay", retain: true)
    world.expect("late", .publish(topic: "b/relay"))
    world.subscribe("late", "b/relay")
    world.expectNothing("late")
  }

  /// Every pool that a client can fill is full: the board's states are kept and told all the same.
  @Test(arguments: ["retained", "blocks", "nodes", "queues"]) func theyHaveTheirPlace(lack: String) {
    let world = world {
      $0.retainedMax = 40
      $0.topicNodesMax = 127
    }
    world.connect("filler")
    world.connect("away", sessionExpiry: 1000)
    world.subscribe("away", "#", qos: 1)
    world.lose("away")
    world.connect("live")
    world.subscribe("live", "b/#")
    var id: UInt16 = 0
    for index in 0..<3000 {
      id = id % 60_000 + 1
      switch lack {
      case "retained":
        world.send("filler", .publish(topic: "x\(index % 100)", payload: "x", qos: 1, packetID: id, retain: true))
      case "blocks":
        let payload = String(repeating: "x", count: index < 100 ? 30_000 : 90)
        world.send("filler", .publish(topic: "x\(index % 36)", payload: payload, qos: 1, packetID: id, retain: true))
      case "nodes":
        world.send("filler", .publish(topic: "x\(index)/y/z", payload: "x", qos: 1, packetID: id, retain: true))
      default: world.send("filler", .publish(topic: "x", payload: "x", qos: 1, packetID: id))
      }
    }
    for (index, state) in ["ON", "OFF", "ON"].enumerated() {
      let topic = ["b/relay", "b/relay", "b/relay/fault"][index]
      #expect(!world.publish(topic: topic, payload: state, retain: true).isError)
      world.expect("live", .publish(topic: topic, payload: state))
    }
    world.connect("late")
    world.subscribe("late", "b/#")
    #expect(Set(world.takeAll("late").compactMap(\.topic)) == ["b/relay", "b/relay/fault"])
    // What was removed keeps its place, too.
    #expect(!world.publish(topic: "b/relay", payload: "", retain: true).isError)
    for index in 0..<100 {
      world.send("filler", .publish(topic: "y\(index)", payload: "x", qos: 1, packetID: 1, retain: true))
    }
    #expect(!world.publish(topic: "b/relay", payload: "OFF", retain: true).isError)
    _ = world.takeAll("late")
    world.subscribe("late", "b/relay")
    #expect(world.takeAll("late").last == .publish(topic: "b/relay", payload: "OFF", retain: true))
  }

  /// The board's words may be more than retained messages may have: clients go on replacing theirs.
  @Test(arguments: [ProtocolVersion.v5, .v311]) func clientsReplaceTheirsBesides(version: ProtocolVersion) {
    let world = world()
    world.connect("c", version)
    world.send("c", .publish(topic: "mine", payload: "old", qos: 1, packetID: 1, retain: true))
    world.expect("c", .pubAck(1))
    world.connect("hoarder")
    var index = 0
    for byteCount in [20_000, 2000, 1] {
      let before = world.broker.counters.publishesRefused
      while world.broker.counters.publishesRefused == before {
        let payload = String(repeating: "x", count: byteCount)
        world.send("hoarder", .publish(topic: "r/\(index)", payload: payload, qos: 1, packetID: 1, retain: true))
        index += 1
      }
    }
    // What the others left, their floors too.
    for topic in ["b/relay", "b/relay/fault", "b/status"] {
      var byteCount = 60_000
      while byteCount > 300,
        world.publish(topic: topic, payload: String(repeating: "x", count: byteCount), retain: true).isError
      {
        byteCount -= 100
      }
    }
    #expect(world.broker.retained.blockCount > world.broker.limits.retainedBlocksMax)
    world.send("c", .publish(topic: "mine", payload: "new", qos: 1, packetID: 1, retain: true))
    world.expect("c", .pubAck(1))
    world.connect("late")
    world.subscribe("late", "mine")
    world.expect("late", .publish(topic: "mine", payload: "new", retain: true))
    world.finish()
  }
}
