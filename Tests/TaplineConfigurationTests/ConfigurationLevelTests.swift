import Foundation
import Taps
import Testing

@testable import TaplineConfiguration

@Suite("Configured PWM outputs and LEDs")
struct ConfigurationLevelTests {
  @Test func everything() throws {
    let configuration = try readConfiguration(
      """
      taps:
        on_exit: keep
        pwm:
          strip: {chip: fe20c000.pwm, channel: 1, frequency: 25kHz, active: low, initial: 12.5, gamma: 2.2, safe: 3,
                  on_exit: release, min: 20, max: 90}
          plain: {chip: soc.pwm}
        leds:
          act: {led: ACT, gamma: 0.5}
          pwr: {led: PWR, trigger: keep}
          heart: {led: heart, trigger: heartbeat, on_exit: safe}
      """)
    let levels = configuration.taps.levels
    #expect(levels.map { string($0.name) } == ["strip", "plain", "act", "pwr", "heart"])
    #expect(
      levels[0].target
        == .pwm(chip: [UInt8]("fe20c000.pwm".utf8), channel: 1, periodNanoseconds: 40_000, isActiveLow: true))
    #expect(levels[0].initial == 1250 && levels[0].safe == 300 && levels[0].onExit == .release)
    #expect(levels[0].scale.gammaHundredths == 220)
    #expect(levels[0].scale.lowest == 2000 && levels[0].scale.highest == 9000)
    #expect(
      levels[1].target
        == .pwm(chip: [UInt8]("soc.pwm".utf8), channel: 0, periodNanoseconds: 1_000_000, isActiveLow: false))
    #expect(levels[1].onExit == .keep && levels[1].scale.gammaHundredths == 100)
    #expect(levels[2].target == .led(name: [UInt8]("ACT".utf8), trigger: [UInt8]("none".utf8)))
    #expect(levels[2].scale.gammaHundredths == 50)
    #expect(levels[3].target == .led(name: [UInt8]("PWR".utf8), trigger: []))
    #expect(levels[4].target == .led(name: [UInt8]("heart".utf8), trigger: [UInt8]("heartbeat".utf8)))
    #expect(levels[4].onExit == .safe)
    #expect(configuration.counts.levels == 5)
  }

  @Test(arguments: [
    ("50Hz", 20_000_000), ("1kHz", 1_000_000), ("25kHz", 40_000), ("62.5Hz", 16_000_000), ("10MHz", 100),
    ("1 kHz", 1_000_000),
    ("0.1Hz", 10_000_000_000), ("3Hz", 333_333_333), ("44100", 22_676), ("1.5kHz", 666_667),
    ("0.000001MHz", 1_000_000_000),
  ])
  func frequency(_ text: String, _ period: Int64) {
    #expect(Values.period([UInt8](text.utf8)) == period)
  }

  @Test(arguments: [
    "", "Hz", "0", "0Hz", "0.09Hz", "11MHz", "-1kHz", "1khz", "1GHz", "fast", "99999999999999999",
  ])
  func noFrequency(_ text: String) {
    #expect(Values.period([UInt8](text.utf8)) == nil)
  }

  static let wrongCases: [(String, String)] = [
    ("pwm: {a: {channel: 1}}", "2:9: 'a' has no 'chip'; expected a PWM chip's device such as 1f00098000.pwm"),
    ("leds: {a: {}}", "2:10: 'a' has no 'led'; expected an LED's name in /sys/class/leds such as ACT"),
    (
      "pwm: {a: {chip: pwmchip0}}",
      "2:19: 'chip' is 'pwmchip0'; expected a PWM chip's device such as 1f00098000.pwm"
    ),
    ("leds: {a: {led: ../x}}", "2:19: 'led' is '../x'; expected an LED's name in /sys/class/leds such as ACT"),
    ("pwm: {a: {chip: x, channel: 256}}", "2:31: 'channel' is '256'; expected a number from 0 to 255"),
    (
      "pwm: {a: {chip: x, frequency: 1GHz}}",
      "2:33: 'frequency' is '1GHz'; expected a frequency such as 50Hz, 1kHz or 25000, from 0.1Hz to 10MHz"
    ),
    ("pwm: {a: {chip: x, initial: 101}}", "2:31: 'initial' is '101'; expected a percentage from 0 to 100, or restore"),
    ("pwm: {a: {chip: x, safe: on}}", "2:28: 'safe' is 'on'; expected a percentage from 0 to 100"),
    ("pwm: {a: {chip: x, initial: [1]}}", "2:31: 'initial' is a list; expected a percentage from 0 to 100, or restore"),
    (
      "leds: {a: {led: x, initial: restore}}",
      "2:31: 'initial: restore' needs a file to restore from; expected 'persist: /var/lib/tapline/taps' in 'taps'"
    ),
    ("pwm: {a: {chip: x, gamma: 6}}", "2:29: 'gamma' is '6'; expected a number from 0.1 to 5 with at most 2 decimals"),
    (
      "pwm: {a: {chip: x, gamma: 2.222}}",
      "2:29: 'gamma' is '2.222'; expected a number from 0.1 to 5 with at most 2 decimals"
    ),
    ("pwm: {a: {chip: x, min: 60, max: 50}}", "2:27: 'min' is '60'; expected a percentage of at most 'max'"),
    (
      "pwm: {a: {chip: x, trigger: none}}",
      "2:22: unknown key 'trigger' in a PWM output"
    ),
    ("leds: {a: {led: x, on_exit: off}}", "2:31: 'on_exit' is 'off'; expected safe, keep or release"),
    ("pwm: {a: {chip: x}, b: {chip: x}}", "2:23: 'b': another tap has this output"),
    ("leds: {a: {led: x}, b: {led: x}}", "2:23: 'b': another tap has this output"),
    ("pwm: {a: {chip: x}}\n  leds: {a: {led: x}}", "3:10: a second tap named 'a'; the first is at line 2"),
  ]

  @Test(arguments: wrongCases)
  func wrong(_ taps: String, _ error: String) {
    let lines = errorLines([UInt8]("taps:\n  \(taps)".utf8))
    #expect(lines.contains("t.yaml:\(error)"), "\(lines)")
  }

  @Test func manyAreRefused() {
    let list = (0...32).map { "a\($0): {led: l\($0)}" }.joined(separator: ", ")
    #expect(
      errorLines([UInt8]("taps:\n  leds: {\(list)}".utf8))
        == ["t.yaml:2:3: at most 32 PWM channels and LEDs together"])
  }

  @Test func restore() throws {
    let configuration = try readConfiguration(
      "taps:\n  persist: /x\n  pwm: {a: {chip: x, initial: Restore}, b: {chip: y, initial: 5}}")
    #expect(configuration.taps.levels.map(\.isRestored) == [true, false])
    #expect(configuration.taps.levels.map(\.initial) == [0, 500])
  }

  @Test func leasesAndTimes() throws {
    let levels = try readConfiguration(
      """
      taps:
        pwm: {fan: {chip: x, safe: 20, max_on: 2h, lease: {client: plc, grace: 5s}}}
        leds: {act: {led: ACT, lease: {client: phone, on_lost: 7.5}}, pwr: {led: PWR}}
      """
    ).taps.levels
    #expect(levels.map(\.maxOnNanoseconds) == [7_200_000_000_000, 0, 0])
    #expect(levels.map { $0.lease.map { string($0.client) } } == ["plc", "phone", nil])
    #expect(levels.map { $0.lease?.graceNanoseconds } == [5_000_000_000, 60_000_000_000, nil])
    #expect(levels.map { $0.lease?.keepAliveSecondsMax } == [60, 60, nil])
    #expect(levels.map { $0.lease?.levelWhenLost } == [2000, 750, nil])  // the safe level unless said otherwise
  }
}
