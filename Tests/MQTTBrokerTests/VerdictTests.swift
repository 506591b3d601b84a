import Bounded
import MQTTBroker
import MQTTWire
import Testing

/// CONNECT whose verdict comes later (§3.1.4): late, never, after the connection's end, for a place that is used again.
@Suite struct VerdictTests {
  /// Keeps every CONNECT waiting, but for those whose verdict it has.
  private final class Judge {
    var asked: [LinkSerial] = []
    var known: [String: Verdict] = [:]
    var seen: [(user: String?, version: ProtocolVersion, allowsAnonymous: Bool)] = []
  }

  private func judged(clients: [String] = [], limits: Limits = .forTests) -> (World, Judge) {
    let world = World(clients: clients, limits: limits)
    let judge = Judge()
    world.broker.onCredentials = { credentials in
      judge.asked.append(credentials.serial)
      judge.seen.append((credentials.userName.map(text), credentials.version, credentials.allowsAnonymous))
      return judge.known[text(credentials.clientID)]
    }
    return (world, judge)
  }

  private func park(
    _ world: World, _ name: String, _ version: ProtocolVersion = .v5, clientID: String? = nil,
    cleanStart: Bool = true, properties: [Prop] = [], will: WillFields? = nil
  ) {
    world.attach(name, version)
    world.send(
      name,
      .connect(
        ConnectFields(
          version: version, clientID: clientID ?? name, cleanStart: cleanStart, properties: properties, will: will)))
    world.expectNothing(name)
    #expect(!world.wantsInput(name))
  }

  private func expectWelcome(_ world: World, _ name: String, sessionPresent: Bool = false) {
    guard case .connAck(.success, sessionPresent, _)? = world.takeFirst(name) else {
      Issue.record("\(name) is not let in")
      return
    }
  }

  // MARK: Late

  @Test(arguments: [ProtocolVersion.v311, .v5]) func aLateVerdictIsAVerdict(version: ProtocolVersion) {
    let (world, judge) = judged()
    park(world, "in", version)
    park(world, "out", version)
    #expect(world.pool("partial_blocks").used == 2)
    world.advance(seconds: 5)
    world.answer(judge.asked[1], .refuse(.badUserNameOrPassword))
    world.answer(judge.asked[0], .accept(.anonymous))
    expectWelcome(world, "in")
    #expect(world.wantsInput("in"))
    world.expectClosed("out", .connAck(.badUserNameOrPassword))
    #expect(world.pool("partial_blocks").used == 0)
    world.send("in", .pingReq)
    world.expect("in", .pingResp)
    world.finish()
  }

  @Test func whoKnowsAnswersAtOnce() {
    let (world, judge) = judged()
    judge.known = ["in": .accept(.anonymous), "out": .refuse(.banned)]
    world.connect("in")
    world.connect("out", reason: .banned)
    #expect(!world.isOpen("out"))
    world.finish()
  }

  @Test func theJudgeSeesWhoAsks() {
    let (world, judge) = judged()
    world.attach("a", .v311, allowsAnonymous: false)
    world.send("a", .connect(ConnectFields(version: .v311, clientID: "a", userName: "ann")))
    park(world, "b")
    #expect(judge.seen[0] == ("ann", .v311, false))
    #expect(judge.seen[1] == (nil, .v5, true))
    world.answer(judge.asked[0], .accept(.anonymous))  // a verdict stands above the listener's rule
    expectWelcome(world, "a")
    world.lose("b")
    world.finish()
  }

