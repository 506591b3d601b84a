import Testing

@testable import Bounded

struct IndexQueueTests {
  @Test(arguments: modelCapacities) func behavesLikeAnArrayWithoutRepeats(capacity: Int) {
    var generator = SeededGenerator(seed: UInt64(capacity))
    withReservation { reservation in
      var queue = IndexQueue(count: capacity, name: "queue", in: &reservation)
      var model: [Int] = []
      for step in 0..<3000 {
        if generator.below(10) < (step / 300 % 2 == 0 ? 6 : 3) {
          let index = generator.below(capacity)
          queue.push(index)
          if !model.contains(index) { model.append(index) }
        } else {
          check(queue.pop() == (model.isEmpty ? nil : model.removeFirst()))
        }
        check(queue.count == model.count && queue.isEmpty == model.isEmpty)
        for index in 0..<capacity { check(queue.contains(index) == model.contains(index)) }
      }
    }
  }

  @Test func indexOutsideTraps() async {
    await #expect(processExitsWith: .failure) {
      withReservation { reservation in
        var queue = IndexQueue(count: 2, name: "queue", in: &reservation)
        queue.push(2)
      }
    }
  }
}
