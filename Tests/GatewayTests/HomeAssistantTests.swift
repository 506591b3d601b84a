import Bounded
import MQTTBroker
import MQTTWire
import Taps
import Testing

@testable import Gateway

@Suite("Home Assistant is told what there is, and when it comes, what is gone")
struct HomeAssistantTests {
  private static func taps(_ mode: DiscoverySettings.Mode, _ outputs: [String]) -> TapSettings {
    settings {
      $0.outputs = outputs.map { output($0) }
      $0.discovery = DiscoverySettings(prefix: utf8("ha"), id: utf8("id"), name: utf8("Board"))
      $0.discovery?.mode = mode
    }
  }

  /// What the board keeps of an announcement for its next start.
  private static func entries(_ settings: TapSettings) -> [String] {
    Discovery(settings)!.entries.map { String(decoding: $0, as: UTF8.self) }
  }

  /// The discovery messages that a client `s` has got since the last look: topic, and whether the payload names a tap.
  private func messages(_ world: World) -> [String] {
    world.takeAll("s").compactMap { packet in
      guard case .publish(let topic, let payload, _, _, _, _, _) = packet else { return nil }
      let parts = payload.isEmpty ? ["empty"] : ["old", "relay"].filter { payload.contains("\"\($0)\"") }
      return "\(topic): \(parts.joined(separator: " "))"
    }
  }

  private func world(_ mode: DiscoverySettings.Mode, previous: [String], limits: Limits = .forTests) -> World {
    let world = World(HomeAssistantTests.taps(mode, ["relay"]), limits: limits, previous: previous)
    world.connect("ha")
    world.connect("s")
    world.subscribe("s", "ha/+/#")
    return world
  }

  @Test(arguments: [DiscoverySettings.Mode.device, .component]) func itIsAnnouncedRetained(mode: DiscoverySettings.Mode)
  {
    let world = world(mode, previous: [])
    let topic = mode == .device ? "ha/device/id/config" : "ha/switch/id/relay/config"
    #expect(world.retained(topic)?.contains("b/relay/set") == true)
    #expect(world.board.forgotten == [])
    // Nothing is gone: its coming is no news.
    world.command("ha", "ha/status", "online")
    world.turn()
    #expect(messages(world) == ["ha/status: "])
  }

  /// Of the device's own message: what is gone stands there until Home Assistant has come, then no longer.
  @Test func whatIsGoneFromTheDevice() throws {
    let old = HomeAssistantTests.taps(.device, ["relay", "old"])
    let world = world(.device, previous: HomeAssistantTests.entries(old))
    let tombstone = #""switch_old":{"p":"switch"}"#
    let before = try #require(world.retained("ha/device/id/config"))
    #expect(before.contains(tombstone))
    world.command("ha", "ha/status", "offline")
    world.turn()
    #expect(world.retained("ha/device/id/config") == before)
    world.command("ha", "ha/status", "online")
    world.turn()
    let after = try #require(world.retained("ha/device/id/config"))
    #expect(!after.contains(tombstone))
    #expect(world.board.forgotten == HomeAssistantTests.entries(old).filter { $0.contains("old") })
    let topics = world.takeAll("s").compactMap(\.topic)
    #expect(topics == ["ha/status", "ha/status", "ha/device/id/config", "ha/device/id/config"])
    // Once is enough.
    world.command("ha", "ha/status", "online")
    world.turn()
    #expect(messages(world) == ["ha/status: "])
  }

  /// Messages of their own are taken back by empty ones.
  @Test func whatIsGoneOfComponents() {
    let old = HomeAssistantTests.taps(.component, ["relay", "old"])
    let world = world(.component, previous: HomeAssistantTests.entries(old))
    world.command("ha", "ha/switch/id/old/config", "{}", retain: true)  // as it was left with another broker
    #expect(world.retained("ha/switch/id/old/config") == "{}")
    world.command("ha", "ha/status", "online")
    world.turn()
    #expect(world.retained("ha/switch/id/old/config") == nil)
    #expect(world.retained("ha/switch/id/relay/config") != nil)
    #expect(world.board.forgotten == HomeAssistantTests.entries(old).filter { $0.contains("old") })
  }

  /// Discovery taken out of the configuration: everything is gone.
  @Test func discoveryIsSwitchedOff() {
    let old = HomeAssistantTests.taps(.device, ["relay"])
    let world = World(settings { $0.outputs = [output("relay")] }, previous: HomeAssistantTests.entries(old))
    world.connect("ha")
    world.command("ha", "ha/device/id/config", "{}", retain: true)
    world.command("ha", "ha/status", "online")
    world.turn()
    #expect(world.retained("ha/device/id/config") == nil)
    #expect(world.board.forgotten.count == HomeAssistantTests.entries(old).count)
  }

  @Test func thereIsNoRoomForItsMessageOrForTheTapThatHearsIt() {
    var limits = Limits.forTests
    limits.retainedMax = 1
    limits.tapsMax = 3
    let old = HomeAssistantTests.entries(HomeAssistantTests.taps(.device, ["relay", "old"]))
    let world = world(.device, previous: old, limits: limits)
    #expect(world.board.takeNotices() == ["Home Assistant unheard", "discovery lost"])
  }

  /// A rule does not take an announcement for a message of the board.
  @Test func rulesDoNotHearIt() {
    var settings = HomeAssistantTests.taps(.device, ["relay"])
    settings.rules = [rule("any", "#", [on(0)])]
    settings.rules[0].when = RuleWhen(filter: utf8("ha/#"))
    let world = World(settings)
    #expect(world.board.lines == [false])
  }
}
