import Bounded
import Foundation
import MQTTWire
import Testing

@testable import MQTTBroker

/// `$SYS/broker/load/...`, against the formula with the C library's exp(3).
@Suite struct LoadsTests {
  private func text(_ loads: Loads, _ index: Int) -> String {
    withUnsafeTemporaryAllocation(byteCount: 64, alignment: 1) { place in
      var writer = ByteWriter(place)
      loads.write(index, into: &writer)
      return String(decoding: writer.written.array(), as: UTF8.self)
    }
  }

  /// Intervals from a tenth of a second to a day, and counters that stand still or gain up to a million in one.
  @Test(arguments: 1...4) func averagesFollowTheFormula(seed: Int) {
    var random = SeededGenerator(seed: UInt64(seed))
    var loads = Loads()
    var counters = Counters()
    var now = Instant(milliseconds: 1000)
    loads.update(counters, at: now)
    var expected = [0.0, 0.0, 0.0]
    for _ in 0..<500 {
      let seconds = [0.1, 1, 10, 10, 10, 60, 3600, 86_400][random.below(8)]
      let gained = random.below(3) == 0 ? 0 : random.below(1_000_000)
      now = now.adding(milliseconds: Int64(seconds * 1000))
      counters.bytesSent &+= UInt64(gained)
      loads.update(counters, at: now)
      let rate = Double(gained) * 60 / seconds
      for (index, minutes) in [1.0, 5, 15].enumerated() {
        expected[index] = rate + exp(-seconds / 60 / minutes) * (expected[index] - rate)
        let difference = abs(Double(text(loads, 18 + index))! - expected[index])
        #expect(difference <= 0.0051 + expected[index] * 1e-5, "\(text(loads, 18 + index)) for \(expected[index])")
      }
    }
    for index in 0..<Loads.count where !(18...20).contains(index) { #expect(text(loads, index) == "0.00") }
  }

  @Test func eachHasItsCounter() {
    let before = Instant(milliseconds: 0)
    var counters = Counters()
    counters.packetsReceived = 1
    counters.packetsSent = 2
    counters.qos0Dropped = 1
    counters.queuedDropped = 2
    counters.publishesReceived = 4
    counters.publishesSent = 5
    counters.bytesReceived = 6
    counters.bytesSent = 7
    counters.connectionsAccepted = 8
    counters.connectsAccepted = 9
    var loads = Loads()
    loads.update(Counters(), at: before)
    loads.update(counters, at: before.adding(seconds: 86_400 * 10))  // so long that nothing is left of what was before
    let names = [
      "messages/received", "messages/sent", "publish/dropped", "publish/received", "publish/sent", "bytes/received",
      "bytes/sent", "sockets", "connections",
    ]
    for (source, name) in names.enumerated() {
      for (index, window) in ["1min", "5min", "15min"].enumerated() {
        #expect("\(Loads.topic(3 * source + index))" == "$SYS/broker/load/\(name)/\(window)")
      }
    }
    loads = Loads()
    loads.update(Counters(), at: before)
    loads.update(counters, at: before.adding(seconds: 60))
    // A minute's gain counts for 1 - 1/e of the first average.
    let gained = (1...9).map { Double($0) * (1 - exp(-1)) }
    #expect((0..<9).map { text(loads, 3 * $0) } == gained.map { String(format: "%.2f", $0) })
  }

  @Test func theyAreOnSys() {
    let world = World(clients: ["a"])
    world.broker.startSys(at: world.now)
    world.advance(seconds: 1)
    world.subscribe("a", "$SYS/broker/load/#")
    let first = world.takeAll("a")
    #expect(first.count == 27 && first.allSatisfy { $0.payload == "0.00" })
    for _ in 0..<10 { world.send("a", .pingReq) }
    _ = world.takeAll("a")
    world.advance(seconds: 10)
    let told = world.takeAll("a").first { $0.topic == "$SYS/broker/load/messages/received/1min" }
    // Eleven packets in ten seconds: SUBSCRIBE, and each PINGREQ.
    #expect(told?.payload == String(format: "%.2f", 66 * (1 - exp(-1.0 / 6))))
    world.finish()
  }
}
