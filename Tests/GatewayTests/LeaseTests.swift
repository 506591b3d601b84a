import Bounded
import MQTTBroker
import MQTTWire
import Taps
import Testing

@testable import Gateway

@Suite("A lease ends with its client's connection, in whatever way that ends, and not before the grace time")
struct LeaseTests {
  /// An output, one that goes on when the lease is lost, and a level.
  private static let taps = settings {
    $0.outputs = [
      output("heater") { $0.lease = OutputLease(client: utf8("holder"), graceNanoseconds: seconds(10)) },
      output("alarm") {
        $0.lease = OutputLease(client: utf8("holder"), graceNanoseconds: seconds(10))
        $0.lease?.isActiveWhenLost = true
        $0.initial = .on
      },
      output("free"),
    ]
    $0.levels = [
      level("fan") { $0.lease = LevelLease(client: utf8("holder"), graceNanoseconds: seconds(10), levelWhenLost: 2000) }
    ]
  }

  /// One way in which the holder's connection ends.
  struct Loss: CustomTestStringConvertible, Sendable {
    let what: String
    var keepAliveSeconds: UInt16 = 0
    let end: @Sendable (World) -> Void
    var testDescription: String { what }
  }
  static let losses = [
    Loss(what: "transport is gone") { $0.lose("holder") },
    Loss(what: "DISCONNECT") { $0.send("holder", .disconnect()) },
    Loss(what: "DISCONNECT with Will") { $0.send("holder", .disconnect(.disconnectWithWill)) },
    Loss(what: "protocol error") { $0.send("holder", .raw([0x00, 0x00])) },
    Loss(what: "keep alive", keepAliveSeconds: 4) { $0.pass(seconds: 6) },
    Loss(what: "taken over, and the new one is lost") {
      $0.connect("second", clientID: "holder")
      $0.lose("second")
    },
    Loss(what: "taken over with Clean Start, and the new one is lost") {
      $0.connect("second", clientID: "holder", cleanStart: true)
      $0.pass(seconds: 60)
      $0.lose("second")
    },
  ]

  /// A world in which all taps of the lease are driven otherwise than the lease would have it.
  private func world(keepAliveSeconds: UInt16 = 0) -> World {
    let world = World(LeaseTests.taps)
    world.connect("c")
    world.connect("holder", keepAliveSeconds: keepAliveSeconds)
    #expect(world.command("c", "b/heater/set", "ON") == "ok")
    #expect(world.command("c", "b/alarm/set", "OFF") == "ok")
    #expect(world.command("c", "b/free/set", "ON") == "ok")
    #expect(world.command("c", "b/fan/set", "80") == "ok")
    _ = world.board.takeChanges()
    return world
  }

  @Test(arguments: losses) func itIsLost(_ loss: Loss) {
    let world = world(keepAliveSeconds: loss.keepAliveSeconds)
    loss.end(world)
    world.pass(milliseconds: 9_999)
    #expect(world.board.takeChanges() == [])
    let start = world.now
    world.pass(milliseconds: 1)
    let changes = world.board.takeChanges()
    #expect(changes.map(\.description) == ["line 0 OFF by=lease", "line 1 ON by=lease", "level 0 2000"])
    #expect(changes.allSatisfy { $0.at.since(start) == milliseconds(1) })
    #expect(world.retained("b/heater") == "OFF by=lease")
    #expect(world.retained("b/alarm") == "ON by=lease")
    #expect(world.retained("b/fan") == "20 by=lease")
    #expect(world.retained("b/free") == "ON by=c")
    world.pass(seconds: 1000)
    #expect(world.board.takeChanges() == [])
  }

  @Test(arguments: losses) func backInTimeItIsKept(_ loss: Loss) {
    let world = world(keepAliveSeconds: loss.keepAliveSeconds)
    loss.end(world)
    world.pass(milliseconds: 9_999)
    world.connect("back", clientID: "holder")
    world.pass(seconds: 1000)
    #expect(world.board.takeChanges() == [])
    #expect(world.retained("b/heater") == "ON by=c")
    #expect(world.retained("b/fan") == "80 by=c")
  }

  /// A takeover is the end of one connection and the beginning of another: the client is there all the time.
  @Test func aTakeoverKeepsIt() {
    let world = world()
    for round in 0..<5 {
      world.connect("again\(round)", clientID: "holder", cleanStart: round % 2 == 0)
      world.pass(seconds: 60)
    }
    #expect(world.presence.suffix(2) == ["-holder", "+holder"])
    #expect(world.board.takeChanges() == [])
  }

  @Test func anotherClientDoesNotKeepIt() {
    let world = world()
    world.lose("holder")
    world.connect("holder2")
    world.pass(seconds: 11)
    #expect(world.board.takeChanges().count == 3)
  }

