import Bounded
import MQTTWire
import Testing

@testable import Taps

@Suite struct PublicationTests {
  func publication(sequence: UInt32? = nil, lost: UInt64 = 0, by: Bytes = .empty) -> Publication {
    Publication(
      topic: Bytes("a"), payload: Bytes("ON"), wallNanoseconds: 1_795_380_086_123_456_000, sequence: sequence,
      lostCount: lost, by: by)
  }

  @Test func onlyWhatIsKnownIsSaid() throws {
    let ts = "ts=2026-11-22T20:41:26.123456Z"
    #expect(try userProperties(publication()) == [ts])
    #expect(try userProperties(publication(sequence: 0)) == [ts, "seq=0"])
    #expect(
      try userProperties(publication(sequence: .max, lost: .max, by: Bytes("me")))
        == [ts, "seq=4294967295", "lost=18446744073709551615", "by=me"])
    for (lost, digits) in [(1, "1"), (9, "9"), (10, "10"), (99, "99"), (100, "100")] as [(UInt64, String)] {
      #expect(try userProperties(publication(lost: lost)) == [ts, "lost=\(digits)"])
    }
  }

  /// §2.2.2.2, §3.3.2.3.2, §3.3.2.3.7: identifier, then the value.
  @Test func bytesAsTheyStand() {
    let bytes = written { publication().writeProperties(into: &$0) }
    #expect(bytes == "\u{01}\u{01}\u{26}\u{00}\u{02}ts\u{00}\u{1B}2026-11-22T20:41:26.123456Z")
  }

  @Test func longClientIdentifierIsCutAndFits() throws {
    let longest = String(repeating: "ü", count: 30_000)
    try withLent(longest) { by in
      let found = try userProperties(publication(sequence: .max, lost: .max, by: by))
      #expect(found.last == "by=" + String(repeating: "ü", count: 64))
    }
    try withLent("x" + longest) { by in
      let found = try userProperties(publication(by: by))
      #expect(found.last == "by=x" + String(repeating: "ü", count: 63))
    }
  }
}
