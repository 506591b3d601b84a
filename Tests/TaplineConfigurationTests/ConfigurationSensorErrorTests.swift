import Testing

@Suite("Wrong sensors are told by line and column")
struct ConfigurationSensorErrorTests {
  static let sources = [
    WrongCase(
      sensor("interval: 1s"),
      "t.yaml:3:5: sensor 'air' has no source; expected one of hwmon, thermal, iio, w1, power_supply, file or simulated"
    ),
    WrongCase(
      sensor("hwmon: lm75, iio: bme280"),
      "t.yaml:3:5: sensor 'air' has several sources; expected one of hwmon, thermal, iio, w1, power_supply, file or simulated"
    ),
    WrongCase(
      sensor("hwmon: lm75"),
      "t.yaml:3:5: sensor 'air' has no 'channel'; expected a file of the device such as temp1_input"),
    WrongCase(
      sensor("iio: bme280, channel: a/b"), "t.yaml:3:33: 'channel' is 'a/b'; expected a file's name without /"),
    WrongCase(
      sensor("thermal: cpu-thermal, channel: temp"),
      "t.yaml:3:42: 'channel' goes with 'hwmon', 'iio' and 'power_supply' only"),
    WrongCase(sensor("file: reading"), "t.yaml:3:17: 'file' is 'reading'; expected a path that begins with /"),
    WrongCase(sensor("simulated: wavy"), "t.yaml:3:22: 'simulated' is 'wavy'; expected wave; did you mean 'wave'?"),
    WrongCase(
      sensor("file: /a, interval: 1ms"),
      "t.yaml:3:31: 'interval' is '1ms'; expected a time such as 500ms, 2s, 5m or 1h, from 10ms to 7d"),
    WrongCase(sensor("file: /a, digits: 10"), "t.yaml:3:29: 'digits' is '10'; expected a number from 0 to 9"),
    WrongCase(
      sensor("file: /a, scale: 1/1000"), "t.yaml:3:28: 'scale' is '1/1000'; expected a decimal number such as 0.001"),
    WrongCase(sensor("file: /a, scale: 0.0"), "t.yaml:3:28: 'scale' is '0.0'; expected a number other than 0"),
    WrongCase(sensor("file: /a, delta: -1"), "t.yaml:3:28: 'delta' is '-1'; expected a number of 0 or more"),
  ]

  static let values = [
    WrongCase(
      sensor("file: /a, valid: [1]"),
      "t.yaml:3:28: 'valid' is a list; expected a list of the lowest and the highest value such as [-30, 120]"),
    WrongCase(
      sensor("file: /a, valid: [5, 1]"),
      "t.yaml:3:28: 'valid' is a list; expected a list of the lowest and the highest value such as [-30, 120]"),
    WrongCase(
      sensor("file: /a, valid: 5"),
      "t.yaml:3:28: 'valid' is '5'; expected a list of the lowest and the highest value such as [-30, 120]"),
    WrongCase(
      sensor("file: /a, reject: [x]"),
      "t.yaml:3:29: 'reject' is a list; expected a list of at most 4 values such as [85.0, -127]"),
    WrongCase(
      sensor("file: /a, reject: [1, 2, 3, 4, 5]"),
      "t.yaml:3:29: 'reject' is a list; expected a list of at most 4 values such as [85.0, -127]"),
    WrongCase(
      sensor("file: /a, as: bool"), "t.yaml:3:25: 'as' is 'bool'; expected number or binary"),
    WrongCase(
      sensor("power_supply: ../BAT0, channel: capacity"),
      "t.yaml:3:25: 'power_supply' is '../BAT0'; expected a supply's name such as BAT0"),
    WrongCase(
      sensor("power_supply: BAT0"),
      "t.yaml:3:5: sensor 'air' has no 'channel'; expected a file of the device such as voltage_now"),
    WrongCase(
      sensor("w1: ../28-0"), "t.yaml:3:15: 'w1' is '../28-0'; expected a device's number such as 28-3c01d607a1b2"),
    WrongCase(
      sensor("thermal: a, channels: {b: {}}"), "t.yaml:3:33: 'channels' go with 'hwmon', 'iio' and 'power_supply' only"),
    WrongCase(
      sensor("iio: a, digits: 1, channels: {temperature: {}}"),
      "t.yaml:3:27: 'digits' goes into each of the 'channels'"),
    WrongCase(
      sensor("iio: a, channels: {co2: {digits: 0}}"),
      "t.yaml:3:30: sensor 'co2' has no 'channel'; expected a file of the device such as in_temp_input"),
    WrongCase(
      sensor("iio: bme280, channels: {temperatur: {}}"),
      "t.yaml:3:35: sensor 'temperatur' has no 'channel'; expected a file of the device such as in_temp_input; did you mean 'temperature'?"
    ),
    WrongCase(sensor("iio: a, channels: {}"), "t.yaml:3:29: 'channels' has no values"),
  ]

  @Test(arguments: [sources, values].flatMap { $0 }) func isTold(_ wrong: WrongCase) {
    #expect(errorLines([UInt8](wrong.yaml.utf8)) == wrong.errors)
  }
}
