import Bounded
import MQTTBroker
import MQTTWire
import Testing

/// What clients send that no standard of ours, or only an old one, describes, and that mosquitto takes.
@Suite struct OldClientTests {
  // MARK: Lengths

  /// §1.5.5-1 is MQTT 5's alone: 3.1.1 says "up to four bytes" and no more.
  @Test func remainingLengthMayBeLongerThanNeededBeforeMQTT5() {
    let world = World()
    let connect = string("MQTT") + [4, 2, 0, 60] + string("a")
    for length: [UInt8] in [[13], [0x8D, 0], [0x8D, 0x80, 0], [0x8D, 0x80, 0x80, 0]] {
      world.attach("a", .v311)
      world.send("a", bytes: [0x10] + length + connect + [0xC0, 0x80, 0, 0xC0, 0x80, 0x80, 0x80, 0])
      world.expect("a", .connAck(), .pingResp, .pingResp)
      world.send("a", bytes: [0x82, 0x86, 0x80, 0, 0, 1] + string("t") + [0])
      world.send("a", bytes: [0x30, 0x84, 0] + string("t") + [0x78])
      world.expect("a", .subAck(1, [.success]), .publish(topic: "t", payload: "x"))
      world.expectNothing("a")
      world.lose("a")
    }
    world.attach("b", .v311)
    world.send("b", bytes: [0x10, 0x8D, 0x80, 0x80, 0x80, 0] + connect)  // a fifth byte
    world.expectClosed("b")
    world.finish()
  }

  @Test func remainingLengthIsTheShortestOneInMQTT5() {  // §1.5.5-1
    let world = World()
    let connect = string("MQTT") + [5, 2, 0, 60, 0] + string("a")
    world.attach("a")
    world.send("a", bytes: [0x10, 0x8E, 0] + connect)
    world.expectClosed("a", .connAck(.malformedPacket))
    for bytes: [UInt8] in [[0xC0, 0x80, 0], [0x30, 0x85, 0] + string("t") + [0, 0x78]] {
      world.connect("a")
      world.send("a", bytes: bytes)
      world.expectClosed("a", .disconnect(.malformedPacket))
    }
    #expect(world.broker.counters.malformedClosed == 3)
    world.finish()
  }

  // MARK: MQTT 3.1

  /// A CONNECT of an old device, as it was seen, and what mosquitto answers.
  @Test func mqtt31IsServed() {
    let world = World(clients: ["new"])
    world.subscribe("new", "#", qos: 2)
    world.attach("old", .v31)
    world.send("old", bytes: [0x10, 0x11, 0, 6] + [UInt8]("MQIsdp".utf8) + [3, 2, 0, 0x3C] + string("old"))
    world.expect("old", .connAck())
    world.send("old", .subscribe(1, [Filter("t/#", qos: 2)]), .publish(topic: "t/0", payload: "0"), .pingReq)
    world.expect("old", .subAck(1, [.grantedQoS2]), .publish(topic: "t/0", payload: "0"), .pingResp)
    world.send("old", .publish(topic: "x/1", qos: 1, packetID: 5), .publish(topic: "x/2", qos: 2, packetID: 6))
    world.send("old", .pubRel(6))
    world.expect("old", .pubAck(5), .pubRec(6), .pubComp(6))
    world.expect(
      "new", .publish(topic: "t/0", payload: "0"), .publish(topic: "x/1", qos: 1, packetID: 1),
      .publish(topic: "x/2", qos: 2, packetID: 2))
    world.send("new", .publish(topic: "t/2", qos: 2, packetID: 9, properties: [.user("k", "v")]))
    world.expect("new", .publish(topic: "t/2", qos: 2, packetID: 3, properties: [.user("k", "v")]), .pubRec(9))
    world.expect("old", .publish(topic: "t/2", qos: 2, packetID: 1))
    world.send("old", .pubRec(1))
    world.expect("old", .pubRel(1))
    world.send("old", .pubComp(1), .unsubscribe(2, ["t/#"]), .disconnect())
    world.expectClosed("old", .unsubAck(2, []))
    world.finish()
  }

