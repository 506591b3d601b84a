import Bounded
import Taps

/// A message on a command topic.
enum SimulatedCommand {
  case output(Int, OutputCommand)
  case level(Int, LevelCommand)
  case meter(String)
  case wrongOutput(Int, isWord: Bool)
  case wrongLevel(Int)
  case wrongMeter

  /// Payloads of an output's `set`, and what they ask for; nil: nothing that is understood.
  static let outputPayloads: [(text: String, command: OutputCommand?)] = [
    ("ON", OutputCommand(.on)), ("OFF", OutputCommand(.off)), ("TOGGLE", OutputCommand(.toggle)),
    ("1", OutputCommand(.on)), ("0", OutputCommand(.off)),
    (#"{"state":"ON","for":"300ms"}"#, OutputCommand(.on, forNanoseconds: milliseconds(300))),
    (#"{"state":"ON","for":2}"#, OutputCommand(.on, forNanoseconds: seconds(2))),
    (#"{"state":"OFF","for":"700ms"}"#, OutputCommand(.off, forNanoseconds: milliseconds(700))),
    (#"{"state":"TOGGLE","for":1}"#, OutputCommand(.toggle, forNanoseconds: seconds(1))),
    ("MAYBE", nil), (#"{"state":"ON","x":1}"#, nil), (#"{"state":"#, nil),
  ]
  /// The same of its `pulse`.
  static let pulsePayloads: [(text: String, command: OutputCommand?)] = [
    ("100", OutputCommand(.on, forNanoseconds: milliseconds(100))),
    ("1500ms", OutputCommand(.on, forNanoseconds: milliseconds(1500))),
    (#"{"for":"400ms","level":"OFF"}"#, OutputCommand(.off, forNanoseconds: milliseconds(400))),
    ("0", nil), ("long", nil),
  ]
  static let levelPayloads: [(text: String, command: LevelCommand?)] = [
    ("0", LevelCommand(.level(0))), ("12.5", LevelCommand(.level(1250))), ("40", LevelCommand(.level(4000))),
    ("100", LevelCommand(.level(10_000))), ("ON", LevelCommand(.on)), ("OFF", LevelCommand(.off)),
    ("TOGGLE", LevelCommand(.toggle)),
    (#"{"brightness":70,"for":2}"#, LevelCommand(.level(7000), forNanoseconds: seconds(2))),
    (#"{"state":"OFF","for":"900ms"}"#, LevelCommand(.off, forNanoseconds: milliseconds(900))),
    ("101", nil), ("bright", nil), ("{", nil),
  ]

  private static let outputTexts = Dictionary(uniqueKeysWithValues: outputPayloads.map { ($0.text, $0.command) })
  private static let pulseTexts = Dictionary(uniqueKeysWithValues: pulsePayloads.map { ($0.text, $0.command) })
  private static let levelTexts = Dictionary(uniqueKeysWithValues: levelPayloads.map { ($0.text, $0.command) })

  /// nil for a topic that commands nothing.
  init?(_ topic: String, _ payload: String) {
    let bytes = topic.utf8
    guard bytes.count > 6, topic.hasPrefix("b/") else { return nil }
    if topic == "b/m/total/set" {
      self = Int(payload).map { $0 >= 0 } ?? false ? .meter(payload) : .wrongMeter
      return
    }
    let index = Int(bytes[bytes.index(bytes.startIndex, offsetBy: 3)]) - 48
    if topic.hasPrefix("b/o"), topic.hasSuffix("/set") {
      guard let command = SimulatedCommand.outputTexts[payload] ?? nil else {
        self = .wrongOutput(index, isWord: !payload.hasPrefix("{"))
        return
      }
      self = .output(index, command)
    } else if topic.hasPrefix("b/o"), topic.hasSuffix("/pulse") {
      guard let command = SimulatedCommand.pulseTexts[payload] ?? nil else {
        self = .wrongOutput(index, isWord: false)
        return
      }
      self = .output(index, command)
    } else if topic.hasPrefix("b/l"), topic.hasSuffix("/set") {
      let number = ModelRule.tenths(payload).flatMap { $0 <= 1000 ? LevelCommand(.level($0 * 10)) : nil }
      let command = SimulatedCommand.levelTexts[payload] ?? number
      self = command.map { .level(index, $0) } ?? .wrongLevel(index)
    } else {
      return nil
    }
  }
}

/// A client's message or Will.
struct SimulatedMessage {
  enum Kind {
    case plain
    /// A handler publishes this because of it.
    case relayed(topic: String, payload: String)
    case question(Int)
    case command(SimulatedCommand)
  }
  let topic: String
  let payload: String
  let kind: Kind
  /// Its Response Topic; empty: none.
  var answerTopic = ""

  init(_ topic: String, _ payload: String) {
    self.topic = topic
    self.payload = payload
    if topic.hasPrefix("h/") {
      kind = .relayed(topic: String(topic.dropFirst(2)), payload: payload)
    } else if topic.hasSuffix("/get") {
      kind = .question(Int(topic.utf8[topic.utf8.index(topic.utf8.startIndex, offsetBy: 3)]) - 48)
    } else {
      kind = SimulatedCommand(topic, payload).map { .command($0) } ?? .plain
    }
  }
}

/// What one seed draws: the board and its rules.
struct SimulatedBoard {
  let settings: TapSettings
  let rules: [ModelRule]

  init(_ random: inout SeededGenerator) {
    var settings = TapSettings(base: utf8("b"))
    let outputCount = 3 + random.below(4)
    let grouped = random.oneIn(4) ? 0 : 2 + random.below(2)
    settings.groups = [
      group("g", deadTimeMilliseconds: [0, 200, 1000][random.below(3)], random.oneIn(3) ? .refuse : .wait)
    ]
    for index in 0..<outputCount {
      settings.outputs.append(SimulatedBoard.output(index, isGrouped: index < grouped, &random))
    }
    settings.levels = (0..<(1 + random.below(3))).map { SimulatedBoard.level($0, &random) }
    settings.counters = [counter("m")]
    let (outputs, levels) = (settings.outputs.count, settings.levels.count)
    rules = (0..<random.below(7)).map { SimulatedBoard.rule($0, outputs, levels, &random) }
    settings.rules = rules.map(\.settings)
    self.settings = settings
    if let problem = settings.problem() { preconditionFailure("\(problem.place): \(problem.text)") }
  }

  private static func output(_ index: Int, isGrouped: Bool, _ random: inout SeededGenerator) -> OutputSettings {
    var output = GatewayTests.output("o\(index)")
    output.retrigger = [.retrigger, .ignore, .extend][random.below(3)]
    output.onExit = [.safe, .safe, .keep, .release][random.below(4)]
    if random.oneIn(3) { output.maxOnNanoseconds = milliseconds([2000, 5000][random.below(2)]) }
    if random.oneIn(6) { output.pulseNanoseconds = milliseconds([300, 1000][random.below(2)]) }
    if random.oneIn(4) { output.minOnNanoseconds = milliseconds(500) }
    if random.oneIn(4) { output.minOffNanoseconds = milliseconds(500) }
    if random.oneIn(3) {
      output.lease = OutputLease(
        client: utf8("c\(random.below(2))"), graceNanoseconds: milliseconds([0, 1000, 3000][random.below(3)]))
    }
    if isGrouped {
      output.group = 0
    } else {
      output.isSafeActive = random.oneIn(4)
      if random.oneIn(3) { output.lease?.isActiveWhenLost = true }
      if random.oneIn(4) { output.initial = .on }
    }
    return output
  }

  private static func level(_ index: Int, _ random: inout SeededGenerator) -> LevelSettings {
    var level = GatewayTests.level("l\(index)")
    level.initial = [0, 0, 2500][random.below(3)]
    level.safe = [0, 0, 1500][random.below(3)]
    level.onExit = [.safe, .safe, .keep, .release][random.below(4)]
    if random.oneIn(3) { level.maxOnNanoseconds = milliseconds(3000) }
    if random.oneIn(3) {
      level.lease = LevelLease(
        client: utf8("c\(random.below(2))"), graceNanoseconds: milliseconds([0, 2000][random.below(2)]),
        levelWhenLost: [0, 500][random.below(2)])
    }
    return level
  }

  /// Rules look at other messages than commands: of a command that is refused they would see what nobody else sees.
  private static func rule(_ index: Int, _ outputs: Int, _ levels: Int, _ random: inout SeededGenerator) -> ModelRule {
    let topic: String
    let comparison: ModelRule.Comparison
    switch random.below(4) {
    case 0:
      topic = "b/o\(random.below(outputs))"
      comparison = .equals(random.oneIn(2) ? "ON" : "OFF")
    case 1:
      topic = "b/l\(random.below(levels))"
      comparison = random.oneIn(2) ? .reaches(40, rearm: 20) : .equals("0")
    default:
      topic = "x/\(random.below(4))"
      comparison = [.any, .equals("ON"), .equals("1"), .reaches(50, rearm: 50)][random.below(4)]
    }
    var rule = ModelRule(name: "r\(index)", topic: topic, comparison: comparison)
    switch comparison {
    case .any, .reaches: break
    case .equals:
      if random.oneIn(4) { rule.isEvery = true } else if random.oneIn(3) { rule.forNanoseconds = milliseconds(800) }
    }
    for _ in 0..<random.below(3) {
      rule.actions.append(
        random.oneIn(3)
          ? .level(random.below(levels), SimulatedCommand.levelPayloads[random.below(9)].command!)
          : .output(random.below(outputs), SimulatedCommand.outputPayloads[random.below(9)].command!))
    }
    if rule.actions.isEmpty || random.oneIn(3) {
      let (drawnTopic, payload) = message(outputs, levels, &random)
      let topic = drawnTopic.hasPrefix("h/") ? String(drawnTopic.dropFirst(2)) : drawnTopic
      // A pulse and a meter understand more than the model does.
      let mayPassOn = rule.forNanoseconds == 0 && !topic.hasSuffix("/pulse") && !topic.hasSuffix("/total/set")
      rule.message = (topic, mayPassOn && random.oneIn(3) ? nil : payload)
    }
    return rule
  }

  /// A topic and a payload for it, mostly right ones.
  static func message(_ outputs: Int, _ levels: Int, _ random: inout SeededGenerator) -> (
    topic: String, payload: String
  ) {
    switch random.below(16) {
    case 0...6:
      let payloads = SimulatedCommand.outputPayloads
      return ("b/o\(random.below(outputs))/set", payloads[random.below(random.oneIn(3) ? payloads.count : 9)].text)
    case 7, 8:
      let payloads = SimulatedCommand.pulsePayloads
      return ("b/o\(random.below(outputs))/pulse", payloads[random.below(payloads.count)].text)
    case 9, 10:
      let payloads = SimulatedCommand.levelPayloads
      return ("b/l\(random.below(levels))/set", payloads[random.below(random.oneIn(3) ? payloads.count : 9)].text)
    case 11: return ("b/m/total/set", random.oneIn(4) ? "-1" : "\(random.below(1000))")
    case 12:
      let (topic, payload) = message(outputs, levels, &random)
      return (topic.hasPrefix("h/") ? topic : "h/" + topic, payload)
    default: return ("x/\(random.below(4))", ["ON", "OFF", "0", "1", "60", "", "OFF"][random.below(7)])
    }
  }
}
