import MQTTBroker
import MQTTWire
import Taps
import Testing

@testable import Gateway

@Suite("What the board says of itself is its own word")
struct OwnTopicTests {
  private func world(_ foreignWrites: TapSettings.ForeignWrites = .refuse) -> World {
    World(
      settings {
        $0.outputs = [output("relay") { $0.hasStats = true }]
        $0.inputs = [input("door")]
        $0.counters = [counter("water")]
        $0.levels = [level("led")]
        $0.foreignWrites = foreignWrites
      })
  }

  static let topics = [
    "b/status", "b/relay", "b/relay/fault", "b/relay/stats", "b/door", "b/door/fault", "b/water/total",
    "b/water/fault", "b/led", "b/led/fault",
  ]

  @Test(arguments: topics) func nobodyElseSpeaksThere(topic: String) {
    let world = world()
    world.connect("c")
    world.connect("s")
    world.subscribe("s", "#")
    for retain in [false, true] {
      #expect(world.command("c", topic, "ON", retain: retain) == "135: the board's own topic")
      #expect(world.command("c", topic, "", retain: retain) == "135: the board's own topic")
    }
    let before = world.retained(topic)
    world.send("c", .publish(topic: topic, payload: "ON", retain: true))
    #expect(world.retained(topic) == before)
    // Nor does the board say there what somebody asks it to.
    #expect(world.command("c", "b/relay/set", "ON", properties: [.text(.responseTopic, topic)]) == "ok")
    #expect(world.command("c", "b/relay/get", "", properties: [.text(.responseTopic, topic)]) == "ok")
    #expect(!world.messages("s").contains { $0.hasPrefix("\(topic)={") && !$0.contains("stats") })
  }

  @Test func unlessTheConfigurationAllowsIt() {
    let world = world(.allow)
    world.connect("c")
    #expect(world.command("c", "b/relay", "ON", retain: true) == "ok")
    #expect(world.retained("b/relay") == "ON")
  }

  /// Whatever clients have filled: a line that moves is told of, and who comes later sees it.
  @Test func aStateIsNeverLost() {
    let world = world()
    world.connect("c")
    world.connect("away", sessionExpiry: 1000)
    world.subscribe("away", "#", qos: 1)
    world.lose("away")
    let payload = String(repeating: "x", count: 2000)
    for index in 0..<3000 where world.command("c", "x/\(index)", index < 200 ? payload : "x", retain: true) != "ok" {
      break
    }
    for state in ["ON", "OFF", "ON"] {
      #expect(world.command("c", "b/relay/set", state) == "ok")
      #expect(world.retained("b/relay")?.hasPrefix(state) == true)
    }
  }
}
