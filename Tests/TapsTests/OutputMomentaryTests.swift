import Bounded
import MQTTWire
import Testing

@testable import Taps

/// Outputs that have a `pulse` never stay on: a gate's contact, a bell.
@Suite struct OutputMomentaryTests {
  static func gate(_ retrigger: OutputRetrigger = .retrigger) -> OutputWorld {
    let world = OutputWorld([
      output("gate") {
        $0.pulseNanoseconds = milliseconds(400)
        $0.retrigger = retrigger
      }
    ])
    _ = world.takeLog()
    return world
  }

  /// What Home Assistant's button sends, what a switch sends, and nothing at all.
  @Test(arguments: ["ON", "on", "1", "TOGGLE", "PRESS", "", "anything", "{\"state\":\"ON\"}", "{\"state\":\"TOGGLE\"}"])
  func anyCommandPulses(_ payload: String) {
    let world = Self.gate()
    #expect(world.set("gate", payload) == "ok")
    #expect(world.isOn("gate"))
    world.pass(milliseconds: 399)
    #expect(world.isOn("gate"))
    world.pass(milliseconds: 1)
    #expect(world.takeLog() == ["gate ON by=me", "gate OFF by=timer"])
  }

  /// Nobody who says OFF wants the gate to move.
  @Test(arguments: ["OFF", "0", "false", "{\"state\":\"OFF\"}"]) func offIsOff(_ payload: String) {
    let world = Self.gate()
    #expect(world.set("gate", payload) == "ok")
    world.set("gate", "PRESS")
    world.pass(milliseconds: 100)
    world.set("gate", payload)
    #expect(world.takeLog() == ["gate OFF by=me", "gate ON by=me", "gate OFF by=me"])
    #expect(world.table.nextOutputDeadline == .never || !world.isOn("gate"))
  }

  @Test(arguments: ["{\"state\":\"OFF\",\"x\":1}", "{", " {\"state\":\"ON\"", "{\"for\":\"1s\"}"])
  func anObjectThatIsNotUnderstoodIsRefused(_ payload: String) {
    let world = Self.gate()
    #expect(world.set("gate", payload).hasPrefix("153: "))
    #expect(!world.isOn("gate"))
  }

  @Test func aLengthOfItsOwnCounts() {
    let world = Self.gate()
    world.set("gate", "{\"state\":\"ON\",\"for\":\"2s\"}")
    world.pass(milliseconds: 1999)
    #expect(world.isOn("gate"))
    world.pass(milliseconds: 1)
    #expect(!world.isOn("gate"))
  }

  @Test(arguments: [(OutputRetrigger.ignore, Int64(400)), (.retrigger, Int64(700)), (.extend, Int64(800))])
  func asRetriggerSays(policy: OutputRetrigger, milliseconds length: Int64) {
    let world = Self.gate(policy)
    world.set("gate", "PRESS")
    world.pass(milliseconds: 300)
    world.set("gate", "PRESS")
    world.pass(milliseconds: length - 301)
    #expect(world.isOn("gate"))
    world.pass(milliseconds: 1)
    #expect(!world.isOn("gate"))
  }

  /// A rule's ON is a command like others.
  @Test func aRulePulsesIt() {
    let world = Self.gate()
    let action = world.table.perform(OutputCommand(.on), output: 0, by: Bytes("rule:open"), at: world.now)
    #expect(world.answer(action) == "ok")
    world.pass(milliseconds: 1000)
    #expect(world.takeLog() == ["gate ON by=rule:open", "gate OFF by=timer"])
  }

  @Test func pain19ARetainedCommandCanBeRefused() {
    for policy in [RetainedSet.strip, .reject] {
      var settings = TapSettings(base: [UInt8]("b".utf8))
      settings.outputs = [output("door") { $0.pulseNanoseconds = seconds(1) }]
      settings.retainedSet = policy
      let table = makeTable(settings, at: Instant(milliseconds: 1))
      _ = table.lineHealed(output: 0, active: false, at: Instant(milliseconds: 1).moment)
      func send(_ payload: StaticString, isRetained: Bool) -> [Bool] {
        [
          table.setReceived(
            output: 0, Bytes(payload), isRetained: isRetained, by: Bytes("me"), at: Instant(milliseconds: 2)),
          table.pulseReceived(
            output: 0, Bytes(payload), isRetained: isRetained, by: Bytes("me"), at: Instant(milliseconds: 2)),
        ].map { action in
          switch action {
          case .set: return true
          case .refuse(let code, let reason):
            #expect(code == .implementationSpecificError)
            #expect(reason.text == "a retained command")
            return false
          }
        }
      }
      #expect(send("300", isRetained: false) == [true, true])
      #expect(send("300", isRetained: true) == (policy == .strip ? [true, true] : [false, false]))
      #expect(send("", isRetained: true) == [true, true])  // deletes a retained message
    }
  }
}
