import Bounded
import MQTTWire
import Taps
import Testing

/// The state follows the level: at the start, after lost edges, and on a line without edges.
@Suite struct InputLevelTests {
  /// #282: the first event after a reconnect was lost. The state that was there is told as soon as the line is.
  @Test func pain4TheStateIsThereFromTheStart() {
    let tap = board(inputs: [input("door")]).inputs
    #expect(
      messages(tap[0].lineHealed(active: true, at: Instant(nanoseconds: 0).moment))
        == ["home/cellar/door=ON"])
  }

  /// #265: unknown until the first edge. The state is retained from the line's request on, delays or not.
  @Test func pain3TheStateIsKnownBeforeAnyEdge() {
    var settings = input("door")
    settings.onDelayNanoseconds = 60_000_000_000
    settings.debounceMicroseconds = 1_000_000
    let tap = board(inputs: [settings]).inputs
    let update = tap[0].lineHealed(active: true, at: Instant(nanoseconds: 0).moment)
    #expect(messages(update) == ["home/cellar/door=ON"])
    #expect(update.state?.retain == true)
    #expect(tap[0].isActive == true)
  }

  /// #251, #268: always the same state. The kernel's edge says which level; without numbers the level is read too.
  @Test func pain6TheStateFollowsTheEdgeAndTheLevel() {
    var line = InputLine { _ in }
    line.edges(10, 20, 30)
    #expect(line.takeTold() == ["10 button=ON", "20 button=OFF", "30 button=ON"])
    line.level = false
    line.edge(true, 40, nil)  // libgpiod 1.6 dropped the newest edge of a full queue
    line.wait(until: 50)
    #expect(line.takeTold() == ["40 button=OFF"])
  }

  /// #236, #258: polling and growth. A line at rest is looked at once a second, and a tap's memory is fixed.
  @Test func pain8NothingIsPolledThatHasEdges() {
    let line = InputLine { _ in }
    #expect(line.tap[0].nextDeadline == Instant(milliseconds: 1000))
    #expect(MemoryLayout<InputTap>.stride <= 512)
    #expect(MemoryLayout<CounterTap>.stride <= 512)
    #expect(MemoryLayout<SensorTap>.stride <= 512)
  }

  /// raspberrypi/linux#5457: edges that are close together are lost without a number. The level tells, within 1.01 s.
  @Test func pain25ALostEdgeIsFoundByTheLevel() throws {
    var line = InputLine { _ in }
    line.edges(100)
    #expect(line.takeTold() == ["100 button=ON"])
    line.level = false  // no edge, no number
    line.wait(until: 2000)
    #expect(line.takeTold() == ["1010 button=OFF"])
    #expect(line.tap[0].lostCount == 1)
    line.edges(2500)
    line.edges(2600)
    #expect(line.takeTold() == ["2500 button=ON", "2600 button=OFF"])
    #expect(line.tap[0].lostCount == 1)
  }

  /// The edge is only late: it is no loss.
  @Test func aLevelThatAnEdgeExplainsInTimeIsNoLoss() {
    var line = InputLine { _ in }
    line.wait(until: 999)
    line.level = true
    line.wait(until: 1000)
    line.level = false
    line.edges(1001)
    line.wait(until: 3000)
    #expect(line.takeTold() == ["1001 button=ON"])
    #expect(line.tap[0].lostCount == 0)
  }

  @Test func aLineWithoutEdgesIsPolled() {
    var line = InputLine { $0.debounceMicroseconds = 50_000 }
    line.note(line.tap[0].lineHealed(active: false, isPolled: true, at: Instant(nanoseconds: 0).moment))
    line.wait(until: 100)
    line.level = true
    line.wait(until: 139)
    line.level = false
    line.wait(until: 199)
    #expect(line.takeTold() == [])  // 120 and 140: too short
    line.level = true
    line.wait(until: 400)
    #expect(line.takeTold() == ["210 button=ON"])
    #expect(line.tap[0].lostCount == 0)
  }

  @Test func kernelDebounceIsNotDoneTwice() {
    var line = InputLine { $0.debounceMicroseconds = 50_000 }
    line.note(line.tap[0].lineHealed(active: false, isDebounced: true, at: Instant(nanoseconds: 0).moment))
    line.edges(100, 150)
    #expect(line.takeTold() == ["100 button=ON", "150 button=OFF"])
  }
}
