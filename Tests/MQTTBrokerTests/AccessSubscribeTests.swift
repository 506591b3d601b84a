import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

/// The right to subscribe (20 to 23, 26): each filter by itself, shared ones by what is behind their prefix.
@Suite struct AccessSubscribeTests {
  private static let versions = [ProtocolVersion.v311, .v5]

  private func code(_ isGranted: Bool, _ version: ProtocolVersion, qos: UInt8 = 0) -> ReasonCode {
    isGranted ? ReasonCode(granted: QoS(rawValue: qos)!) : version == .v5 ? .notAuthorized : .unspecifiedError
  }

  struct Row {
    let filter: String
    let isGranted: Bool
  }

  /// By `topic read open/+/a`, `topic write secret/#`, `topic deny open/off/#`, `topic read logs/#`, `topic deny logs/#`.
  static let rows = [
    Row(filter: "open/1/a", isGranted: true), Row(filter: "open/+/a", isGranted: true),
    Row(filter: "open/#", isGranted: true), Row(filter: "#", isGranted: true), Row(filter: "+/1/a", isGranted: true),
    Row(filter: "open/1/b", isGranted: false), Row(filter: "open/off/a", isGranted: false),
    Row(filter: "open/off/+", isGranted: false), Row(filter: "secret/#", isGranted: false),
    Row(filter: "secret", isGranted: false), Row(filter: "logs/#", isGranted: false),
    Row(filter: "logs/1", isGranted: false), Row(filter: "other", isGranted: false),
    Row(filter: "$SYS/#", isGranted: false), Row(filter: "+", isGranted: true),
    Row(filter: "$share/g/open/1/a", isGranted: true), Row(filter: "$share/g/#", isGranted: true),
    Row(filter: "$share/g/secret/#", isGranted: false), Row(filter: "$share/open/secret/1", isGranted: false),
    Row(filter: "$share/g/+", isGranted: true), Row(filter: "$share/g/+/+", isGranted: true),
    Row(filter: "$share/g/other/+", isGranted: false), Row(filter: "$share/g/$SYS/#", isGranted: false),
  ]

  @Test(arguments: AccessSubscribeTests.versions) func eachFilterIsJudged(version: ProtocolVersion) {
    let access = AccessWorld(
      "user bob\ntopic read open/+/a\ntopic write secret/#\ntopic deny open/off/#\ntopic read logs/#\ntopic deny logs/#"
    )
    let world = access.world
    world.connect("bob", version, userName: "bob")
    var grantedCount = 0
    for row in AccessSubscribeTests.rows {
      #expect(access.subscribe("bob", Filter(row.filter)) == [code(row.isGranted, version)], "\(row.filter)")
      grantedCount += row.isGranted ? 1 : 0
      #expect(world.pool("subscriptions").used == grantedCount)
    }
    #expect(access.denied == [0, 0, UInt64(AccessSubscribeTests.rows.count - grantedCount)])
    // All of them in one packet, in each order (dojot #2529).
    world.connect("two", version, clientID: "two", userName: "bob")
    for rows in [AccessSubscribeTests.rows, AccessSubscribeTests.rows.reversed()] {
      let client = world.client("two")
      client.lastPacketID += 1
      world.send("two", .subscribe(client.lastPacketID, rows.map { Filter($0.filter, qos: 1) }))
      world.expect("two", .subAck(client.lastPacketID, rows.map { code($0.isGranted, version, qos: 1) }))
    }
    #expect(world.pool("subscriptions").used == 2 * grantedCount)
    world.finish()
  }

  /// A re-subscription that is denied replays nothing, and the earlier one is gone (mochi #46, aedes-cli #158).
  @Test(arguments: AccessSubscribeTests.versions, ["s/#", "s/r", "$share/g/s/r"])
  func aDeniedResubscriptionEndsTheOldOne(version: ProtocolVersion, filter: String) {
    let all = "user bob\ntopic read #"
    let access = AccessWorld(all)
    let world = access.world
    world.connect("bob", version, userName: "bob")
    #expect(access.subscribe("bob", Filter(filter, qos: 1)) == [.grantedQoS1])
    world.publish(topic: "s/r", payload: "1", qos: .atLeastOnce, retain: true)
    #expect(access.received("bob") == ["s/r=1"])
    access.reload("user bob\ntopic read other")
    #expect(access.subscribe("bob", Filter(filter, qos: 1)) == [code(false, version)])
    #expect(world.pool("subscriptions").used == 0)
    access.reload(all)
    world.publish(topic: "s/r", payload: "2", qos: .atLeastOnce)
    world.expectNothing("bob")
    world.finish()
  }

  // MARK: $SYS (26)

  struct SysRow {
    let rules: String
    let filter: String
    let isGranted: Bool
    let isHeard: Bool
  }

