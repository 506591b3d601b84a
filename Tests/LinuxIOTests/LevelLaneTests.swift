import Bounded
import Foundation
import Testing

@testable import LinuxIO

/// Directories of plain files in place of /sys, which keep what was written; a FIFO is a driver that hangs.
@Suite("Levels: PWM channels and LEDs")
struct LevelLaneTests {
  let root: URL

  init() throws {
    root = FileManager.default.temporaryDirectory.appendingPathComponent("level-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: root, withIntermediateDirectories: true)
  }

  // MARK: The tree

  func put(_ path: String, _ text: String) throws {
    let file = root.appendingPathComponent(path)
    try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
    try Data(text.utf8).write(to: file)
  }

  func get(_ path: String) -> String {
    (try? String(decoding: Data(contentsOf: root.appendingPathComponent(path)), as: UTF8.self)) ?? "(none)"
  }

  func chip(_ number: Int, device: String) throws {
    try put("class/pwm/pwmchip\(number)/export", "")
    try put("class/pwm/pwmchip\(number)/unexport", "")
    try FileManager.default.createSymbolicLink(
      atPath: root.path + "/class/pwm/pwmchip\(number)/device", withDestinationPath: "../../../platform/soc/\(device)")
  }

  func channel(_ chip: Int, _ channel: Int, period: Int = 0, duty: Int = 0, enable: Int = 0) throws {
    let folder = "class/pwm/pwmchip\(chip)/pwm\(channel)/"
    try put(folder + "period", "\(period)\n")
    try put(folder + "duty_cycle", "\(duty)\n")
    try put(folder + "enable", "\(enable)\n")
    try put(folder + "polarity", "normal\n")
  }

  func channelText(_ chip: Int, _ channel: Int) -> [String] {
    ["period", "duty_cycle", "polarity", "enable"].map {
      get("class/pwm/pwmchip\(chip)/pwm\(channel)/\($0)").trimmingCharacters(in: .newlines)
    }
  }

  func lane(_ device: LevelDevice) throws -> LevelLane {
    try withBytes(root.path) { try LevelLane(device, sysfsRoot: $0) }
  }

  func pwm(_ name: String, channel: UInt32 = 0, period: UInt64 = 1_000_000, inversed: Bool = false) -> LevelDevice {
    .pwm(
      device: withBytes(name) { FixedText<64>($0) }, channel: channel, periodNanoseconds: period, isInversed: inversed)
  }

  func led(_ name: String, trigger: String = "none") -> LevelDevice {
    .led(name: withBytes(name) { FixedText<64>($0) }, trigger: withBytes(trigger) { ShortText($0) })
  }

  func withBytes<Answer>(_ text: String, _ body: (Bytes) throws -> Answer) rethrows -> Answer {
    try [UInt8](text.utf8).withUnsafeBytes { try body(Bytes($0)) }
  }

  /// "ok", the step that failed, or "hangs".
  @discardableResult
  func run(_ lane: LevelLane, _ job: LevelJob, _ percent: UInt64 = 0) -> String {
    #expect(lane.submit(job, share: percent << 32 / 100))
    guard let result = lane.wait(until: Patience.isOver) else {
      return "hangs"
    }
    guard let failure = result.failure else { return "ok" }
    return "\(failure.step.file) \(failure.error.errno)"
  }

  // MARK: PWM

  @Test func pain26PWMChipNumberChanges() throws {
    try chip(0, device: "1f0009c000.pwm")  // the fan's
    try chip(2, device: "1f00098000.pwm")
    try channel(0, 0, period: 40_000, duty: 20_000, enable: 1)
    try channel(2, 0)
    let lane = try lane(pwm("1f00098000.pwm"))
    #expect(run(lane, .open, 25) == "ok")
    #expect(channelText(2, 0) == ["1000000", "250000", "normal", "1"])
    #expect(channelText(0, 0) == ["40000", "20000", "normal", "1"])
    // Another kernel, another number.
    try FileManager.default.removeItem(at: root.appendingPathComponent("class/pwm/pwmchip2"))
    try chip(5, device: "1f00098000.pwm")
    try channel(5, 0)
    #expect(run(lane, .set, 50) == "ok")
    #expect(channelText(5, 0) == ["1000000", "500000", "normal", "1"])
  }

  @Test func partOfANameIsNoName() throws {
    try chip(0, device: "98000.pwm")
    try chip(1, device: "x98000.pwm.1")
    try channel(0, 0)
    #expect(run(try lane(pwm("8000.pwm")), .open) == "device 19")
    #expect(run(try lane(pwm("98000.pwm")), .open) == "ok")
    #expect(run(try lane(pwm("soc/98000.pwm")), .open) == "ok")
  }

  @Test func exportsAndWaitsForTheFiles() throws {
    // The lane waits for a second. A test that was stopped for longer in the wrong moment begins again.
    try chip(0, device: "fe20c000.pwm")
    for attempt in 1...20 {
      try put("class/pwm/pwmchip0/export", "")
      let lane = try lane(pwm("fe20c000.pwm", channel: 1))
      #expect(lane.submit(.open, share: 1 << 31))
      let patience = Patience()
      while get("class/pwm/pwmchip0/export") != "1" { try patience.yield() }
      try channel(0, 1)  // the kernel's part, a moment later
      let result = try #require(lane.wait(until: Patience.isOver))
      if result.failure != nil, attempt < 20 {
        try FileManager.default.removeItem(at: root.appendingPathComponent("class/pwm/pwmchip0/pwm1"))
        continue
      }
      #expect(result.failure == nil)
      #expect(channelText(0, 1) == ["1000000", "500000", "normal", "1"])
      return
    }
  }

  @Test func givesUpWaitingForTheFiles() throws {
    try chip(0, device: "fe20c000.pwm")
    #expect(run(try lane(pwm("fe20c000.pwm")), .open) == "period 2")
  }

  /// What is there may have any period and duty cycle; what it ends with is the same.
  @Test(arguments: [(0, 0), (500_000, 400_000), (2_000_000, 1_999_999), (2_000_000, 100), (1_000_000, 1_000_000)])
  func takesOverWhatIsThere(_ period: Int, _ duty: Int) throws {
    try chip(0, device: "fe20c000.pwm")
    try channel(0, 0, period: period, duty: duty, enable: 1)
    let lane = try lane(pwm("fe20c000.pwm", inversed: true))
    #expect(run(lane, .open, 75) == "ok")
    #expect(channelText(0, 0) == ["1000000", "750000", "inversed", "1"])
    #expect(run(lane, .set, 100) == "ok")
    #expect(channelText(0, 0) == ["1000000", "1000000", "inversed", "1"])
    #expect(run(lane, .release) == "ok")
    #expect(channelText(0, 0)[3] == "0")
    #expect(get("class/pwm/pwmchip0/unexport") == "0")
  }

  /// The order of the writes: the kernel refuses a duty cycle beyond the period with EINVAL.
  @Test(arguments: [
    (0, 0, ["period", "duty_cycle", "enable"]),
    (3_000_000, 2_000_000, ["duty_cycle", "period", "duty_cycle", "enable"]),
    (3_000_000, 900_000, ["period", "duty_cycle", "enable"]),
    (400_000, 400_000, ["period", "duty_cycle", "enable"]),
    (1_000_000, 700_000, ["duty_cycle", "enable"]),
  ])
  func dutyIsNeverLongerThanThePeriod(_ period: Int, _ duty: Int, _ expected: [String]) throws {
    try chip(0, device: "fe20c000.pwm")
    try channel(0, 0, period: period, duty: duty)
    let watch = inotify_init1(Int32(IN_NONBLOCK))
    defer { close(watch) }
    #expect(inotify_add_watch(watch, root.path + "/class/pwm/pwmchip0/pwm0", UInt32(IN_CLOSE_WRITE)) >= 0)
    #expect(run(try lane(pwm("fe20c000.pwm")), .open, 50) == "ok")
    #expect(channelText(0, 0) == ["1000000", "500000", "normal", "1"])
    #expect(names(watch) == expected)
  }

  /// Of files that were closed after writing, oldest first.
  private func names(_ watch: Int32) -> [String] {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 8)
    defer { buffer.deallocate() }
    let count = read(watch, buffer.baseAddress!, buffer.count)
    var names: [String] = []
    var start = 0
    while start < count {
      // struct inotify_event: wd, mask, cookie, len, name
      let length = Int(buffer.load(fromByteOffset: start + 12, as: UInt32.self))
      let name = buffer[(start + 16)..<(start + 16 + length)].prefix { $0 != 0 }
      names.append(String(decoding: name, as: UTF8.self))
      start += 16 + length
    }
    return names
  }

