import Bounded
import MQTTBroker
import MQTTWire
import Testing

/// CONNECT and CONNACK, refusals, takeover (§3.1, §3.2, §4.1).
@Suite struct ConnectTests {
  @Test func connAckTellsTheLimits() {  // §3.2.2.3
    let world = World()
    let answer = world.connect("a", keepAliveSeconds: 60)
    #expect(!answer.sessionPresent)
    #expect(
      answer.properties == [
        .number(.receiveMaximum, 16), .number(.maximumPacketSize, 65_536), .number(.topicAliasMaximum, 8),
      ])
    world.finish()
  }

  /// Every begin has its end, and the end says how.
  @Test func presenceTellsHowAConnectionEnded() {
    let world = World()
    var told: [String] = []
    world.broker.onPresence = { presence in
      let name = String(decoding: presence.clientID.array(), as: UTF8.self)
      switch presence.change {
      case .connected: told.append("\(name) here")
      case .disconnected(let reason): told.append("\(name) said \(reason.text)")
      case .lost: told.append("\(name) lost")
      case .closed(let reason): told.append("\(name) closed: \(reason.text)")
      }
    }
    func take() -> [String] {
      defer { told = [] }
      return told
    }
    world.connect("a")
    world.send("a", .disconnect())
    #expect(take() == ["a here", "a said \(ReasonCode.success.text)"])
    world.connect("a")
    world.send("a", .disconnect(.disconnectWithWill))
    #expect(take() == ["a here", "a said \(ReasonCode.disconnectWithWill.text)"])
    world.connect("a", .v311)
    world.lose("a")
    #expect(take() == ["a here", "a lost"])
    world.connect("a", keepAliveSeconds: 10)
    world.advance(seconds: 16)
    #expect(take() == ["a here", "a closed: \(ReasonCode.keepAliveTimeout.text)"])
    world.connect("a")
    world.connect("b", clientID: "a")
    #expect(take() == ["a here", "a closed: \(ReasonCode.sessionTakenOver.text)", "a here"])
  }

  @Test func connAckOfOldVersionIsFourBytes() {  // 3.1.1 §3.2
    let world = World()
    let answer = world.connect("a", .v311, keepAliveSeconds: 60)
    #expect(!answer.sessionPresent)
    #expect(answer.properties == [])
    world.expectNothing("a")
    world.finish()
  }

  @Test func sessionPresentOnlyWhenKeptAndNotCleaned() {  // §3.1.2.4, §3.2.2.1.1
    let world = World()
    #expect(!world.connect("a", cleanStart: false, sessionExpiry: 60).sessionPresent)
    world.send("a", .disconnect())
    world.expectClosed("a")
    #expect(world.connect("a", cleanStart: false, sessionExpiry: 60).sessionPresent)
    world.lose("a")
    #expect(!world.connect("a", cleanStart: true, sessionExpiry: 60).sessionPresent)
    world.lose("a")
    #expect(world.connect("a", cleanStart: false).sessionPresent)
    world.lose("a")  // expiry 0 now
    #expect(!world.connect("a", cleanStart: false).sessionPresent)
    world.finish()
  }

  @Test func oldVersionKeepsTheSessionWithoutCleanSession() {  // 3.1.1 §3.1.2.4
    let world = World()
    #expect(!world.connect("a", .v311, cleanStart: false).sessionPresent)
    world.lose("a")
    #expect(world.connect("a", .v311, cleanStart: false).sessionPresent)
    world.lose("a")
    #expect(!world.connect("a", .v311, cleanStart: true).sessionPresent)
    world.lose("a")
    #expect(!world.connect("a", .v311, cleanStart: false).sessionPresent)
    world.finish()
  }

  @Test func sessionGoesFromOneVersionToTheOther() {
    let world = World(clients: ["pub"])
    world.connect("a", .v311, cleanStart: false)
    world.subscribe("a", "t", qos: 1)
    world.lose("a")
    world.send("pub", .publish(topic: "t", payload: "x", qos: 1, packetID: 1, properties: [.user("k", "v")]))
    world.expect("pub", .pubAck(1))
    #expect(world.connect("a", .v5, cleanStart: false, sessionExpiry: 9).sessionPresent)
    world.expect("a", .publish(topic: "t", payload: "x", qos: 1, packetID: 1, properties: [.user("k", "v")]))
    world.finish()
  }

  private func assignedID(_ properties: [Prop]) -> String? {
    for property in properties {
      if case .text(.assignedClientIdentifier, let id) = property { return id }
    }
    return nil
  }

  @Test func emptyClientIDGetsOneAssigned() {  // §3.1.3-6, §3.2.2.3.7
    let world = World()
    let assigned = ["a", "b"].compactMap { assignedID(world.connect($0, clientID: "").properties) }
    #expect(assigned.count == 2)
    #expect(Set(assigned).count == 2)
    #expect(assigned.allSatisfy { $0.hasPrefix("tapline-") && $0.utf8.count == 24 })
    world.finish()
  }

  private func assigned(_ keys: BrokerKeys, count: Int) -> [String] {
    let world = World(keys: keys)
    let assigned = (0..<count).compactMap { assignedID(world.connect("c\($0)", clientID: "").properties) }
    world.finish()
    return assigned
  }

  @Test func assignedClientIDsFollowFromTheirOwnKeyOnly() {
    let one = HashKey(low: 1, high: 1)
    let other = HashKey(low: 2, high: 1)
    let first = assigned(BrokerKeys(names: one, identifiers: one), count: 3)
    #expect(assigned(BrokerKeys(names: other, identifiers: one), count: 3) == first)
    let second = assigned(BrokerKeys(names: one, identifiers: other), count: 3)
    #expect(Set(first + second).count == 6)
  }

  /// Undoes SplitMix64, whose numbers these once were: from one of them all others followed.
  @Test func assignedClientIDTellsNothingOfTheNext() {
    let numbers = assigned(BrokerKeys(repeatable: 1), count: 2).compactMap { UInt64($0.dropFirst(8), radix: 16) }
    #expect(numbers.count == 2)
    func unshifted(_ value: UInt64, _ shift: UInt64) -> UInt64 { value ^ value >> shift ^ value >> (2 * shift) }
    func mixed(_ state: UInt64) -> UInt64 {
      var value = (state ^ state >> 30) &* 0xBF58_476D_1CE4_E5B9
      value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
      return value ^ value >> 31
    }
    var state = unshifted(numbers[0], 31) &* 0x3196_42B2_D24D_8EC3
    state = unshifted(state, 27) &* 0x96DE_1B17_3F11_9089
    state = unshifted(state, 30)
    #expect(mixed(state) == numbers[0])
    #expect(mixed(state &+ 0x9E37_79B9_7F4A_7C15) != numbers[1])
    #expect(numbers[0] &+ 1 != numbers[1])
  }

  @Test func assignedClientIDCanBeUsedAgain() {  // §3.1.3.1
    let world = World()
    let id = assignedID(world.connect("a", clientID: "", sessionExpiry: 60).properties) ?? ""
    world.lose("a")
    #expect(world.connect("a", clientID: id, cleanStart: false).sessionPresent)
    world.finish()
  }

  @Test func emptyClientIDOfOldVersionNeedsCleanSession() {  // 3.1.1 §3.1.3-7, §3.1.3-8
    let world = World()
    world.connect("a", .v311, clientID: "", cleanStart: true)
    world.connect("b", .v311, clientID: "", cleanStart: false, reason: .clientIdentifierNotValid)
    world.expectClosed("b")
    world.finish()
  }

  @Test func clientIDOverTheLimitIsRefused() {  // §3.1.3-8: 0x85
    let world = World()
    world.connect("a", clientID: String(repeating: "x", count: 64))
    world.connect("b", clientID: String(repeating: "x", count: 65), reason: .clientIdentifierNotValid)
    world.expectClosed("b")
    world.connect("c", .v311, clientID: String(repeating: "x", count: 65), reason: .clientIdentifierNotValid)
    world.expectClosed("c")
    #expect(world.broker.counters.connectsRefused == 2)
    world.finish()
  }

  @Test func anonymousClientsAreLetInOnlyWhereAllowed() {  // §3.2.2.2: 0x87, 3.1.1: 5
    let world = World()
    world.attach("a", allowsAnonymous: false)
    world.send("a", .connect(ConnectFields(clientID: "a")))
    world.expectClosed("a", .connAck(.notAuthorized))
    world.attach("b", .v311, allowsAnonymous: false)
    world.send("b", .connect(ConnectFields(version: .v311, clientID: "b")))
    world.expectClosed("b", .connAck(.notAuthorized))
    world.finish()
  }

  @Test func enhancedAuthenticationIsRefused() {  // §4.12: 0x8C
    let world = World()
    world.connect("a", properties: [.text(.authenticationMethod, "SCRAM")], reason: .badAuthenticationMethod)
    world.expectClosed("a")
    world.finish()
  }

  @Test func unknownProtocolIsAnsweredInTheNearestVersion() {  // §3.1.2.2: 0x84, 3.1.1: 1
    let world = World()
    world.attach("six")
    world.send("six", .raw(packet(0x10, string("MQTT") + [6, 2, 0, 0, 0], string("x"))))
    world.expectClosed("six", .connAck(.unsupportedProtocolVersion))
    world.attach("three", .v311)
    world.send("three", .raw(packet(0x10, string("MQTT") + [3, 2, 0, 0], string("x"))))
    world.expectClosed("three", .connAck(.unsupportedProtocolVersion))
    world.finish()
  }

  @Test func malformedConnectIsAnsweredByMQTT5Only() {  // §3.1.4-1; 3.1.1 §3.1.4-1 closes without a word
    let world = World()
    world.attach("new")
    world.send("new", .raw(packet(0x10, string("MQTT") + [5, 0x03, 0, 0, 0], string("x"))))  // reserved flag
    world.expectClosed("new", .connAck(.malformedPacket))
    world.attach("old", .v311)
    world.send("old", .raw(packet(0x10, string("MQTT") + [4, 0x03, 0, 0], string("x"))))
    world.expectClosed("old")
    #expect(world.broker.counters.malformedClosed == 2)
    world.finish()
  }

  @Test func firstPacketIsConnect() {  // §3.1.0-1
    let world = World()
    let first: [Packet] = [
      .pingReq, .publish(topic: "a", payload: "x"), .subscribe(1, ["a"]), .disconnect(), .auth, .pubAck(1),
    ]
    for (index, packet) in first.enumerated() {
      world.attach("\(index)")
      world.send("\(index)", packet)
      world.expectClosed("\(index)")
    }
    #expect(world.broker.counters.protocolErrorClosed == UInt64(first.count))
    #expect(world.pool("sessions").used == 0)
    world.finish()
  }

  @Test func secondConnectIsAProtocolError() {  // §3.1.0-2
    let world = World(clients: ["a"], old: ["b"])
    world.send("a", .connect(ConnectFields(clientID: "a")), .pingReq)
    world.expectClosed("a", .disconnect(.protocolError))
    world.send("b", .connect(ConnectFields(version: .v311, clientID: "b")), .pingReq)
    world.expectClosed("b")
    world.finish()
  }

  @Test func authIsAProtocolErrorWithoutAMethod() {  // §4.12
    let world = World(clients: ["a"])
    world.send("a", .auth)
    world.expectClosed("a", .disconnect(.protocolError))
    world.finish()
  }

  @Test func packetsRightBehindConnectAreTaken() {  // §3.1.4: clients need not wait for CONNACK
    let world = World()
    world.attach("a")
    world.send("a", .connect(ConnectFields(clientID: "a")), .subscribe(1, ["a"]), .publish(topic: "a"), .pingReq)
    _ = world.takeFirst("a")
    world.expect("a", .subAck(1, [.success]), .publish(topic: "a"), .pingResp)
    world.finish()
  }

  @Test func connectCutAtEveryByte() {
    let bytes = Packet.connect(ConnectFields(clientID: "cut", will: WillFields(topic: "w"))).bytes(.v5)
    for length in 1..<bytes.count {
      let world = World()
      world.attach("a")
      world.send("a", bytes: Array(bytes[..<length]))
      world.expectNothing("a")
      world.send("a", bytes: Array(bytes[length...]) + [0xC0, 0x00])
      _ = world.takeFirst("a")
      world.expect("a", .pingResp)
      world.finish()
    }
  }

  // MARK: Takeover

  @Test func takeoverDisconnectsTheOlderConnection() {  // §3.1.4-3
    let world = World(clients: ["pub"])
    world.connect("a1", clientID: "a", sessionExpiry: 60)
    world.subscribe("a1", "t", qos: 1)
    #expect(world.connect("a2", clientID: "a", cleanStart: false, sessionExpiry: 60).sessionPresent)
    world.expectClosed("a1", .disconnect(.sessionTakenOver))
    world.send("pub", .publish(topic: "t", qos: 1, packetID: 1))
    world.expect("a2", .publish(topic: "t", qos: 1, packetID: 1))
    #expect(world.pool("connections").used == 2)
    #expect(world.pool("sessions").used == 2)
    world.finish()
  }

  @Test func takeoverWithCleanStartBeginsAnew() {  // §3.1.2-4
    let world = World(clients: ["pub"])
    world.connect("a1", clientID: "a", sessionExpiry: 60)
    world.subscribe("a1", "t", qos: 1)
    #expect(!world.connect("a2", clientID: "a").sessionPresent)
    world.expectClosed("a1", .disconnect(.sessionTakenOver))
    world.send("pub", .publish(topic: "t", qos: 1, packetID: 1))
    world.expect("pub", .pubAck(1, .noMatchingSubscribers))
    world.expectNothing("a2")
    world.finish()
  }

  @Test func takeoverOfAnOldVersionClosesWithoutAWord() {  // 3.1.1 §3.1.4-2
    let world = World()
    world.connect("a1", .v311, clientID: "a")
    world.connect("a2", .v311, clientID: "a")
    world.expectClosed("a1")
    world.expectNothing("a2")
    world.finish()
  }

  @Test func takeoverOfAStuckConnection() {  // its bytes may still wait
    let world = World(clients: ["pub"])
    world.connect("a1", clientID: "a", sessionExpiry: 60)
    world.subscribe("a1", "t", qos: 1)
    world.read("a1", bytesPerFlush: 0)
    for id in 1...20 { world.send("pub", .publish(topic: "t", payload: "\(id)", qos: 1, packetID: UInt16(id))) }
    #expect(world.connect("a2", clientID: "a", cleanStart: false, sessionExpiry: 60).sessionPresent)
    for id in 1...16 {
      world.expect("a2", .publish(topic: "t", payload: "\(id)", qos: 1, packetID: UInt16(id), dup: true))
    }
    world.expectNothing("a2")
    world.advance(seconds: 11)  // the broker gives the stuck one up
    #expect(!world.isOpen("a1"))
    world.finish()
  }

  @Test func refusedConnectTakesNothingOver() {
    let world = World()
    world.connect("a1", clientID: "a")
    world.connect(
      "a2", clientID: "a", properties: [.text(.authenticationMethod, "X")], reason: .badAuthenticationMethod)
    world.expectNothing("a1")
    world.finish()
  }

  @Test func placesComeAndGo() {  // every connection is announced, however many came and went in one turn
    let world = World()
    for turn in 0..<100 {
      #expect(world.attach("a\(turn)"))
      world.client("a\(turn)").outgoing = Packet.connect(ConnectFields(clientID: "a")).bytes(.v5)
      world.settle()
      #expect(world.takeAll("a\(turn)").count == 1)
    }
    world.finish()
  }

  // MARK: Where client identifiers lie

  @Test func clientIDCellsRunOut() {  // 32 bytes are each session's own
    var limits = Limits.forTests
    limits.clientIDCellsMax = 1
    let world = World(limits: limits)
    func long(_ letter: String, _ count: Int) -> String { String(repeating: letter, count: count) }
    world.connect("a", clientID: long("a", 64))
    world.connect("b", clientID: long("b", 33), reason: .quotaExceeded)
    world.expectClosed("b")
    world.connect("old", .v311, clientID: long("c", 64), reason: .serverUnavailable)
    world.expectClosed("old")
    #expect(world.pool("client_id_cells").refused == 2)
    for number in 1..<limits.sessionsMax {  // as many sessions as there are, all the same
      let name = long("s", 30) + "\(10 + number)"
      world.connect(name, sessionExpiry: 100)
      world.lose(name)
    }
    #expect(world.pool("sessions").used == limits.sessionsMax)
    #expect(world.pool("client_id_cells").used == limits.sessionsMax + 1)
    world.connect("again", clientID: long("a", 64))  // what it has itself is room enough
    world.expectClosed("a", .disconnect(.sessionTakenOver))
    world.lose("again")
    world.connect("b", clientID: long("b", 64))
    world.finish()
  }

  @Test func clientIDMayLieInPieces() {
    let world = World(clients: ["x", "y", "z"])
    var told = ""
    world.broker.onPresence = { told = String(decoding: $0.clientID.array(), as: UTF8.self) }
    world.lose("x")  // its cell lies before that of y
    let name = String(repeating: "n", count: 32) + String(repeating: "m", count: 32)
    world.connect("a", clientID: name, sessionExpiry: 100)
    #expect(told == name)
    world.lose("a")
    #expect(world.connect("a", clientID: name, cleanStart: false).sessionPresent)
    world.connect("b", clientID: String(name.dropLast()) + "n", cleanStart: false)
    #expect(told.hasSuffix("mn"))
    world.send("a", .pingReq)
    world.expect("a", .pingResp)
    world.finish()
  }
}
