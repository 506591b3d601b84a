import Bounded
import MQTTWire
import Testing

@testable import Taps

@Suite struct OutputGroupTests {
  func shutter(
    _ mode: OutputGroupSettings.Mode = .wait, deadTime: Int64 = 500, _ change: (inout OutputSettings) -> Void = { _ in }
  ) -> OutputWorld {
    let outputs = ["up", "down", "tilt"].map { name in
      output(name, pin: name) {
        $0.group = 0
        change(&$0)
      }
    }
    let world = OutputWorld(outputs, groups: [group("shutter", deadTimeMilliseconds: deadTime, mode)])
    world.pass(seconds: 10)
    _ = world.takeLog()
    return world
  }

  @Test func othersGoOffFirstThenTheDeadTimeThenOn() {
    let world = shutter()
    world.set("up", "ON", by: "anna")
    #expect(world.set("down", "ON", by: "bert") == "ok")
    #expect(world.takeLog() == ["up ON by=anna", "up OFF by=interlock"])
    world.pass(milliseconds: 499)
    #expect(world.lines == [false, false, false])
    world.pass(milliseconds: 1)
    #expect(world.takeLog() == ["down ON by=bert"])
    #expect(world.lines == [false, true, false])
  }

  @Test func withoutDeadTimeItIsOneAnswer() {
    let world = shutter(deadTime: 0)
    world.set("up", "ON")
    world.set("tilt", "ON")
    #expect(world.takeLog() == ["up ON by=me", "up OFF by=interlock", "tilt ON by=me"])
  }

  /// The line goes off when its driver has done it, not when that was asked for.
  @Test func deadTimeCountsFromTheLineBeingOff() {
    let world = shutter(deadTime: 500)
    world.set("up", "ON")
    world.lineMilliseconds = 30
    world.set("down", "ON")
    #expect(world.lines == [false, false, false])
    world.pass(milliseconds: 499)
    #expect(world.lines == [false, false, false])
    world.pass(milliseconds: 1)
    #expect(world.lines == [false, true, false])
  }

  @Test func deadTimeCountsFromAnyOff() {
    let world = shutter()
    world.set("up", "ON")
    world.set("up", "OFF")
    world.pass(milliseconds: 200)
    #expect(world.set("up", "ON") == "ok")  // its own OFF does not matter
    #expect(world.isOn("up"))
    world.set("up", "OFF")
    world.pass(milliseconds: 200)
    world.set("down", "ON")
    world.pass(milliseconds: 299)
    #expect(!world.isOn("down"))
    world.pass(milliseconds: 1)
    #expect(world.isOn("down"))
  }

  @Test func theLastWordWins() {
    let world = shutter()
    world.set("up", "ON")
    world.set("down", "ON")
    world.pass(milliseconds: 100)
    world.set("tilt", "ON")
    world.pass(seconds: 10)
    #expect(world.lines == [false, false, true])
    world.set("up", "ON")
    world.set("up", "TOGGLE")  // it was about to go on
    world.pass(seconds: 10)
    #expect(world.lines == [false, false, false])
    world.set("up", "ON")
    world.set("up", "OFF")
    world.set("down", "ON")
    world.set("down", "OFF")
    world.pass(seconds: 10)
    #expect(world.lines == [false, false, false])
  }

  @Test func aTimeBeginsWhenTheLineIsOn() {
    let world = shutter()
    world.set("up", "ON")
    world.set("down", "{\"state\":\"ON\",\"for\":2}")
    world.pass(milliseconds: 2499)
    #expect(world.isOn("down"))
    world.pass(milliseconds: 1)
    #expect(world.lines == [false, false, false])
  }

  /// Timed OFF of one, ON of the other: the first must not come back when its time is over.
  @Test func whatIsPushedAsideStaysOff() {
    let world = shutter()
    world.set("up", "ON")
    world.set("up", "{\"state\":\"OFF\",\"for\":5}")
    world.set("down", "ON")
    world.pass(seconds: 100)
    #expect(world.lines == [false, true, false])
  }