  /// 1 to 23 bytes by the standard. As with mosquitto an empty one is refused, and longer ones are taken.
  @Test func clientIdentifiersOfMQTT31() {
    let world = World()
    for count in [1, 22, 23, 24, 64] {
      world.connect("a", .v31, clientID: String(repeating: "x", count: count), cleanStart: count % 2 == 0)
      world.lose("a")
    }
    for (id, cleanStart) in [("", true), ("", false), (String(repeating: "x", count: 65), true)] {
      world.connect("b", .v31, clientID: id, cleanStart: cleanStart, reason: .clientIdentifierNotValid)
      world.expectClosed("b")
    }
    world.finish()
  }

  @Test func connAckOfMQTT31HasNoSessionPresent() {  // its first byte is reserved
    let world = World(clients: ["pub"])
    world.connect("a", .v31, cleanStart: false)
    world.subscribe("a", "t", qos: 1)
    world.lose("a")
    world.send("pub", .publish(topic: "t", payload: "kept", qos: 1, packetID: 1))
    world.expect("pub", .pubAck(1))
    #expect(!world.connect("a", .v31, cleanStart: false).sessionPresent)
    world.expect("a", .publish(topic: "t", payload: "kept", qos: 1, packetID: 1))
    world.lose("a")
    #expect(world.connect("a", .v311, cleanStart: false).sessionPresent)
    world.expect("a", .publish(topic: "t", payload: "kept", qos: 1, packetID: 1, dup: true))
    world.finish()
  }

  /// 3.1 §2.1: SUBSCRIBE, UNSUBSCRIBE and PUBREL that are sent again have DUP, as PUBLISH has.
  @Test func repeatsHaveDupInMQTT31() {
    let world = World()
    let subscribe = [0, 1] + string("t") + [1]
    let unsubscribe = [0, 2] + string("t")
    world.connect("a", .v31)
    world.send("a", bytes: packet(0x8A, subscribe) + packet(0xAA, unsubscribe) + packet(0x6A, [0, 3]))
    world.expect("a", .subAck(1, [.grantedQoS1]), .unsubAck(2, []), .pubComp(3))
    world.send("a", .publish(topic: "t", qos: 2, packetID: 4), .publish(topic: "t", qos: 2, packetID: 4, dup: true))
    world.send("a", bytes: packet(0x62, [0, 4]) + packet(0x6A, [0, 4]))
    world.expect("a", .pubRec(4), .pubRec(4), .pubComp(4), .pubComp(4))
    for flags in UInt8(0)...15 where flags != 2 && flags != 10 {
      for bytes in [packet(0x80 | flags, subscribe), packet(0xA0 | flags, unsubscribe), packet(0x60 | flags, [0, 3])] {
        world.connect("b", .v31)
        world.send("b", bytes: bytes)
        world.expectClosed("b")
      }
    }
    for version in [ProtocolVersion.v311, .v5] {
      let none: [UInt8] = version == .v5 ? [0] : []
      for bytes in [
        packet(0x8A, [0, 1] + none + string("t") + [1]), packet(0xAA, [0, 2] + none + string("t")),
        packet(0x6A, [0, 3]),
      ] {
        world.connect("c", version)
        world.send("c", bytes: bytes)
        #expect(world.takeAll("c") == (version == .v5 ? [.disconnect(.malformedPacket)] : []))
        #expect(!world.isOpen("c"))
      }
    }
    world.finish()
  }

