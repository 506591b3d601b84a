import Bounded
import CLinux
import Glibc
import LinuxIO
import Testing

@Suite struct SlowLaneTests {
  let sys = TemporaryDirectory()

  enum Place {
    static let hwmon = SensorPlace(folder: "class/hwmon", prefix: "", attribute: "name")
    static let thermal = SensorPlace(folder: "class/thermal", prefix: "thermal_zone", attribute: "type")
    static let iio = SensorPlace(folder: "bus/iio/devices", prefix: "iio:device", attribute: "name")
    static let w1 = SensorPlace(folder: "bus/w1/devices", prefix: "", attribute: "")
    static let supply = SensorPlace(folder: "class/power_supply", prefix: "", attribute: "")
  }

  func lane(requestsMax: Int = 8) throws -> SlowLane {
    try withBytes(sys.path) { try SlowLane(requestsMax: requestsMax, sysfsRoot: $0) }
  }

  func submit(_ lane: SlowLane, _ sensor: UInt32, _ place: SensorPlace?, _ name: String, _ file: String) -> Bool {
    withBytes(name) { name in
      withBytes(file) { file in lane.submit(sensor: sensor, place: place, name: name, file: file) }
    }
  }

  /// The next result, waited for as the loop does.
  func result(_ lane: SlowLane, milliseconds: Int = Patience.milliseconds) throws -> SensorResult? {
    let poller = try Poller(eventsMax: 1)
    try poller.add(lane.fd, token: 1, interest: .read)
    let deadline = Clock.now().nanoseconds + Int64(milliseconds) * 1_000_000
    repeat {
      if let result = lane.takeResult() { return result }
      _ = poller.wait(until: Instant(nanoseconds: deadline), now: Clock.now())
    } while Clock.now().nanoseconds < deadline
    return lane.takeResult()
  }

  func read(_ place: SensorPlace?, _ name: String, _ file: String) throws -> (content: String, errno: Int32?) {
    let lane = try lane()
    #expect(submit(lane, 9, place, name, file))
    let result = try #require(try result(lane))
    #expect(result.sensor == 9)
    return (text(result.content), result.error?.errno)
  }

  @Test func sensorsAreFoundByNameNotByNumber() throws {
    sys.file("class/hwmon/hwmon0/name", "cpu_thermal\n")
    sys.file("class/hwmon/hwmon0/temp1_input", "51000\n")
    sys.file("class/hwmon/hwmon10/name", "lm75\n")
    sys.file("class/hwmon/hwmon10/temp1_input", "99000\n")
    sys.file("class/hwmon/hwmon9/name", "lm75\n")
    sys.file("class/hwmon/hwmon9/temp1_input", "23500\n")
    sys.file("class/thermal/cooling_device0/type", "cpu-thermal\n")
    sys.file("class/thermal/thermal_zone1/type", "cpu-thermal\n")
    sys.file("class/thermal/thermal_zone1/temp", "48312\n")
    sys.file("bus/iio/devices/iio:device0/name", "mcp3008\n")
    sys.file("bus/iio/devices/iio:device0/in_voltage0_raw", "73\n")
    sys.file("bus/iio/devices/iio:device1/name", "bme280\n")
    sys.file("bus/iio/devices/iio:device1/in_temp_input", "21400\n")
    sys.file("bus/w1/devices/28-3c01d607a1b2/temperature", "54312\n")
    sys.file("class/power_supply/BAT0/voltage_now", "12384000\n")
    sys.file("class/power_supply/BAT1/voltage_now", "3700000\n")
    #expect(
      symlink("/firmware/devicetree/base/soc/i2c@1/bme280@76", sys.path + "/bus/iio/devices/iio:device1/of_node") == 0)

