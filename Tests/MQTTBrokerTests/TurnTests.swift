import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

@Suite("A turn has a bounded number of steps, whatever one client or many ask for; what is left goes on, in order")
struct TurnTests {
  /// One packet may take as many more as it takes; these take the most.
  static let stepsMax = Work.stepsPerTurn + 2 * 4096

  private func fill(_ world: World, _ count: Int) {
    for first in stride(from: 0, to: count, by: 100) {
      var bytes: [UInt8] = []
      for index in first..<min(first + 100, count) {
        bytes += Packet.publish(topic: "r/\(index % 100)/\(index)", payload: "x", retain: true).bytes(.v5)
      }
      world.send("pub", bytes: bytes)
    }
    #expect(world.pool("retained").used == count)
  }

  /// The largest number of steps of a turn, while one client sends `bytes` in one read.
  private func mostSteps(_ world: World, _ name: String, _ bytes: [UInt8]) -> Int {
    world.mostSteps = 0
    world.send(name, bytes: bytes)
    return world.mostSteps
  }

  @Test(arguments: [3000]) func subscribingAgainAndAgain(retainedCount: Int) {
    let world = World(clients: ["pub", "sub", "other"], limits: .ofTurns())
    fill(world, retainedCount)
    // 16 KiB of SUBSCRIBE packets for what matches nothing, and for what matches few.
    for filter in ["r/+/none", "r/7/+", "none/#", "+/+/9"] {
      let packet = Packet.subscribe(1, [Filter(filter)]).bytes(.v5)
      var bytes: [UInt8] = []
      while bytes.count < 16_000 { bytes += packet }
      let steps = mostSteps(world, "sub", bytes)
      #expect(steps <= TurnTests.stepsMax && steps > 0)
      let got = world.takeAll("sub")
      #expect(got.count { $0 == .subAck(1, [.success]) } == bytes.count / packet.count)
      // The last of them has got all that match.
      let matching = filter == "r/7/+" ? retainedCount / 100 : filter == "+/+/9" ? 1 : 0
      #expect(Set(got.suffix(matching + 1).compactMap(\.topic)).count == matching)
    }
    world.finish()
  }

  @Test func manyFiltersInOnePacket() {
    let world = World(clients: ["pub", "sub"], limits: .ofTurns())
    fill(world, 20_000)
    let filters = (0..<100).map { Filter("+/\($0)/\($0)x") }
    #expect(mostSteps(world, "sub", Packet.subscribe(1, filters).bytes(.v5)) <= TurnTests.stepsMax)
    #expect(world.takeAll("sub") == [.subAck(1, Array(repeating: .success, count: 100))])
    #expect(world.turnCount > 100)  // 100 walks through 20,000
    world.finish()
  }

  /// A topic of nine levels through all filters that `a` and `+` make.
  @Test func publishingThroughManyNodes() {
    let world = World(clients: ["pub", "sub"], limits: .ofTurns())
    world.subscribeToAll("sub")
    let packet = Packet.publish(topic: World.topicOfAll, payload: "x").bytes(.v5)
    var bytes: [UInt8] = []
    while bytes.count < 20_000 { bytes += packet }
    let steps = mostSteps(world, "pub", bytes)
    #expect(steps <= TurnTests.stepsMax && steps > Work.stepsPerTurn)
    #expect(world.takeAll("sub").count + Int(world.broker.counters.qos0Dropped) == bytes.count / packet.count)
    world.finish()
  }

  /// §4.6: what waits for the next turn comes in order, and its acknowledgements too.
  @Test func inOrder() {
    let world = World(clients: ["pub", "sub"], limits: .ofTurns())
    let filters = (0..<256).map { number in
      Filter((0..<8).map { number >> $0 & 1 == 0 ? "a" : "+" }.joined(separator: "/"), qos: 1)
    }
    world.send("sub", .subscribe(1, filters))
    _ = world.takeAll("sub")
    let topic = Array(repeating: "a", count: 8).joined(separator: "/")
    var bytes: [UInt8] = []
    for index in 1...900 {
      bytes += Packet.publish(topic: topic, payload: "\(index)", qos: 1, packetID: UInt16(index)).bytes(.v5)
    }
    _ = mostSteps(world, "pub", bytes)
    #expect(world.turnCount > 10)
    #expect(world.takeAll("pub") == (1...900).map { .pubAck(UInt16($0)) })
    var payloads: [String] = []
    while case .publish(_, let payload, _, let id, _, _, _)? = world.takeFirst("sub") {
      payloads.append(payload)
      world.send("sub", .pubAck(id))
    }
    #expect(payloads == (1...900).map { "\($0)" })
    world.finish()
  }

  /// n sessions with two filters each that match: linear, not quadratic.
  @Test func overlappingFiltersAreLinear() {
    let world = World(
      clients: ["pub"],
      limits: .ofTurns {
        $0.connectionsMax = 4000
        $0.pendingConnectionsMax = 4000
        $0.outboxChunksShared = 40_000
      })
    var steps: [Int] = []
    for count in [400, 800] {
      for index in count - 400..<count {
        world.connect("s\(index)")
        world.subscribe("s\(index)", "t")
        world.subscribe("s\(index)", "+")
      }
      steps.append(mostSteps(world, "pub", Packet.publish(topic: "t").bytes(.v5)))
    }
    #expect(steps[1] <= 2 * steps[0] + 100)
  }
}
