import Bounded
import Testing

@testable import LinuxIO

@Suite struct IPNetworkTests {
  private static func network(_ text: String) -> IPNetwork? {
    var text = text
    return text.withUTF8 { IPNetwork(Bytes(UnsafeRawBufferPointer($0))) }
  }

  private static func peer(_ text: String) -> PeerAddress {
    let address = network(text)!.address
    var ip = InlineArray<16, UInt8>(repeating: 0)
    for index in 0..<16 { ip[index] = address.bytes[index] }
    return PeerAddress(ip: ip, isIPv6: address.isIPv6, port: 1)
  }

  @Test(arguments: [
    ("10.0.0.0/8", "10.255.0.1", true), ("10.0.0.0/8", "11.0.0.0", false), ("10.0.0.0/8", "9.255.255.255", false),
    ("192.0.2.128/25", "192.0.2.128", true), ("192.0.2.128/25", "192.0.2.127", false),
    ("192.0.2.7", "192.0.2.7", true), ("192.0.2.7", "192.0.2.6", false), ("192.0.2.7/32", "192.0.2.7", true),
    ("0.0.0.0/0", "255.255.255.255", true), ("0.0.0.0/0", "::1", false), ("::/0", "0.0.0.0", false),
    ("::1", "::1", true), ("::1", "::2", false), ("2001:db8::/33", "2001:db8:7fff::1", true),
    ("2001:db8::/33", "2001:db8:8000::1", false), ("10.0.0.0/8", "::ffff:10.1.2.3", true),
    ("::/0", "2001:db8::1", true),
  ])
  func contains(_ text: String, _ address: String, _ isIn: Bool) throws {
    #expect(try #require(Self.network(text)).contains(Self.peer(address)) == isIn, "\(text) \(address)")
  }

  @Test(arguments: [
    "", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/08", "10.0.0.0/-1", "10.0.0.0/8 ", "10.0.0.0/8/8",
    "10.0.0.1/8",
    "10.0.0.128/24", "::1/127", "::/129", "::/1000", "host", "10.0.0/8", "10.0.0.0/a",
  ])
  func isNone(_ text: String) { #expect(Self.network(text) == nil, "\(text)") }

  @Test func aPeerWithoutAnAddressIsNowhere() throws {
    let all = try #require(Self.network("0.0.0.0/0"))
    #expect(!all.contains(PeerAddress(serialLine: 0)))
  }
}
