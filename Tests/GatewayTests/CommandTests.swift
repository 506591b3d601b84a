import Bounded
import MQTTBroker
import MQTTWire
import Taps
import Testing

@testable import Gateway

@Suite("A command moves what it says and is acknowledged for what happened; one that is refused moves nothing")
struct CommandTests {
  private static let taps = settings {
    $0.outputs = [
      output("relay"),
      output("kept") { $0.minOnNanoseconds = seconds(100) },
      output("broken"),
      output("up") { $0.group = 0 },
      output("down") { $0.group = 0 },
    ]
    $0.groups = [group("shutter", .refuse)]
    $0.levels = [level("led"), level("broken-led")]
    $0.counters = [counter("water")]
    $0.inputs = [input("door"), input("broken-door")]
  }

  /// Broken are `broken`, `broken-led` and `broken-door`; `kept` and `up` are on.
  private func world(retainedSet: RetainedSet = .strip) -> World {
    var settings = CommandTests.taps
    settings.retainedSet = retainedSet
    let world = World(settings)
    world.connect("c")
    world.connect("s")
    world.subscribe("s", "#")
    #expect(world.command("c", "b/kept/set", "ON") == "ok")
    #expect(world.command("c", "b/up/set", "ON") == "ok")
    world.board.isBroken[2] = true
    world.board.isBroken[6] = true
    world.board.drivers[1] = .refuses
    #expect(world.command("c", "b/broken/set", "ON") == "131: broken")
    #expect(world.command("c", "b/broken-led/set", "ON") == "131: refused")
    #expect(world.messages("s").suffix(2) == ["b/broken/fault=broken", "b/broken-led/fault=refused"])
    _ = world.board.takeChanges()
    _ = world.board.takeNotices()
    return world
  }

  // MARK: Refused

  struct Refusal: CustomTestStringConvertible, Sendable {
    let topic: String
    let payload: String
    var isRetained = false
    let answer: String
    var testDescription: String { "\(topic) \(payload)\(isRetained ? ", retained" : "")" }
  }

  static let refusals = [
    Refusal(topic: "b/relay/set", payload: "MAYBE", answer: "153: expected ON, OFF, TOGGLE, 1, 0, true or false"),
    Refusal(topic: "b/relay/set", payload: "", answer: "153: expected ON, OFF, TOGGLE, 1, 0, true or false"),
    Refusal(topic: "b/relay/set", payload: #"{"state":"ON","x":1}"#, answer: "153: unknown key x"),
    Refusal(
      topic: "b/relay/pulse", payload: "long", answer: #"153: expected milliseconds or {"for":"500ms"}, 1ms to 7d"#),
    Refusal(topic: "b/relay/pulse", payload: "", answer: "153: no pulse is configured: expected milliseconds"),
    Refusal(topic: "b/kept/set", payload: "OFF", answer: "131: min_on: 100 s left"),
    Refusal(topic: "b/down/set", payload: "ON", answer: "131: interlock: up is on"),
    Refusal(topic: "b/broken/set", payload: "ON", answer: "131: broken"),
    Refusal(topic: "b/broken/pulse", payload: "100", answer: "131: broken"),
    Refusal(topic: "b/led/set", payload: "101", answer: "153: expected 0 to 100, ON, OFF or TOGGLE"),
    Refusal(topic: "b/led/set", payload: "{", answer: #"153: expected JSON such as {"state":"ON","brightness":35}"#),
    Refusal(topic: "b/broken-led/set", payload: "50", answer: "131: refused"),
    Refusal(topic: "b/water/total/set", payload: "-1", answer: "153: expected a meter reading such as 1234.5"),
    Refusal(topic: "b/water/total/set", payload: "much", answer: "153: expected a meter reading such as 1234.5"),
    Refusal(topic: "b/relay/set", payload: "ON", isRetained: true, answer: "131: a retained command"),
    Refusal(topic: "b/relay/pulse", payload: "100", isRetained: true, answer: "131: a retained command"),
    Refusal(topic: "b/led/set", payload: "50", isRetained: true, answer: "131: a retained command"),
    Refusal(topic: "b/water/total/set", payload: "5", isRetained: true, answer: "131: a retained command"),
  ]

  @Test(arguments: refusals) func aRefusedCommandMovesNothing(_ refusal: Refusal) {
    let world = world(retainedSet: refusal.isRetained ? .reject : .strip)
    #expect(world.command("c", refusal.topic, refusal.payload, retain: refusal.isRetained) == refusal.answer)
    #expect(world.board.takeChanges() == [])
    #expect(world.messages("s") == [])  // nor is it passed on
    #expect(world.retained(refusal.topic) == nil)
    #expect(world.isAtRest)
  }

  /// On the Response Topic, too, for every kind of refusal, with the Correlation Data.
  @Test(arguments: refusals.filter { !$0.topic.contains("total") }) func aRefusalIsAnswered(_ refusal: Refusal) {
    let world = world(retainedSet: refusal.isRetained ? .reject : .strip)
    #expect(
      world.command(
        "c", refusal.topic, refusal.payload, retain: refusal.isRetained,
        properties: [.text(.responseTopic, "r"), .text(.correlationData, "17")]) == refusal.answer)
    let reason = refusal.answer.dropFirst(5).replacing("\"", with: "\\\"")
    let answer = world.takeAll("s")
    #expect(
      answer == [
        .publish(
          topic: "r", payload: #"{"ok":false,"reason":"\#(reason)"}"#,
          properties: [.number(.payloadFormatIndicator, 1), .text(.correlationData, "17")])
      ])
  }

  /// QoS 0 has no acknowledgement, QoS 2 has PUBREC, and MQTT 3.1.1 no codes: the line stays as it is for all of them.
  @Test func withoutARoomForTheReason() {
    let world = world()
    world.connect("old", .v311)
    world.send("c", .publish(topic: "b/relay/set", payload: "MAYBE"))
    #expect(world.takeAll("c") == [])
    world.send("c", .publish(topic: "b/relay/set", payload: "MAYBE", qos: 2, packetID: 77))
    #expect(
      world.takeAll("c") == [
        .pubRec(77, .payloadFormatInvalid, text: "expected ON, OFF, TOGGLE, 1, 0, true or false")
      ])
    world.send("old", .publish(topic: "b/relay/set", payload: "MAYBE", qos: 1, packetID: 5))
    #expect(world.takeAll("old") == [.pubAck(5)])
    #expect(world.board.takeChanges() == [])
    #expect(world.board.takeNotices().count == 3)
  }

