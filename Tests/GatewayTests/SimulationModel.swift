import Bounded
import Taps

/// What a board must do, by what docs/configuration.md says: each message that is published, in its order, each line and
/// level that is driven, when and because of whom, and how each command is acknowledged.
final class Model {
  /// A message that subscribers must get.
  struct Told: Equatable {
    let topic: String
    let payload: String
    /// Whom the state names.
    var by = ""
  }
  enum Answer: UInt8 {
    case success = 0x00
    case refused = 0x83
    case notUnderstood = 0x99
  }
  /// A tap whose state is to be told when the broker is free.
  private struct Untold {
    let tap: Tap
    var hasState = false
    var hasFault = false
    var by = ""
  }
  enum Tap: Equatable {
    case output(Int)
    case meter
    case level(Int)
  }

  var now: Instant
  /// When the call that is under way began.
  private(set) var turn: Instant
  var outputs: [ModelOutput]
  var levels: [ModelLevel]
  var rules: [ModelRule]
  let groups: [OutputGroupSettings]
  var reading = "0"
  private(set) var isStopping = false

  /// What lines and drivers really do.
  var board: ModelBoard
  /// Whether each line is requested; when those that are not are tried again.
  var retryAt: [Instant?]
  var physical: [Bool]
  var shares: [UInt64]

  /// What the answer to a refused command begins with.
  static let refusal = "{\"ok\":false"

  private(set) var told: [Told] = []
  var changes: [ModelBoard.Change] = []
  private var untold: [Untold] = []
  private var stash: [(topic: String, payload: String, isAnswer: Bool)] = []
  private var fired: [(rule: Int, depth: Int, payload: String)] = []
  private var firedByteCount = 0
  /// Whose doing the board's own messages are.
  private var author = ""
  private var depth = 0

  init(_ settings: TapSettings, _ rules: [ModelRule], _ board: ModelBoard) {
    now = board.now
    turn = now
    outputs = settings.outputs.map { ModelOutput($0, at: board.now) }
    levels = settings.levels.map { ModelLevel($0, at: board.now) }
    groups = settings.groups
    self.rules = rules
    self.board = board
    retryAt = Array(repeating: nil, count: settings.outputs.count)
    physical = Array(repeating: false, count: settings.outputs.count)
    shares = Array(repeating: 0, count: settings.levels.count)
  }

  func takeTold() -> [Told] {
    defer { told.removeAll(keepingCapacity: true) }
    return told
  }

  func takeChanges() -> [ModelBoard.Change] {
    defer { changes.removeAll(keepingCapacity: true) }
    return changes
  }

  // MARK: Start, turns, end

  /// As `World.start`: rules wait until all lines are there.
  func start() {
    begin()
    send("b/status", "online")
    for line in outputs.indices { heal(line) }
    send("b/m/total", reading)
    settle()
    begin()  // the first turn, after what the rules took
    advance()
    openWhatIsDue()
    changes = []
    told = []
  }

  /// The embedding program's message; whether it is taken.
  func publish(_ topic: String, _ payload: String) -> Bool {
    let count = told.count
    send(topic, payload)
    let isTaken = told.count > count
    settle()
    return isTaken
  }

  /// A call begins: this is the moment that it is given, though lines take their time.
  func begin() { turn = now }

  /// What is tried again after a fault: as `World.turn` does it.
  func openWhatIsDue() {
    let due = now
    for index in levels.indices where levels[index].retryAt.map({ $0 <= due }) ?? false { open(index) }
    for line in retryAt.indices where retryAt[line].map({ $0 <= due }) ?? false {
      begin()
      if board.isBroken[line] {
        if mustStayOff(line) { outputs[line].wanted = false }
        retryAt[line] = now.adding(seconds: ModelBoard.retrySeconds)
      } else {
        heal(line)
        settle()
      }
    }
  }

  /// Deadlines of rules, outputs, levels, after what the broker had to do. When the end has begun nothing is due any more.
  func advance() {
    guard !isStopping else { return }
    for index in rules.indices where rules[index].deadline.map({ $0 <= turn }) ?? false {
      rules[index].deadline = nil
      fire(index, "", depth: 0)
    }
    settle()
    while let index = outputs.indices.first(where: { isDue($0) }) {
      takeDue(index)
      settle()
    }
    for index in levels.indices {
      while let due = levels[index].takeDue(at: turn) {
        _ = write(index, due.level, end: nil, by: due.by)
        settle()
      }
    }
  }

