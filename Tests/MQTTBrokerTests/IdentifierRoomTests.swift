import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

@Suite(
  "Who holds the most of what is short gives way, and nobody in vain: deliveries, and cells of subscription identifiers"
)
struct IdentifierRoomTests {
  /// Filters that all match a topic of `levelCount` levels `a`.
  private func filters(_ levelCount: Int) -> [Filter] {
    (0..<1 << levelCount).map { number in
      Filter((0..<levelCount).map { number >> $0 & 1 == 0 ? "a" : "+" }.joined(separator: "/"), qos: 1)
    }
  }

  private func topic(_ levelCount: Int) -> String { Array(repeating: "a", count: levelCount).joined(separator: "/") }

  private func message(_ levelCount: Int, _ number: Int) -> Packet {
    .publish(topic: topic(levelCount), payload: "\(number)", qos: 1, packetID: UInt16(number))
  }

  /// A session without a client in which so many messages wait.
  private func join(_ world: World, _ name: String, _ filter: String, waiting count: Int) {
    world.connect(name, sessionExpiry: 1000)
    world.subscribe(name, filter, qos: 1)
    world.lose(name)
    for index in 0..<count {
      world.send("pub", .publish(topic: "other", payload: "\(index)", qos: 1, packetID: 1))
    }
    #expect(waitingCount(world, name) == count)
    _ = world.takeAll("pub")
  }

  private func waitingCount(_ world: World, _ name: String) -> Int {
    let session = withBytes([UInt8](name.utf8)) { world.broker.sessions.find($0) }!
    return world.broker.sessions[session].outgoing.queued.count
  }

  /// Of a client whose messages need nearly all cells the second one finds none: that is its own affair.
  @Test func whoHoldsNoCellsKeepsItsMessages() {
    let world = World(clients: ["pub"], limits: Limits())
    join(world, "ha", "#", waiting: 500)
    world.connect("many")
    world.send("many", .subscribe(1, filters(9), id: 7))
    world.expect("many", .subAck(1, Array(repeating: .grantedQoS1, count: 512)))
    world.send("many", message(9, 1), message(9, 2))
    #expect(waitingCount(world, "ha") == 502)
    #expect(world.broker.counters.gaveWay == 0)
    let got = world.takeAll("many")
    #expect(got.contains(.pubAck(1)) && got.contains(.pubAck(2)))
    #expect(got.compactMap(\.payload) == ["1"])
    world.finish()
  }

  /// A session that holds cells gives them up for another's message, though others hold many more deliveries.
  @Test(arguments: [false, true]) func whoHoldsTheMostCellsGivesWay(isInFlight: Bool) {
    let world = World(clients: ["pub", "live"], limits: Limits())
    join(world, "ha", "#", waiting: 500)
    world.connect("hoarder", sessionExpiry: 1000)
    world.send("hoarder", .subscribe(1, filters(6), id: 7))
    if !isInFlight { world.lose("hoarder") }
    for number in 1...8 { world.send("pub", message(6, number)) }  // 63 cells each
    world.expect("pub", .pubAck(1))
    if isInFlight { world.lose("hoarder") }
    #expect(world.pool("subscription_id_cells").free == 8)
    world.send("live", .subscribe(1, filters(4), id: 9))  // 15 cells
    _ = world.takeAll("live")
    world.send("pub", message(4, 9))
    guard case .publish(_, "9", 1, _, _, _, let properties)? = world.takeFirst("live") else {
      Issue.record("the message did not arrive")
      return
    }
    #expect(properties.count == 16)
    #expect(world.broker.counters.gaveWay == 1)
    #expect(waitingCount(world, "ha") == 509)
    world.connect("hoarder", cleanStart: false, sessionExpiry: 1000)
    #expect(world.takeAll("hoarder").compactMap(\.payload) == (2...8).map { "\($0)" })
    world.finish()
  }

  /// What waits without cells stays, though it is older than what has them.
  @Test func onlyWhatHasCellsIsGivenUp() {
    let world = World(clients: ["pub", "live"], limits: Limits())
    world.connect("hoarder", sessionExpiry: 1000)
    world.send("hoarder", .subscribe(1, filters(6), id: 7), .subscribe(2, [Filter("plain", qos: 1)]))
    world.lose("hoarder")
    world.send("pub", .publish(topic: "plain", payload: "0", qos: 1, packetID: 1))
    for number in 1...8 { world.send("pub", message(6, number)) }
    world.send("live", .subscribe(1, filters(4), id: 9))
    _ = world.takeAll("live")
    world.send("pub", message(4, 9))
    #expect(world.takeFirst("live")?.payload == "9")
    world.connect("hoarder", cleanStart: false, sessionExpiry: 1000)
    #expect(world.takeAll("hoarder").compactMap(\.payload) == [0, 2, 3, 4, 5, 6, 7, 8].map { "\($0)" })
    world.finish()
  }

  /// A client that lacks cells gives up none of its own messages when they have too few.
  @Test func nobodyLosesItsOwnInVain() {
    let world = World(clients: ["pub"], limits: Limits())
    world.connect("many", receiveMaximum: 1)
    world.send("many", .subscribe(1, filters(9), id: 7), .subscribe(2, [Filter("plain", qos: 1)]))
    _ = world.takeAll("many")
    world.send("pub", message(9, 1))  // in flight
    world.send("pub", .publish(topic: "plain", payload: "2", qos: 1, packetID: 2))
    world.send("pub", message(9, 3))
    #expect(world.takeAll("many").compactMap(\.payload) == ["1"])
    world.send("many", .pubAck(1))
    #expect(world.takeAll("many").compactMap(\.payload) == ["2"])
    world.finish()
  }

  /// So many deliveries as all that can be given up, and one more.
  @Test func nobodyGivesUpDeliveriesInVain() {
    let world = World(clients: ["pub"], limits: Limits())
    join(world, "first", "#", waiting: 200)
    join(world, "second", "#", waiting: 300)
    #expect(waitingCount(world, "first") == 500)
    let share = world.broker.limits.deliveriesMax / (2 * world.broker.limits.sessionsMax)
    let most = world.pool("deliveries").free + 800 - 2 * share
    for (count, given) in [(world.broker.limits.deliveriesMax + 1, 0), (most + 1, 0), (most, 800 - 2 * share)] {
      world.broker.makeRoom(forDeliveries: count, identifierCells: 0, at: world.now)
      #expect(Int(world.broker.counters.gaveWay) == given)
    }
    world.finish()
  }

  /// Packet ids that only await PUBCOMP can be given up by nobody, and are in nobody's way.
  @Test func whoCanGiveUpNothingIsPassedOver() {
    var limits = Limits()
    limits.deliveriesMax = 400
    let world = World(clients: ["pub", "live"], limits: limits)
    world.connect("released", sessionExpiry: 1000)
    world.subscribe("released", "q", qos: 2)
    for number in 1...32 {
      world.send("pub", .publish(topic: "q", qos: 2, packetID: UInt16(number)), .pubRel(UInt16(number)))
    }
    for packet in world.takeAll("released") { world.send("released", .pubRec(packet.packetID!)) }
    world.lose("released")
    world.connect("here", receiveMaximum: 1)
    world.subscribe("here", "h", qos: 1)
    for number in 1...400 { world.send("pub", .publish(topic: "h", qos: 1, packetID: UInt16(number))) }
    #expect(world.pool("deliveries").free == 0)
    world.subscribe("live", "l", qos: 1)
    world.send("pub", .publish(topic: "l", payload: "x", qos: 1, packetID: 1))
    #expect(world.takeFirst("live")?.payload == "x")
    world.finish()
  }
}
