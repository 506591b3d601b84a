import Bounded
import Gateway

/// A board of plain arrays, with a clock of its own: lines that do as they are told or fail, drivers that refuse or hang,
/// and a log of everything that changed.
///
/// It has more than twenty properties: an array for each fact of the lines and drivers, how tests make them fail, and a
/// record of each call that the gateway makes.
final class ModelBoard: Board {
  enum Place: Equatable {
    case line(Int)
    case level(Int)
  }
  /// A line was set, or a driver took a level.
  struct Change: Equatable, CustomStringConvertible {
    let place: Place
    /// Of a line 0 or 1, of a level 2^-32 of the full power.
    let value: UInt64
    /// When it was done.
    let at: Instant
    /// Who the gateway says it was for: of a line only, and not of its request.
    var by: String?

    var description: String {
      switch place {
      case .line(let line): "line \(line) \(value == 1 ? "ON" : "OFF")\(by.map { " by=\($0)" } ?? "")"
      case .level(let index): "level \(index) \((value * 10_000 + 1 << 31) >> 32)"
      }
    }
  }
  enum Driver {
    case works
    case refuses
    /// A write does not return; what it was to write stands in `late`.
    case hangs
  }
  enum LastJob: Equatable {
    case keep
    case share(UInt64)
    case release
  }

  var now: Instant
  var moment: Moment { Moment(at: now, wallNanoseconds: now.nanoseconds) }
  /// A clock of its own, so that a handler's time is what the test says.
  var monotonicNanoseconds: Int64 = 0

  /// What drives each line: a line that fails keeps its level until it is requested again.
  var lines: [Bool]
  /// Requested, and not given back.
  private(set) var isThere: [Bool]
  var isBroken: [Bool]
  var shares: [UInt64]
  var drivers: [Driver]
  private(set) var late: [UInt64?]
  /// When a line that failed is to be requested again.
  var retryAt: [Instant]

  /// The time that it takes to set a line or to write a level.
  var lineNanoseconds: Int64 = 0
  var levelNanoseconds: Int64 = 0
  /// Called before a line is set.
  var beforeSet: (Int) -> Void = { _ in }

  private(set) var changes: [Change] = []
  private(set) var notices: [String] = []
  /// Given back at the end: true is let go.
  private(set) var givenBack: [Int: Bool] = [:]
  private(set) var lastJobs: [LastJob]?
  private(set) var stateChangeCount = 0
  /// Lines and drivers that did not do as they were told.
  private(set) var failureCount = 0
  private(set) var forgotten: [String] = []
  private(set) var submitted: [String] = []
  /// Messages that decoupled handlers have room for.
  var queueRoom = Int.max
  var keepsNotices = true

  static let retrySeconds: Int64 = 5
  static let hangNanoseconds: Int64 = 250_000_000

  init(lineCount: Int, levelCount: Int, at now: Instant) {
    self.now = now
    lines = Array(repeating: false, count: lineCount)
    isThere = Array(repeating: false, count: lineCount)
    isBroken = Array(repeating: false, count: lineCount)
    shares = Array(repeating: 0, count: levelCount)
    drivers = Array(repeating: .works, count: levelCount)
    late = Array(repeating: nil, count: levelCount)
    retryAt = Array(repeating: .never, count: lineCount)
  }

  func takeChanges() -> [Change] {
    defer { changes.removeAll(keepingCapacity: true) }
    return changes
  }

  func takeNotices() -> [String] {
    defer { notices.removeAll(keepingCapacity: true) }
    return notices
  }

  /// Whether it is the end of a level's write that was given up.
  func driverReturns(_ index: Int) {
    drivers[index] = .works
    if let share = late[index] { shares[index] = share }
    late[index] = nil
  }

  // MARK: Requests, which the gateway does not make

  func request(line: Int, active: Bool) {
    isThere[line] = true
    if lines[line] != active { note(.line(line), active ? 1 : 0) }
    lines[line] = active
    retryAt[line] = .never
  }