  @Test func refuseSaysWhoIsOn() {
    let world = shutter(.refuse)
    world.set("down", "ON")
    #expect(world.set("up", "ON") == "131: interlock: down is on")
    #expect(world.set("up", "TOGGLE") == "131: interlock: down is on")
    #expect(world.pulse("up", "100") == "131: interlock: down is on")
    #expect(world.set("up", "OFF") == "ok")
    #expect(world.set("down", "ON") == "ok")
    world.set("down", "OFF")
    world.pass(milliseconds: 200)
    #expect(world.set("up", "ON") == "131: interlock: dead_time 300 ms left")
    world.pass(milliseconds: 300)
    #expect(world.set("up", "ON") == "ok")
    #expect(world.lines == [true, false, false])
  }

  @Test func minTimesOfBothSidesHold() {
    let world = shutter {
      $0.minOnNanoseconds = seconds(3)
      $0.minOffNanoseconds = seconds(4)
    }
    world.set("up", "ON")
    world.pass(seconds: 1)
    #expect(world.set("down", "ON") == "131: interlock: up min_on: 2 s left")
    world.pass(seconds: 2)
    #expect(world.set("down", "ON") == "ok")
    world.pass(seconds: 3)
    world.set("down", "OFF")
    world.pass(milliseconds: 500)
    #expect(world.set("down", "ON") == "131: min_off: 4 s left" || world.isOn("down"))
  }

  @Test func whatCannotBeSwitchedOffKeepsTheOthersOff() {
    let world = shutter()
    world.set("up", "ON")
    world.isBroken[0] = true
    #expect(world.set("down", "ON") == "131: broken")
    world.pass(seconds: 10)
    #expect(world.lines == [true, false, false])
    // Its level is not known now: it was on.
    #expect(world.set("down", "ON") == "131: interlock: up is faulted, maybe on")
    world.isBroken[0] = false
    world.open(0)
    world.set("down", "ON")
    world.pass(seconds: 1)
    #expect(world.lines == [false, true, false])
  }

  @Test func aTimerThatCannotSwitchOffKeepsTheOthersOff() {
    let world = shutter()
    world.pulse("up", "1000")
    world.isBroken[0] = true
    world.pass(seconds: 2)
    #expect(world.set("down", "ON") == "131: interlock: up is faulted, maybe on")
    world.isBroken[0] = false
    world.open(0)
    #expect(world.lines == [false, false, false])
    #expect(world.set("down", "ON") == "ok")
    world.pass(milliseconds: 500)
    #expect(world.lines == [false, true, false])
  }

  /// A command that was refused is not carried out later, even if its rival's line comes back in time, and off.
  @Test func whatWasRefusedDoesNotFollow() {
    let world = shutter()
    world.pulse("up", "100")
    world.isBroken[0] = true
    #expect(world.set("down", "ON") == "131: broken")
    world.pass(milliseconds: 100)
    world.isBroken[0] = false
    world.open(0)
    world.pass(seconds: 10)
    #expect(world.lines == [false, false, false])
  }

  @Test func anOldTimerDoesNotTouchWhoWaits() {
    let world = shutter()
    world.set("down", "ON")
    world.set("down", "OFF")
    world.set("up", "{\"state\":\"OFF\",\"for\":0.2}")
    world.set("up", "ON")
    world.pass(milliseconds: 500)
    #expect(world.lines == [true, false, false])
  }

  /// A line that was busy at start comes while another one waits for the dead time, or is on.
  @Test func aLineThatComesLateIsOneOfTheGroupToo() {
    let outputs = ["a", "b", "c"].map { name in
      output(name, pin: name) {
        $0.group = 0
        $0.initial = name == "a" ? .on : .off
      }
    }
    for isWaiting in [true, false] {
      let world = OutputWorld(outputs, groups: [group("g", deadTimeMilliseconds: 500)], unopened: 0)
      world.pass(seconds: 1)
      world.set("b", "ON")
      world.set("c", "ON")
      if !isWaiting { world.pass(seconds: 1) }
      world.open(0)
      world.pass(seconds: 1)
      #expect(world.lines == [false, false, true])
    }
  }

