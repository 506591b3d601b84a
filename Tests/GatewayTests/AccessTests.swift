import MQTTWire
import Taps
import Testing

@testable import Bounded
@testable import Gateway
@testable import MQTTBroker

/// Rights of clients at the board's taps: commands, questions, their answers; the board itself has its own right.
@Suite struct AccessTests {
  private static let sizes = AccessSizes(rules: 16, levels: 32, nameBytes: 128)

  /// - Parameter rules: of anonymous clients.
  private func use(_ rules: [(Access, String)], in world: World) {
    var plan = Reservation.counting()
    _ = AccessRules(sizes: AccessTests.sizes, in: &plan)
    let region = UnsafeMutableRawBufferPointer.zeroed(plan.byteCount)
    var reservation = Reservation(region: region)
    var next = AccessRules(sizes: AccessTests.sizes, in: &reservation)
    next.isInForce = true
    for (access, filter) in rules {
      utf8(filter).withUnsafeBytes { filter in
        do throws(RuleProblem) {
          try next.add(.anonymous, access, filter: Bytes(filter))
        } catch {
          Issue.record("\(error)")
        }
      }
    }
    world.gateway.callBroker { broker in broker.replaceRules(&next) { _ in 0 } }
    regions.append(region)
  }

  private final class Regions {
    private var all: [UnsafeMutableRawBufferPointer] = []
    func append(_ region: UnsafeMutableRawBufferPointer) { all.append(region) }
    deinit { for region in all { region.deallocate() } }
  }
  private let regions = Regions()

  private func world() -> World {
    let world = World(
      settings {
        $0.outputs = [output("relay"), output("lamp")]
        $0.levels = [level("led")]
        $0.counters = [counter("water")]
        $0.inputs = [input("door")]
      }, access: AccessTests.sizes)
    world.connect("c")
    world.connect("s")
    world.subscribe("s", "#")
    _ = world.board.takeChanges()
    return world
  }

  struct Row: CustomTestStringConvertible, Sendable {
    let topic: String
    let payload: String
    var testDescription: String { topic }
  }
  static let commands = [
    Row(topic: "b/relay/set", payload: "ON"), Row(topic: "b/relay/pulse", payload: "100"),
    Row(topic: "b/led/set", payload: "50"), Row(topic: "b/water/total/set", payload: "5"),
    Row(topic: "b/relay/get", payload: ""), Row(topic: "b/door/get", payload: ""),
  ]

  @Test(arguments: commands) func aCommandNeedsItsRight(_ row: Row) {
    let world = world()
    use([(.read, "#"), (.write, "b/lamp/set")], in: world)
    for retain in [false, true] {
      #expect(world.command("c", row.topic, row.payload, retain: retain) == "135")
      world.send("c", .publish(topic: row.topic, payload: row.payload))
    }
    #expect(world.board.takeChanges().isEmpty)
    #expect(world.messages("s") == [])
    use([(.read, "#"), (.write, row.topic)], in: world)
    #expect(world.command("c", row.topic, row.payload) == "ok")
    // What the board says of it needs nobody's right.
    #expect(!world.messages("s").isEmpty)
  }

  /// An answer goes where its asker may write.
  @Test(arguments: commands.filter { $0.topic != "b/water/total/set" }) func anAnswerNeedsItsAskersRight(_ row: Row) {
    let world = world()
    use([(.read, "#"), (.write, row.topic), (.write, "r/mine/#"), (.deny, "r/mine/not")], in: world)
    for (topic, isAnswered) in [
      ("r/mine", true), ("r/mine/1", true), ("r/mine/not", false), ("r/other", false), ("b/lamp/set", false),
    ] {
      #expect(world.command("c", row.topic, row.payload, properties: [.text(.responseTopic, topic)]) == "ok")
      let answers = world.messages("s").filter { $0.hasPrefix(topic + "=") }
      #expect(answers.count == (isAnswered ? 1 : 0), "\(topic)")
      world.pass(seconds: 1)
      _ = world.messages("s")
    }
  }
}
