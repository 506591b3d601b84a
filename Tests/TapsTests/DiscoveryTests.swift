import Bounded
import Foundation
import Testing

@testable import Taps

@Suite("Home Assistant's discovery messages")
struct DiscoveryTests {
  static func bytes(_ text: String) -> [UInt8] { [UInt8](text.utf8) }

  static func settings(_ mode: DiscoverySettings.Mode = .device, layout: TopicLayout = .tapline) -> TapSettings {
    var settings = TapSettings(base: bytes("home/cellar"))
    settings.layout = layout
    var discovery = DiscoverySettings(
      prefix: bytes("homeassistant"), id: bytes("Tapline-1"), name: bytes("Cellar \"Pi\""))
    discovery.mode = mode
    discovery.version = bytes("0.1")
    settings.discovery = discovery
    return settings
  }

  static func output(_ name: String, pulse: Int64 = 0) -> OutputSettings {
    var output = OutputSettings(name: bytes(name), pin: LineAddress(line: bytes("line-" + name)))
    output.pulseNanoseconds = pulse
    return output
  }

  static func keys(_ tap: String, _ platform: DiscoveryPlatform? = nil, _ members: [(String, String)] = [])
    -> DiscoveryKeys
  {
    var keys = DiscoveryKeys(tap: bytes(tap))
    keys.platform = platform
    keys.members = members.map { DiscoveryKeys.Member(key: bytes($0.0), json: bytes($0.1)) }
    return keys
  }

  /// Topics and payloads, parsed.
  static func messages(
    _ settings: TapSettings, tombstones: [DiscoveryTombstone] = []
  ) throws -> [(topic: String, payload: [String: Any])] {
    let discovery = try #require(Discovery(settings))
    return try (0..<discovery.messageCount).map { index in
      let topic = written { discovery.writeTopic(message: index, into: &$0) }
      let text = written(capacity: 1 << 16) {
        discovery.writePayload(message: index, tombstones: tombstones, into: &$0)
      }
      let object = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]
      #expect(text.utf8.count <= discovery.byteCounts.payload)
      return (topic, try #require(object))
    }
  }

  static func components(_ settings: TapSettings) throws -> [String: [String: Any]] {
    let message = try #require(try messages(settings).first)
    return try #require(message.payload["cmps"] as? [String: [String: Any]])
  }

  static func text(_ object: Any?) throws -> String {
    let data = try JSONSerialization.data(
      withJSONObject: try #require(object), options: [.sortedKeys, .fragmentsAllowed])
    return String(decoding: data, as: UTF8.self).replacingOccurrences(of: "\\/", with: "/")
  }

  @Test func aDeviceIsOneMessage() throws {
    var settings = Self.settings()
    settings.outputs = [Self.output("shutter_up")]
    let messages = try Self.messages(settings)
    #expect(messages.map(\.topic) == ["homeassistant/device/Tapline-1/config"])
    #expect(
      try Self.text(messages.first?.payload)
        == #"{"availability":[{"topic":"home/cellar/status"}],"cmps":{"switch_shutter_up":"#
        + #"{"command_topic":"home/cellar/shutter_up/set","default_entity_id":"switch.tapline_1_shutter_up","#
        + #""name":"Shutter up","p":"switch","state_topic":"home/cellar/shutter_up","unique_id":"Tapline-1_shutter_up"}},"#
        + #""dev":{"ids":["Tapline-1"],"name":"Cellar \"Pi\"","sw":"0.1"},"o":{"name":"Tapline","sw":"0.1"},"qos":1}"#)
  }

  @Test func aComponentIsAMessageOfItsOwn() throws {
    var settings = Self.settings(.component)
    settings.outputs = [Self.output("relay"), Self.output("gate", pulse: 400_000_000)]
    let messages = try Self.messages(settings)
    #expect(
      messages.map(\.topic) == [
        "homeassistant/switch/Tapline-1/relay/config", "homeassistant/button/Tapline-1/gate/config",
      ])
    #expect(messages[1].payload["payload_press"] as? String == "400")
    #expect(messages[1].payload["command_topic"] as? String == "home/cellar/gate/pulse")
    #expect(try Self.text(messages[0].payload["dev"]).contains("Tapline-1"))
    #expect(messages[0].payload["p"] == nil)
  }

