import MQTTBroker
import MQTTWire
import Taps

@testable import Bounded
@testable import Gateway

/// The board of the house.
enum FairnessHouse {
  /// Outputs that nothing moves but commands: each one that is accepted moves the line once.
  static let plain = 0..<2
  /// An output that its own timer switches off.
  static let timed = 2
  /// An output with a lease of the home's, whose line fails at times.
  static let breaking = 3
  /// An output that a rule toggles for each message `go` on `x/go`.
  static let ruled = 4
  static let outputCount = 5

  static var taps: TapSettings {
    settings {
      $0.outputs = (0..<outputCount).map { index in
        output("o\(index)") {
          if index == timed { $0.maxOnNanoseconds = seconds(3) }
          if index == breaking { $0.lease = OutputLease(client: utf8("home"), graceNanoseconds: seconds(1)) }
        }
      }
      $0.levels = [level("l0")]
      $0.counters = [counter("m")]
      $0.rules = [rule("r", "x/go == go", [.output(ruled, OutputCommand(.toggle))]) { $0.isEvery = true }]
      $0.discovery = DiscoverySettings(prefix: utf8("homeassistant"), id: utf8("id"), name: utf8("Board"))
    }
  }

  static func command(_ output: Int) -> String { "b/o\(output)/set" }
}

/// What the board says of itself, and what is so.
final class FairnessTruth {
  /// What never changes while the board lives: status and discovery.
  private let fixed: [(topic: [UInt8], payload: String)]
  private let states = (0..<FairnessHouse.outputCount).map { (utf8("b/o\($0)"), utf8("b/o\($0)/fault")) }
  private let level = utf8("b/l0")
  private let uptime = utf8("$SYS/broker/uptime")
  private let start: Instant
  /// All topics that are the board's.
  let topics: [String]

  init(_ world: World) {
    start = world.now
    var topics: [String] = []
    world.taps.visitOwnTopics { if !$0.isEmpty { topics.append(plainText($0)) } }
    topics.append("homeassistant/device/id/config")
    self.topics = topics
    fixed = ["b/status", "homeassistant/device/id/config"].map { topic in
      (utf8(topic), world.retainedMessage(utf8(topic))!.payload)
    }
  }

  /// The first of the board's topics that does not tell the truth.
  func lie(_ world: World) -> String? {
    for (topic, payload) in fixed where world.retainedMessage(topic)?.payload != payload { return text(topic, world) }
    for output in states.indices {
      let isFaulted = world.taps.outputs[output].state == .faulted
      let state = world.board.lines[output] ? "ON" : "OFF"
      if !isFaulted, world.retainedMessage(states[output].0)?.payload != state { return text(states[output].0, world) }
      let fault = world.retainedMessage(states[output].1)?.payload ?? ""
      if isFaulted == fault.isEmpty { return text(states[output].1, world) }
    }
    let percent = (world.board.shares[0] * 100 + 1 << 31) >> 32
    if world.retainedMessage(level)?.payload != "\(percent)" { return text(level, world) }
    let seconds = world.now.since(start) / 1_000_000_000
    let told = world.retainedMessage(uptime).flatMap { Int64($0.payload) } ?? -100
    return seconds - told > 10 ? text(uptime, world) : nil
  }

  /// What somebody who has seen all messages on `b/#` has to believe.
  /// - Parameter mayWait: what it has not been told yet waits behind larger messages for readers that are stuck.
  func belief(_ view: [String: String], mayWait: Bool, _ world: World) -> String? {
    for output in states.indices where world.taps.outputs[output].state != .faulted {
      let state = world.board.lines[output] ? "ON" : "OFF"
      let seen = view["b/o\(output)"] ?? (mayWait ? state : "unknown")
      if seen != state { return "b/o\(output) is \(seen)" }
    }
    return nil
  }

  private func text(_ topic: [UInt8], _ world: World) -> String {
    let payload = world.retainedMessage(topic)?.payload ?? "not there"
    return "\(String(decoding: topic, as: UTF8.self)) is \(payload.prefix(40))"
  }
}

/// Streams before they are connections, as the server has them: a place for each, and admission control.
final class FairnessDoor {
  private let region: UnsafeMutableRawBufferPointer
  private var admission: Admission
  private let placeCount: Int
  private var generation: UInt32 = 0
  private var streams: Set<UInt32> = []
  private var silentStreams: Set<UInt32> = []
  /// Streams that have said nothing.
  var silentCount: Int { silentStreams.count }