  /// QoS 2: once for each packet id, however often it is sent.
  @Test func qos2IsCarriedOutOnce() {
    let world = world()
    let packet = Packet.publish(topic: "b/relay/set", payload: "TOGGLE", qos: 2, packetID: 9)
    world.send("c", packet, packet, packet, .pubRel(9))
    #expect(world.board.takeChanges().map(\.description) == ["line 0 ON by=c"])
    world.send("c", packet, .pubRel(9))
    #expect(world.board.takeChanges().map(\.description) == ["line 0 OFF by=c"])
  }

  /// With `strip` a retained command is carried out and not kept; an empty one is none.
  @Test(arguments: ["b/relay/set", "b/relay/pulse", "b/led/set", "b/water/total/set"])
  func aRetainedCommandIsNotKept(topic: String) {
    let world = world()
    #expect(world.command("c", topic, "1", retain: true) == "ok")
    #expect(world.retained(topic) == nil)
    #expect(world.messages("s").count == 2)
    _ = world.board.takeChanges()
    #expect(world.command("c", topic, "", retain: true) == "ok")
    #expect(world.board.takeChanges() == [])
  }

  // MARK: A group whose line fails

  private static func shutter(deadTimeMilliseconds: Int64) -> World {
    let world = World(
      settings {
        $0.outputs = (0..<4).map { index in output("g\(index)") { $0.group = 0 } }
        $0.groups = [group("g", deadTimeMilliseconds: deadTimeMilliseconds)]
      })
    world.pass(seconds: 1)  // a dead time counts from the start, too
    world.connect("c")
    world.connect("s")
    world.subscribe("s", "b/+")
    world.subscribe("s", "b/+/fault")
    #expect(world.command("c", "b/g1/set", "ON") == "ok")
    _ = world.board.takeChanges()
    _ = world.messages("s")
    return world
  }

  /// The rival cannot be switched off: what was asked for stays off, now and after the dead time.
  @Test(arguments: [0, 500]) func theRivalsLineFails(deadTimeMilliseconds: Int64) {
    let world = CommandTests.shutter(deadTimeMilliseconds: deadTimeMilliseconds)
    world.board.isBroken[1] = true
    #expect(world.command("c", "b/g2/set", "ON") == "131: broken")
    #expect(world.messages("s") == ["b/g1/fault=broken"])
    world.pass(seconds: 4)
    #expect(world.board.takeChanges() == [])
    #expect(world.command("c", "b/g3/set", "ON") == "131: interlock: g1 is faulted, maybe on")
    world.board.isBroken[1] = false
    world.pass(seconds: 2)  // it is requested again, with what it had
    #expect(world.messages("s") == ["b/g1=ON", "b/g1/fault="])
    #expect(world.command("c", "b/g2/set", "ON") == "ok")
    world.pass(seconds: 1)
    #expect(world.board.lines == [false, false, true, false])
  }

