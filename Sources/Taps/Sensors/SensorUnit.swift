public import Bounded

/// The usual unit of a sensor's file, by its source and channel: how the kernel's number becomes the published
/// one, and how many decimals it has.
public struct SensorUnit: BitwiseCopyable {
  public let scale: PlainDecimal
  public let digits: Int
  /// For people; empty when unknown.
  public let unit: StaticString

  private init(_ mantissa: Int64, places: Int = 0, digits: Int, _ unit: StaticString) {
    scale = PlainDecimal(mantissa: mantissa, places: places)
    self.digits = digits
    self.unit = unit
  }

  /// The number as the file has it: files of no known kind, raw counts, alarm bits.
  static var plain: SensorUnit { SensorUnit(1, digits: 0, "") }
  var isPlain: Bool { Bytes(unit).isEmpty }

  /// - Parameter isRaw: the number is a raw count even where the device says how to scale it.
  public static func of(_ source: SensorSource, isRaw: Bool = false) -> SensorUnit {
    switch source {
    case .hwmon(_, let channel): return channel.withUnsafeBytes { hwmon(channel: Bytes($0)) }
    case .iio(_, let channel):
      return channel.withUnsafeBytes { isRaw && Bytes($0).hasSuffix("_raw") ? plain : iio(channel: Bytes($0)) }
    case .thermal, .w1, .simulatedWave: return SensorUnit(1, places: 3, digits: 1, "°C")  // m°C
    case .file: return plain
    }
  }

  /// `temp1_input`: the letters before the number are the kind (Documentation/hwmon/sysfs-interface).
  static func hwmon(channel: Bytes) -> SensorUnit {
    for suffix in bitSuffixes where channel.hasSuffix(suffix) { return plain }
    let kind = channel.letters(from: 0)
    if kind == Bytes("temp") { return SensorUnit(1, places: 3, digits: 1, "°C") }  // m°C
    if kind == Bytes("humidity") { return SensorUnit(1, places: 3, digits: 1, "%") }  // m%
    if kind == Bytes("in") { return SensorUnit(1, places: 3, digits: 3, "V") }  // mV
    if kind == Bytes("curr") { return SensorUnit(1, places: 3, digits: 3, "A") }  // mA
    if kind == Bytes("power") { return SensorUnit(1, places: 6, digits: 3, "W") }  // µW
    if kind == Bytes("energy") { return SensorUnit(1, places: 6, digits: 3, "J") }  // µJ
    if kind == Bytes("fan") { return SensorUnit(1, digits: 0, "RPM") }
    return plain
  }

  /// `in_temp_input`, `in_voltage0-voltage1_raw`: the letters after `in_` are the kind
  /// (Documentation/ABI/testing/sysfs-bus-iio). A raw channel has the unit once the device's own scale is applied.
  static func iio(channel: Bytes) -> SensorUnit {
    guard channel.hasPrefix(Bytes("in_")) else { return plain }
    let kind = channel.letters(from: 3)
    if kind == Bytes("temp") { return SensorUnit(1, places: 3, digits: 1, "°C") }  // m°C
    if kind == Bytes("humidityrelative") { return SensorUnit(1, places: 3, digits: 1, "%") }  // m%
    if kind == Bytes("pressure") { return SensorUnit(10, digits: 1, "hPa") }  // kPa
    if kind == Bytes("voltage") { return SensorUnit(1, places: 3, digits: 3, "V") }  // mV
    if kind == Bytes("current") { return SensorUnit(1, places: 3, digits: 3, "A") }  // mA
    if kind == Bytes("power") { return SensorUnit(1, places: 3, digits: 3, "W") }  // mW
    if kind == Bytes("distance") { return SensorUnit(1, digits: 3, "m") }
    if kind == Bytes("illuminance") { return SensorUnit(1, digits: 1, "lx") }
    if kind == Bytes("resistance") { return SensorUnit(1, digits: 1, "Ω") }
    return plain
  }

  /// Channels of any kind that hold a bit or a choice.
  private static var bitSuffixes: [StaticString] { ["_alarm", "_fault", "_beep", "_enable", "_type"] }
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

  /// What is read after this one.
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
