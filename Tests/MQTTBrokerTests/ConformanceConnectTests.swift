import Bounded
import MQTTBroker
import MQTTWire
import Testing

/// Numbered statements about CONNECT, CONNACK, AUTH, DISCONNECT and Wills that no other suite shows; each test is named
/// in docs/conformance.md.
@Suite struct ConformanceConnectTests {
  /// What a broken packet is answered with: MQTT 5 says why, 3.1.1 has no packet for it.
  private func expectEnded(
    _ world: World, _ name: String, _ version: ProtocolVersion, _ reason: ReasonCode, _ what: String
  ) {
    #expect(world.takeAll(name) == (version == .v5 ? [.disconnect(reason)] : []), "\(what)")
    #expect(!world.isOpen(name), "\(what)")
  }

  // MARK: Fixed header

  @Test(arguments: [ProtocolVersion.v311, .v5]) func reservedFlagsEndIt(version: ProtocolVersion) {  // 2.1.3-1
    let v5 = version == .v5
    let packets: [(String, first: UInt8, body: [UInt8])] = [
      ("PUBACK", 0x40, [0, 1]), ("PUBREC", 0x50, [0, 1]), ("PUBREL", 0x62, [0, 1]), ("PUBCOMP", 0x70, [0, 1]),
      ("SUBSCRIBE", 0x82, [0, 1] + (v5 ? [0] : []) + string("t") + [0]),
      ("UNSUBSCRIBE", 0xA2, [0, 1] + (v5 ? [0] : []) + string("t")),
      ("PINGREQ", 0xC0, []), ("DISCONNECT", 0xE0, []), ("AUTH", 0xF0, []),
    ]
    let world = World()
    for (name, first, body) in packets {
      for flags in UInt8(0)...15 where flags != first & 0x0F {
        world.connect("a", version, will: WillFields(topic: "w"))
        world.send("a", bytes: packet(first & 0xF0 | flags, body))
        expectEnded(world, "a", version, .malformedPacket, "\(name) with flags \(flags)")
      }
    }
    #expect(world.broker.counters.malformedClosed == UInt64(packets.count * 15))
    #expect(world.broker.counters.publishesReceived == 0)
    world.finish()
  }

  @Test(arguments: [ProtocolVersion.v311, .v5]) func serversPacketsEndIt(version: ProtocolVersion) {  // 4.13.1-1
    let world = World()
    let packets: [(String, [UInt8])] = [
      ("CONNACK", [0x20, 2, 0, 0]), ("SUBACK", [0x90, 3, 0, 1, 0]), ("UNSUBACK", [0xB0, 2, 0, 1]),
      ("PINGRESP", [0xD0, 0]), ("AUTH", [0xF0, 0]),
    ]
    for (name, bytes) in packets {
      world.connect("a", version)
      world.send("a", bytes: bytes)
      expectEnded(world, "a", version, .protocolError, name)
    }
    world.connect("a", version)
    world.send("a", bytes: [0x00, 0])  // type 0 is forbidden
    expectEnded(world, "a", version, .malformedPacket, "type 0")
    world.finish()
  }

  // MARK: CONNECT

  @Test(arguments: [ProtocolVersion.v311, .v5]) func connectFlagsAndPayloadAgree(version: ProtocolVersion) {
    // 3.1.2-9, 3.1.2-16 to 3.1.2-19; in 3.1.1 also 3.1.2-11 and 3.1.2-22
    let none: [UInt8] = version == .v5 ? [0] : []  // no properties
    let will = none + string("w") + string("gone")
    let bad: [(String, flags: UInt8, fields: [UInt8])] = [
      ("a user name without its flag", 0x02, string("user")), ("no user name with its flag", 0x82, []),
      ("a password without its flag", 0x82, string("user") + string("secret")),
      ("no password with its flag", 0xC2, string("user")), ("a Will without its flag", 0x02, will),
      ("no Will with its flag", 0x06, []), ("a Will Topic only", 0x06, none + string("w")),
      ("Will QoS without a Will", 0x0A, []), ("Will Retain without a Will", 0x22, []), ("Will QoS 3", 0x1E, will),
      ("the reserved flag", 0x03, []),
    ]
    let world = World()
    func connect(_ flags: UInt8, _ fields: [UInt8]) {
      world.attach("a", version)
      let header = string("MQTT") + [version.rawValue, flags, 0, 0] + none
      world.send("a", bytes: packet(0x10, header, string("a"), fields))
    }
    for row in bad {
      connect(row.flags, row.fields)
      #expect(world.takeAll("a") == (version == .v5 ? [.connAck(.malformedPacket)] : []), "\(row.0)")
      #expect(!world.isOpen("a"), "\(row.0)")
    }
    connect(0xC6, will + string("user") + string("secret"))  // all of them, in their order (3.1.3-1)
    guard case .connAck(.success, false, _)? = world.takeFirst("a") else {
      Issue.record("a complete CONNECT is refused")
      return
    }
    world.finish()
  }

