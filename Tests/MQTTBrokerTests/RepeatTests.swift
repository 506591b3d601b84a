import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

@Suite(
  "A message that taps have run for is not acted on again when its client repeats it, and no other is taken for it")
struct RepeatTests {
  private func command(_ id: Int, qos: UInt8 = 1, dup: Bool = false) -> Packet {
    .publish(topic: "set", payload: "TOGGLE", qos: qos, packetID: UInt16(id), dup: dup)
  }

  private func world(_ limits: Limits = Limits()) -> World {
    let world = World(limits: limits)
    _ = world.addTap("set")
    return world
  }

  /// The connection is lost before any acknowledgement, and all come again, twice.
  @Test(arguments: [(ProtocolVersion.v5, UInt8(1)), (.v5, 2), (.v311, 1), (.v311, 2)], [3, 21, 32, 100])
  func asManyAsMayBeInFlight(client: (version: ProtocolVersion, qos: UInt8), inflight: Int) {
    let (version, qos) = client
    var limits = Limits()
    limits.inflightMax = inflight
    let world = world(limits)
    let count = qos == 1 ? max(20, inflight) : inflight
    for round in 0..<3 {
      world.connect("c", version)
      for id in 1...count { world.send("c", command(id, qos: qos, dup: round > 0)) }
      #expect(world.takeAll("c").count == count)
      #expect(Int(world.broker.counters.tapsRun) == count)
      world.lose("c")
    }
    world.finish()
  }

  /// Each new session of the client has another place.
  @Test func repeatsAreKnownInEverySession() {
    let world = world()
    for round in 1...10 {
      world.connect("c")
      world.send("c", command(round))
      world.lose("c")
      world.connect("other\(round)")
    }
    world.connect("c")
    for id in 1...10 { world.send("c", command(id, dup: true)) }
    #expect(world.broker.counters.tapsRun == 10)
    world.finish()
  }

  /// After DISCONNECT a client with the same packet id has begun again, if it had its acknowledgement by then.
  @Test(arguments: [(ProtocolVersion.v5, UInt8(1)), (.v5, 2), (.v311, 1), (.v311, 2)], [false, true])
  func whoHasSaidDisconnectBeginsAgain(client: (version: ProtocolVersion, qos: UInt8), isStuck: Bool) {
    let (version, qos) = client
    let world = world()
    world.connect("c", version)
    if isStuck { world.read("c", bytesPerFlush: 0) }
    world.send("c", command(1, qos: qos), .disconnect())
    if world.isOpen("c") { world.lose("c") }
    for _ in 0..<2 {
      world.connect("c", version)
      world.send("c", command(1, qos: qos, dup: true))
      world.expect("c", qos == 1 ? .pubAck(1) : .pubRec(1))
      world.lose("c")
    }
    #expect(world.broker.counters.tapsRun == (isStuck ? 1 : 2))
    world.finish()
  }

  /// So it is with a client that was heard a minute after its last command; one that is silent may have been cut off.
  @Test(arguments: [ProtocolVersion.v5, .v311], [nil, 59, 61] as [Double?])
  func whoWasHeardLongAfterBeginsAgain(version: ProtocolVersion, heardAfter: Double?) {
    let world = world()
    world.connect("other", version)
    world.connect("c", version)
    world.send("other", command(1))
    world.send("c", command(1), command(2))
    if let heardAfter {
      world.advance(seconds: heardAfter)
      world.send("c", .pingReq)
    }
    world.advance(seconds: 1000)
    world.lose("c")
    for _ in 0..<2 {
      world.connect("c", version)
      for id in 1...2 { world.send("c", command(id, dup: true)) }
      world.lose("c")
    }
    #expect(world.broker.counters.tapsRun == (heardAfter == 61 ? 5 : 3))
    world.lose("other")
    world.connect("other", version)
    world.send("other", command(1, dup: true))
    #expect(world.broker.counters.tapsRun == (heardAfter == 61 ? 5 : 3))
    world.finish()
  }
}
