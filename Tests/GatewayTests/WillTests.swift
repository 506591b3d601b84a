import Bounded
import MQTTBroker
import MQTTWire
import Taps
import Testing

@testable import Gateway

@Suite("Many Wills at one moment: each is carried out, and every retained state is true")
struct WillTests {
  /// How all 20 come at one moment.
  enum Call: CaseIterable, Sendable {
    case connectionsClosed
    /// All sessions end at the same moment.
    case sessionsExpire
    case willDelays
    case keepAlive
  }

  private func run(_ call: Call, _ world: World, _ count: Int, _ will: (Int) -> WillFields) {
    for index in 0..<count {
      var will = will(index)
      switch call {
      case .connectionsClosed: world.connect("w\(index)", will: will)
      case .keepAlive: world.connect("w\(index)", keepAliveSeconds: 20, will: will)
      case .sessionsExpire, .willDelays:
        will.properties.append(.number(.willDelayInterval, call == .willDelays ? 10 : 1000))
        world.connect("w\(index)", sessionExpiry: call == .willDelays ? 1000 : 10, will: will)
      }
    }
    switch call {
    case .connectionsClosed: world.closeAll()
    case .keepAlive: world.leap(milliseconds: 60_000)
    case .sessionsExpire, .willDelays:
      for index in 0..<count { world.lose("w\(index)") }
      world.leap(milliseconds: 30_000)
    }
  }

  struct Row: Sendable {
    let call: Call
    let publicationsMax: Int
  }
  static let rows = Call.allCases.flatMap { call in [4, 16].map { Row(call: call, publicationsMax: $0) } }

  @Test(arguments: rows) func twentyOutputs(_ row: Row) {
    var limits = HandlerLimits()
    limits.publicationsMax = row.publicationsMax
    let world = World(settings { $0.outputs = (0..<20).map { output("r\($0)") } }, handlerLimits: limits)
    run(row.call, world, 20) { WillFields(topic: "b/r\($0)/set", payload: "ON") }
    #expect(world.board.lines == Array(repeating: true, count: 20))
    for index in 0..<20 { #expect(world.retained("b/r\(index)") == "ON by=w\(index)") }
    #expect(world.isAtRest && world.stashRefusedCount == 0)
  }

  /// The last command of a tap counts, and its state is told once.
  @Test(arguments: rows) func twentyForOneOutput(_ row: Row) {
    var limits = HandlerLimits()
    limits.publicationsMax = row.publicationsMax
    let world = World(settings { $0.outputs = [output("r")] }, handlerLimits: limits)
    run(row.call, world, 20) { WillFields(topic: "b/r/set", payload: $0 % 3 == 0 ? "ON" : "OFF") }
    let changes = world.board.takeChanges()
    #expect(changes.count == 20)
    let last = changes[19]
    #expect(world.retained("b/r") == (last.value == 1 ? "ON" : "OFF") + " by=" + last.by!)
  }

  @Test(arguments: rows) func outputsLevelsAndCounters(_ row: Row) {
    var limits = HandlerLimits()
    limits.publicationsMax = row.publicationsMax
    let world = World(
      settings {
        $0.outputs = (0..<7).map { output("r\($0)") }
        $0.levels = (0..<7).map { level("l\($0)") }
        $0.counters = (0..<6).map { counter("m\($0)") }
      }, handlerLimits: limits)
    run(row.call, world, 20) { index in
      switch index % 3 {
      case 0: WillFields(topic: "b/r\(index / 3)/set", payload: "ON")
      case 1: WillFields(topic: "b/l\(index / 3)/set", payload: "\(index)")
      default: WillFields(topic: "b/m\(index / 3)/total/set", payload: "\(index)")
      }
    }
    for index in 0..<7 {
      #expect(world.retained("b/r\(index)") == "ON by=w\(3 * index)")
      #expect(world.retained("b/l\(index)") == "\(3 * index + 1) by=w\(3 * index + 1)")
      if index < 6 { #expect(world.retained("b/m\(index)/total") == "\(3 * index + 2) by=w\(3 * index + 2)") }
    }
  }

  /// Who asks for an answer gets it, however many Wills are due at one moment and however little room answers have.
  @Test(arguments: rows.filter { $0.call != .connectionsClosed }) func eachIsAnswered(_ row: Row) {
    var limits = HandlerLimits()
    limits.publicationsMax = row.publicationsMax
    let world = World(settings { $0.outputs = (0..<20).map { output("r\($0)") } }, handlerLimits: limits)
    world.connect("s", cleanStart: true)
    world.subscribe("s", "answer/+")
    run(row.call, world, 20) { index in
      WillFields(topic: "b/r\(index)/set", payload: "ON", properties: [.text(.responseTopic, "answer/\(index)")])
    }
    #expect(world.messages("s").count == 20)
    #expect(world.stashRefusedCount == 0)
  }

  /// What a handler publishes because of a Will waits until the broker is free, and commands like any message.
  @Test func aHandlerPublishesFromAWill() {
    var isTaken: [Bool] = []
    let world = World(settings { $0.outputs = [output("r")] }) { world in
      _ = world.gateway.addHandler(try! TapPattern("gone/{name}")) { [unowned world] message, captures in
        #expect(plainText(message.clientID) == "w")
        isTaken.append(
          world.gateway.publish(topic: Bytes("b/r/set"), payload: message.payload, qos: .atMostOnce, retain: false))
        isTaken.append(
          world.gateway.publish(topic: captures["name"]!, payload: Bytes("seen"), qos: .atLeastOnce, retain: true))
        return .accept
      }
    }
    world.connect("s")
    world.subscribe("s", "#")
    world.connect("w", will: WillFields(topic: "gone/w", payload: "ON"))
    world.lose("w")
    #expect(isTaken == [true, true])
    #expect(world.board.takeChanges().map(\.description) == ["line 0 ON by="])
    #expect(world.messages("s") == ["gone/w=ON", "b/r/set=ON", "b/r=ON", "w=seen"])
    #expect(world.retained("w") == "seen")
  }

  /// What finds no room is told to the handler and counted; the states of taps need none of it.
  @Test func aHandlersPublicationsAreBounded() {
    var limits = HandlerLimits()
    limits.publicationsMax = 4
    var isTaken: [Bool] = []
    let world = World(
      settings { $0.outputs = (0..<20).map { output("r\($0)") } }, handlerLimits: limits
    ) { world in
      _ = world.gateway.addHandler(try! TapPattern("b/+/set")) { [unowned world] message, _ in
        isTaken.append(
          world.gateway.publish(topic: Bytes("seen"), payload: message.payload, qos: .atMostOnce, retain: false))
        return .accept
      }
    }
    for index in 0..<20 { world.connect("w\(index)", will: WillFields(topic: "b/r\(index)/set", payload: "ON")) }
    world.closeAll()
    #expect(isTaken == Array(repeating: true, count: 4) + Array(repeating: false, count: 16))
    #expect(world.stashRefusedCount == 16)
    #expect((0..<20).allSatisfy { world.retained("b/r\($0)") == "ON by=w\($0)" })
  }

  @Test func aWillOfATakeoverCommands() {
    let world = World(settings { $0.outputs = [output("r")] })
    world.connect("c", will: WillFields(topic: "b/r/set", payload: "ON"))
    world.connect("again", clientID: "c")
    #expect(world.board.lines == [true])
    #expect(world.retained("b/r") == "ON by=c")
  }
}
