import Bounded
import MQTTBroker
import MQTTWire
import Taps

/// `rules:`, and the `link:` of inputs, which are rules too.
extension TapsReader {
  static var ruleKeys: [StaticString] { ["when", "every", "for", "hysteresis", "set", "pulse", "publish"] }
  static var ruleMessageKeys: [StaticString] { ["topic", "payload", "qos", "retain"] }
  static var linkKeys: [StaticString] { links.map { $0.key } }

  /// What a link may wait for, and the event that it is; those without one are states.
  private static var links: [(key: StaticString, event: StaticString)] {
    [
      ("on", ""), ("off", ""), ("press", "press_end"), ("long", "long_press_start"), ("press_start", "press_start"),
      ("press_end", "press_end"), ("long_press_start", "long_press_start"), ("long_press_end", "long_press_end"),
      ("multi_press_end", "multi_press_end"),
    ]
  }

  mutating func readRule(_ entry: Entry) {
    let section = Section(entry.value, "a rule", keys: TapsReader.ruleKeys, errors: errors)
    guard entry.value.kind == .mapping, let when = when(section, of: entry) else {
      if entry.value.kind == .nothing { complain(about: entry, "a rule without 'when'") }
      return
    }
    var rule = RuleSettings(name: entry.key, when: when)
    rule.isEvery = section.boolean("every") ?? false
    rule.hysteresis = section.decimal("hysteresis") ?? .zero
    rule.forNanoseconds = TapsReader.nanoseconds(section, "for", TapsReader.timeRange)
    for entry in section.members("set", "outputs with on, off, toggle or a percentage, such as {heater: on, lamp: 35}")
    {
      if let action = setting(entry) { rule.actions.append(action) }
    }
    for entry in section.members("pulse", "outputs with times, such as {gate: 400ms}") {
      guard let target = target(entry.key, entry.place) else { continue }
      if entry.value.kind == .scalar, let length = TapsReader.pulseLength(entry.value.text) {
        rule.actions.append(target.action(.on, forNanoseconds: length))
      } else {
        wrong(entry, "a time such as 400ms, from 1ms to 7d")
      }
    }
    rule.message = message(section)
    let hasOutputs = section.has("set") || section.has("pulse")
    // A rule whose parts were complained about has said enough.
    let problem = rule.problem(outputCount: settings.outputs.count, levelCount: settings.levels.count)
    if let problem, !rule.actions.isEmpty || !hasOutputs,
      rule.message != nil || !section.has("publish")
    {
      complain(about: entry, problem)
    }
    settings.rules.append(rule)
  }

  /// `heater: on`, `lamp: 35`: an output's state, or the level of a PWM output or an LED.
  private func setting(_ entry: Entry) -> RuleAction? {
    guard let target = target(entry.key, entry.place) else { return nil }
    let isScalar = entry.value.kind == .scalar
    if isScalar, let level = TapsReader.level(entry.value.text) { return target.action(level, forNanoseconds: nil) }
    guard case .level(let index) = target else {
      wrong(entry, "on, off or toggle")
      return nil
    }
    guard isScalar, let wish = entry.value.text.lend({ LevelCommand.Wish(number: $0) }) else {
      wrong(entry, "on, off, toggle or a percentage from 0 to 100")
      return nil
    }
    return .level(index, LevelCommand(wish))
  }

  private func when(_ section: Section, of entry: Entry) -> RuleWhen? {
    guard let node = section.entry("when")?.value else {
      complain(about: entry, "a rule without 'when'")
      return nil
    }
    guard node.kind == .scalar, let when = RuleWhen(parsing: node.text) else {
      section.complain("when", "a topic filter, and a comparison such as '< 5', '== ON' or '.event_type == press_end'")
      return nil
    }
    return isTopic(when.filter, node.place) ? when : nil
  }

  /// `publish: {topic: home/alarm, payload: ON, qos: 1, retain: true}`.
  private func message(_ section: Section) -> RuleMessage? {
    guard let entry = section.entry("publish") else { return nil }
    let publish = Section(entry.value, "publish", keys: TapsReader.ruleMessageKeys, errors: errors)
    guard publish.has("topic") else {
      if entry.value.kind == .mapping || entry.value.kind == .nothing {
        errors.add(entry.place, "'publish' without a 'topic'; expected such as {topic: home/alarm, payload: ON}")
      }
      return nil
    }
    guard let topic = publish.word("topic", "a topic such as home/alarm", byteCountMax: 65_535) else { return nil }
    guard topic.lend({ Topic.isValidName($0) }), topic[0] != UInt8(ascii: "$") else {
      publish.complain("topic", "a topic without + and # that does not start with $")
      return nil
    }
    guard isTopic(topic, publish.place(of: "topic")) else { return nil }
    var message = RuleMessage(topic: topic)
    if let payload = publish.entry("payload")?.value {
      if payload.kind == .scalar, payload.text.count <= 1024 {
        message.payload = payload.text
      } else {
        publish.complain("payload", "text of up to 1024 bytes")
      }
    }
    message.qos = QoS(rawValue: UInt8(publish.integer("qos", 0...2, default: 0))) ?? .atMostOnce
    message.retain = publish.boolean("retain") ?? false
    return message
  }

  /// Whether it is within the limits.
  private func isTopic(_ topic: [UInt8], _ place: Place) -> Bool {
    if topic.count <= limits.topicBytesMax, topic.lend({ Topic.levelCount($0) }) <= limits.topicLevelsMax {
      return true
    }
    errors.add(place, "a longer topic than limits.topic_bytes and limits.topic_levels allow")
    return false
  }

