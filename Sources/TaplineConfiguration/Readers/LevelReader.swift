import Taps

/// `pwm:` and `leds:`.
extension TapsReader {
  static var pwmKeys: [StaticString] { ["chip", "channel", "frequency", "active"] + levelKeys }
  static var ledKeys: [StaticString] { ["led", "trigger"] + levelKeys }
  private static var levelKeys: [StaticString] {
    ["initial", "safe", "on_exit", "gamma", "min", "max", "max_on", "lease", "ha"]
  }

  mutating func readPWM(_ entry: Entry, onExit: OutputExit) {
    register(entry, .pwm)
    let section = Section(entry.value, "a PWM output", keys: TapsReader.pwmKeys, errors: errors)
    let chip = word(section, "chip", of: entry, "a PWM chip's device such as 1f00098000.pwm")
    let channel = section.integer("channel", 0...255, default: 0)
    let period = section.frequency("frequency", default: 1_000_000)
    let isActiveLow = TapsReader.active(section) == .low
    guard let chip else { return }
    let target = LevelTarget.pwm(
      chip: chip, channel: channel, periodNanoseconds: period, isActiveLow: isActiveLow)
    read(section, of: entry, LevelSettings(name: entry.key, target: target), onExit)
  }

  mutating func readLED(_ entry: Entry, onExit: OutputExit) {
    register(entry, .led)
    let section = Section(entry.value, "an LED", keys: TapsReader.ledKeys, errors: errors)
    let led = word(section, "led", of: entry, "an LED's name in /sys/class/leds such as ACT")
    let trigger = section.word("trigger", "none, keep or the name of a trigger", byteCountMax: 31)
    guard let led else { return }
    let isKept = trigger?.equals("keep") == true
    let target = LevelTarget.led(name: led, trigger: isKept ? [] : trigger ?? [UInt8](ascii: "none"))
    read(section, of: entry, LevelSettings(name: entry.key, target: target), onExit)
  }

  /// A device's name, which the kernel looks for in one directory only.
  private func word(
    _ section: Section, _ key: StaticString, of entry: Entry, _ expected: StaticString
  ) -> [UInt8]? {
    guard section.has(key) else {
      guard entry.value.kind == .mapping || entry.value.kind == .nothing else { return nil }
      var text = Text()
      text.add(quoted: entry.key)
      text.add(" has no ")
      text.add(quoted: key)
      text.add("; expected ")
      text.add(expected)
      errors.add(entry.place, text)
      return nil
    }
    guard let name = section.word(key, expected, byteCountMax: 64) else { return nil }
    // pwmchip0 is another chip after the next kernel update.
    if name.contains(UInt8(ascii: "/")) || name.starts(with: [UInt8](ascii: "pwmchip")) {
      section.complain(key, expected)
    }
    return name
  }

  private mutating func read(_ section: Section, of entry: Entry, _ level: LevelSettings, _ onExit: OutputExit) {
    var level = level
    if section.says("initial", "restore") {
      level.isRestored = true
      if settings.persist == nil { complainAboutRestore(section) }
    } else {
      level.initial = section.level("initial", default: 0, "a percentage from 0 to 100, or restore")
    }
    level.safe = section.level("safe", default: 0)
    level.onExit = TapsReader.onExit(section, default: onExit)
    level.maxOnNanoseconds = TapsReader.nanoseconds(section, "max_on", TapsReader.timeRange)
    if let (lease, client, grace) = lease(section) {
      level.lease = LevelLease(
        client: client, graceNanoseconds: grace, levelWhenLost: lease.level("on_lost", default: level.safe))
      level.lease?.keepAliveSecondsMax = TapsReader.keepAlive(lease)
    }
    level.scale.lowest = section.level("min", default: 0)
    level.scale.highest = section.level("max", default: LevelSettings.levelMax)
    if level.scale.lowest > level.scale.highest { section.complain("min", "a percentage of at most 'max'") }
    if let gamma = section.decimal("gamma") {
      let hundredths = gamma.hundredths
      if let hundredths, hundredths >= 10, hundredths <= 500 {
        level.scale.gammaHundredths = hundredths
      } else {
        section.complain("gamma", "a number from 0.1 to 5 with at most 2 decimals")
      }
    }
    if settings.levels.contains(where: { $0.isSame(as: level) && $0.name != level.name }) {
      complain(about: entry, "another tap has this output")
    }
    settings.levels.append(level)
  }
}

extension PlainDecimal {
  /// nil when there are more decimals, or too many digits.
  fileprivate var hundredths: Int? {
    guard places <= 2, mantissa.magnitude < 1_000_000 else { return nil }
    return Int(mantissa) * (places == 0 ? 100 : places == 1 ? 10 : 1)
  }
}

extension Section {
  /// A percentage in hundredths.
  fileprivate func level(
    _ key: StaticString, default fallback: Int, _ expected: StaticString = "a percentage from 0 to 100"
  ) -> Int {
    guard has(key) else { return fallback }
    guard let word = entry(key)?.value.text, let level = word.lend({ try? PlainDecimal(parsing: $0) })?.level else {
      complain(key, expected)
      return fallback
    }
    return level
  }

  fileprivate func says(_ key: StaticString, _ word: StaticString) -> Bool {
    guard let value = entry(key)?.value, value.kind == .scalar else { return false }
    return Values.equalsIgnoringCase(value.text, word)
  }

  /// `1kHz`, `62.5Hz`, `25000`, as the nanoseconds of its period.
  fileprivate func frequency(_ key: StaticString, default fallback: Int64) -> Int64 {
    let expected: StaticString = "a frequency such as 50Hz, 1kHz or 25000, from 0.1Hz to 10MHz"
    guard let text = word(key, expected, byteCountMax: 32) else { return fallback }
    guard let period = Values.period(text) else {
      complain(key, expected)
      return fallback
    }
    return period
  }
}

extension Values {
  /// Nanoseconds, rounded, of a frequency from 0.1 Hz to 10 MHz.
  static func period(_ text: [UInt8]) -> Int64? {
    let units: [(StaticString, Int64)] = [("MHz", 1_000_000), ("kHz", 1000), ("Hz", 1), ("", 1)]
    for (unit, factor) in units {
      let start = text.count - unit.utf8CodeUnitCount
      guard start > 0, [UInt8](text[start...]).equals(unit) else { continue }
      guard let number = [UInt8](text[..<start]).lend({ try? PlainDecimal(parsing: $0) }), number.places <= 6,
        number.mantissa > 0, number.mantissa <= 1_000_000_000_000
      else { return nil }
      // 10^9 / (mantissa * factor / 10^places)
      var scaled: Int64 = 1_000_000_000
      var places = number.places
      while places > 0 {
        scaled *= 10
        places -= 1
      }
      let divisor = number.mantissa * factor
      guard divisor > 0 else { return nil }
      let period = (scaled + divisor / 2) / divisor
      return period >= 100 && period <= 10_000_000_000 ? period : nil
    }
    return nil
  }
}
