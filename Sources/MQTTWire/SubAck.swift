public import Bounded

/// SUBACK and UNSUBACK (§3.9, §3.11)
///   ┌──────┬─────┬───────────────┬────────────┬───────────┬─ ─ ┐ 0x90 SUBACK: one code a filter, in 3.1.1 only
///   │ type │ VBI │ packet id u16 │ properties │ reason u8 │... │ 0, 1, 2, 0x80; 0xB0 UNSUBACK: in 3.1.1 no codes
///   └──────┴─────┴───────────────┴────────────┴───────────┴─ ─ ┘ properties: MQTT 5
public struct SubAck: BitwiseCopyable, Sendable {
  public var packetID: UInt16
  /// One byte a filter, in the order of SUBSCRIBE or UNSUBSCRIBE.
  public var reasonCodes: Bytes
  public var reasonString: Bytes?
  /// The whole block; `encode` takes the field above, and of the block the User Properties.
  public var properties: Properties

  public init(
    packetID: UInt16, reasonCodes: Bytes, reasonString: Bytes? = nil, properties: Properties = .none
  ) {
    self.packetID = packetID
    self.reasonCodes = reasonCodes
    self.reasonString = reasonString
    self.properties = properties
  }

  /// `type`: `subAck` or `unsubAck`.
  public init(
    type: PacketType, body: Bytes, flags: UInt8 = 0, version: ProtocolVersion
  ) throws(WireError) {
    precondition(type == .subAck || type == .unsubAck)
    guard flags == 0 else { throw .malformedPacket }
    var reader = ByteReader(body)
    self.init(packetID: try reader.readPacketID(), reasonCodes: .empty)
    if version == .v5 {
      var scan = try PropertyScan(from: &reader, scope: type == .subAck ? .subAck : .unsubAck)
      while let property = try scan.next() {
        if property.id == .reasonString { reasonString = property.bytes }
      }
      properties = scan.properties
    }
    if version == .v5 || type == .subAck { try readCodes(&reader, of: type, version) }
    try reader.expectEnd()
  }

  private mutating func readCodes(
    _ reader: inout ByteReader, of type: PacketType, _ version: ProtocolVersion
  ) throws(WireError) {
    reasonCodes = reader.readRest()
    guard !reasonCodes.isEmpty else { throw .protocolError }  // §3.9.3, §3.11.3
    var index = 0
    while index < reasonCodes.count {
      let code = reasonCodes[index]
      guard let reason = ReasonCode(rawValue: code), reason.isAllowed(in: type, from: .server) else {
        throw .protocolError
      }
      guard version == .v5 || code <= 2 || code == 0x80 else { throw .protocolError }  // 3.1.1 §3.9.3
      index &+= 1
    }
  }
}

extension SubAck: PacketLayout {
  /// Before MQTT 5 every failure is 0x80, and UNSUBACK says nothing of it. MQTT 3.1 has no failure at all; its clients are
  /// told all the same.
  public func encode(type: PacketType, into writer: inout ByteWriter, version: ProtocolVersion) {
    precondition(type == .subAck || type == .unsubAck)
    var packet = self
    if type == .unsubAck, version != .v5 { packet.reasonCodes = .empty }
    packet.encode(type, into: &writer, version: version)
  }

  func writeBody<Sink: ByteSink>(to sink: inout Sink, version: ProtocolVersion) {
    sink.writeUInt16(packetID)
    switch version {
    case .v5:
      writePropertyBlock(to: &sink)
      sink.write(reasonCodes)
    case .v31, .v311:
      var index = 0
      while index < reasonCodes.count {
        sink.write(min(reasonCodes[index], 0x80))
        index &+= 1
      }
    }
  }

  func writeProperties<Sink: ByteSink>(to sink: inout Sink) {
    if let reasonString { sink.writeProperty(.reasonString, bytes: reasonString) }
    properties.write(PropertySet(.userProperty), to: &sink)
  }
}
