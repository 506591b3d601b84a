import MQTTBroker
import MQTTWire
import Taps
import Testing

@testable import Bounded
@testable import Gateway

/// Days of a board, its clients and the clock, all drawn from one seed: taps and rules, what clients ask for and how they
/// come and go, which lines and drivers fail. After every step the board has done what the model says, and nothing else.
///
/// Files: Simulation (steps), SimulationClients, SimulationChecks, SimulationMessages (what is drawn), SimulationModel
/// (what is told, rules), SimulationDriving (lines and levels) and SimulationTaps (what each tap has).
///
/// It has more than twenty properties: what was drawn once for the seed, what one life of the board has, and the counts
/// that the run reports.
final class Simulation: SimulatedDay {
  var failure: String?
  private(set) var stepCount = 0
  var messageCount = 0
  var changeCount = 0
  var refusalCount = 0
  private(set) var lifeCount = 0

  var random: SeededGenerator
  private let seed: UInt64
  let drawn: SimulatedBoard
  let outputTopics: [(state: [UInt8], fault: [UInt8])]
  let levelTopics: [(state: [UInt8], fault: [UInt8])]
  let meterTopic = utf8("b/m/total")
  private let handlerLimits: HandlerLimits
  private let lineNanoseconds: Int64
  private let leapsOften: Bool

  // One life of the board.
  var world: World
  var model: Model
  var clients: [SimulatedClient] = []
  var watcher: World.Client
  var physics: Physics

  private enum Action: CaseIterable {
    case publish, publishOwn, connect, lose, disconnect, ping, loseSome, wait, waitLong, breakLine, breakDriver, end
  }
  private let actions: [Action]  // each as often as its weight

  init(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    self.seed = seed
    drawn = SimulatedBoard(&random)
    outputTopics = drawn.settings.outputs.indices.map { (utf8("b/o\($0)"), utf8("b/o\($0)/fault")) }
    levelTopics = drawn.settings.levels.indices.map { (utf8("b/l\($0)"), utf8("b/l\($0)/fault")) }
    var handlerLimits = HandlerLimits()
    handlerLimits.publicationsMax = 8 + random.below(9)
    self.handlerLimits = handlerLimits
    lineNanoseconds = [0, 0, milliseconds(3), milliseconds(150)][random.below(4)]
    leapsOften = random.oneIn(4)
    actions = Simulation.drawActions(&random)
    (world, model, watcher) = Simulation.life(drawn, handlerLimits, lineNanoseconds, seed, Instant(milliseconds: 1000))
    physics = Physics(drawn.settings, world.board)
    self.random = random
    begin()
  }

  private static func drawActions(_ random: inout SeededGenerator) -> [Action] {
    let usual: [Action: Int] = [
      .publish: 50, .publishOwn: 3, .connect: 8, .lose: 3, .disconnect: 2, .ping: 2, .loseSome: 1, .wait: 24,
      .waitLong: 2, .breakLine: 3, .breakDriver: 3,
    ]
    return Action.allCases.flatMap { action -> [Action] in
      guard let weight = usual[action] else { return [] }
      // Each day is a little different: some things happen far more often, others never.
      return Array(repeating: action, count: random.oneIn(8) ? random.below(2 * weight) : weight)
    } + [.wait]
  }

  /// A board that has started, and a client that sees every message.
  private static func life(
    _ drawn: SimulatedBoard, _ handlerLimits: HandlerLimits, _ lineNanoseconds: Int64, _ seed: UInt64, _ now: Instant
  ) -> (World, Model, World.Client) {
    var limits = Limits.forTests
    limits.connectionsMax = 12
    limits.pendingConnectionsMax = 8
    limits.sessionsMax = 16
    limits.outboxChunksPerConnection = 2048
    limits.outboxChunksShared = 4096
    limits.keepAliveSecondsMax = 65_535
    limits.takeoversMax = 1 << 20
    limits.takeoverSeconds = 1
    let world = World(drawn.settings, limits: limits, handlerLimits: handlerLimits, seed: seed, at: now) { world in
      world.board.keepsNotices = false
      _ = world.gateway.addHandler(try! TapPattern("h/#")) { [unowned world] message, captures in
        _ = world.gateway.publish(topic: captures.rest, payload: message.payload, qos: .atMostOnce, retain: false)
        return .accept
      }
      world.board.lineNanoseconds = lineNanoseconds
    }
    let board = ModelBoard(lineCount: world.board.lines.count, levelCount: world.board.shares.count, at: now)
    board.lineNanoseconds = lineNanoseconds
    let model = Model(drawn.settings, drawn.rules, board)
    model.start()
    model.board = world.board
    let watcher = world.connect("s")
    world.subscribe("s", "#")
    return (world, model, watcher)
  }

  private func begin() {
    lifeCount += 1
    clients = (0..<4).map { SimulatedClient(name: "c\($0)") }
    check("start")
  }

  /// The first is kept.
  func fail(_ what: String) {
    if failure == nil { failure = what }
  }

  // MARK: Steps

  func step() {
    stepCount += 1
    let action = random.oneIn(1500) ? .end : actions[random.below(actions.count)]
    act(action)
    check("\(action)")
  }

