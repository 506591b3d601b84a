public import Bounded

/// SUBACK and UNSUBACK (§3.9, §3.11)
///   ┌──────┬─────┬───────────────┬────────────┬───────────┬─ ─ ┐ 0x90 SUBACK: one code a filter, before 5 only
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

/// An answer without properties, code by code: a long one needs no memory but that of the packet itself.
extension SubAck {
  /// Bytes of the whole packet.
  public static func byteCount(_ type: PacketType, codeCount: Int, version: ProtocolVersion) -> Int {
    let length = bodyByteCount(type, codeCount: codeCount, version)
    return 1 &+ ByteCounter.variableByteIntegerByteCount(length) &+ length
  }

  /// Writes what stands before the codes; one `write` for each filter is to follow.
  public static func begin(
    _ type: PacketType, packetID: UInt16, codeCount: Int, into writer: inout ByteWriter, version: ProtocolVersion
  ) {
    writer.writeFixedHeader(type, flags: 0, remainingLength: bodyByteCount(type, codeCount: codeCount, version))
    writer.writeUInt16(packetID)
    if version == .v5 { writer.write(0) }  // no properties
  }

  /// Writes one Reason Code, as far as this version has it.
  public static func write(
    _ reason: ReasonCode, of type: PacketType, into writer: inout ByteWriter, version: ProtocolVersion
  ) {
    if hasCodes(type, version) { writer.write(code(reason.rawValue, version)) }
  }

  private static func bodyByteCount(_ type: PacketType, codeCount: Int, _ version: ProtocolVersion) -> Int {
    2 &+ (version == .v5 ? 1 : 0) &+ (hasCodes(type, version) ? codeCount : 0)
  }

  /// Before MQTT 5 UNSUBACK says nothing of what became of the filters.
  private static func hasCodes(_ type: PacketType, _ version: ProtocolVersion) -> Bool {
    type == .subAck || version == .v5
  }

  /// Before MQTT 5 every failure is 0x80. MQTT 3.1 has no failure at all; its clients are told all the same.
  fileprivate static func code(_ code: UInt8, _ version: ProtocolVersion) -> UInt8 {
    version == .v5 ? code : min(code, 0x80)
  }
}

extension SubAck: PacketLayout {
  public func encode(type: PacketType, into writer: inout ByteWriter, version: ProtocolVersion) {
    precondition(type == .subAck || type == .unsubAck)
    var packet = self
    if !SubAck.hasCodes(type, version) { packet.reasonCodes = .empty }
    packet.encode(type, into: &writer, version: version)
  }

  func writeBody<Sink: ByteSink>(to sink: inout Sink, version: ProtocolVersion) {
    sink.writeUInt16(packetID)
    if version == .v5 { writePropertyBlock(to: &sink) }
    var index = 0
    while index < reasonCodes.count {
      sink.write(SubAck.code(reasonCodes[index], version))
      index &+= 1
    }
  }

  func writeProperties<Sink: ByteSink>(to sink: inout Sink) {
    if let reasonString { sink.writeProperty(.reasonString, bytes: reasonString) }
    properties.write(PropertySet(.userProperty), to: &sink)
  }
}
