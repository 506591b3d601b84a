/// Fixed header (§2.1)  ┌───────────┬────────────┬──────────────────────────┐
///                      │ type high │  flags low │ Remaining Length, VBI 1-4│
///                      │ 4 bits    │  4 bits    │ bytes of the body        │
///                      └───────────┴────────────┴──────────────────────────┘
public struct FixedHeader: BitwiseCopyable, Sendable {
  public let type: PacketType
  /// 0...15, already judged by §2.1.3.
  public let flags: UInt8
  /// Bytes after this header, 0...268 435 455.
  public let remainingLength: Int
  /// Bytes of this header, 2...5.
  public let headerByteCount: Int

  @inlinable public init(type: PacketType, flags: UInt8, remainingLength: Int, headerByteCount: Int) {
    self.type = type
    self.flags = flags
    self.remainingLength = remainingLength
    self.headerByteCount = headerByteCount
  }

  @inlinable public var packetByteCount: Int { headerByteCount &+ remainingLength }

  /// Whether Remaining Length has no more bytes than it needs, as MQTT 5 demands (§1.5.5-1).
  public var isShortest: Bool {
    headerByteCount == 1 &+ ByteCounter.variableByteIntegerByteCount(remainingLength)
  }
}

/// What the first bytes of a packet say about it.
enum HeaderVerdict {
  /// All right so far; the length goes on.
  case incomplete
  case complete(FixedHeader)
  case bad(WireError)
}

extension FixedHeader {
  /// Judges the first `count` (1...5) bytes of a packet, the first one in the low byte of `word`.
  ///
  /// A Remaining Length may have more bytes than it needs before MQTT 5. Whether a CONNECT is one of MQTT 5 its own decoder
  /// finds out.
  /// - Parameter version: the one that the sender speaks; nil: it has sent no CONNECT yet.
  static func judge(_ word: UInt64, count: Int, packetBytesMax: Int, version: ProtocolVersion?) -> HeaderVerdict {
    let first = UInt8(truncatingIfNeeded: word)
    let flags = first & 0x0F
    guard let type = PacketType(rawValue: first &>> 4), type.allows(flags: flags, version: version) else {
      return .bad(.malformedPacket)
    }
    var length = 0
    var index = 1
    while true {
      guard index < 5 else { return .bad(.malformedPacket) }  // a fifth length byte (§1.5.5)
      guard index < count else { return .incomplete }
      let byte = Int(truncatingIfNeeded: word &>> UInt64(index &* 8)) & 0xFF
      length |= (byte & 0x7F) &<< ((index &- 1) &* 7)
      index &+= 1
      guard byte < 0x80 else { continue }
      // Not the shortest form (§1.5.5-1).
      guard byte != 0 || index == 2 || version != .v5 || type == .connect else { return .bad(.malformedPacket) }
      break
    }
    guard type.allows(bodyByteCount: length, flags: flags) else { return .bad(.malformedPacket) }
    guard index &+ length <= packetBytesMax else { return .bad(.packetTooLarge) }
    return .complete(FixedHeader(type: type, flags: flags, remainingLength: length, headerByteCount: index))
  }

  /// The size of the packet that a complete header declares, the header included.
  static func declaredByteCount(_ word: UInt64) -> UInt32 {
    var length: UInt32 = 0
    var index: UInt32 = 1
    while index < 5 {
      let byte = UInt32(truncatingIfNeeded: word &>> UInt64(index &* 8)) & 0xFF
      length |= (byte & 0x7F) &<< ((index &- 1) &* 7)
      index &+= 1
      if byte < 0x80 { break }
    }
    return index &+ length
  }
}