  /// The rival is off, and the line itself fails: all are off.
  @Test func itsOwnLineFails() {
    let world = CommandTests.shutter(deadTimeMilliseconds: 0)
    world.board.isBroken[2] = true
    #expect(world.command("c", "b/g2/set", "ON") == "131: broken")
    #expect(world.board.takeChanges().map(\.description) == ["line 1 OFF by=interlock"])
    #expect(world.messages("s") == ["b/g1=OFF by=interlock", "b/g2/fault=broken"])
    #expect(world.board.lines == [false, false, false, false])
  }

  /// A line that was to go on while it was lost, and whose rival has been on since, comes back off: it would go on within
  /// the rival's dead time.
  @Test func whoComesBackDoesNotGoOnAfterItsRival() {
    let world = CommandTests.shutter(deadTimeMilliseconds: 1000)
    #expect(world.command("c", "b/g1/set", #"{"state":"OFF","for":"10s"}"#) == "ok")
    world.pass(seconds: 8)
    world.board.isBroken[1] = true
    #expect(world.command("c", "b/g1/set", #"{"state":"OFF","for":"10s"}"#) == "131: broken")
    world.pass(milliseconds: 2_100)  // its time has ended, and it would be on again
    world.board.isBroken[1] = false
    #expect(world.command("c", "b/g2/set", "ON") == "ok")
    world.pass(milliseconds: 2_800)
    #expect(world.command("c", "b/g2/set", "OFF") == "ok")
    _ = world.board.takeChanges()
    world.pass(seconds: 5)
    #expect(world.board.takeChanges() == [])
    #expect(world.retained("b/g1") == "OFF" && world.retained("b/g1/fault") == nil)
  }

  /// A dead time counts from the line, which takes its time.
  @Test func theDeadTimeCountsFromTheLine() {
    let world = CommandTests.shutter(deadTimeMilliseconds: 500)
    world.board.lineNanoseconds = milliseconds(200)
    #expect(world.command("c", "b/g2/set", #"{"state":"ON","for":"10s"}"#) == "ok")
    world.pass(seconds: 5)
    let changes = world.board.takeChanges()
    #expect(changes.map(\.description) == ["line 1 OFF by=interlock", "line 2 ON by=c"])
    #expect(changes.last!.at.since(changes.first!.at) >= milliseconds(500))
    world.pass(seconds: 10)
    #expect(world.board.takeChanges().map(\.description) == ["line 2 OFF by=timer"])
  }

  // MARK: Answers and questions

