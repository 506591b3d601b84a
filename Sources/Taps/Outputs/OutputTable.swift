public import Bounded
import MQTTWire

/// What the outputs share.
struct OutputRoom {
  let sets: UnsafeMutablePointer<LineSet>
  /// Why a command was refused, or the figures of an output.
  let text: UnsafeMutablePointer<UInt8>
  /// Not after the earliest deadline of all outputs; may be before it.
  var nextDeadline = Instant.never

  static var textBytesMax: Int { 160 }

  init(_ settings: TapSettings, in reservation: inout Reservation) {
    sets = reservation.take(
      LineSet.self, count: settings.outputs.isEmpty ? 0 : LineSets.capacity, name: "line sets")
    text = reservation.take(
      UInt8.self, count: settings.outputs.isEmpty ? 0 : OutputRoom.textBytesMax, name: "  answers")
  }
}

// Commands and timers of outputs: what is asked of one is decided here, where its group is known. Every `index` is an
// output's place in the table.
extension TapTable {
  /// The moment at which `takeDueOutput` or `takeDueStats` is to be called; it may find nothing to do then.
  public var nextOutputDeadline: Instant { outputRoom.nextDeadline }

  // MARK: Commands

  /// The topics of commands: of all outputs `set`, then of all outputs `pulse`, then what pulses OFF.
  public var outputTopicCount: Int { (settings.layout.hasOffPulses ? 3 : 2) * outputs.count }

  public func outputTopic(_ place: Int) -> Bytes {
    let output = place % outputs.count
    switch place / outputs.count {
    case 0: return outputs[output].commandTopic
    case 1: return outputs[output].pulseTopic
    default: return outputs[output].offPulseTopic
    }
  }

  /// A message on the topic at `place`; see `setReceived` and `pulseReceived`.
  public func commandReceived(
    place: Int, _ payload: Bytes, isRetained: Bool, by client: Bytes, at now: Instant
  ) -> (output: Int, action: OutputAction) {
    let output = place % outputs.count
    switch place / outputs.count {
    case 0: return (output, setReceived(output: output, payload, isRetained: isRetained, by: client, at: now))
    case 1: return (output, pulseReceived(output: output, payload, isRetained: isRetained, by: client, at: now))
    default:
      return (
        output, pulseReceived(output: output, payload, level: .off, isRetained: isRetained, by: client, at: now)
      )
    }
  }

  /// A message on `<tap>/set`. `isRetained`: it was sent to be retained, see `RetainedSet`; an empty one
  /// deletes and commands nothing. Retained or not, who forwards it does not store it.
  public func setReceived(
    output index: Int, _ payload: Bytes, isRetained: Bool = false, by client: Bytes, at now: Instant
  ) -> OutputAction {
    if payload.isEmpty, isRetained { return .set(LineSets(outputRoom.sets)) }
    if isRetained, settings.retainedSet == .reject { return refuse(index, Bytes("a retained command")) }
    do throws(OutputCommandError) {
      return perform(try OutputCommand(set: payload), output: index, by: client, at: now)
    } catch {
      // What pulses at any command understands any word: a button's PRESS, or nothing at all.
      let isWord = payload.trimmingASCIIWhitespace.firstIndex(of: UInt8(ascii: "{")) != 0
      guard outputs[index].rules.pulseNanoseconds == 0 || !isWord else {
        return perform(OutputCommand(.on), output: index, by: client, at: now)
      }
      return refuse(index, error)
    }
  }

  /// A message on `<tap>/pulse`.
  /// - Parameter level: where the topic says it, not the payload.
  public func pulseReceived(
    output index: Int, _ payload: Bytes, level: OutputCommand.Level? = nil, isRetained: Bool = false, by client: Bytes,
    at now: Instant
  ) -> OutputAction {
    if payload.isEmpty, isRetained { return .set(LineSets(outputRoom.sets)) }
    if isRetained, settings.retainedSet == .reject { return refuse(index, Bytes("a retained command")) }
    do throws(OutputCommandError) {
      let configured = outputs[index].rules.pulseNanoseconds
      var command = try OutputCommand(pulse: payload, configuredNanoseconds: configured)
      command.level = level ?? command.level
      return perform(command, output: index, by: client, at: now)
    } catch {
      return refuse(index, error)
    }
  }

  /// A client's wish, or a rule's. A line without a level to set is `implementationSpecificError` with the fault's text.
  public func perform(
    _ command: OutputCommand, output index: Int, by: Bytes, at now: Instant
  ) -> OutputAction {
    switch outputs[index].state {
    case .waiting: return refuse(index, Bytes("line is not requested yet"))
    case .faulted: return refuse(index, outputs[index].faultText)
    case .driven: break
    }
    var command = command
    let pulse = outputs[index].rules.pulseNanoseconds
    if pulse > 0, command.level != .off, command.forNanoseconds == nil {  // momentary: it never stays on
      command = OutputCommand(.on, forNanoseconds: pulse)
    }
    let active: Bool
    switch command.level {
    case .on: active = true
    case .off: active = false
    case .toggle: active = !outputs[index].isMeantActive
    }
    if command.forNanoseconds != nil, outputs[index].isTimed, outputs[index].rules.retrigger == .ignore {
      return .set(LineSets(outputRoom.sets))
    }
    let action =
      active
      ? switchOn(index, forNanoseconds: command.forNanoseconds, by: by, at: now)
      : switchOff(index, forNanoseconds: command.forNanoseconds, by: by, at: now)
    wake(at: outputs[index].nextDeadline)
    return action
  }

