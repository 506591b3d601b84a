import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

@Suite("Absent sessions give way to clients that are here; those that have been away longest go first")
struct SessionPlacesTests {
  private func limits(_ sessions: Int, _ connections: Int) -> Limits {
    var limits = Limits()
    limits.sessionsMax = sessions
    limits.connectionsMax = connections
    limits.pendingConnectionsMax = connections
    return limits
  }

  /// Random identifiers and Clean Session 0: nobody is locked out, whatever its version and wishes.
  @Test(arguments: [ProtocolVersion.v5, .v311]) func randomIdentifiersLockNobodyOut(version: ProtocolVersion) {
    let world = World(limits: limits(16, 8))
    world.connect("here", version, cleanStart: false, sessionExpiry: version == .v5 ? 1000 : nil)
    for index in 0..<100 {
      world.connect("phone-\(index)", version, cleanStart: false, sessionExpiry: version == .v5 ? 1000 : nil)
      world.subscribe("phone-\(index)", "t", qos: 1)
      world.lose("phone-\(index)")
      world.advance(seconds: 0.1)
    }
    #expect(world.broker.counters.sessionsGivenWay == 85)
    #expect(world.broker.counters.connectsRefused == 0)
    for index in 0..<6 { world.connect("guest-\(index)", version) }
    // The newest ones are still there; who is here was never in question.
    for (index, isPresent) in [(99, true), (0, false)] {
      let expiry: UInt32? = version == .v5 ? 1000 : nil
      #expect(
        world.connect("phone-\(index)", version, cleanStart: false, sessionExpiry: expiry).sessionPresent == isPresent)
      world.lose("phone-\(index)")
    }
    world.lose("here")
    #expect(world.connect("here", version, cleanStart: false).sessionPresent)
    world.finish()
  }

  @Test func whoWasAwayLongestGoes() {
    let world = World(limits: limits(8, 8))
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
      world.connect(name, sessionExpiry: 1000)
      world.lose(name)
      world.advance(seconds: 1)
    }
    world.connect("a", cleanStart: false, sessionExpiry: 1000)  // and so was not away for long
    world.lose("a")
    world.advance(seconds: 1)
    world.connect("new", sessionExpiry: 1000)
    #expect(world.broker.sessions.gauge.used == 8)
    for (name, isPresent) in [("a", true), ("c", true), ("b", false)] {
      #expect(world.connect(name, cleanStart: false, sessionExpiry: 1000).sessionPresent == isPresent)
      world.lose(name)
    }
    world.finish()
  }

  /// Long identifiers share cells: here, too, the absent give way; and a Will that waited is published.
  @Test func cellsOfLongIdentifiers() {
    var limits = limits(16, 8)
    limits.clientIDCellsMax = 4
    let world = World(limits: limits)
    world.connect("watch")
    world.subscribe("watch", "will/#")
    let long = String(repeating: "x", count: 60)
    for index in 0..<12 {
      let will = WillFields(topic: "will/\(index)", payload: "gone", properties: [.number(.willDelayInterval, 900)])
      world.connect("c\(index)", clientID: "\(long)\(10 + index)", sessionExpiry: 1000, will: will)
      world.lose("c\(index)")
      world.advance(seconds: 1)
    }
    #expect(world.broker.counters.sessionsGivenWay == 8)
    #expect(world.takeAll("watch").compactMap(\.topic) == (0..<8).map { "will/\($0)" })
    // An identifier that the broker assigns finds room as well.
    for index in 0..<7 { world.connect("assigned\(index)", clientID: "") }
    world.finish()
  }

  /// A short identifier's cell is kept for the session that comes in its place, so its end helps no long one.
  @Test(arguments: [false, true]) func nobodyGoesInVain(isFull: Bool) {
    var limits = limits(16, 8)
    limits.clientIDCellsMax = 4
    limits.clientIDBytesMax = 256
    let world = World(limits: limits)
    for index in 0..<(isFull ? 14 : 9) {
      world.connect("s\(index)", sessionExpiry: 1000)
      world.lose("s\(index)")
      world.advance(seconds: 1)
    }
    let long = String(repeating: "x", count: 64)
    for index in 0..<2 {  // with two further cells each, and then all four are taken
      world.connect("l\(index)", clientID: "\(long)\(index)", sessionExpiry: 1000)
      world.lose("l\(index)")
      world.advance(seconds: 1)
    }
    let before = world.broker.counters.sessionsGivenWay
    world.connect("z", clientID: String(repeating: "z", count: 32 * 5 + 1), reason: .quotaExceeded)
    #expect(world.broker.counters.sessionsGivenWay == before)
    // Three further cells: the two long ones go, and none of the short ones, which have been away for longer.
    world.connect("w", clientID: String(repeating: "w", count: 32 * 3 + 1), sessionExpiry: 1000)
    #expect(world.broker.counters.sessionsGivenWay == before + 2)
    for index in 0..<(isFull ? 14 : 9) {
      #expect(world.connect("s\(index)", cleanStart: false, sessionExpiry: 1000).sessionPresent)
      world.lose("s\(index)")
    }
    world.finish()
  }
}