  static let sysRows = [
    SysRow(rules: "topic read #", filter: "$SYS/#", isGranted: false, isHeard: false),
    SysRow(rules: "topic read +/tapline/#", filter: "$SYS/tapline/#", isGranted: false, isHeard: false),
    SysRow(rules: "topic read #", filter: "#", isGranted: true, isHeard: false),
    SysRow(rules: "topic read $SYS/#", filter: "#", isGranted: false, isHeard: false),
    SysRow(rules: "topic read $SYS/#", filter: "+/tapline/#", isGranted: false, isHeard: false),
    SysRow(rules: "topic read $SYS/#", filter: "$SYS/#", isGranted: true, isHeard: true),
    SysRow(rules: "topic read $SYS/#\ntopic deny #", filter: "$SYS/#", isGranted: true, isHeard: true),
    SysRow(rules: "topic read $SYS/#\ntopic deny +/tapline/#", filter: "$SYS/+/x", isGranted: true, isHeard: true),
    SysRow(
      rules: "topic read $SYS/#\ntopic deny $SYS/tapline/clients/#", filter: "$SYS/tapline/clients/#", isGranted: false,
      isHeard: false),
    SysRow(rules: "topic read $SYS/tapline/clients/#", filter: "$SYS/#", isGranted: true, isHeard: false),
    SysRow(rules: "topic deny #", filter: "$SYS/#", isGranted: false, isHeard: false),
  ]

  @Test(arguments: AccessSubscribeTests.versions) func systemTopicsAreNamed(version: ProtocolVersion) {
    for row in AccessSubscribeTests.sysRows {
      for isRetained in [false, true] {
        let access = AccessWorld("user bob\n" + row.rules)
        let world = access.world
        world.connect("bob", version, userName: "bob")
        if isRetained { world.publish(topic: "$SYS/tapline/x", payload: "1", retain: true) }
        #expect(
          access.subscribe("bob", Filter(row.filter)) == [code(row.isGranted, version)], "\(row.rules) \(row.filter)")
        if !isRetained { world.publish(topic: "$SYS/tapline/x", payload: "1") }
        #expect(access.received("bob") == (row.isHeard ? ["$SYS/tapline/x=1"] : []), "\(row.rules) \(row.filter)")
        world.finish()
      }
    }
  }

  // MARK: Shared (21)

  /// A member without the right gets nothing and takes nobody's turn.
  @Test(arguments: Path.all) func aSharedMessageGoesToOneWhoMayReadIt(path: Path) {
    for absent in [false, true] {
      let access = AccessWorld(
        "user ann\ntopic read t/#\nuser bob\ntopic read t/#\ntopic deny t/secret\nuser eve\ntopic read t/none")
      let world = access.world
      for name in ["bob", "ann", "eve"] {
        world.connect(
          name, path.version, userName: name, cleanStart: false, sessionExpiry: path.version == .v5 ? 100 : nil)
        world.subscribe(name, "$share/g/t/#", qos: path.qos)
      }
      let isKept = path.qos > 0
      if absent { for name in ["ann", "bob", "eve"] { world.lose(name) } }
      for number in 0..<12 {
        world.publish(topic: number % 2 == 0 ? "t/secret" : "t/open", payload: "\(number)", qos: .exactlyOnce)
      }
      world.publish(topic: "t/none", payload: "n", qos: .exactlyOnce)
      if absent {
        for name in ["ann", "bob", "eve"] {
          world.connect(
            name, path.version, userName: name, cleanStart: false, sessionExpiry: path.version == .v5 ? 100 : nil)
        }
      }
      let (ann, bob, eve) = (access.received("ann"), access.received("bob"), access.received("eve"))
      let secrets = (0..<12).filter { $0 % 2 == 0 }.map { "t/secret=\($0)" }
      let opens = (0..<12).filter { $0 % 2 == 1 }.map { "t/open=\($0)" }
      if absent, !isKept {
        #expect(ann + bob + eve == [])
      } else {
        #expect(ann.filter { $0.hasPrefix("t/secret") } == secrets)
        #expect(bob.allSatisfy { !$0.hasPrefix("t/secret") } && eve.allSatisfy { $0.hasPrefix("t/none") })
        #expect((ann + bob + eve).sorted() == (secrets + opens + ["t/none=n"]).sorted())
        #expect(access.denied[1] == 0)  // each had a member that may read it
      }
      world.finish()
    }
  }

  @Test func aSharedMessageThatNobodyMayReadIsCounted() {
    let access = AccessWorld("user ann\ntopic read t/#\ntopic deny t/secret")
    let world = access.world
    world.connect("ann", userName: "ann")
    world.connect("two", clientID: "two", userName: "ann")
    for name in ["ann", "two"] { world.subscribe(name, "$share/g/t/#", qos: 1) }
    world.publish(topic: "t/secret", payload: "1", qos: .atLeastOnce)
    world.expectNothing("ann", "two")
    #expect(access.denied == [0, 1, 0])
    world.finish()
  }
}
