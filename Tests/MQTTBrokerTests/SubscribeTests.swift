import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

/// SUBSCRIBE, UNSUBSCRIBE and what they deliver (§3.8 to §3.11, §4.7, §4.8).
@Suite struct SubscribeTests {
  @Test(arguments: [ProtocolVersion.v31, .v311, .v5]) func eachFilterHasItsCode(version: ProtocolVersion) {  // §3.9.3
    let world = World()
    world.connect("a", version)
    let deep = Array(repeating: "x", count: 40).joined(separator: "/")
    world.send(
      "a",
      .subscribe(
        7,
        ["a", Filter("b", qos: 1), Filter("c", qos: 2), Filter(deep, qos: 1), "+", "#", "a/+/b", "/", "$share/g/x"]))
    world.expect(
      "a",
      .subAck(
        7,
        [
          .success, .grantedQoS1, .grantedQoS2, version == .v5 ? .quotaExceeded : .unspecifiedError, .success, .success,
          .success, .success, .success,
        ]))
    #expect(world.pool("subscriptions").used == 8)
    world.finish()
  }

  /// §4.7.1-1 to -3, §4.7.3-1, §4.7.3-2, §4.8.2-1, §4.8.2-2; 3.1.1 §4.8.0-1: a filter that is none ends the connection, and
  /// nothing of its packet is taken.
  @Test(arguments: [ProtocolVersion.v31, .v311, .v5]) func malformedFiltersEndIt(version: ProtocolVersion) {
    let bad = [
      "", "a/#/b", "#/b", "a#", "#a", "a/b#", "a+", "+a", "a/+b/c", "##", "++", "a\0b", "\0", "$share/", "$share//",
      "$share/x", "$share//f", "$share/x/", "$share/a+b/f", "$share/+/f", "$share/#/f", "$share/x/a/#/b", "$share/x/f+",
      "$share/x#/f", "$share/x\0/f",
    ]
    let block: [UInt8] = version == .v5 ? [0] : []
    let world = World(clients: ["kept"])
    world.subscribe("kept", "t")
    for filter in bad {
      let behind: [[UInt8]] = [
        packet(0x82, [0, 1], block, string(filter), [0]),
        packet(0x82, [0, 1], block, string("t"), [0], string(filter), [0]),
        packet(0x82, [0, 1], block, string(filter), [0], string("t"), [0]),
        packet(0xA2, [0, 1], block, string(filter)),
        packet(0xA2, [0, 1], block, string("t"), string(filter)),
      ]
      for bytes in behind {
        world.connect("a", version)
        world.send("a", bytes: bytes)
        #expect(world.takeAll("a") == (version == .v5 ? [.disconnect(.malformedPacket)] : []), "\(filter): \(bytes)")
        #expect(!world.isOpen("a"), "\(filter): \(bytes)")
        world.lose("a")
      }
    }
    #expect(world.broker.counters.malformedClosed == UInt64(5 * bad.count))
    #expect(world.pool("subscriptions").used == 1)
    world.finish()
  }

  /// What looks like a shared subscription and is a filter as any other.
  @Test(arguments: [ProtocolVersion.v31, .v311, .v5]) func shareIsAWordInOnePlaceOnly(version: ProtocolVersion) {
    let world = World()
    world.connect("a", version)
    for filter in [
      "$share", "$shared/x", "$Share/x", "/$share/x", "share/x", "x/$share/y", "$share/x//", "$share/x/$share/y",
    ] {
      world.subscribe("a", filter, qos: 1)
      world.unsubscribe("a", filter)
    }
    #expect(world.pool("subscriptions").used == 0)
    world.finish()
  }

