public import Bounded

/// Reads a packet's fields in the order they stand; what is cut short is a Malformed Packet.
///
/// Invariant: 0 <= offset <= bytes.count.
public struct ByteReader: BitwiseCopyable {
  public let bytes: Bytes
  public private(set) var offset = 0

  @inlinable public init(_ bytes: Bytes) { self.bytes = bytes }

  public var isAtEnd: Bool { offset == bytes.count }
  public var remaining: Int { bytes.count &- offset }

  public mutating func readByte() throws(WireError) -> UInt8 {
    guard remaining >= 1 else { throw .malformedPacket }
    let byte = bytes[offset]
    offset &+= 1
    return byte
  }

  /// Most significant byte first (§1.5.2).
  public mutating func readUInt16() throws(WireError) -> UInt16 {
    guard remaining >= 2 else { throw .malformedPacket }
    let value = UInt16(bytes[offset]) &<< 8 | UInt16(bytes[offset &+ 1])
    offset &+= 2
    return value
  }

  /// Most significant byte first (§1.5.3).
  public mutating func readUInt32() throws(WireError) -> UInt32 {
    let high = try readUInt16()
    let low = try readUInt16()
    return UInt32(high) &<< 16 | UInt32(low)
  }

  /// 0...268 435 455 in one to four bytes, in the shortest form (§1.5.5).
  public mutating func readVariableByteInteger() throws(WireError) -> UInt32 {
    var value: UInt32 = 0
    var shift: UInt32 = 0
    while shift < 28 {
      let byte = try readByte()
      value |= UInt32(byte & 0x7F) &<< shift
      if byte < 0x80 {
        guard byte != 0 || shift == 0 else { throw .malformedPacket }
        return value
      }
      shift &+= 7
    }
    throw .malformedPacket
  }

  public mutating func readBytes(_ count: Int) throws(WireError) -> Bytes {
    guard count <= remaining else { throw .malformedPacket }
    let part = bytes[offset..<(offset &+ count)]
    offset &+= count
    return part
  }

  /// Two bytes of length, then that many bytes (§1.5.6).
  public mutating func readBinary() throws(WireError) -> Bytes {
    let count = try readUInt16()
    return try readBytes(Int(count))
  }

  /// As `readBinary`, and well-formed UTF-8 without U+0000 (§1.5.4).
  public mutating func readString() throws(WireError) -> Bytes {
    let string = try readBinary()
    guard UTF8Check.isValid(string) else { throw .malformedPacket }
    return string
  }

  /// Everything that is left.
  public mutating func readRest() -> Bytes {
    let rest = bytes.from(offset)
    offset = bytes.count
    return rest
  }

  /// §2.1.4: nothing may follow the last field.
  public func expectEnd() throws(WireError) {
    guard isAtEnd else { throw .malformedPacket }
  }

  /// Packet Identifier, never 0 (§2.2.1).
  public mutating func readPacketID() throws(WireError) -> UInt16 {
    let packetID = try readUInt16()
    guard packetID != 0 else { throw .protocolError }
    return packetID
  }
}
