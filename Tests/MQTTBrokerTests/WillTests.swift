import Bounded
import MQTTBroker
import MQTTWire
import Testing

/// Wills (§3.1.2.5, §3.1.3.2, §3.14.4): once when the connection was not ended by 0x00, and when they are due.
@Suite struct WillTests {
  /// A watcher of topic `w`, and `dev` with a Will there.
  private func makeWorld(
    delaySeconds: UInt32 = 0, sessionExpiry: UInt32? = nil, version: ProtocolVersion = .v5, keepAliveSeconds: UInt16 = 0
  ) -> World {
    let world = World(clients: ["watch"])
    world.subscribe("watch", "w", qos: 2)
    connect(world, "dev", delaySeconds, sessionExpiry, version, keepAliveSeconds)
    return world
  }

  private func connect(
    _ world: World, _ name: String, _ delaySeconds: UInt32 = 0, _ sessionExpiry: UInt32? = nil,
    _ version: ProtocolVersion = .v5, _ keepAliveSeconds: UInt16 = 0
  ) {
    let will = WillFields(
      topic: "w", payload: name, properties: delaySeconds > 0 ? [.number(.willDelayInterval, delaySeconds)] : [])
    world.connect(
      name, version, clientID: "dev", cleanStart: false, keepAliveSeconds: keepAliveSeconds,
      sessionExpiry: sessionExpiry, will: will)
  }

  @Test(arguments: [ProtocolVersion.v311, .v5]) func isPublishedOnLoss(version: ProtocolVersion) {
    let world = makeWorld(version: version)
    world.lose("dev")
    world.expect("watch", .publish(topic: "w", payload: "dev"))
    world.expectNothing("watch")
    world.finish()
  }

  @Test(arguments: [ProtocolVersion.v311, .v5]) func isForgottenOnDisconnect(version: ProtocolVersion) {  // §3.14.4-3
    let world = makeWorld(version: version)
    world.send("dev", .disconnect())
    world.expectClosed("dev")
    world.advance(seconds: 1000)
    world.expectNothing("watch")
    world.finish()
  }

  @Test func isPublishedOnDisconnectWithWill() {  // §3.14.2.1: 0x04
    let world = makeWorld()
    world.send("dev", .disconnect(.disconnectWithWill))
    world.expect("watch", .publish(topic: "w", payload: "dev"))
    world.finish()
  }

  @Test func isPublishedOnProtocolError() {  // §3.1.2.5, note
    let world = makeWorld()
    world.send("dev", .auth)
    world.expectClosed("dev", .disconnect(.protocolError))
    world.expect("watch", .publish(topic: "w", payload: "dev"))
    world.finish()
  }

  @Test func isPublishedOnKeepAliveTimeout() {  // §3.1.2-22
    let world = makeWorld(keepAliveSeconds: 10)
    world.advance(seconds: 14.9)
    world.expectNothing("dev", "watch")
    world.advance(seconds: 0.2)
    world.expectClosed("dev", .disconnect(.keepAliveTimeout))
    world.expect("watch", .publish(topic: "w", payload: "dev"))
    world.finish()
  }

  @Test func isPublishedOnTakeover() {  // §3.1.4, note
    let world = makeWorld(sessionExpiry: 100)
    connect(world, "again", 0, 100)
    world.expect("watch", .publish(topic: "w", payload: "dev"))
    world.expectNothing("watch", "again")
    world.lose("again")
    world.expect("watch", .publish(topic: "w", payload: "again"))
    world.finish()
  }

  @Test func delayedOneIsNotPublishedOnTakeover() {  // §3.1.3-9
    let world = makeWorld(delaySeconds: 10, sessionExpiry: 100)
    connect(world, "again", 10, 100)
    world.advance(seconds: 60)
    world.expectNothing("watch", "again")
    world.finish()
  }

  @Test func delayedOneIsPublishedOnTakeoverWithCleanStart() {  // §3.1.4, note: the session ends
    let world = makeWorld(delaySeconds: 10, sessionExpiry: 100)
    world.connect("again", clientID: "dev", cleanStart: true)
    world.expect("watch", .publish(topic: "w", payload: "dev"))
    world.finish()
  }

  @Test func delayPasses() {  // §3.1.3.2.2
    let world = makeWorld(delaySeconds: 10, sessionExpiry: 100)
    world.lose("dev")
    world.advance(seconds: 9.9)
    world.expectNothing("watch")
    world.advance(seconds: 0.1)
    world.expect("watch", .publish(topic: "w", payload: "dev"))
    #expect(world.pool("sessions").used == 2)
    world.advance(seconds: 200)
    world.expectNothing("watch")
    #expect(world.pool("sessions").used == 1)
    world.finish()
  }

  @Test func returnWithinTheDelayCancelsIt() {  // §3.1.3-9
    let world = makeWorld(delaySeconds: 10, sessionExpiry: 100)
    world.lose("dev")
    world.advance(seconds: 9)
    #expect(world.connect("dev", cleanStart: false, sessionExpiry: 100).sessionPresent)
    world.advance(seconds: 60)
    world.lose("dev")
    world.advance(seconds: 200)
    world.expectNothing("watch")
    world.finish()
  }