  @Test func formIsJudgedAsAWhole() {  // nothing of a bad packet is taken
    let cases: [(String, [UInt8], ReasonCode)] = [
      ("no filter (§3.8.3-2)", [0x82, 3, 0, 1, 0], .protocolError),
      ("packet id 0", [0x82, 7, 0, 0, 0, 0, 1, 0x61, 0], .protocolError),
      ("flags (§3.8.1-1)", [0x80, 7, 0, 1, 0, 0, 1, 0x61, 0], .malformedPacket),
      ("QoS 3", [0x82, 7, 0, 1, 0, 0, 1, 0x61, 3], .protocolError),
      ("retain handling 3", [0x82, 7, 0, 1, 0, 0, 1, 0x61, 0x30], .protocolError),
      ("reserved option", [0x82, 7, 0, 1, 0, 0, 1, 0x61, 0x40], .malformedPacket),
      ("identifier 0 (§3.8.2.1.2)", [0x82, 9, 0, 1, 2, 0x0B, 0, 0, 1, 0x61, 0], .protocolError),
      ("cut short", [0x82, 6, 0, 1, 0, 0, 1, 0x61], .malformedPacket),
      ("no filter to unsubscribe (§3.10.3-2)", [0xA2, 3, 0, 1, 0], .protocolError),
    ]
    for (name, bytes, reason) in cases {
      let world = World(clients: ["a"])
      world.send("a", bytes: bytes)
      #expect(world.takeAll("a") == [.disconnect(reason)], "\(name)")
      #expect(!world.isOpen("a"), "\(name)")
      #expect(world.pool("subscriptions").used == 0, "\(name)")
      world.finish()
    }
  }

  @Test func unsubscribeAnswersEachFilter() {  // §3.11.3
    let world = World(clients: ["a", "pub"], old: ["old"])
    world.subscribe("a", "x")
    world.subscribe("a", "y/#", qos: 1)
    world.send("a", .unsubscribe(9, ["x", "z", "x", "y/#"]))
    world.expect("a", .unsubAck(9, [.success, .noSubscriptionExisted, .noSubscriptionExisted, .success]))
    world.send("pub", .publish(topic: "x"), .publish(topic: "y/1"))
    world.expectNothing("a")
    world.send("old", .unsubscribe(1, ["never"]))
    world.expect("old", .unsubAck(1, []))
    #expect(world.pool("subscriptions").used == 0)
    world.finish()
  }

  @Test func whatIsOnItsWayStillComes() {  // §3.10.4: in flight completes; what waits may come too
    let world = World(clients: ["a", "pub"])
    world.subscribe("a", "x", qos: 2)
    world.send("pub", .publish(topic: "x", qos: 2, packetID: 1))
    world.expect("a", .publish(topic: "x", qos: 2, packetID: 1))
    world.unsubscribe("a", "x")
    world.send("a", .pubRec(1), .pubComp(1))
    world.expect("a", .pubRel(1))
    #expect(world.pool("deliveries").used == 0)
    world.finish()
  }

  // MARK: Filters (§4.7)

  @Test func wildcardsMatch() {
    let rows: [(filter: String, matches: [String], not: [String])] = [
      ("sport/#", ["sport", "sport/", "sport/a", "sport/a/b"], ["sports", "/sport", "a/sport"]),
      ("sport/+", ["sport/", "sport/a"], ["sport", "sport/a/b"]),
      ("+", ["a"], ["/a", "a/"]), ("+/+", ["/a", "a/", "/"], ["a", "a/b/c"]), ("/+", ["/a", "/"], ["a", "a/b"]),
      ("#", ["a", "/", "a/b"], ["$x", "$own/a"]), ("+/b", ["a/b", "/b"], ["$a/b"]), ("$own/#", ["$own", "$own/a"], []),
      ("$own/+", ["$own/a"], ["$own"]), ("a//b", ["a//b"], ["a/b"]), ("a/+/b", ["a//b", "a/x/b"], ["a/b"]),
    ]
    for row in rows {
      let world = World(clients: ["pub", "sub"])
      world.subscribe("sub", row.filter)
      for topic in row.matches {
        world.send("pub", .publish(topic: topic))
        #expect(world.takeAll("sub").map(\.topic) == [topic], "\(row.filter) and \(topic)")
      }
      for topic in row.not {
        world.send("pub", .publish(topic: topic))
        #expect(world.takeAll("sub") == [], "\(row.filter) and \(topic)")
      }
      world.finish()
    }
  }

