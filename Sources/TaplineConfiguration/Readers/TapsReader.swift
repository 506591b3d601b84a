import Bounded
import MQTTBroker
import MQTTWire
import Taps

/// `taps:` while it is read: what the taps share, and what must not be twice.
struct TapsReader {
  let errors: ErrorList
  let limits: Limits
  private let board: BoardProfile?
  var settings: TapSettings
  private var names: [(name: [UInt8], kind: TapKind, place: Place)] = []
  private var pins: [(pin: LineAddress, tap: [UInt8], place: Place)] = []

  /// Retained messages beyond one a tap.
  var moreRetainedCount = 0

  static var keys: [StaticString] {
    [
      "base", "on_exit", "persist", "retained_set", "foreign_writes", "outputs", "groups", "inputs", "counters",
      "sensors", "pwm", "leds",
      "layout", "discovery", "rules",
    ]
  }
  static var outputKeys: [StaticString] {
    [
      "pin", "active", "drive", "initial", "pulse", "retrigger", "max_on", "min_on", "min_off", "safe", "on_exit",
      "group", "lease", "stats", "ha",
    ]
  }
  static var groupKeys: [StaticString] { ["interlock", "dead_time", "mode"] }
  static var leaseKeys: [StaticString] { ["client", "grace", "on_lost", "keep_alive"] }
  static var pinKeys: [StaticString] { ["chip", "line", "header"] }

