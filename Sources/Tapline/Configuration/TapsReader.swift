import Bounded
import MQTTWire
import Taps

/// `taps:` while it is read: what the taps share, and what must not be twice.
struct TapsReader {
  private let errors: ErrorList
  private let limits: Limits
  private let board: BoardProfile?
  private(set) var settings: TapSettings
  private var names: [(name: [UInt8], kind: Kind, place: Place)] = []
  private var pins: [(pin: Taps.LineAddress, tap: [UInt8], place: Place)] = []

  private enum Kind { case output, input, sensor }

  static var keys: [StaticString] { ["base", "outputs", "inputs", "sensors"] }
  static var outputKeys: [StaticString] { ["pin", "active", "drive", "initial"] }
  static var inputKeys: [StaticString] { ["pin", "active", "bias", "debounce"] }
  static var sensorKeys: [StaticString] {
    [
      "hwmon", "thermal", "iio", "file", "simulated", "channel", "interval", "digits", "scale", "offset", "delta",
      "refresh",
    ]
  }
  static var pinKeys: [StaticString] { ["chip", "line", "header"] }

  /// - Parameter defaultBase: for a file that names none.
  static func read(
    _ top: Section, limits: Limits, board: BoardProfile?, defaultBase: [UInt8]
  ) -> TapSettings {
    var reader = TapsReader(errors: top.errors, limits: limits, board: board, base: defaultBase)
    guard let entry = top.entry("taps") else { return reader.settings }
    reader.readAll(Section(entry.value, "taps", keys: keys, errors: top.errors))
    return reader.settings
  }

  private init(errors: ErrorList, limits: Limits, board: BoardProfile?, base: [UInt8]) {
    self.errors = errors
    self.limits = limits
    self.board = board
    settings = TapSettings(base: base)
  }

  private mutating func readAll(_ section: Section) {
    if let base = section.word("base", "a topic such as home/cellar", byteCountMax: 65_535) {
      if let problem = TapSettings.baseProblem(base) { errors.add(section.place(of: "base"), problem) }
      settings.base = base
    }
    let expected: StaticString = "names of taps with their settings, such as 'relay: {pin: GPIO17}'"
    for entry in section.members("outputs", expected) { readOutput(entry) }
    for entry in section.members("inputs", expected) { readInput(entry) }
    for entry in section.members("sensors", expected) { readSensor(entry) }
    checkCounts(section)
    // What the taps' own room refuses and the checks above have let through.
    if errors.isEmpty, let problem = settings.problem() { errors.add(section.place, problem.text) }
  }

  private func checkCounts(_ section: Section) {
    let count = names.count
    guard count > limits.tapsMax || count + 1 > limits.retainedMax else { return }
    var text = Text()
    text.add(count, of: "tap")
    if count > limits.tapsMax {
      text.add("; limits.taps is ")
      text.add(limits.tapsMax)
    } else {
      text.add(" and the board's status are retained messages; limits.retained is ")
      text.add(limits.retainedMax)
    }
    errors.add(section.place, text)
  }

  // Taps

  private mutating func readOutput(_ entry: Entry) {
    register(entry, .output)
    let section = Section(entry.value, "an output", keys: TapsReader.outputKeys, errors: errors)
    guard let pin = pin(section, of: entry) else { return }
    var output = OutputSettings(name: entry.key, pin: pin)
    output.active = TapsReader.active(section)
    output.drive = section.choice(
      "drive",
      [Choice("push-pull", LineDrive.pushPull), Choice("open-drain", .openDrain), Choice("open-source", .openSource)],
      default: .pushPull)
    output.initialActive = section.choice("initial", [Choice("off", false), Choice("on", true)], default: false)
    settings.outputs.append(output)
  }

  private mutating func readInput(_ entry: Entry) {
    register(entry, .input)
    let section = Section(entry.value, "an input", keys: TapsReader.inputKeys, errors: errors)
    guard let pin = pin(section, of: entry) else { return }
    var input = InputSettings(name: entry.key, pin: pin)
    input.active = TapsReader.active(section)
    input.bias = section.choice(
      "bias",
      [
        Choice("as-is", LineBias.asIs), Choice("disabled", .disabled), Choice("pull-up", .pullUp),
        Choice("pull-down", .pullDown),
      ], default: .asIs)
    input.debounceMicroseconds = UInt32(section.duration("debounce", 0...10_000, default: 0) * 1000)
    settings.inputs.append(input)
  }

