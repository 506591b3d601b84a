import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

/// The right to read, where a message goes out (22, 24, 25, 27): live, retained, queued, in flight and sent again.
@Suite struct AccessDeliveryTests {
  private static let all = "user bob\ntopic read #"
  private static let some = "user bob\ntopic read #\ntopic deny secret/#"

  @discardableResult private func connect(_ world: World, _ path: Path, receiveMaximum: UInt32? = nil) -> Bool {
    world.connect(
      "bob", path.version, userName: "bob", cleanStart: false, sessionExpiry: path.version == .v5 ? 1000 : nil,
      receiveMaximum: receiveMaximum
    ).sessionPresent
  }

  private func publish(_ world: World, _ path: Path, _ number: Int, retain: Bool = false) {
    for topic in ["secret/a", "open/a", "secret"] {
      world.publish(topic: topic, payload: "\(number)", qos: QoS(rawValue: path.qos)!, retain: retain)
    }
  }

  /// By these filters both topics are meant; what is denied is not sent.
  private static let filters = ["#", "+/#", "+/a", "secret/#"]

  struct Row: CustomTestStringConvertible {
    let path: Path
    let filter: String
    var testDescription: String { "\(path.testDescription) \(filter)" }
  }
  static let rows = Path.all.flatMap { path in filters.map { Row(path: path, filter: $0) } }

  /// What `bob` gets of the three, if he may read all of them or what is open.
  private func expected(_ row: Row, _ number: Int, mayReadAll: Bool) -> [String] {
    var topics: [String] = []
    if mayReadAll { topics.append("secret/a") }
    if row.filter != "secret/#" { topics.append("open/a") }
    if mayReadAll, row.filter != "+/a" { topics.append("secret") }
    return topics.map { "\($0)=\(number)" }
  }

  @Test(arguments: AccessDeliveryTests.rows) func live(row: Row) {
    let access = AccessWorld(AccessDeliveryTests.all)
    let world = access.world
    connect(world, row.path)
    world.subscribe("bob", row.filter, qos: row.path.qos)
    for round in 0..<2 {  // no answer outlives its rules
      publish(world, row.path, 2 * round)
      #expect(access.received("bob") == expected(row, 2 * round, mayReadAll: true))
      access.reload(AccessDeliveryTests.some)
      let before = access.denied[1]
      publish(world, row.path, 2 * round + 1)
      #expect(access.received("bob") == expected(row, 2 * round + 1, mayReadAll: false))
      #expect(access.denied[1] == before + (row.filter == "+/a" ? 1 : 2))
      access.reload(AccessDeliveryTests.all)
    }
    world.finish()
  }

  @Test(arguments: AccessDeliveryTests.rows) func retained(row: Row) {
    let access = AccessWorld(AccessDeliveryTests.some)
    let world = access.world
    publish(world, row.path, 1, retain: true)
    connect(world, row.path)
    // `secret/#` alone is denied as a filter.
    if row.filter == "secret/#" {
      #expect(access.subscribe("bob", Filter(row.filter))[0].isError)
    } else {
      world.subscribe("bob", row.filter, qos: row.path.qos)
    }
    #expect(access.received("bob") == expected(row, 1, mayReadAll: false))
    access.reload(AccessDeliveryTests.all)
    world.subscribe("bob", row.filter, qos: row.path.qos)
    #expect(access.received("bob").sorted() == expected(row, 1, mayReadAll: true).sorted())
    world.finish()
  }

  /// Revoked while messages wait for the client (CVE-2021-34434, EMQX #10396, mochi #504).
  @Test(arguments: AccessDeliveryTests.rows.filter { $0.path.qos > 0 }) func queued(row: Row) {
    for isRegained in [false, true] {
      let access = AccessWorld(AccessDeliveryTests.all)
      let world = access.world
      connect(world, row.path)
      world.subscribe("bob", row.filter, qos: row.path.qos)
      world.lose("bob")
      publish(world, row.path, 1)
      access.reload(AccessDeliveryTests.some)
      if isRegained { access.reload(AccessDeliveryTests.all) }
      #expect(connect(world, row.path))
      #expect(access.received("bob") == expected(row, 1, mayReadAll: isRegained))
      #expect(world.pool("deliveries").used == 0)
      publish(world, row.path, 2)
      #expect(access.received("bob") == expected(row, 2, mayReadAll: isRegained))
      world.finish()
    }
  }