  /// 3.1 §3.1: the Remaining Length takes precedence over the flags of user name and password.
  @Test func userNameMayBeMissingInMQTT31() {
    let world = World()
    var seen: [String] = []
    world.broker.onCredentials = { credentials in
      seen.append(
        "\(credentials.userName.map { plainText($0) } ?? "-") \(credentials.password.map { plainText($0) } ?? "-")")
      return .accept(.anonymous)
    }
    let rows: [(flags: UInt8, fields: [UInt8])] = [
      (0x82, []), (0xC2, []), (0xC2, string("ann")), (0xC2, string("ann") + string("secret")),
    ]
    for row in rows {
      world.attach("a", .v31)
      world.send("a", bytes: packet(0x10, string("MQIsdp") + [3, row.flags, 0, 0], string("a"), row.fields))
      world.expect("a", .connAck())
      world.lose("a")
    }
    #expect(seen == ["- -", "- -", "ann -", "ann secret"])
    world.finish()
  }

  @Test func brokenPacketsOfMQTT31CloseWithoutAWord() {
    let world = World()
    let connect = string("MQIsdp") + [3, 0x1E, 0, 0] + string("a") + string("w") + string("")  // Will QoS 3
    world.attach("a", .v31)
    world.send("a", bytes: packet(0x10, connect))
    world.expectClosed("a")
    for bytes: [UInt8] in [[0x36, 5, 0, 1, 0x61, 0, 1], [0x38, 3, 0, 1, 0x61], [0xF0, 0], [0x40, 3, 0, 1, 0]] {
      world.connect("a", .v31)
      world.send("a", bytes: bytes)
      world.expectClosed("a")
    }
    world.finish()
  }

  // MARK: Levels

  /// §3.1.2.2: what is not spoken here is refused in a form that its client reads: by 20 02 00 01 clients and bridges of
  /// mosquitto's kind know that they may try with another level.
  @Test func unknownLevelsAreRefusedSoThatTheClientFallsBack() {
    let rows: [(name: String, levels: [UInt8], form: ProtocolVersion)] = [
      ("MQTT", [0, 1, 2, 3, 0x80, 0x83, 0x86, 0xFF], .v311), ("MQTT", [6, 7, 0x7F], .v5),
      ("MQIsdp", [0, 2, 4, 5, 6, 0x80, 0x84, 0x85], .v311),
    ]
    let world = World()
    for row in rows {
      for level in row.levels {
        world.attach("a", row.form)
        world.send("a", bytes: packet(0x10, string(row.name) + [level, 2, 0, 0] + string("a")))
        #expect(world.takeAll("a") == [.connAck(.unsupportedProtocolVersion)], "\(row.name) \(level)")
        #expect(!world.isOpen("a"))
      }
    }
    #expect(world.pool("sessions").used == 0)
    world.finish()
  }

  // MARK: Bridges

  /// What a bridge of another broker publishes does not come back to it, and RETAIN is as it was published: else both
  /// brokers would send each other their own messages, and a change of a retained message would be lost.
  @Test(arguments: [ProtocolVersion.v31, .v311, .v5]) func bridgesGetNoEchoAndRetainAsPublished(
    version: ProtocolVersion
  ) {
    let world = World(clients: ["pub"])
    world.send("pub", .publish(topic: "t/kept", payload: "0", retain: true))
    for isBridge in [true, false] {
      world.connect("br", version, isBridge: isBridge)
      world.send("br", .subscribe(1, [Filter("#", qos: 1), Filter("t/+", qos: 1)]))
      world.expect("br", .subAck(1, [.grantedQoS1, .grantedQoS1]))
      _ = world.takeAll("br")  // retained messages, once for each filter
      world.send("br", .publish(topic: "t/own", payload: "x", qos: 1, packetID: 7))
      if isBridge {
        world.expect("br", .pubAck(7, version == .v5 ? .noMatchingSubscribers : .success))
      } else {
        let came = world.takeAll("br")
        #expect(came.contains(.pubAck(7)) && came.contains { $0.topic == "t/own" })
      }
      world.send("pub", .publish(topic: "t/kept", payload: "1", retain: true), .publish(topic: "t/live", payload: "2"))
      world.expect(
        "br", .publish(topic: "t/kept", payload: "1", retain: isBridge), .publish(topic: "t/live", payload: "2"))
      world.expectNothing("br")
      world.lose("br")
    }
    world.finish()
  }

