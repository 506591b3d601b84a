public import Bounded

/// One thing that Home Assistant shall show: most taps are one, a button and a counter with a rate are two.
public struct DiscoveryComponent {
  public enum Part: UInt8, Sendable {
    case state
    /// A button's presses.
    case event
    /// A counter's rate.
    case rate

    var suffix: StaticString {
      switch self {
      case .state: return ""
      case .event: return "_event"
      case .rate: return "_rate"
      }
    }
  }
  public let kind: TapKind
  /// The tap's name, or `NAME/CHANNEL`.
  let name: [UInt8]
  /// Its place among the taps of its kind.
  public let index: Int
  public let part: Part
  public let platform: DiscoveryPlatform
  /// `ha:`, for the first part of a tap.
  let keys: DiscoveryKeys?
}

/// A component that Home Assistant was told of once and shall forget.
public struct DiscoveryTombstone: Sendable {
  public var key: [UInt8]
  public var platform: [UInt8]

  public init(key: [UInt8], platform: [UInt8]) {
    self.key = key
    self.platform = platform
  }
}

/// Home Assistant's discovery messages, as bytes. Pure: the same settings give the same messages.
///
///     PREFIX/device/ID/config            {"dev":{…},"o":{…},"availability":[…],"qos":1,"cmps":{"switch_heater":{…},…}}
///     PREFIX/switch/ID/heater/config     {"unique_id":…,…,"dev":{…},"o":{…},"availability":[…],"qos":1}
///
/// New kinds of taps: a case in `TapKind`, their loop in `makeComponents`, their members in `writeMembers`.
public struct Discovery {
  public let settings: TapSettings
  public let discovery: DiscoverySettings
  /// In the order of the settings.
  public private(set) var components: [DiscoveryComponent] = []

  /// nil without `discovery`.
  public init?(_ settings: TapSettings) {
    guard let discovery = settings.discovery else { return nil }
    self.settings = settings
    self.discovery = discovery
    makeComponents()
  }

  // MARK: Components

  private mutating func makeComponents() {
    for (index, output) in settings.outputs.enumerated() {
      add(.output, output.name, index, .state, output.pulseNanoseconds > 0 ? .button : .switch)
    }
    for (index, input) in settings.inputs.enumerated() {
      let wanted = keys(input.name)?.platform
      if wanted != .event { add(.input, input.name, index, .state, .binarySensor) }
      if input.events != nil, wanted != .binarySensor { add(.input, input.name, index, .event, .event) }
    }
    for (index, counter) in settings.counters.enumerated() {
      add(.counter, counter.name, index, .state, .sensor)
      if counter.rate != nil { add(.counter, counter.name, index, .rate, .sensor) }
    }
    for (index, sensor) in settings.sensors.enumerated() {
      add(
        .sensor, sensor.topicName, index, .state, sensor.isBinary ? .binarySensor : .sensor, deviceName: sensor.name)
    }
    for (index, level) in settings.levels.enumerated() {
      if case .led = level.target {
        add(.led, level.name, index, .state, .light)
      } else {
        add(.pwm, level.name, index, .state, .number)
      }
    }
  }

  /// - Parameter deviceName: whose keys a value has that has none of its own.
  @inline(never) private mutating func add(
    _ kind: TapKind, _ name: [UInt8], _ index: Int, _ part: DiscoveryComponent.Part, _ usual: DiscoveryPlatform,
    deviceName: [UInt8]? = nil
  ) {
    let keys = self.keys(name) ?? deviceName.flatMap { self.keys($0) }
    if keys?.isLeftOut == true { return }
    // What a user says is of what a tap is first of all; of its event if that is all that is left of it.
    let isFirst = part == .state || keys?.platform == .event
    components.append(
      DiscoveryComponent(
        kind: kind, name: name, index: index, part: part, platform: isFirst ? keys?.platform ?? usual : usual,
        keys: isFirst ? keys : nil))
  }

  private func keys(_ name: [UInt8]) -> DiscoveryKeys? { settings.discoveryKeys.first { $0.tap == name } }

  /// How many messages announce the board.
  public var messageCount: Int { discovery.mode == .device ? 1 : components.count }

  // MARK: Messages

  @inline(never) public func writeTopic(message index: Int, into writer: inout ByteWriter) {
    switch discovery.mode {
    case .device:
      writer.write(discovery.prefix)
      writer.write("/device/")
      writer.write(discovery.id)
      writer.write("/config")
    case .component:
      writer.write(discovery.prefix)
      writer.write("/")
      writer.write(components[index].platform.text)
      writer.write("/")
      writer.write(discovery.id)
      writer.write("/")
      writeKey(components[index], into: &writer)
      writer.write("/config")
    }
  }