  @Test func whoWaitsForALineThatFailsWaitsNoMore() {
    let world = shutter()
    world.set("up", "ON")
    world.set("down", "ON")
    world.isBroken[1] = true
    world.pass(seconds: 1)
    #expect(world.table.outputs[1].state == .faulted)
    world.isBroken[1] = false
    world.open(1)
    #expect(world.lines == [false, false, false])
  }

  @Test func atStartOneOfAGroupAtMost() {
    for initial in [OutputInitial.keep, .restore] {
      let outputs = ["a", "b", "c"].map { name in
        output(name, pin: name) {
          $0.group = 0
          $0.initial = initial
        }
      }
      let world = OutputWorld(outputs, groups: [group("g")], found: [false, true, true])
      #expect(world.lines == [false, true, false])
    }
  }

  @Test func otherGroupsDoNotMatter() {
    let outputs = [
      output("a", pin: "a") { $0.group = 0 }, output("b", pin: "b") { $0.group = 1 }, output("c", pin: "c"),
    ]
    let world = OutputWorld(outputs, groups: [group("g"), group("h")])
    for name in ["a", "b", "c"] { world.set(name, "ON") }
    #expect(world.lines == [true, true, true])
  }

  /// Whatever is asked, in whatever order, with lines that fail: never two on, never without the dead time, never longer
  /// than max_on, and no timer is forgotten.
  @Test(arguments: 1...12 as ClosedRange<UInt64>) func neverTwoOfAGroup(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let mode: OutputGroupSettings.Mode = seed % 3 == 0 ? .refuse : .wait
    let deadTime: Int64 = [0, 50, 500][Int(seed % 3)]
    let names = ["a", "b", "c", "d"]
    let retriggers: [OutputRetrigger] = [.retrigger, .ignore, .extend]
    let outputs = names.enumerated().map { index, name in
      output(name, pin: name) {
        $0.group = index < 3 ? 0 : nil
        $0.retrigger = retriggers[(index + Int(seed)) % 3]
        $0.maxOnNanoseconds = seconds(3)
        $0.minOnNanoseconds = index == 1 ? milliseconds(70) : 0
        $0.minOffNanoseconds = index == 2 ? milliseconds(90) : 0
        $0.lease = index == 2 ? OutputLease(client: [UInt8]("x".utf8), graceNanoseconds: seconds(1)) : nil
      }
    }
    let world = OutputWorld(outputs, groups: [group("g", deadTimeMilliseconds: deadTime, mode)])
    let commands = [
      "ON", "OFF", "TOGGLE", "{\"state\":\"ON\",\"for\":0.3}", "{\"state\":\"OFF\",\"for\":0.2}",
      "{\"state\":\"TOGGLE\",\"for\":1}", "nonsense",
    ]
    var lastOff = [Instant](repeating: Instant(nanoseconds: 0), count: 4)
    var onSince = [Instant?](repeating: nil, count: 4)
    var before = world.lines
    for step in 0..<1000 {
      let index = random.below(4)
      switch random.below(12) {
      case 0: world.isBroken[index].toggle()
      case 1: if world.table.outputs[index].state == .faulted, !world.isBroken[index] { world.open(index) }
      case 2: world.table.clientConnected(Bytes("x"))
      case 3: world.table.clientLost(Bytes("x"), at: world.now)
      case 4: world.pulse(names[index], "\(random.below(400))")
      default: world.set(names[index], commands[random.below(commands.count)])
      }
      let pause = random.oneIn(3) ? random.below(700) : 0
      for _ in 0...pause {
        check(world.lines[0..<3].filter { $0 }.count <= 1, "two are on, seed \(seed) step \(step)")
        for line in 0..<4 {
          if before[line], !world.lines[line] { lastOff[line] = world.now }
          if !before[line], world.lines[line], line < 3 {
            for rival in 0..<3 where rival != line {
              check(
                world.now.since(lastOff[rival]) >= milliseconds(deadTime),
                "dead time, seed \(seed) step \(step) \(line)")
            }
          }
          if !world.lines[line] || world.table.outputs[line].state == .faulted { onSince[line] = nil }
          if world.lines[line], onSince[line] == nil { onSince[line] = world.now }
          if let since = onSince[line], world.table.outputs[line].state != .faulted {
            check(world.now.since(since) <= seconds(3), "max_on, seed \(seed) step \(step)")
          }
        }
        before = world.lines
        if pause > 0 { world.pass(milliseconds: 1) }
      }
    }
    for line in 0..<4 {
      world.isBroken[line] = false
      if world.table.outputs[line].state == .faulted { world.open(line) }
    }
    world.pass(seconds: 10)
    #expect(world.lines == [false, false, false, false])
    #expect(world.table.nextOutputDeadline == .never)
  }
}

