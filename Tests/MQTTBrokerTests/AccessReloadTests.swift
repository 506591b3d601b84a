import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

/// Rules and users that change while clients are there or away (19, 24, 25, F9).
@Suite struct AccessReloadTests {
  private static let versions = [ProtocolVersion.v311, .v5]

  @Test(arguments: AccessReloadTests.versions) func aUserWhoIsGoneIsPutOut(version: ProtocolVersion) {
    for count in [1, 3, 100] {
      let access = AccessWorld("pattern readwrite #")
      let world = access.world
      let expiry: UInt32? = version == .v5 ? 1000 : nil
      world.connect("eve", userName: "eve")
      world.subscribe("eve", "#")
      for (name, user) in [("a1", "ann"), ("a2", "ann"), ("b1", "bob"), ("b2", "bob"), ("anon", nil)] {
        world.connect(
          name, version, userName: user, cleanStart: false, sessionExpiry: expiry,
          will: WillFields(topic: "will", payload: name))
        world.subscribe(name, "t", qos: 1)
      }
      world.lose("a2")
      world.lose("b2")
      #expect(access.received("eve") == ["will=a2", "will=b2"])
      world.publish(topic: "t", payload: "1", qos: .atLeastOnce)
      for name in ["a1", "b1", "anon"] { #expect(access.received(name) == ["t=1"]) }
      _ = access.received("eve")

      access.users["ann"] = nil
      access.reload("pattern readwrite #")
      // Until its session has ended a user who is gone has no right, not even that of everybody.
      world.send("a1", .publish(topic: "x", payload: "1"))
      world.publish(topic: "t", payload: "2", qos: .atLeastOnce)
      world.expectNothing("a1")
      for name in ["b1", "anon"] { #expect(access.received(name) == ["t=2"]) }
      #expect(access.received("eve") == ["t=2"])

      let calls = access.judgeSessions(count: count)
      #expect(calls == (world.broker.limits.sessionsMax + count - 1) / count)
      if version == .v5 {
        world.expectClosed("a1", .disconnect(.administrativeAction))
      } else {
        world.expectClosed("a1")
      }
      world.expectNothing("b1", "anon", "eve")  // nor is its Will published
      #expect(world.pool("sessions").used == 4)
      #expect(world.pool("deliveries").used == 2)  // of b2
      // Its sessions are gone for good.
      access.users["ann"] = 1
      for name in ["a1", "a2"] {
        let (sessionPresent, _) = world.connect(name, version, userName: "ann", cleanStart: false)
        #expect(!sessionPresent)
      }
      let (sessionPresent, _) = world.connect(
        "b2", version, userName: "bob", cleanStart: false, sessionExpiry: expiry)
      #expect(sessionPresent)
      #expect(access.received("b2") == ["t=1", "t=2"])
      world.finish()
    }
  }

  /// Without an ACL there are no rights to lose, but the session ends all the same.
  @Test func aUserWhoIsGoneIsPutOutWithoutAnACL() {
    let access = AccessWorld(nil)
    let world = access.world
    world.connect("ann", userName: "ann")
    world.connect("bob", userName: "bob")
    access.users["ann"] = nil
    #expect(access.judgeSessions(count: 100) == 1)
    world.expectClosed("ann", .disconnect(.administrativeAction))
    world.expectNothing("bob")
    world.finish()
  }

  /// Roles may be given anew: each user has the rights of its own rules from the same moment on.
  @Test func rolesChangeWithTheirRules() {
    let rules = "user ann\ntopic readwrite a\nuser bob\ntopic readwrite b"
    let access = AccessWorld(rules)
    let world = access.world
    for name in ["ann", "bob"] {
      world.connect(name, userName: name, cleanStart: false, sessionExpiry: 100)
      world.subscribe(name, "#", qos: 1)
    }
    for round in 0..<4 {
      (access.users["ann"], access.users["bob"]) = (access.users["bob"], access.users["ann"])
      access.reload(rules)
      world.send("ann", .publish(topic: "a", payload: "\(round)"), .publish(topic: "b", payload: "no"))
      world.send("bob", .publish(topic: "b", payload: "\(round)"), .publish(topic: "a", payload: "no"))
      #expect(access.received("ann") == ["a=\(round)"])
      #expect(access.received("bob") == ["b=\(round)"])
    }
    world.finish()
  }

  /// Many reloads under traffic: at no message everything is allowed (31).
  @Test func aThousandReloadsLeaveNoGap() {
    let access = AccessWorld("user ann\ntopic write a\nuser bob\ntopic read a")
    let world = access.world
    world.connect("ann", userName: "ann")
    world.connect("bob", userName: "bob")
    world.subscribe("bob", "#")
    for round in 0..<1000 {
      let isOpen = round % 3 == 0
      access.reload(
        isOpen ? "user ann\ntopic write +\nuser bob\ntopic read +" : "user ann\ntopic write a\nuser bob\ntopic read a")
      world.send("ann", .publish(topic: "a", payload: "\(round)"), .publish(topic: "b", payload: "\(round)"))
      #expect(access.received("bob") == (isOpen ? ["a=\(round)", "b=\(round)"] : ["a=\(round)"]))
    }
    world.finish()
  }
}
