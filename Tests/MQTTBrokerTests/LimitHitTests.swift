import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

/// What the log is told of limits at which something is refused, dropped or ended.
@Suite struct LimitHitTests {
  struct Row: CustomTestStringConvertible, Sendable {
    let limit: Limit
    let outcome: Notice.Outcome
    let size: Int
    let change: @Sendable (inout Limits) -> Void
    let meet: @Sendable (World) -> Void
    var testDescription: String { "\(limit)" }

    init(
      _ limit: Limit, _ outcome: Notice.Outcome = .refused, size: Int = 0,
      limits change: @escaping @Sendable (inout Limits) -> Void, meet: @escaping @Sendable (World) -> Void
    ) {
      self.limit = limit
      self.outcome = outcome
      self.size = size
      self.change = change
      self.meet = meet
    }
  }

  private static let here = SourceAddress(ipv4: 0xC000_0207)

  private static func subscribe(_ filters: String...) -> @Sendable (World) -> Void {
    { world in
      world.connect("a")
      world.send("a", .subscribe(1, filters.map { Filter($0) }))
    }
  }

  static let rows: [Row] = [
    Row(
      .connections,
      limits: {
        $0.connectionsMax = 1
        $0.pendingConnectionsMax = 1
      },
      meet: {
        $0.connect("a")
        #expect(!$0.attach("b", from: here))
      }),
    Row(
      .pendingConnections, .gaveWay, limits: { $0.pendingConnectionsMax = 1 },
      meet: {
        $0.attach("a", from: here)
        #expect($0.attach("b"))
        #expect(!$0.isOpen("a") && $0.isOpen("b"))
      }),
    Row(
      .connectSeconds, .disconnected, limits: { _ in },
      meet: {
        $0.attach("a")
        $0.advance(seconds: 11)
      }),
    Row(
      .packetSeconds, .disconnected, limits: { _ in },
      meet: {
        $0.connect("a")
        $0.send("a", bytes: [0x30, 5, 0])
        $0.advance(seconds: 31)
      }),
    Row(
      .clientIDBytes, size: 65, limits: { _ in },
      meet: {
        $0.connect("a", clientID: String(repeating: "i", count: 65), reason: .clientIdentifierNotValid)
      }),
    Row(
      .sessions, .gaveWay,
      limits: {
        $0.connectionsMax = 1
        $0.pendingConnectionsMax = 1
        $0.sessionsMax = 1
      },
      meet: {
        $0.connect("a", sessionExpiry: 100)
        $0.lose("a")
        $0.connect("b")
      }),
    Row(
      .clientIDCells, limits: { $0.clientIDCellsMax = 0 },
      meet: {
        $0.connect("a", clientID: String(repeating: "i", count: 33), reason: .quotaExceeded)
      }),
    Row(
      .messages,
      limits: {
        $0.messagesMax = 1
        $0.retainedMax = 1
      },
      meet: {
        $0.connect("a", will: WillFields(topic: "t"))
        $0.connect("b", will: WillFields(topic: "t"), reason: .quotaExceeded)
      }),
    Row(
      .packetBytes, .disconnected, size: 100_004, limits: { _ in },
      meet: {
        $0.connect("a", .v311)
        $0.send("a", bytes: [0x30, 0xA0, 0x8D, 0x06])  // 100,000 in three bytes, and the first byte
      }),
    Row(
      .partialBlocks, .disconnected,
      limits: {
        $0.packetBytesMax = 1024
        $0.partialBlockCount = 4
      },
      meet: {
        $0.connect("a")
        $0.connect("b")
        for name in ["a", "b"] { $0.send(name, bytes: [0x30, 0xF7, 0x07] + [UInt8](repeating: 0, count: 700)) }
      }),
    Row(
      .filtersPerPacket, size: 3, limits: { $0.filtersPerPacketMax = 2 }, meet: subscribe("1", "2", "3")),
    Row(.topicBytes, size: 49, limits: { $0.topicBytesMax = 48 }, meet: subscribe(String(repeating: "t", count: 49))),
    Row(.topicLevels, size: 4, limits: { $0.topicLevelsMax = 3 }, meet: subscribe("1/2/3/4")),
    Row(.topicNodes, limits: { $0.topicNodesMax = 3 }, meet: subscribe("1/2/3/4")),
    Row(
      .topicNameCells, limits: { $0.topicNameCellsMax = 1 },
      meet: subscribe("1/2/3/4/" + String(repeating: "t", count: 100))),
    Row(.subscriptions, limits: { $0.subscriptionsMax = 1 }, meet: subscribe("1", "2")),
    Row(.sharedGroups, limits: { $0.sharedGroupsMax = 1 }, meet: subscribe("$share/g/1", "$share/g/2")),
  ]

  @Test(arguments: rows) func isNoted(_ row: Row) throws {
    var limits = Limits.forTests
    row.change(&limits)
    let world = World(limits: limits)
    row.meet(world)
    var hits: [Notice] = []
    while let notice = world.broker.nextNotice() {
      if notice.kind == .limitHit { hits.append(notice) }
    }
    #expect(hits.map(\.limit) == [row.limit])
    let hit = try #require(hits.first)
    #expect(hit.outcome == row.outcome)
    #expect(hit.size == row.size)
    // Somebody stands for it: an address, or what carries the connection.
    #expect(hit.isOfSource ? hit.source == LimitHitTests.here : hit.transport != 0)
    #expect(world.broker.takeHits(row.limit, at: world.now) == 1)
  }

  @Test func aLimitIsToldOfOnceInAMinute() {
    let world = World(clients: ["a"], limits: .forTests)
    func meet(_ times: Int) {
      for _ in 0..<times {
        world.send(
          "a",
          .subscribe(
            1, [Filter("1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20/21/22/23/24/25/26/27/28/29/30/31/32/33")]))
      }
    }
    func notices() -> Int {
      var count = 0
      while let notice = world.broker.nextNotice() {
        #expect(notice.limit == .topicLevels && notice.size == 33)
        #expect(text(world.broker.clientID(of: notice)) == "a")
        count += 1
      }
      return count
    }
    meet(5)
    #expect(notices() == 1)  // until it is taken
    #expect(world.broker.takeHits(.topicLevels, at: world.now) == 5)
    meet(3)
    #expect(notices() == 1)
    world.advance(seconds: 59)
    #expect(world.broker.takeHits(.topicLevels, at: world.now) == nil)
    meet(2)
    #expect(notices() == 1)
    world.advance(seconds: 1)
    #expect(world.broker.takeHits(.topicLevels, at: world.now) == 5)
    #expect(notices() == 0)
  }

  /// The configuration's key, the number in force, and as many cases as there are rows.
  @Test func limitsHaveTheirKeysAndNumbers() {
    let limits = Limits()
    var names: Set<String> = []
    for index in 0..<Limit.count {
      let (name, _, value) = Limit(rawValue: UInt8(index))!.facts(limits)
      #expect(names.insert("\(name)").inserted)
      #expect(value > 0)
    }
    #expect(Limit(rawValue: UInt8(Limit.count)) == nil)
    let (name, measure, value) = Limit.packetBytes.facts(limits)
    #expect("\(name)" == "packet_bytes" && measure == .size && value == limits.packetBytesMax)
  }

  private func text(_ bytes: Bytes) -> String { String(decoding: bytes.array(), as: UTF8.self) }
}
