import Taps

/// `inputs:` and `counters:`.
extension TapsReader {
  static var inputKeys: [StaticString] {
    ["pin", "active", "bias", "debounce", "on_delay", "off_delay", "events", "link", "ha"]
  }
  static var debounceKeys: [StaticString] { ["time", "mode"] }
  static var eventKeys: [StaticString] { ["long", "multi"] }
  static var counterKeys: [StaticString] {
    ["pin", "bias", "edge", "glitch", "pulses_per_unit", "unit", "digits", "rate", "publish", "ha"]
  }
  static var rateKeys: [StaticString] { ["unit", "timeout", "digits"] }
  static var publishKeys: [StaticString] { ["delta", "throttle"] }

  private static var week: Int { 604_800_000 }
  private static var nanoseconds: Int64 { 1_000_000 }

  mutating func readInput(_ entry: Entry) {
    register(entry, .input)
    let section = Section(entry.value, "an input", keys: TapsReader.inputKeys, errors: errors)
    var input = InputSettings(name: entry.key, pin: pinOrNone(section, of: entry))
    input.active = TapsReader.active(section)
    input.bias = TapsReader.bias(section)
    readDebounce(section, &input)
    input.onDelayNanoseconds = time(section, "on_delay")
    input.offDelayNanoseconds = time(section, "off_delay")
    input.events = events(section)
    settings.inputs.append(input)
    readLinks(section, of: input)
  }

  private static func bias(_ section: Section) -> LineBias {
    section.choice(
      "bias",
      [
        Choice("as-is", LineBias.asIs), Choice("disabled", .disabled), Choice("pull-up", .pullUp),
        Choice("pull-down", .pullDown),
      ], default: .asIs)
  }

  private func time(_ section: Section, _ key: StaticString) -> Int64 {
    Int64(section.duration(key, 0...TapsReader.week, default: 0)) * TapsReader.nanoseconds
  }

  /// `debounce: 20ms`, or `debounce: {time: 20ms, mode: leading}`.
  private func readDebounce(_ section: Section, _ input: inout InputSettings) {
    var timed = section
    var key: StaticString = "debounce"
    if let value = section.entry("debounce")?.value, value.kind == .mapping {
      timed = Section(value, "debounce", keys: TapsReader.debounceKeys, errors: errors)
      key = "time"
      input.debounceMode = timed.choice(
        "mode", [Choice("settle", DebounceMode.settle), Choice("leading", .leading)], default: .settle)
      if !timed.has("time") { errors.add(timed.place, "a debounce without a 'time' such as 25ms") }
    }
    input.debounceMicroseconds = UInt32(timed.duration(key, 0...10_000, default: 0) * 1000)
  }

  /// `events: true`, or `events: {long: 800ms, multi: 300ms}`.
  private func events(_ section: Section) -> ButtonSettings? {
    guard let value = section.entry("events")?.value else { return nil }
    guard value.kind == .mapping else { return section.boolean("events") == true ? ButtonSettings() : nil }
    let events = Section(value, "events", keys: TapsReader.eventKeys, errors: errors)
    return ButtonSettings(longNanoseconds: time(events, "long"), multiNanoseconds: time(events, "multi"))
  }

  // MARK: Counters

  mutating func readCounter(_ entry: Entry) {
    register(entry, .counter)
    let section = Section(entry.value, "a counter", keys: TapsReader.counterKeys, errors: errors)
    var counter = CounterSettings(name: entry.key, pin: pinOrNone(section, of: entry))
    counter.bias = TapsReader.bias(section)
    counter.edge = section.choice(
      "edge", [Choice("rising", CounterEdge.rising), Choice("falling", .falling), Choice("both", .both)],
      default: .rising)
    counter.glitchNanoseconds = Int64(section.duration("glitch", 0...10_000, default: 0)) * TapsReader.nanoseconds
    counter.unit = section.word("unit", "a unit such as L or kWh", byteCountMax: 32) ?? []
    counter.digits = digits(section)
    if let perUnit = section.decimal("pulses_per_unit") {
      counter.pulsesPerUnit = perUnit
      if !counter.hasFitPulsesPerUnit {
        section.complain("pulses_per_unit", "a number of more than 0 and less than 1000000, of at most 3 decimals")
        counter.pulsesPerUnit = PlainDecimal(mantissa: 1, places: 0)
      }
    }
    counter.rate = rate(section)
    readPublish(section, &counter)
    moreRetainedCount += counter.rate == nil ? 0 : 1
    settings.counters.append(counter)
  }

  private func digits(_ section: Section) -> Int? {
    section.has("digits") ? section.integer("digits", 0...CounterSettings.digitsMax, default: 0) : nil
  }

  /// `rate: {unit: L/min, timeout: 10s}`.
  private func rate(_ section: Section) -> RateSettings? {
    guard let value = section.entry("rate")?.value else { return nil }
    let rate = Section(value, "rate", keys: TapsReader.rateKeys, errors: errors)
    let expected: StaticString = "a unit by time such as L/min: /s, /min or /h"
    var period = RatePeriod.minute
    var text: [UInt8] = []
    if !rate.has("unit") {
      errors.add(rate.place, "a rate without a 'unit' such as L/min")
    } else if let unit = rate.word("unit", expected, byteCountMax: 32) {
      let ends: [(StaticString, RatePeriod)] = [("/s", .second), ("/min", .minute), ("/h", .hour)]
      if let end = ends.first(where: { unit.ends(with: $0.0) }) {
        period = end.1
        text = unit
      } else {
        rate.complain("unit", expected)
      }
    }
    let timeout = rate.duration("timeout", 1...TapsReader.week, default: 10_000)
    var settings = RateSettings(period: period, timeoutNanoseconds: Int64(timeout) * TapsReader.nanoseconds)
    settings.unit = text
    settings.digits = digits(rate) ?? settings.digits
    return settings
  }

  /// `publish: {delta: 0.1, throttle: 1s}`.
  private func readPublish(_ section: Section, _ counter: inout CounterSettings) {
    guard let value = section.entry("publish")?.value else { return }
    let publish = Section(value, "publish", keys: TapsReader.publishKeys, errors: errors)
    if let delta = publish.decimal("delta") {
      if delta < .zero { publish.complain("delta", "a number of 0 or more") } else { counter.delta = delta }
    }
    let throttle = publish.duration("throttle", 0...TapsReader.week, default: 1000)
    counter.throttleNanoseconds = Int64(throttle) * TapsReader.nanoseconds
  }
}

extension [UInt8] {
  fileprivate func ends(with end: StaticString) -> Bool {
    count >= end.utf8CodeUnitCount && [UInt8](suffix(end.utf8CodeUnitCount)).equals(end)
  }
}