  /// - Parameter tombstones: what the device has no longer; with `device` only.
  public func writePayload(
    message index: Int, tombstones: [DiscoveryTombstone] = [], into writer: inout ByteWriter
  ) {
    writer.write("{")
    switch discovery.mode {
    case .device:
      writeShared(into: &writer)
      writer.write(",\"cmps\":{")
      for component in components {
        writer.separate()
        writer.write("\"")
        writeKey(component, into: &writer)
        writer.write("\":{\"p\":\"")
        writer.write(component.platform.text)
        writer.write("\"")
        writeMembers(component, into: &writer)
        writer.write("}")
      }
      for tombstone in tombstones {
        writer.separate()
        writer.write("\"")
        writer.write(tombstone.key)
        writer.write("\":{\"p\":\"")
        writer.write(tombstone.platform)
        writer.write("\"}")
      }
      writer.write("}")
    case .component:
      writeMembers(components[index], into: &writer)
      writer.separate()
      writeShared(into: &writer)
    }
    writer.write("}")
  }

  private func writeShared(into writer: inout ByteWriter) {
    writer.write("\"dev\":{\"ids\":[\"")
    writer.write(discovery.id)
    writer.write("\"],\"name\":")
    writer.writeJsonString(discovery.name)
    if !discovery.model.isEmpty {
      writer.write(",\"mdl\":")
      writer.writeJsonString(discovery.model)
    }
    writer.write(",\"sw\":")
    writer.writeJsonString(discovery.version)
    writer.write("},\"o\":{\"name\":\"Tapline\",\"sw\":")
    writer.writeJsonString(discovery.version)
    writer.write("},\"availability\":[{\"topic\":\"")
    writer.writeJsonPart { TopicLayout.write(settings.layout.statusShape, base: settings.base, into: &$0) }
    writer.write("\"")
    if settings.layout != .tapline {  // its texts are Home Assistant's own
      writer.write(",\"payload_available\":\"")
      writer.write(settings.layout.statusText(online: true))
      writer.write("\",\"payload_not_available\":\"")
      writer.write(settings.layout.statusText(online: false))
      writer.write("\"")
    }
    writer.write("}],\"qos\":1")
  }

  // MARK: Names

  /// The component's name in its message or topic. A device's has the platform in it, so that a tap that becomes
  /// something else is another component.
  @inline(never) func writeKey(_ component: DiscoveryComponent, into writer: inout ByteWriter) {
    if discovery.mode == .device {
      writer.write(component.platform.text)
      writer.write("_")
    }
    writeID(component, into: &writer)
  }

  /// The tap's name and its part, of the characters of an id.
  @inline(never) func writeID(_ component: DiscoveryComponent, into writer: inout ByteWriter) {
    for byte in component.name {
      writer.write(byte.mayStandInDiscoveryID ? byte : UInt8(ascii: "_"))
    }
    writer.write(component.part.suffix)
  }

  /// `Shutter up`, `Air temperature`, `Water rate`.
  func writeName(_ component: DiscoveryComponent, into writer: inout ByteWriter) {
    writer.writeJsonPart { writer in
      for (index, byte) in component.name.enumerated() {
        let isSmall = byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "z")
        if index == 0, isSmall {
          writer.write(byte - 0x20)
        } else {
          writer.write(byte == UInt8(ascii: "_") || byte == UInt8(ascii: "/") ? UInt8(ascii: " ") : byte)
        }
      }
    }
    switch component.part {
    case .state: break
    case .event: writer.write(" event")
    case .rate: writer.write(" rate")
    }
  }
}

extension ByteWriter {
  /// A comma, unless the object has only begun.
  mutating func separate() {
    if count > 0, written[count - 1] != UInt8(ascii: "{") { write(UInt8(ascii: ",")) }
  }

  mutating func writeJsonString(_ text: [UInt8]) {
    text.withUnsafeBytes { writeJsonString(Bytes($0)) }
  }

  /// As it may stand in an entity's id: small letters, digits and `_`.
  mutating func writeSlug(_ text: [UInt8]) {
    for byte in text {
      let isCapital = byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z")
      let mayStand = byte.mayStandInDiscoveryID && byte != UInt8(ascii: "-")
      write(isCapital ? byte | 0x20 : mayStand ? byte : UInt8(ascii: "_"))
    }
  }

  /// What `body` writes, up to 512 bytes, as part of a JSON string.
  mutating func writeJsonPart(_ body: (inout ByteWriter) -> Void) {
    withUnsafeTemporaryAllocation(byteCount: 512, alignment: 1) { room in
      var plain = ByteWriter(room)
      body(&plain)
      precondition(!plain.overflowed)
      let text = plain.written
      for index in 0..<text.count {
        writeJsonCharacter(text[index])
      }
    }
  }
}