  @Test func buttonsAndCountersAreTwoThings() throws {
    var settings = Self.settings()
    var bell = InputSettings(name: Self.bytes("bell"), pin: LineAddress(line: Self.bytes("a")))
    bell.events = ButtonSettings(longNanoseconds: 1)
    var water = CounterSettings(name: Self.bytes("water"), pin: LineAddress(line: Self.bytes("b")))
    water.unit = Self.bytes("L")
    water.rate = RateSettings(period: .minute)
    water.rate?.unit = Self.bytes("L/min")
    settings.inputs = [bell]
    settings.counters = [water]
    let components = try Self.components(settings)
    #expect(
      components.keys.sorted() == [
        "binary_sensor_bell", "event_bell_event", "sensor_water", "sensor_water_rate",
      ])
    #expect(
      components["event_bell_event"]?["event_types"] as? [String]
        == ["press_start", "press_end", "long_press_start", "long_press_end"])
    #expect(components["event_bell_event"]?["state_topic"] as? String == "home/cellar/bell/event")
    #expect(components["sensor_water"]?["state_class"] as? String == "total_increasing")
    #expect(components["sensor_water"]?["device_class"] as? String == "water")
    #expect(components["sensor_water_rate"]?["device_class"] as? String == "volume_flow_rate")
    #expect(components["sensor_water_rate"]?["name"] as? String == "Water rate")
  }

  @Test func aSensorsKindAndUnitSayWhatItIs() throws {
    var settings = Self.settings()
    var air = SensorSettings(
      name: Self.bytes("air"), source: .iio(name: Self.bytes("bme280"), channel: Self.bytes("in_pressure_input")),
      intervalNanoseconds: 10_000_000_000)
    air.channel = Self.bytes("pressure")
    var scaled = SensorSettings(
      name: Self.bytes("load"), source: .hwmon(name: Self.bytes("x"), channel: Self.bytes("in1_input")),
      intervalNanoseconds: 10_000_000_000)
    scaled.scale = PlainDecimal(mantissa: 5, places: 2)
    scaled.staleNanoseconds = 0
    settings.sensors = [air, scaled]
    let components = try Self.components(settings)
    let pressure = try #require(components["sensor_air_pressure"])
    #expect(pressure["device_class"] as? String == "atmospheric_pressure")
    #expect(pressure["unit_of_measurement"] as? String == "hPa")
    #expect(pressure["expire_after"] as? Int == 25)  // twice the interval and 5 s
    #expect(pressure["name"] as? String == "Air pressure")
    let load = try #require(components["sensor_load"])
    #expect(load["unit_of_measurement"] == nil && load["device_class"] == nil && load["expire_after"] == nil)
  }

  /// What a battery holds is no total, and its percentage no humidity.
  @Test(
    arguments: [
      ("capacity", "%", "battery", "measurement"), ("voltage_now", "V", "voltage", "measurement"),
      ("current_now", "A", "current", "measurement"), ("power_now", "W", "power", "measurement"),
      ("temp", "°C", "temperature", "measurement"), ("energy_now", "Wh", "energy_storage", "measurement"),
      ("charge_now", "Ah", nil, "measurement"), ("time_to_full_now", "s", "duration", "measurement"),
      ("cycle_count", nil, nil, "measurement"),
    ] as [(String, String?, String?, String)])
  func aPowerSupplysValues(file: String, unit: String?, deviceClass: String?, stateClass: String) throws {
    var settings = Self.settings()
    settings.sensors = [
      SensorSettings(
        name: Self.bytes("battery"), source: .supply(name: Self.bytes("BAT0"), channel: Self.bytes(file)),
        intervalNanoseconds: 10_000_000_000)
    ]
    let component = try #require(try Self.components(settings)["sensor_battery"])
    #expect(component["unit_of_measurement"] as? String == unit)
    #expect(component["device_class"] as? String == deviceClass)
    #expect(component["state_class"] as? String == stateClass)
  }

  struct Platform: Sendable {
    let platform: DiscoveryPlatform
    let members: [String: String]
  }
  static let platforms = [
    Platform(platform: .valve, members: ["payload_open": "ON", "state_closed": "OFF"]),
    Platform(platform: .lock, members: ["payload_unlock": "ON", "state_locked": "OFF"]),
    Platform(platform: .cover, members: ["payload_close": "OFF", "state_open": "ON"]),
    Platform(platform: .light, members: ["command_topic": "home/cellar/x/set"]),
    Platform(platform: .button, members: ["command_topic": "home/cellar/x/set", "payload_press": "ON"]),
  ]
  @Test(arguments: platforms) func anOutputCanBeSomethingElse(_ row: Platform) throws {
    var settings = Self.settings()
    settings.outputs = [Self.output("x")]
    settings.discoveryKeys = [Self.keys("x", row.platform)]
    let component = try #require(try Self.components(settings)["\(row.platform.text)_x"])
    #expect(component["p"] as? String == "\(row.platform.text)")
    for (key, value) in row.members { #expect(component[key] as? String == value, "\(key)") }
  }

  @Test func ownKeysReplaceAndAdd() throws {
    var settings = Self.settings()
    settings.outputs = [Self.output("x")]
    settings.discoveryKeys = [Self.keys("x", nil, [("name", "null"), ("icon", #""mdi:fan""#), ("a", "[1,{}]")])]
    let component = try #require(try Self.components(settings)["switch_x"])
    #expect(component["name"] is NSNull)
    #expect(component["icon"] as? String == "mdi:fan")
    #expect(try Self.text(component["a"]) == "[1,{}]")
  }

  @Test func whatIsLeftOutIsNotThere() throws {
    var settings = Self.settings()
    var bell = InputSettings(name: Self.bytes("bell"), pin: LineAddress(line: Self.bytes("a")))
    bell.events = ButtonSettings()
    settings.inputs = [bell]
    settings.outputs = [Self.output("x")]
    var none = Self.keys("x")
    none.isLeftOut = true
    settings.discoveryKeys = [none, Self.keys("bell", .event, [("icon", #""i""#)])]
    let components = try Self.components(settings)
    #expect(components.keys.sorted() == ["event_bell_event"])
    #expect(components["event_bell_event"]?["icon"] as? String == "i")
  }

  @Test func otherLayoutsHaveTheirTopicsAndTexts() throws {
    var settings = Self.settings(layout: .tasmota)
    settings.outputs = [Self.output("a"), Self.output("b")]
    let message = try #require(try Self.messages(settings).first).payload
    #expect(
      try Self.text(message["availability"])
        == #"[{"payload_available":"Online","payload_not_available":"Offline","topic":"tele/home/cellar/LWT"}]"#)
    #expect(try Self.components(settings)["switch_b"]?["command_topic"] as? String == "cmnd/home/cellar/POWER2")
  }

  @Test func namesThatBecomeTheSameClash() throws {
    var settings = Self.settings()
    settings.outputs = [Self.output("a b"), Self.output("a_b")]
    #expect(try #require(Discovery(settings)).clash == Self.bytes("a_b"))
    settings.outputs = [Self.output("a b"), Self.output("a_c")]
    #expect(try #require(Discovery(settings)).clash == nil)
  }

  // MARK: What is gone

  static func history(_ before: TapSettings, _ after: TapSettings) -> DiscoveryHistory {
    DiscoveryHistory(
      entries: Discovery(before)?.entries ?? [], present: Discovery(after), topicBytesMax: 512, topicLevelsMax: 32)
  }

  @Test func aRemovedTapIsTakenBack() throws {
    for mode in [DiscoverySettings.Mode.device, .component] {
      var before = Self.settings(mode)
      before.outputs = [Self.output("a"), Self.output("b")]
      var after = before
      after.outputs.removeLast()
      let history = Self.history(before, after)
      #expect(history.gone.count == 1)
      #expect(history.statusTopics == [Self.bytes("homeassistant/status")])
      if mode == .device {
        let message = try #require(try Self.messages(after, tombstones: history.tombstones).first).payload
        #expect(try Self.text((message["cmps"] as? [String: Any])?["switch_b"]) == #"{"p":"switch"}"#)
        #expect(history.topics == [])
      } else {
        #expect(history.topics == [Self.bytes("homeassistant/switch/Tapline-1/b/config")])
      }
      #expect(Self.history(before, before).isEmpty)
    }
  }

  @Test func aBoardThatIsGoneOrRenamedIsTakenBackAsAWhole() {
    var before = Self.settings()
    before.outputs = [Self.output("a"), Self.output("b")]
    var switchedOff = before
    switchedOff.discovery = nil
    var renamed = before
    renamed.discovery?.id = Self.bytes("other")
    var split = before
    split.discovery?.mode = .component
    for after in [switchedOff, renamed, split] {
      let history = Self.history(before, after)
      #expect(history.topics == [Self.bytes("homeassistant/device/Tapline-1/config")])
      #expect(history.tombstones.isEmpty)
      #expect(history.gone.count == 2)
    }
  }

  /// A tap that becomes something else leaves what it was.
  @Test func aChangedPlatformIsTakenBack() throws {
    var before = Self.settings()
    before.outputs = [Self.output("gate")]
    var after = before
    after.outputs = [Self.output("gate", pulse: 1_000_000)]
    let history = Self.history(before, after)
    let components = try #require(
      try Self.messages(after, tombstones: history.tombstones).first?.payload["cmps"] as? [String: Any])
    #expect(components.keys.sorted() == ["button_gate", "switch_gate"])
  }

  @Test func entriesThatAreNoneAreForgotten() {
    let bad = [
      "", "device", "device switch a b", "other switch a b prefix", "device sw/itch a b prefix", "device switch a b +",
      "component switch a b " + String(repeating: "x", count: 600), "device switch a\" b prefix",
      "component switch a b a" + String(repeating: "/a", count: 40),
    ]
    let history = DiscoveryHistory(
      entries: bad.map { Self.bytes($0) }, present: Discovery(Self.settings()), topicBytesMax: 512, topicLevelsMax: 32)
    #expect(history.isEmpty && history.topics.isEmpty && history.statusTopics.isEmpty)
  }

  @Test func tombstonesKeepToTheirRoom() throws {
    let entries = (0..<1000).map { Self.bytes("device switch switch_number\($0) Tapline-1 homeassistant") }
    let settings = Self.settings()
    let history = DiscoveryHistory(
      entries: entries, present: Discovery(settings), topicBytesMax: 512, topicLevelsMax: 32)
    #expect(history.tombstones.count > 10 && history.tombstones.count < 256)
    _ = try Self.messages(settings, tombstones: history.tombstones)  // checks the length
  }
}