  /// What waits behind a full window is judged when its turn comes.
  @Test(arguments: AccessDeliveryTests.rows.filter { $0.path.qos > 0 && $0.path.version == .v5 })
  func waitingForTheWindow(row: Row) {
    let access = AccessWorld(AccessDeliveryTests.all)
    let world = access.world
    connect(world, row.path, receiveMaximum: 1)
    world.subscribe("bob", row.filter, qos: row.path.qos)
    publish(world, row.path, 1)
    publish(world, row.path, 2)
    let first = expected(row, 1, mayReadAll: true)[0]  // is on its way
    access.reload(AccessDeliveryTests.some)
    #expect(
      access.received("bob") == [first] + expected(row, 1, mayReadAll: false).filter { $0 != first }
        + expected(row, 2, mayReadAll: false))
    #expect(world.pool("deliveries").used == 0)
    world.finish()
  }

  /// What was sent and not acknowledged is not sent again without the right.
  @Test(arguments: AccessDeliveryTests.rows.filter { $0.path.qos > 0 }) func inFlight(row: Row) {
    let access = AccessWorld(AccessDeliveryTests.all)
    let world = access.world
    connect(world, row.path)
    world.subscribe("bob", row.filter, qos: row.path.qos)
    publish(world, row.path, 1)
    #expect(world.takeAll("bob").count == expected(row, 1, mayReadAll: true).count)
    world.lose("bob")
    access.reload(AccessDeliveryTests.some)
    #expect(connect(world, row.path))
    for case .publish(_, _, _, _, _, let dup, _) in world.client("bob").packets { #expect(dup) }
    #expect(access.received("bob") == expected(row, 1, mayReadAll: false))
    #expect(world.pool("deliveries").used == 0)
    #expect(world.pool("messages").used == 0)
    world.finish()
  }

  /// A QoS 2 message that the client has is finished.
  @Test(arguments: [ProtocolVersion.v311, .v5]) func released(version: ProtocolVersion) {
    let path = Path(version: version, qos: 2)
    let access = AccessWorld(AccessDeliveryTests.all)
    let world = access.world
    connect(world, path)
    world.subscribe("bob", "#", qos: 2)
    world.publish(topic: "secret/a", payload: "1", qos: .exactlyOnce)
    world.expect("bob", .publish(topic: "secret/a", payload: "1", qos: 2, packetID: 1))
    world.send("bob", .pubRec(1))
    world.expect("bob", .pubRel(1))
    world.lose("bob")
    access.reload(AccessDeliveryTests.some)
    #expect(connect(world, path))
    world.expect("bob", .pubRel(1))
    world.send("bob", .pubComp(1))
    world.expectNothing("bob")
    #expect(world.pool("deliveries").used == 0)
    world.finish()
  }

  /// Each reader has the rights of its role, and one more or less does not change another's.
  @Test(arguments: Path.all) func everyReaderHasItsOwnRight(path: Path) {
    let access = AccessWorld(
      "topic read a/#\nuser ann\ntopic read b/#\nuser bob\ntopic read a/#\ntopic read b/#\nuser eve\ntopic write #\npattern read c/%c\npattern read d/%u"
    )
    let world = access.world
    let readers: [(name: String, user: String?, letters: String)] = [
      ("anon", nil, "a"), ("ann", "ann", "b"), ("bob", "bob", "ab"), ("eve", "eve", ""), ("x", "none", ""),
    ]
    for (name, user, _) in readers {
      world.connect(name, path.version, userName: user)
      #expect(access.subscribe(name, Filter("#", qos: path.qos)) == [ReasonCode(rawValue: path.qos)!])
    }
    for topic in ["a/1", "b/1", "c/eve", "c/x", "d/none", "d/ann", "d/"] {
      world.publish(topic: topic, payload: "1", qos: .exactlyOnce)
      for (name, user, letters) in readers {
        let isMine =
          letters.contains(topic.prefix(1)) || topic == "c/\(name)" || user.map { topic == "d/\($0)" } ?? false
        #expect(access.received(name) == (isMine ? ["\(topic)=1"] : []), "\(topic) to \(name)")
      }
    }
    world.finish()
  }

  /// Two filters of one session are one receiver, denied once.
  @Test func overlappingFiltersAreDeniedOnce() {
    let access = AccessWorld(AccessDeliveryTests.some)
    let world = access.world
    world.connect("bob", userName: "bob")
    for filter in ["#", "+/a", "+/#"] { world.subscribe("bob", filter, qos: 1, id: 7) }
    world.publish(topic: "secret/a", payload: "1", qos: .atLeastOnce)
    world.expectNothing("bob")
    #expect(access.denied == [0, 1, 0])
    #expect(world.publish(topic: "secret/a", payload: "1") == .noMatchingSubscribers)
    world.finish()
  }
}
