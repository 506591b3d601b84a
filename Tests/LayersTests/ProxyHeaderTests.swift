import Bounded
import Layers
import Testing

/// What a header gives, as values.
enum ProxyResult: Equatable {
  case incomplete
  case refused
  case complete(Int, source: [UInt8]?, port: UInt16)
}

func proxy(_ bytes: [UInt8]) -> ProxyResult {
  withLent(bytes) { bytes in
    switch ProxyHeader.parse(bytes) {
    case .incomplete: .incomplete
    case .refused: .refused
    case .complete(let header):
      .complete(
        header.byteCount, source: header.source.map { source in (0..<source.byteCount).map { source.bytes[$0] } },
        port: header.sourcePort)
    }
  }
}

@Suite struct ProxyHeaderTests {
  struct Row {
    let name: String
    let bytes: [UInt8]
    let result: ProxyResult
  }

  private static func text(_ line: String, _ source: [UInt8]?, _ port: UInt16) -> Row {
    let bytes = [UInt8]("\(line)\r\n".utf8)
    return Row(name: line, bytes: bytes, result: .complete(bytes.count, source: source, port: port))
  }

  private static func binary(
    _ name: String, _ head: [UInt8], _ body: [UInt8], length: Int? = nil, _ source: [UInt8]?, _ port: UInt16 = 0
  ) -> Row {
    let bytes = v2(head, body, length: length)
    return Row(name: name, bytes: bytes, result: .complete(bytes.count, source: source, port: port))
  }

  static func v2(_ head: [UInt8], _ body: [UInt8], length: Int? = nil) -> [UInt8] {
    [0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A] + head
      + bigEndian(length ?? body.count, byteCount: 2) + body
  }

  static let ipv4: [UInt8] = [192, 0, 2, 7, 198, 51, 100, 1, 0xDC, 0x04, 0x07, 0x5B]
  static let ipv6: [UInt8] = (0..<36).map { UInt8($0) + 0x20 }
  static let unix = [UInt8](repeating: 0x2F, count: 216)
  private static let last6: [UInt8] = [0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]
  private static let full6 = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
  private static let large: [UInt8] = [0x20, 0x07, 0xE1] + [UInt8](repeating: 1, count: 2017)
  private static let field: [UInt8] = [0x04, 0x00, 0x02, 0x41, 0x42]

  static let good: [Row] = [
    text("PROXY TCP4 192.0.2.7 198.51.100.1 56324 1883", [192, 0, 2, 7], 56_324),
    text("PROXY TCP4 0.0.0.0 0.0.0.0 0 0", [0, 0, 0, 0], 0),
    text("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535", [255, 255, 255, 255], 65_535),
    text("PROXY TCP6 2001:db8::7 ::1 1 65535", last6, 1),
    text("PROXY TCP6 \(full6) \(full6) 65535 65535", [UInt8](repeating: 0xFF, count: 16), 65_535),
    text("PROXY UNKNOWN", nil, 0),
    text("PROXY UNKNOWN \(full6) \(full6) 65535 65535", nil, 0),
    text("PROXY UNKNOWN \t what ever", nil, 0),
    binary("IPv4", [0x21, 0x11], ipv4, [192, 0, 2, 7], 56_324),
    binary("IPv6", [0x21, 0x21], ipv6, Array(ipv6[..<16]), 0x4041),
    binary("a socket of Unix", [0x21, 0x31], unix, nil),
    binary("no address", [0x21, 0x00], [], nil),
    binary("no address, with bytes of any kind", [0x21, 0x00], [1, 2], nil),
    binary("LOCAL", [0x20, 0x00], [], nil),
    binary("LOCAL with IPv4", [0x20, 0x11], ipv4, nil),
    binary("LOCAL with less than IPv4", [0x20, 0x11], [1], nil),
    binary("LOCAL of a family that is not there", [0x20, 0xF7], [], nil),
    binary("IPv4 with a field", [0x21, 0x11], ipv4 + field, [192, 0, 2, 7], 56_324),
    binary("IPv6 with an empty field", [0x21, 0x21], ipv6 + [0x04, 0x00, 0x00], Array(ipv6[..<16]), 0x4041),
    binary("Unix with two fields", [0x21, 0x31], unix + field + field, nil),
    binary("2048 bytes", [0x21, 0x11], ipv4 + large, [192, 0, 2, 7], 56_324),
  ]

