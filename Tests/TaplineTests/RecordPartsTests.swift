import Bounded
import Testing

@testable import Tapline

@Suite("TLS records that come in part") struct RecordPartsTests {
  private final class Parts {
    private var parts: RecordParts
    private let region: UnsafeMutableRawBufferPointer

    init(_ count: Int) {
      var plan = Reservation.counting()
      _ = RecordParts(count: count, in: &plan)
      region = .zeroed(plan.byteCount)
      var reservation = Reservation(region: region)
      parts = RecordParts(count: count, in: &reservation)
    }

    deinit { region.deallocate() }

    func lend(_ bytes: [UInt8], to place: Int, at seconds: Int64 = 1) -> Int? {
      bytes.withUnsafeBytes { parts.lend(Bytes($0), to: place, at: Parts.at(seconds)) }
    }

    func complete(_ part: Int, _ bytes: [UInt8]) -> (added: Int, record: [UInt8]?) {
      bytes.withUnsafeBytes {
        let (added, record) = parts.complete(part, Bytes($0))
        return (added, record?.array())
      }
    }

    func giveBack(_ part: Int) { parts.giveBack(part) }
    func takeCramped() -> Bool { parts.takeCramped() }
    func overdue(at seconds: Int64) -> Int? { parts.overdue(at: Parts.at(seconds)) }

    private static func at(_ seconds: Int64) -> Instant { Instant(nanoseconds: seconds * 1_000_000_000) }
  }

  private static func record(_ count: Int) -> [UInt8] {
    [23, 3, 3, UInt8(count >> 8), UInt8(count & 0xFF)] + (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7) }
  }

  /// A record in three pieces, cut at every two places, with the next record behind it.
  @Test func everySplit() {
    let record = Self.record(9)
    let behind = Self.record(3)
    let parts = Parts(1)
    for first in 1..<record.count {
      for second in first...record.count {
        #expect(parts.lend(Array(record[..<first]), to: 0) == 0)
        let middle = parts.complete(0, Array(record[first..<second]))
        #expect(middle.added == second - first && middle.record == (second == record.count ? record : nil))
        if second < record.count {
          let last = parts.complete(0, Array(record[second...]) + behind)
          #expect(last.added == record.count - second && last.record == record)
        }
        parts.giveBack(0)
      }
    }
  }

  @Test func theLongestRecord() {
    let parts = Parts(2)
    let record = Self.record(16_384 + 2048)
    #expect(parts.lend(Array(record[..<1000]), to: 5) == 0)
    #expect(parts.complete(0, Array(record[1000...])).record == record)
    // One byte more is handed over with its header alone, to be refused.
    #expect(parts.lend([23, 3, 3, 0x48], to: 6) == 1)
    let long = parts.complete(1, [1, 9, 9])
    #expect(long.added == 1 && long.record == [23, 3, 3, 0x48, 1])
  }

  @Test func theSlowestGivesWay() {
    let parts = Parts(2)
    #expect(parts.lend([23], to: 7, at: 1) == 0)
    #expect(parts.lend([23], to: 8, at: 3) == 1)
    #expect(!parts.takeCramped())
    #expect(parts.lend([23], to: 9, at: 4) == nil)
    #expect(parts.takeCramped() && !parts.takeCramped())
    #expect(parts.overdue(at: 5) == nil)
    #expect(parts.overdue(at: 6) == 7)
    parts.giveBack(0)
    #expect(parts.overdue(at: 6) == nil)
    #expect(parts.lend([23], to: 9, at: 6) == 0)
  }
}
