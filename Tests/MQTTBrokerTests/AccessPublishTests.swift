import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

/// The right to write: PUBLISH, its aliases, retained messages, taps; each for every version and QoS.
@Suite struct AccessPublishTests {
  private static let rules = "user ann\ntopic readwrite open/#\nuser eve\ntopic read #"

  /// `ann`, who may write below `open`, and `eve`, who reads everything.
  private func makeWorld(_ path: Path, _ rules: String? = AccessPublishTests.rules) -> AccessWorld {
    let access = AccessWorld(rules)
    access.world.connect("ann", path.version, userName: "ann")
    access.world.connect("eve", userName: "eve")
    access.world.subscribe("eve", "#", qos: 2)
    return access
  }

  /// PUBLISH of `ann` and its answer; what is denied is counted, and so is no other.
  private func publish(
    _ access: AccessWorld, _ path: Path, _ topic: String, _ payload: String = "1", retain: Bool = false,
    alias: UInt32? = nil, isDenied: Bool, sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let world = access.world
    let before = access.denied
    let messagesBefore = world.pool("messages").used
    world.send(
      "ann",
      .publish(
        topic: topic, payload: payload, qos: path.qos, packetID: path.qos == 0 ? 0 : 1, retain: retain,
        properties: alias.map { [.alias($0)] } ?? []))
    if let answer = path.answer(isDenied: isDenied) {
      world.expect("ann", answer, sourceLocation: sourceLocation)
      if path.qos == 2, !isDenied || path.version != .v5 {
        world.send("ann", .pubRel(1))
        world.expect("ann", .pubComp(1), sourceLocation: sourceLocation)
      }
    }
    world.expectNothing("ann", sourceLocation: sourceLocation)
    #expect(access.denied == [before[0] + (isDenied ? 1 : 0), before[1], before[2]], sourceLocation: sourceLocation)
    if isDenied { #expect(world.pool("messages").used == messagesBefore, sourceLocation: sourceLocation) }
    let expected = isDenied ? [] : ["\(topic.isEmpty ? "open/a" : topic)=\(payload)"]
    #expect(access.received("eve") == expected, sourceLocation: sourceLocation)
  }

  @Test(arguments: Path.all) func aMessageNeedsItsRight(path: Path) {
    let access = makeWorld(path)
    publish(access, path, "open/a", isDenied: false)
    publish(access, path, "open", isDenied: false)
    for topic in ["shut", "shut/open/a", "openx", "opem", "$x/open"] { publish(access, path, topic, isDenied: true) }
    publish(access, path, "open/a/b/c", isDenied: false)
    access.world.finish()
  }

  @Test(arguments: Path.all) func withoutAnACLEverythingIsAllowed(path: Path) {
    let access = makeWorld(path, nil)
    for topic in ["a", "shut", "open/a"] { publish(access, path, topic, isDenied: false) }
    let hasRules = access.world.broker.hasRules
    #expect(!hasRules)
    access.world.finish()
  }

  /// An empty ACL is an ACL (CVE-2018-12550).
  @Test(arguments: Path.all) func anEmptyACLDeniesEverything(path: Path) {
    for sizes in [AccessSizes.forTests, AccessSizes(userNameBytes: 8)] {
      let access = AccessWorld("", access: sizes)
      access.world.connect("ann", path.version, userName: "ann")
      access.world.connect("eve", userName: "eve")
      #expect(access.subscribe("eve", "#") == [.notAuthorized])
      publish(access, path, "a", isDenied: true)
      access.world.finish()
    }
  }

  @Test(arguments: Path.all) func aRightIsLostAndGained(path: Path) {
    let access = makeWorld(path)
    for _ in 0..<3 {
      publish(access, path, "open/a", isDenied: false)
      access.reload("user ann\ntopic read open/#\nuser eve\ntopic read #")
      publish(access, path, "open/a", isDenied: true)
      access.reload("user ann\ntopic readwrite #\ntopic deny open/a\nuser eve\ntopic read #")
      publish(access, path, "open/a", isDenied: true)
      publish(access, path, "open/b", isDenied: false)
      access.reload(AccessPublishTests.rules)
    }
    access.world.finish()
  }

  /// Set, replaced and deleted (CVE-2018-12546).
  @Test(arguments: Path.all) func whatIsRetainedNeedsTheRightToo(path: Path) {
    let access = makeWorld(path)
    let world = access.world
    world.publish(topic: "shut/r", payload: "board", retain: true)
    #expect(access.received("eve") == ["shut/r=board"])
    let before = world.pool("retained").used
    publish(access, path, "shut/r", "2", retain: true, isDenied: true)
    publish(access, path, "shut/r", "", retain: true, isDenied: true)
    publish(access, path, "shut/new", "2", retain: true, isDenied: true)
    #expect(world.pool("retained").used == before)
    publish(access, path, "open/r", "2", retain: true, isDenied: false)
    publish(access, path, "open/r", "3", retain: true, isDenied: false)
    world.connect("late", userName: "eve")
    world.subscribe("late", "#")
    #expect(access.received("late").sorted() == ["open/r=3", "shut/r=board"])
    publish(access, path, "open/r", "", retain: true, isDenied: false)
    #expect(world.pool("retained").used == before)
    world.finish()
  }

  // MARK: Aliases (13)

  @Test(arguments: Path.all.filter { $0.version == .v5 }) func anAliasOfARefusedMessageIsNobodys(path: Path) {
    let access = makeWorld(path)
    publish(access, path, "shut/a", alias: 1, isDenied: true)
    publish(access, path, "", alias: 1, isDenied: true)
    // An alias that stood for an open topic stands for nothing when it was to stand for another.
    publish(access, path, "open/a", alias: 2, isDenied: false)
    publish(access, path, "", alias: 2, isDenied: false)
    publish(access, path, "shut/a", alias: 2, isDenied: true)
    publish(access, path, "", alias: 2, isDenied: true)
    // Not even when the topic is open later.
    access.reload("user ann\ntopic readwrite #\nuser eve\ntopic read #")
    publish(access, path, "", alias: 1, isDenied: true)
    access.reload(nil)
    publish(access, path, "", alias: 2, isDenied: true)
    publish(access, path, "open/a", alias: 1, isDenied: false)
    publish(access, path, "", alias: 1, isDenied: false)
    access.world.finish()
  }

  @Test(arguments: Path.all.filter { $0.version == .v5 }) func eachUseOfAnAliasIsJudged(path: Path) {
    let access = makeWorld(path)
    publish(access, path, "open/a", alias: 1, isDenied: false)
    access.reload("user eve\ntopic read #")
    publish(access, path, "", alias: 1, isDenied: true)
    access.reload(AccessPublishTests.rules)
    publish(access, path, "", alias: 1, isDenied: false)
    access.world.finish()
  }

  // MARK: QoS 2 (15)

  /// What was taken while it was allowed is finished, and once; what was refused may be sent again and is judged again.
  @Test(arguments: [ProtocolVersion.v311, .v5]) func aRevocationBetweenPublishAndRelease(version: ProtocolVersion) {
    let path = Path(version: version, qos: 2)
    let access = makeWorld(path)
    let world = access.world
    world.send("ann", .publish(topic: "open/a", payload: "1", qos: 2, packetID: 1))
    world.expect("ann", .pubRec(1))
    access.reload("user eve\ntopic read #")
    world.send("ann", .publish(topic: "open/a", payload: "1", qos: 2, packetID: 1, dup: true), .pubRel(1))
    world.expect("ann", .pubRec(1), .pubComp(1))
    #expect(access.received("eve") == ["open/a=1"])
    world.send("ann", .publish(topic: "open/a", payload: "2", qos: 2, packetID: 2))
    world.expect("ann", .pubRec(2, version == .v5 ? .notAuthorized : .success))
    access.reload(AccessPublishTests.rules)
    world.send("ann", .publish(topic: "open/a", payload: "2", qos: 2, packetID: 2, dup: true))
    world.expect("ann", .pubRec(2))
    #expect(access.received("eve") == (version == .v5 ? ["open/a=2"] : []))  // 3.1.1 was told that it has arrived
    world.send("ann", .pubRel(2))
    world.expect("ann", .pubComp(2))
    world.finish()
  }

  // MARK: Taps (16)

  @Test(arguments: Path.all) func noTapRunsForARefusedMessage(path: Path) {
    let access = AccessWorld(AccessPublishTests.rules)
    let world = access.world
    var seen: [String] = []
    world.broker.onTap = { _, message in
      seen.append("\(plainText(message.topic)) of \(plainText(message.userName))")
      return .accept
    }
    for filter in ["#", "shut/set", "open/set"] { _ = world.addTap(filter, .follow) }
    world.connect("ann", path.version, userName: "ann")
    world.connect("eve", userName: "eve")
    world.subscribe("eve", "#", qos: 2)
    publish(access, path, "shut/set", isDenied: true)
    publish(access, path, "shut/set", retain: true, isDenied: true)
    #expect(seen == [])
    publish(access, path, "open/set", isDenied: false)
    #expect(seen == ["open/set of ann", "open/set of ann"])
    access.reload("user eve\ntopic read #")
    // A repeat of a command that has run is judged like any other message.
    if path.qos == 1 {
      world.send("ann", .publish(topic: "open/set", payload: "1", qos: 1, packetID: 1, dup: true))
      world.expect("ann", path.answer(isDenied: true)!)
    }
    #expect(seen.count == 2)
    world.finish()
  }

  // MARK: Answers

  /// An answer goes where its asker may write.
  @Test(arguments: Path.all) func anAnswerNeedsItsAskersRight(path: Path) {
    let access = AccessWorld(AccessPublishTests.rules)
    let world = access.world
    var asker = TapMessageAsker()
    world.broker.onTap = { _, message in
      asker.session = message.publisher
      return .accept
    }
    _ = world.addTap("open/get")
    world.connect("ann", path.version, userName: "ann")
    world.connect("eve", userName: "eve")
    world.subscribe("eve", "#", qos: 2)
    publish(access, path, "open/get", isDenied: false)
    func answer(on topic: String) -> ReasonCode {
      let reason = withBytes([UInt8](topic.utf8)) {
        world.broker.publish(topic: $0, payload: .empty, retain: false, asker: asker.session, at: world.now)
      }
      world.settle()
      return reason
    }
    #expect(answer(on: "open/answer") == .success)
    #expect(access.received("eve") == ["open/answer="])
    #expect(answer(on: "shut/answer") == .notAuthorized)
    #expect(access.denied[0] == 1)
    world.lose("ann")  // its session has ended
    #expect(answer(on: "open/answer") == .notAuthorized)
    #expect(access.received("eve") == [])
    access.reload(nil)
    #expect(answer(on: "shut/answer") == .success)
    #expect(access.received("eve") == ["shut/answer="])
    world.finish()
  }

  private struct TapMessageAsker { var session = Handle<Session>.null }
}
