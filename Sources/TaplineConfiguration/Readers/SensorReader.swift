import Taps

/// `sensors:`.
extension TapsReader {
  static var sensorKeys: [StaticString] {
    sourceKeys + ["channel", "channels", "interval", "stale_after", "ha"] + valueKeys
  }
  static var channelKeys: [StaticString] { ["channel", "ha"] + valueKeys }
  private static var sourceKeys: [StaticString] { SensorKind.all.map { $0.key } + ["file", "simulated"] }
  /// What each channel has for itself.
  private static var valueKeys: [StaticString] {
    ["digits", "scale", "offset", "delta", "refresh", "valid", "reject", "as"]
  }
  private static var week: Int { 604_800_000 }

  mutating func readSensor(_ entry: Entry) {
    register(entry, .sensor)
    let section = Section(entry.value, "a sensor", keys: TapsReader.sensorKeys, errors: errors)
    // From 10 ms, the least that the taps' room takes, to a week.
    let interval = section.duration("interval", 10...TapsReader.week, default: 10_000)
    let stale = section.has("stale_after") ? section.duration("stale_after", 0...TapsReader.week, default: 0) : nil
    var sensor = SensorSettings(
      name: entry.key, source: .simulatedWave, intervalNanoseconds: Int64(interval) * 1_000_000)
    sensor.staleNanoseconds = stale.map { Int64($0) * 1_000_000 }
    if section.has("channels") {
      readChannels(section, of: entry, sensor)
      return
    }
    let source = source(section, of: entry)
    readValue(section, &sensor)
    guard let source else { return }
    sensor.source = source
    settings.sensors.append(sensor)
  }

  /// What is published of a number.
  private func readValue(_ section: Section, _ sensor: inout SensorSettings) {
    sensor.digits = section.has("digits") ? section.integer("digits", 0...SensorSettings.digitsMax, default: 0) : nil
    sensor.scale = section.decimal("scale")
    if let scale = sensor.scale, scale == .zero { section.complain("scale", "a number other than 0") }
    sensor.offset = section.decimal("offset") ?? .zero
    sensor.delta = section.decimal("delta") ?? .zero
    if sensor.delta < .zero { section.complain("delta", "a number of 0 or more") }
    sensor.refreshNanoseconds = Int64(section.duration("refresh", 0...TapsReader.week, default: 0)) * 1_000_000
    if section.has("valid") {
      let expected: StaticString = "a list of the lowest and the highest value such as [-30, 120]"
      if let bounds = decimals(section, "valid", expected) {
        if bounds.count == 2, !(bounds[1] < bounds[0]) {
          sensor.valid = SensorRange(lowest: bounds[0], highest: bounds[1])
        } else {
          section.complain("valid", expected)
        }
      }
    }
    if section.has("reject") {
      let expected: StaticString = "a list of at most 4 values such as [85.0, -127]"
      sensor.reject = decimals(section, "reject", expected)
      if let count = sensor.reject?.count, count > SensorSettings.rejectsMax { section.complain("reject", expected) }
    }
    sensor.isBinary = section.choice("as", [Choice("number", false), Choice("binary", true)], default: false)
  }

  /// nil after a complaint.
  private func decimals(_ section: Section, _ key: StaticString, _ expected: StaticString) -> [PlainDecimal]? {
    if section.entry(key)?.value.kind == .nothing { return [] }
    var numbers: [PlainDecimal] = []
    for node in section.items(key, expected) {
      guard node.kind == .scalar, let number = node.text.lend({ try? PlainDecimal(parsing: $0) }) else {
        section.complain(key, expected)
        return nil
      }
      numbers.append(number)
    }
    return section.entry(key)?.value.kind == .sequence ? numbers : nil
  }

  // MARK: Several values of one device

