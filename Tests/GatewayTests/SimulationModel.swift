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
  private var turn: Instant
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
  private(set) var changes: [ModelBoard.Change] = []
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

  private func state(_ index: Int) -> String { outputs[index].isOn ? "ON" : "OFF" }

  private func tellLater(_ tap: Tap, by: String) {
    note(tap) { entry in
      entry.hasState = true
      entry.by = by
    }
  }

  private func faultLater(_ tap: Tap) { note(tap) { $0.hasFault = true } }

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
  private func send(_ topic: String, _ payload: String, by: String = "") {
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

  // MARK: Outputs

  private func rivals(of index: Int) -> [Int] {
    guard let group = outputs[index].settings.group else { return [] }
    return outputs.indices.filter { $0 != index && outputs[$0].settings.group == group }
  }

  private func perform(_ index: Int, _ command: OutputCommand, by: String) -> Answer {
    guard !outputs[index].isFaulted else { return .refused }
    let settings = outputs[index].settings
    var (wish, length) = (command.level, command.forNanoseconds)
    if settings.pulseNanoseconds > 0, wish != .off, length == nil {
      wish = .on
      length = settings.pulseNanoseconds
    }
    let isOn = wish == .toggle ? !(outputs[index].isOn || outputs[index].rise != nil) : wish == .on
    if length != nil, outputs[index].end != nil, settings.retrigger == .ignore { return .success }
    let end = length.map { self.end(of: index, isOn, $0) }
    return isOn ? switchOn(index, length, end, by) : switchOff(index, end, by)
  }

  /// A timed ON ends off, a timed OFF as it was before, and what overlaps as the first one would have.
  private func end(of index: Int, _ isOn: Bool, _ length: Int64) -> ModelOutput.End {
    let output = outputs[index]
    guard let running = output.end else {
      return ModelOutput.End(at: now.adding(nanoseconds: length), isOn: !isOn && output.isOn)
    }
    let extends = output.settings.retrigger == .extend && output.isOn == isOn
    return ModelOutput.End(at: (extends ? running.at : now).adding(nanoseconds: length), isOn: running.isOn)
  }

  private func switchOff(_ index: Int, _ end: ModelOutput.End?, _ by: String) -> Answer {
    let output = outputs[index]
    if output.isOn, now < output.since.adding(nanoseconds: output.settings.minOnNanoseconds) { return .refused }
    outputs[index].rise = nil
    return set(index, false, end: end, by: by) ? .success : .refused
  }

  private func switchOn(_ index: Int, _ length: Int64?, _ end: ModelOutput.End?, _ by: String) -> Answer {
    let rivals = rivals(of: index)
    var start = now
    if let place = outputs[index].settings.group {
      let group = groups[place]
      for rival in rivals {
        let other = outputs[rival]
        if other.isOn {
          if other.isFaulted || group.mode == .refuse { return .refused }
          if now < other.since.adding(nanoseconds: other.settings.minOnNanoseconds) { return .refused }
          start = max(start, now.adding(nanoseconds: group.deadTimeNanoseconds))
        } else {
          if group.mode == .refuse, other.rise != nil { return .refused }
          start = max(start, other.since.adding(nanoseconds: group.deadTimeNanoseconds))
        }
      }
      if group.mode == .refuse, start > now { return .refused }
    }
    let output = outputs[index]
    if !output.isOn, start < output.since.adding(nanoseconds: output.settings.minOffNanoseconds) { return .refused }
    for rival in rivals {
      outputs[rival].rise = nil
      if outputs[rival].end?.isOn == true { outputs[rival].end = nil }
    }
    let waits = start > now && !output.isOn
    if waits {
      outputs[index].rise = ModelOutput.Rise(at: start, nanoseconds: length, by: by)
      outputs[index].end = nil
    }
    for rival in rivals where outputs[rival].isOn {
      if !set(rival, false, end: nil, by: "interlock") { return .refused }
    }
    return waits || set(index, true, end: end, by: by) ? .success : .refused
  }

  /// Whether the line has done it.
  private func set(_ index: Int, _ isOn: Bool, end: ModelOutput.End?, by: String) -> Bool {
    now = now.adding(nanoseconds: board.lineNanoseconds)
    guard !board.isBroken[index] else {
      if outputs[index].isOn { for rival in rivals(of: index) { outputs[rival].rise = nil } }
      outputs[index].isFaulted = true
      outputs[index].rise = nil
      retryAt[index] = now.adding(seconds: ModelBoard.retrySeconds)
      if outputs[index].fault.isEmpty { faultLater(.output(index)) }
      outputs[index].fault = "broken"
      return false
    }
    if outputs[index].isOn, !isOn, let group = outputs[index].settings.group {
      // Who waits for a rival to be off waits from when it is.
      let earliest = now.adding(nanoseconds: groups[group].deadTimeNanoseconds)
      for rival in rivals(of: index) {
        if let rise = outputs[rival].rise { outputs[rival].rise?.at = max(rise.at, earliest) }
      }
    }
    outputs[index].has(isOn, end: end, at: now)
    physical[index] = isOn
    changes.append(ModelBoard.Change(place: .line(index), value: isOn ? 1 : 0, at: now, by: by))
    tellLater(.output(index), by: by)
    return true
  }

  /// The line is requested, at start or after a fault, and told at once.
  private func heal(_ index: Int) {
    retryAt[index] = nil
    let isOn = outputs[index].wanted && !mustStayOff(index)
    if physical[index] != isOn {
      changes.append(ModelBoard.Change(place: .line(index), value: isOn ? 1 : 0, at: now))
    }
    physical[index] = isOn
    outputs[index].has(isOn, end: outputs[index].end, at: now)
    send("b/o\(index)", state(index))
    if !outputs[index].fault.isEmpty {
      outputs[index].fault = ""
      send("b/o\(index)/fault", "")
    }
  }

  private func mustStayOff(_ index: Int) -> Bool {
    rivals(of: index).contains { outputs[$0].isOn || outputs[$0].rise != nil }
  }

  // MARK: Levels

  private func perform(_ index: Int, _ command: LevelCommand, by: String) -> Answer {
    let level = levels[index]
    guard !level.isFaulted else { return .refused }
    let target =
      switch command.wish {
      case .level(let wanted): wanted
      case .on: level.level > 0 ? level.level : level.last
      case .off: 0
      case .toggle: level.level > 0 ? 0 : level.last
      }
    let end = command.forNanoseconds.map { length in
      ModelLevel.End(at: turn.adding(nanoseconds: length), level: level.end?.level ?? (target == 0 ? level.level : 0))
    }
    return write(index, target, end: end, by: by) ? .success : .refused
  }

  private func write(_ index: Int, _ level: Int, end: ModelLevel.End?, by: String) -> Bool {
    switch board.drivers[index] {
    case .works:
      now = now.adding(nanoseconds: board.levelNanoseconds)
      shares[index] = share(level)
      changes.append(ModelBoard.Change(place: .level(index), value: shares[index], at: now))
      levels[index].has(level, end: end, at: turn)
      tellLater(.level(index), by: by)
      return true
    case .refuses: failed(index, "refused", isTold: false)
    case .hangs:
      now = now.adding(nanoseconds: ModelBoard.hangNanoseconds)
      failed(index, "write does not return", isTold: false)
    }
    return false
  }

  private func failed(_ index: Int, _ fault: String, isTold: Bool) {
    levels[index].isFaulted = true
    levels[index].retryAt = turn.adding(seconds: LevelTap.retrySeconds)
    guard levels[index].fault != fault else { return }
    levels[index].fault = fault
    if isTold { send("b/l\(index)/fault", fault) } else { faultLater(.level(index)) }
  }

  private func driven(_ index: Int, _ level: Int, by: String) {
    levels[index].has(level, end: by.isEmpty ? levels[index].end : nil, at: turn)
    send("b/l\(index)", levels[index].state, by: by)
    if !levels[index].fault.isEmpty {
      levels[index].fault = ""
      send("b/l\(index)/fault", "")
    }
    settle()
  }

  /// The driver is tried: at start, after a fault, and when a write that hung has come to its end.
  func open(_ index: Int) {
    begin()
    levels[index].retryAt = nil
    switch board.drivers[index] {
    case .hangs: return
    case .refuses:
      failed(index, "refused", isTold: true)
      settle()
    case .works:
      let wanted = share(levels[index].level)
      if shares[index] != wanted {
        changes.append(ModelBoard.Change(place: .level(index), value: wanted, at: now))
      }
      shares[index] = wanted
      driven(index, levels[index].level, by: "")
    }
  }
}
