import Bounded
import Testing

struct HashIndexTests {
  private typealias Entry = (handle: Handle<UInt8>, hash: UInt32)

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

  @Test(arguments: modelCapacities, Hashes.allCases) func behavesLikeAnArray(capacity: Int, hashes: Hashes) {
    var generator = SeededGenerator(seed: UInt64(capacity))
    withReservation { reservation in
      var index = HashIndex<UInt8>(capacity: capacity, name: "index", in: &reservation)
      var model: [Entry] = []
      var gone: [Entry] = []
      for step in 0..<2000 {
        if model.count < capacity, generator.below(4) < (step / 200 % 2 == 0 ? 3 : 1) {
          let entry = (Handle<UInt8>(bits: UInt32(step + 1)), hashes.draw(&generator))
          index.insert(entry.0, hash: entry.1)
          model.append(entry)
        } else if !model.isEmpty {
          let entry = model.remove(at: generator.below(model.count))
          index.remove(entry.handle, hash: entry.hash)
          gone.append(entry)
          if gone.count > 20 { gone.removeFirst() }
        }
        check(index.count == model.count)
        for entry in model {
          check(index.find(hash: entry.hash) { $0 == entry.handle } == entry.handle, "step \(step)")
        }
        for entry in gone { check(index.find(hash: entry.hash) { $0 == entry.handle } == nil) }
      }
    }
  }

  /// Candidates are exactly the entries of this hash.
  @Test func asksOnlyAboutEqualHashes() {
    withReservation { reservation in
      var index = HashIndex<UInt8>(capacity: 8, name: "index", in: &reservation)
      for number in UInt32(1)...8 { index.insert(Handle(bits: number), hash: number % 2 * 16) }  // one run
      for hash in [UInt32(0), 16] {
        var asked: Set<UInt32> = []
        let found = index.find(hash: hash) {
          asked.insert($0.bits)
          return false
        }
        #expect(found == nil)
        #expect(asked == Set((1...8).filter { $0 % 2 * 16 == hash }))
      }
    }
  }

  /// Every order of taking four colliding entries out of a run.
  @Test func removesFromARunInEveryOrder() {
    for order in permutations([1, 2, 3, 4]) {
      for homes in 0..<81 {
        withReservation { reservation in
          var index = HashIndex<UInt8>(capacity: 4, name: "index", in: &reservation)
          func hash(_ number: UInt32) -> UInt32 {
            var rest = homes
            for _ in 1..<number { rest /= 3 }
            return UInt32(6 + rest % 3) & 7  // slots 6, 7 and 0 of 8
          }
          for number in UInt32(1)...4 { index.insert(Handle(bits: number), hash: hash(number)) }
          for (removed, number) in order.enumerated() {
            index.remove(Handle(bits: number), hash: hash(number))
            for (position, other) in order.enumerated() {
              let found = index.find(hash: hash(other)) { $0.bits == other }
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
        var index = HashIndex<UInt8>(capacity: 1, name: "index", in: &reservation)
        index.insert(Handle(bits: 1), hash: 1)
        index.insert(Handle(bits: 2), hash: 2)
      }
    }
    await #expect(processExitsWith: .failure) {  // not there
      withReservation { reservation in
        var index = HashIndex<UInt8>(capacity: 1, name: "index", in: &reservation)
        index.remove(Handle(bits: 1), hash: 1)
      }
    }
    await #expect(processExitsWith: .failure) {  // null would match an empty slot
      withReservation { reservation in
        var index = HashIndex<UInt8>(capacity: 1, name: "index", in: &reservation)
        index.insert(Handle(bits: 1), hash: 1)
        index.remove(.null, hash: 2)
      }
    }
  }
}
