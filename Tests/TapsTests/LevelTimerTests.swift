import Bounded
import MQTTWire
import Testing

@testable import Taps

/// A level whose owner does as the tap asks. Times are seconds.
private final class World {
  let table: TapTable
  private(set) var now = Instant(nanoseconds: 0)
  /// Levels in percent with who caused them: "35 by=me".
  private var log: [String] = []

  init(_ change: (inout LevelSettings) -> Void = { _ in }) {
    var settings = LevelTests.settings()
    change(&settings)
    table = LevelTests.table([settings])
    open()
  }

  var level: Int { table.levels[0].level / 100 }

  /// The device answers, at start or after a fault.
  func open() {
    table.levels[0].tried()
    _ = table.levels[0].opened(at: now.moment)
  }

  func fail() { _ = table.levels[0].failed(Bytes("gone"), at: now.moment) }

  @discardableResult func set(_ payload: String, by: StaticString = "me") -> Bool {
    withLent(payload) { payload in
      guard case .write(let set) = table.levels[0].commandReceived(payload, isRetained: false, at: now) else {
        return false
      }
      write(set, by: Bytes(by))
      return true
    }
  }

  func pass(_ seconds: Int64) {
    let end = now.adding(seconds: seconds)
    while true {
      let next = table.nextLevelDeadline
      guard next <= end else { break }
      now = max(now, next)
      while let due = table.levels[0].due(at: now) { write(LevelSet(due.level), by: due.by) }
      if table.levels[0].retryAt <= now { table.levels[0].tried() }  // it does not come back by itself
    }
    now = end
  }

  func lose(_ client: StaticString = "plc") { table.clientLost(Bytes(client), at: now) }
  func connect(_ client: StaticString = "plc") { table.clientConnected(Bytes(client)) }

  func takeLog() -> [String] {
    defer { log = [] }
    return log
  }

  private func write(_ set: LevelSet, by: Bytes) {
    let update = table.levels[0].written(set, by: by, at: now.moment)
    log.append("\(update.state?.payload.text ?? "nothing") by=\(by.text)")
  }
}

@Suite struct LevelTimerTests {
  @Test func aTimedLevelGoesOff() {
    let world = World()
    world.set("20")
    #expect(world.set("{\"brightness\":80,\"for\":\"10s\"}"))
    world.pass(9)
    #expect(world.takeLog() == ["20 by=me", "80 by=me"])
    world.pass(1)
    #expect(world.takeLog() == ["0 by=timer"])
    world.pass(10_000)
    #expect(world.takeLog() == [])
  }

  @Test func aTimedOffGoesBackToWhatWas() {
    let world = World()
    world.set("35")
    world.set("{\"state\":\"OFF\",\"for\":5}")
    world.pass(5)
    #expect(world.takeLog() == ["35 by=me", "0 by=me", "35 by=timer"])
  }

  /// Overlapping timed sets end as the first one would have; one without a time ends all of them.
  @Test func theLevelAfterwardsIsSettledByTheFirst() {
    let world = World()
    world.set("35")
    world.set("{\"state\":\"OFF\",\"for\":5}")
    world.pass(3)
    world.set("{\"brightness\":90,\"for\":5}")
    world.pass(3)
    #expect(world.level == 90)
    world.pass(2)
    #expect(world.level == 35)
    world.set("{\"brightness\":90,\"for\":5}")
    world.set("40")
    world.pass(100)
    #expect(world.level == 40)
  }

  @Test func maxOnEndsWhateverCameInBetween() {
    let world = World { $0.maxOnNanoseconds = seconds(60) }
    world.set("10")
    world.pass(30)
    world.set("90")
    world.set("{\"brightness\":50,\"for\":\"1h\"}")
    world.pass(29)
    #expect(world.level == 50)
    world.pass(1)
    #expect(world.level == 0)
    world.pass(10_000)
    #expect(world.takeLog().last == "0 by=timer")
  }

  @Test func aClientThatStaysAwayLosesIt() {
    let world = World {
      $0.lease = LevelLease(client: [UInt8]("plc".utf8), graceNanoseconds: seconds(20), levelWhenLost: 500)
    }
    world.connect()
    world.set("80")
    world.lose("other")
    world.pass(100)
    world.lose()
    world.pass(19)
    #expect(world.level == 80)
    world.pass(1)
    #expect(world.takeLog() == ["80 by=me", "5 by=lease"])
    // Nobody's command lasts longer than the grace time while the client is away.
    world.set("60", by: "phone")
    world.pass(20)
    #expect(world.level == 5)
    world.connect()
    world.set("60")
    world.pass(10_000)
    #expect(world.level == 60)
  }

  @Test func aTimedOffBringsNothingBackAfterTheLease() {
    let world = World {
      $0.lease = LevelLease(client: [UInt8]("plc".utf8), graceNanoseconds: seconds(60), levelWhenLost: 0)
    }
    world.connect()
    world.set("80")
    world.lose()
    world.pass(50)
    world.set("{\"state\":\"OFF\",\"for\":\"90s\"}", by: "phone")
    world.pass(10_000)
    #expect(world.takeLog() == ["80 by=me", "0 by=phone"])
  }

  /// What a timer wants of a device that is gone is what it drives when it is back.
  @Test func timersGoOnDuringAFault() {
    let world = World()
    world.set("{\"brightness\":80,\"for\":\"10s\"}")
    world.fail()
    world.pass(5)
    #expect(!world.set("40"))
    world.open()
    #expect(world.level == 80)
    world.fail()
    world.pass(10)
    world.open()
    #expect(world.level == 0)
    world.pass(10_000)
    #expect(world.level == 0)
  }

  /// Nobody would end a timed set in the next life.
  @Test func ofATimedSetWhatComesAfterItIsSaved() {
    let world = World()
    world.set("35")
    #expect(world.table.levels[0].savedLevel == 3500)
    world.set("{\"brightness\":80,\"for\":\"10s\"}")
    #expect(world.table.levels[0].savedLevel == 0)
    world.set("35")
    world.set("{\"state\":\"OFF\",\"for\":\"10s\"}")
    #expect(world.table.levels[0].savedLevel == 3500)
  }
}
