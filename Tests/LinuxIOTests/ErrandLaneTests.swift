import Bounded
import Synchronization
import Testing

@testable import LinuxIO

@Suite struct ErrandLaneTests {
  private final class Gate: Sendable { let isOpen = Atomic<Bool>(false) }

  private func answer(_ lane: ErrandLane) throws -> (number: UInt32, answer: Int32) {
    let deadline = Patience.isOver
    while true {
      if let answer = lane.takeAnswer() { return answer }
      try #require(Clock.now() < deadline, "no answer")
      Clock.sleep(milliseconds: 1)
    }
  }

  @Test(arguments: [1, 2, 3, 64]) func answersEachNumberOnceAndInOrder(capacity: Int) throws {
    let lane = try ErrandLane(name: "errands", stackBytes: 65_536, requestsMax: capacity) { Int32($0) * 3 - 1 }
    var submitted: UInt32 = 0
    var answered: UInt32 = 0
    while answered < 300 {
      while submitted < 300, lane.submit(submitted) { submitted += 1 }
      #expect(lane.underway == Int(submitted - answered) && lane.underway <= capacity)
      let (number, value) = try answer(lane)
      #expect(number == answered && value == Int32(number) * 3 - 1)
      answered += 1
    }
    #expect(lane.takeAnswer() == nil && lane.underway == 0)
  }

  @Test func aFullLaneTakesNoMore() throws {
    let gate = Gate()
    let lane = try ErrandLane(name: "errands", stackBytes: 65_536, requestsMax: 2) { number in
      while !gate.isOpen.load(ordering: .acquiring) { Clock.sleep(milliseconds: 1) }
      return Int32(number)
    }
    #expect(lane.submit(1) && lane.submit(2) && !lane.submit(3))
    #expect(lane.takeAnswer() == nil)
    gate.isOpen.store(true, ordering: .releasing)
    #expect(try answer(lane).number == 1)
    #expect(lane.submit(4))
    #expect(try answer(lane).number == 2 && answer(lane).number == 4)
  }
}
