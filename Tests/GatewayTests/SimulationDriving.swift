import Bounded
import Taps

/// What the model makes of commands, timers and faults: lines and levels.
extension Model {
  // MARK: Outputs

  func rivals(of index: Int) -> [Int] {
    guard let group = outputs[index].settings.group else { return [] }
    return outputs.indices.filter { $0 != index && outputs[$0].settings.group == group }
  }

  func perform(_ index: Int, _ command: OutputCommand, by: String) -> Answer {
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
      if !outputs[rival].isOn { outputs[rival].wanted = false }
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
  func set(_ index: Int, _ isOn: Bool, end: ModelOutput.End?, by: String) -> Bool {
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
  func heal(_ index: Int) {
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

  func mustStayOff(_ index: Int) -> Bool {
    rivals(of: index).contains { outputs[$0].isOn || outputs[$0].rise != nil }
  }

  // MARK: Levels

  func perform(_ index: Int, _ command: LevelCommand, by: String) -> Answer {
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

  func write(_ index: Int, _ level: Int, end: ModelLevel.End?, by: String) -> Bool {
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

  func failed(_ index: Int, _ fault: String, isTold: Bool) {
    levels[index].isFaulted = true
    levels[index].retryAt = turn.adding(seconds: LevelTap.retrySeconds)
    guard levels[index].fault != fault else { return }
    levels[index].fault = fault
    if isTold { send("b/l\(index)/fault", fault) } else { faultLater(.level(index)) }
  }

  func driven(_ index: Int, _ level: Int, by: String) {
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
