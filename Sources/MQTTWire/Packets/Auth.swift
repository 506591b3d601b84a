public import Bounded

/// AUTH (§3.15), MQTT 5 only  ┌──────┬─────┬───────────┬────────────┐ both absent: Success without
///                            │ 0xF0 │ VBI │ reason u8 │ properties │ properties (§3.15.2.1)
///                            └──────┴─────┴───────────┴────────────┘
public struct Auth: BitwiseCopyable, Sendable {
  public var reason: ReasonCode
  public var method: Bytes?
  public var data: Bytes?
  public var reasonString: Bytes?
  /// The whole block; `encode` takes the fields above, and of the block the User Properties.
  public var properties: Properties

  public init(
    reason: ReasonCode, method: Bytes?, data: Bytes? = nil, reasonString: Bytes? = nil,
    properties: Properties = .none
  ) {
    self.reason = reason
    self.method = method
    self.data = data
    self.reasonString = reasonString
    self.properties = properties
  }

  public init(
    body: Bytes, flags: UInt8 = 0, version: ProtocolVersion = .v5, from sender: Sender = .client
  ) throws(WireError) {
    guard version == .v5 else { throw .protocolError }  // type 15 is reserved in 3.1.1
    guard flags == 0 else { throw .malformedPacket }
    var reader = ByteReader(body)
    let code = reader.isAtEnd ? .success : ReasonCode(rawValue: try reader.readByte())
    guard let code, code.isAllowed(in: .auth, from: sender) else { throw .protocolError }  // §3.15.2.1
    self.init(reason: code, method: nil)
    guard !body.isEmpty else { return }
    try readProperties(&reader)
    try reader.expectEnd()
  }

  @_optimize(size) private mutating func readProperties(_ reader: inout ByteReader) throws(WireError) {
    var scan = try PropertyScan(from: &reader, scope: .auth)
    while let property = try scan.next() {
      switch property.id {
      case .authenticationMethod: method = property.bytes
      case .authenticationData: data = property.bytes
      case .reasonString: reasonString = property.bytes
      default: break
      }
    }
    guard method != nil else { throw .protocolError }  // §3.15.2.2.2
    properties = scan.properties
  }
}

extension Auth: PacketLayout {
  public func encode(into writer: inout ByteWriter, version: ProtocolVersion = .v5) {
    precondition(version == .v5)
    encode(.auth, into: &writer, version: version)
  }

  @_optimize(size) func writeBody<Sink: ByteSink>(to sink: inout Sink, version: ProtocolVersion) {
    guard reason != .success || propertyByteCount > 0 else { return }
    sink.write(reason.rawValue)
    writePropertyBlock(to: &sink)
  }

  @_optimize(size) func writeProperties<Sink: ByteSink>(to sink: inout Sink) {
    if let method { sink.writeProperty(.authenticationMethod, bytes: method) }
    if let data { sink.writeProperty(.authenticationData, bytes: data) }
    if let reasonString { sink.writeProperty(.reasonString, bytes: reasonString) }
    properties.write(PropertySet(.userProperty), to: &sink)
  }
}
