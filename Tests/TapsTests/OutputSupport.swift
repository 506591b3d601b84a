import Bounded
import MQTTWire
import Testing

@testable import Taps

/// A board of outputs and lines that do as they are told, with a clock of its own, as the daemon uses the table.
final class OutputWorld {
  let table: TapTable
  private(set) var now: Instant
  /// What each line has.
  private(set) var lines: [Bool]
  /// Lines that cannot be set.
  var isBroken: [Bool]
  /// Every level of every line since the last look, as text: `relay ON by=timer`.
  private var log: [String] = []
  /// The time from a timer's deadline to the turn of the loop that meets it.
  var delayMilliseconds: Int64 = 0
  /// What it takes to set a line, as behind a slow bus.
  var lineMilliseconds: Int64 = 0

  init(
    _ outputs: [OutputSettings], groups: [OutputGroupSettings] = [], found: [Bool?] = [],
    unopened: Int? = nil, at milliseconds: Int64 = 1_000_000
  ) {
    var settings = TapSettings(base: [UInt8]("b".utf8))
    settings.outputs = outputs
    settings.groups = groups
    now = Instant(milliseconds: milliseconds)
    #expect(settings.problem() == nil)
    table = makeTable(settings, at: now)
    lines = Array(repeating: false, count: outputs.count)
    isBroken = Array(repeating: false, count: outputs.count)
    for index in outputs.indices where index != unopened {
      open(index, found: index < found.count ? found[index] : nil)
    }
  }

  /// Requests a line, as at start and again after a fault.
  func open(_ index: Int, found: Bool? = nil) {
    let active = table.requestLevel(output: index, found: found)
    lines[index] = active
    note(table.lineHealed(output: index, active: active, at: now.moment))
  }

  /// A message on `<tap>/set`; the acknowledgement as text.
  @discardableResult func set(_ name: String, _ payload: String, by client: String = "me") -> String {
    withLent(payload) { payload in
      withLent(client) { client in
        answer(table.setReceived(output: index(name), payload, by: client, at: now))
      }
    }
  }

  @discardableResult func pulse(_ name: String, _ payload: String, by client: String = "me") -> String {
    withLent(payload) { payload in
      withLent(client) { client in
        answer(table.pulseReceived(output: index(name), payload, by: client, at: now))
      }
    }
  }

  func answer(_ action: OutputAction) -> String {
    switch action {
    case .refuse(let code, let text): return "\(code.rawValue): \(text.text)"
    case .set(let sets): return carryOut(sets) ? "ok" : "131: \(faults)"
    }
  }

  private func carryOut(_ sets: LineSets) -> Bool {
    for place in 0..<sets.count {
      let set = sets[place]
      if isBroken[set.output] {
        note(table.lineFailed(output: set.output, Bytes("broken"), at: now.moment))
        return false
      }
      now = now.adding(milliseconds: lineMilliseconds)
      lines[set.output] = set.active
      note(table.lineSet(set, at: now.moment))
    }
    return true
  }

  /// Lets time pass, turn by turn.
  func pass(milliseconds: Int64) {
    let end = now.adding(milliseconds: milliseconds)
    var turnCount = 0
    while true {
      turnCount += 1
      guard turnCount < 100_000 else {
        Issue.record("a deadline stays")
        return
      }
      let wanted = table.nextOutputDeadline
      let turn = wanted == .never ? .never : max(now, wanted.adding(milliseconds: delayMilliseconds))
      if turn > end { break }
      now = turn
      takeDue()
    }
    now = end
  }

  func pass(seconds: Int64) { pass(milliseconds: seconds * 1000) }

  private func takeDue() {
    while let sets = table.takeDueOutput(at: now) { _ = carryOut(sets) }
    while let stats = table.takeDueStats(at: now.moment) {
      log.append("\(name(stats.topic.text)) \(stats.payload.text)")
    }
  }

  func exit() {
    for index in lines.indices {
      guard let set = table.exitSet(output: index) else { continue }
      lines[index] = set.active
      note(table.lineSet(set, at: now.moment))
    }
  }

  /// What was published since the last look.
  func takeLog() -> [String] {
    defer { log = [] }
    return log
  }

  func isOn(_ name: String) -> Bool { lines[index(name)] }

  func index(_ name: String) -> Int {
    table.settings.outputs.firstIndex { String(decoding: $0.name, as: UTF8.self) == name }!
  }

  private var faults: String {
    lines.indices.map { table.outputs[$0].faultText.text }.filter { !$0.isEmpty }.joined(separator: ", ")
  }

  private func name(_ topic: String) -> String { String(topic.dropFirst(2)) }

  private func note(_ update: TapUpdate) {
    if let fault = update.fault { log.append("\(name(fault.topic.text)) \(fault.payload.text)") }
    guard let state = update.state else { return }
    let by = state.by.isEmpty ? "" : " by=\(state.by.text)"
    log.append("\(name(state.topic.text)) \(state.payload.text)\(by)")
  }
}

func makeTable(_ settings: TapSettings, at now: Instant) -> TapTable { table(settings, at: now) }

func seconds(_ value: Int64) -> Int64 { value * 1_000_000_000 }
func milliseconds(_ value: Int64) -> Int64 { value * 1_000_000 }

/// An output with some settings changed.
func output(_ name: String, pin: String = "GPIO17", _ change: (inout OutputSettings) -> Void) -> OutputSettings {
  var settings = output(name, pin: pin)
  change(&settings)
  return settings
}

func group(_ name: String, deadTimeMilliseconds: Int64 = 0, _ mode: OutputGroupSettings.Mode = .wait)
  -> OutputGroupSettings
{
  var group = OutputGroupSettings(name: [UInt8](name.utf8))
  group.deadTimeNanoseconds = milliseconds(deadTimeMilliseconds)
  group.mode = mode
  return group
}
