import Bounded
import Glibc
import Layers
import Testing

/// What inet_pton(3) makes of a text.
func systemAddress(_ text: [UInt8]) -> [UInt8]? {
  guard !text.contains(0) else { return nil }
  var bytes = [UInt8](repeating: 0, count: 16)
  let isIPv6 = text.contains(UInt8(ascii: ":"))
  let found = (text.map { CChar(bitPattern: $0) } + [0]).withUnsafeBufferPointer {
    inet_pton(isIPv6 ? AF_INET6 : AF_INET, $0.baseAddress!, &bytes)
  }
  return found == 1 ? Array(bytes[..<(isIPv6 ? 16 : 4)]) : nil
}

func address(_ text: [UInt8]) -> [UInt8]? {
  withLent(text) { text in
    NumericAddress(text).map { address in (0..<address.byteCount).map { address.bytes[$0] } }
  }
}

@Suite struct NumericAddressTests {
  static let good: [(String, [UInt8])] = [
    ("0.0.0.0", [0, 0, 0, 0]), ("255.255.255.255", [255, 255, 255, 255]), ("192.0.2.7", [192, 0, 2, 7]),
    ("::", [UInt8](repeating: 0, count: 16)), ("::1", [UInt8](repeating: 0, count: 15) + [1]),
    ("1::", [0, 1] + [UInt8](repeating: 0, count: 14)),
    ("2001:db8::A0f:7", [0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0x0A, 0x0F, 0, 7]),
    ("1:2:3:4:5:6:7:8", [0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 8]),
    ("1:2:3:4:5:6:7::", [0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 0]),
    ("::2:3:4:5:6:7:8", [0, 0, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 8]),
    ("::ffff:192.0.2.7", [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 192, 0, 2, 7]),
    ("1:2:3:4:5:6:1.2.3.4", [0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 1, 2, 3, 4]),
    ("ffff:FFFF:ffff:FFFF:ffff:FFFF:ffff:FFFF", [UInt8](repeating: 0xFF, count: 16)),
  ]

  static let bad = [
    "", ".", "1", "1.2.3", "1.2.3.4.5", "1.2.3.", ".1.2.3", "1..2.3", "1.2.3.256", "1.2.3.999", "1.2.3.04", "01.2.3.4",
    "1.2.3.00", "0x1.2.3.4", "1.2.3.4 ", " 1.2.3.4", "1.2.3.-4", "1.2.3.a", "1.2.3.4:80", "localhost", "1,2,3,4",
    ":", ":::", "1", ":1", "1:", "1:2", ":1::", "1::2::3", "::1::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7:", ":2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8", "1:2:3:4::5:6:7:8", "12345::",
    "::00001", "::g", "fe80::1%eth0", "[::1]", "::1 ", "::1.2.3", "::1.2.3.4.5", "::1.2.3.4:5", "::1.2.3.04",
    "1:2:3:4:5:6:7:1.2.3.4", "1:2:3:4:5:1.2.3.4", "::1:2:3:4:5:6:7:1.2.3.4", "1:2:3:4:5:6::1.2.3.4", "::12345.1.1.1",
    "::.1.2.3",
  ]

  @Test(arguments: good.indices) func aGoodOne(_ index: Int) {
    let (text, bytes) = NumericAddressTests.good[index]
    #expect(address([UInt8](text.utf8)) == bytes, "\(text)")
    #expect(systemAddress([UInt8](text.utf8)) == bytes, "\(text)")
    withLent(text) { #expect(NumericAddress($0)?.isIPv6 == (bytes.count == 16)) }
    let found = withLent(text) { NumericAddress($0)! }
    for index in bytes.count..<16 { #expect(found.bytes[index] == 0) }
  }

  @Test(arguments: bad) func aBadOne(_ text: String) {
    #expect(address([UInt8](text.utf8)) == nil)
    #expect(systemAddress([UInt8](text.utf8)) == nil)
  }

  /// Good ones with a byte changed, left out or put in, and texts of the characters of addresses, beside inet_pton(3).
  @Test func asTheSystemHasIt() {
    var random = SeededGenerator(seed: 0xADD2)
    let characters = [UInt8]("0123456789abcfFg.:::..0015".utf8)
    var found = 0
    for _ in 0..<20_000 {
      var text = [UInt8](NumericAddressTests.good[random.below(NumericAddressTests.good.count)].0.utf8)
      switch random.below(4) {
      case 0: text[random.below(text.count)] = characters[random.below(characters.count)]
      case 1: text.remove(at: random.below(text.count))
      case 2: text.insert(characters[random.below(characters.count)], at: random.below(text.count + 1))
      default: text = (0..<random.below(18)).map { _ in characters[random.below(characters.count)] }
      }
      let expected = systemAddress(text)
      check(address(text) == expected, String(decoding: text, as: UTF8.self))
      found += expected == nil ? 0 : 1
    }
    #expect(found > 2_000 && found < 18_000)
  }
}
