import Bounded
import Testing

struct HashIndexTests {
  private typealias Entry = (index: Int, hash: UInt32)

  /// Where hashes come from: few values force long runs, and 0 beside .max makes the runs go round the end.
  enum Hashes: CaseIterable, CustomTestStringConvertible {
    case spread, oneValue, neighbours, aroundTheEnd, sameSlot

    func draw(_ generator: inout SeededGenerator) -> UInt32 {
      switch self {
      case .spread: return UInt32(truncatingIfNeeded: generator.next())
      case .oneValue: return 0xFFFF_FFFF
      case .neighbours: return UInt32(generator.below(4))
      case .aroundTheEnd: return 0xFFFF_FFFE &+ UInt32(generator.below(4))
      case .sameSlot: return UInt32(generator.below(4)) << 24 | 0x7F  // differ above the mask only
      }
    }
    var testDescription: String { "\(self)" }
  }

  /// A slab whose entries are their own hashes, and its index.
  private func withIndex(
    capacity: Int, _ body: (inout Slab<UInt32>, inout HashIndex) throws -> Void
  ) rethrows {
    try withReservation { reservation in
      var slab = Slab<UInt32>(capacity: capacity, name: "entries", in: &reservation)
      var index = HashIndex(capacity: capacity, name: "index", in: &reservation)
      try body(&slab, &index)
    }
  }

  private func insert(_ hash: UInt32, _ slab: inout Slab<UInt32>, _ index: inout HashIndex) -> Int {
    let handle = slab.lend(hash)!
    index.insert(handle.index, hash: hash)
    return handle.index
  }

  private func remove(_ entry: Int, _ slab: inout Slab<UInt32>, _ index: inout HashIndex) {
    let handle = slab.handle(at: entry)!
    index.remove(entry, hash: slab[handle], from: slab) { $0 }
    slab.giveBack(handle)
  }

  @Test(arguments: modelCapacities, Hashes.allCases) func behavesLikeAnArray(capacity: Int, hashes: Hashes) {
    var generator = SeededGenerator(seed: UInt64(capacity))
    withIndex(capacity: capacity) { slab, index in
      var model: [Entry] = []
      var gone: [Entry] = []
      for step in 0..<2000 {
        if model.count < capacity, generator.below(4) < (step / 200 % 2 == 0 ? 3 : 1) {
          let hash = hashes.draw(&generator)
          let entry = (insert(hash, &slab, &index), hash)
          model.append(entry)
          gone.removeAll { $0.index == entry.0 }
        } else if !model.isEmpty {
          let entry = model.remove(at: generator.below(model.count))
          remove(entry.index, &slab, &index)
          gone.append(entry)
          if gone.count > 20 { gone.removeFirst() }
        }
        check(index.count == model.count)
        for entry in model {
          check(index.find(hash: entry.hash) { $0 == entry.index } == entry.index, "step \(step)")
        }
        for entry in gone { check(index.find(hash: entry.hash) { $0 == entry.index } == nil) }
      }
    }
  }

  /// Candidates are exactly the entries whose hashes have the same first 12 bits; 0 and 1 count as one.
  @Test func asksOnlyAboutEqualTags() {
    withIndex(capacity: 8) { slab, index in
      for number in UInt32(0)..<8 { #expect(insert(number << 20, &slab, &index) == Int(number)) }  // one run
      for (tag, expected) in [(UInt32(0), Set([0, 1])), (1, [0, 1]), (2, [2]), (7, [7]), (8, [])] {
        var asked: Set<Int> = []
        let found = index.find(hash: tag << 20) {
          asked.insert($0)
          return false
        }
        #expect(found == nil)
        #expect(asked == expected)
      }
    }
  }

  /// Every order of taking four colliding entries out of a run.
  @Test func removesFromARunInEveryOrder() {
    for order in permutations([1, 2, 3, 4]) {
      for homes in 0..<81 {
        withIndex(capacity: 4) { slab, index in
          func hash(_ number: UInt32) -> UInt32 {
            var rest = homes
            for _ in 1..<number { rest /= 3 }
            return UInt32(6 + rest % 3) & 7  // slots 6, 7 and 0 of 8
          }
          for number in UInt32(1)...4 { check(insert(hash(number), &slab, &index) == Int(number) - 1) }
          for (removed, number) in order.enumerated() {
            remove(Int(number) - 1, &slab, &index)
            for (position, other) in order.enumerated() {
              let found = index.find(hash: hash(other)) { $0 == Int(other) - 1 }
              check((found != nil) == (position > removed), "order \(order) homes \(homes)")
            }
          }
        }
      }
    }
  }

  private func permutations(_ numbers: [UInt32]) -> [[UInt32]] {
    if numbers.isEmpty { return [[]] }
    return numbers.flatMap { first in permutations(numbers.filter { $0 != first }).map { [first] + $0 } }
  }

  @Test func mistakesTrap() async {
    await #expect(processExitsWith: .failure) {  // full
      withReservation { reservation in
        var index = HashIndex(capacity: 1, name: "index", in: &reservation)
        index.insert(0, hash: 1)
        index.insert(1, hash: 2)
      }
    }
    await #expect(processExitsWith: .failure) {  // not there
      withReservation { reservation in
        let slab = Slab<UInt32>(capacity: 1, name: "entries", in: &reservation)
        var index = HashIndex(capacity: 1, name: "index", in: &reservation)
        index.remove(0, hash: 1, from: slab) { $0 }
      }
    }
    await #expect(processExitsWith: .failure) {  // no index that a slot can hold
      withReservation { reservation in
        var index = HashIndex(capacity: 1, name: "index", in: &reservation)
        index.insert(1 << 20, hash: 1)
      }
    }
  }

  @Test(arguments: modelCapacities, Hashes.allCases) func afterRemoveAllItIsAsNew(capacity: Int, hashes: Hashes) {
    var generator = SeededGenerator(seed: 7)
    withReservation { reservation in
      var index = HashIndex(capacity: capacity, name: "index", in: &reservation)
      for _ in 0..<3 {
        let drawn = (0..<capacity).map { _ in hashes.draw(&generator) }
        for (entry, hash) in drawn.enumerated() { index.insert(entry, hash: hash) }
        for (entry, hash) in drawn.enumerated() { #expect(index.find(hash: hash) { $0 == entry } == entry) }
        index.removeAll()
        #expect(index.count == 0)
        for hash in drawn { #expect(index.find(hash: hash) { _ in true } == nil) }
      }
    }
  }
}
