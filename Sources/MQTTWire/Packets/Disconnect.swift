public import Bounded

/// DISCONNECT (§3.14)  ┌──────┬─────┬───────────┬────────────┐ MQTT 5; both absent: Normal disconnection, the last
///                     │ 0xE0 │ VBI │ reason u8 │ properties │ absent: none (§3.14.2.1); in 3.1.1 always both absent
///                     └──────┴─────┴───────────┴────────────┘
public struct Disconnect: BitwiseCopyable, Sendable {
  public var reason: ReasonCode
  /// From a client only (§3.14.2.2.2).
  public var sessionExpirySeconds: UInt32?
  public var reasonString: Bytes?
  public var serverReference: Bytes?
  /// The whole block; `encode` takes the fields above, and of the block the User Properties.
  public var properties: Properties

  public init(
    reason: ReasonCode = .success, sessionExpirySeconds: UInt32? = nil, reasonString: Bytes? = nil,
    serverReference: Bytes? = nil, properties: Properties = .none
  ) {
    self.reason = reason
    self.sessionExpirySeconds = sessionExpirySeconds
    self.reasonString = reasonString
    self.serverReference = serverReference
    self.properties = properties
  }

  public init(
    body: Bytes, flags: UInt8 = 0, version: ProtocolVersion, from sender: Sender = .client
  ) throws(WireError) {
    guard flags == 0 else { throw .malformedPacket }
    var reader = ByteReader(body)
    self.init()
    if version == .v5, !reader.isAtEnd {
      let code = ReasonCode(rawValue: try reader.readByte())
      guard let code, code.isAllowed(in: .disconnect, from: sender) else { throw .protocolError }  // §3.14.2.1
      reason = code
      if !reader.isAtEnd { try readProperties(&reader, from: sender) }
    }
    try reader.expectEnd()
  }

  @_optimize(size) private mutating func readProperties(_ reader: inout ByteReader, from sender: Sender)
    throws(WireError)
  {
    var scan = try PropertyScan(from: &reader, scope: .disconnect)
    while let property = try scan.next() {
      switch property.id {
      case .sessionExpiryInterval:
        guard sender == .client else { throw .protocolError }
        sessionExpirySeconds = property.uint32
      case .reasonString: reasonString = property.bytes
      case .serverReference: serverReference = property.bytes
      default: break
      }
    }
    properties = scan.properties
  }
}

extension Disconnect: PacketLayout {
  /// The shortest form that says it all.
  public func encode(into writer: inout ByteWriter, version: ProtocolVersion) {
    encode(.disconnect, into: &writer, version: version)
  }

  /// Bytes of the whole packet.
  public func byteCount(version: ProtocolVersion) -> Int { wholeByteCount(version: version) }

  @_optimize(size) func writeBody<Sink: ByteSink>(to sink: inout Sink, version: ProtocolVersion) {
    guard version == .v5 else { return }
    let hasProperties = propertyByteCount > 0
    if hasProperties || reason != .success { sink.write(reason.rawValue) }
    if hasProperties { writePropertyBlock(to: &sink) }
  }

  @_optimize(size) func writeProperties<Sink: ByteSink>(to sink: inout Sink) {
    if let sessionExpirySeconds { sink.writeProperty(.sessionExpiryInterval, uint32: sessionExpirySeconds) }
    if let reasonString { sink.writeProperty(.reasonString, bytes: reasonString) }
    if let serverReference { sink.writeProperty(.serverReference, bytes: serverReference) }
    properties.write(PropertySet(.userProperty), to: &sink)
  }
}
