import LinuxIO

/// `log:`: a level for all areas, others for some, and the budget of each.
enum LogReader {
  static var keys: [StaticString] { ["level", "server", "mqtt", "taps", "sensors", "state", "rate", "burst"] }

  static func read(_ top: Section) -> LogSettings {
    var settings = LogSettings()
    guard let entry = top.entry("log") else { return settings }
    let section = Section(entry.value, "'log'", keys: keys, errors: top.errors)
    let level = read(section, "level", default: .notice)
    settings[.server] = read(section, "server", default: level)
    settings[.mqtt] = read(section, "mqtt", default: level)
    settings[.taps] = read(section, "taps", default: level)
    settings[.sensors] = read(section, "sensors", default: level)
    settings[.state] = read(section, "state", default: level)
    settings.linesPerSecond = section.integer("rate", 1...1000, default: settings.linesPerSecond)
    settings.burst = section.integer("burst", 1...10_000, default: settings.burst)
    return settings
  }

  private static func read(_ section: Section, _ key: StaticString, default level: Log.Priority) -> Log.Priority {
    section.choice(
      key,
      [
        Choice("error", Log.Priority.error), Choice("warning", .warning), Choice("notice", .notice),
        Choice("info", .info), Choice("debug", .debug),
      ], default: level)
  }
}