  /// A client that is not there at start has the grace time to come.
  @Test func whoNeverComes() {
    let world = World(
      settings {
        $0.outputs = [
          output("heater") {
            $0.lease = OutputLease(client: utf8("holder"), graceNanoseconds: seconds(10))
            $0.initial = .on
          }
        ]
      })
    #expect(world.board.lines == [true])
    world.pass(milliseconds: 9_999)
    #expect(world.board.lines == [true])
    world.pass(milliseconds: 1)
    #expect(world.board.takeChanges().map(\.description) == ["line 0 OFF by=lease"])
  }

  /// While the holder is away nobody's command lasts longer than the grace time, and it begins with the first one.
  @Test func whileItIsAwayNobodysCommandLasts() {
    let world = world()
    world.lose("holder")
    world.pass(seconds: 20)
    _ = world.board.takeChanges()
    #expect(world.command("c", "b/heater/set", "ON") == "ok")
    world.pass(seconds: 5)
    #expect(world.command("c", "b/heater/set", "ON") == "ok")
    _ = world.board.takeChanges()
    world.pass(milliseconds: 4_999)
    #expect(world.board.takeChanges() == [])
    world.pass(milliseconds: 1)
    #expect(world.board.takeChanges().map(\.description) == ["line 0 OFF by=lease"])
  }

  /// A line and a driver that fail when the lease ends get what the lease wants when they are back, and nothing else.
  @Test func whatFailsThenIsWhatTheLeaseWantsWhenItIsBack() {
    let world = world()
    world.lose("holder")
    world.board.isBroken[0] = true
    world.board.drivers[0] = .refuses
    world.pass(seconds: 11)
    #expect(world.retained("b/heater") == "ON by=c")
    #expect(world.retained("b/heater/fault") == "broken")
    #expect(world.retained("b/fan/fault") == "refused")
    #expect(world.board.takeChanges().map(\.description) == ["line 1 ON by=lease"])
    world.board.isBroken[0] = false
    world.board.drivers[0] = .works
    world.pass(seconds: 6)
    #expect(world.board.takeChanges().map(\.description) == ["level 0 2000", "line 0 OFF"])
    #expect(world.retained("b/heater") == "OFF")
    #expect(world.retained("b/fan") == "20")
    #expect(world.retained("b/heater/fault") == nil && world.retained("b/fan/fault") == nil)
    world.pass(seconds: 60)
    #expect(world.board.takeChanges() == [])
  }

  /// A driver that hangs when the lease ends: the late write changes nothing of what the lease wants.
  @Test func aDriverThatHangsThen() {
    let world = world()
    world.lose("holder")
    world.board.drivers[0] = .hangs
    world.pass(seconds: 11)
    #expect(world.retained("b/fan/fault") == "write does not return")
    world.driverReturns(0)
    #expect(world.board.shares == [share(2000)])
    #expect(world.retained("b/fan") == "20")
  }

  // MARK: Keep alive

  private static let watched = settings {
    $0.outputs = [
      output("heater") {
        $0.lease = OutputLease(client: utf8("holder"), graceNanoseconds: seconds(10))
        $0.lease?.keepAliveSecondsMax = 30
      }
    ]
    $0.levels = [
      level("fan") {
        $0.lease = LevelLease(client: utf8("holder"), graceNanoseconds: seconds(10), levelWhenLost: 0)
        $0.lease?.keepAliveSecondsMax = 20
      }
    ]
  }

  /// §3.2.2.3.14: the shortest of its leases' is told, whatever the client asks for; other clients have the limit's.
  @Test(arguments: [(UInt16(0), UInt16(20)), (21, 20), (65_535, 20)]) func theHolderIsToldItsKeepAlive(
    asked: UInt16, told: UInt16
  ) {
    let world = World(LeaseTests.watched)
    world.connect("c")
    world.connect("holder", keepAliveSeconds: asked)
    #expect(world.command("c", "b/heater/set", "ON") == "ok")
    world.pass(milliseconds: 29_999)
    #expect(world.client("holder").isOpen && world.client("c").isOpen)
    world.pass(milliseconds: 1)
    #expect(!world.client("holder").isOpen && world.client("c").isOpen)
    #expect(world.retained("b/heater") == "ON by=c")
    world.pass(seconds: 10)
    #expect(world.retained("b/heater") == "OFF by=lease")
  }

  /// A 3.1.1 client with none, or with one that is too long, counts as away; one within the limit holds the lease.
  @Test(arguments: [(UInt16(0), false), (21, false), (65_535, false), (20, true), (1, true)])
  func whoCannotBeToldHoldsNoLease(keepAliveSeconds: UInt16, holds: Bool) {
    let world = World(LeaseTests.watched)
    world.connect("c")
    world.connect("holder", .v311, keepAliveSeconds: keepAliveSeconds)
    #expect(world.command("c", "b/heater/set", "ON") == "ok")
    _ = world.board.takeChanges()
    for _ in 0..<12 {
      world.pass(seconds: 1)
      world.send("holder", .pingReq)
    }
    #expect(world.client("holder").isOpen)
    #expect(world.retained("b/heater") == (holds ? "ON by=c" : "OFF by=lease"))
  }
}