  @Test func returnWithCleanStartPublishesIt() {  // the session ended before the delay did (§3.1.3.2.2)
    let world = makeWorld(delaySeconds: 10, sessionExpiry: 100)
    world.lose("dev")
    #expect(!world.connect("dev", cleanStart: true).sessionPresent)
    world.expect("watch", .publish(topic: "w", payload: "dev"))
    world.finish()
  }

  @Test func sessionEndsBeforeTheDelay() {  // §3.1.3.2.2
    let world = makeWorld(delaySeconds: 100, sessionExpiry: 10)
    world.lose("dev")
    world.advance(seconds: 9.9)
    world.expectNothing("watch")
    world.advance(seconds: 0.1)
    world.expect("watch", .publish(topic: "w", payload: "dev"))
    world.expectNothing("watch")
    world.finish()
  }

  @Test func delayWithoutASessionIsNone() {  // expiry 0: the session ends with the connection
    let world = makeWorld(delaySeconds: 100)
    world.lose("dev")
    world.expect("watch", .publish(topic: "w", payload: "dev"))
    world.finish()
  }

  @Test func disconnectCanShortenTheSessionBehindTheDelay() {
    let world = makeWorld(delaySeconds: 100, sessionExpiry: 1000)
    world.send("dev", .disconnect(.disconnectWithWill, properties: [.sessionExpiry(5)]))
    world.advance(seconds: 5)
    world.expect("watch", .publish(topic: "w", payload: "dev"))
    world.finish()
  }

  @Test func carriesItsPropertiesAndQoS() {  // §3.1.3.2: forwarded as they are; the delay and the expiry are not
    let world = World(clients: ["watch"])
    world.subscribe("watch", "w", qos: 2)
    let will = WillFields(
      topic: "w", payload: "x", qos: 2,
      properties: [
        .number(.payloadFormatIndicator, 1), .expiry(30), .text(.contentType, "text"), .number(.willDelayInterval, 10),
        .text(.responseTopic, "r"), .text(.correlationData, "c"), .user("k", "1"), .user("k", "2"),
      ])
    world.connect("dev", sessionExpiry: 100, will: will)
    world.lose("dev")
    world.advance(seconds: 10)
    world.expect(
      "watch",
      .publish(
        topic: "w", payload: "x", qos: 2, packetID: 1,
        properties: [
          .expiry(30), .number(.payloadFormatIndicator, 1), .text(.contentType, "text"), .text(.responseTopic, "r"),
          .text(.correlationData, "c"), .user("k", "1"), .user("k", "2"),
        ]))
    world.finish()
  }

  @Test func canBeRetained() {  // §3.1.2.7
    let world = World()
    world.connect("dev", will: WillFields(topic: "w", payload: "off", retain: true))
    world.lose("dev")
    world.connect("late")
    world.subscribe("late", "w")
    world.expect("late", .publish(topic: "w", payload: "off", retain: true))
    world.finish()
  }

  @Test func reachesItsOwnSession() {  // queued for the client itself, and not with No Local
    let world = World()
    for (name, noLocal) in [("a", false), ("b", true)] {
      world.connect(name, sessionExpiry: 100, will: WillFields(topic: "w/\(name)", payload: name, qos: 1))
      world.subscribe(name, "w/\(name)", qos: 1, noLocal: noLocal)
      world.lose(name)
      world.connect(name, cleanStart: false, sessionExpiry: 100)
    }
    world.expect("a", .publish(topic: "w/a", payload: "a", qos: 1, packetID: 1))
    world.expectNothing("a", "b")
    world.finish()
  }

  @Test func reachesItsSuccessorOnTakeover() {
    let world = World()
    world.connect("a1", clientID: "a", sessionExpiry: 100, will: WillFields(topic: "w", payload: "a1", qos: 1))
    world.subscribe("a1", "w", qos: 1)
    world.connect("a2", clientID: "a", cleanStart: false, sessionExpiry: 100)
    world.expect("a2", .publish(topic: "w", payload: "a1", qos: 1, packetID: 1))
    world.finish()
  }

  @Test func mayBeAsLargeAsAPacketAllows() {
    let world = World(clients: ["watch"])
    world.subscribe("watch", "w", qos: 1)
    let payload = String(repeating: "x", count: 65_000)
    world.connect("dev", will: WillFields(topic: "w", payload: payload, qos: 1))
    world.lose("dev")
    world.expect("watch", .publish(topic: "w", payload: payload, qos: 1, packetID: 1))
    world.finish()
  }

  @Test func topicIsJudged() {  // §3.1.3-11; the limits of topics hold for it too
    let world = World()
    world.connect("a", will: WillFields(topic: "a/+"), reason: .topicNameInvalid)
    world.expectClosed("a")
    let deep = Array(repeating: "x", count: 33).joined(separator: "/")
    world.connect("b", will: WillFields(topic: deep), reason: .topicNameInvalid)
    world.expectClosed("b")
    world.finish()
  }

  @Test func thatFindsNoRoomRefusesTheConnect() {  // CONNACK with success promises that the Will will be published
    var limits = Limits.forTests
    limits.messagesMax = 2
    limits.retainedMax = 2
    let world = World(clients: ["keep"], limits: limits)
    world.send("keep", .publish(topic: "r/1", payload: "x", retain: true))
    world.send("keep", .publish(topic: "r/2", payload: "x", retain: true))
    world.connect("dev", will: WillFields(topic: "w"), reason: .quotaExceeded)
    world.expectClosed("dev")
    world.connect("dev")
    world.finish()
  }
}