  struct Answer: CustomTestStringConvertible, Sendable {
    let topic: String
    let payload: String
    let answer: String
    var testDescription: String { "\(topic) \(payload)" }
  }
  static let answers = [
    Answer(topic: "b/relay/set", payload: "ON", answer: #"{"ok":true,"state":"ON"}"#),
    Answer(topic: "b/relay/set", payload: "OFF", answer: #"{"ok":true,"state":"OFF"}"#),
    Answer(topic: "b/relay/pulse", payload: "100", answer: #"{"ok":true,"state":"ON"}"#),
    Answer(topic: "b/led/set", payload: "35.5", answer: #"{"ok":true,"state":"ON","brightness":35.5}"#),
    Answer(topic: "b/led/set", payload: "OFF", answer: #"{"ok":true,"state":"OFF","brightness":0}"#),
    Answer(topic: "b/kept/get", payload: "", answer: #"{"ok":true,"state":"ON"}"#),
    Answer(topic: "b/relay/get", payload: "x", answer: #"{"ok":true,"state":"OFF"}"#),
    Answer(topic: "b/door/get", payload: "", answer: #"{"ok":true,"state":"ON"}"#),
  ]

  @Test(arguments: answers) func itIsAnswered(_ row: Answer) {
    let world = world()
    world.board.lines[5] = true  // the door
    #expect(world.command("c", row.topic, row.payload, properties: [.text(.responseTopic, "r/c")]) == "ok")
    let answers = world.messages("s").filter { $0.hasPrefix("r/c=") }
    #expect(answers == ["r/c=" + row.answer])
    #expect(world.board.takeNotices() == [])
  }

  @Test func aQuestionAboutALineThatIsNotThere() {
    let world = world()
    #expect(world.command("c", "b/broken/get", "") == "131: broken")
    #expect(
      world.command("c", "b/broken-door/get", "", properties: [.text(.responseTopic, "r")])
        == "131: line does not answer")
    #expect(world.messages("s") == [#"r={"ok":false,"reason":"line does not answer"}"#])
    #expect(world.command("c", "b/nobody/get", "", properties: [.text(.responseTopic, "r")]) == "ok")
    #expect(world.messages("s") == ["b/nobody/get="])
  }

  /// A Response Topic commands nothing, is none of the broker's own, and has the length of a topic.
  @Test(arguments: ["b/relay/set", "$SYS/x", String(repeating: "n", count: 600)]) func aResponseTopicOfAnyKind(
    topic: String
  ) {
    let world = world()
    #expect(world.command("c", "b/led/set", "ON", properties: [.text(.responseTopic, topic)]) == "ok")
    #expect(world.board.takeChanges().map(\.description) == ["level 0 10000"])
    #expect(world.messages("s").filter { !$0.hasPrefix("b/led") }.count == (topic == "b/relay/set" ? 1 : 0))
  }

  /// More answers than there is room for: the first ones come, the others are told of, and all commands are carried out.
  @Test func answersFindNoRoom() {
    var limits = HandlerLimits()
    limits.publicationsMax = 2
    let world = World(settings { $0.outputs = (0..<4).map { output("r\($0)") } }, handlerLimits: limits)
    world.connect("s")
    world.subscribe("s", "r")
    for index in 0..<4 {
      let will = WillFields(topic: "b/r\(index)/set", payload: "ON", properties: [.text(.responseTopic, "r")])
      world.connect("w\(index)", sessionExpiry: 0, will: will)
    }
    world.closeAllBut("s")
    #expect(world.board.lines == Array(repeating: true, count: 4))
    #expect(world.messages("s") == Array(repeating: #"r={"ok":true,"state":"ON"}"#, count: 2))
    #expect(world.board.takeNotices() == ["answer lost", "answer lost"])
  }

  // MARK: Who did it

  struct Author: CustomTestStringConvertible, Sendable {
    let by: String
    let topic: String
    let cause: @Sendable (World) -> Void
    var testDescription: String { by }
  }

  private static let authored = settings {
    $0.outputs = [
      output("relay") { $0.lease = OutputLease(client: utf8("holder"), graceNanoseconds: seconds(500)) },
      output("up") { $0.group = 0 },
      output("down") { $0.group = 0 },
    ]
    $0.groups = [group("shutter")]
    $0.levels = [
      level("led") {
        $0.lease = LevelLease(client: utf8("holder"), graceNanoseconds: seconds(500), levelWhenLost: 0)
      }
    ]
    $0.counters = [counter("water")]
    $0.rules = [
      rule("night", "x", [on(0), .level(0, LevelCommand(.on))], publish: "b/water/total/set", payload: "5"),
      rule("door", "y", [on(0)]) { $0.isLink = true },
    ]
  }

  static let authors = [
    Author(by: "c", topic: "b/relay") { $0.command("c", "b/relay/set", "ON") },
    Author(by: "c", topic: "b/led") { $0.command("c", "b/led/set", "ON") },
    Author(by: "c", topic: "b/water/total") { $0.command("c", "b/water/total/set", "7") },
    Author(by: "w", topic: "b/relay") {
      $0.connect("w", will: WillFields(topic: "b/relay/set", payload: "ON"))
      $0.lose("w")
    },
    Author(by: "rule:night", topic: "b/relay") { $0.command("c", "x", "") },
    Author(by: "rule:night", topic: "b/led") { $0.command("c", "x", "") },
    Author(by: "rule:night", topic: "b/water/total") { $0.command("c", "x", "") },
    Author(by: "link:door", topic: "b/relay") { $0.command("c", "y", "") },
    Author(by: "timer", topic: "b/relay") {
      $0.command("c", "b/relay/pulse", "100")
      $0.pass(seconds: 1)
    },
    Author(by: "timer", topic: "b/led") {
      $0.command("c", "b/led/set", #"{"state":"ON","for":1}"#)
      $0.pass(seconds: 2)
    },
    Author(by: "lease", topic: "b/relay") {
      $0.command("c", "b/relay/set", "ON")
      $0.pass(seconds: 600)
    },
    Author(by: "lease", topic: "b/led") {
      $0.command("c", "b/led/set", "ON")
      $0.pass(seconds: 600)
    },
    Author(by: "interlock", topic: "b/up") {
      $0.command("c", "b/up/set", "ON")
      $0.command("c", "b/down/set", "ON")
    },
    Author(by: "safe", topic: "b/relay") {
      $0.gateway.beginEnd()
      $0.leave()
    },
    Author(by: "safe", topic: "b/led") {
      $0.gateway.beginEnd()
      $0.leave()
    },
  ]

  @Test(arguments: authors) func theStateSaysWhoDidIt(_ author: Author) {
    let world = World(CommandTests.authored)
    world.connect("c")
    world.connect("s")
    world.subscribe("s", "b/+")
    world.subscribe("s", "b/+/total")
    author.cause(world)
    let state = world.retained(author.topic)
    #expect(state?.hasSuffix(" by=\(author.by)") == true, "\(state ?? "nothing")")
    #expect(world.messages("s").last { $0.hasPrefix(author.topic + "=") } == "\(author.topic)=\(state ?? "")")
  }
}