  static let badTexts = [
    "PROXY", "PROXY ", "PROXY TCP4", "PROXY TCP5 1.2.3.4 1.2.3.4 1 1", "PROXY tcp4 1.2.3.4 1.2.3.4 1 1",
    "PROXY TCP4 ::1 ::1 1 1", "PROXY TCP6 1.2.3.4 1.2.3.4 1 1", "PROXY TCP4 1.2.3.4 ::1 1 1",
    "PROXY  TCP4 1.2.3.4 1.2.3.4 1 1", "PROXY TCP4  1.2.3.4 1.2.3.4 1 1", "PROXY TCP4 1.2.3.4  1.2.3.4 1 1",
    "PROXY TCP4 1.2.3.4 1.2.3.4 1  1", "PROXY TCP4 1.2.3.4 1.2.3.4 1 1 ", "PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1",
    "PROXY TCP4 1.2.3.4 1.2.3.4 1", "PROXY TCP4 1.2.3.4 1.2.3.4", "PROXY TCP4 1.2.3.4 1.2.3.4 65536 1",
    "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536", "PROXY TCP4 1.2.3.4 1.2.3.4 99999 1", "PROXY TCP4 1.2.3.4 1.2.3.4 01 1",
    "PROXY TCP4 1.2.3.4 1.2.3.4 00 1", "PROXY TCP4 1.2.3.4 1.2.3.4 +1 1", "PROXY TCP4 1.2.3.4 1.2.3.4 -1 1",
    "PROXY TCP4 1.2.3.4 1.2.3.4 1a 1", "PROXY TCP4 1.2.3.4 1.2.3.4 1 123456", "PROXY TCP4 1.2.3.04 1.2.3.4 1 1",
    "PROXY TCP4 1.2.3.256 1.2.3.4 1 1", "PROXY TCP4 1.2.3 1.2.3.4 1 1", "PROXY\tTCP4 1.2.3.4 1.2.3.4 1 1",
    "PROXY TCP4\t1.2.3.4 1.2.3.4 1 1", "PROXY TCP4 1.2.3.4,1.2.3.4 1 1", "PROXY TCP4 localhost 1.2.3.4 1 1",
    "PROXY TCP6 [::1] ::1 1 1", "PROXY TCP6 fe80::1%1 ::1 1 1", "PROXY UNKNOWNS", "PROXY UDP4 1.2.3.4 1.2.3.4 1 1",
    "proxy TCP4 1.2.3.4 1.2.3.4 1 1", "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n", "PROXY UNKNOWN \n", "PROXY UNKNOWN \r ",
  ]

  static let badBinaries: [(String, [UInt8])] = [
    ("version 1", v2([0x11, 0x11], ipv4)), ("version 3", v2([0x31, 0x11], ipv4)),
    ("command 2", v2([0x22, 0x11], ipv4)),
    ("datagrams of IPv4", v2([0x21, 0x12], ipv4)), ("datagrams of IPv6", v2([0x21, 0x22], ipv6)),
    ("datagrams of Unix", v2([0x21, 0x32], unix)), ("IPv4 without a transport", v2([0x21, 0x10], ipv4)),
    ("a transport without a family", v2([0x21, 0x01], ipv4)), ("family 4", v2([0x21, 0x41], unix)),
    ("11 bytes of IPv4", v2([0x21, 0x11], Array(ipv4.dropLast()))), ("none of IPv4", v2([0x21, 0x11], [])),
    ("35 bytes of IPv6", v2([0x21, 0x21], Array(ipv6.dropLast()))),
    ("215 bytes of Unix", v2([0x21, 0x31], Array(unix.dropLast()))),
    ("half a field's header", v2([0x21, 0x11], ipv4 + [0x04, 0x00])),
    ("a field cut short", v2([0x21, 0x11], ipv4 + field.dropLast())),
    ("a second field cut short", v2([0x21, 0x11], ipv4 + field + [0x04, 0xFF, 0xFF, 0])),
    ("a byte behind a field", v2([0x21, 0x11], ipv4 + field + [0])),
    ("2049 bytes", v2([0x21, 0x11], ipv4, length: 2033)), ("65,551 bytes", v2([0x20, 0x00], [], length: 65_535)),
    ("another signature", [0x0D, 0x0A, 0x0D, 0x0A, 0x01]), ("TLS", [0x16, 0x03, 0x01]), ("MQTT", [0x10, 0x0C]),
    ("HTTP", [UInt8]("GET / HTTP/1.1".utf8)), ("nothing known", [0]),
  ]

