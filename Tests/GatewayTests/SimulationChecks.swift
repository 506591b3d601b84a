import MQTTBroker
import MQTTWire
import Taps

@testable import Bounded
@testable import Gateway

/// What holds of lines whatever the model says, looked at in the board's own log.
struct Physics {
  private let settings: TapSettings
  private var lines: [Bool]
  private var onSince: [Instant?]
  private var offAt: [Instant?]

  init(_ settings: TapSettings, _ board: ModelBoard) {
    self.settings = settings
    lines = board.lines
    onSince = lines.map { $0 ? board.now : nil }
    offAt = lines.map { _ in nil }
  }

  /// A problem, or nil.
  mutating func take(_ change: ModelBoard.Change) -> String? {
    guard case .line(let line) = change.place, line < settings.outputs.count else { return nil }
    let isOn = change.value == 1
    let wasOn = lines[line]
    lines[line] = isOn
    if !isOn {
      if wasOn { offAt[line] = change.at }
      onSince[line] = nil
      return nil
    }
    if onSince[line] == nil { onSince[line] = change.at }
    guard !wasOn, let group = settings.outputs[line].group else { return nil }
    for rival in settings.outputs.indices where rival != line && settings.outputs[rival].group == group {
      if lines[rival] { return "o\(rival) and o\(line) of one group are on" }
      if let off = offAt[rival], change.at.since(off) < settings.groups[group].deadTimeNanoseconds {
        return "o\(line) goes on \(change.at.since(off) / 1_000_000) ms after o\(rival) went off"
      }
    }
    return nil
  }

  /// A line that is longer on than it may be; nil: none. One that a lease switches on may have been lost when max_on
  /// ended it, and be wanted on again when it is back.
  func longestOn(at now: Instant) -> Int? {
    settings.outputs.indices.first { line in
      let most = settings.outputs[line].maxOnNanoseconds
      guard most > 0, settings.outputs[line].lease?.isActiveWhenLost != true, let since = onSince[line] else {
        return false
      }
      return since.adding(nanoseconds: most) <= now
    }
  }
}

extension Simulation {
  /// The gateway is at rest: what was published, what moved, and what everything has, is what the model says.
  func check(_ what: String) {
    guard failure == nil else { return }
    checkTold()
    checkChanges()
    if world.now != model.now { fail("the clock is \(world.now.since(model.now)) ns from the model's") }
    if !world.isAtRest { fail("the gateway does not come to rest") }
    checkStates()
    if let failure { self.failure = "\(what): \(failure)" }
  }

  private func checkTold() {
    let expected = model.takeTold()
    var place = 0
    for packet in watcher.packets {
      guard case .publish(let topic, let payload, _, _, _, _, let properties) = packet else { continue }
      messageCount += 1
      let by = World.by(properties) ?? ""
      guard place < expected.count else {
        fail("\(topic)=\(payload) by=\(by) is published")
        break
      }
      let told = expected[place]
      place += 1
      // Of a refusal's answer the reason is for people.
      let isSame = payload == told.payload || told.payload == Model.refusal && payload.hasPrefix(Model.refusal)
      if told.topic != topic || !isSame || told.by != by {
        fail("\(topic)=\(payload) by=\(by) is published, not \(told.topic)=\(told.payload) by=\(told.by)")
        break
      }
    }
    if place < expected.count, failure == nil {
      fail("\(expected[place].topic)=\(expected[place].payload) is not published")
    }
    watcher.packets.removeAll(keepingCapacity: true)
  }

  private func checkChanges() {
    let changes = world.board.takeChanges()
    let expected = model.takeChanges()
    changeCount += changes.count
    for change in changes {
      if let problem = physics.take(change) { fail(problem) }
      if model.isStopping { checkSafe(change) }
    }
    if changes != expected {
      let place = zip(changes, expected).prefix { $0 == $1 }.count
      let real = place < changes.count ? "\(changes[place]) at \(changes[place].at.nanoseconds)" : "nothing"
      let wanted = place < expected.count ? "\(expected[place]) at \(expected[place].at.nanoseconds)" : "nothing"
      fail("\(real) moves, not \(wanted)")
    }
  }

  /// Said without the model: from the beginning of the end only safe levels are written.
  private func checkSafe(_ change: ModelBoard.Change) {
    let isSafe =
      switch change.place {
      case .line(let line):
        change.by == "safe" && (change.value == 1) == drawn.settings.outputs[line].isSafeActive
          && drawn.settings.outputs[line].onExit == .safe
      case .level(let index):
        change.value == share(drawn.settings.levels[index].safe) && drawn.settings.levels[index].onExit == .safe
      }
    if !isSafe { fail("\(change) after the beginning of the end") }
  }

  /// What lines and levels have, and that each retained state tells the truth.
  private func checkStates() {
    for index in model.outputs.indices {
      let topic = outputTopics[index]
      if world.board.lines[index] != model.physical[index] { fail("o\(index) has another level than the model's") }
      checkRetained(topic.state, model.outputs[index].isOn ? "ON" : "OFF")
      checkRetained(topic.fault, model.outputs[index].fault)
      // Said without the model: who is driven has what is told of it.
      if case .driven(let isOn) = world.taps.outputs[index].state, isOn != world.board.lines[index] {
        fail("o\(index) tells an untruth")
      }
    }
    for index in model.levels.indices {
      let topic = levelTopics[index]
      if world.board.shares[index] != model.shares[index] { fail("l\(index) has another level than the model's") }
      checkRetained(topic.state, model.levels[index].state)
      checkRetained(topic.fault, model.levels[index].fault)
      if !model.levels[index].isFaulted, model.shares[index] != share(model.levels[index].level) {
        fail("l\(index) tells an untruth")
      }
    }
    checkRetained(meterTopic, model.reading)
    if !model.isStopping, let line = physics.longestOn(at: world.lastTurn), !model.outputs[line].isFaulted {
      fail("o\(line) is on for longer than max_on")
    }
  }

  /// - Parameter payload: empty: nothing is to be retained.
  private func checkRetained(_ topic: [UInt8], _ payload: String) {
    let retained = world.retainedMessage(topic)?.payload ?? ""
    if retained != payload {
      fail("\(String(decoding: topic, as: UTF8.self)) is retained with '\(retained)', not '\(payload)'")
    }
  }
}