  @Test func missingAndVanishing() throws {
    let lane = try lane(pwm("fe20c000.pwm"))
    #expect(run(lane, .open) == "device 19")
    try chip(0, device: "fe20c000.pwm")
    try channel(0, 0)
    #expect(run(lane, .open, 10) == "ok")
    try FileManager.default.removeItem(at: root.appendingPathComponent("class/pwm/pwmchip0"))
    #expect(run(lane, .set, 20) == "device 19")
    try chip(0, device: "fe20c000.pwm")
    try channel(0, 0)
    #expect(run(lane, .set, 20) == "ok")
    #expect(channelText(0, 0) == ["1000000", "200000", "normal", "1"])
  }

  // MARK: LEDs

  @Test func ledAndItsTrigger() throws {
    try put("class/leds/ACT/max_brightness", "255\n")
    try put("class/leds/ACT/brightness", "255\n")
    try put("class/leds/ACT/trigger", "none kbd [mmc0] heartbeat\n")
    let lane = try lane(led("ACT"))
    #expect(run(lane, .open) == "ok")
    #expect(get("class/leds/ACT/brightness") == "0")
    #expect(get("class/leds/ACT/trigger") == "none")
    #expect(run(lane, .set, 50) == "ok")
    #expect(get("class/leds/ACT/brightness") == "128")
    #expect(lane.submit(.set, share: 1))  // not dark
    #expect(lane.wait(until: Patience.isOver)?.failure == nil)
    #expect(get("class/leds/ACT/brightness") == "1")
    #expect(run(lane, .release) == "ok")
    #expect(get("class/leds/ACT/trigger") == "mmc0")
  }