  func lose(line: Int) {
    isThere[line] = false
    retryAt[line] = now.adding(seconds: ModelBoard.retrySeconds)
  }

  /// Opens a driver with this power; false when it does not work.
  func open(level index: Int, share: UInt64) -> Bool {
    guard case .works = drivers[index] else { return false }
    if shares[index] != share { note(.level(index), share) }
    shares[index] = share
    return true
  }

  private func note(_ place: Place, _ value: UInt64) { changes.append(Change(place: place, value: value, at: now)) }

  // MARK: What the gateway asks for

  func set(line: Int, active: Bool, reason: inout ByteWriter) -> Bool {
    beforeSet(line)
    now = now.adding(nanoseconds: lineNanoseconds)
    guard isThere[line], !isBroken[line] else {
      failureCount += 1
      reason.write(isThere[line] ? "broken" : "gone")
      lose(line: line)
      return false
    }
    lines[line] = active
    note(.line(line), active ? 1 : 0)
    return true
  }

  func level(ofLine line: Int) -> Bool? { isThere[line] && !isBroken[line] ? lines[line] : nil }

  func giveBack(line: Int, letsGo: Bool) {
    isThere[line] = false
    retryAt[line] = .never
    givenBack[line] = letsGo
  }

  func write(level index: Int, share: UInt64, reason: inout ByteWriter) -> Bool {
    if lastJobs != nil {
      reason.write("ended")
      return false
    }
    switch drivers[index] {
    case .works:
      now = now.adding(nanoseconds: levelNanoseconds)
      shares[index] = share
      note(.level(index), share)
      return true
    case .refuses:
      failureCount += 1
      reason.write("refused")
      return false
    case .hangs:
      failureCount += 1
      now = now.adding(nanoseconds: ModelBoard.hangNanoseconds)
      late[index] = share
      reason.write("write does not return")
      return false
    }
  }

  func finishLevels(_ job: (Int) -> LastLevel, ended: (Int, Bool, Bytes) -> Void) {
    var jobs: [LastJob] = []
    for index in shares.indices {
      switch job(index) {
      case .keep: jobs.append(.keep)
      case .share(let share): jobs.append(.share(share))
      case .release: jobs.append(.release)
      }
    }
    lastJobs = jobs
    for (index, job) in jobs.enumerated() where job != .keep {
      guard case .works = drivers[index] else {
        ended(index, false, Bytes("does not end"))
        continue
      }
      if case .share(let share) = job {
        shares[index] = share
        note(.level(index), share)
      }
      ended(index, true, .empty)
    }
  }

  func stateChanged(at now: Instant) { stateChangeCount += 1 }

  func forget(announced name: [UInt8], at now: Instant) { forgotten.append(String(decoding: name, as: UTF8.self)) }

  func submit(handler: Int, topic: Bytes, payload: Bytes) -> Bool {
    guard submitted.count < queueRoom else { return false }
    submitted.append("\(handler) \(plainText(topic)) \(plainText(payload))")
    return true
  }

  func tell(_ notice: GatewayNotice) {
    if case .switched(_, _, let by) = notice { changes[changes.count - 1].by = plainText(by) }
    guard keepsNotices else { return }
    switch notice {
    case .fault(let tap, let reason):
      notices.append("fault \(String(decoding: tap, as: UTF8.self)): \(plainText(reason))")
    case .switched: break  // in `changes`
    case .refused(let output, let reason, let by):
      notices.append("refused \(output): \(plainText(reason)), by \(plainText(by))")
    case .ruleLoop(let by): notices.append("loop \(plainText(by))")
    case .handlerSetAside(let pattern): notices.append("set aside \(plainText(pattern))")
    case .answerLost: notices.append("answer lost")
    case .discoveryLost: notices.append("discovery lost")
    case .homeAssistantUnheard: notices.append("Home Assistant unheard")
    }
  }
}