  @Test func longLevelNamesAreToldApart() {  // beyond what a node holds itself
    let world = World(clients: ["pub", "sub"])
    let stem = String(repeating: "x", count: 24)
    let long = String(repeating: "y", count: 200)
    let topics = [stem, stem + "a", stem + "b", long, long + "1", stem + "/" + long, long + "/" + stem]
    for topic in topics { world.subscribe("sub", topic) }
    for topic in topics {
      world.send("pub", .publish(topic: topic))
      world.expect("sub", .publish(topic: topic))
    }
    world.send("pub", .publish(topic: String(stem.dropLast())), .publish(topic: long + "2"))
    world.expectNothing("sub")
    world.finish()
  }

  // MARK: Options (§3.8.3.1)

  @Test func qosIsTheSmallerOne() {  // §3.8.4-8
    for granted in UInt8(0)...2 {
      for sent in UInt8(0)...2 {
        let world = World(clients: ["pub", "sub"])
        world.subscribe("sub", "t", qos: granted)
        world.send("pub", .publish(topic: "t", qos: sent, packetID: 5))
        let qos = min(granted, sent)
        world.expect("sub", .publish(topic: "t", qos: qos, packetID: qos == 0 ? 0 : 1))
        world.expectNothing("sub")
        world.finish()
      }
    }
  }

  @Test func noLocalKeepsOnesOwnAway() {  // §3.8.3-3
    let world = World(clients: ["a", "b"])
    world.subscribe("a", "t", noLocal: true)
    world.subscribe("b", "t")
    world.send("a", .publish(topic: "t", payload: "a"))
    world.expectNothing("a")
    world.expect("b", .publish(topic: "t", payload: "a"))
    world.send("b", .publish(topic: "t", payload: "b"))
    world.expect("a", .publish(topic: "t", payload: "b"))
    world.expect("b", .publish(topic: "t", payload: "b"))
    // Another of one's subscriptions still takes it.
    world.subscribe("a", "#")
    world.send("a", .publish(topic: "t", payload: "again"))
    world.expect("a", .publish(topic: "t", payload: "again"))
    world.expectNothing("a")
    world.finish()
  }

  @Test func retainAsPublishedKeepsTheFlag() {  // §3.3.1-12, §3.3.1-13
    let world = World(clients: ["pub", "rap", "plain"], old: ["old"])
    world.subscribe("rap", "t", qos: 1, retainAsPublished: true)
    world.subscribe("plain", "t")
    world.subscribe("old", "t")
    world.send("pub", .publish(topic: "t", payload: "x", qos: 1, packetID: 1, retain: true))
    world.expect("rap", .publish(topic: "t", payload: "x", qos: 1, packetID: 1, retain: true))
    for name in ["plain", "old"] { world.expect(name, .publish(topic: "t", payload: "x")) }
    world.send("pub", .publish(topic: "t", payload: "y", retain: true), .publish(topic: "t", payload: "z"))
    world.expect(
      "rap", .publish(topic: "t", payload: "y", retain: true), .publish(topic: "t", payload: "z"))
    world.finish()
  }

  @Test func sameFilterReplacesTheSubscription() {  // §3.8.4-3
    let world = World(clients: ["pub", "sub"])
    world.subscribe("sub", "t", qos: 2, id: 5)
    world.subscribe("sub", "t", qos: 0)
    world.send("pub", .publish(topic: "t", qos: 2, packetID: 1))
    world.expect("sub", .publish(topic: "t"))
    world.expectNothing("sub")
    #expect(world.pool("subscriptions").used == 1)
    world.finish()
  }

  // MARK: Overlapping filters, identifiers