  private func switchOff(_ index: Int, forNanoseconds: Int64?, by: Bytes, at now: Instant) -> OutputAction {
    if outputs[index].lineActive {
      let left = outputs[index].changedAt.adding(nanoseconds: outputs[index].rules.minOnNanoseconds).since(now)
      if left > 0 { return refuse(index, "min_on: ", left) }
    }
    outputs[index].cancelDelay()
    var sets = LineSets(outputRoom.sets)
    sets.append(timed(index, active: false, forNanoseconds, by: by, at: now))
    return .set(sets)
  }

  /// Others of the group go first. What is refused changes nothing.
  private func switchOn(_ index: Int, forNanoseconds: Int64?, by: Bytes, at now: Instant) -> OutputAction {
    var startAt = now
    var hasRivals = false
    if let group = outputs[index].rules.group {
      for rival in 0..<outputs.count where isRival(rival, of: index) {
        if mayBeActive(rival) {
          if let refusal = refusal(of: index, becauseOf: rival, group, at: now) { return refusal }
          hasRivals = true
          startAt = max(startAt, now.adding(nanoseconds: group.deadTimeNanoseconds))
        } else if outputs[rival].state != .waiting {
          if group.refuses, outputs[rival].isDelayed {
            return refuse(index, "interlock: ", rival, " is about to be on")
          }
          startAt = max(startAt, outputs[rival].changedAt.adding(nanoseconds: group.deadTimeNanoseconds))
        }
      }
      if group.refuses, startAt > now { return refuse(index, "interlock: dead_time ", startAt.since(now)) }
    }
    if !outputs[index].lineActive {
      let left = outputs[index].changedAt.adding(nanoseconds: outputs[index].rules.minOffNanoseconds).since(startAt)
      // Told from now on: that long it has to wait.
      if left > 0 { return refuse(index, "min_off: ", left + startAt.since(now)) }
    }
    var sets = LineSets(outputRoom.sets)
    for rival in 0..<outputs.count where isRival(rival, of: index) {
      outputs[rival].cancelRise()
      if hasRivals, mayBeActive(rival) { sets.append(LineSet(output: rival, active: false, by: Bytes("interlock"))) }
    }
    if startAt > now, !outputs[index].lineActive {
      outputs[index].delay(until: startAt, forNanoseconds: forNanoseconds, by: by)
    } else {
      sets.append(timed(index, active: true, forNanoseconds, by: by, at: now))
    }
    return .set(sets)
  }

  /// A set with its timer. After a timed ON comes OFF, after a timed OFF what was before: none turns on what was off. While
  /// a timer runs the level after it is settled, so that overlapping timed sets end as the first one would have.
  private func timed(_ index: Int, active: Bool, _ forNanoseconds: Int64?, by: Bytes, at now: Instant) -> LineSet {
    guard let length = forNanoseconds else { return LineSet(output: index, active: active, by: by) }
    let tap = outputs[index]
    let extends = tap.isTimed && tap.rules.retrigger == .extend && tap.lineActive == active
    return LineSet(
      output: index, active: active, by: by,
      restAt: (extends ? tap.restAt : now).adding(nanoseconds: length),
      restActive: tap.isTimed ? tap.restActive : !active && tap.lineActive)
  }

  // MARK: Groups

  private func isRival(_ other: Int, of index: Int) -> Bool {
    guard other != index, let group = outputs[index].rules.group else { return false }
    return outputs[other].rules.group?.index == group.index
  }

  /// On, or it was when its line was lost.
  private func mayBeActive(_ index: Int) -> Bool { outputs[index].lineActive }

  private func hasActiveRival(_ index: Int) -> Bool {
    for rival in 0..<outputs.count where isRival(rival, of: index) && mayBeActive(rival) { return true }
    return false
  }

  private func hasDelayedRival(_ index: Int) -> Bool {
    for rival in 0..<outputs.count where isRival(rival, of: index) && outputs[rival].isDelayed { return true }
    return false
  }

  private func refusal(
    of index: Int, becauseOf rival: Int, _ group: OutputRules.Group, at now: Instant
  ) -> OutputAction? {
    guard case .driven = outputs[rival].state else {
      return refuse(index, "interlock: ", rival, " is faulted, maybe on")
    }
    if group.refuses { return refuse(index, "interlock: ", rival, " is on") }
    let left = outputs[rival].changedAt.adding(nanoseconds: outputs[rival].rules.minOnNanoseconds).since(now)
    return left > 0 ? refuse(index, "interlock: ", rival, " min_on: ", left) : nil
  }