  @Test(arguments: [ProtocolVersion.v311, .v5]) func clientIDIsUTF8AndPresent(version: ProtocolVersion) {
    // 3.1.3-3, 3.1.3-4
    let none: [UInt8] = version == .v5 ? [0] : []
    let world = World()
    for id: [UInt8] in [[], [0], [0, 2, 0x61], [0, 1, 0], [0, 1, 0xFF], [0, 3, 0xED, 0xA0, 0x80]] {
      world.attach("a", version)
      world.send("a", bytes: packet(0x10, string("MQTT") + [version.rawValue, 2, 0, 0] + none + id))
      #expect(!world.isOpen("a"), "\(id)")
      let answer = world.takeAll("a")
      #expect(answer == [] || answer == [.connAck(.malformedPacket)], "\(id)")
    }
    #expect(world.pool("sessions").used == 0)
    world.finish()
  }

  @Test(arguments: [ProtocolVersion.v311, .v5]) func everyShortClientIDIsTaken(version: ProtocolVersion) {  // 3.1.3-5
    let letters = Array("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ").map(String.init)
    let ids = letters + stride(from: 0, to: 62, by: 23).map { letters[$0..<min($0 + 23, 62)].joined() }
    #expect(ids.map(\.utf8.count).max() == 23)
    let world = World()
    for id in ids {
      world.connect(id, version, cleanStart: true)
      world.lose(id)
    }
    world.finish()
  }

  @Test func clientIDsAreComparedExactly() {  // 3.1.3-2: each names its own session
    let world = World()
    for id in ["dev", "Dev", "dev ", "de", "de\u{301}v"] {
      #expect(!world.connect(id, clientID: id, cleanStart: false, sessionExpiry: 100).sessionPresent, "\(id)")
    }
    #expect(world.pool("sessions").used == 5)
    world.lose("Dev")
    #expect(world.connect("Dev", cleanStart: false).sessionPresent)
    world.finish()
  }

  @Test(arguments: [ProtocolVersion.v311, .v5]) func cleanStartLeavesNothing(version: ProtocolVersion) {
    // 3.1.2-4; in 3.1.1 3.1.2-6: no subscription, no message, no packet id
    let world = World(clients: ["pub"])
    let expiry: UInt32? = version == .v5 ? 100 : nil
    world.connect("a", version, cleanStart: false, sessionExpiry: expiry)
    world.subscribe("a", "t", qos: 2)
    for id in UInt16(1)...20 { world.send("pub", .publish(topic: "t", qos: 1, packetID: id)) }
    world.send("a", .publish(topic: "t", qos: 2, packetID: 9))
    world.lose("a")
    #expect(!world.connect("a", version, cleanStart: true, sessionExpiry: expiry).sessionPresent)
    world.expectNothing("a")
    #expect(world.pool("subscriptions").used == 0)
    #expect(world.pool("deliveries").used == 0)
    #expect(world.pool("messages").used == 0)
    world.subscribe("a", "t", qos: 0)
    world.send("a", .publish(topic: "t", payload: "new", qos: 2, packetID: 9))
    world.expect("a", .publish(topic: "t", payload: "new"), .pubRec(9))
    world.finish()
  }

  // MARK: CONNACK

