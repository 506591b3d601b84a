import Bounded
import MQTTWire
import Testing

@testable import Taps

private func at(_ milliseconds: Int64) -> Instant { Instant(milliseconds: milliseconds) }

private func decimal(_ text: String) -> PlainDecimal { try! withLent(text) { try PlainDecimal(parsing: $0) } }

/// A sensor whose owner does as `TapTable` says; its file has a content, or reading it fails.
private struct Probe {
  enum File {
    case text(String)
    case failing(StaticString)
    case missing
  }
  let table: TapTable
  var files: [String: File] = [:]
  private(set) var told: [String] = []
  private(set) var readCount = 0
  private let channel: String

  init(_ settings: SensorSettings) {
    table = board(base: "b", sensors: [settings])
    switch settings.source {
    case .device(_, _, let name): channel = String(decoding: name, as: UTF8.self)
    default: channel = ""
    }
  }

  var value: File {
    get { files[channel] ?? .missing }
    set { files[channel] = newValue }
  }

  /// Time goes on; reads take no time.
  mutating func run(until end: Int64) {
    while table.nextSensorDeadline <= at(end) {
      let now = table.nextSensorDeadline
      while let action = table.takeDueSensor(at: Moment(at: now, wallNanoseconds: now.nanoseconds)) {
        guard case .read = action else { continue }
        readCount += 1
        let name = withLent(channel) { channel in
          written { table.sensors[0].filePart.writeName(beside: channel, into: &$0) }
        }
        let update: TapUpdate
        switch files[name] ?? .missing {
        case .text(let text):
          update = withLent(text) {
            table.sensors[0].readingReceived($0, at: Moment(at: now, wallNanoseconds: now.nanoseconds))
          }
        case .failing(let reason):
          update = table.sensors[0].readingFailed(Bytes(reason), at: Moment(at: now, wallNanoseconds: now.nanoseconds))
        case .missing:
          update = table.sensors[0].readingFailed(
            Bytes("no such file"), isMissing: true, at: Moment(at: now, wallNanoseconds: now.nanoseconds))
        }
        for publication in [update.fault, update.state].compactMap({ $0 }) {
          let expiry = publication.expirySeconds.map { " for \($0) s" } ?? ""
          told.append(
            "\(now.nanoseconds / 1_000_000) \(publication.topic.text)=\(publication.payload.text)\(expiry)")
        }
      }
    }
  }

  mutating func takeTold() -> [String] {
    defer { told = [] }
    return told
  }
}

@Suite struct SensorHealthTests {
  private func air(_ change: (inout SensorSettings) -> Void = { _ in }) -> Probe {
    var settings = sensor("air", intervalMilliseconds: 10_000)
    change(&settings)
    return Probe(settings)
  }

  /// Tasmota#852: a failed DHT kept reporting yesterday's value for a day. The retained value expires, and the fault
  /// says why.
  @Test func pain12AFailedSensorDoesNotReportYesterday() {
    var probe = air()
    probe.value = .text("21500")
    probe.run(until: 0)
    #expect(probe.takeTold() == ["0 b/air=21.5 for 25 s"])
    probe.value = .failing("Connection timed out")
    probe.run(until: 86_400_000)
    #expect(probe.takeTold() == ["14000 b/air/fault=Connection timed out"])
    probe.value = .text("21500")
    probe.run(until: 86_410_000)
    #expect(probe.takeTold() == ["86410000 b/air/fault=", "86410000 b/air=21.5 for 25 s"])
  }