  init(_ limits: Limits) {
    var plan = Reservation.counting()
    _ = Admission(limits, in: &plan)
    region = .allocate(byteCount: plan.byteCount, alignment: Reservation.alignment)
    region.initializeMemory(as: UInt8.self, repeating: 0)
    var reservation = Reservation(region: region)
    admission = Admission(limits, in: &reservation)
    placeCount = limits.connectionsMax
  }

  deinit { region.deallocate() }

  /// A stream from `source`; nil: refused. One that has said nothing may have to give way to it.
  func admit(from source: SourceAddress, _ world: World) -> UInt32? {
    let open = Set(world.connections.values.map { world.gateway.broker.transport(of: $0.id) })
    for gone in streams.subtracting(silentStreams).subtracting(open) { end(gone) }
    if let (stream, _) = admission.givesWay(to: source, hasPlace: streams.count < placeCount, at: world.now) {
      leave(stream)
    }
    let taken = Set(streams.map { $0 & 0xF_FFFF })
    generation = generation % 4095 + 1
    let place = (0..<UInt32(placeCount)).first { !taken.contains($0) }
    let stream = place.map { generation << 20 | $0 }
    guard admission.admit(from: source, at: world.now, open: { stream }) == nil, let stream else { return nil }
    streams.insert(stream)
    silentStreams.insert(stream)
    return stream
  }

  /// Its first byte has come: from now on it is a connection of the broker's.
  func heard(_ stream: UInt32) {
    _ = admission.heard(stream)
    silentStreams.remove(stream)
  }

  /// Its CONNECT was accepted, or it is gone.
  func known(_ stream: UInt32) { admission.leave(stream) }

  /// A stream that has said nothing is gone, if it is still there.
  func leave(_ stream: UInt32) {
    if silentStreams.remove(stream) != nil { end(stream) }
  }

  private func end(_ stream: UInt32) {
    admission.end(stream)
    streams.remove(stream)
  }

  /// Those that have said nothing for too long, each once.
  func silent(at now: Instant) -> [UInt32] {
    var streams: [UInt32] = []
    while let stream = admission.popExpired(at: now) { streams.append(stream) }
    return streams
  }
}

/// Who may move a line or the level, and who must.
struct Movements {
  /// Of this step.
  private var owed: [String: Int] = [:]
  private var allowed: [String: Int] = [:]
  /// Wills may be delayed.
  private var willed: [String: Int] = [:]

  private static func key(_ by: String, _ output: Int) -> String { "\(by) \(output)" }
  private static let level = "level"

  /// A command was acknowledged with success: it moves the line once.
  mutating func owe(_ by: String, _ output: Int) { owed[Movements.key(by, output), default: 0] += 1 }
  /// A command was sent that is not acknowledged: it moves the line now and once, or not at all.
  mutating func allow(_ by: String, _ output: Int) { allowed[Movements.key(by, output), default: 0] += 1 }
  mutating func allowLevel() { allowed[Movements.level, default: 0] += 1 }
  /// A client with such a Will has been lost: it moves the line once, now or later, or not at all.
  mutating func will(_ by: String, _ output: Int) { willed[Movements.key(by, output), default: 0] += 1 }
  mutating func willLevel() { willed[Movements.level, default: 0] += 1 }

  /// The first movement that nobody asked for, or the first that was asked for and did not come.
  mutating func problem(_ changes: [ModelBoard.Change]) -> String? {
    for change in changes where !Movements.isOwn(change) {
      let key: String
      switch change.place {
      case .line(let line): key = Movements.key(change.by ?? "", line)
      case .level: key = Movements.level
      }
      guard Movements.take(key, &owed) || Movements.take(key, &allowed) || Movements.take(key, &willed) else {
        return "\(change) without an accepted command"
      }
    }
    for (key, count) in owed where count > 0 { return "a command that was acknowledged moved nothing: \(key)" }
    owed.removeAll(keepingCapacity: true)
    allowed.removeAll(keepingCapacity: true)
    return nil
  }

  /// What a timer, a lease or the request of a line does.
  private static func isOwn(_ change: ModelBoard.Change) -> Bool {
    guard case .line(let line) = change.place else { return false }
    if line == FairnessHouse.timed, change.by == "timer" { return change.value == 0 }
    guard line == FairnessHouse.breaking else { return false }
    return change.by == nil || change.by == "lease" && change.value == 0
  }

  private static func take(_ key: String, _ counts: inout [String: Int]) -> Bool {
    guard let count = counts[key] else { return false }
    counts[key] = count > 1 ? count - 1 : nil
    return true
  }
}