  /// A client need not wait for CONNACK (§3.1.4); whatever it sent comes in its order, wherever its bytes were cut.
  @Test func whatFollowsTheConnectWaits() {
    let packets: [Packet] = [
      .connect(ConnectFields(clientID: "c", will: WillFields(topic: "w"))), .subscribe(1, ["a"]),
      .publish(topic: "a", payload: "1", qos: 1, packetID: 2), .publish(topic: "a", payload: "2"), .pingReq,
    ]
    let bytes = packets.flatMap { $0.bytes(.v5) }
    for cut in 1..<bytes.count {
      let (world, judge) = judged()
      world.attach("c")
      world.send("c", bytes: Array(bytes[..<cut]))
      // Between the two parts.
      if cut % 2 == 0, let serial = judge.asked.first { world.answer(serial, .accept(.anonymous)) }
      world.send("c", bytes: Array(bytes[cut...]))
      #expect(judge.asked.count == 1)
      world.answer(judge.asked[0], .accept(.anonymous))  // after the first one it is ignored
      expectWelcome(world, "c")
      world.expect(
        "c", .subAck(1, [.success]), .publish(topic: "a", payload: "1"), .pubAck(2),
        .publish(topic: "a", payload: "2"), .pingResp)
      world.expectNothing("c")
      world.finish()
    }
  }

  @Test func authWhileItWaitsIsAProtocolError() {  // §4.12: no method was named
    let (world, judge) = judged()
    world.attach("c")
    world.send("c", .connect(ConnectFields(clientID: "c")), .auth)
    world.answer(judge.asked[0], .accept(.anonymous))
    expectWelcome(world, "c")
    world.expectClosed("c", .disconnect(.protocolError))
    world.finish()
  }

  /// Keep alive counts from the verdict: before it the client could not be heard.
  @Test func keepAliveBeginsWithTheVerdict() {
    let (world, judge) = judged()
    world.attach("c")
    world.send("c", .connect(ConnectFields(clientID: "c", keepAliveSeconds: 2)))
    world.advance(seconds: 9)
    world.answer(judge.asked[0], .accept(.anonymous))
    expectWelcome(world, "c")
    world.advance(seconds: 2.9)
    world.expectNothing("c")
    world.advance(seconds: 0.2)
    world.expectClosed("c", .disconnect(.keepAliveTimeout))
    world.finish()
  }

  // MARK: Decided anew

  @Test func nothingIsDecidedBeforeTheVerdict() {
    let (world, judge) = judged()
    judge.known["first"] = .accept(.anonymous)
    world.connect("first", clientID: "first", sessionExpiry: 100)
    judge.known = [:]
    park(world, "second", clientID: "first", cleanStart: false, will: WillFields(topic: "w", retain: true))
    #expect(world.pool("messages").used == 0)  // its Will is not stored
    #expect(world.pool("sessions").used == 1)
    world.expectNothing("first")  // and nobody is taken over
    world.answer(judge.asked[1], .accept(.anonymous))
    world.expectClosed("first", .disconnect(.sessionTakenOver))
    expectWelcome(world, "second", sessionPresent: true)
    #expect(world.pool("messages").used == 1)
    world.remember(retained: "w")
    world.finish()
  }

  @Test func twoThatWaitTakeTurns() {
    let (world, judge) = judged()
    park(world, "a", clientID: "same")
    park(world, "b", clientID: "same")
    world.answer(judge.asked[1], .accept(.anonymous))
    expectWelcome(world, "b")
    world.answer(judge.asked[0], .accept(.anonymous))
    world.expectClosed("b", .disconnect(.sessionTakenOver))
    expectWelcome(world, "a")
    world.finish()
  }

  @Test func roomIsMadeWhenTheVerdictComes() {
    var limits = Limits.forTests
    limits.sessionsMax = limits.connectionsMax
    let (world, judge) = judged(limits: limits)
    park(world, "late")
    for index in 0..<limits.sessionsMax {  // every session is taken meanwhile, by clients that are away
      judge.known["c\(index)"] = .accept(.anonymous)
      world.connect("c\(index)", sessionExpiry: 100)
      world.lose("c\(index)")
    }
    world.answer(judge.asked[0], .accept(.anonymous))
    expectWelcome(world, "late")
    #expect(world.broker.counters.sessionsGivenWay == 1)
    world.finish()
  }

  // MARK: Never, and too late

