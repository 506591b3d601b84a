import Bounded
import Testing

@Suite struct HeaviestFinderTests {
  @Test(arguments: [1, 2, 3, 4, 5, 16, 17, 100, 1000]) func findsTheHeaviest(count: Int) {
    var generator = SeededGenerator(seed: UInt64(count))
    withReservation { reservation in
      let finder = HeaviestFinder(count: count, name: "bounds", in: &reservation)
      var weights = [UInt32](repeating: 0, count: count)
      check(finder.heaviest { weights[$0] } == nil)
      for _ in 0..<2000 {
        let entry = generator.below(count)
        weights[entry] = UInt32(generator.below(3) == 0 ? 0 : generator.below(50))
        finder.raise(entry, to: weights[entry])
        guard generator.below(4) == 0 else { continue }
        let found = finder.heaviest { weights[$0] }
        check(found.map { weights[$0] } ?? 0 == weights.max()!)
      }
      weights = [UInt32](repeating: 0, count: count)
      check(finder.heaviest { weights[$0] } == nil)
    }
  }

  @Test func looksAtFewOfMany() {  // the bounds of about √n groups, and the entries of one
    withReservation { reservation in
      let finder = HeaviestFinder(count: 10_000, name: "bounds", in: &reservation)
      for entry in 0..<10_000 { finder.raise(entry, to: UInt32(entry + 1)) }
      var looked = 0
      let found = finder.heaviest { entry in
        looked += 1
        return UInt32(entry + 1)
      }
      check(found == 9999)
      check(looked <= 128)
    }
  }
}