  /// A bridge that was refused the bit may have subscribed without it: with the bit again it subscribes anew.
  @Test func aClientMayBecomeABridge() {
    let world = World()
    for isBridge in [false, true, false, true] {
      world.connect("br", .v311, isBridge: isBridge, cleanStart: false)
      world.subscribe("br", "t", qos: 0)
      world.send("br", .publish(topic: "t", payload: "x"))
      if !isBridge { world.expect("br", .publish(topic: "t", payload: "x")) }
      world.expectNothing("br")
      world.lose("br")
    }
    #expect(world.pool("subscriptions").used == 1)
    world.finish()
  }

  /// The CONNECT of a mosquitto bridge with its defaults: the bit, and a Will on its state.
  @Test func aMosquittoBridgeConnects() {
    let state = string("$SYS/broker/connection/br/state")
    for level: UInt8 in [4, 0x84] {
      let world = World(clients: ["watch"])
      world.subscribe("watch", "$SYS/broker/connection/#", qos: 1, retainAsPublished: true)
      world.attach("br", .v311)
      world.send(
        "br", bytes: packet(0x10, string("MQTT") + [level, 0x2E, 0, 0x3C] + string("br") + state + [0, 1, 0x30]))
      world.expect("br", .connAck())
      world.send(
        "br", .publish(topic: "$SYS/broker/connection/br/state", payload: "1", qos: 1, packetID: 1, retain: true))
      world.expect("br", .pubAck(1))
      world.lose("br")
      let topic = "$SYS/broker/connection/br/state"
      world.expect(
        "watch", .publish(topic: topic, payload: "1", qos: 1, packetID: 1, retain: true),
        .publish(topic: topic, payload: "0", qos: 1, packetID: 2, retain: true))
      world.connect("late")
      world.subscribe("late", "$SYS/broker/connection/+/state")
      world.expect("late", .publish(topic: topic, payload: "0", retain: true))
      world.finish()
    }
  }

  /// The state of a bridge is any client's to tell, in any version. Everything else under `$SYS` is the broker's.
  @Test(arguments: [ProtocolVersion.v31, .v311, .v5]) func onlyTheStateOfABridgeIsWritten(version: ProtocolVersion) {
    let base = "$SYS/broker/connection/"
    let rows: [(topic: String, isTaken: Bool)] = [
      (base + "br/state", true), (base + "other host.name/state", true), (base + "/state", true), (base + "br", false),
      (base + "br/", false), (base + "br/State", false), (base + "br/state/", false), (base + "br/state/x", false),
      (base + "a/b/state", false), (base + "state", false), (base, false), ("$SYS/broker/connections/br/state", false),
      ("/" + base + "br/state", true), ("$SYS/broker/uptime", false), ("$SYS/x", false), ("$SYS/", false),
      ("$SYS", false),
      ("$SYSx", true), ("$sys/x", true), ("$SY", true), ("$", true),
    ]
    let world = World(clients: ["watch"])
    world.send("watch", .subscribe(1, ["$SYS/#", "$SYS", "#", "$SYSx", "$sys/#", "$SY", "$"]))
    _ = world.takeAll("watch")
    world.connect("a", version)
    for (topic, isTaken) in rows {
      world.send("a", .publish(topic: topic, payload: "x", qos: 1, packetID: 1, retain: true))
      world.expect("a", .pubAck(1, isTaken || version != .v5 ? .success : .notAuthorized))
      #expect(world.takeAll("watch").count == (isTaken ? 1 : 0), "\(topic)")
      world.connect(
        "w", version, will: WillFields(topic: topic, payload: "y", retain: true),
        reason: isTaken ? .success : .notAuthorized)
      world.lose("w")
      let will = world.takeAll("watch")
      #expect(will == (isTaken ? [.publish(topic: topic, payload: "y")] : []), "\(topic)")
    }
    #expect(world.pool("retained").used == rows.count { $0.isTaken })
    world.finish()
  }
}
