import Bounded
import Testing

@testable import Tapline

@Suite("Sealed TLS records that wait for the kernel") struct SealedOutputsTests {
  private final class Outputs {
    private var outputs: SealedOutputs
    private let region: UnsafeMutableRawBufferPointer

    init(_ count: Int) {
      var plan = Reservation.counting()
      _ = SealedOutputs(count: count, in: &plan)
      region = .zeroed(plan.byteCount)
      var reservation = Reservation(region: region)
      outputs = SealedOutputs(count: count, in: &reservation)
    }

    deinit { region.deallocate() }

    func produce(_ bytes: [UInt8], of place: Int) {
      outputs.room(of: place).copyBytes(from: bytes)
      outputs.produced(bytes.count, of: place)
    }

    func produceBatch(_ bytes: [UInt8], of place: Int) {
      outputs.takeBatch(for: place)
      produce(bytes, of: place)
    }

    func output(of place: Int) -> [UInt8] { outputs.output(of: place).array() }
    func roomCount(of place: Int) -> Int { outputs.room(of: place).count }
    func isEmpty(_ place: Int) -> Bool { outputs.isEmpty(place) }
    func sent(_ byteCount: Int, of place: Int) { outputs.sent(byteCount, of: place) }
    func clear(_ place: Int) { outputs.clear(place) }
    var isBatchFree: Bool { outputs.recordsMax == SealedOutputs.batchRecords }
  }

  private static let record = SealedOutputs.recordBytes
  private static let batch = SealedOutputs.batchBytes

  private static func bytes(_ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
  }

  @Test func aRecordGoesOutInPieces() {
    let outputs = Outputs(2)
    #expect(outputs.isEmpty(0) && outputs.roomCount(of: 0) == Self.record)
    let all = Self.bytes(100)
    outputs.produce(Array(all[..<60]), of: 0)
    outputs.sent(1, of: 0)
    outputs.produce(Array(all[60...]), of: 0)
    #expect(outputs.output(of: 0) == Array(all[1...]) && outputs.roomCount(of: 0) == Self.record - 100)
    #expect(outputs.isEmpty(1) && outputs.isBatchFree)
    outputs.sent(98, of: 0)
    #expect(outputs.output(of: 0) == [all[99]])
    outputs.sent(1, of: 0)
    #expect(outputs.isEmpty(0) && outputs.roomCount(of: 0) == Self.record)
  }

  /// What is left, and whether the batch is still taken: until the rest fits the place's own room.
  @Test(arguments: [
    (batch, true), (record + 1, true), (record, false), (record - 1, false), (1, false), (0, false),
  ])
  func aBatchIsKeptNoLongerThanNeeded(left: Int, isTaken: Bool) {
    let outputs = Outputs(2)
    let all = Self.bytes(Self.batch)
    outputs.produceBatch(all, of: 1)
    #expect(!outputs.isBatchFree && outputs.output(of: 1) == all && outputs.roomCount(of: 1) == 0)
    outputs.sent(Self.batch - left, of: 1)
    #expect(outputs.output(of: 1) == Array(all.suffix(left)))
    #expect(outputs.isBatchFree == !isTaken)
    #expect(outputs.isEmpty(1) == (left == 0))
    #expect(outputs.isEmpty(0))
  }

  @Test func aBatchOfNothingIsGivenBack() {
    let outputs = Outputs(1)
    outputs.produceBatch([], of: 0)
    #expect(outputs.isBatchFree && outputs.isEmpty(0))
  }

  /// A stream that is closed.
  @Test func clearingGivesTheBatchBack() {
    let outputs = Outputs(2)
    outputs.produceBatch(Self.bytes(Self.batch), of: 0)
    outputs.produce(Self.bytes(5), of: 1)
    outputs.clear(1)
    #expect(!outputs.isBatchFree && outputs.isEmpty(1))
    outputs.clear(0)
    #expect(outputs.isBatchFree && outputs.isEmpty(0) && outputs.roomCount(of: 0) == Self.record)
  }

  /// Against a queue of bytes for each place.
  @Test(arguments: 1...8) func everyByteOnceAndInOrder(_ seed: Int) {
    var random = SeededGenerator(seed: UInt64(seed))
    let placeCount = 1 + random.below(3)
    let outputs = Outputs(placeCount)
    var waiting = [[UInt8]](repeating: [], count: placeCount)
    var batchCount = 0
    for _ in 0..<2000 {
      let place = random.below(placeCount)
      switch random.below(8) {
      case 0 where waiting[place].isEmpty && outputs.isBatchFree:
        waiting[place] = random.bytes(random.below(Self.batch + 1))
        outputs.produceBatch(waiting[place], of: place)
        batchCount += 1
      case 1, 2:
        let bytes = random.bytes(random.below(min(outputs.roomCount(of: place), 3000) + 1))
        waiting[place] += bytes
        outputs.produce(bytes, of: place)
      case 3 where random.oneIn(8):
        waiting[place] = []
        outputs.clear(place)
      default:
        guard !waiting[place].isEmpty else { continue }
        let count = random.oneIn(3) ? waiting[place].count : random.below(waiting[place].count + 1)
        waiting[place].removeFirst(count)
        outputs.sent(count, of: place)
      }
      #expect(outputs.isEmpty(place) == waiting[place].isEmpty)
      for place in 0..<placeCount { #expect(outputs.output(of: place) == waiting[place], "place \(place)") }
    }
    #expect(batchCount > 20)
    for place in 0..<placeCount { outputs.clear(place) }
    #expect(outputs.isBatchFree)
  }
}