  // MARK: Links

  /// `link: {press: toggle heater, long: [off heater, off lamp]}`: of the input's events, or with `on` and `off` its state.
  mutating func readLinks(_ section: Section, of input: InputSettings) {
    guard let entry = section.entry("link") else { return }
    let link = Section(entry.value, "a link", keys: TapsReader.linkKeys, errors: errors)
    let state = settings.layout.topic(.input, .state, base: settings.base, name: input.name)
    let eventTopic = settings.layout.topic(.input, .event, base: settings.base, name: input.name)
    for (key, event) in TapsReader.links {
      guard let entry = link.entry(key) else { continue }
      var rule: RuleSettings
      if event.utf8CodeUnitCount == 0 {
        let level: StaticString = key.utf8CodeUnitCount == 2 ? "ON" : "OFF"
        rule = RuleSettings(name: input.name, when: RuleWhen(filter: state, is: [UInt8](ascii: level)))
      } else {
        guard let events = input.events else {
          errors.add(entry.place, "this is an event; the input has no 'events'")
          continue
        }
        if [UInt8](ascii: event).starts(with: [UInt8](ascii: "long")), events.longNanoseconds == 0 {
          errors.add(entry.place, "no press is long; give 'long' in 'events'")
        }
        if [UInt8](ascii: event).equals("multi_press_end"), events.multiNanoseconds == 0 {
          errors.add(entry.place, "presses are not counted; give 'multi' in 'events'")
        }
        let when = RuleWhen(
          filter: eventTopic, member: [UInt8](ascii: "event_type"), is: [UInt8](ascii: event))
        rule = RuleSettings(name: input.name, when: when)
        rule.isEvery = true
      }
      rule.isLink = true
      for node in entry.value.kind == .sequence ? entry.value.items : [entry.value] {
        if let action = action(node) { rule.actions.append(action) }
      }
      if rule.actions.isEmpty { continue }
      let problem = rule.problem(outputCount: settings.outputs.count, levelCount: settings.levels.count)
      if let problem { complain(about: entry, problem) }
      settings.rules.append(rule)
    }
  }

  /// `on heater`, `off heater`, `toggle heater`, `pulse gate`, `pulse gate 400ms`.
  private func action(_ node: Node) -> RuleAction? {
    let words = node.text.split(separator: 0x20).map { [UInt8]($0) }
    let isPulse = words.first?.equals("pulse") == true
    guard node.kind == .scalar, words.count == 2 || isPulse && words.count == 3,
      let level = isPulse ? .on : TapsReader.level(words[0]),
      case let length = words.count == 3 ? TapsReader.pulseLength(words[2]) : nil, words.count == 2 || length != nil
    else {
      var text = Text("a link's action is ")
      text.add(described: node)
      text.add("; expected such as 'toggle heater', 'on heater', 'off heater' or 'pulse gate 400ms'")
      errors.add(node.place, text)
      return nil
    }
    guard let target = target(words[1], node.place) else { return nil }
    guard isPulse, length == nil else { return target.action(level, forNanoseconds: length) }
    var configured: Int64 = 0
    if case .output(let index) = target { configured = settings.outputs[index].pulseNanoseconds }
    if configured == 0 { errors.add(node.place, "the output has no 'pulse'; expected such as 'pulse gate 400ms'") }
    return target.action(.on, forNanoseconds: configured)
  }

  // MARK: Words

  /// What a rule or a link may command, by its place in the settings.
  private enum Target {
    case output(Int)
    case level(Int)

    func action(_ level: OutputCommand.Level, forNanoseconds: Int64?) -> RuleAction {
      switch self {
      case .output(let index):
        return .output(index, OutputCommand(level, forNanoseconds: forNanoseconds))
      case .level(let index):
        let wish: LevelCommand.Wish = level == .on ? .on : level == .off ? .off : .toggle
        return .level(index, LevelCommand(wish, forNanoseconds: forNanoseconds))
      }
    }
  }

  private func target(_ name: [UInt8], _ place: Place) -> Target? {
    if let index = settings.outputs.firstIndex(where: { $0.name == name }) { return .output(index) }
    if let index = settings.levels.firstIndex(where: { $0.name == name }) { return .level(index) }
    var text = Text("there is no output ")
    text.add(quoted: name)
    text.add("; expected one under 'outputs', 'pwm' or 'leds' of 'taps'")
    errors.add(place, text)
    return nil
  }

  private static func level(_ word: [UInt8]) -> OutputCommand.Level? {
    if Values.equalsIgnoringCase(word, "on") { return .on }
    if Values.equalsIgnoringCase(word, "off") { return .off }
    return Values.equalsIgnoringCase(word, "toggle") ? .toggle : nil
  }

  /// Nanoseconds.
  private static func pulseLength(_ word: [UInt8]) -> Int64? {
    Values.milliseconds(word).flatMap { $0 >= 1 && $0 <= 604_800_000 ? Int64($0) * 1_000_000 : nil }
  }

  private func wrong(_ entry: Entry, _ expected: StaticString) {
    var text = Text()
    text.add(quoted: entry.key)
    text.add(" is ")
    text.add(described: entry.value)
    text.add("; expected ")
    text.add(expected)
    errors.add(entry.place, text)
  }
}
