import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

/// CONNACK with Success promises that the Will will be published (§3.1.2.5): it goes out with the room that it has had since.
@Suite("A Will that was accepted reaches whoever has room, whatever others have filled meanwhile")
struct WillRoomTests {
  private struct Row {
    let version: ProtocolVersion
    let qos: UInt8
    let retain: Bool
  }
  private static let rows = [ProtocolVersion.v5, .v311].flatMap { version in
    [false, true].flatMap { retain in (UInt8(0)...2).map { Row(version: version, qos: $0, retain: retain) } }
  }

  private func isRetained(_ topic: String, _ world: World) -> Bool {
    withBytes([UInt8](topic.utf8)) { world.broker.topics.find($0).map { !world.broker.topics[$0].retained.isNull } }
      ?? false
  }

  /// The Wills of the rows' clients, all accepted, then all of what `lack` says, then each client is lost.
  private func check(_ rows: [Row], _ byteCount: Int, _ lack: Lack) {
    let world = World(lacking: lack)
    let payload = String(repeating: "w", count: byteCount)
    for (index, row) in rows.enumerated() {
      let will = WillFields(topic: "\(row.version)/\(index)", payload: payload, qos: row.qos, retain: row.retain)
      world.connect("dev\(index)", row.version, will: will)
    }
    // One watcher a Will, so that it has room for the largest one.
    for name in ["v5", "v311"] { world.subscribe(name, name + "/#", qos: 2) }
    world.fill(lack)
    for (index, row) in rows.enumerated() {
      let watcher = "\(row.version)"
      let topic = "\(row.version)/\(index)"
      let name = "dev\(index): \(lack), \(byteCount) bytes, \(row)"
      let before = world.broker.counters
      world.lose("dev\(index)")
      let packets = world.takeAll(watcher)
      if case .publish(topic, payload, row.qos, let id, false, false, [])? = packets.first {
        #expect(packets.count == 1, "\(name)")
        if row.qos == 1 { world.send(watcher, .pubAck(id)) }
        if row.qos == 2 { world.send(watcher, .pubRec(id), .pubComp(id)) }
      } else {
        Issue.record("\(name) was lost")
      }
      _ = world.takeAll(watcher)
      let after = world.broker.counters
      let isRefused = after.publishesRefused - before.publishesRefused
      if row.retain, byteCount > 0 {
        #expect(isRetained(topic, world) == (isRefused == 0), "\(name)")
        #expect(isRefused == 0 || isRefused == 1 && lack != .nothing, "\(name)")
        #expect(isRefused == 1 || lack != .places && lack != .levels, "\(name)")
      } else {
        #expect(isRefused == 0, "\(name)")
      }
      #expect(after.internalDropped == before.internalDropped, "\(name)")
      #expect(Audit.problems(of: world.broker, at: world.now) == [], "\(name)")
    }
    world.finish()
  }

  @Test(arguments: Lack.allCases, [0, 1, 90, 700, 5000]) func manySmallOnes(lack: Lack, byteCount: Int) {
    check(WillRoomTests.rows, byteCount, lack)
  }

  /// Each takes a fifth of all blocks.
  @Test(arguments: Lack.allCases, rows.indices) func aLargeOne(lack: Lack, row: Int) {
    check([WillRoomTests.rows[row]], 60_000, lack)
  }

  /// The log tells which limit kept it from being retained, and whose it was.
  @Test(arguments: [(Lack.blocks, Limit.blocks), (.places, .retained), (.levels, .topicNodes)])
  func whatIsNotKeptIsTold(lack: Lack, limit: Limit) {
    let world = World(lacking: lack)
    let payload = String(repeating: "w", count: lack == .blocks ? 60_000 : 1)
    world.connect("dev", will: WillFields(topic: "w", payload: payload, retain: true))
    world.fill(lack)
    while world.broker.nextNotice() != nil {}
    _ = world.broker.takeHits(limit, at: world.now)
    world.lose("dev")
    let notice = world.broker.nextNotice()
    #expect(notice?.kind == .limitHit && notice?.limit == limit && notice?.outcome == .refused)
    #expect(plainText(world.broker.clientID(at: limit)) == "dev")
    #expect(!isRetained("w", world))
    world.finish()
  }

  // MARK: Taps

  /// It commands, and goes on as its taps say: as it is stored, and in no second room.
  @Test(arguments: [Lack.nothing, .blocks]) func goesOnAsItsTapsSay(lack: Lack) {
    let world = World(lacking: lack)
    #expect(world.addTap("w/kept") != nil)
    #expect(world.addTap("w/command") != nil)
    var ran = 0
    world.broker.onTap = { tap, message in
      ran += 1
      #expect(message.retain == (tap.index == 1) && message.qos == .exactlyOnce)
      return tap.index == 0 ? TapVerdict(qos: .atLeastOnce, retain: true, expirySeconds: 9) : TapVerdict(retain: false)
    }
    let payload = String(repeating: "w", count: 20_000)
    let properties: [Prop] = [.expiry(100), .user("a", "b")]
    world.connect("kept", will: WillFields(topic: "w/kept", payload: payload, qos: 2, properties: properties))
    world.connect(
      "command", will: WillFields(topic: "w/command", payload: payload, qos: 2, retain: true, properties: properties))
    world.fill(lack)
    world.subscribe("v5", "w/#", qos: 2, retainAsPublished: true)
    let before = world.broker.counters.publishesRefused
    world.lose("kept")
    let isKept = lack == .nothing
    #expect(isRetained("w/kept", world) == isKept)
    #expect(world.broker.counters.publishesRefused - before == (isKept ? 0 : 1))
    world.expect(
      "v5",
      .publish(
        topic: "w/kept", payload: payload, qos: 1, packetID: 1, retain: true,
        properties: [.expiry(9), .user("a", "b")]))
    world.lose("command")
    world.expect(
      "v5",
      .publish(topic: "w/command", payload: payload, qos: 2, packetID: 2, properties: [.expiry(100), .user("a", "b")]))
    #expect(!isRetained("w/command", world))
    #expect(world.broker.counters.publishesRefused - before == (isKept ? 0 : 1))
    #expect(ran == 2)
    #expect(Audit.problems(of: world.broker, at: world.now) == [])
    if isKept {
      world.subscribe("v311", "w/#", qos: 2)
      world.expect("v311", .publish(topic: "w/kept", payload: payload, qos: 1, packetID: 1, retain: true))
      world.advance(seconds: 12)
      #expect(!isRetained("w/kept", world))
    }
    world.finish()
  }

  /// Nobody can be told that it was refused, so it is counted.
  @Test(arguments: [UInt8(0), 1, 2], [false, true]) func isCountedWhereItIsRefused(qos: UInt8, retain: Bool) {
    let world = World()
    #expect(world.own("b/relay"))
    #expect(world.addTap("set") != nil)
    world.broker.onTap = { _, _ in TapVerdict(reason: .notAuthorized) }
    world.connect("watch")
    world.subscribe("watch", "#", qos: 2)
    for topic in ["b/relay", "set"] {
      let before = world.broker.counters.publishesRefused
      world.connect("dev", will: WillFields(topic: topic, payload: "ON", qos: qos, retain: retain))
      world.lose("dev")
      world.expectNothing("watch")
      #expect(world.broker.counters.publishesRefused == before + 1)
      #expect(!isRetained(topic, world))
      #expect(Audit.problems(of: world.broker, at: world.now) == [])
    }
    world.finish()
  }
}