  private mutating func readChannels(_ section: Section, of entry: Entry, _ common: SensorSettings) {
    for key in ["channel"] + TapsReader.valueKeys where section.has(key) {
      var text = Text()
      text.add(quoted: key)
      text.add(" goes into each of the 'channels'")
      errors.add(section.place(of: key), text)
    }
    guard let kind = SensorKind.all.first(where: { section.has($0.key) }), kind.needsChannel else {
      errors.add(section.place(of: "channels"), TapsReader.onlyWithChannels("'channels' go"))
      return
    }
    guard source(section, of: entry, channel: []) != nil,
      let name = section.word(kind.key, kind.expected, byteCountMax: 64)
    else { return }
    let channels = section.members(
      "channels", "names of values with their settings, such as 'temperature: {digits: 1}'")
    for channel in channels {
      checkTopic(entry, channel: [UInt8(ascii: "/")] + channel.key, "/fault", levelCount: 3)
      let value = Section(channel.value, "a channel", keys: TapsReader.channelKeys, errors: errors)
      readHomeAssistant(channel.value, tap: entry.key + [UInt8(ascii: "/")] + channel.key, .sensor)
      var sensor = common
      sensor.channel = channel.key
      readValue(value, &sensor)
      guard let file = file(of: channel, value, kind) else { continue }
      sensor.source = .device(kind, name: name, channel: file)
      settings.sensors.append(sensor)
    }
    moreRetainedCount += max(0, channels.count - 1)
    if channels.isEmpty { errors.add(section.place(of: "channels"), "'channels' has no values") }
  }

  /// The device's file: by `channel`, or by the name of the value where it is a usual one.
  private func file(of channel: Entry, _ section: Section, _ kind: SensorKind) -> [UInt8]? {
    if !section.has("channel"), let usual = kind.usual.first(where: { channel.key.equals($0.name) }) {
      return [UInt8](ascii: usual.file)
    }
    return self.channel(section, of: channel, kind, usual: kind.usual.map { $0.name })
  }

  /// `'channel' goes with 'hwmon', 'iio' and 'power_supply' only`.
  private static func onlyWithChannels(_ lead: StaticString) -> Text {
    let kinds = SensorKind.all.filter { $0.needsChannel }
    var text = Text(lead)
    text.add(" with ")
    for (index, kind) in kinds.enumerated() {
      if index > 0 { text.add(index == kinds.count - 1 ? " and " : ", ") }
      text.add(quoted: kind.key)
    }
    text.add(" only")
    return text
  }

  // MARK: Sources

  /// - Parameter channel: given where it is not to be read from the section.
  private func source(_ section: Section, of entry: Entry, channel given: [UInt8]? = nil) -> SensorSource? {
    let keys = TapsReader.sourceKeys
    let sources = keys.filter { section.has($0) }
    guard sources.count == 1 else {
      var text = Text("sensor ")
      text.add(quoted: entry.key)
      text.add(sources.isEmpty ? " has no source" : " has several sources")
      text.addList(of: keys, before: "; expected one of ")
      errors.add(entry.place, text)
      return nil
    }
    let kind = SensorKind.all.first { section.has($0.key) }
    if section.has("channel"), kind?.needsChannel != true {
      errors.add(section.place(of: "channel"), TapsReader.onlyWithChannels("'channel' goes"))
    }
    if let kind {
      guard let name = section.word(kind.key, kind.expected, byteCountMax: 64) else { return nil }
      if kind.isFoundByEntry, name.contains(UInt8(ascii: "/")) { section.complain(kind.key, kind.expected) }
      guard kind.needsChannel else { return .device(kind, name: name, channel: []) }
      return (given ?? channel(section, of: entry, kind)).map { .device(kind, name: name, channel: $0) }
    }
    if section.has("file") { return section.path("file", byteCountMax: 192).map { .file(path: $0) } }
    return section.choice("simulated", [Choice<SensorSource?>("wave", .simulatedWave)], default: nil)
  }

  /// - Parameter usual: names that would need no `channel`.
  private func channel(
    _ section: Section, of entry: Entry, _ kind: SensorKind, usual: [StaticString] = []
  ) -> [UInt8]? {
    guard section.has("channel") else {
      var text = Text("sensor ")
      text.add(quoted: entry.key)
      text.add(" has no 'channel'; expected a file of the device such as ")
      text.add(kind.exampleFile)
      text.addSuggestion(for: entry.key, of: usual)
      errors.add(entry.place, text)
      return nil
    }
    guard let channel = section.word("channel", "a file's name", byteCountMax: 64) else { return nil }
    guard !channel.contains(UInt8(ascii: "/")) else {
      section.complain("channel", "a file's name without /")
      return nil
    }
    return channel
  }
}
