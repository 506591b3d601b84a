import Bounded
import MQTTBroker
import MQTTWire
import Testing

/// Deadlines by the virtual clock: CONNECT, packets, keep alive, sessions (§3.1.2.10, §3.1.2.11.2, §3.14.2.2.2).
@Suite struct TimeTests {
  @Test func connectHasADeadline() {
    let world = World()
    world.attach("a")
    world.advance(seconds: 9.9)
    world.expectNothing("a")
    world.advance(seconds: 0.1)
    world.expectClosed("a")
    #expect(world.broker.counters.keepAliveClosed == 1)
    world.finish()
  }

  @Test func bytesBeforeConnectDoNotMoveItsDeadline() {
    let world = World()
    world.attach("a")
    let bytes = Packet.connect(ConnectFields(clientID: "a")).bytes(.v5)
    for index in 0..<9 {
      world.send("a", bytes: [bytes[index]])
      world.advance(seconds: 1)
    }
    world.expectNothing("a")
    world.advance(seconds: 1)
    world.expectClosed("a")
    world.finish()
  }

  @Test func aPacketThatHasBegunHasADeadline() {
    let world = World(clients: ["a"])
    let bytes = Packet.publish(topic: "t", payload: "0123456789").bytes(.v5)
    for index in 0..<3 {
      world.send("a", bytes: [bytes[index]])
      world.advance(seconds: 9.9)
    }
    world.expectNothing("a")
    world.advance(seconds: 0.3)
    world.expectClosed("a", .disconnect(.keepAliveTimeout))
    world.finish()
  }

  @Test func aPacketInTimeEndsItsDeadline() {
    let world = World(clients: ["a"])
    let bytes = Packet.pingReq.bytes(.v5)
    for _ in 0..<5 {
      world.send("a", bytes: [bytes[0]])
      world.advance(seconds: 29)
      world.send("a", bytes: [bytes[1]])
      world.expect("a", .pingResp)
    }
    world.advance(seconds: 1000)
    world.expectNothing("a")
    world.finish()
  }

  // MARK: Keep alive

  @Test(arguments: [ProtocolVersion.v311, .v5]) func keepAliveIsOneAndAHalf(version: ProtocolVersion) {  // §3.1.2-22
    let world = World()
    world.connect("a", version, keepAliveSeconds: 10)
    world.advance(seconds: 14.999)
    world.expectNothing("a")
    world.advance(seconds: 0.001)
    if version == .v5 { world.expectClosed("a", .disconnect(.keepAliveTimeout)) } else { world.expectClosed("a") }
    #expect(world.broker.counters.keepAliveClosed == 1)
    world.finish()
  }

  /// The process was stopped for longer than the keep alive, and the client's PINGREQ waits in its socket all the while.
  @Test(arguments: [ProtocolVersion.v311, .v5]) func keepAliveIsJudgedByWhatHasBeenRead(version: ProtocolVersion) {
    let world = World()
    world.connect("a", version, keepAliveSeconds: 2)
    world.connect("gone", version, keepAliveSeconds: 2)
    let before = world.now
    world.pause(seconds: 4)
    world.advance(heardUntil: before)
    world.expectNothing("a")
    #expect(world.broker.nextDeadline! <= world.now)  // it is judged in the turn that follows
    world.send("a", .pingReq)
    world.expect("a", .pingResp)
    world.advance(heardUntil: world.now)
    world.expectNothing("a")
    if version == .v5 { world.expectClosed("gone", .disconnect(.keepAliveTimeout)) } else { world.expectClosed("gone") }
    world.advance(seconds: 2.999)
    world.expectNothing("a")
    world.advance(seconds: 0.001)
    if version == .v5 { world.expectClosed("a", .disconnect(.keepAliveTimeout)) } else { world.expectClosed("a") }
    world.finish()
  }

  /// The other deadlines that bytes in the kernel would have moved: CONNECT, a packet that has begun, a session's end and its
  /// Will's delay.
  @Test func otherDeadlinesAreJudgedSo() {
    let world = World(clients: ["watch", "slow"])
    world.subscribe("watch", "will")
    world.connect(
      "away", sessionExpiry: 20, will: WillFields(topic: "will", properties: [.number(.willDelayInterval, 10)]))
    world.lose("away")
    world.attach("new")
    let connect = Packet.connect(ConnectFields(clientID: "new")).bytes(.v5)
    world.send("new", bytes: Array(connect.prefix(3)))
    let bytes = Packet.publish(topic: "t", payload: "0123456789").bytes(.v5)
    world.send("slow", bytes: Array(bytes.prefix(3)))
    let before = world.now
    world.pause(seconds: 60)
    world.advance(heardUntil: before)
    for name in ["watch", "slow", "new"] { world.expectNothing(name) }
    world.send("slow", bytes: Array(bytes.dropFirst(3)))
    world.send("new", bytes: Array(connect.dropFirst(3)))
    #expect(world.takeAll("new").count == 1)
    #expect(world.connect("away", cleanStart: false, sessionExpiry: 20).sessionPresent)
    world.advance(heardUntil: world.now)
    for name in ["watch", "slow", "new", "away"] { world.expectNothing(name) }
    world.finish()
  }

