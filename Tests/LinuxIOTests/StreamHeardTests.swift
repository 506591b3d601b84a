import Bounded
import Testing

@testable import LinuxIO

@Suite("Up to when everything that has come from streams has been read")
struct StreamHeardTests {
  /// A turn whose wait began at `milliseconds`.
  private func turn(_ world: StreamsWorld, from milliseconds: Int64) {
    world.poll()
    world.streams.polled(since: Instant(milliseconds: milliseconds))
    _ = world.drain()
  }

  private func heard(_ world: StreamsWorld) -> Int64 { world.streams.heardUntil.nanoseconds / 1_000_000 }

  @Test func aTurnWithoutEventsHasHeardAllUpToItsWait() {
    let world = StreamsWorld()
    for milliseconds in [Int64(10), 20, 5000] {
      turn(world, from: milliseconds)
      #expect(heard(world) == milliseconds)
    }
  }

  /// 200 that have something to read: 64 events a wait, 64 reads a turn. Not before all of them have been read is anything
  /// known of the time at which the first of these waits began.
  @Test func whatIsReadInSeveralTurnsIsHeardAtTheLast() throws {
    let world = StreamsWorld(capacity: 200)
    let all = try (0..<200).map { _ in try world.open() }
    for milliseconds in Int64(1)...10 { turn(world, from: milliseconds) }
    #expect(heard(world) >= 6)
    turn(world, from: 11)
    let before = heard(world)
    for (_, far) in all { #expect(write("x", to: far) == 1) }
    var turns: Int64 = 0
    while heard(world) < 20 {
      turn(world, from: 20 + turns)
      turns += 1
      if turns < 4 { #expect(heard(world) == before) }
      guard turns < 20 else { break }
    }
    #expect(turns == 4 && heard(world) == 20)
    for (_, far) in all { Transport.close(far) }
  }

  /// Streams that always have more do not hold it up: each is read once, and the time moves on.
  @Test func whoSendsWithoutEndHoldsNothingUp() throws {
    let world = StreamsWorld(capacity: 100, readBytes: 8)
    let all = try (0..<100).map { _ in try world.open() }
    for (_, far) in all { #expect(write(String(repeating: "x", count: 4000), to: far) == 4000) }
    var heardAt: [Int64] = []
    for milliseconds in Int64(1)...20 {
      turn(world, from: milliseconds)
      if heardAt.last != heard(world) { heardAt.append(heard(world)) }
    }
    #expect(all.allSatisfy { world.mayHaveBytes($0.id) })
    #expect(heardAt.count >= 8)
    for (_, far) in all { Transport.close(far) }
  }
}