    #expect(try read(Place.hwmon, "lm75", "temp1_input") == ("23500\n", nil))  // the lowest number of two
    #expect(try read(Place.hwmon, "cpu_thermal", "temp1_input") == ("51000\n", nil))
    #expect(try read(Place.thermal, "cpu-thermal", "temp") == ("48312\n", nil))
    #expect(try read(Place.iio, "mcp3008", "in_voltage0_raw") == ("73\n", nil))
    #expect(try read(Place.iio, "bme280@76", "in_temp_input") == ("21400\n", nil))
    #expect(try read(Place.w1, "28-3c01d607a1b2", "temperature") == ("54312\n", nil))
    #expect(try read(Place.supply, "BAT1", "voltage_now") == ("3700000\n", nil))
    #expect(try read(nil, "", "class/hwmon/hwmon0/temp1_input") == ("51000\n", nil))
    #expect(try read(nil, "", "/sys/class/hwmon/hwmon0/temp1_input") == ("51000\n", nil))
    #expect(try read(nil, "", sys.path + "/class/hwmon/hwmon0/name") == ("cpu_thermal\n", nil))
  }

  @Test func whatIsNotThereHasItsErrno() throws {
    sys.file("class/hwmon/hwmon0/name", "lm75\n")
    #expect(try read(Place.hwmon, "lm7", "temp1_input").errno == ENODEV)
    #expect(try read(Place.hwmon, "lm75", "temp1_input").errno == ENOENT)
    #expect(try read(Place.thermal, "lm75", "temp").errno == ENODEV)
    #expect(try read(Place.iio, "x", "in_temp_input").errno == ENODEV)
    #expect(try read(Place.w1, "28-0", "temperature").errno == ENOENT)
    #expect(try read(Place.supply, "BAT0", "voltage_now").errno == ENOENT)
    #expect(try read(nil, "", "class").errno == EISDIR)
  }

  @Test func anEmptyFileIsNoErrorAndALongOneIsCut() throws {
    sys.file("empty", "")
    sys.file("long", String(repeating: "7", count: 300))
    #expect(try read(nil, "", "empty") == ("", nil))
    #expect(try read(nil, "", "long") == (String(repeating: "7", count: 256), nil))
  }

  @Test func aReadThatHangsHoldsTheLaneAndNotTheLoop() throws {
    sys.fifo("hung")
    sys.file("quick", "1\n")
    let lane = try lane()
    #expect(submit(lane, 1, nil, "", "hung"))
    #expect(submit(lane, 2, nil, "", "quick"))
    #expect(try result(lane, milliseconds: 100) == nil)  // the deadline passes, the loop is free
    #expect(lane.underway == 2)

    let writer = open(sys.path + "/hung", O_WRONLY)
    #expect(Glibc.write(writer, "late\n", 5) == 5)
    close(writer)
    let late = try #require(try result(lane))
    #expect(late.sensor == 1 && text(late.content) == "late\n")
    let next = try #require(try result(lane))
    #expect(next.sensor == 2 && text(next.content) == "1\n")
    #expect(lane.underway == 0)
  }

  @Test func theRingsAreBoundedAndOrdered() throws {
    sys.fifo("gate")
    sys.file("value", "5\n")
    let lane = try lane(requestsMax: 3)
    #expect(submit(lane, 0, nil, "", "gate"))
    #expect(submit(lane, 1, nil, "", "value") && submit(lane, 2, nil, "", "value"))
    #expect(!submit(lane, 3, nil, "", "value"))
    let writer = open(sys.path + "/gate", O_WRONLY)
    close(writer)
    for sensor in 0..<3 { #expect(try result(lane)?.sensor == UInt32(sensor)) }
    for round in 0..<500 {
      for sensor in 0..<3 { #expect(submit(lane, UInt32(round * 3 + sensor), nil, "", "value")) }
      for sensor in 0..<3 { #expect(try result(lane)?.sensor == UInt32(round * 3 + sensor)) }
    }
    #expect(lane.takeResult() == nil)
  }

  @Test func namesThatAreTooLongAreRefused() throws {
    let lane = try lane()
    #expect(!submit(lane, 1, Place.hwmon, String(repeating: "n", count: 65), "temp1_input"))
    #expect(!submit(lane, 1, nil, "", String(repeating: "f", count: 193)))
    #expect(lane.underway == 0)
  }
}
