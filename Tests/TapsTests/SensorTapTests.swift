import Bounded
import MQTTWire
import Taps
import Testing

@Suite struct SensorTapTests {
  static func source(_ kind: String, _ channel: String) -> SensorSource {
    switch kind {
    case "hwmon": return .hwmon(name: [UInt8]("chip".utf8), channel: [UInt8](channel.utf8))
    case "supply": return .supply(name: [UInt8]("BAT0".utf8), channel: [UInt8](channel.utf8))
    case "iio": return .iio(name: [UInt8]("chip".utf8), channel: [UInt8](channel.utf8))
    case "thermal": return .thermal(type: [UInt8](channel.utf8))
    default: return .file(path: [UInt8](channel.utf8))
    }
  }

  /// What a fresh tap with these settings publishes for this text of its file.
  func value(_ settings: SensorSettings, _ text: String) -> String? {
    let sensors = board(sensors: [settings]).sensors
    let update = withLent(text) {
      sensors[0].readingReceived($0, at: Instant(nanoseconds: 0).moment)
    }
    return update.state?.payload.text
  }

  /// The table of usual units: source, channel, file, what is published.
  @Test(arguments: [
    ("hwmon", "temp1_input", "23500", "23.5"), ("hwmon", "temp12_max", "-500", "-0.5"),
    ("hwmon", "humidity1_input", "48250", "48.3"), ("hwmon", "in0_input", "3312", "3.312"),
    ("hwmon", "in1_average", "5", "0.005"), ("hwmon", "curr1_input", "-250", "-0.250"),
    ("hwmon", "power1_input", "1250000", "1.250"), ("hwmon", "energy1_input", "7500000", "7.500"),
    ("hwmon", "fan1_input", "1200", "1200"), ("hwmon", "in0_lcrit_alarm", "1", "1"),
    ("hwmon", "temp1_fault", "0", "0"), ("hwmon", "fan1_enable", "1", "1"), ("hwmon", "pwm1", "255", "255"),
    ("hwmon", "intrusion0_alarm", "0", "0"), ("hwmon", "t", "4", "4"),
    ("iio", "in_temp_input", "21437", "21.4"), ("iio", "in_temp_ambient_input", "21437", "21.4"),
    ("iio", "in_humidityrelative_input", "48123", "48.1"), ("iio", "in_pressure_input", "101.325390625", "1013.3"),
    ("iio", "in_voltage0_input", "1499.5", "1.500"), ("iio", "in_current1_input", "12", "0.012"),
    ("iio", "in_power1_input", "1500", "1.500"), ("iio", "in_distance_input", "0.35", "0.350"),
    ("iio", "in_illuminance_input", "120.25", "120.3"), ("iio", "in_resistance_input", "1000", "1000.0"),
    ("iio", "in_steps_input", "42", "42"), ("iio", "temp", "5", "5"),
    ("supply", "voltage_now", "12384000", "12.384"), ("supply", "voltage_min_design", "11100000", "11.100"),
    ("supply", "current_now", "-1250000", "-1.250"), ("supply", "power_now", "9870000", "9.870"),
    ("supply", "capacity", "87", "87"), ("supply", "temp", "263", "26.3"), ("supply", "temp_ambient", "-51", "-5.1"),
    ("supply", "charge_now", "2543000", "2.543"), ("supply", "charge_full_design", "3000000", "3.000"),
    ("supply", "energy_now", "42180000", "42.180"), ("supply", "time_to_empty_now", "5400", "5400"),
    ("supply", "cycle_count", "212", "212"), ("supply", "online", "1", "1"),
    ("supply", "charge_control_limit", "5", "5"), ("supply", "charge_control_end_threshold", "80", "80"),
    ("thermal", "cpu-thermal", "52078", "52.1"), ("file", "/some/file", "42.7", "43"),
  ]) func usualUnits(kind: String, channel: String, text: String, expected: String) {
    #expect(value(sensor("x", SensorTapTests.source(kind, channel)), text + "\n") == expected)
  }

  @Test func settingsComeBeforeTheUsual() {
    var settings = sensor("x", .file(path: [UInt8]("/x".utf8)))
    settings.scale = PlainDecimal(mantissa: 1, places: 3)
    #expect(value(settings, "23456") == "23.456")  // the scale's own decimals
    settings.scale = PlainDecimal(mantissa: 73_242_187, places: 9)
    #expect(value(settings, "1000") == "73.242")  // but three at most
    settings.digits = 0
    #expect(value(settings, "1000") == "73")
    settings.digits = 9
    #expect(value(settings, "1000") == "73.242187000")
    settings.offset = PlainDecimal(mantissa: -1000, places: 0)
    #expect(value(settings, "1000") == "0.000000000")
    #expect(value(settings, "999") == "-0.073242187")
    var celsius = sensor()
    celsius.scale = PlainDecimal(mantissa: 18, places: 4)
    celsius.offset = PlainDecimal(mantissa: 17_777_778, places: 3)
    #expect(value(celsius, "21000") == "69.8")  // °F, one decimal as usual
  }

