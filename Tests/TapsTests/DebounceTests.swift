import Bounded
import MQTTWire
import Taps
import Testing

/// What becomes of a contact that bounces, in both modes.
@Suite struct DebounceTests {
  private func line(_ mode: DebounceMode, _ milliseconds: UInt32 = 20) -> InputLine {
    InputLine {
      $0.debounceMicroseconds = milliseconds * 1000
      $0.debounceMode = mode
    }
  }

  /// The state is as of the edge since which the level lasts.
  @Test func settleWaitsForTheLastEdge() {
    var line = line(.settle)
    line.edges(100, 101, 103, 104, 110)
    line.wait(until: 129)
    #expect(line.takeTold() == [])
    line.wait(until: 130)
    #expect(line.takeTold() == ["110 button=ON"])
    line.edges(200, 201, 215)
    line.wait(until: 1000)
    #expect(line.takeTold() == ["215 button=OFF"])
  }

  @Test func settleForgetsWhatDidNotLast() {
    var line = line(.settle)
    line.edges(100, 119)
    line.wait(until: 5000)
    #expect(line.takeTold() == [])
    #expect(line.tap[0].lostCount == 0)
  }

  @Test func leadingCountsTheFirstEdgeAtOnce() {
    var line = line(.leading)
    line.edges(100)
    #expect(line.takeTold() == ["100 button=ON"])
    line.edges(101, 103, 104, 110)
    line.wait(until: 1000)
    #expect(line.takeTold() == [])
    line.edges(2000)
    #expect(line.takeTold() == ["2000 button=OFF"])
  }

  /// A press that is over before the time is: both levels are told.
  @Test func leadingLooksAgain() {
    var line = line(.leading)
    line.edges(100, 105)
    #expect(line.takeTold() == ["100 button=ON"])
    line.wait(until: 120)
    #expect(line.takeTold() == ["105 button=OFF"])
    line.edges(125, 126)  // within the time of that change
    line.wait(until: 1000)
    #expect(line.takeTold() == [])
  }

  /// The time of a bounce ends with the line: nothing is due until the line is back, and its next edge counts by itself.
  @Test(arguments: [DebounceMode.settle, .leading]) func aFaultEndsTheTimeOfABounce(mode: DebounceMode) {
    var line = line(mode)
    line.edges(100)
    #expect(line.tap[0].nextDeadline == Instant(milliseconds: 120))
    line.note(line.tap[0].lineFailed(Bytes("line_gone"), wallNanoseconds: 105_000_000))
    #expect(line.tap[0].nextDeadline == .never)
  }

  /// Edges that are read late are judged by their times, as if they had been read at once.
  @Test(arguments: [DebounceMode.settle, .leading]) func lateEdgesGiveTheSameStates(mode: DebounceMode) {
    let times: [Int64] = [100, 103, 104, 200, 210, 231, 300, 301, 350, 352, 353, 354]
    var early = line(mode)
    var late = line(mode)
    for time in times {
      early.wait(until: time - 1)
      early.edges(time)
    }
    for time in times { late.edges(time) }
    early.wait(until: 900)
    late.wait(until: 900)
    #expect(early.told.count == (mode == .leading ? 8 : 2) && early.told == late.told, "\(early.told) \(late.told)")
  }

  /// #48, #85, #79: several events for one press, and a wrong state at the end. The level is looked at once more.
  @Test(arguments: [DebounceMode.settle, .leading]) func pain5BouncesAreOneChangeAndTheStateIsRight(mode: DebounceMode)
  {
    var line = line(mode)
    line.edges(100, 101, 102)
    line.wait(until: 200)
    #expect(line.takeTold().count == 1)
    // The release's edges are lost but for one that the kernel takes for a press.
    line.level = false
    line.sequence += 1
    line.edge(true, 300, line.sequence)
    line.wait(until: 400)
    #expect(line.takeTold().last?.hasSuffix("button=OFF") == true)
    #expect(line.tap[0].lostCount > 0)
  }

  /// However a contact bounces: states alternate, and the last one is the line's level.
  @Test(arguments: [1, 2, 3, 4, 5, 6, 7, 8] as [UInt64]) func statesAlternateAndEndRight(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    for mode in [DebounceMode.settle, .leading] {
      var line = line(mode)
      var now: Int64 = 0
      for _ in 0..<300 {
        now += Int64(random.oneIn(4) ? random.below(200) : random.below(12)) + 1
        line.wait(until: now - 1)
        // One edge in ten is lost with its number, one in ten without.
        if random.oneIn(10) { line.sequence += 1 }
        if random.oneIn(10) { line.level.toggle() }
        line.edges(now)
      }
      line.wait(until: now + 3000)
      let states = line.told.map { $0.hasSuffix("ON") }
      for (before, after) in zip(states, states.dropFirst()) { check(before != after, "seed \(seed) \(mode)") }
      #expect((states.last ?? false) == line.level)
      #expect(line.tap[0].isActive == line.level)
    }
  }
}
