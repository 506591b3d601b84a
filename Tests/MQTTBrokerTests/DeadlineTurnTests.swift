import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

@Suite("What is due takes a bounded number of steps of a turn, too; what is left goes on, and is not forgotten")
struct DeadlineTurnTests {
  private func isBounded(_ world: World, own: Int = 8192) -> Bool {
    world.mostSteps > 0 && world.mostSteps <= Work.stepsPerTurn + 2048 + own
  }

  private func leaveWills(_ world: World, _ count: Int, expiry: UInt32 = 1000) {
    for index in 0..<count {
      let will = WillFields(topic: World.topicOfAll, payload: "\(index)", properties: [.number(.willDelayInterval, 10)])
      world.connect("c", clientID: "c\(index)", sessionExpiry: expiry, will: will)
      world.lose("c")
    }
  }

  /// Through 512 overlapping filters.
  @Test(arguments: [UInt32(1000), 10]) func manyWillsAtOneMoment(sessionExpiry: UInt32) {
    let world = World(clients: ["sub"], limits: .ofTurns())
    world.subscribeToAll("sub")
    leaveWills(world, 100, expiry: sessionExpiry)
    world.mostSteps = 0
    world.advance(seconds: 11)
    #expect(isBounded(world))
    let numbers = world.takeAll("sub").compactMap { $0.payload.flatMap { Int($0) } }
    #expect(numbers == Array(0..<100) || numbers == (0..<100).reversed())
    #expect(world.pool("sessions").used == (sessionExpiry == 10 ? 1 : 101))
    world.finish()
  }

  /// Clients that use up the steps of every turn do not hold up what is due.
  @Test func deadlinesHaveStepsOfTheirOwn() {
    let world = World(clients: ["sub"], limits: .ofTurns())
    world.subscribeToAll("sub")
    leaveWills(world, 10)
    world.pause(seconds: 11)
    for turn in 1...10 where world.broker.counters.publishesSent < 10 {
      world.broker.beginTurn()
      world.broker.work.did(Work.stepsPerTurn)
      let before = world.broker.work.steps
      let sent = world.broker.counters.publishesSent
      world.broker.advance(to: world.now)
      #expect(world.broker.counters.publishesSent > sent, "turn \(turn)")
      #expect(world.broker.work.steps - before <= 2 * 2048)
      let isDone = world.broker.counters.publishesSent == 10
      #expect(isDone || world.broker.nextDeadline! <= world.now)
    }
    world.settle()
    #expect(world.takeAll("sub").count == 10)
    world.finish()
  }

  @Test func sysWithManyOverlappingSubscribers() {
    let world = World(limits: .ofTurns { $0.sessionExpirySecondsMax = 60 })
    let filters = [
      "$SYS/#", "$SYS/+/#", "$SYS/broker/#", "$SYS/tapline/#", "$SYS/+/+/+", "$SYS/+/+", "$SYS/tapline/+/+",
    ]
    for index in 0..<190 {
      world.connect("s\(index)")
      world.send("s\(index)", .subscribe(1, filters.map { Filter($0) }))
      _ = world.takeAll("s\(index)")
    }
    world.mostSteps = 0
    world.broker.startSys(at: world.now)
    world.advance(seconds: 2)
    #expect(isBounded(world))
    #expect(world.broker.sys.next == 0)
    let told = Set(world.takeAll("s0").compactMap(\.topic))
    #expect(told.count > 100 && told.contains("$SYS/tapline/clients/by_id/s189"))
    world.finish()
  }

  /// Each of its subscriptions is removed, and counted.
  private func subscribeToMany(_ world: World, _ name: String, _ count: Int) {
    for first in stride(from: 0, to: count, by: 500) {
      world.send(name, .subscribe(1, (first..<first + 500).map { Filter("x\($0)") }))
    }
    #expect(world.takeAll(name).count == count / 500)
  }

  @Test func sessionsWithTheMostSubscriptionsEnd() {
    let world = World(limits: .ofTurns())
    let own = 4000 * Work.filterSteps
    for name in ["a", "b"] {
      world.connect(name, sessionExpiry: 10)
      subscribeToMany(world, name, 4000)
    }
    for name in ["a", "b"] { world.lose(name) }
    world.mostSteps = 0
    world.advance(seconds: 11)
    #expect(world.mostSteps >= own)
    #expect(isBounded(world, own: own))
    #expect(world.pool("sessions").used == 0 && world.pool("subscriptions").used == 0)

    // CONNECT with Clean Start ends one, and what the client sends after it waits for the next turn.
    world.connect("a", sessionExpiry: 10)
    subscribeToMany(world, "a", 4000)
    world.lose("a")
    world.attach("a")
    world.mostSteps = 0
    world.send(
      "a", .connect(ConnectFields(clientID: "a")), .subscribe(1, (0..<500).map { Filter("y\($0)") }), .pingReq)
    #expect(world.mostSteps >= own && world.mostSteps < own + 500 * Work.filterSteps)
    #expect(world.takeAll("a").count == 3)
    world.finish()
  }

  @Test func thousandsOfSessionsEndAtOneMoment() {
    let world = World(limits: .ofTurns())
    for index in 0..<5000 {
      world.connect("c", clientID: "c\(index)", sessionExpiry: 10)
      world.subscribe("c", "t\(index % 100)", qos: 1)
      world.lose("c")
    }
    #expect(world.pool("sessions").used == 5000)
    world.mostSteps = 0
    world.advance(seconds: 11)
    #expect(isBounded(world))
    #expect(world.mostSteps >= Work.stepsPerTurn)
    #expect(world.pool("sessions").used == 0)
    world.finish()
  }

  /// Messages in queues of thousands of sessions expire.
  @Test func sweepsAreCounted() {
    let world = World(clients: ["pub"], limits: .ofTurns())
    for index in 0..<20 {
      world.connect("c", clientID: "c\(index)", sessionExpiry: 1000)
      world.subscribe("c", "t", qos: 1)
      world.lose("c")
    }
    for _ in 0..<50 { world.send("pub", .publish(topic: "t", qos: 1, packetID: 1, properties: [.expiry(5)])) }
    world.mostSteps = 0
    world.advance(seconds: 10)
    #expect(world.pool("deliveries").used == 0)
    #expect(world.mostSteps >= 256)
    #expect(isBounded(world))
    world.finish()
  }

  /// Of a thousand clients with commands each repeats its own: few places are looked at for one.
  @Test func repeatsAreFoundAtOnce() {
    let world = World(limits: Limits(.site))
    _ = world.addTap("set")
    for index in 0..<1000 {
      world.connect("c", clientID: "c\(index)", sessionExpiry: 1000)
      world.send("c", .publish(topic: "set", payload: "TOGGLE", qos: 1, packetID: 1))
      world.lose("c")
    }
    var most = 0
    for index in 0..<1000 {
      world.connect("c", clientID: "c\(index)", sessionExpiry: 1000)
      world.send("c", .publish(topic: "set", payload: "TOGGLE", qos: 1, packetID: 1, dup: true))
      most = max(most, world.broker.repeated.lookedCount)
      world.lose("c")
    }
    #expect(most > 0 && most <= 16)
    #expect(world.broker.counters.tapsRun == 1000)
    world.finish()
  }
}