  @Test(arguments: [
    ("", "empty reading"), ("\n", "empty reading"), ("NaN\n", "not a number: NaN"), ("-inf", "not a number: -inf"),
    ("0x1F", "not a number: 0x1F"),
    ("73 01 4b : crc=e1 NO\nand so on for a while", "not a number: 73 01 4b : crc=e1 NO?and so on f"),
    ("1e400", "number too large: 1e400"), ("1e", "not a number: 1e"),
    ("99999999999999999999", "number too large: 99999999999999999999"),
    ("999999999999999999999999999999999999999999", "number too large: 99999999999999999999999999999999"),
    ("\u{7}\0", "not a number: ??"), ("12 34", "not a number: 12 34"),
  ]) func hostileTextIsNeverAValue(text: String, fault: String) {
    let sensors = board(sensors: [sensor("air")]).sensors
    for attempt in 1...SensorTap.failuresMax {
      let update = withLent(text) {
        sensors[0].readingReceived($0, at: Instant(nanoseconds: 0).moment)
      }
      #expect(messages(update) == (attempt < SensorTap.failuresMax ? [] : ["home/cellar/air/fault=\(fault)"]))
    }
    #expect(sensors[0].valueText.isEmpty)
    #expect(sensors[0].faultText.text == fault)
    #expect(sensors[0].failedCount == 3)
  }

  @Test func valueThatScalingMakesTooLargeIsAFailure() {
    var settings = sensor("x", .file(path: [UInt8]("/x".utf8)))
    settings.scale = PlainDecimal(mantissa: 1_000_000, places: 0)
    #expect(value(settings, "999999999999999999") == nil)
    #expect(value(settings, "999999999999") == "999999999999000000")
  }
}

@Suite struct SensorPublishingTests {
  let sensors: TapList<SensorTap>

  init() {
    var settings = sensor("air")
    settings.digits = 1
    sensors = board(sensors: [settings]).sensors
  }

  func read(_ text: String, seconds: Int64 = 0, of sensors: TapList<SensorTap>? = nil) -> [String] {
    withLent(text) {
      messages(
        (sensors ?? self.sensors)[0].readingReceived(
          $0, at: Instant(nanoseconds: 0).adding(seconds: seconds).moment))
    }
  }

  @Test func firstThenWhenTheTextDiffers() {
    #expect(read("23500\n") == ["home/cellar/air=23.5"])
    #expect(read("23500\n") == [])
    #expect(read("23549\n") == [])
    #expect(read("23550\n") == ["home/cellar/air=23.6"])
    #expect(read("25000\n") == ["home/cellar/air=25.0"])
    #expect(read("-49\n") == ["home/cellar/air=0.0"])
    #expect(read("49\n") == [])
    #expect(sensors[0].valueText.text == "0.0")
  }

  @Test func deltaHoldsBackSmallChanges() {
    var settings = sensor("air")
    settings.delta = PlainDecimal(mantissa: 5, places: 1)
    settings.staleNanoseconds = 0
    let sensors = board(sensors: [settings]).sensors
    #expect(read("20000", of: sensors) == ["home/cellar/air=20.0"])
    #expect(read("20400", of: sensors) == [])
    #expect(read("19600", of: sensors) == [])
    #expect(read("20450", of: sensors) == ["home/cellar/air=20.5"])
    #expect(read("20400", of: sensors) == [])  // from the one published last
    #expect(read("20000", of: sensors) == ["home/cellar/air=20.0"])
  }

  @Test func refreshPublishesWhatDidNotChange() {
    var settings = sensor("air")
    settings.refreshNanoseconds = 60_000_000_000
    settings.staleNanoseconds = 0
    let sensors = board(sensors: [settings]).sensors
    #expect(read("20000", seconds: 5, of: sensors) == ["home/cellar/air=20.0"])
    #expect(read("20000", seconds: 64, of: sensors) == [])
    #expect(read("20000", seconds: 65, of: sensors) == ["home/cellar/air=20.0"])
    #expect(read("20000", seconds: 66, of: sensors) == [])
  }

  @Test func threeFailuresInARowAreAFault() {
    let timeout = StaticString("lm75 temp1_input: Connection timed out")
    func fail() -> [String] {
      messages(sensors[0].readingFailed(Bytes(timeout), at: Instant(nanoseconds: 0).moment))
    }
    #expect(read("23500") == ["home/cellar/air=23.5"])
    #expect(fail() == [])
    #expect(fail() == [])
    #expect(read("23500") == [])  // the count starts again
    #expect(fail() == [])
    #expect(fail() == [])
    #expect(fail() == ["home/cellar/air/fault=\(timeout)"])
    #expect(fail() == [])
    #expect(sensors[0].state == .faulted)
    #expect(
      messages(sensors[0].readingFailed(Bytes("no such device"), at: Instant(nanoseconds: 0).moment))
        == ["home/cellar/air/fault=no such device"])
    // Unchanged, but published again after the fault.
    #expect(read("23500") == ["home/cellar/air/fault=", "home/cellar/air=23.5"])
    #expect(fail() == [])
    #expect(sensors[0].failedCount == 8)
  }
}
