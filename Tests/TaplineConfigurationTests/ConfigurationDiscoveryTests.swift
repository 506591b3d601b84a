import Bounded
import Foundation
import TaplineConfiguration
import Taps
import Testing

@Suite("Discovery and layouts in the configuration")
struct ConfigurationDiscoveryTests {
  static func taps(_ lines: String) throws -> TapSettings { try readConfiguration("taps:\n" + lines).taps }

  @Test func discoveryHasDefaults() throws {
    let discovery = try #require(
      try Self.taps("  base: home/the cellar\n  discovery: {home_assistant: {}}").discovery)
    #expect(discovery.mode == .device)
    #expect(string(discovery.prefix) == "homeassistant")
    #expect(string(discovery.id) == "tapline-home-the_cellar")
    #expect(string(discovery.name) == "the cellar")
    #expect(try Self.taps("  discovery:").discovery == nil)
    #expect(try Self.taps("  discovery: {home_assistant: }").discovery != nil)
  }

  @Test func discoveryIsRead() throws {
    let discovery = try #require(
      try Self.taps("  discovery: {home_assistant: {mode: component, prefix: ha/x, id: A-1, name: Cellar Pi}}")
        .discovery)
    #expect(discovery.mode == .component)
    #expect([discovery.prefix, discovery.id, discovery.name].map(string) == ["ha/x", "A-1", "Cellar Pi"])
    #expect(string(discovery.version) == "\(Version.text)")
  }

  struct Value: Sendable {
    let yaml: String
    let json: String
  }
  static let values = [
    Value(yaml: "outlet", json: #""outlet""#), Value(yaml: "5", json: "5"), Value(yaml: "-0.50", json: "-0.50"),
    Value(yaml: "1e3", json: "1e3"), Value(yaml: "'5'", json: #""5""#), Value(yaml: "007", json: #""007""#),
    Value(yaml: "true", json: "true"), Value(yaml: "\"true\"", json: #""true""#), Value(yaml: "ON", json: #""ON""#),
    Value(yaml: "yes", json: #""yes""#), Value(yaml: "null", json: "null"), Value(yaml: "", json: "null"),
    Value(yaml: "''", json: #""""#), Value(yaml: "[1, a, [b]]", json: #"[1,"a",["b"]]"#),
    Value(yaml: "{a: {b: 1}, 2: c}", json: #"{"a":{"b":1},"2":"c"}"#),
    Value(yaml: #""a\"b\\c\nd""#, json: #""a\"b\\c\nd""#), Value(yaml: "1.", json: #""1.""#),
    Value(yaml: "'{{ value }}'", json: #""{{ value }}""#), Value(yaml: "-", json: #""-""#),
  ]
  @Test(arguments: values) func keysOfHomeAssistantArePassedOn(_ row: Value) throws {
    let keys = try Self.taps("  outputs: {x: {pin: GPIO1, ha: {key: \(row.yaml)}}}").discoveryKeys
    #expect(keys.map { string($0.tap) } == ["x"])
    #expect(keys[0].members.map { string($0.key) + ":" + string($0.json) } == ["key:" + row.json])
  }

  @Test func aTapCanBeLeftOut() throws {
    for value in ["false", "no", "{platform: none}"] {
      let keys = try Self.taps("  outputs: {x: {pin: GPIO1, ha: \(value)}}").discoveryKeys
      #expect(keys.map(\.isLeftOut) == [true], "\(value)")
    }
    let keys = try Self.taps("  outputs: {x: {pin: GPIO1, ha: {platform: valve}}}").discoveryKeys
    #expect(keys.map(\.isLeftOut) == [false] && keys[0].platform == .valve && keys[0].members.isEmpty)
  }

  @Test func valuesOfADeviceHaveTheirOwnKeys() throws {
    let keys = try Self.taps(
      "  sensors: {air: {iio: bme280, ha: {icon: a}, channels: {temperature: {ha: {icon: b}}, humidity: {}}}}"
    ).discoveryKeys
    #expect(keys.map { string($0.tap) } == ["air", "air/temperature"])
  }

  static let wrong = [
    WrongCase(
      "taps: {discovery: {home_asistant: {}}}",
      "t.yaml:1:20: unknown key 'home_asistant' in discovery; expected home_assistant; did you mean 'home_assistant'?"),
    WrongCase(
      "taps: {discovery: {home_assistant: {mode: devices}}}",
      "t.yaml:1:43: 'mode' is 'devices'; expected device or component; did you mean 'device'?"),
    WrongCase(
      "taps: {discovery: {home_assistant: {id: my board}}}",
      "t.yaml:1:41: 'id' is 'my board'; expected 1 to 64 of A-Z, a-z, 0-9, _ and -"),
    WrongCase(
      "taps: {discovery: {home_assistant: {prefix: a/#}}}",
      "t.yaml:1:45: 'prefix' is 'a/#'; expected a topic such as homeassistant, of up to 128 bytes"),
    WrongCase(
      "taps: {outputs: {x: {pin: GPIO1, ha: [a]}}}",
      "t.yaml:1:38: 'ha' is a list; expected false, or keys of Home Assistant such as {device_class: outlet}"),
    WrongCase(
      "taps: {outputs: {x: {pin: GPIO1, ha: {platform: sensor}}}}",
      "t.yaml:1:49: 'platform' is 'sensor'; expected none, button, cover, fan, light, lock, siren, switch or valve"),
    WrongCase(
      "taps: {inputs: {x: {pin: GPIO1, ha: {platform: binary_sensors}}}}",
      "t.yaml:1:48: 'platform' is 'binary_sensors'; expected none, binary_sensor or event; did you mean 'binary_sensor'?"
    ),
    WrongCase(
      "taps: {leds: {x: {led: ACT, ha: {platform: lamp}}}}",
      "t.yaml:1:44: 'platform' is 'lamp'; expected none, light or number"),
    WrongCase(
      "taps: {layout: mqttio}",
      "t.yaml:1:16: 'layout' is 'mqttio'; expected tapline, mqtt-io or tasmota; "
        + "did you mean 'mqtt-io'?"),
    WrongCase(
      "taps: {layout: tasmota, inputs: {POWER1: {pin: GPIO1}}}",
      "t.yaml:1:34: 'POWER1': POWER and LWT are topics of layout: tasmota"),
    WrongCase(
      "taps: {discovery: {home_assistant: }, outputs: {a b: {pin: GPIO1}, a_b: {pin: GPIO2}}}",
      "t.yaml:1:19: two taps have the same name for Home Assistant, whose names are of A-Z, a-z, 0-9, _ and -: 'a_b'; "
        + "expected another name, or 'ha: false'"),
  ]
  @Test(arguments: wrong) func whatIsWrongIsTold(_ row: WrongCase) {
    #expect(errorLines([UInt8](row.yaml.utf8)) == row.errors)
  }

  /// The message of many taps is larger than a packet may be; one a tap is not.
  @Test func aMessageThatIsTooLongNamesTheRemedy() throws {
    func yaml(_ mode: String) -> String {
      let outputs = (0..<60).map { "x\($0): {pin: GPIO\($0)}" }.joined(separator: ", ")
      return
        "limits: {packet_bytes: 8k}\ntaps: {base: b, discovery: {home_assistant: {mode: \(mode)}}, outputs: {\(outputs)}}"
    }
    #expect(errorLines([UInt8](yaml("component").utf8)) == [])
    let lines = errorLines([UInt8](yaml("device").utf8))
    #expect(lines.count == 1)
    #expect(
      lines[0].hasPrefix("t.yaml:2:28: the discovery message has 1")
        && lines[0].hasSuffix(" bytes; limits.packet_bytes is 8192; expected 'mode: component' or a larger limit"))
  }
}