  @Test func ledWhoseTriggerIsKept() throws {
    try put("class/leds/ACT/max_brightness", "1\n")
    try put("class/leds/ACT/brightness", "0\n")
    let lane = try lane(led("ACT", trigger: ""))
    #expect(run(lane, .open, 100) == "ok")
    #expect(get("class/leds/ACT/brightness") == "1")
    #expect(get("class/leds/ACT/trigger") == "(none)")
    #expect(run(lane, .release) == "ok")
    #expect(run(try self.lane(led("PWR")), .open) == "device 19")
  }

  // MARK: Drivers that hang

  @Test func hangingWriteHoldsUpNobody() throws {
    try put("class/leds/a/max_brightness", "255\n")
    try put("class/leds/b/max_brightness", "255\n")
    try put("class/leds/b/brightness", "0\n")
    let fifo = root.path + "/class/leds/a/brightness"
    #expect(mkfifo(fifo, 0o600) == 0)
    let slow = try lane(led("a", trigger: ""))
    let other = try lane(led("b", trigger: ""))
    #expect(slow.submit(.open, share: 1 << 32))
    #expect(slow.wait(until: Clock.now().adding(nanoseconds: 30_000_000)) == nil)
    #expect(slow.isBusy)
    #expect(!slow.submit(.set, share: 0))
    #expect(run(other, .open, 100) == "ok")
    let reader = try #require(FileHandle(forReadingAtPath: fifo))
    #expect(try #require(slow.wait(until: Patience.isOver)).failure == nil)
    #expect(String(decoding: reader.availableData, as: UTF8.self) == "255")
    #expect(!slow.isBusy)
  }

  // MARK: Arithmetic

  @Test(arguments: [0, 1, 2, 255, 999_999, 1_000_000, 10_000_000_000] as [UInt64])
  func part(_ whole: UInt64) {
    #expect(LevelFile.part(0, of: whole) == 0)
    #expect(LevelFile.part(1 << 32, of: whole) == whole)
    #expect(LevelFile.part(1 << 31, of: whole) == (whole + 1) / 2)
    #expect(LevelFile.part((1 << 32) - 1, of: whole) <= whole)
  }
}
