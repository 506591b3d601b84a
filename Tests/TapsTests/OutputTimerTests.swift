import Bounded
import MQTTWire
import Testing

@testable import Taps

@Suite struct OutputTimerTests {
  @Test func aPulseIsAsLongAsItSays() {
    let world = OutputWorld([output("gate") { $0.pulseNanoseconds = milliseconds(400) }])
    _ = world.takeLog()
    #expect(world.pulse("gate", "", by: "phone") == "ok")
    #expect(world.takeLog() == ["gate ON by=phone"])
    world.pass(milliseconds: 399)
    #expect(world.isOn("gate"))
    world.pass(milliseconds: 1)
    #expect(world.takeLog() == ["gate OFF by=timer"])
    #expect(world.table.nextOutputDeadline == .never)
  }

  @Test func aTimedSetNeverTurnsOnWhatWasOff() {
    let world = OutputWorld([output("gate")])
    for (before, pulse, after) in [
      ("ON", "OFF", true), ("OFF", "OFF", false), ("ON", "ON", false), ("OFF", "ON", false),
    ] {
      world.set("gate", before)
      world.pulse("gate", "{\"for\":\"2s\",\"level\":\"\(pulse)\"}")
      #expect(world.isOn("gate") == (pulse == "ON"))
      world.pass(seconds: 2)
      #expect(world.isOn("gate") == after, "\(before), then \(pulse) for a time")
    }
  }

  @Test func aPlainCommandEndsTheTimer() {
    let world = OutputWorld([output("relay")])
    for payload in ["ON", "OFF"] {
      world.set("relay", "{\"state\":\"ON\",\"for\":\"10s\"}")
      world.pass(seconds: 5)
      world.set("relay", payload)
      _ = world.takeLog()
      world.pass(seconds: 100)
      #expect(world.takeLog() == [])
      #expect(world.isOn("relay") == (payload == "ON"))
    }
  }

  @Test(
    arguments: [
      (OutputRetrigger.retrigger, 15), (.ignore, 10), (.extend, 20),
    ] as [(OutputRetrigger, Int64)]) func aSecondTimedSet(policy: OutputRetrigger, endsAt: Int64)
  {
    let world = OutputWorld([output("relay") { $0.retrigger = policy }])
    world.set("relay", "{\"state\":\"ON\",\"for\":10}")
    world.pass(seconds: 5)
    #expect(world.set("relay", "{\"state\":\"ON\",\"for\":10}") == "ok")
    world.pass(milliseconds: endsAt * 1000 - 5001)
    #expect(world.isOn("relay"))
    world.pass(milliseconds: 1)
    #expect(!world.isOn("relay"))
  }

  @Test func maxOnIsNotLengthenedByAnything() {
    let world = OutputWorld([output("heater") { $0.maxOnNanoseconds = seconds(60) }])
    world.set("heater", "ON")
    world.pass(seconds: 30)
    world.set("heater", "ON")
    world.set("heater", "{\"state\":\"ON\",\"for\":\"1h\"}")
    _ = world.takeLog()
    world.pass(seconds: 29)
    #expect(world.isOn("heater"))
    world.pass(seconds: 1)
    #expect(world.takeLog() == ["heater OFF by=timer"])
    // A new ON has its own time.
    world.set("heater", "ON")
    world.pass(milliseconds: 59_999)
    #expect(world.isOn("heater"))
    world.pass(milliseconds: 1)
    #expect(!world.isOn("heater"))
  }

  @Test func minTimesRefuseAndSayHowLong() {
    let world = OutputWorld([
      output("compressor") {
        $0.minOnNanoseconds = seconds(60)
        $0.minOffNanoseconds = seconds(180)
      }
    ])
    // Not known how long it was off before the start.
    #expect(world.set("compressor", "ON") == "131: min_off: 180 s left")
    #expect(world.set("compressor", "OFF") == "ok")  // it is off: nothing begins anew
    world.pass(milliseconds: 136_500)
    #expect(world.set("compressor", "TOGGLE") == "131: min_off: 44 s left")
    world.pass(milliseconds: 43_500)
    #expect(world.set("compressor", "ON") == "ok")
    #expect(world.set("compressor", "ON") == "ok")
    world.pass(milliseconds: 59_500)
    #expect(world.set("compressor", "OFF") == "131: min_on: 500 ms left")
    #expect(world.isOn("compressor"))
    world.pass(milliseconds: 500)
    #expect(world.set("compressor", "OFF") == "ok")
    #expect(world.set("compressor", "ON") == "131: min_off: 180 s left")
    #expect(world.table.outputs[0].refusedCount == 4)
  }