  @Test func withoutAVerdictItIsAConnectThatNeverCame() {  // limits: connect_seconds
    let (world, judge) = judged()
    park(world, "c", will: WillFields(topic: "w"))
    world.advance(seconds: Double(world.broker.limits.connectSeconds) - 0.1)
    #expect(world.isOpen("c"))
    world.advance(seconds: 0.2)
    world.expectClosed("c")
    #expect(world.broker.counters.keepAliveClosed == 1)
    #expect(world.pool("partial_blocks").used == 0)
    world.answer(judge.asked[0], .accept(.anonymous))
    #expect(world.pool("sessions").used == 0)
    world.finish()
  }

  @Test func aVerdictForOneThatIsGoneChangesNothing() {
    let (world, judge) = judged()
    park(world, "gone", properties: [.sessionExpiry(100)])
    let gone = world.client("gone").id
    world.lose("gone")
    #expect(world.pool("partial_blocks").used == 0)
    world.answer(judge.asked[0], .accept(.anonymous))
    #expect(world.pool("sessions").used == 0)

    park(world, "next")  // in the same place
    #expect(world.broker.connection(at: gone.index) == world.client("next").id)
    world.answer(judge.asked[0], .accept(.anonymous))
    world.expectNothing("next")
    world.answer(judge.asked[1], .refuse(.notAuthorized))
    world.expectClosed("next", .connAck(.notAuthorized))
    world.answer(judge.asked[1], .accept(.anonymous))  // it has had its verdict
    world.finish()
  }

  /// A place's generation comes round after 4095 loans: then handles are the same, and serials are not.
  @Test func aPlaceThatIsUsedAgainIsAnotherConnection() {
    let (world, judge) = judged()
    park(world, "gone")
    let gone = world.client("gone").id
    world.lose("gone")
    for _ in 0..<4094 {
      world.attach("between")
      world.lose("between")
    }
    park(world, "next")
    #expect(world.client("next").id == gone)
    world.answer(judge.asked[0], .accept(.anonymous))
    world.expectNothing("next")
    #expect(world.pool("sessions").used == 0)
    world.answer(judge.asked[1], .accept(.anonymous))
    expectWelcome(world, "next")
    world.finish()
  }

  @Test func aVerdictForOneThatHasItsVerdictChangesNothing() {
    let (world, judge) = judged()
    park(world, "c")
    world.answer(judge.asked[0], .accept(.anonymous))
    expectWelcome(world, "c")
    world.answer(judge.asked[0], .refuse(.banned))
    world.expectNothing("c")
    world.finish()
  }

  // MARK: Room

  /// Without blocks for it a CONNECT cannot wait; who waits already loses nothing.
  @Test(arguments: [ProtocolVersion.v311, .v5]) func withoutBlocksAConnectIsRefused(version: ProtocolVersion) {
    var limits = Limits.forTests
    limits.packetBytesMax = 1024
    limits.partialBlockBytes = 64
    limits.partialBlockCount = 16
    let (world, judge) = judged(limits: limits)
    let will = WillFields(topic: "w", payload: String(repeating: "x", count: 800))
    park(world, "first", will: will)
    world.attach("second", version)
    world.send("second", .connect(ConnectFields(version: version, clientID: "second", will: will)))
    // 3.1.1: Server unavailable, code 3
    world.expectClosed("second", .connAck(version == .v5 ? .quotaExceeded : .serverUnavailable))
    #expect(world.pool("partial_blocks").dropped == 1)
    world.answer(judge.asked[0], .accept(.anonymous))
    expectWelcome(world, "first")
    world.finish()
  }

  @Test func moreThanAPacketBehindAConnectIsTooMuch() {
    var limits = Limits.forTests
    limits.packetBytesMax = 1024
    let (world, judge) = judged(limits: limits)
    world.attach("c")
    let publish = Packet.publish(topic: "a", payload: String(repeating: "x", count: 600))
    world.send("c", .connect(ConnectFields(clientID: "c")), publish, publish)
    world.expectClosed("c", .connAck(.quotaExceeded))
    #expect(world.pool("partial_blocks").used == 0)
    world.answer(judge.asked[0], .accept(.anonymous))
    #expect(world.pool("sessions").used == 0)
    world.finish()
  }
}

private func text(_ bytes: Bytes) -> String { String(decoding: bytes.array(), as: UTF8.self) }
