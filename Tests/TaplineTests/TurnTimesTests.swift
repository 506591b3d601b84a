import Bounded
import Testing

@testable import Tapline

/// The histogram of `$SYS/tapline/loop/turn_microseconds` (docs/limits.md).
@Suite struct TurnTimesTests {
  /// The first and the last time of each kind of bucket.
  @Test(arguments: [
    (nanoseconds: 0, bucket: 0), (999, 0), (1000, 1), (1999, 1), (2000, 2), (3999, 2), (4000, 3),
    (262_143_999, 18), (262_144_000, 19), (524_287_999, 19), (524_288_000, 20), (Int64.max, 20),
    (-1, 0),  // a clock that went backwards
  ])
  func everyTimeHasItsBucket(nanoseconds: Int64, bucket: Int) {
    var times = TurnTimes()
    times.add(nanoseconds: nanoseconds)
    for index in 0..<times.buckets.count { #expect(times.buckets[index] == (index == bucket ? 1 : 0)) }
    #expect(times.longestMicroseconds == UInt64(max(0, nanoseconds)) / 1000)
  }

  @Test func textTellsAll() {
    var times = TurnTimes()
    for nanoseconds: Int64 in [5, 1500, 812_000, 1700] { times.add(nanoseconds: nanoseconds) }
    let place = UnsafeMutableRawBufferPointer.allocate(byteCount: 600, alignment: 1)
    defer { place.deallocate() }
    var writer = ByteWriter(place)
    times.write(into: &writer)
    let text = String(decoding: (0..<writer.count).map { place[$0] }, as: UTF8.self)
    #expect(text == #"{"max":812,"buckets":[1,2,0,0,0,0,0,0,0,0,1,0,0,0,0,0,0,0,0,0,0]}"#)
  }
}
