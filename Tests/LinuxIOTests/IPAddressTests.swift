import Bounded
import Glibc
import Testing

@testable import LinuxIO

@Suite struct IPAddressTests {
  private func parse(_ text: String) -> IPAddress? { withBytes(text) { IPAddress($0) } }

  @Test(arguments: [
    ("192.0.2.7", "192.0.2.7"), ("::", "::"), ("2001:db8::7", "2001:db8::7"), ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"),
    ("0:0:0::1", "::1"), ("::ffff:127.0.0.1", "::ffff:127.0.0.1"), ("2001:DB8::", "2001:db8::"),
  ])
  func numericAddressesAreRead(text: String, shown: String) throws {
    let address = try #require(parse(text))
    #expect(written { address.write(to: &$0) } == shown)
    #expect(address.isIPv6 == text.contains(":"))
  }

  @Test(arguments: [
    "", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.", "0x7f.0.0.1", "2130706433", "127.0.0.1 ", ":", ":::", "1::2::3",
    "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "12345::", "1:2:3:4:5:6:7:8::", "fe80::1%eth0", "[::1]", "::1 ", "1:",
    "localhost",
  ])
  func anythingElseIsNot(text: String) {
    #expect(parse(text) == nil)
  }

  /// RFC 1122 §3.2.1.3, RFC 4291 §2.5.3, §2.5.5.2.
  @Test(arguments: [
    ("127.0.0.1", true), ("127.255.0.9", true), ("128.0.0.1", false), ("192.0.2.1", false), ("::1", true),
    ("::2", false), ("::ffff:127.0.0.1", true), ("::ffff:192.0.2.1", false), ("2001:db8::1", false), ("::", false),
    ("0.0.0.0", false), ("fe80::1", false),
  ])
  func loopbackAddressesAreKnown(text: String, isLoopback: Bool) throws {
    #expect(try #require(parse(text)).isLoopback == isLoopback)
  }

  @Test func kindsAreKnown() {
    #expect(["0.0.0.0", "::", "0::0"].allSatisfy { parse($0)!.isUnspecified })
    #expect(["0.0.0.1", "::1", "1::"].allSatisfy { !parse($0)!.isUnspecified })
    #expect(
      ["224.0.0.1", "239.255.255.255", "255.255.255.255", "ff02::1", "ffff::"].allSatisfy { parse($0)!.isOfMany })
    #expect(["223.255.255.255", "240.0.0.1", "255.255.255.254", "feff::1", "::"].allSatisfy { !parse($0)!.isOfMany })
    #expect(["fe80::1", "febf::1"].allSatisfy { parse($0)!.isLinkLocalIPv6 })
    #expect(["fec0::1", "fe7f::1", "254.128.0.1", "::"].allSatisfy { !parse($0)!.isLinkLocalIPv6 })
    #expect(["::1", "::fffe:1.2.3.4", "1::ffff:1.2.3.4", "1.2.3.4"].allSatisfy { parse($0)!.mapped == nil })
    #expect(parse("::ffff:1.2.3.4")!.mapped!.overlaps(parse("1.2.3.4")!))
  }

  /// As the kernel does for two listeners on one port, of which an IPv6 one takes no IPv4 clients.
  @Test(arguments: [
    ("127.0.0.1", "127.0.0.1", true), ("127.0.0.1", "127.0.0.2", false), ("0.0.0.0", "127.0.0.1", true),
    ("::1", "0:0::1", true), ("::", "::1", true), ("::", "0.0.0.0", false), ("::", "127.0.0.1", false),
    ("::1", "127.0.0.1", false),
  ])
  func overlappingListenersAreKnown(one: String, other: String, overlap: Bool) throws {
    #expect(parse(one)!.overlaps(parse(other)!) == overlap && parse(other)!.overlaps(parse(one)!) == overlap)
    func listenOnBoth() throws {
      let first = try withBytes(one) { try Listener.tcp(address: $0, port: 0, backlog: 1) }
      defer { first.close() }
      try withBytes(other) { try Listener.tcp(address: $0, port: first.port, backlog: 1) }.close()
    }
    if overlap { #expect(errno(of: listenOnBoth) == EADDRINUSE) } else { try onFreePorts(listenOnBoth) }
  }

  @Test(arguments: ["192.0.2.7", "0.0.0.0", "2001:db8::7", "::", "::ffff:1.2.3.4"])
  func octetsAreTheWholeAddress(text: String) throws {
    let address = try #require(parse(text))
    #expect(address.octets.count == (address.isIPv6 ? 16 : 4))
    #expect(IPAddress(octets: address.octets)?.octets == address.octets)
    #expect(IPAddress(octets: address.octets)?.isIPv6 == address.isIPv6)
    #expect(
      IPAddress(octets: address.octets + [0]) == nil && IPAddress(octets: Array(address.octets.dropLast())) == nil)
  }

  @Test func thisMachineHasItsLoopbackAddress() throws {
    let addresses = try IPAddress.ofThisMachine()
    #expect(addresses.contains { $0.octets == [127, 0, 0, 1] } && addresses.count <= 64)
    #expect(addresses.allSatisfy { !$0.isUnspecified && !$0.isOfMany })
  }
}