  private mutating func readSensor(_ entry: Entry) {
    register(entry, .sensor)
    let section = Section(entry.value, "a sensor", keys: TapsReader.sensorKeys, errors: errors)
    let source = source(section, of: entry)
    // From 10 ms, the least that the taps' room takes, to a week.
    let interval = section.duration("interval", 10...604_800_000, default: 10_000)
    let digits = section.has("digits") ? section.integer("digits", 0...SensorSettings.digitsMax, default: 0) : nil
    let scale = section.decimal("scale")
    if let scale, scale == .zero { section.complain("scale", "a number other than 0") }
    let offset = section.decimal("offset")
    let delta = section.decimal("delta")
    if let delta, delta < .zero { section.complain("delta", "a number of 0 or more") }
    let refresh = section.duration("refresh", 0...604_800_000, default: 0)
    guard let source else { return }
    var sensor = SensorSettings(name: entry.key, source: source, intervalNanoseconds: Int64(interval) * 1_000_000)
    sensor.digits = digits
    sensor.scale = scale
    sensor.offset = offset ?? .zero
    sensor.delta = delta ?? .zero
    sensor.refreshNanoseconds = Int64(refresh) * 1_000_000
    settings.sensors.append(sensor)
  }

  private static func active(_ section: Section) -> LineActive {
    section.choice("active", [Choice("high", LineActive.high), Choice("low", .low)], default: .high)
  }

  // Sources

  private func source(_ section: Section, of entry: Entry) -> SensorSource? {
    let kinds: [StaticString] = ["hwmon", "thermal", "iio", "file", "simulated"]
    let given = kinds.filter { section.has($0) }
    guard given.count == 1 else {
      var text = Text("sensor ")
      text.add(quoted: entry.key)
      text.add(given.isEmpty ? " has no source" : " has several sources")
      text.addList(of: kinds, before: "; expected one of ")
      errors.add(entry.place, text)
      return nil
    }
    let kind = given[0]
    if section.has("hwmon") {
      guard let name = section.word(kind, "a chip's name such as lm75", byteCountMax: 64) else { return nil }
      return channel(section, of: entry, example: "temp1_input").map { .hwmon(name: name, channel: $0) }
    }
    if section.has("iio") {
      guard let name = section.word(kind, "a device's name such as bme280", byteCountMax: 64) else { return nil }
      return channel(section, of: entry, example: "in_temp_input").map { .iio(name: name, channel: $0) }
    }
    if section.has("channel") {
      errors.add(section.place(of: "channel"), "'channel' goes with 'hwmon' and 'iio' only")
    }
    if section.has("thermal") {
      return section.word(kind, "a zone's type such as cpu-thermal", byteCountMax: 64).map { .thermal(type: $0) }
    }
    if section.has("file") { return section.path(kind, byteCountMax: 192).map { .file(path: $0) } }
    return section.choice(kind, [Choice<SensorSource?>("wave", .simulatedWave)], default: nil)
  }