  /// What a sensor says without a change must not expire while it works, not even if one read in three fails.
  @Test func aWorkingSensorsValueNeverExpires() {
    for interval in [1000, 5000, 10_000, 60_000] as [Int64] {
      var probe = air { $0.intervalNanoseconds = interval * 1_000_000 }
      probe.value = .text("21500")
      var goodUntil: Int64 = 0
      for turn in 0..<50 {
        probe.value = turn % 3 == 1 ? .failing("timeout") : .text("21500")
        probe.run(until: Int64(turn) * interval)
        probe.value = .text("21500")
        probe.run(until: Int64(turn + 1) * interval - 1)
        for line in probe.takeTold() {
          let words = line.split(separator: " ")
          let time = Int64(words[0])!
          if turn > 0 { #expect(time <= goodUntil, "interval \(interval)") }
          goodUntil = time + Int64(words[3])! * 1000
        }
      }
      #expect(goodUntil > 49 * interval)
    }
  }

  @Test func staleAfterIsWhatItIsSetTo() {
    var probe = air { $0.staleNanoseconds = 600_500_000_000 }
    probe.value = .text("21500")
    probe.run(until: 600_000)
    #expect(probe.takeTold() == ["0 b/air=21.5 for 601 s", "590000 b/air=21.5 for 601 s"])
    probe = air { $0.staleNanoseconds = 0 }
    probe.value = .text("21500")
    probe.run(until: 600_000)
    #expect(probe.takeTold() == ["0 b/air=21.5"])
  }

  /// #201: a sensor was dead after one exception until a restart. It is read again and comes back by itself.
  @Test func pain11ASensorComesBackByItself() {
    var probe = air { $0.staleNanoseconds = 0 }
    probe.value = .failing("No such device")
    probe.run(until: 95_000)
    #expect(probe.readCount == 12)  // 0, 2, 4 and every 10 s
    #expect(probe.takeTold() == ["4000 b/air/fault=No such device"])
    probe.value = .text("20000")
    probe.run(until: 100_000)
    #expect(probe.takeTold() == ["100000 b/air/fault=", "100000 b/air=20.0"])
  }

  /// A failure that is no fault yet is tried again after two seconds, beside the interval.
  @Test func aFailureIsTriedAgainSoon() {
    var probe = air { $0.staleNanoseconds = 0 }
    probe.value = .failing("timeout")
    probe.run(until: 0)
    probe.value = .text("20000")
    probe.run(until: 10_000)
    #expect(probe.takeTold() == ["2000 b/air=20.0"])
    #expect(probe.readCount == 3)
    #expect(probe.table.sensors[0].skippedCount == 0)
  }

  /// esphome#3358, otb-iot#11, raspberrypi/linux#2099: a disconnected sensor reads 0.0, 85 or -127 as if it were true.
  @Test(arguments: [
    ("85000", "not a measurement: 85.0"), ("-127000", "out of its range: -127.0"),
    ("125100", "out of its range: 125.1"),
  ])
  func pain13ADisconnectedSensorHasNoValue(text: String, fault: String) {
    var probe = Probe(sensor("boiler", .w1(name: [UInt8]("28-0".utf8)), intervalMilliseconds: 10_000))
    probe.value = .text(text)
    probe.run(until: 60_000)
    #expect(probe.takeTold() == ["4000 b/boiler/fault=\(fault)"])
    probe.value = .text("54312")
    probe.run(until: 70_000)
    #expect(probe.takeTold().last == "70000 b/boiler=54.3 for 25 s")
  }

  @Test func pain13RangeAndRejectListAreTheUsers() {
    var probe = air {
      $0.valid = SensorRange(lowest: decimal("-30"), highest: decimal("60"))
      $0.reject = [decimal("0"), decimal("-0.6")]
      $0.staleNanoseconds = 0
    }
    for (text, value) in [
      ("0", nil), ("-600", nil), ("-30001", "-30.0"), ("-30050", nil), ("60000", "60.0"), ("60050", nil), ("1", "0.0"),
    ] as [(String, String?)] {
      probe.value = .text(text)
      probe.run(until: probe.table.nextSensorDeadline.nanoseconds / 1_000_000)
      #expect(
        probe.takeTold().last { $0.contains("air=") }.map { $0.split(separator: "=")[1] } == value.map { $0[...] })
    }
    // 85 that is measured is a measurement, if the list is the user's.
    probe = Probe(
      {
        var settings = sensor("boiler", .w1(name: [UInt8]("28-0".utf8)))
        settings.reject = []
        return settings
      }())
    probe.value = .text("85000")
    probe.run(until: 0)
    #expect(probe.takeTold() == ["0 b/boiler=85.0 for 7 s"])
  }

  @Test func aWrongValueThatWobblesIsToldOnce() {
    var probe = air { $0.valid = SensorRange(lowest: .zero, highest: decimal("60")) }
    for number in 0..<20 {
      probe.value = .text("-\(100 + number)000")
      probe.run(until: Int64(number) * 10_000)
    }
    #expect(probe.takeTold() == ["4000 b/air/fault=out of its range: -101.0"])
  }