  @Test func overlappingFiltersGiveOneCopy() {  // §3.3.4-2: the highest QoS; §3.3.4-3: all identifiers
    let world = World(clients: ["pub", "sub", "other"])
    world.subscribe("sub", "a/#", qos: 0, id: 1)
    world.subscribe("other", "a/b", qos: 0, id: 300)
    world.subscribe("sub", "a/b", qos: 2, id: 268_435_455)
    world.subscribe("sub", "a/+", qos: 1)
    world.subscribe("sub", "#", qos: 1, id: 20_000)
    for (qos, packetID) in [(UInt8(0), UInt16(0)), (2, 1), (1, 2)] {
      world.send("pub", .publish(topic: "a/b", qos: qos, packetID: 9, properties: [.user("k", "v")]), .pubRel(9))
      guard case .publish("a/b", "", qos, packetID, false, false, let properties)? = world.takeFirst("sub") else {
        Issue.record("not one copy with QoS \(qos)")
        continue
      }
      #expect(properties.count == 4)
      for id: UInt32 in [1, 268_435_455, 20_000] { #expect(properties.contains(.identifier(id))) }
      #expect(properties.last == .user("k", "v"))
      world.expect("other", .publish(topic: "a/b", properties: [.identifier(300), .user("k", "v")]))
      world.expectNothing("sub")
    }
    world.finish()
  }

  @Test func routingsBeginAnewAtTheirEnd() {
    let world = World(clients: ["pub", "sub"])
    world.subscribe("sub", "a")
    world.subscribe("sub", "+")
    for serial: UInt32 in [0, .max - 1, .max, .max] {
      world.broker.beginSerials(at: serial)
      for _ in 0..<2 {
        world.send("pub", .publish(topic: "a"))
        world.expect("sub", .publish(topic: "a"))
      }
    }
    world.finish()
  }

  @Test func identifiersWaitWithTheMessage() {  // and are sent again with it
    let world = World(clients: ["pub"])
    world.connect("sub", sessionExpiry: 100)
    world.subscribe("sub", "t", qos: 1, id: 1)
    world.subscribe("sub", "+", qos: 1, id: 2)
    world.lose("sub")
    world.send("pub", .publish(topic: "t", qos: 1, packetID: 1))
    for dup in [false, true] {
      world.connect("sub", cleanStart: false, sessionExpiry: 100)
      guard case .publish("t", "", 1, 1, false, dup, let properties)? = world.takeFirst("sub") else {
        Issue.record("no message")
        return
      }
      #expect(properties.count == 2)
      for id: UInt32 in [1, 2] { #expect(properties.contains(.identifier(id))) }
      world.lose("sub")
    }
    #expect(world.pool("subscription_id_cells").used == 1)
    world.finish()
  }

  @Test func identifiersCountForTheMaximumPacketSize() {
    let world = World(clients: ["pub"])
    world.connect("sub", maximumPacketSize: 50)
    world.subscribe("sub", "t", id: 100)
    let fits = String(repeating: "x", count: 50 - 8)
    world.send("pub", .publish(topic: "t", payload: fits), .publish(topic: "t", payload: fits + "x"))
    world.expect("sub", .publish(topic: "t", payload: fits, properties: [.identifier(100)]))
    world.expectNothing("sub")
    world.finish()
  }

  // MARK: Shared subscriptions (§4.8.2)

  @Test func sharedMembersTakeTurns() {
    let world = World(clients: ["pub", "a", "b", "c", "alone"])
    for name in ["a", "b", "c"] { world.subscribe(name, "$share/g/t/+", qos: 1) }
    world.subscribe("alone", "t/1")
    for id in 1...9 { world.send("pub", .publish(topic: "t/1", payload: "\(id)", qos: 1, packetID: UInt16(id))) }
    var all: [String] = []
    for name in ["a", "b", "c"] {
      let got = world.takeAll(name).compactMap(\.payload)
      #expect(got.count == 3)
      all += got
    }
    #expect(all.sorted() == (1...9).map { "\($0)" })
    #expect(world.takeAll("alone").count == 9)
    world.finish()
  }

  @Test func groupsAndPlainFiltersAreSeparate() {  // one copy each
    let world = World(clients: ["pub", "a"])
    world.subscribe("a", "t", id: 1)
    world.subscribe("a", "$share/g/t", id: 2)
    world.subscribe("a", "$share/h/t", id: 3)
    world.subscribe("a", "$share/h/#", id: 4)
    world.send("pub", .publish(topic: "t"))
    let got = world.takeAll("a")
    for id: UInt32 in 1...4 { #expect(got.contains(.publish(topic: "t", properties: [.identifier(id)]))) }
    #expect(got.count == 4)
    #expect(world.pool("shared_groups").used == 3)
    world.unsubscribe("a", "$share/h/t")
    #expect(world.pool("shared_groups").used == 2)
    world.send("pub", .publish(topic: "t"))
    #expect(world.takeAll("a").count == 3)
    world.finish()
  }

  @Test func memberWithAnOpenWindowIsPreferred() {
    let world = World(clients: ["pub", "free"])
    world.connect("full", receiveMaximum: 1)
    world.connect("gone", sessionExpiry: 100)
    for name in ["full", "free", "gone"] { world.subscribe(name, "$share/g/t", qos: 1) }
    world.lose("gone")
    for id in 1...8 { world.send("pub", .publish(topic: "t", qos: 1, packetID: UInt16(id))) }
    #expect(world.takeAll("full").count == 1)
    #expect(world.takeAll("free").count == 7)
    // Nobody is there: it waits for the absent.
    world.lose("full")
    world.lose("free")
    world.send("pub", .publish(topic: "t", payload: "kept", qos: 1, packetID: 9))
    world.connect("gone", cleanStart: false, sessionExpiry: 100)
    world.expect("gone", .publish(topic: "t", payload: "kept", qos: 1, packetID: 1))
    world.finish()
  }

  @Test func membersComeAndGo() {
    let world = World(clients: ["pub", "a", "b", "c"])
    for name in ["a", "b", "c"] { world.subscribe(name, "$share/g/t") }
    world.send("pub", .publish(topic: "t"))
    world.unsubscribe("b", "$share/g/t")
    for name in ["a", "b", "c"] { _ = world.takeAll(name) }
    for _ in 0..<4 { world.send("pub", .publish(topic: "t")) }
    #expect(world.takeAll("a").count == 2)
    #expect(world.takeAll("c").count == 2)
    world.lose("a")
    for _ in 0..<3 { world.send("pub", .publish(topic: "t")) }
    #expect(world.takeAll("c").count == 3)
    world.expectNothing("b")
    world.finish()
  }

  @Test func sharedSubscriptionsHaveNoNoLocal() {  // §3.8.3-4
    let world = World(clients: ["a"])
    world.send("a", .subscribe(3, [Filter("$share/g/t", noLocal: true)]))
    world.expectClosed("a", .disconnect(.protocolError))
    world.finish()
  }

  @Test func sharedSubscriptionGetsNoRetained() {  // §4.8.2
    let world = World(clients: ["pub", "a"])
    world.send("pub", .publish(topic: "t", payload: "kept", retain: true))
    world.subscribe("a", "$share/g/t")
    world.expectNothing("a")
    world.finish()
  }

  @Test func sharedSubscriptionsMayBeSwitchedOff() {  // §3.2.2.3.13, §3.9.3: 0x9E
    var limits = Limits.forTests
    limits.sharedGroupsMax = 0
    let world = World(limits: limits)
    #expect(world.connect("a").properties.contains(.number(.sharedSubscriptionAvailable, 0)))
    world.send("a", .subscribe(1, ["$share/g/t", "t"]))
    world.expect("a", .subAck(1, [.sharedSubscriptionsNotSupported, .success]))
    world.finish()
  }
}

extension Broker {
  fileprivate mutating func beginSerials(at serial: UInt32) { receivers.beginSerials(at: serial, sessions) }
}
