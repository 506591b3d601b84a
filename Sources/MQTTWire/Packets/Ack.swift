public import Bounded

/// PUBACK, PUBREC, PUBREL, PUBCOMP (§3.4 to §3.7)
/// ┌──────────────────────┬─────┬───────────────┬───────────┬────────────┐ the last two: MQTT 5 only; both absent:
/// │ 0x40 0x50 0x62 0x70  │ VBI │ packet id u16 │ reason u8 │ properties │ Success; the last absent: none (§3.4.2.1)
/// └──────────────────────┴─────┴───────────────┴───────────┴────────────┘
public struct Ack: BitwiseCopyable, Sendable {
  public var packetID: UInt16
  public var reason: ReasonCode
  public var reasonString: Bytes?
  /// The whole block; `encode` takes the field above, and of the block the User Properties.
  public var properties: Properties

  public init(
    packetID: UInt16, reason: ReasonCode = .success, reasonString: Bytes? = nil, properties: Properties = .none
  ) {
    self.packetID = packetID
    self.reason = reason
    self.reasonString = reasonString
    self.properties = properties
  }

  /// `type` is one of the four.
  public init(type: PacketType, body: Bytes, flags: UInt8, version: ProtocolVersion) throws(WireError) {
    let scope = Ack.scope(of: type)
    guard type.allows(flags: flags, version: version) else { throw .malformedPacket }
    var reader = ByteReader(body)
    self.init(packetID: try reader.readPacketID())
    if version == .v5, !reader.isAtEnd {
      let code = ReasonCode(rawValue: try reader.readByte())
      guard let code, code.isAllowed(in: type, from: .client) else { throw .protocolError }  // §3.4.2.1
      reason = code
      if !reader.isAtEnd { try readProperties(&reader, scope) }
    }
    try reader.expectEnd()
  }

  private mutating func readProperties(_ reader: inout ByteReader, _ scope: PropertyScope) throws(WireError) {
    var scan = try PropertyScan(from: &reader, scope: scope)
    while let property = try scan.next() {
      if property.id == .reasonString { reasonString = property.bytes }
    }
    properties = scan.properties
  }

  private static func scope(of type: PacketType) -> PropertyScope {
    switch type {
    case .pubAck: return .pubAck
    case .pubRec: return .pubRec
    case .pubRel: return .pubRel
    case .pubComp: return .pubComp
    default: preconditionFailure("not an acknowledgement of PUBLISH")
    }
  }
}

extension Ack: PacketLayout {
  /// The shortest form that says it all.
  public func encode(type: PacketType, into writer: inout ByteWriter, version: ProtocolVersion) {
    _ = Ack.scope(of: type)
    encode(type, flags: type == .pubRel ? 0b0010 : 0, into: &writer, version: version)
  }

  /// Bytes of the whole packet.
  public func byteCount(version: ProtocolVersion) -> Int { wholeByteCount(version: version) }

  func writeBody<Sink: ByteSink>(to sink: inout Sink, version: ProtocolVersion) {
    sink.writeUInt16(packetID)
    guard version == .v5 else { return }
    let hasProperties = propertyByteCount > 0
    if hasProperties || reason != .success { sink.write(reason.rawValue) }
    if hasProperties { writePropertyBlock(to: &sink) }
  }

  func writeProperties<Sink: ByteSink>(to sink: inout Sink) {
    if let reasonString { sink.writeProperty(.reasonString, bytes: reasonString) }
    properties.write(PropertySet(.userProperty), to: &sink)
  }
}
