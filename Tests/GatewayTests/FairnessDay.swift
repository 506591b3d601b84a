import MQTTWire
import Taps

@testable import Bounded
@testable import Gateway
@testable import MQTTBroker

/// A day of a house at the limits that a user gets, drawn from one seed: clients that keep within their share
/// (`Resident`) live beside hostile and careless ones (`Intruder`), which have filled whatever can be filled before the
/// first step. docs/simulation.md says what a share is, and what holds after every step.
///
/// Files: FairnessDay (steps), FairnessHouse (the board, doors), FairnessResidents, FairnessPromises (what they are owed),
/// FairnessIntruders and FairnessHoards (what the others do), FairnessChecks.
///
/// Properties: the house and its people, and what was counted for the last lines of a run.
final class FairnessDay: SimulatedDay {
  private(set) var failure: String?
  private var isTold = false
  private(set) var stepCount = 0
  var random: SeededGenerator

  let limits: Limits
  let world: World
  let door: FairnessDoor
  let truth: FairnessTruth
  let residents: [Resident]
  var intruders: [Intruder] = []
  /// Intruders by client identifier.
  var intrudersByID: [String: Intruder] = [:]
  var movements = Movements()
  /// Sessions whose clients have left since the tablet did.
  var departureCount = 0
  /// What one session may hold of the pools and never gives up.
  let share: FairnessShare

  // For the last lines of a run.
  var promiseCount = 0
  var lossCount = 0
  /// Seconds that a message of more than a chunk waited for readers that were stuck.
  var longestWait: Int64 = 0
  var commandCount = 0
  var movementCount = 0
  var givenWay: UInt64 { world.gateway.broker.counters.gaveWay }

  init(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    limits = Limits(random.oneIn(2) ? .house : .board)
    world = World(FairnessHouse.taps, limits: limits, seed: seed) { world in
      world.board.keepsNotices = false
      world.gateway.callBroker { $0.startSys(at: world.now) }
    }
    share = FairnessShare(limits, floor: world.gateway.broker.outboxes.chunks.floor)
    door = FairnessDoor(limits)
    truth = FairnessTruth(world)
    residents = Resident.all(&random)
    self.random = random
    for resident in residents { arrive(resident) }
    for resident in residents { settleIn(resident) }
    checkAll("the residents come")
    moveIn()
    checkAll("the intruders come")
  }

  /// The first is kept.
  func fail(_ what: String) {
    if failure == nil { failure = what }
  }

  func pick<Element>(_ elements: [Element]) -> Element { elements[random.below(elements.count)] }

  // MARK: Steps

  func step() {
    stepCount += 1
    beginCounting()
    let what: String
    switch random.below(20) {
    case 0...8:
      let resident = pick(residents)
      what = resident.name
      live(resident)
    case 9:
      what = "the line"
      breakLine()
    default:
      let intruder = pick(intruders)
      what = "\(intruder.name) (\(intruder.kind))"
      act(intruder)
    }
    let milliseconds = random.oneIn(40) ? random.below(20_000) : random.below(300)
    pass(milliseconds: milliseconds)
    check(what)
  }

  /// Time passes; residents keep their connections alive meanwhile.
  func pass(milliseconds: Int) {
    let end = world.now.adding(milliseconds: Int64(milliseconds))
    while failure == nil {
      keepAlive()
      world.board.now = min(end, world.now.adding(seconds: 4))
      turn()
      // A replay that has used up its steps goes on in the next turn.
      var turns = 0
      while world.gateway.nextDeadline <= world.now, failure == nil {
        turn()
        turns += 1
        if turns == 10_000 { fail("a deadline stays") }
      }
      // What $SYS tells goes on a millisecond later.
      while world.gateway.broker.sys.next > 0, failure == nil {
        world.board.now = world.now.adding(milliseconds: 1)
        turn()
      }
      if world.now >= end { return }
    }
  }

  private func turn() {
    world.turn()
    react()
    for stream in door.silent(at: world.now) { door.leave(stream) }
    giveUpStuck()
  }

  /// A line fails, or can be requested again.
  private func breakLine() {
    let line = FairnessHouse.breaking
    world.board.isBroken[line] = !world.board.isBroken[line]
    if !world.board.isBroken[line] { world.openLine(line) }
    world.flush()
  }

  private func check(_ what: String) {
    takePresence()
    if failure == nil, let problem = problem() { fail(problem) }
    if let failure, !isTold {
      isTold = true
      self.failure = "\(failure), after \(what)\n\(circumstances)"
    }
  }

  /// For people who look for the cause.
  private var circumstances: String {
    var text = "\(limits.connectionsMax == Limits(.house).connectionsMax ? "house" : "board"):"
    for index in 0..<Broker.poolCount {
      let (name, gauge) = world.gateway.broker.pool(index)
      if gauge.used > 0 { text += " \(name) \(gauge.used)/\(gauge.capacity)" }
    }
    for kind in Intruder.Kind.allCases {
      let count = intruders.count { $0.kind == kind }
      if count > 0 { text += " \(kind)*\(count)" }
    }
    return text
  }

  private func checkAll(_ what: String) {
    pass(milliseconds: 1)
    check(what)
  }
}

/// What one session may hold and never gives up to others (docs/limits.md, "Who holds the most gives way").
struct FairnessShare {
  /// Messages that wait or are in flight.
  let messageCount: Int
  /// Bytes of theirs, in units of 32; each message has a block more.
  let unitCount: Int
  private let blockBytes: Int
  /// A packet of so many bytes reaches a client that reads, however many others are stuck.
  let sureBytes: Int

  /// - Parameter floor: chunks that each outbox is sure of.
  init(_ limits: Limits, floor: Int) {
    messageCount = limits.deliveriesMax / (2 * limits.sessionsMax)
    unitCount = limits.blockCount * (limits.blockBytes / 32) / (2 * limits.sessionsMax)
    blockBytes = limits.blockBytes
    sureBytes = floor * limits.outboxChunkBytes
  }

  func units(_ byteCount: Int) -> Int { (byteCount + blockBytes) / 32 }
}
