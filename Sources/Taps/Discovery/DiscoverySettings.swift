import Bounded
import MQTTWire

/// How Home Assistant is told what the board has (its MQTT discovery).
public struct DiscoverySettings: Sendable {
  public enum Mode: UInt8, Sendable {
    /// One message with all taps: Home Assistant 2024.11 and later.
    case device
    /// One message a tap: for older ones, and for others that follow the convention.
    case component
  }
  public var mode = Mode.device
  /// What discovery topics begin with.
  public var prefix: [UInt8]
  /// Identifies the board: 1 to `idBytesMax` bytes of A-Z, a-z, 0-9, `_` and `-`. Part of topics and of every unique
  /// id.
  public var id: [UInt8]
  /// The device's name, for people.
  public var name: [UInt8]
  /// The board's model, for people; may be empty.
  public var model: [UInt8] = []
  /// The program's version.
  public var version: [UInt8] = []

  public static var idBytesMax: Int { 64 }

  public init(prefix: [UInt8], id: [UInt8], name: [UInt8]) {
    self.prefix = prefix
    self.id = id
    self.name = name
  }

  public static func mayStandInID(_ byte: UInt8) -> Bool { byte.mayStandInDiscoveryID }

  func problem() -> StaticString? {
    if id.isEmpty || id.count > DiscoverySettings.idBytesMax || !id.allSatisfy({ $0.mayStandInDiscoveryID }) {
      return "id must be 1 to 64 of A-Z, a-z, 0-9, _ and -"
    }
    return prefix.withUnsafeBytes { Topic.isValidName(Bytes($0)) } ? nil : "prefix must be a topic"
  }
}

/// What a tap is in Home Assistant.
public enum DiscoveryPlatform: UInt8, Sendable, CaseIterable {
  case binarySensor
  case button
  case cover
  case event
  case fan
  case light
  case lock
  case number
  case sensor
  case siren
  case `switch`
  case valve

  public var text: StaticString {
    switch self {
    case .binarySensor: return "binary_sensor"
    case .button: return "button"
    case .cover: return "cover"
    case .event: return "event"
    case .fan: return "fan"
    case .light: return "light"
    case .lock: return "lock"
    case .number: return "number"
    case .sensor: return "sensor"
    case .siren: return "siren"
    case .switch: return "switch"
    case .valve: return "valve"
    }
  }

  /// Whether a tap of this kind has what the platform needs.
  public func suits(_ kind: TapKind) -> Bool {
    switch self {
    case .binarySensor, .event: return kind == .input
    case .sensor: return kind == .sensor || kind == .counter
    case .number: return kind == .pwm || kind == .led
    case .light: return kind == .output || kind == .pwm || kind == .led
    case .button, .cover, .fan, .lock, .siren, .switch, .valve: return kind == .output
    }
  }
}

/// A tap's `ha:`.
public struct DiscoveryKeys: Sendable {
  public struct Member: Sendable {
    public var key: [UInt8]
    /// The value as JSON.
    public var json: [UInt8]

    public init(key: [UInt8], json: [UInt8]) {
      self.key = key
      self.json = json
    }
  }
  /// The tap's name, or `NAME/CHANNEL` for one of a sensor's values.
  public var tap: [UInt8]
  public var isLeftOut = false
  /// nil: the usual one of its kind.
  public var platform: DiscoveryPlatform?
  /// Written as they are, instead of what is usual under the same key.
  public var members: [Member] = []

  public init(tap: [UInt8]) { self.tap = tap }
}

extension UInt8 {
  /// Whether Home Assistant takes this byte in the levels of a discovery topic.
  var mayStandInDiscoveryID: Bool {
    switch self {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
      return true
    default: return false
    }
  }
}

/// A counter's unit as Home Assistant writes it, and the device class that has it.
struct DiscoveryUnit {
  let unit: StaticString
  let deviceClass: StaticString

  private init(_ unit: StaticString, _ deviceClass: StaticString) {
    self.unit = unit
    self.deviceClass = deviceClass
  }

  /// The unit of a counter's total. Cubic metres may be of water or of gas, which only the user knows.
  static func of(total unit: Bytes) -> DiscoveryUnit? { find(unit, in: counted) }
  /// The unit of a counter's rate.
  static func of(rate unit: Bytes) -> DiscoveryUnit? { find(unit, in: rates) }

  private static func find(_ unit: Bytes, in table: [DiscoveryUnit]) -> DiscoveryUnit? {
    table.first { Bytes($0.unit) == unit }
  }

  private static var counted: [DiscoveryUnit] {
    [
      DiscoveryUnit("L", "water"), DiscoveryUnit("gal", "water"), DiscoveryUnit("m³", "volume"),
      DiscoveryUnit("ft³", "volume"), DiscoveryUnit("mL", "volume"), DiscoveryUnit("Wh", "energy"),
      DiscoveryUnit("kWh", "energy"), DiscoveryUnit("MWh", "energy"), DiscoveryUnit("mm", "precipitation"),
    ]
  }

  private static var rates: [DiscoveryUnit] {
    [
      DiscoveryUnit("L/s", "volume_flow_rate"), DiscoveryUnit("L/min", "volume_flow_rate"),
      DiscoveryUnit("L/h", "volume_flow_rate"), DiscoveryUnit("m³/s", "volume_flow_rate"),
      DiscoveryUnit("m³/min", "volume_flow_rate"), DiscoveryUnit("m³/h", "volume_flow_rate"),
      DiscoveryUnit("ft³/min", "volume_flow_rate"), DiscoveryUnit("gal/min", "volume_flow_rate"),
      DiscoveryUnit("mm/h", "precipitation_intensity"),
    ]
  }
}
