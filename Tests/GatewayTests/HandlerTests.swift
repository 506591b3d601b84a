import Bounded
import MQTTBroker
import MQTTWire
import Taps
import Testing

@testable import Gateway

@Suite("Handlers of the embedding program")
struct HandlerTests {
  private static let taps = settings {
    $0.outputs = [output("relay")]
    $0.rules = [rule("own", "own/#", publish: "in/rule", payload: "x")]
  }

  /// A world with the handler, a client `c` and one, `s`, that sees everything.
  private func world(
    _ pattern: String, limits: HandlerLimits = HandlerLimits(),
    _ run: ((World, TapMessage, Captures) -> TapVerdict)?
  ) -> World {
    let text = utf8(pattern).withUnsafeBytes { bytes in
      let room = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
      room.copyMemory(from: bytes)
      return Bytes(UnsafeRawBufferPointer(room))  // a pattern is kept for good
    }
    let world = World(HandlerTests.taps, handlerLimits: limits) { world in
      let handler = run.map { run in
        { [unowned world] (message: TapMessage, captures: Captures) in run(world, message, captures) }
      }
      #expect(world.gateway.addHandler(try! TapPattern(text), handler))
    }
    world.connect("c")
    world.connect("s")
    world.subscribe("s", "#")
    return world
  }

  private static func publish(_ world: World, _ topic: String, _ payload: String, retain: Bool = false) -> Bool {
    withBytes(topic) { topic in
      withBytes(payload) { world.gateway.publish(topic: topic, payload: $0, qos: .atLeastOnce, retain: retain) }
    }
  }

  @Test func itSeesClientsMessagesAndWillsButNotTheBoards() {
    var seen: [String] = []
    let world = world("in/{what}") { _, message, captures in
      seen.append("\(plainText(message.clientID)) \(plainText(captures["what"]!)) \(plainText(message.payload))")
      return .accept
    }
    #expect(world.command("c", "in/a", "1") == "ok")
    world.connect("w", will: WillFields(topic: "in/b"))
    world.lose("w")
    #expect(world.command("c", "other/a", "1") == "ok")
    #expect(world.command("c", "own/a", "") == "ok")  // a rule publishes in/rule
    #expect(HandlerTests.publish(world, "in/own", "x"))
    #expect(seen == ["c a 1", "w b gone"])
  }

  /// What it publishes comes after the message that it handles, once that is through, and is seen by taps and rules. A
  /// tap's state comes right after what commanded it.
  @Test func whatItPublishesComesAfterItsMessage() {
    let world = world("in/+") { world, message, _ in
      #expect(HandlerTests.publish(world, "own/1", "a"))
      #expect(HandlerTests.publish(world, "b/relay/set", "ON"))
      #expect(HandlerTests.publish(world, "kept", "b", retain: true))
      return .accept
    }
    #expect(world.command("c", "in/a", "1") == "ok")
    #expect(world.messages("s") == ["in/a=1", "own/1=a", "b/relay/set=ON", "b/relay=ON", "kept=b", "in/rule=x"])
    #expect(world.retained("kept") == "b")
    #expect(world.retained("b/relay") == "ON")
  }

  /// Each of several messages in one write has its own turn: nothing piles up.
  @Test func eachMessageHasTheWholeRoom() {
    var limits = HandlerLimits()
    limits.publicationsMax = 2
    limits.publicationBytes = 64
    let world = world("in/+", limits: limits) { world, message, _ in
      #expect(HandlerTests.publish(world, "out/1", "a"))
      #expect(HandlerTests.publish(world, "out/2", "b"))
      #expect(!HandlerTests.publish(world, "out/3", "c"))
      return .accept
    }
    let packet = Packet.publish(topic: "in/a", payload: "x")
    // Together they hand over more bytes than there is room for at one time.
    for _ in 0..<4 { world.send("c", packet, packet, packet) }
    #expect(world.messages("s") == (0..<12).flatMap { _ in ["in/a=x", "out/1=a", "out/2=b"] })
    #expect(world.stashRefusedCount == 12)
  }

  struct Publication: CustomTestStringConvertible, Sendable {
    let topic: String
    var payload = ""
    let isTaken: Bool
    var testDescription: String { "\(topic.prefix(20)) \(payload.prefix(20))" }
  }
  static let publications = [
    Publication(topic: "a", isTaken: true),
    Publication(topic: String(repeating: "n", count: 512), isTaken: true),
    Publication(topic: "a", payload: String(repeating: "x", count: 1023), isTaken: true),
    Publication(topic: "a", payload: String(repeating: "x", count: 1024), isTaken: false),
    Publication(topic: String(repeating: "n", count: 513), isTaken: false),
    Publication(topic: Array(repeating: "n", count: 33).joined(separator: "/"), isTaken: false),
    Publication(topic: "", isTaken: false),
    Publication(topic: "a/+", isTaken: false),
    Publication(topic: "a/#", isTaken: false),
  ]