  private func act(_ action: Action) {
    switch action {
    case .publish: publish()
    case .publishOwn: publishOwn()
    case .connect: connect(pick(clients))
    case .lose: lose(pick(clients))
    case .disconnect: disconnect(pick(clients))
    case .ping: ping()
    case .loseSome: loseSome()
    case .wait: wait(milliseconds: random.below(1200))
    case .waitLong: wait(milliseconds: random.below(60_000))
    case .breakLine:
      let line = random.below(drawn.settings.outputs.count)
      world.board.isBroken[line] = !world.board.isBroken[line] && !random.oneIn(3)
    case .breakDriver: breakDriver()
    case .end: end()
    }
  }

  func pick<Element>(_ elements: [Element]) -> Element { elements[random.below(elements.count)] }

  func drawMessage() -> SimulatedMessage {
    let (outputs, levels) = (drawn.settings.outputs.count, drawn.settings.levels.count)
    var (topic, payload) = SimulatedBoard.message(outputs, levels, &random)
    if random.oneIn(20) { (topic, payload) = ("b/o\(random.below(outputs))/get", "") }
    var message = SimulatedMessage(topic, payload)
    if random.oneIn(6) { message.answerTopic = "r/\(random.below(3))" }
    return message
  }

  /// The embedding program publishes between two turns.
  private func publishOwn() {
    let message = drawMessage()
    if case .question = message.kind { return }
    if case .relayed = message.kind { return }
    model.begin()
    let isSent = withBytes(message.topic) { topic in
      withBytes(message.payload) { world.gateway.publish(topic: topic, payload: $0, qos: .atMostOnce, retain: false) }
    }
    world.flush()
    if model.publish(message.topic, message.payload) != isSent {
      fail("\(message.topic) of the program's own: \(isSent)")
    }
  }

  /// Deadlines are met on the way, or all at once and late.
  private func wait(milliseconds: Int) {
    let end = world.now.adding(milliseconds: Int64(milliseconds))
    if !leapsOften || random.oneIn(3) {
      var turns = 0
      while world.nextDeadline <= end, failure == nil {
        turns += 1
        if turns > 10_000 { fail("a deadline stays") }
        world.board.now = max(world.now, world.nextDeadline)
        turn()
        check("a deadline")
      }
    }
    world.board.now = max(end, world.now)
    turn()
    // After a Will that has run a tap the rest of what is due waits for the next turn.
    while world.gateway.broker.nextDeadline ?? .never <= world.now, failure == nil { turn() }
  }

  private func breakDriver() {
    let index = random.below(drawn.settings.levels.count)
    if case .hangs = world.board.drivers[index] {
      if world.board.late[index] != nil { model.shares[index] = world.board.late[index]! }
      let hadWrite = world.board.late[index] != nil || model.levels[index].isFaulted
      world.board.driverReturns(index)
      if hadWrite {
        world.openLevel(index)
        world.flush()
        model.open(index)
      }
    } else {
      world.board.drivers[index] = pick([.works, .refuses, .hangs])
    }
  }

  /// A turn of the loop with nothing to read.
  func turn() {
    model.now = world.now
    model.begin()
    let moment = world.now
    world.presence.removeAll(keepingCapacity: true)
    world.turn()
    takeKeepAlives(at: moment)
    model.settle()
    model.advance()
    model.openWhatIsDue()
    if world.gateway.broker.nextDeadline ?? .never > moment { watchKeepAlives(at: moment) }
  }

  // MARK: The end of a life

  /// The orderly end, in the middle of what goes on; what is asked for from then on moves nothing.
  private func end() {
    world.gateway.beginEnd()
    model.beginEnd()
    for _ in 0..<random.below(6) where failure == nil { askInVain() }
    world.leave()
    model.leave()
    check("leave")
    for _ in 0..<random.below(6) where failure == nil { askInVain() }
    finish()
    guard failure == nil else { return }
    let start = world.now.adding(seconds: 1)
    (world, model, watcher) = Simulation.life(drawn, handlerLimits, lineNanoseconds, seed, start)
    physics = Physics(drawn.settings, world.board)
    begin()
  }

  private func askInVain() {
    switch random.below(5) {
    case 0: lose(pick(clients))
    case 1: loseSome()
    case 2:
      world.board.now = world.now.adding(milliseconds: Int64(random.below(4000)))
      model.now = world.now
      let moment = world.board.moment
      world.presence.removeAll(keepingCapacity: true)
      model.begin()
      world.gateway.advance(to: moment)
      world.flush()
      takeKeepAlives(at: moment.at)
      model.settle()
      model.advance()
    default: publish()
    }
    check("after the beginning of the end")
  }

  /// Everybody leaves, every session ends: what is left in the broker is what is retained.
  private func finish() {
    closeAtOnce(clients)
    check("all connections are closed")
    world.closeAll()
    world.board.now = world.now.adding(seconds: 1000)
    world.gateway.advance(to: world.board.moment)
    world.flush()
    let retained = world.pool("retained").used
    for (name, used) in [
      ("connections", 0), ("sessions", 0), ("subscriptions", 0), ("deliveries", 0), ("messages", retained),
      ("outbox_chunks", 0), ("partial_blocks", 0), ("topic_alias_clients", 0),
    ] where world.pool(name).used != used { fail("\(world.pool(name).used) \(name) never came back") }
    if !world.isAtRest { fail("something is left in the stash") }
  }
}
