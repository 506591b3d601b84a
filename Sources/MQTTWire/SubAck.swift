public import Bounded

/// SUBACK (§3.9)  ┌──────┬─────┬───────────────┬────────────┬───────────┬─ ─ ┐ properties: MQTT 5; one code a filter,
///                │ 0x90 │ VBI │ packet id u16 │ properties │ reason u8 │... │ in 3.1.1 only 0, 1, 2, 0x80
///                └──────┴─────┴───────────────┴────────────┴───────────┴─ ─ ┘
public struct SubAck: BitwiseCopyable, Sendable {
  public var packetID: UInt16
  /// One byte a filter, in the order of SUBSCRIBE.
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

  public init(body: Bytes, flags: UInt8 = 0, version: ProtocolVersion) throws(WireError) {
    guard flags == 0 else { throw .malformedPacket }
    var reader = ByteReader(body)
    self.init(packetID: try reader.readPacketID(), reasonCodes: .empty)
    if version == .v5 { (reasonString, properties) = try reader.readReasonProperties(.subAck) }
    reasonCodes = reader.readRest()
    guard !reasonCodes.isEmpty else { throw .protocolError }  // §3.9.3
    try reasonCodes.checkReasonCodes(in: .subAck)
    if version == .v311 {
      var index = 0
      while index < reasonCodes.count {
        guard reasonCodes[index] <= 2 || reasonCodes[index] == 0x80 else { throw .protocolError }  // 3.1.1 §3.9.3
        index &+= 1
      }
    }
  }
}

extension SubAck: PacketLayout {
  /// In 3.1.1 every failure is 0x80.
  public func encode(into writer: inout ByteWriter, version: ProtocolVersion) {
    encode(.subAck, into: &writer, version: version)
  }

  func writeBody<Sink: ByteSink>(to sink: inout Sink, version: ProtocolVersion) {
    sink.writeUInt16(packetID)
    switch version {
    case .v5:
      writePropertyBlock(to: &sink)
      sink.write(reasonCodes)
    case .v311:
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

/// UNSUBACK (§3.11)  ┌──────┬─────┬───────────────┬────────────┬───────────┬─ ─ ┐ all after the packet id: MQTT 5;
///                   │ 0xB0 │ VBI │ packet id u16 │ properties │ reason u8 │... │ one code a filter
///                   └──────┴─────┴───────────────┴────────────┴───────────┴─ ─ ┘
public struct UnsubAck: BitwiseCopyable, Sendable {
  public var packetID: UInt16
  /// One byte a filter, in the order of UNSUBSCRIBE; empty in 3.1.1.
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

  public init(body: Bytes, flags: UInt8 = 0, version: ProtocolVersion) throws(WireError) {
    guard flags == 0 else { throw .malformedPacket }
    var reader = ByteReader(body)
    self.init(packetID: try reader.readPacketID(), reasonCodes: .empty)
    if version == .v5 {
      (reasonString, properties) = try reader.readReasonProperties(.unsubAck)
      reasonCodes = reader.readRest()
      guard !reasonCodes.isEmpty else { throw .protocolError }  // §3.11.3
      try reasonCodes.checkReasonCodes(in: .unsubAck)
    }
    try reader.expectEnd()
  }
}

extension UnsubAck: PacketLayout {
  public func encode(into writer: inout ByteWriter, version: ProtocolVersion) {
    encode(.unsubAck, into: &writer, version: version)
  }

  func writeBody<Sink: ByteSink>(to sink: inout Sink, version: ProtocolVersion) {
    sink.writeUInt16(packetID)
    guard version == .v5 else { return }
    writePropertyBlock(to: &sink)
    sink.write(reasonCodes)
  }

  func writeProperties<Sink: ByteSink>(to sink: inout Sink) {
    if let reasonString { sink.writeProperty(.reasonString, bytes: reasonString) }
    properties.write(PropertySet(.userProperty), to: &sink)
  }
}

// MARK: - What both share

extension ByteReader {
  fileprivate mutating func readReasonProperties(
    _ scope: PropertyScope
  ) throws(WireError) -> (reasonString: Bytes?, properties: Properties) {
    var reasonString: Bytes?
    var scan = try PropertyScan(from: &self, scope: scope)
    while let property = try scan.next() {
      if property.id == .reasonString { reasonString = property.bytes }
    }
    return (reasonString, scan.properties)
  }
}

extension Bytes {
  fileprivate func checkReasonCodes(in type: PacketType) throws(WireError) {
    var index = 0
    while index < count {
      let reason = ReasonCode(rawValue: self[index])
      guard let reason, reason.isAllowed(in: type, from: .server) else { throw .protocolError }
      index &+= 1
    }
  }
}