  private func channel(_ section: Section, of entry: Entry, example: StaticString) -> [UInt8]? {
    guard section.has("channel") else {
      var text = Text("sensor ")
      text.add(quoted: entry.key)
      text.add(" has no 'channel'; expected a file of the device such as ")
      text.add(example)
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

  // Names and topics

  private mutating func register(_ entry: Entry, _ kind: Kind) {
    // Twice in one mapping was said already; this is an output and an input, say, of one name.
    if let other = names.first(where: { $0.name == entry.key }), other.kind != kind {
      var text = Text("a second tap named ")
      text.add(quoted: entry.key)
      text.add("; the first is at line ")
      text.add(other.place.line)
      errors.add(entry.place, text)
    }
    names.append((entry.key, kind, entry.place))
    if let problem = TapSettings.nameProblem(entry.key) {
      var text = Text()
      text.add(quoted: entry.key)
      text.add(": ")
      text.add(problem)
      errors.add(entry.place, text)
    }
    checkTopic(entry)
  }

  /// The longest of a tap's topics is `<base>/<tap>/fault`.
  private func checkTopic(_ entry: Entry) {
    let byteCount = settings.base.count + entry.key.count + 7
    let levelCount = settings.base.lend { Topic.levelCount($0) } + 2
    guard byteCount > limits.topicBytesMax || levelCount > limits.topicLevelsMax else { return }
    var text = Text("the topic BASE/")
    text.add(entry.key.count <= 64 ? entry.key : [UInt8](ascii: "TAP"))
    text.add("/fault has ")
    if byteCount > limits.topicBytesMax {
      text.add(byteCount)
      text.add(" bytes; limits.topic_bytes is ")
      text.add(limits.topicBytesMax)
    } else {
      text.add(levelCount)
      text.add(" levels; limits.topic_levels is ")
      text.add(limits.topicLevelsMax)
    }
    errors.add(entry.place, text)
  }

  // Pins

  private mutating func pin(_ section: Section, of entry: Entry) -> Taps.LineAddress? {
    guard let value = section.entry("pin")?.value else {
      // A tap that is no mapping has been complained about.
      if entry.value.kind == .mapping || entry.value.kind == .nothing {
        var text = Text()
        text.add(quoted: entry.key)
        text.add(" has no 'pin'; expected a line such as 'pin: GPIO17'")
        errors.add(entry.place, text)
      }
      return nil
    }
    guard let pin = PinReader(errors: errors, board: board).read(value) else { return nil }
    let key = PinReader.canonical(pin, board)
    for other in pins where other.pin.line == key.line && other.pin.chip == key.chip {
      // A tap that is given twice was complained about as such.
      if other.tap == entry.key { continue }
      var text = Text("line ")
      text.add(quoted: pin.line)
      text.add(" is taken by ")
      text.add(quoted: other.tap)
      text.add(" at line ")
      text.add(other.place.line)
      errors.add(value.place, text)
    }
    pins.append((key, entry.key, value.place))
    return pin
  }
}

/// `pin:`, one of `GPIO17`, `17`, `{chip: pinctrl-rp1, line: 17}` and `{header: 11}`.
struct PinReader {
  let errors: ErrorList
  let board: BoardProfile?

  func read(_ node: Node) -> Taps.LineAddress? {
    switch node.kind {
    case .scalar where !node.text.isEmpty && node.text.count <= 31:
      // A bare number is the one in the line's name, never an offset on some chip.
      guard Values.integer(node.text) != nil else { return LineAddress(line: node.text) }
      return LineAddress(line: [UInt8](ascii: "GPIO") + node.text)
    case .mapping:
      return read(Section(node, "a pin", keys: TapsReader.pinKeys, errors: errors))
    case .scalar, .nothing, .sequence:
      var text = Text("'pin' is ")
      text.add(described: node)
      text.add("; expected a line such as GPIO17, {chip: LABEL, line: 17} or {header: 11}")
      errors.add(node.place, text)
      return nil
    }
  }

  private func read(_ section: Section) -> Taps.LineAddress? {
    if section.has("header") {
      if section.has("line") || section.has("chip") {
        errors.add(section.place, "a pin has either 'header' or 'chip' and 'line'")
        return nil
      }
      return header(section)
    }
    guard section.has("line") else {
      errors.add(
        section.place, "a pin without a 'line'; expected a line such as {chip: LABEL, line: 17} or {header: 11}")
      return nil
    }
    let line = section.word("line", "a line's name, or its offset on the chip", byteCountMax: 31)
    guard section.has("chip") else {
      guard let line else { return nil }
      return read(Node(kind: .scalar, text: line, place: section.place))
    }
    let chip = section.word("chip", "a chip's label, name or path", byteCountMax: 31)
    guard let line, let chip else { return nil }
    return LineAddress(chip: chip, line: line)
  }

  /// A position on the board's header, which only its profile knows.
  private func header(_ section: Section) -> Taps.LineAddress? {
    let position = section.integer("header", 1...40, default: 0)
    guard position > 0 else { return nil }
    let place = section.place(of: "header")
    guard let board, !board.header.isEmpty else {
      errors.add(
        place, "'header' needs a board whose header is known; expected 'board: raspberry-pi-4' or another profile")
      return nil
    }
    guard let line = board.line(atHeader: position) else {
      var text = Text("position ")
      text.add(position)
      text.add(" of the header is ")
      text.add(board.words(atHeader: position))
      text.add("; expected the position of a line")
      errors.add(place, text)
      return nil
    }
    return LineAddress(line: line)
  }

  /// The same for every way of naming one line, as far as the profile tells: the offset on the header's chip is the
  /// number in `GPIOn`.
  static func canonical(_ pin: Taps.LineAddress, _ board: BoardProfile?) -> Taps.LineAddress {
    guard let board, board.chips.contains(pin.chip) else { return pin }
    guard Values.integer(pin.line) != nil else { return LineAddress(line: pin.line) }
    return LineAddress(line: [UInt8](ascii: "GPIO") + pin.line)
  }
}
