public import Bounded

/// The usual unit of a sensor's file, by its kind and channel: how the kernel's number becomes the published one, how
/// many decimals it has, and what Home Assistant calls the quantity.
public struct SensorUnit: BitwiseCopyable, Sendable {
  public let scale: PlainDecimal
  public let digits: Int
  /// For people; empty when unknown.
  public let unit: StaticString
  /// Home Assistant's device class; empty where it has none.
  let deviceClass: StaticString

  private init(
    _ mantissa: Int64, places: Int = 0, digits: Int, _ unit: StaticString, _ deviceClass: StaticString = ""
  ) {
    scale = PlainDecimal(mantissa: mantissa, places: places)
    self.digits = digits
    self.unit = unit
    self.deviceClass = deviceClass
  }

  /// The number as the file has it: files of no known kind, raw counts, alarm bits.
  static var plain: SensorUnit { SensorUnit(1, digits: 0, "") }
  var isPlain: Bool { Bytes(unit).isEmpty }

  // Named by what the file has.
  static var milliCelsius: SensorUnit { SensorUnit(1, places: 3, digits: 1, "°C", "temperature") }
  static var deciCelsius: SensorUnit { SensorUnit(1, places: 1, digits: 1, "°C", "temperature") }
  static var milliPercentOfHumidity: SensorUnit { SensorUnit(1, places: 3, digits: 1, "%", "humidity") }
  static var percentOfBattery: SensorUnit { SensorUnit(1, digits: 0, "%", "battery") }
  static var milliVolts: SensorUnit { SensorUnit(1, places: 3, digits: 3, "V", "voltage") }
  static var microVolts: SensorUnit { SensorUnit(1, places: 6, digits: 3, "V", "voltage") }
  static var milliAmperes: SensorUnit { SensorUnit(1, places: 3, digits: 3, "A", "current") }
  static var microAmperes: SensorUnit { SensorUnit(1, places: 6, digits: 3, "A", "current") }
  static var milliWatts: SensorUnit { SensorUnit(1, places: 3, digits: 3, "W", "power") }
  static var microWatts: SensorUnit { SensorUnit(1, places: 6, digits: 3, "W", "power") }
  static var microJoules: SensorUnit { SensorUnit(1, places: 6, digits: 3, "J", "energy") }
  /// The energy that a battery holds, not the energy that has flowed.
  static var microWattHours: SensorUnit { SensorUnit(1, places: 6, digits: 3, "Wh", "energy_storage") }
  static var microAmpereHours: SensorUnit { SensorUnit(1, places: 6, digits: 3, "Ah") }
  static var kiloPascals: SensorUnit { SensorUnit(10, digits: 1, "hPa", "atmospheric_pressure") }
  static var metres: SensorUnit { SensorUnit(1, digits: 3, "m", "distance") }
  static var lux: SensorUnit { SensorUnit(1, digits: 1, "lx", "illuminance") }
  static var ohms: SensorUnit { SensorUnit(1, digits: 1, "Ω") }
  static var revolutions: SensorUnit { SensorUnit(1, digits: 0, "RPM") }
  static var seconds: SensorUnit { SensorUnit(1, digits: 0, "s", "duration") }

  /// - Parameter isRaw: the number is a raw count even where the device says how to scale it.
  public static func of(_ source: SensorSource, isRaw: Bool = false) -> SensorUnit {
    switch source {
    case .device(let kind, _, let channel):
      guard !channel.isEmpty else { return kind.unit(of: Bytes(kind.file)) }
      return channel.withUnsafeBytes { channel in
        isRaw && kind.isRaw(Bytes(channel)) ? plain : kind.unit(of: Bytes(channel))
      }
    case .simulatedWave: return milliCelsius
    case .file: return plain
    }
  }
}

extension SensorKind {
  func unit(of file: Bytes) -> SensorUnit {
    for suffix in SensorKind.unitless where file.hasSuffix(suffix) { return .plain }
    let lead = Bytes(quantityBegins)
    guard file.hasPrefix(lead) else { return .plain }
    let quantity = file.letters(from: lead.count)
    return units.first { Bytes($0.quantity) == quantity }?.unit ?? .plain
  }

  /// Whether a file's number means something only with the device's scale.
  func isRaw(_ file: Bytes) -> Bool { hasRawFiles && file.hasSuffix("_raw") && file.hasPrefix(Bytes(quantityBegins)) }

  /// Files of any quantity that hold a bit, a choice, or a number of their own.
  private static var unitless: [StaticString] {
    ["_alarm", "_fault", "_beep", "_enable", "_type", "_limit", "_limit_max", "_threshold"]
  }
}

extension Bytes {
  func hasSuffix(_ suffix: StaticString) -> Bool {
    let suffix = Bytes(suffix)
    return count >= suffix.count && from(count - suffix.count) == suffix
  }

  fileprivate func letters(from start: Int) -> Bytes {
    var end = start
    while end < count, self[end] >= UInt8(ascii: "a"), self[end] <= UInt8(ascii: "z") { end += 1 }
    return self[start..<end]
  }
}

/// The files of an IIO device that make a value: value = (raw + offset) x scale, by
/// Documentation/ABI/testing/sysfs-bus-iio. Scale and offset are read once, and again after a fault.
public enum SensorFilePart: UInt8, BitwiseCopyable, Sendable {
  /// `in_voltage0_scale`.
  case scale
  /// `in_voltage_scale`, for all channels of the kind.
  case sharedScale
  case offset
  case sharedOffset
  /// The channel itself.
  case value

  /// The file that is read after this one.
  func following(isMissing: Bool) -> SensorFilePart {
    switch self {
    case .scale: return isMissing ? .sharedScale : .offset
    case .sharedScale: return .offset
    case .offset: return isMissing ? .sharedOffset : .value
    case .sharedOffset, .value: return .value
    }
  }

  /// The file's name beside `channel`, which ends in `_raw` unless this is the value.
  public func writeName(beside channel: Bytes, into writer: inout ByteWriter) {
    switch self {
    case .value: writer.write(channel)
    case .scale, .offset: writer.write(channel.first(channel.count - 4))
    case .sharedScale, .sharedOffset:
      for index in 0..<channel.count - 4 {
        if channel[index] < UInt8(ascii: "0") || channel[index] > UInt8(ascii: "9") { writer.write(channel[index]) }
      }
    }
    switch self {
    case .value: break
    case .scale, .sharedScale: writer.write("_scale")
    case .offset, .sharedOffset: writer.write("_offset")
    }
  }
}
