public import Bounded

/// All addresses that have their first bits in common: `10.0.0.0/8`, `2001:db8::/32`, or one address.
public struct IPNetwork: BitwiseCopyable, Equatable, Sendable {
  public let address: IPAddress
  /// 0...32, or 0...128.
  public let prefixBitCount: Int

  /// A numeric address, and `/` and a number where it is not one address alone. nil: it is neither, or bits behind the
  /// prefix are set.
  public init?(_ text: Bytes) {
    let slash = text.firstIndex(of: UInt8(ascii: "/"))
    guard let address = IPAddress(text.first(slash ?? text.count)) else { return nil }
    let bitCountMax = address.isIPv6 ? 128 : 32
    var bitCount = bitCountMax
    if let slash {
      let digits = text.from(slash + 1)
      guard (1...3).contains(digits.count), digits[0] != UInt8(ascii: "0") || digits.count == 1 else { return nil }
      bitCount = 0
      for index in 0..<digits.count {
        guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digits[index]) else { return nil }
        bitCount = bitCount * 10 + Int(digits[index] - UInt8(ascii: "0"))
      }
      guard bitCount <= bitCountMax else { return nil }
    }
    self.address = address
    prefixBitCount = bitCount
    for bit in bitCount..<bitCountMax where address.bytes[bit / 8] & 0x80 >> UInt8(bit % 8) != 0 { return nil }
  }

  /// Whether a connection comes from here. An IPv4 client of an IPv6 socket counts as IPv4.
  public func contains(_ peer: PeerAddress) -> Bool {
    switch peer.family {
    case .unix, .serial:
      return false
    case .ipv4, .ipv6:
      let own = IPAddress(peer.ip, isIPv6: peer.family == .ipv6)
      return contains(own.mapped ?? own)
    }
  }

  private func contains(_ other: IPAddress) -> Bool {
    guard other.isIPv6 == address.isIPv6 else { return false }
    for index in 0..<16 {
      let bitCount = min(8, max(0, prefixBitCount - 8 * index))
      let mask = UInt8(truncatingIfNeeded: 0xFF00 >> bitCount)
      if (address.bytes[index] ^ other.bytes[index]) & mask != 0 { return false }
    }
    return true
  }
}
