import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

/// The right to a Will: at CONNECT, and again when it fires, by the rules of that moment (12).
@Suite struct AccessWillTests {
  private static let rules = "user ann\ntopic write w/#\nuser eve\ntopic read #"

  /// How a Will fires.
  enum Cause: CaseIterable {
    case loss, takeover, cleanStart, delay, sessionEnd, shutdown, keepAlive

    /// 3.1.1 has no delay, and sessions that do not end.
    func exists(in version: ProtocolVersion) -> Bool {
      switch self {
      case .loss, .takeover, .shutdown, .keepAlive: true
      case .cleanStart, .delay, .sessionEnd: version == .v5
      }
    }

    var delaySeconds: UInt32 { self == .delay ? 5 : self == .cleanStart || self == .sessionEnd ? 1000 : 0 }
  }

  struct Row: CustomTestStringConvertible {
    let path: Path
    let cause: Cause
    let retain: Bool
    var testDescription: String { "\(path.testDescription) \(cause)\(retain ? " retained" : "")" }
  }

  static let rows = Path.all.flatMap { path in
    Cause.allCases.filter { $0.exists(in: path.version) }.flatMap { cause in
      [false, true].map { Row(path: path, cause: cause, retain: $0) }
    }
  }

  private func connect(_ world: World, _ row: Row, _ topic: String, cleanStart: Bool, will: Bool = true) {
    let isNew = row.path.version == .v5
    var fields = WillFields(topic: topic, qos: row.path.qos, retain: row.retain)
    if row.cause.delaySeconds > 0 { fields.properties = [.number(.willDelayInterval, row.cause.delaySeconds)] }
    world.connect(
      "ann", row.path.version, userName: "ann", cleanStart: cleanStart,
      keepAliveSeconds: row.cause == .keepAlive ? 10 : 0, sessionExpiry: isNew ? 60 : nil, will: will ? fields : nil)
  }

  private func fire(_ world: World, _ row: Row) {
    switch row.cause {
    case .loss: world.lose("ann")
    case .keepAlive: world.advance(seconds: 16)
    case .shutdown:
      world.broker.closeAll(.serverShuttingDown, at: world.now)
      world.settle()
    case .delay:
      world.lose("ann")
      world.advance(seconds: 6)
    case .sessionEnd:
      world.lose("ann")
      world.advance(seconds: 61)
    case .takeover, .cleanStart:
      // The same user from another connection.
      if row.cause == .cleanStart { world.lose("ann") }
      world.connect(
        "second", row.path.version, clientID: "ann", userName: "ann", cleanStart: row.cause == .cleanStart)
    }
  }

  @Test(arguments: AccessWillTests.rows) func isJudgedWhenItFires(row: Row) {
    for isRevoked in [false, true] {
      let access = AccessWorld(AccessWillTests.rules)
      let world = access.world
      world.connect("eve", userName: "eve", sessionExpiry: 1000)
      world.subscribe("eve", "#", qos: 2)
      connect(world, row, "w/ann", cleanStart: true)
      if isRevoked { access.reload("user ann\ntopic write w/other\nuser eve\ntopic read #") }
      fire(world, row)
      if row.cause == .shutdown { world.connect("eve", userName: "eve", cleanStart: false, sessionExpiry: 1000) }
      // QoS 0 is not kept for a reader that is shut down, too.
      let isLost = isRevoked || row.cause == .shutdown && row.path.qos == 0
      #expect(access.received("eve") == (isLost ? [] : ["w/ann=gone"]))
      #expect(access.denied == [isRevoked ? 1 : 0, 0, 0])
      #expect(world.pool("retained").used == (row.retain && !isRevoked ? 1 : 0))
      world.finish()
    }
  }

  /// 0x87, or 5 under 3.1.1; the session that is there stays as it is.
  @Test(arguments: AccessWillTests.rows.filter { $0.cause == .loss }) func isJudgedAtConnect(row: Row) {
    let access = AccessWorld(AccessWillTests.rules)
    let world = access.world
    world.connect("eve", userName: "eve")
    world.subscribe("eve", "#", qos: 2)
    connect(world, row, "w/ann", cleanStart: false)
    for cleanStart in [true, false] {
      for topic in ["shut", "$SYS/w", "$SYS"] {
        world.connect(
          "second", row.path.version, clientID: "ann", userName: "ann", cleanStart: cleanStart,
          will: WillFields(topic: topic, qos: row.path.qos, retain: row.retain), reason: .notAuthorized)
        #expect(!world.isOpen("second"))
      }
    }
    world.expectNothing("ann", "eve")  // neither taken over, nor its Will published
    #expect(world.broker.counters.takeovers == 0)
    #expect(access.denied == [2, 0, 0])  // $SYS is nobody's, whatever the rules say
    world.lose("ann")
    #expect(access.received("eve") == ["w/ann=gone"])
    world.finish()
  }

  /// The identifier that is assigned counts for `%c`.
  @Test func anAssignedIdentifierCounts() {
    let access = AccessWorld("pattern write w/%c\nuser eve\ntopic read #")
    let world = access.world
    world.connect("one", clientID: "", will: WillFields(topic: "w/one"), reason: .notAuthorized)
    world.connect("two", clientID: "two", will: WillFields(topic: "w/two"))
    let (_, properties) = world.connect("three", clientID: "")
    guard
      case .text(.assignedClientIdentifier, let assigned)? = properties.first(where: {
        if case .text(.assignedClientIdentifier, _) = $0 { true } else { false }
      })
    else {
      Issue.record("no identifier")
      return
    }
    world.connect("eve", userName: "eve")
    world.subscribe("eve", "#")
    world.send(
      "three", .publish(topic: "w/\(assigned)", payload: "1"), .publish(topic: "w/three", payload: "2"),
      .publish(topic: "w/two", payload: "3"))
    #expect(access.received("eve") == ["w/\(assigned)=1"])
    world.finish()
  }
}