  @Test func binaryIsOnOrOff() {
    var probe = Probe(
      {
        var settings = sensor("power", .hwmon(name: [UInt8]("rpi_volt".utf8), channel: [UInt8]("in0_lcrit_alarm".utf8)))
        settings.isBinary = true
        settings.staleNanoseconds = 0
        return settings
      }())
    for text in ["0", "0", "1", "1", "0"] {
      probe.value = .text(text)
      probe.run(until: probe.table.nextSensorDeadline.nanoseconds / 1_000_000)
    }
    #expect(probe.takeTold() == ["0 b/power=OFF", "2000 b/power=ON", "4000 b/power=OFF"])
  }

  @Test func channelsOfADevice() {
    var channels: [SensorSettings] = []
    for (name, file) in [("temperature", "in_temp_input"), ("humidity", "in_humidityrelative_input")] {
      var settings = sensor("air", .iio(name: [UInt8]("bme280".utf8), channel: [UInt8](file.utf8)))
      settings.channel = [UInt8](name.utf8)
      channels.append(settings)
    }
    let sensors = board(sensors: channels).sensors
    #expect((0..<2).map { sensors[$0].stateTopic.text } == ["home/cellar/air/temperature", "home/cellar/air/humidity"])
    #expect(sensors[1].faultTopic.text == "home/cellar/air/humidity/fault")
    var settings = TapSettings(base: [0x61])
    settings.sensors = channels + channels
    #expect(settings.problem() == TapProblem(place: .sensor(2), text: "another channel has this name"))
    settings.sensors = channels + [sensor("cpu"), channels[0]]
    #expect(settings.problem() == TapProblem(place: .sensor(3), text: "another tap has this name"))
  }
}

@Suite struct SensorScaleTests {
  private func probe(_ channel: String, _ files: [String: String], digits: Int? = nil) -> [String] {
    var settings = sensor("x", .iio(name: [UInt8]("chip".utf8), channel: [UInt8](channel.utf8)))
    settings.digits = digits
    settings.staleNanoseconds = 0
    var probe = Probe(settings)
    for (name, text) in files { probe.files[name] = .text(text + "\n") }
    probe.run(until: 0)
    return probe.takeTold()
  }

  /// value = (raw + offset) x scale, as the device's own files say.
  @Test func rawChannelsHaveTheDevicesScale() {
    #expect(probe("in_voltage0_raw", ["in_voltage0_raw": "11200", "in_voltage0_scale": "0.1875"]) == ["0 b/x=2.100"])
    #expect(probe("in_voltage7_raw", ["in_voltage7_raw": "512", "in_voltage_scale": "3.222656250"]) == ["0 b/x=1.650"])
    #expect(
      probe("in_temp_raw", ["in_temp_raw": "400", "in_temp_scale": "62.5", "in_temp_offset": "-4"])
        == ["0 b/x=24.8"])
    #expect(
      probe("in_voltage0-voltage1_raw", ["in_voltage0-voltage1_raw": "-5", "in_voltage-voltage_scale": "2"])
        == ["0 b/x=-0.010"])
    #expect(probe("in_distance_raw", ["in_distance_raw": "1234", "in_distance_scale": "0.001"]) == ["0 b/x=1.234"])
    #expect(probe("in_steps_raw", ["in_steps_raw": "42"]) == ["0 b/x=42"])
  }

  @Test func ownScaleMeansTheRawNumber() {
    var settings = sensor("x", .iio(name: [UInt8]("chip".utf8), channel: [UInt8]("in_voltage0_raw".utf8)))
    settings.scale = PlainDecimal(mantissa: 1, places: 0)
    settings.staleNanoseconds = 0
    var probe = Probe(settings)
    probe.files = ["in_voltage0_raw": .text("73"), "in_voltage0_scale": .text("1000")]
    probe.run(until: 0)
    #expect(probe.takeTold() == ["0 b/x=73"])
  }

  /// A scale that could not be read is not taken for one that is not there.
  @Test func aFailingScaleIsTriedAgain() {
    var settings = sensor("x", .iio(name: [UInt8]("chip".utf8), channel: [UInt8]("in_voltage0_raw".utf8)))
    settings.staleNanoseconds = 0
    var probe = Probe(settings)
    probe.files = ["in_voltage0_raw": .text("1000"), "in_voltage0_scale": .failing("Input/output error")]
    probe.run(until: 10_000)
    #expect(probe.takeTold() == ["2000 b/x/fault=Input/output error"])
    probe.files["in_voltage0_scale"] = .text("2")
    probe.run(until: 11_000)
    #expect(probe.takeTold() == ["11000 b/x/fault=", "11000 b/x=2.000"])
  }
}
