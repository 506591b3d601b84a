import Bounded

/// A kind of sensor device that Linux has below /sys, as one row: where its values are found, what they mean, and how the
/// configuration names it. A new kind is a new row of `all`; nothing else goes by a kind.
public struct SensorKind: Sendable {
  /// Its key in the configuration.
  public let key: StaticString
  /// The folder of its devices, below /sys.
  public let folder: StaticString
  /// Entries of that folder that are devices begin so.
  public var prefix: StaticString = ""
  /// The file of an entry that says the device's name; empty: the entry itself is called so.
  public var attribute: StaticString = ""
  /// The value's file; empty: the configuration says it (`channel`).
  public var file: StaticString = ""
  /// What the configuration has to say under `key`, with an example.
  public let expected: StaticString
  /// A file for `channel`.
  public var exampleFile: StaticString = ""
  /// Values under these names need no `channel`.
  public var usual: [UsualChannel] = []
  /// Files that end in `_raw` are scaled by files beside them: see `SensorFilePart`.
  public var hasRawFiles = false
  /// A file's quantity is what its name begins with: the letters behind this.
  var quantityBegins: StaticString = ""
  var units: [UnitOfQuantity]
  var valid: SensorRange?
  var reject: [PlainDecimal] = []

  public struct UsualChannel: Sendable {
    public let name: StaticString
    public let file: StaticString

    init(_ name: StaticString, _ file: StaticString) {
      self.name = name
      self.file = file
    }
  }

  struct UnitOfQuantity: Sendable {
    let quantity: StaticString
    let unit: SensorUnit

    init(_ quantity: StaticString, _ unit: SensorUnit) {
      self.quantity = quantity
      self.unit = unit
    }
  }

  public var needsChannel: Bool { Bytes(file).isEmpty }
  /// Its devices are found by the name of their entry, which has no `/`.
  public var isFoundByEntry: Bool { Bytes(attribute).isEmpty }

  /// In the order in which people are told of them.
  public static var all: [SensorKind] { [hwmon, thermal, iio, w1, powerSupply] }
}

extension SensorKind: Equatable {
  public static func == (left: SensorKind, right: SensorKind) -> Bool { Bytes(left.key) == Bytes(right.key) }
}

// MARK: - The rows

extension SensorKind {
  /// Documentation/hwmon/sysfs-interface: `temp1_input`.
  public static var hwmon: SensorKind {
    SensorKind(
      key: "hwmon", folder: "class/hwmon", attribute: "name", expected: "a chip's name such as lm75",
      exampleFile: "temp1_input",
      usual: [
        UsualChannel("temperature", "temp1_input"), UsualChannel("humidity", "humidity1_input"),
        UsualChannel("voltage", "in1_input"), UsualChannel("current", "curr1_input"),
        UsualChannel("power", "power1_input"),
      ],
      units: [
        UnitOfQuantity("temp", .milliCelsius), UnitOfQuantity("humidity", .milliPercentOfHumidity),
        UnitOfQuantity("in", .milliVolts), UnitOfQuantity("curr", .milliAmperes),
        UnitOfQuantity("power", .microWatts), UnitOfQuantity("energy", .microJoules),
        UnitOfQuantity("fan", .revolutions),
      ])
  }

  /// Documentation/ABI/testing/sysfs-class-thermal.
  public static var thermal: SensorKind {
    SensorKind(
      key: "thermal", folder: "class/thermal", prefix: "thermal_zone", attribute: "type", file: "temp",
      expected: "a zone's type such as cpu-thermal", units: [UnitOfQuantity("temp", .milliCelsius)])
  }

  /// Documentation/ABI/testing/sysfs-bus-iio: `in_temp_input`, `in_voltage0-voltage1_raw`. A raw file has the unit once
  /// the device's own scale is applied.
  public static var iio: SensorKind {
    SensorKind(
      key: "iio", folder: "bus/iio/devices", prefix: "iio:device", attribute: "name",
      expected: "a device's name such as bme280", exampleFile: "in_temp_input",
      usual: [
        UsualChannel("temperature", "in_temp_input"), UsualChannel("humidity", "in_humidityrelative_input"),
        UsualChannel("pressure", "in_pressure_input"), UsualChannel("illuminance", "in_illuminance_input"),
        UsualChannel("distance", "in_distance_input"),
        // As ADS1115 and MCP3008 have them.
        UsualChannel("voltage0", "in_voltage0_raw"), UsualChannel("voltage1", "in_voltage1_raw"),
        UsualChannel("voltage2", "in_voltage2_raw"), UsualChannel("voltage3", "in_voltage3_raw"),
        UsualChannel("voltage4", "in_voltage4_raw"), UsualChannel("voltage5", "in_voltage5_raw"),
        UsualChannel("voltage6", "in_voltage6_raw"), UsualChannel("voltage7", "in_voltage7_raw"),
      ],
      hasRawFiles: true, quantityBegins: "in_",
      units: [
        UnitOfQuantity("temp", .milliCelsius), UnitOfQuantity("humidityrelative", .milliPercentOfHumidity),
        UnitOfQuantity("pressure", .kiloPascals), UnitOfQuantity("voltage", .milliVolts),
        UnitOfQuantity("current", .milliAmperes), UnitOfQuantity("power", .milliWatts),
        UnitOfQuantity("distance", .metres), UnitOfQuantity("illuminance", .lux), UnitOfQuantity("resistance", .ohms),
      ])
  }

  /// Documentation/w1/slaves/w1_therm. What DS18B20 measures; 85 is what it says before it has measured (its data sheet).
  public static var w1: SensorKind {
    SensorKind(
      key: "w1", folder: "bus/w1/devices", file: "temperature",
      expected: "a device's number such as 28-3c01d607a1b2", units: [UnitOfQuantity("temperature", .milliCelsius)],
      valid: SensorRange(
        lowest: PlainDecimal(mantissa: -55, places: 0), highest: PlainDecimal(mantissa: 125, places: 0)),
      reject: [PlainDecimal(mantissa: 85, places: 0)])
  }

  /// Documentation/ABI/testing/sysfs-class-power: `voltage_now`.
  public static var powerSupply: SensorKind {
    SensorKind(
      key: "power_supply", folder: "class/power_supply", expected: "a supply's name such as BAT0",
      exampleFile: "voltage_now",
      usual: [
        UsualChannel("capacity", "capacity"), UsualChannel("voltage", "voltage_now"),
        UsualChannel("current", "current_now"), UsualChannel("power", "power_now"),
        UsualChannel("temperature", "temp"), UsualChannel("charge", "charge_now"),
        UsualChannel("energy", "energy_now"),
      ],
      units: [
        UnitOfQuantity("voltage", .microVolts), UnitOfQuantity("current", .microAmperes),
        UnitOfQuantity("power", .microWatts), UnitOfQuantity("capacity", .percentOfBattery),
        UnitOfQuantity("temp", .deciCelsius), UnitOfQuantity("charge", .microAmpereHours),
        UnitOfQuantity("energy", .microWattHours), UnitOfQuantity("time", .seconds),
      ])
  }
}