  /// - Parameter defaultBase: for a file that names none.
  static func read(
    _ top: Section, limits: Limits, board: BoardProfile?, defaultBase: [UInt8]
  ) -> (settings: TapSettings, needs: LimitNeeds) {
    var reader = TapsReader(errors: top.errors, limits: limits, board: board, base: defaultBase)
    guard let entry = top.entry("taps") else { return (reader.settings, LimitNeeds()) }
    reader.readAll(Section(entry.value, "taps", keys: keys, errors: top.errors))
    return (reader.settings, reader.needs)
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
      settings.isBaseNamed = true
    }
    readDiscovery(section)
    let expected: StaticString = "names of taps with their settings, such as 'relay: {pin: GPIO17}'"
    let onExit = TapsReader.onExit(section, default: .safe)
    settings.persist = persist(section)
    let groups = section.members("groups", "names of groups with their settings, such as 'shutter: {dead_time: 500ms}'")
    for entry in groups { readGroup(entry) }
    for entry in section.members("outputs", expected) { readOutput(entry, onExit: onExit) }
    if let problem = settings.groupProblem(), case .group(let index) = problem.place {
      complain(about: groups[index], problem.text)
    }
    // Before the links of inputs, which may command them.
    for entry in section.members("pwm", expected) { readPWM(entry, onExit: onExit) }
    for entry in section.members("leds", expected) { readLED(entry, onExit: onExit) }
    for entry in section.members("inputs", expected) { readInput(entry) }
    for entry in section.members("counters", expected) { readCounter(entry) }
    for entry in section.members("sensors", expected) { readSensor(entry) }
    checkDiscovery(section)
    settings.retainedSet = section.choice(
      "retained_set", [Choice("strip", RetainedSet.strip), Choice("reject", .reject)], default: .strip)
    settings.foreignWrites = section.choice(
      "foreign_writes", [Choice("refuse", TapSettings.ForeignWrites.refuse), Choice("allow", .allow)], default: .refuse)
    for entry in section.members("rules", "names of rules, such as 'frost: {when: ..., set: {heater: on}}'") {
      readRule(entry)
    }
    // What the taps' own room refuses and the checks above have let through.
    if errors.isEmpty, let problem = settings.problem() { errors.add(section.place, problem.text) }
  }

  /// The filters that the broker knows as taps, and the retained messages, that the limits must have room for.
  private var needs: LimitNeeds {
    let questionCount = settings.outputs.isEmpty && settings.inputs.isEmpty ? 0 : 1
    let commandCount =
      (settings.layout.hasOffPulses ? 3 : 2) * settings.outputs.count + settings.counters.count + settings.levels.count
      + questionCount + settings.rules.count
    var needs = LimitNeeds()
    needs.taps = max(names.count, commandCount)
    needs.retained = names.count + settings.outputs.count { $0.hasStats } + moreRetainedCount + 1
    return needs
  }

  // Taps

  private mutating func readOutput(_ entry: Entry, onExit: OutputExit) {
    register(entry, .output)
    let section = Section(entry.value, "an output", keys: TapsReader.outputKeys, errors: errors)
    var output = OutputSettings(name: entry.key, pin: pinOrNone(section, of: entry))
    output.active = TapsReader.active(section)
    output.drive = section.choice(
      "drive",
      [Choice("push-pull", LineDrive.pushPull), Choice("open-drain", .openDrain), Choice("open-source", .openSource)],
      default: .pushPull)
    output.initial = section.choice(
      "initial",
      [Choice("off", OutputInitial.off), Choice("on", .on), Choice("keep", .keep), Choice("restore", .restore)],
      default: .off)
    if output.initial == .restore, settings.persist == nil { complainAboutRestore(section) }
    output.pulseNanoseconds = TapsReader.nanoseconds(section, "pulse", TapsReader.pulseRange)
    output.retrigger = section.choice(
      "retrigger",
      [Choice("retrigger", OutputRetrigger.retrigger), Choice("ignore", .ignore), Choice("extend", .extend)],
      default: .retrigger)
    output.maxOnNanoseconds = TapsReader.nanoseconds(section, "max_on", TapsReader.timeRange)
    output.minOnNanoseconds = TapsReader.nanoseconds(section, "min_on", TapsReader.timeRange)
    output.minOffNanoseconds = TapsReader.nanoseconds(section, "min_off", TapsReader.timeRange)
    output.isSafeActive = TapsReader.level(section, "safe")
    output.onExit = TapsReader.onExit(section, default: onExit)
    output.group = group(section)
    if let (lease, client, grace) = lease(section) {
      output.lease = OutputLease(client: client, graceNanoseconds: grace)
      output.lease?.keepAliveSecondsMax = TapsReader.keepAlive(lease)
      output.lease?.isActiveWhenLost = TapsReader.level(lease, "on_lost")
    }
    output.hasStats = section.boolean("stats") ?? false
    if let problem = output.problem(settings.groups) { complain(about: entry, problem) }
    settings.outputs.append(output)
  }

  private mutating func readGroup(_ entry: Entry) {
    let section = Section(entry.value, "a group", keys: TapsReader.groupKeys, errors: errors)
    var group = OutputGroupSettings(name: entry.key)
    _ = section.choice("interlock", [Choice("exclusive", true)], default: true)
    group.deadTimeNanoseconds = TapsReader.nanoseconds(section, "dead_time", TapsReader.timeRange)
    group.mode = section.choice(
      "mode", [Choice("wait", OutputGroupSettings.Mode.wait), Choice("refuse", .refuse)], default: .wait)
    settings.groups.append(group)
  }

  private func group(_ section: Section) -> Int? {
    guard let name = section.word("group", "a name under 'groups'", byteCountMax: 64) else { return nil }
    if let index = settings.groups.firstIndex(where: { $0.name == name }) { return index }
    var text = Text("there is no group ")
    text.add(quoted: name)
    text.add("; expected one under 'groups' of 'taps'")
    errors.add(section.place(of: "group"), text)
    return nil
  }

  /// Reads the keys that leases of outputs and of levels have in common. The section is for the other keys.
  func lease(_ section: Section) -> (section: Section, client: [UInt8], graceNanoseconds: Int64)? {
    guard let entry = section.entry("lease") else { return nil }
    let lease = Section(entry.value, "a lease", keys: TapsReader.leaseKeys, errors: errors)
    guard let client = lease.word("client", "a client identifier", byteCountMax: limits.clientIDBytesMax) else {
      if entry.value.kind == .mapping, !lease.has("client") {
        errors.add(lease.place, "a lease without 'client'; expected such as {client: thermostat, grace: 60s}")
      }
      return nil
    }
    let grace = lease.duration("grace", TapsReader.timeRange, default: 60_000)
    return (lease, client, Int64(grace) * 1_000_000)
  }

  /// In whole seconds, as clients say theirs.
  static func keepAlive(_ lease: Section) -> UInt16 {
    UInt16(lease.duration("keep_alive", 1000...65_535_000, default: 60_000) / 1000)
  }

  static func onExit(_ section: Section, default fallback: OutputExit) -> OutputExit {
    section.choice(
      "on_exit", [Choice("safe", OutputExit.safe), Choice("keep", .keep), Choice("release", .release)],
      default: fallback)
  }

  private static func level(_ section: Section, _ key: StaticString) -> Bool {
    section.choice(key, [Choice("off", false), Choice("on", true)], default: false)
  }

  /// 0 is none; 30 days are what a relay or a compressor needs at most.
  static var timeRange: ClosedRange<Int> { 0...2_592_000_000 }
  private static var pulseRange: ClosedRange<Int> { 0...604_800_000 }

  static func nanoseconds(_ section: Section, _ key: StaticString, _ range: ClosedRange<Int>) -> Int64 {
    Int64(section.duration(key, range, default: 0)) * 1_000_000
  }

  static func active(_ section: Section) -> LineActive {
    section.choice("active", [Choice("high", LineActive.high), Choice("low", .low)], default: .high)
  }

  // Names and topics

  mutating func register(_ entry: Entry, _ kind: TapKind) {
    // Twice in one mapping was said already; this is an output and an input, say, of one name.
    if let other = names.first(where: { $0.name == entry.key }), other.kind != kind {
      var text = Text("a second tap named ")
      text.add(quoted: entry.key)
      text.add("; the first is at line ")
      text.add(other.place.line)
      errors.add(entry.place, text)
    }
    names.append((entry.key, kind, entry.place))
    if let problem = TapSettings.nameProblem(entry.key) ?? settings.layout.nameProblem(entry.key) {
      complain(about: entry, problem)
    }
    readHomeAssistant(entry.value, tap: entry.key, kind)
    if kind == .counter { checkTopic(entry, "/total/set", levelCount: 3) } else { checkTopic(entry, "/fault") }
  }

  func complain(about entry: Entry, _ problem: StaticString) {
    var text = Text()
    text.add(quoted: entry.key)
    text.add(": ")
    text.add(problem)
    errors.add(entry.place, text)
  }

  /// The longest of a tap's topics.
  /// - Parameters:
  ///   - channel: of a sensor's channel, with its `/`.
  ///   - levelCount: after the base.
  func checkTopic(_ entry: Entry, channel: [UInt8] = [], _ end: StaticString, levelCount more: Int = 2) {
    let byteCount =
      settings.base.count + 1 + entry.key.count + channel.count + end.utf8CodeUnitCount + settings.layout.bytesMore
    let levelCount = settings.base.lend { Topic.levelCount($0) } + more + settings.layout.levelsMore
    guard byteCount > limits.topicBytesMax || levelCount > limits.topicLevelsMax else { return }
    var text = Text("the topic BASE/")
    text.add(entry.key.count <= 64 ? entry.key : [UInt8](ascii: "TAP"))
    text.add(channel)
    text.add(end)
    text.add(" has ")
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

  /// A pin that was complained about hides nothing else that is wrong, nor the tap from rules that name it.
  mutating func pinOrNone(_ section: Section, of entry: Entry) -> LineAddress {
    pin(section, of: entry) ?? LineAddress(line: [])
  }

  private mutating func pin(_ section: Section, of entry: Entry) -> LineAddress? {
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

  func read(_ node: Node) -> LineAddress? {
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

  private func read(_ section: Section) -> LineAddress? {
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
  private func header(_ section: Section) -> LineAddress? {
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
  static func canonical(_ pin: LineAddress, _ board: BoardProfile?) -> LineAddress {
    guard let board, board.chips.contains(pin.chip) else { return pin }
    guard Values.integer(pin.line) != nil else { return LineAddress(line: pin.line) }
    return LineAddress(line: [UInt8](ascii: "GPIO") + pin.line)
  }
}
