import Bounded
import MQTTBroker
import MQTTWire
import Taps

/// `layout:`, `discovery:` and the taps' `ha:`.
extension TapsReader {
  static var discoveryKeys: [StaticString] { ["home_assistant"] }
  static var homeAssistantKeys: [StaticString] { ["mode", "prefix", "id", "name"] }

  mutating func readDiscovery(_ section: Section) {
    settings.layout = section.choice(
      "layout", [Choice("tapline", TopicLayout.tapline), Choice("mqtt-io", .mqttIO), Choice("tasmota", .tasmota)],
      default: .tapline)
    guard let entry = section.entry("discovery") else { return }
    let discovery = Section(entry.value, "discovery", keys: TapsReader.discoveryKeys, errors: errors)
    guard let entry = discovery.entry("home_assistant") else { return }
    let keys = Section(entry.value, "home_assistant", keys: TapsReader.homeAssistantKeys, errors: errors)
    let levels = settings.base.split(separator: UInt8(ascii: "/"))
    var id = [UInt8](ascii: "tapline")
    for level in levels {
      id.append(UInt8(ascii: "-"))
      id.append(contentsOf: level.map { DiscoverySettings.mayStandInID($0) ? $0 : UInt8(ascii: "_") })
    }
    let usual = [UInt8](id.prefix(DiscoverySettings.idBytesMax))
    var read = DiscoverySettings(
      prefix: [UInt8](ascii: "homeassistant"), id: usual, name: levels.last.map { [UInt8]($0) } ?? usual)
    read.mode = keys.choice(
      "mode", [Choice("device", DiscoverySettings.Mode.device), Choice("component", .component)], default: .device)
    read.version = [UInt8](ascii: Version.text)
    read.name = keys.word("name", "a name for people", byteCountMax: 128) ?? read.name
    let idWords: StaticString = "1 to 64 of A-Z, a-z, 0-9, _ and -"
    if let id = keys.word("id", idWords, byteCountMax: DiscoverySettings.idBytesMax) {
      if id.allSatisfy({ DiscoverySettings.mayStandInID($0) }) { read.id = id } else { keys.complain("id", idWords) }
    }
    let prefixWords: StaticString = "a topic such as homeassistant, of up to 128 bytes"
    if let prefix = keys.word("prefix", prefixWords, byteCountMax: 128) {
      let isFit = prefix.lend { Topic.isValidName($0) } && prefix[0] != UInt8(ascii: "$") && prefix.last != 0x2F
      if isFit { read.prefix = prefix } else { keys.complain("prefix", prefixWords) }
    }
    settings.discovery = read
  }

  /// Checks that the messages fit, which can be told only when all taps are known.
  mutating func checkDiscovery(_ section: Section) {
    guard errors.isEmpty, let discovery = Discovery(settings) else { return }
    let place = section.place(of: "discovery")
    if let name = discovery.clash {
      var text = Text("two taps have the same name for Home Assistant, whose names are of A-Z, a-z, 0-9, _ and -: ")
      text.add(quoted: name)
      text.add("; expected another name, or 'ha: false'")
      errors.add(place, text)
    }
    let (topicByteCount, payloadByteCount) = discovery.byteCounts
    moreRetainedCount += discovery.messageCount
    settings.savedEntries += discovery.entries.map { SavedEntry(name: $0, value: []) }
    if topicByteCount > limits.topicBytesMax {
      var text = Text("a discovery topic has ")
      text.add(topicByteCount)
      text.add(" bytes; limits.topic_bytes is ")
      text.add(limits.topicBytesMax)
      errors.add(place, text)
    }
    // The fixed header, and the properties' room.
    let packetByteCount = payloadByteCount + topicByteCount + 64
    guard packetByteCount > limits.packetBytesMax else { return }
    var text = Text("the discovery message has ")
    text.add(packetByteCount)
    text.add(" bytes; limits.packet_bytes is ")
    text.add(limits.packetBytesMax)
    text.add(
      discovery.discovery.mode == .device
        ? "; expected 'mode: component' or a larger limit" : "; expected a larger limit")
    errors.add(place, text)
  }

  // MARK: ha

  /// `ha:` of a tap, or of one of a sensor's values.
  /// - Parameter tap: as `DiscoveryKeys` names it.
  mutating func readHomeAssistant(_ value: Node, tap: [UInt8], _ kind: TapKind) {
    guard let entry = value.entries.first(where: { $0.key.equals("ha") }) else { return }
    var keys = DiscoveryKeys(tap: tap)
    switch entry.value.kind {
    case .nothing:
      return
    case .scalar where Values.boolean(entry.value.text) == false:
      keys.isLeftOut = true
    case .scalar where Values.boolean(entry.value.text) == true:
      break
    case .scalar, .sequence:
      var text = Text("'ha' is ")
      text.add(described: entry.value)
      text.add("; expected false, or keys of Home Assistant such as {device_class: outlet}")
      errors.add(entry.value.place, text)
    case .mapping:
      for member in entry.value.entries {
        if member.key.equals("platform") {
          readPlatform(entry.value, &keys, kind)
        } else {
          var json = Text()
          TapsReader.add(member.value, to: &json)
          keys.members.append(DiscoveryKeys.Member(key: member.key, json: json.bytes))
        }
      }
    }
    settings.discoveryKeys.append(keys)
  }

  private func readPlatform(_ node: Node, _ keys: inout DiscoveryKeys, _ kind: TapKind) {
    // The other keys are the user's own.
    let section = Section(
      Node(kind: .mapping, place: node.place, entries: node.entries.filter { $0.key.equals("platform") }), "ha",
      keys: ["platform"], errors: errors)
    var choices: [Choice<DiscoveryPlatform?>] = [Choice("none", nil)]
    for platform in DiscoveryPlatform.allCases where platform.suits(kind) {
      choices.append(Choice(platform.text, platform))
    }
    let count = errors.count
    keys.platform = section.choice("platform", choices, default: nil)
    keys.isLeftOut = keys.platform == nil && errors.count == count
  }

  // MARK: YAML as JSON

  /// A plain number, `true`, `false` and `null` are what they are in JSON; all other scalars, and all in quotes, are text.
  private static func add(_ node: Node, to json: inout Text) {
    switch node.kind {
    case .nothing:
      json.add("null")
    case .scalar:
      if !node.isQuoted, isPlainJson(node.text) { json.add(node.text) } else { add(string: node.text, to: &json) }
    case .sequence:
      json.add("[")
      for (index, item) in node.items.enumerated() {
        if index > 0 { json.add(",") }
        add(item, to: &json)
      }
      json.add("]")
    case .mapping:
      json.add("{")
      for (index, entry) in node.entries.enumerated() {
        if index > 0 { json.add(",") }
        add(string: entry.key, to: &json)
        json.add(":")
        add(entry.value, to: &json)
      }
      json.add("}")
    }
  }

  private static func add(string text: [UInt8], to json: inout Text) {
    json.add("\"")
    for byte in text {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"):
        json.add("\\")
        json.add(byte: byte)
      case UInt8(ascii: "\n"): json.add("\\n")
      case UInt8(ascii: "\t"): json.add("\\t")
      case 0..<0x20: json.add(" ")
      default: json.add(byte: byte)
      }
    }
    json.add("\"")
  }

  private static func isPlainJson(_ text: [UInt8]) -> Bool {
    if text.equals("true") || text.equals("false") || text.equals("null") { return true }
    return text.lend { JsonText.isNumber($0) }
  }
}
