public import Bounded
import CLinux

/// A numeric address, IPv4 or IPv6 without a zone, as inet_pton(3) reads it. The configuration is checked with it and
/// listeners are opened with it, so neither takes what the other does not.
public struct IPAddress: BitwiseCopyable, Equatable, Sendable {
  /// The first 4 or all 16, most significant first; the others are 0.
  let bytes: InlineArray<16, UInt8>
  public let isIPv6: Bool

  public static func == (left: IPAddress, right: IPAddress) -> Bool {
    for index in 0..<16 where left.bytes[index] != right.bytes[index] { return false }
    return left.isIPv6 == right.isIPv6
  }

  init(_ bytes: InlineArray<16, UInt8>, isIPv6: Bool) {
    self.bytes = bytes
    self.isIPv6 = isIPv6
  }

  public init?(_ text: Bytes) {
    var address = clinux_address()
    for family in [Int32(CLINUX_IPV4), Int32(CLINUX_IPV6)] {
      address.family = family
      guard withPath(text, { clinux_parse_ip($0, &address) }) == 1 else { continue }
      self.init(address)
      return
    }
    return nil
  }

  init(_ address: clinux_address) {
    var bytes = InlineArray<16, UInt8>(repeating: 0)
    withUnsafeBytes(of: address.ip) { for index in 0..<16 { bytes[index] = $0[index] } }
    self.init(bytes, isIPv6: address.family == Int32(CLINUX_IPV6))
  }

  /// With port 0.
  var kernel: clinux_address {
    var address = clinux_address()
    address.family = Int32(isIPv6 ? CLINUX_IPV6 : CLINUX_IPV4)
    withUnsafeMutableBytes(of: &address.ip) { for index in 0..<16 { $0[index] = bytes[index] } }
    return address
  }

  /// 127.0.0.0/8, ::1 or ::ffff:127.0.0.0/104: this machine (RFC 1122 §3.2.1.3, RFC 4291 §2.5.3).
  public var isLoopback: Bool {
    guard isIPv6 else { return bytes[0] == 127 }
    if let mapped { return mapped.isLoopback }
    return isZero(0..<15) && bytes[15] == 1
  }

  /// 0.0.0.0 or ::, where a listener takes clients on all of this machine's addresses of that family.
  public var isUnspecified: Bool { isZero(0..<16) }

  /// fe80::/10: there is one for each interface, so without a zone it names none (RFC 4291 §2.5.6).
  public var isLinkLocalIPv6: Bool { isIPv6 && bytes[0] == 0xFE && bytes[1] & 0xC0 == 0x80 }

  /// 224.0.0.0/4, ff00::/8, and 255.255.255.255: addresses of many machines, to which nobody connects (RFC 1112 §4, RFC 919
  /// §7, RFC 4291 §2.7).
  public var isOfMany: Bool {
    guard isIPv6 else { return bytes[0] & 0xF0 == 0xE0 || bytes[0] & bytes[1] & bytes[2] & bytes[3] == 255 }
    return bytes[0] == 0xFF || mapped?.isOfMany == true
  }

  /// The IPv4 address in ::ffff:0:0/96, where IPv4 clients are seen on IPv6 sockets that take both.
  public var mapped: IPAddress? {
    guard isIPv6, isZero(0..<10), bytes[10] == 0xFF, bytes[11] == 0xFF else { return nil }
    var last = InlineArray<16, UInt8>(repeating: 0)
    for index in 0..<4 { last[index] = bytes[12 + index] }
    return IPAddress(last, isIPv6: false)
  }

  /// Whether a listener on the one and a listener on the other would take the same clients, at the same port.
  public func overlaps(_ other: IPAddress) -> Bool {
    guard isIPv6 == other.isIPv6 else { return false }
    return isUnspecified || other.isUnspecified || self == other
  }

  /// `192.0.2.7` or `2001:db8::7`.
  public func write(to writer: inout ByteWriter) {
    var address = kernel
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 48) { text in
      guard clinux_format_ip(&address, text.baseAddress!, text.count) == 0 else { return }
      writer.write(LinuxIO.bytes(fromCString: text.baseAddress!))
    }
  }

  /// The 4 or 16 bytes, most significant first.
  public var octets: [UInt8] {
    var octets: [UInt8] = []
    for index in 0..<(isIPv6 ? 16 : 4) { octets.append(bytes[index]) }
    return octets
  }

  /// - Parameter octets: 4 or 16 bytes, most significant first; nil for another number.
  public init?(octets: [UInt8]) {
    guard octets.count == 4 || octets.count == 16 else { return nil }
    var bytes = InlineArray<16, UInt8>(repeating: 0)
    for index in 0..<octets.count { bytes[index] = octets[index] }
    self.init(bytes, isIPv6: octets.count == 16)
  }

  /// The addresses of the interfaces that are up, the first 64 of them, in the kernel's order; loopback and link-local ones
  /// are among them. Allocates.
  public static func ofThisMachine() throws(LinuxError) -> [IPAddress] {
    let countMax = 64
    var found = [clinux_address](repeating: clinux_address(), count: countMax)
    let count = try check(
      found.withUnsafeMutableBufferPointer { clinux_own_addresses($0.baseAddress, Int32($0.count)) })
    return found[..<Int(count)].map { IPAddress($0) }
  }

  private func isZero(_ range: Range<Int>) -> Bool {
    for index in range where bytes[index] != 0 { return false }
    return true
  }
}