  @Test func capabilitiesThatAreLoweredAreTold() {  // §3.2.2.3; 3.2.2-13
    var limits = Limits.forTests
    limits.retainedMax = 0
    limits.sharedGroupsMax = 0
    limits.topicAliasMax = 0
    limits.inflightMax = 5
    limits.packetBytesMax = 2048
    limits.keepAliveSecondsMax = 20
    limits.sessionExpirySecondsMax = 30
    let world = World(limits: limits)
    #expect(
      world.connect("a", keepAliveSeconds: 60, sessionExpiry: 40, properties: [.number(.topicAliasMaximum, 10)])
        .properties == [
          .sessionExpiry(30), .number(.receiveMaximum, 5), .number(.retainAvailable, 0),
          .number(.maximumPacketSize, 2048), .number(.sharedSubscriptionAvailable, 0), .number(.serverKeepAlive, 20),
        ])
    world.send("a", .subscribe(1, ["$share/g/topic", "topic"]))
    world.expect("a", .subAck(1, [.sharedSubscriptionsNotSupported, .success]))
    world.send("a", .publish(topic: "topic", payload: "x"))
    world.expect("a", .publish(topic: "topic", payload: "x"))  // we send no aliases either
    world.send("a", .publish(topic: "topic", payload: "x", retain: true))
    world.expectClosed("a", .disconnect(.retainNotSupported))
    world.connect("b", will: WillFields(topic: "w", retain: true), reason: .retainNotSupported)
    world.expectClosed("b")
    world.connect("c")
    world.send("c", .publish(topic: "topic", properties: [.alias(1)]))
    world.expectClosed("c", .disconnect(.topicAliasInvalid))
    world.connect("old", .v311)
    world.send("old", .subscribe(1, ["$share/g/topic"]))
    world.expect("old", .subAck(1, [.unspecifiedError]))
    world.finish()
  }

  @Test func responseInformationIsNeverSent() {  // 3.1.2-28
    let world = World()
    for wanted in UInt32(0)...1 {
      let answer = world.connect("a\(wanted)", properties: [.number(.requestResponseInformation, wanted)])
      #expect(!answer.properties.contains { if case .text(.responseInformation, _) = $0 { true } else { false } })
    }
    world.finish()
  }

  @Test func refusalHasNoSessionPresent() {  // 3.2.2-6, and the session is left as it was
    let world = World()
    world.connect("a", sessionExpiry: 100)
    world.lose("a")
    let answer = world.connect(
      "a", cleanStart: false, properties: [.text(.authenticationMethod, "M")], reason: .badAuthenticationMethod)
    #expect(!answer.sessionPresent)
    world.expectClosed("a")
    world.attach("a", .v311, allowsAnonymous: false)
    world.send("a", .connect(ConnectFields(version: .v311, clientID: "a", cleanStart: false)))
    world.expectClosed("a", .connAck(.notAuthorized))
    #expect(world.connect("a", cleanStart: false).sessionPresent)
    world.finish()
  }

  @Test(arguments: [ProtocolVersion.v311, .v5]) func nothingIsTakenAfterARefusal(version: ProtocolVersion) {
    let world = World()  // 3.1.4-6; in 3.1.1 3.1.4-5
    world.attach("a", version, allowsAnonymous: false)
    world.send(
      "a", .connect(ConnectFields(version: version, clientID: "a")), .publish(topic: "t", payload: "x", retain: true),
      .subscribe(1, ["t"]), .pingReq)
    world.expectClosed("a", .connAck(.notAuthorized))
    #expect(world.broker.counters.publishesReceived == 0)
    #expect(world.pool("retained").used == 0)
    #expect(world.pool("sessions").used == 0)
    world.finish()
  }

  // MARK: Authentication (§4.12)

  @Test func authenticationDataNeedsAMethod() {  // §3.1.2.11.10
    let world = World()
    world.connect("a", properties: [.text(.authenticationData, "secret")], reason: .protocolError)
    world.expectClosed("a")
    world.finish()
  }

  @Test func authIsNotForThoseWithoutAMethod() {  // 4.12.0-6, 4.12.0-7
    let world = World()
    for reason in [UInt8(0x18), 0x19] {
      world.connect("a")
      world.send("a", bytes: packet(0xF0, [reason, 4, 0x15, 0, 1, 0x4D]))
      world.expectClosed("a", .disconnect(.protocolError))
    }
    world.finish()
  }

  // MARK: DISCONNECT

  @Test(arguments: [ProtocolVersion.v311, .v5]) func nothingIsTakenAfterADisconnect(version: ProtocolVersion) {
    let world = World()  // 3.14.4-1, 3.14.4-2
    world.connect("a", version)
    world.send("a", .disconnect(), .publish(topic: "t", payload: "x", retain: true), .pingReq)
    world.expectClosed("a")
    #expect(world.pool("retained").used == 0)
    world.finish()
  }

  @Test func nothingFollowsOurDisconnect() {  // 3.14.4-1, whatever waits and whatever comes
    let world = World(clients: ["pub"])
    world.connect("a", sessionExpiry: 100)
    world.subscribe("a", "t", qos: 1)
    world.read("a", bytesPerFlush: 0)
    world.send("pub", .publish(topic: "t", payload: "before", qos: 1, packetID: 1))
    world.send("a", .auth, .pingReq, .subscribe(9, ["t"]))
    world.send("pub", .publish(topic: "t", payload: "after"), .publish(topic: "t", qos: 1, packetID: 2))
    world.read("a", bytesPerFlush: nil)
    world.expectClosed(
      "a", .publish(topic: "t", payload: "before", qos: 1, packetID: 1), .disconnect(.protocolError))
    world.finish()
  }

  // MARK: Wills

  private func watched(
    _ expiry: UInt32?, delay: UInt32, retain: Bool = false, version: ProtocolVersion = .v5
  ) -> World {
    let world = World(clients: ["watch"])
    world.subscribe("watch", "w")
    world.connect(
      "dev", version, sessionExpiry: expiry,
      will: WillFields(topic: "w", retain: retain, properties: [.number(.willDelayInterval, delay)]))
    return world
  }

  @Test func willWaitsItsDelayAfterAProtocolError() {  // 3.1.2-8
    let world = watched(100, delay: 10)
    world.send("dev", .auth)
    world.expectClosed("dev", .disconnect(.protocolError))
    world.advance(seconds: 9.9)
    world.expectNothing("watch")
    world.advance(seconds: 0.1)
    world.expect("watch", .publish(topic: "w", payload: "gone"))
    world.advance(seconds: 200)  // once (3.1.2-10)
    world.expectNothing("watch")
    world.finish()
  }

  @Test func willComesWhenDisconnectEndsTheSession() {  // 3.1.2-8: the session ends before the delay does
    let world = watched(100, delay: 10)
    world.send("dev", .disconnect(.disconnectWithWill, properties: [.sessionExpiry(0)]))
    world.expect("watch", .publish(topic: "w", payload: "gone"))
    world.finish()
  }

  @Test func willIsGoneWhenANormalDisconnectEndsTheSession() {  // 3.14.4-3
    let world = watched(100, delay: 0)
    world.send("dev", .disconnect(properties: [.sessionExpiry(0)]))
    world.expectClosed("dev")
    #expect(world.pool("messages").used == 0)
    world.advance(seconds: 200)
    world.expectNothing("watch")
    world.finish()
  }

  @Test func willComesAfterADisconnectThatIsAnError() {  // 3.1.2-8: a session from nothing (§3.14.2.2.2)
    let world = watched(nil, delay: 10)
    world.send("dev", .disconnect(properties: [.sessionExpiry(10)]))
    world.expectClosed("dev", .disconnect(.protocolError))
    world.expect("watch", .publish(topic: "w", payload: "gone"))
    world.finish()
  }

  @Test(arguments: [ProtocolVersion.v311, .v5]) func willIsRetainedOnlyIfAsked(version: ProtocolVersion) {
    // 3.1.2-14, 3.1.2-15; in 3.1.1 3.1.2-16, 3.1.2-17
    for retain in [false, true] {
      let world = watched(nil, delay: 0, retain: retain, version: version)
      world.lose("dev")
      world.expect("watch", .publish(topic: "w", payload: "gone"))
      #expect(world.pool("retained").used == (retain ? 1 : 0))
      world.publish(topic: "w", retain: true)
      world.finish()
    }
  }
}