  @Test func everyPacketStartsItAnew() {  // the timer is looked at again, not moved
    let world = World()
    world.connect("a", keepAliveSeconds: 10)
    for _ in 0..<10 {
      world.advance(seconds: 14)
      world.send("a", .pingReq)
      world.expect("a", .pingResp)
    }
    world.advance(seconds: 14.9)
    world.expectNothing("a")
    world.advance(seconds: 0.1)
    world.expectClosed("a", .disconnect(.keepAliveTimeout))
    world.finish()
  }

  @Test func whatTheBrokerSendsDoesNotCount() {
    let world = World(clients: ["pub"])
    world.connect("a", keepAliveSeconds: 10)
    world.subscribe("a", "t")
    world.advance(seconds: 10)
    world.send("pub", .publish(topic: "t"))
    world.expect("a", .publish(topic: "t"))
    world.advance(seconds: 5)
    world.expectClosed("a", .disconnect(.keepAliveTimeout))
    world.finish()
  }

  @Test func zeroIsNoneForOldVersionAndTheLongestForMQTT5() {  // §3.2.2.3.14
    var limits = Limits.forTests
    limits.keepAliveSecondsMax = 100
    let world = World(limits: limits)
    world.connect("old", .v311)
    #expect(world.connect("new").properties.contains(.number(.serverKeepAlive, 100)))
    #expect(world.connect("long", keepAliveSeconds: 101).properties.contains(.number(.serverKeepAlive, 100)))
    #expect(!world.connect("short", keepAliveSeconds: 100).properties.contains(.number(.serverKeepAlive, 100)))
    world.advance(seconds: 150)
    for name in ["new", "long", "short"] { world.expectClosed(name, .disconnect(.keepAliveTimeout)) }
    world.advance(seconds: 100_000)
    world.expectNothing("old")
    world.finish()
  }

  // MARK: Session expiry

  @Test func sessionOutlivesItsConnectionForItsInterval() {  // §3.1.2.11.2
    let world = World()
    world.connect("a", sessionExpiry: 60)
    world.advance(seconds: 1000)
    world.lose("a")
    world.advance(seconds: 59.9)
    #expect(world.pool("sessions").used == 1)
    world.advance(seconds: 0.1)
    #expect(world.pool("sessions").used == 0)
    #expect(!world.connect("a", cleanStart: false, sessionExpiry: 60).sessionPresent)
    world.finish()
  }

  @Test func intervalIsBoundedAndTheClientIsTold() {  // §3.2.2.3.2
    var limits = Limits.forTests
    limits.sessionExpirySecondsMax = 100
    let world = World(limits: limits)
    #expect(world.connect("a", sessionExpiry: .max).properties.contains(.sessionExpiry(100)))
    #expect(!world.connect("b", sessionExpiry: 100).properties.contains(.sessionExpiry(100)))
    world.connect("old", .v311, cleanStart: false)
    for name in ["a", "b", "old"] { world.lose(name) }
    world.advance(seconds: 99)
    #expect(world.pool("sessions").used == 3)
    world.advance(seconds: 1)
    #expect(world.pool("sessions").used == 0)
    world.finish()
  }

  @Test func returnStartsTheIntervalAnew() {
    let world = World()
    world.connect("a", sessionExpiry: 60)
    for _ in 0..<5 {
      world.lose("a")
      world.advance(seconds: 50)
      #expect(world.connect("a", cleanStart: false, sessionExpiry: 60).sessionPresent)
      world.advance(seconds: 500)
    }
    world.finish()
  }

  @Test func disconnectMayChangeIt() {  // §3.14.2.2.2
    let world = World()
    world.connect("a", sessionExpiry: 60)
    world.send("a", .disconnect(properties: [.sessionExpiry(600)]))
    world.advance(seconds: 599)
    #expect(world.connect("a", cleanStart: false, sessionExpiry: 60).sessionPresent)
    world.send("a", .disconnect(properties: [.sessionExpiry(0)]))
    #expect(world.pool("sessions").used == 0)
    world.finish()
  }

  @Test func disconnectMayNotMakeASession() {  // §3.14.2.2.2: 0 stays 0
    let world = World()
    world.connect("a")
    world.send("a", .disconnect(properties: [.sessionExpiry(10)]))
    world.expectClosed("a", .disconnect(.protocolError))
    #expect(world.pool("sessions").used == 0)
    world.connect("b")
    world.send("b", .disconnect(properties: [.sessionExpiry(0)]))
    world.expectClosed("b")
    world.finish()
  }

  @Test func aClosedPeerThatDoesNotReadIsCutOff() {
    let world = World(clients: ["a"])
    world.read("a", bytesPerFlush: 0)
    world.send("a", .auth)
    #expect(world.isOpen("a"))
    #expect(world.isClosing("a"))
    world.advance(seconds: 10)
    world.expectClosed("a")
    world.finish()
  }
}