  private func isDue(_ index: Int) -> Bool {
    let output = outputs[index]
    let earliest = min(
      min(output.limit ?? .never, output.graceEnd ?? .never), min(output.end?.at ?? .never, output.rise?.at ?? .never))
    return earliest <= turn
  }

  private func takeDue(_ index: Int) {
    guard let due = outputs[index].takeDue(at: turn), !outputs[index].isFaulted else { return }
    // What rises by itself pushes nobody aside.
    if due.isOn, rivals(of: index).contains(where: { outputs[$0].isOn }) { return }
    let end = due.nanoseconds.map { ModelOutput.End(at: turn.adding(nanoseconds: $0), isOn: false) }
    _ = set(index, due.isOn, end: end, by: due.by)
  }

  func beginEnd() { isStopping = true }

  func leave() {
    begin()
    for index in outputs.indices where outputs[index].settings.onExit == .safe && !outputs[index].isFaulted {
      _ = set(index, outputs[index].settings.isSafeActive, end: nil, by: "safe")
      settle()
    }
    for index in levels.indices where levels[index].settings.onExit == .safe {
      let safe = levels[index].settings.safe
      guard case .works = board.drivers[index] else {
        failed(index, "does not end", isTold: true)
        continue
      }
      shares[index] = share(safe)
      changes.append(ModelBoard.Change(place: .level(index), value: shares[index], at: now))
      driven(index, safe, by: "safe")
    }
    retryAt = retryAt.map { _ in nil }
  }

  // MARK: Clients

  /// Of these the leases are.
  func isHere(_ client: String) {
    for index in outputs.indices where outputs[index].settings.lease?.client == utf8(client) {
      outputs[index].isHolderHere = true
      outputs[index].graceEnd = nil
    }
    for index in levels.indices where levels[index].settings.lease?.client == utf8(client) {
      levels[index].isHolderHere = true
      levels[index].graceEnd = nil
    }
  }

  func isLost(_ client: String) {
    for index in outputs.indices where outputs[index].settings.lease?.client == utf8(client) {
      outputs[index].isHolderHere = false
      outputs[index].graceEnd = nil
      outputs[index].watchHolder(at: turn)
    }
    for index in levels.indices where levels[index].settings.lease?.client == utf8(client) {
      levels[index].isHolderHere = false
      levels[index].graceEnd = nil
      levels[index].watchHolder(at: turn)
    }
  }

  /// A client's message or Will; what follows from it waits for `settle`.
  /// - Parameter answerTopic: its Response Topic; empty: none.
  func receive(_ message: SimulatedMessage, from client: String) -> Answer {
    hear(message.topic, message.payload, depth: 0, isNews: true)
    switch message.kind {
    case .plain: break
    case .relayed(let topic, let payload): stash.append((topic, payload, false))
    case .question(let output):
      let level = !outputs[output].isFaulted && !board.isBroken[output] && board.isThere[output]
      if !message.answerTopic.isEmpty {
        stash.append(
          (
            message.answerTopic,
            level ? "{\"ok\":true,\"state\":\"\(physical[output] ? "ON" : "OFF")\"}" : Model.refusal, true
          ))
      }
      if !level { return .refused }
    case .command(let command):
      let answer = isStopping ? .refused : carryOut(command, by: client)
      if !message.answerTopic.isEmpty, !isStopping, let text = text(of: answer, to: command) {
        stash.append((message.answerTopic, text, true))
      }
      if answer != .success { return answer }
    }
    told.append(Told(topic: message.topic, payload: message.payload))
    return .success
  }

  private func text(of answer: Answer, to command: SimulatedCommand) -> String? {
    let isOK = answer == .success
    switch command {
    case .output(let index, _), .wrongOutput(let index, _):
      return isOK ? "{\"ok\":true,\"state\":\"\(state(index))\"}" : Model.refusal
    case .level(let index, _):
      guard isOK else { return Model.refusal }
      let state = levels[index].level > 0 ? "ON" : "OFF"
      return "{\"ok\":true,\"state\":\"\(state)\",\"brightness\":\(levels[index].state)}"
    case .meter, .wrongMeter: return nil
    case .wrongLevel: return Model.refusal
    }
  }