  // MARK: Timers

  /// Takes what one timer wants whose deadline is not after `now`; call until nil, and carry each out as a command's sets.
  public func takeDueOutput(at now: Instant) -> LineSets? {
    guard outputRoom.nextDeadline <= now else { return nil }
    var earliest = Instant.never
    for index in 0..<outputs.count {
      while let due = outputs[index].due(at: now) {
        guard case .driven = outputs[index].state else { continue }
        var sets = LineSets(outputRoom.sets)
        if !due.active {
          sets.append(LineSet(output: index, active: false, by: due.by))
          return sets
        }
        // What rises by itself pushes nobody aside.
        if hasActiveRival(index) { continue }
        sets.append(timed(index, active: true, due.forNanoseconds, by: due.by, at: now))
        return sets
      }
      earliest = min(earliest, outputs[index].nextDeadline)
    }
    outputRoom.nextDeadline = earliest
    return nil
  }

  func wake(at deadline: Instant) { outputRoom.nextDeadline = min(outputRoom.nextDeadline, deadline) }

  // MARK: Lines

  /// The level with which the line is to be requested. At start `found` is what the line has (`initial: keep`) or what was
  /// stored (`initial: restore`), nil when that is not known; after a fault it does not count. Of a group one at most.
  public func requestLevel(output index: Int, found: Bool?) -> Bool {
    if outputs[index].state == .waiting { outputs[index].start(found: found) }
    if hasActiveRival(index) || hasDelayedRival(index) { outputs[index].forbidRequestedActive() }
    return outputs[index].requestedActive
  }

  /// The line has this level now.
  /// - Parameter moment: after the line was set, which takes its time: a group's dead time counts from here.
  public func lineSet(_ set: LineSet, at moment: Moment) -> TapUpdate {
    if !set.active, outputs[set.output].lineActive, let group = outputs[set.output].rules.group {
      let earliest = moment.at.adding(nanoseconds: group.deadTimeNanoseconds)
      for rival in 0..<outputs.count where isRival(rival, of: set.output) {
        outputs[rival].delayLonger(until: earliest)
      }
    }
    let update = outputs[set.output].lineSet(set, at: moment)
    wake(at: outputs[set.output].nextDeadline)
    return update
  }

  /// The line cannot be requested or set; `reason` is for people: "line GPIO17 busy: held by spi0 CS0". Who waited for it
  /// to be off waits no more.
  public func lineFailed(output index: Int, _ reason: Bytes, at moment: Moment) -> TapUpdate {
    if mayBeActive(index) {
      for rival in 0..<outputs.count where isRival(rival, of: index) { outputs[rival].cancelDelay() }
    }
    return outputs[index].lineFailed(reason, at: moment)
  }

  /// The line was requested, at start or after a fault, and has this level.
  public func lineHealed(output index: Int, active: Bool, at moment: Moment) -> TapUpdate {
    let update = outputs[index].lineHealed(active: active, at: moment)
    wake(at: outputs[index].nextDeadline)
    return update
  }

  /// What an orderly end does to this line: nil with `on_exit: keep` and `release`, and where there is no line.
  public func exitSet(output index: Int) -> LineSet? {
    guard case .driven = outputs[index].state, settings.outputs[index].onExit == .safe else { return nil }
    return LineSet(output: index, active: settings.outputs[index].isSafeActive, by: Bytes("safe"))
  }

  // MARK: Figures

  /// Takes the figures of one output that are due, at most one message a minute of each; call until nil. The payload is
  /// valid until the table's next event.
  public func takeDueStats(at moment: Moment) -> Publication? {
    guard outputRoom.nextDeadline <= moment.at else { return nil }
    for index in 0..<outputs.count where outputs[index].statsDeadline <= moment.at {
      return stats(output: index, at: moment)
    }
    return nil
  }

  /// `{"cycles":12,"on_ms":3600000,"late":0}` as they are now, for the end; nil without `stats`.
  public func stats(output index: Int, at moment: Moment) -> Publication? {
    guard !outputs[index].statsTopic.isEmpty else { return nil }
    outputs[index].statsTaken(at: moment.at)
    wake(at: outputs[index].nextDeadline)
    var writer = ByteWriter(UnsafeMutableRawPointer(outputRoom.text), capacity: OutputRoom.textBytesMax)
    writer.write("{\"cycles\":")
    writer.writeDecimal(outputs[index].cycleCount)
    writer.write(",\"on_ms\":")
    writer.writeDecimal(outputs[index].onMilliseconds(at: moment.at))
    writer.write(",\"late\":")
    writer.writeDecimal(outputs[index].lateCount)
    writer.write("}")
    return Publication(
      topic: outputs[index].statsTopic, payload: writer.written, wallNanoseconds: moment.wallNanoseconds)
  }
}