  @Test func aTimedSetLastsAtLeastItsMinimum() {
    let world = OutputWorld([
      output("valve") {
        $0.minOnNanoseconds = seconds(60)
        $0.minOffNanoseconds = seconds(30)
      }
    ])
    world.pass(seconds: 30)
    world.set("valve", "{\"state\":\"ON\",\"for\":1}")
    world.pass(milliseconds: 59_999)
    #expect(world.isOn("valve"))
    world.pass(milliseconds: 1)
    #expect(!world.isOn("valve"))
  }

  @Test func timersGoOnThroughAFault() {
    let world = OutputWorld([output("relay") { $0.maxOnNanoseconds = seconds(20) }])
    world.set("relay", "ON")
    world.isBroken[0] = true
    world.set("relay", "ON")
    #expect(world.table.outputs[0].state == .faulted)
    world.pass(seconds: 20)
    world.isBroken[0] = false
    world.open(0)  // not on again after its time
    #expect(!world.isOn("relay"))
    #expect(world.takeLog().last == "relay OFF")
  }

  @Test func whatATimerCannotSetIsRequestedSoLater() {
    let world = OutputWorld([output("relay")])
    world.pulse("relay", "1000")
    world.isBroken[0] = true
    world.pass(seconds: 1)
    #expect(world.lines == [true])
    world.isBroken[0] = false
    world.open(0)
    #expect(world.lines == [false])
  }

  @Test func aTimerOfAnOutputLeavesTheOthersAlone() {
    let world = OutputWorld([output("a", pin: "A"), output("b", pin: "B"), output("c", pin: "C")])
    world.pulse("a", "100")
    world.pulse("b", "50")
    world.pulse("c", "150")
    _ = world.takeLog()
    world.pass(milliseconds: 1000)
    #expect(world.takeLog() == ["b OFF by=timer", "a OFF by=timer", "c OFF by=timer"])
  }

  @Test func figuresArePublishedAtMostOnceAMinute() {
    let world = OutputWorld([output("pump") { $0.hasStats = true }])
    world.pass(milliseconds: 0)
    #expect(world.takeLog() == ["pump OFF", "pump/stats {\"cycles\":0,\"on_ms\":0,\"late\":0}"])
    for _ in 0..<10 {
      world.set("pump", "ON")
      world.pass(milliseconds: 1500)
      world.set("pump", "OFF")
      world.pass(milliseconds: 500)
    }
    #expect(world.takeLog().filter { $0.contains("stats") } == [])
    world.pass(seconds: 40)
    #expect(world.takeLog() == ["pump/stats {\"cycles\":10,\"on_ms\":15000,\"late\":0}"])
    world.pass(seconds: 1000)
    #expect(world.takeLog() == [])  // nothing new
    world.set("pump", "ON")
    world.pass(seconds: 130)
    #expect(
      world.takeLog() == [
        "pump ON by=me", "pump/stats {\"cycles\":11,\"on_ms\":15000,\"late\":0}",
        "pump/stats {\"cycles\":11,\"on_ms\":75000,\"late\":0}",
        "pump/stats {\"cycles\":11,\"on_ms\":135000,\"late\":0}",
      ])
    let last = world.table.stats(output: 0, at: world.now.moment)
    #expect(last?.payload.text == "{\"cycles\":11,\"on_ms\":145000,\"late\":0}")
  }

  @Test func figuresGoOnFromAnEarlierLife() {
    let table = board(outputs: [output("pump")])
    table.outputs[0].restoreFigures(cycleCount: 7, onMilliseconds: 1 << 40)
    #expect(table.outputs[0].cycleCount == 7)
    #expect(table.outputs[0].onMilliseconds(at: Instant(nanoseconds: 0)) == 1 << 40)
    #expect(table.stats(output: 0, at: Instant(nanoseconds: 0).moment) == nil)
  }
}

