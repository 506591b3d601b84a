import Bounded
import Glibc
import Layers

/// Any bytes as a PROXY header and as an address: a part of a header is incomplete or has the answer of the whole, and an
/// address is what inet_pton(3) makes of the text.
///
/// Input: where it is cut (two bytes), the header.
func fuzzProxy(_ input: inout Input) {
  let cut = input.uint16()
  let bytes = input.rest()
  let whole = parse(bytes)
  let part = parse(Array(bytes.prefix(cut % (bytes.count + 1))))
  check(part == .incomplete || part == whole, "\(part), then \(whole)")
  switch whole {
  case .incomplete: check(bytes.count < ProxyHeader.byteCountMax, "an endless header")
  case .refused: break
  case .complete(let byteCount, let source, _): checkTaken(Array(bytes.prefix(byteCount)), source)
  }
  let kind = withLent(bytes) { FirstBytes.judge($0) }
  check(kind != nil || bytes.count < FirstBytes.byteCountMax, "the first bytes are known")

  let text = bytes.prefix(50)
  check(withLent(Array(text)) { NumericAddress($0).map(values) } == systemAddress(text), "\(Array(text).hex)")
}

private enum Result: Equatable {
  case incomplete
  case refused
  case complete(Int, source: [UInt8]?, port: UInt16)
}

private func parse(_ bytes: [UInt8]) -> Result {
  withLent(bytes) { bytes in
    switch ProxyHeader.parse(bytes) {
    case .incomplete: .incomplete
    case .refused: .refused
    case .complete(let header): .complete(header.byteCount, source: header.source.map(values), port: header.sourcePort)
    }
  }
}

private func values(_ address: NumericAddress) -> [UInt8] { (0..<address.byteCount).map { address.bytes[$0] } }

private func checkTaken(_ header: [UInt8], _ source: [UInt8]?) {
  guard header[0] == UInt8(ascii: "P") else {
    check(header.count == 16 + Int(header[14]) * 256 + Int(header[15]), "length")
    return
  }
  check(header.count <= ProxyHeader.textByteCountMax && header.suffix(2) == [0x0D, 0x0A], "the end of a line")
  let words = header.dropLast(2).split(separator: 0x20, omittingEmptySubsequences: false)
  if words[1].elementsEqual("UNKNOWN".utf8) {
    check(source == nil, "a source of nobody")
  } else {
    check(words.count == 6 && systemAddress(words[2]) == source && systemAddress(words[3]) != nil, "addresses")
    for word in words[4...] { check(UInt16(String(decoding: word, as: UTF8.self)) != nil, "ports") }
  }
}

private func systemAddress(_ text: ArraySlice<UInt8>) -> [UInt8]? {
  guard !text.contains(0) else { return nil }
  var bytes = [UInt8](repeating: 0, count: 16)
  let isIPv6 = text.contains(UInt8(ascii: ":"))
  let found = (text.map { CChar(bitPattern: $0) } + [0]).withUnsafeBufferPointer {
    inet_pton(isIPv6 ? AF_INET6 : AF_INET, $0.baseAddress!, &bytes)
  }
  return found == 1 ? Array(bytes[..<(isIPv6 ? 16 : 4)]) : nil
}

func proxySeeds() -> [[UInt8]] {
  let signature: [UInt8] = [0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A]
  let ipv4: [UInt8] = [192, 0, 2, 7, 198, 51, 100, 1, 0xDC, 0x04, 0x07, 0x5B]
  let texts = [
    "PROXY TCP4 192.0.2.7 198.51.100.1 56324 1883\r\n", "PROXY TCP6 2001:db8::7 ::ffff:192.0.2.7 0 65535\r\n",
    "PROXY UNKNOWN what ever\r\n", "PROXY UNKNOWN\r\n", "1:2:3:4:5:6:1.2.3.4", "2001:db8::A0f:7", "255.255.255.255",
    "GET / HTTP/1.1\r\n",
  ]
  let binaries: [[UInt8]] = [
    [0x21, 0x11, 0, 12] + ipv4, [0x21, 0x11, 0, 17] + ipv4 + [4, 0, 2, 1, 1],
    [0x21, 0x21, 0, 36] + [UInt8](repeating: 7, count: 36),
    [0x21, 0x31, 0, 216] + [UInt8](repeating: 0x2F, count: 216),
    [0x20, 0, 0, 0], [0x21, 0, 0, 1, 9], [0x21, 0x12, 0, 0], [0x20, 0, 0xFF, 0xFF],
  ]
  return texts.map { [0, 20] + [UInt8]($0.utf8) } + binaries.map { [0, 20] + signature + $0 } + [
    [0, 1, 0x16, 3], [0, 1, 0x10],
  ]
}
