import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

/// A session belongs to its user (1 to 4, 52): nobody else resumes it, takes it over or ends it.
@Suite struct AccessOwnerTests {
  private static let versions = [ProtocolVersion.v311, .v5]

  struct Row: CustomTestStringConvertible {
    let version: ProtocolVersion
    let isHere: Bool
    let cleanStart: Bool
    let owner: String?
    let other: String?
    var testDescription: String {
      "\(version) \(other ?? "anonymous") for \(owner ?? "anonymous")\(isHere ? "" : ", away")\(cleanStart ? ", clean" : "")"
    }
  }

  static let pairs: [(owner: String?, other: String?)] = [
    ("ann", "bob"), ("ann", nil), (nil, "bob"), ("ann", "an"), ("ann", "annx"), ("bob", "stranger"),
  ]
  static let rows = versions.flatMap { version in
    [true, false].flatMap { isHere in
      [true, false].flatMap { cleanStart in
        pairs.map { Row(version: version, isHere: isHere, cleanStart: cleanStart, owner: $0.owner, other: $0.other) }
      }
    }
  }

  /// NanoMQ #2333, mosquitto #3551 and #3553, mochi #504.
  @Test(arguments: AccessOwnerTests.rows) func aStrangerTouchesNothing(row: Row) {
    for hasACL in [false, true] {
      let access = AccessWorld(hasACL ? "pattern readwrite #" : nil)
      access.users["an"] = 1  // the same role does not make the same user
      access.users["annx"] = 1
      let world = access.world
      let expiry: UInt32? = row.version == .v5 ? 1000 : nil
      func connectOwner() -> Bool {
        world.connect(
          "owner", row.version, clientID: "id", userName: row.owner, cleanStart: false, sessionExpiry: expiry,
          will: WillFields(topic: "will")
        ).sessionPresent
      }
      #expect(!connectOwner())
      world.subscribe("owner", "t", qos: 1)
      if !row.isHere {
        world.send("owner", .disconnect())
        world.publish(topic: "t", payload: "1", qos: .atLeastOnce)
      }
      world.connect("watcher", userName: "eve")
      world.subscribe("watcher", "will")
      let before = (world.pool("sessions").used, world.pool("messages").used, world.pool("subscriptions").used)
      var presences = 0
      world.broker.onPresence = { _ in presences += 1 }
      let reason: ReasonCode = row.other == "stranger" ? .badUserNameOrPassword : .notAuthorized
      for _ in 0..<(world.broker.limits.takeoversMax + 3) {  // nor are the owner's takeovers used up
        world.connect(
          "other", row.version, clientID: "id", userName: row.other, cleanStart: row.cleanStart,
          sessionExpiry: expiry, will: WillFields(topic: "will", payload: "other"), reason: reason)
        #expect(!world.isOpen("other"))
      }
      #expect((world.pool("sessions").used, world.pool("messages").used, world.pool("subscriptions").used) == before)
      #expect(presences == 0)
      #expect(world.broker.counters.takeovers == 0 && world.broker.counters.takeoversRefused == 0)
      world.expectNothing("watcher")  // a refused CONNECT has no Will (NanoMQ #2330)
      if row.isHere {
        world.expectNothing("owner")
        world.publish(topic: "t", payload: "2", qos: .atLeastOnce)
        #expect(access.received("owner") == ["t=2"])
        // The owner may take over its own session.
        world.connect(
          "again", row.version, clientID: "id", userName: row.owner, cleanStart: false, sessionExpiry: expiry)
        #expect(!world.isOpen("owner") && world.broker.counters.takeovers == 1)
        #expect(access.received("watcher") == ["will=gone"])
      } else {
        #expect(connectOwner())
        #expect(access.received("owner") == ["t=1"])
      }
      world.finish()
    }
  }

  /// When a session is over, its identifier is anybody's.
  @Test func anIdentifierIsFreeAfterItsSession() {
    let access = AccessWorld(nil)
    let world = access.world
    world.connect("a", clientID: "id", userName: "ann")
    world.lose("a")
    world.connect("b", clientID: "id", userName: "bob")
    world.connect("c", clientID: "id", userName: "ann", reason: .notAuthorized)
    world.send("b", .disconnect())
    world.connect("d", clientID: "id", userName: "ann", cleanStart: false)
    world.finish()
  }

  /// The user is the owner, not the role.
  @Test func aUserOfAnotherRoleResumes() {
    let access = AccessWorld("user ann\ntopic read a")
    let world = access.world
    world.connect("ann", userName: "ann", cleanStart: false, sessionExpiry: 100)
    world.subscribe("ann", "a", qos: 1)
    world.lose("ann")
    access.users["ann"] = 9
    access.reload("user ann\ntopic read a")
    let (sessionPresent, _) = world.connect("ann", userName: "ann", cleanStart: false, sessionExpiry: 100)
    #expect(sessionPresent)
    world.publish(topic: "a", payload: "1")
    #expect(access.received("ann") == ["a=1"])
    world.finish()
  }

  @Test func aUserNameHasItsLimit() {
    let access = AccessWorld(nil)
    let (longest, tooLong) = (String(repeating: "n", count: 16), String(repeating: "n", count: 17))
    access.users[longest] = 3
    access.users[tooLong] = 3
    var told: [String] = []
    access.world.broker.onPresence = { told.append("\(plainText($0.clientID)) of \(plainText($0.userName))") }
    access.world.connect("a", userName: longest)
    access.world.connect("b", userName: tooLong, reason: .notAuthorized)
    access.world.connect("c")
    access.world.lose("a")
    #expect(told == ["a of \(longest)", "c of ", "a of \(longest)"])
    access.world.finish()
  }
}
