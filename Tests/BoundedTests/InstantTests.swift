import Bounded
import Testing

struct InstantTests {
  @Test func adds() {
    let start = Instant(milliseconds: 1500)
    #expect(start.nanoseconds == 1_500_000_000)
    #expect(start.adding(nanoseconds: 1).nanoseconds == 1_500_000_001)
    #expect(start.adding(milliseconds: 2).nanoseconds == 1_502_000_000)
    #expect(start.adding(seconds: 3).nanoseconds == 4_500_000_000)
    #expect(start.adding(seconds: 3).since(start) == 3_000_000_000)
    #expect(start.since(start.adding(seconds: 3)) == -3_000_000_000)
    #expect(start < start.adding(nanoseconds: 1))
    #expect(start.adding(seconds: 1 << 20) < .never)
  }

  /// The first and last number of each unit that still fits, and what lies beyond.
  @Test func saturatesAtNever() {
    let zero = Instant(nanoseconds: 0)
    #expect(zero.adding(nanoseconds: .max) == .never)
    #expect(Instant(nanoseconds: 1).adding(nanoseconds: .max) == .never)
    #expect(Instant(nanoseconds: 1).adding(nanoseconds: .max - 1) == .never)
    #expect(Instant(nanoseconds: 1).adding(nanoseconds: .max - 2).nanoseconds == .max - 1)
    #expect(zero.adding(milliseconds: .max / 1_000_000).nanoseconds == .max / 1_000_000 * 1_000_000)
    #expect(zero.adding(milliseconds: .max / 1_000_000 + 1) == .never)
    #expect(zero.adding(milliseconds: .max) == .never)
    #expect(zero.adding(seconds: .max / 1_000_000_000).nanoseconds == .max / 1_000_000_000 * 1_000_000_000)
    #expect(zero.adding(seconds: .max / 1_000_000_000 + 1) == .never)
    #expect(zero.adding(seconds: .max / 1000 + 1) == .never)
    #expect(zero.adding(seconds: .max) == .never)
    #expect(Instant(milliseconds: .max) == .never)
    #expect(Instant(milliseconds: .max / 1_000_000 + 1) == .never)
    #expect(Instant.never.adding(seconds: 1) == .never)
    #expect(Instant.never.adding(nanoseconds: 1) == .never)
  }

  /// §3.1.2.10 and §3.1.2.11.2: the largest numbers a peer can send are still moments.
  @Test func peersNumbersFit() {
    let now = Instant(milliseconds: 50 * 365 * 86_400_000)
    #expect(now.adding(seconds: Int64(UInt16.max) * 3 / 2) < .never)
    #expect(now.adding(seconds: Int64(UInt32.max)) < .never)
  }

  @Test(arguments: [(0, 0), (1, 1), (999_999, 1), (1_000_000, 1), (1_000_001, 2), (-1, 0), (-1_000_000, -1)])
  func roundsMillisecondsUp(nanoseconds: Int64, milliseconds: Int64) {
    #expect(Instant(nanoseconds: nanoseconds).millisecondsRoundedUp == milliseconds)
  }

  @Test func neverRoundsWithoutOverflow() {
    #expect(Instant.never.millisecondsRoundedUp == 9_223_372_036_855)
  }

  @Test(arguments: [Int64.min, -1, 0, 1, 1 << 31, 1 << 32, 0x1234_5678_9ABC_DEF0, .max - 1, .max])
  func packedIsTheSame(nanoseconds: Int64) {
    #expect(PackedInstant(Instant(nanoseconds: nanoseconds)).instant == Instant(nanoseconds: nanoseconds))
    #expect(MemoryLayout<PackedInstant>.alignment == 4)
  }

  /// As the standard library's, wherever the earliest stands.
  @Test func earliestIsTheLeast() {
    var draw = SeededGenerator(seed: 11)
    for _ in 0..<500 {
      let all = (0..<8).map { _ in Instant(nanoseconds: Int64(draw.below(20))) }
      #expect(Instant.earliest(all[0], all[1]) == all[..<2].min())
      #expect(Instant.earliest(all[0], all[1], all[2]) == all[..<3].min())
      #expect(Instant.earliest(all[0], all[1], all[2], all[3], all[4]) == all[..<5].min())
      let (five, three) = (all[..<5], all[5...])
      #expect(
        Instant.earliest(all[0], all[1], all[2], all[3], all[4], all[5], all[6], all[7])
          == min(five.min()!, three.min()!))
    }
    #expect(Instant.earliest(.never, .never) == .never)
  }
}
