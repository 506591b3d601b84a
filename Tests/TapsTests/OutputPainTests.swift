import Bounded
import MQTTWire
import Testing

@testable import Taps

/// What hurt the users of other gateways, each by its number in the project's list.
@Suite struct OutputPainTests {
  /// The level is part of the request, in logical terms, so that nothing fires at start.
  @Test func pain1NothingFiresAtStart() {
    let world = OutputWorld([
      output("boiler", pin: "1"), output("valve", pin: "2") { $0.active = .low },
      output("lamp", pin: "3") { $0.initial = .on },
      output("fridge", pin: "4") { $0.initial = .keep }, output("fan", pin: "5") { $0.initial = .restore },
    ])
    #expect(world.lines == [false, false, true, false, false])
    let again = OutputWorld(world.table.settings.outputs, found: [true, true, false, true, true])
    #expect(again.lines == [false, false, true, true, true])
    #expect(again.table.outputs[3].cycleCount == 0)  // it was on all the time
  }

  @Test func pain2TheStateIsPublishedAtStartAndAfterEveryChange() {
    let world = OutputWorld([output("relay"), output("lamp", pin: "L") { $0.initial = .on }])
    #expect(world.takeLog() == ["relay OFF", "lamp ON"])
    world.set("relay", "ON", by: "phone")
    world.set("relay", "ON", by: "phone")
    #expect(world.takeLog() == ["relay ON by=phone", "relay ON by=phone"])
  }

  /// The timer is a moment, not a number of polls: a pulse's end does not drift, and one that the loop missed is counted.
  @Test func pain9APulseEndsOnTimeOrIsCounted() {
    let world = OutputWorld([output("relay")])
    for length in 1...200 as ClosedRange<Int64> {
      world.pulse("relay", "\(length)")
      #expect(world.table.nextOutputDeadline == world.now.adding(milliseconds: length))
      world.pass(milliseconds: length)
      check(!world.isOn("relay"))
    }
    #expect(world.table.outputs[0].lateCount == 0)
    world.delayMilliseconds = 10
    world.pulse("relay", "100")
    world.pass(milliseconds: 200)
    #expect(world.table.outputs[0].lateCount == 0)
    world.delayMilliseconds = 11
    world.pulse("relay", "100")
    world.pass(milliseconds: 200)
    #expect(world.table.outputs[0].lateCount == 1)
    #expect(!world.isOn("relay"))
  }

  @Test(arguments: [OutputRetrigger.retrigger, .ignore, .extend], [false, true])
  func pain10OverlappingTimedSetsNeverLeaveItInverted(policy: OutputRetrigger, startsOn: Bool) {
    var random = SeededGenerator(seed: startsOn ? 10 : 11)
    for _ in 0..<300 {
      let world = OutputWorld([
        output("relay") {
          $0.retrigger = policy
          $0.initial = startsOn ? .on : .off
        }
      ])
      // The first one moves it away from its rest, the others come while timers run.
      world.pulse("relay", "{\"for\":1,\"level\":\"\(startsOn ? "OFF" : "ON")\"}")
      for _ in 0..<random.below(6) {
        world.pass(milliseconds: Int64(random.below(150)))  // within the first one's second
        let level = ["ON", "OFF", "TOGGLE"][random.below(3)]
        world.set("relay", "{\"state\":\"\(level)\",\"for\":1}")
      }
      world.pass(seconds: 20)
      check(world.isOn("relay") == startsOn, "\(policy), \(startsOn)")
      check(world.table.nextOutputDeadline == .never)
    }
  }

  /// An empty retained message deletes a retained one: it is no pulse and no command. What is not empty is carried out once,
  /// when it is sent: the table has no memory of it, and nothing replays it.
  @Test func pain19ARetainedCommandIsNeverReplayed() {
    let world = OutputWorld([output("door") { $0.pulseNanoseconds = seconds(1) }])
    _ = world.takeLog()
    func retained(_ payload: StaticString, pulse: Bool) -> String {
      let payload = Bytes(payload)
      return world.answer(
        pulse
          ? world.table.pulseReceived(output: 0, payload, isRetained: true, by: Bytes("me"), at: world.now)
          : world.table.setReceived(output: 0, payload, isRetained: true, by: Bytes("me"), at: world.now))
    }
    #expect(retained("", pulse: true) == "ok")
    #expect(retained("", pulse: false) == "ok")
    #expect(world.takeLog() == [])
    #expect(retained("ON", pulse: false) == "ok")
    #expect(world.takeLog() == ["door ON by=me"])
    let restarted = OutputWorld(world.table.settings.outputs)
    restarted.pass(seconds: 1000)
    #expect(restarted.takeLog() == ["door OFF"])
  }

  /// A restart of the daemon: safe at the end, the initial level at start, and not one change between.
  @Test func pain20ARestartDoesNotToggleRelays() {
    let world = OutputWorld([output("relay"), output("vent", pin: "V") { $0.isSafeActive = true }])
    world.set("relay", "ON")
    _ = world.takeLog()
    world.exit()
    #expect(world.takeLog() == ["relay OFF by=safe", "vent ON by=safe"])
    let again = OutputWorld(world.table.settings.outputs)
    again.pass(seconds: 1000)
    #expect(again.takeLog() == ["relay OFF", "vent OFF"])
    #expect(again.table.outputs[0].cycleCount == 0)
  }

  /// Three nets: max_on and leases while the daemon lives, the safe level for whoever cleans up after it.
  @Test func pain21NothingStaysOnForEver() {
    let world = OutputWorld([
      output("kiln", pin: "K") { $0.maxOnNanoseconds = seconds(3600) },
      output("pump", pin: "P") { $0.lease = OutputLease(client: [UInt8]("plc".utf8), graceNanoseconds: seconds(20)) },
    ])
    world.table.clientConnected(Bytes("plc"))
    world.set("kiln", "ON")
    world.set("pump", "ON", by: "plc")
    world.table.clientLost(Bytes("plc"), at: world.now)
    world.pass(seconds: 20)
    #expect(world.lines == [true, false])
    world.pass(seconds: 3580)
    #expect(world.lines == [false, false])
    #expect(world.table.settings.outputs.allSatisfy { !$0.isSafeActive && $0.onExit == .safe })
  }

  @Test func pain22AnUpgradeKeepsWhatIsOn() {
    let world = OutputWorld([
      output("skimmer") {
        $0.onExit = .keep
        $0.initial = .keep
      }
    ])
    world.set("skimmer", "ON")
    world.exit()
    #expect(world.isOn("skimmer"))
    let upgraded = OutputWorld(world.table.settings.outputs, found: world.lines)
    #expect(upgraded.isOn("skimmer"))
    #expect(upgraded.takeLog() == ["skimmer ON"])
  }
}