  @Test(arguments: good.indices) func aGoodOneAndItsCuts(_ index: Int) {
    let row = ProxyHeaderTests.good[index]
    #expect(proxy(row.bytes) == row.result, "\(row.name)")
    for count in 0..<row.bytes.count {
      check(proxy(Array(row.bytes[..<count])) == .incomplete, "\(row.name) cut at \(count)")
    }
    for more in [[0x10], [0x0D, 0x0A], [UInt8](repeating: 0, count: 3_000)] as [[UInt8]] {
      #expect(proxy(row.bytes + more) == row.result, "\(row.name): what follows counts")
    }
  }

  /// As soon as it is known it stays so.
  private func expectRefused(_ name: String, _ bytes: [UInt8]) {
    #expect(proxy(bytes) == .refused, "\(name)")
    var isRefused = false
    for count in 0..<bytes.count {
      let result = proxy(Array(bytes[..<count]))
      check(result == .refused || !isRefused && result == .incomplete, "\(name) cut at \(count): \(result)")
      isRefused = result == .refused
    }
  }

  @Test(arguments: badTexts) func aBadText(_ line: String) { expectRefused(line, [UInt8]("\(line)\r\n".utf8)) }

  @Test(arguments: badBinaries.indices) func aBadBinary(_ index: Int) {
    let (name, bytes) = ProxyHeaderTests.badBinaries[index]
    expectRefused(name, bytes)
  }

  @Test func oneHundredAndSevenBytesMayBe() {
    for (count, isGood) in [(107, true), (108, false)] {
      let start = [UInt8]("PROXY UNKNOWN ".utf8)
      let line = start + [UInt8](repeating: 0x61, count: count - start.count - 2) + [0x0D, 0x0A]
      #expect(line.count == count)
      #expect(proxy(line) == (isGood ? .complete(107, source: nil, port: 0) : .refused))
      #expect(proxy(Array(line[..<106])) == .incomplete)
    }
    let open = [UInt8]("PROXY UNKNOWN ".utf8) + [UInt8](repeating: 0x61, count: 92)
    #expect(proxy(open) == .incomplete)
    #expect(proxy(open + [0x61]) == .refused)
    #expect(proxy(open + [0x0D]) == .refused)  // its LF would be the 108th
  }

  /// Good headers with a byte changed, cut anywhere: the part is incomplete, or has the answer of the whole.
  @Test func seededRun() {
    var random = SeededGenerator(seed: 0x9209)
    var complete = 0
    var refused = 0
    for _ in 0..<4_000 {
      let row = ProxyHeaderTests.good[random.below(ProxyHeaderTests.good.count)]
      var bytes = row.bytes
      if random.oneIn(2) { bytes[random.below(min(bytes.count, 60))] = random.byte() }
      bytes += random.bytes(random.below(8))
      let result = proxy(bytes)
      let part = proxy(Array(bytes[..<random.below(bytes.count)]))
      check(part == .incomplete || part == result, "\(bytes): \(part), then \(result)")
      switch result {
      case .complete(let byteCount, _, _):
        check(byteCount <= bytes.count)
        complete += 1
      case .refused: refused += 1
      case .incomplete: break
      }
    }
    #expect(complete > 1_000 && refused > 300)
  }
}