@Suite struct OutputLeaseTests {
  func world(onLost: Bool = false) -> OutputWorld {
    OutputWorld([
      output("heater") {
        $0.lease = OutputLease(client: [UInt8]("thermostat".utf8), graceNanoseconds: seconds(60))
        $0.lease?.isActiveWhenLost = onLost
      }
    ])
  }

  @Test func aClientThatComesBackInTimeChangesNothing() {
    let world = world()
    world.table.clientConnected(Bytes("thermostat"))
    world.set("heater", "ON")
    world.table.clientLost(Bytes("thermostat"), at: world.now)
    world.pass(seconds: 59)
    world.table.clientConnected(Bytes("thermostat"))
    world.pass(seconds: 1000)
    #expect(world.isOn("heater"))
  }

  @Test func aClientThatStaysAwayLosesIt() {
    let world = world()
    world.table.clientConnected(Bytes("thermostat"))
    world.set("heater", "{\"state\":\"ON\",\"for\":\"1h\"}")
    world.pass(seconds: 100)
    _ = world.takeLog()
    world.table.clientLost(Bytes("thermostat"), at: world.now)
    world.pass(milliseconds: 59_999)
    #expect(world.isOn("heater"))
    world.pass(milliseconds: 1)
    #expect(world.takeLog() == ["heater OFF by=lease"])
    world.pass(seconds: 10_000)
    #expect(world.takeLog() == [])
  }

  @Test func otherClientsDoNotMatter() {
    let world = world()
    world.table.clientConnected(Bytes("thermostat"))
    world.set("heater", "ON")
    for other in ["thermosta", "thermostat2", "", "THERMOSTAT"] as [StaticString] {
      world.table.clientLost(Bytes(other), at: world.now)
    }
    world.pass(seconds: 1000)
    #expect(world.isOn("heater"))
  }

  @Test func whileItIsAwayNobodysCommandLastsLonger() {
    let world = world()
    world.pass(seconds: 500)
    #expect(world.set("heater", "ON", by: "phone") == "ok")
    world.pass(seconds: 30)
    world.set("heater", "ON", by: "phone")
    world.pass(milliseconds: 29_999)
    #expect(world.isOn("heater"))
    world.pass(milliseconds: 1)
    #expect(!world.isOn("heater"))
  }

  @Test func whoeverIsNotThereAtStartHasTheGraceTimeToCome() {
    var settings = world().table.settings
    settings.outputs[0].initial = .on
    let late = OutputWorld(settings.outputs)
    late.pass(seconds: 59)
    #expect(late.isOn("heater"))
    late.pass(seconds: 1)
    #expect(late.takeLog() == ["heater ON", "heater OFF by=lease"])
    let inTime = OutputWorld(settings.outputs)
    inTime.table.clientConnected(Bytes("thermostat"))
    inTime.pass(seconds: 1000)
    #expect(inTime.isOn("heater"))
  }

  @Test func onLostMayBeOn() {
    let world = world(onLost: true)
    world.table.clientConnected(Bytes("thermostat"))
    world.table.clientLost(Bytes("thermostat"), at: world.now)
    _ = world.takeLog()
    world.pass(seconds: 60)
    #expect(world.takeLog() == ["heater ON by=lease"])
  }

  /// The grace time ends while a timed OFF holds the line: what the OFF would bring back, the lease has ended.
  @Test func aTimedOffBringsNothingBackAfterTheLease() {
    let world = world()
    world.table.clientConnected(Bytes("thermostat"))
    world.set("heater", "ON")
    world.table.clientLost(Bytes("thermostat"), at: world.now)
    world.pass(seconds: 50)
    world.set("heater", "{\"state\":\"OFF\",\"for\":\"90s\"}", by: "phone")
    _ = world.takeLog()
    world.pass(seconds: 10_000)
    #expect(world.takeLog() == [])
    #expect(!world.isOn("heater"))
  }

  @Test func aTimedOffDoesNotBringItBackForGood() {
    let world = world()
    world.table.clientConnected(Bytes("thermostat"))
    world.set("heater", "ON")
    world.set("heater", "{\"state\":\"OFF\",\"for\":\"90s\"}")
    world.table.clientLost(Bytes("thermostat"), at: world.now)
    world.pass(seconds: 1000)
    #expect(!world.isOn("heater"))
  }
}
