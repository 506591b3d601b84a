import Bounded
import Layers
import Testing

@Suite struct FirstBytesTests {
  struct Row {
    let start: [UInt8]
    let kind: FirstBytes
  }

  static let rows = [
    Row(start: [UInt8]("PROXY ".utf8), kind: .proxyV1),
    Row(start: [0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A], kind: .proxyV2),
    Row(start: [0x16, 0x03], kind: .tls),
    Row(start: [UInt8]("GET ".utf8), kind: .http),
    Row(start: [0x10], kind: .mqtt),
  ]

  private func judge(_ bytes: [UInt8]) -> FirstBytes? { withLent(bytes) { FirstBytes.judge($0) } }

  @Test(arguments: rows.indices) func isKnownWithItsLastByte(_ index: Int) {
    let row = FirstBytesTests.rows[index]
    #expect(row.start.count <= FirstBytes.byteCountMax)
    for count in 0..<row.start.count { #expect(judge(Array(row.start[..<count])) == nil) }
    #expect(judge(row.start) == row.kind)
    for next in [UInt8(0), 0x0D, 0xFF] { #expect(judge(row.start + [next]) == row.kind) }
  }

  /// A start with any byte changed is none, as soon as that byte is there.
  @Test(arguments: rows.indices) func aChangedByteIsKnownAtOnce(_ index: Int) {
    let start = FirstBytesTests.rows[index].start
    for place in 1..<start.count {
      for change in [UInt8(0x01), 0x20, 0x80] {
        var other = start
        other[place] ^= change
        #expect(judge(Array(other[...place])) == .other)
        #expect(judge(other) == .other)
      }
    }
  }

  @Test func everyFirstByte() {
    let starts: [UInt8: FirstBytes?] = [0x10: .mqtt, 0x16: nil, 0x47: nil, 0x50: nil, 0x0D: nil]
    for byte in UInt8.min...UInt8.max {
      let expected: FirstBytes? = starts[byte] ?? .other
      #expect(judge([byte]) == expected)
    }
    #expect(judge([]) == nil)
  }
}