@Suite struct OutputSettingsTests {
  func problem(_ change: (inout TapSettings) -> Void) -> String {
    var settings = TapSettings(base: [UInt8]("b".utf8))
    settings.groups = [group("g"), group("h")]
    settings.outputs = (0..<9).map { output("o\($0)", pin: "P\($0)") }
    change(&settings)
    guard let problem = settings.problem() else { return "" }
    return "\(problem.place): \(problem.text)"
  }

  @Test func whatAnOutputCannotHave() {
    #expect(problem { _ in } == "")
    #expect(problem { $0.outputs[1].group = 2 } == "output(1): there is no such group")
    #expect(problem { $0.outputs[1].group = -1 } == "output(1): there is no such group")
    #expect(problem { $0.outputs[0].maxOnNanoseconds = -1 } == "output(0): a time must be at most 30d")
    #expect(problem { $0.outputs[0].minOffNanoseconds = .max } == "output(0): a time must be at most 30d")
    #expect(
      problem {
        $0.outputs[0].minOnNanoseconds = 2
        $0.outputs[0].maxOnNanoseconds = 1
      } == "output(0): min_on must be at most max_on")
    #expect(
      problem {
        $0.outputs[0].pulseNanoseconds = 2
        $0.outputs[0].maxOnNanoseconds = 1
      } == "output(0): pulse must be at most max_on")
    #expect(
      problem { $0.outputs[0].lease = OutputLease(client: [], graceNanoseconds: 1) }
        == "output(0): a lease needs the client's identifier")
    #expect(
      problem { $0.outputs[0].lease = OutputLease(client: [1], graceNanoseconds: -1) }
        == "output(0): grace must be at most 30d")
    #expect(
      problem {
        $0.outputs[2].group = 0
        $0.outputs[2].isSafeActive = true
      } == "output(2): an output of a group must have safe: off")
    #expect(
      problem {
        $0.outputs[2].group = 0
        $0.outputs[2].lease = OutputLease(client: [1], graceNanoseconds: 0)
        $0.outputs[2].lease?.isActiveWhenLost = true
      } == "output(2): an output of a group must have on_lost: off")
  }

  @Test func whatAGroupCannotHave() {
    #expect(problem { $0.groups[1].name = $0.groups[0].name } == "group(1): another group has this name")
    #expect(problem { $0.groups[1].name = [] }.hasPrefix("group(1): "))
    #expect(problem { $0.groups[0].deadTimeNanoseconds = -1 } == "group(0): dead_time must be at most 30d")
    #expect(
      problem { for index in 0..<9 { $0.outputs[index].group = 0 } } == "group(0): a group has at most 8 outputs")
    #expect(problem { for index in 0..<8 { $0.outputs[index].group = 0 } } == "")
    #expect(
      problem {
        for index in 0..<2 {
          $0.outputs[index].group = 1
          $0.outputs[index].initial = .on
        }
      } == "group(1): one output of a group at most can have initial: on")
  }
}