  @Test(arguments: publications) func whatItMayPublish(_ row: Publication) {
    var limits = HandlerLimits()
    limits.publicationBytes = 1024
    let world = world("in/+", limits: limits) { world, _, _ in
      #expect(HandlerTests.publish(world, row.topic, row.payload) == row.isTaken)
      return .accept
    }
    #expect(world.command("c", "in/a", "x") == "ok")
    #expect(world.messages("s").count == (row.isTaken ? 2 : 1))
    #expect(world.isAtRest)
  }

  @Test func itsVerdictIsThePublishers() {
    let world = world("in/+") { _, message, _ in
      message.payload == Bytes("bad")
        ? TapVerdict(reason: .notAuthorized, reasonString: Bytes("not you")) : TapVerdict(retain: true)
    }
    #expect(world.command("c", "in/a", "bad") == "135: not you")
    #expect(world.command("c", "in/a", "good") == "ok")
    #expect(world.messages("s") == ["in/a=good"])
    #expect(world.retained("in/a") == "good")
  }

  // MARK: Its time

  /// 10 overruns in a minute set it aside for a minute; others go on.
  @Test func whoTakesTooLongIsSetAside() {
    var seen = 0
    var nanoseconds: Int64 = 1_000_001
    let world = world("in/+") { world, _, _ in
      seen += 1
      world.board.monotonicNanoseconds += nanoseconds
      return .accept
    }
    for _ in 0..<9 { #expect(world.command("c", "in/a", "x") == "ok") }
    #expect(world.board.takeNotices() == [])
    #expect(world.command("c", "in/a", "x") == "ok")
    #expect(world.board.takeNotices() == ["set aside in/+"])
    var first = HandlerCounters()
    first.overruns = 10
    first.quarantines = 1
    #expect(world.gateway.handlerCounters == first)
    #expect(world.command("c", "in/a", "x") == "ok")  // it goes to the subscribers all the same
    world.pass(milliseconds: 59_999)
    #expect(world.command("c", "in/a", "x") == "ok")
    #expect(seen == 10 && world.gateway.handlerCounters.quarantinedSkipped == 2)
    #expect(world.messages("s").count == 12)
    world.pass(milliseconds: 1)
    nanoseconds = 1_000_000  // no longer too long
    for _ in 0..<20 { #expect(world.command("c", "in/a", "x") == "ok") }
    #expect(seen == 30 && world.gateway.handlerCounters.overruns == 10)
  }

  /// Overruns are forgotten after a minute.
  @Test func nineAMinuteAreNoReason() {
    let world = world("in/+") { world, _, _ in
      world.board.monotonicNanoseconds += 2_000_000
      return .accept
    }
    for _ in 0..<5 {
      for _ in 0..<9 { #expect(world.command("c", "in/a", "x") == "ok") }
      world.pass(milliseconds: 60_001)
    }
    #expect(world.gateway.handlerCounters.overruns == 45)
    #expect(world.gateway.handlerCounters.quarantines == 0)
  }

  // MARK: Decoupled

  @Test func aDecoupledOneGetsItsMessagesFromTheBoard() {
    let world = world("in/{what}", nil)
    world.board.queueRoom = 2
    for payload in ["1", "2", "3"] { #expect(world.command("c", "in/a", payload) == "ok") }
    #expect(HandlerTests.publish(world, "in/own", "x"))
    world.flush()
    #expect(world.board.submitted == ["0 in/a 1", "0 in/a 2"])
    #expect(world.gateway.handlerCounters.decoupledDropped == 1)
    #expect(world.messages("s").count == 4)
  }

  @Test func theTableOfTapsIsFull() {
    var limits = Limits.forTests
    limits.tapsMax = 4  // two of the relay, one of questions, one of the rule
    let world = World(HandlerTests.taps, limits: limits) { world in
      #expect(!world.gateway.addHandler(try! TapPattern("in/+")) { _, _ in .accept })
    }
    #expect(world.gateway.handlers.isEmpty)
    limits.tapsMax = 3
    let gateway = unprepared(limits)
    #expect(!gateway.prepare(at: Instant(nanoseconds: 0)) { _ in })
  }

  private func unprepared(_ limits: Limits) -> Gateway<ModelBoard> {
    var plan = Reservation.counting()
    Gateway<ModelBoard>.count(HandlerTests.taps, limits: limits, handlerLimits: HandlerLimits(), in: &plan)
    let region = UnsafeMutableRawBufferPointer.allocate(byteCount: plan.byteCount, alignment: Reservation.alignment)
    region.initializeMemory(as: UInt8.self, repeating: 0)
    var reservation = Reservation(region: region)
    let board = ModelBoard(lineCount: 1, levelCount: 0, at: Instant(nanoseconds: 0))
    return Gateway(
      HandlerTests.taps, limits: limits, handlerLimits: HandlerLimits(), keys: BrokerKeys(repeatable: 1), board: board,
      in: &reservation)
  }
}