  private func carryOut(_ command: SimulatedCommand, by: String) -> Answer {
    switch command {
    case .output(let index, let command): return perform(index, command, by: by)
    case .level(let index, let command): return perform(index, command, by: by)
    case .meter(let reading):
      self.reading = reading
      tellLater(.meter, by: by)
      return .success
    // What pulses at any command understands any word.
    case .wrongOutput(let index, let isWord) where isWord && outputs[index].settings.pulseNanoseconds > 0:
      return perform(index, OutputCommand(.on), by: by)
    case .wrongOutput, .wrongLevel, .wrongMeter: return .notUnderstood
    }
  }

  // MARK: What is told

  /// Until nothing leads to anything more.
  func settle() {
    tell()
    while !fired.isEmpty {
      let next = fired.removeFirst()
      let rule = rules[next.rule]
      author = "rule:" + rule.name
      depth = next.depth + 1
      for action in rule.actions {
        switch action {
        case .output(let index, let command): _ = perform(index, command, by: author)
        case .level(let index, let command): _ = perform(index, command, by: author)
        }
        tell()
      }
      if let message = rule.message { send(message.topic, message.payload ?? next.payload) }
      tell()
    }
    firedByteCount = 0
    author = ""
    depth = 0
  }

  private func tell() {
    while true {
      if !untold.isEmpty {
        let next = untold.removeFirst()
        switch next.tap {
        case .output(let index):
          if next.hasState { send("b/o\(index)", state(index), by: next.by) }
          if next.hasFault { send("b/o\(index)/fault", outputs[index].fault) }
        case .meter: send("b/m/total", reading, by: next.by)
        case .level(let index):
          if next.hasState { send("b/l\(index)", levels[index].state, by: next.by) }
          if next.hasFault { send("b/l\(index)/fault", levels[index].fault) }
        }
      } else if !stash.isEmpty {
        let next = stash.removeFirst()
        if next.isAnswer {
          told.append(Told(topic: next.topic, payload: next.payload))
        } else {
          send(next.topic, next.payload)
        }
      } else {
        return
      }
    }
  }

  func state(_ index: Int) -> String { outputs[index].isOn ? "ON" : "OFF" }

  func tellLater(_ tap: Tap, by: String) {
    note(tap) { entry in
      entry.hasState = true
      entry.by = by
    }
  }

  func faultLater(_ tap: Tap) { note(tap) { $0.hasFault = true } }

  private func note(_ tap: Tap, _ change: (inout Untold) -> Void) {
    if let place = untold.firstIndex(where: { $0.tap == tap }) {
      change(&untold[place])
    } else {
      var entry = Untold(tap: tap)
      change(&entry)
      untold.append(entry)
    }
  }

  /// A message of the board's own: rules hear it, and it may be a command.
  func send(_ topic: String, _ payload: String, by: String = "") {
    hear(topic, payload, depth: depth, isNews: depth > 0)
    if let command = SimulatedCommand(topic, payload) {
      if isStopping { return }
      if carryOut(command, by: author) != .success { return }
    }
    told.append(Told(topic: topic, payload: payload, by: by))
  }

  private func hear(_ topic: String, _ payload: String, depth: Int, isNews: Bool) {
    guard !isStopping else { return }
    for index in rules.indices where rules[index].topic == topic {
      if rules[index].hears(payload, isNews: isNews, at: turn) { fire(index, payload, depth: depth) }
    }
  }

  private func fire(_ index: Int, _ payload: String, depth: Int) {
    guard depth < 8 else { return }  // a longer chain is cut
    let byteCount = rules[index].message.map { $0.payload == nil ? payload.utf8.count : 0 } ?? 0
    // What finds no room is dropped.
    guard firedByteCount + byteCount <= 4096, fired.count < 64 + rules.count else { return }
    firedByteCount += byteCount
    fired.append((index, depth, payload))
  }
}
