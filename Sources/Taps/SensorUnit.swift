import Bounded

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

  public static func of(_ source: SensorSource) -> SensorUnit {
    switch source {
    case .hwmon(_, let channel): return channel.withUnsafeBytes { hwmon(channel: Bytes($0)) }
    case .iio(_, let channel): return channel.withUnsafeBytes { iio(channel: Bytes($0)) }
    case .thermal, .simulatedWave: return SensorUnit(1, places: 3, digits: 1, "°C")  // m°C
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
  /// (Documentation/ABI/testing/sysfs-bus-iio). A raw channel is a count that only the device's own scale explains.
  static func iio(channel: Bytes) -> SensorUnit {
    guard channel.hasPrefix(Bytes("in_")), !channel.hasSuffix("_raw") else { return plain }
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
  fileprivate func hasSuffix(_ suffix: StaticString) -> Bool {
    let suffix = Bytes(suffix)
    return count >= suffix.count && from(count - suffix.count) == suffix
  }

  fileprivate func letters(from start: Int) -> Bytes {
    var end = start
    while end < count, self[end] >= UInt8(ascii: "a"), self[end] <= UInt8(ascii: "z") { end += 1 }
    return self[start..<end]
  }
}
