public import Bounded

/// CONNACK (§3.2)  ┌──────┬─────┬──────────────────────┬───────────┬────────────┐ properties: MQTT 5 only; reason:
///                 │ 0x20 │ VBI │ session present u8   │ reason u8 │ properties │ in 3.1.1 a return code 0...5
///                 └──────┴─────┴──────────────────────┴───────────┴────────────┘
/// A field that is nil is absent and has the standard's default.
public struct ConnAck: BitwiseCopyable, Sendable {
  public var sessionPresent: Bool
  public var reason: ReasonCode
  public var sessionExpirySeconds: UInt32?
  public var receiveMaximum: UInt16?
  /// Never `.exactlyOnce` on the wire, which is the default (§3.2.2.3.4).
  public var maximumQoS: QoS?
  public var retainAvailable: Bool?
  public var maximumPacketSize: UInt32?
  public var assignedClientID: Bytes?
  public var topicAliasMaximum: UInt16?
  public var reasonString: Bytes?
  public var wildcardAvailable: Bool?
  public var subscriptionIdentifiersAvailable: Bool?
  public var sharedAvailable: Bool?
  /// In seconds.
  public var serverKeepAlive: UInt16?
  public var responseInformation: Bytes?
  public var serverReference: Bytes?
  public var authenticationMethod: Bytes?
  public var authenticationData: Bytes?
  /// The whole block; `encode` takes the fields above, and of the block the User Properties.
  public var properties: Properties

  public init(sessionPresent: Bool = false, reason: ReasonCode) {
    self.sessionPresent = sessionPresent
    self.reason = reason
    properties = .none
  }

  @_optimize(size) public init(body: Bytes, flags: UInt8 = 0, version: ProtocolVersion) throws(WireError) {
    guard flags == 0 else { throw .malformedPacket }
    var reader = ByteReader(body)
    let acknowledgeFlags = try reader.readByte()
    guard acknowledgeFlags <= 1 else { throw .malformedPacket }  // §3.2.2.1
    let reason = try ConnAck.reason(try reader.readByte(), version)
    self.init(sessionPresent: acknowledgeFlags == 1 && version != .v31, reason: reason)
    guard !sessionPresent || reason == .success else { throw .protocolError }  // §3.2.2.1.1
    if version == .v5 { try readProperties(&reader) }
    try reader.expectEnd()
  }

  private static func reason(_ code: UInt8, _ version: ProtocolVersion) throws(WireError) -> ReasonCode {
    let reason = version == .v5 ? ReasonCode(rawValue: code) : ReasonCode(connectReturnCode311: code)
    guard let reason, reason.isAllowed(in: .connAck, from: .server) else { throw .protocolError }  // §3.2.2.2
    return reason
  }

  @_optimize(size) private mutating func readProperties(_ reader: inout ByteReader) throws(WireError) {
    var scan = try PropertyScan(from: &reader, scope: .connAck)
    while let property = try scan.next() {
      switch property.id {
      case .sessionExpiryInterval: sessionExpirySeconds = property.uint32
      case .receiveMaximum: receiveMaximum = property.uint16
      case .maximumQoS: maximumQoS = property.bool ? .atLeastOnce : .atMostOnce
      case .retainAvailable: retainAvailable = property.bool
      case .maximumPacketSize: maximumPacketSize = property.uint32
      case .assignedClientIdentifier: assignedClientID = property.bytes
      case .topicAliasMaximum: topicAliasMaximum = property.uint16
      case .reasonString: reasonString = property.bytes
      case .wildcardSubscriptionAvailable: wildcardAvailable = property.bool
      case .subscriptionIdentifierAvailable: subscriptionIdentifiersAvailable = property.bool
      case .sharedSubscriptionAvailable: sharedAvailable = property.bool
      case .serverKeepAlive: serverKeepAlive = property.uint16
      case .responseInformation: responseInformation = property.bytes
      case .serverReference: serverReference = property.bytes
      case .authenticationMethod: authenticationMethod = property.bytes
      case .authenticationData: authenticationData = property.bytes
      default: break
      }
    }
    properties = scan.properties
  }
}

extension ConnAck: PacketLayout {
  public func encode(into writer: inout ByteWriter, version: ProtocolVersion) {
    encode(.connAck, into: &writer, version: version)
  }

  /// Bytes of the whole packet, to be held against the client's Maximum Packet Size (§3.1.2.11.4).
  public func byteCount(version: ProtocolVersion) -> Int { wholeByteCount(version: version) }

  @_optimize(size) func writeBody<Sink: ByteSink>(to sink: inout Sink, version: ProtocolVersion) {
    // §3.2.2.1.1; MQTT 3.1 has no such flag.
    sink.write(sessionPresent && reason == .success && version != .v31 ? 1 : 0)
    switch version {
    case .v31, .v311:
      sink.write(reason.connectReturnCode311)
    case .v5:
      sink.write(reason.rawValue)
      writePropertyBlock(to: &sink)
    }
  }

  @_optimize(size) func writeProperties<Sink: ByteSink>(to sink: inout Sink) {
    if let sessionExpirySeconds { sink.writeProperty(.sessionExpiryInterval, uint32: sessionExpirySeconds) }
    if let receiveMaximum { sink.writeProperty(.receiveMaximum, uint16: receiveMaximum) }
    if let maximumQoS, maximumQoS < .exactlyOnce { sink.writeProperty(.maximumQoS, byte: maximumQoS.rawValue) }
    if let retainAvailable { sink.writeProperty(.retainAvailable, bool: retainAvailable) }
    if let maximumPacketSize { sink.writeProperty(.maximumPacketSize, uint32: maximumPacketSize) }
    if let assignedClientID { sink.writeProperty(.assignedClientIdentifier, bytes: assignedClientID) }
    if let topicAliasMaximum { sink.writeProperty(.topicAliasMaximum, uint16: topicAliasMaximum) }
    if let reasonString { sink.writeProperty(.reasonString, bytes: reasonString) }
    if let wildcardAvailable { sink.writeProperty(.wildcardSubscriptionAvailable, bool: wildcardAvailable) }
    if let subscriptionIdentifiersAvailable {
      sink.writeProperty(.subscriptionIdentifierAvailable, bool: subscriptionIdentifiersAvailable)
    }
    if let sharedAvailable { sink.writeProperty(.sharedSubscriptionAvailable, bool: sharedAvailable) }
    if let serverKeepAlive { sink.writeProperty(.serverKeepAlive, uint16: serverKeepAlive) }
    if let responseInformation { sink.writeProperty(.responseInformation, bytes: responseInformation) }
    if let serverReference { sink.writeProperty(.serverReference, bytes: serverReference) }
    if let authenticationMethod { sink.writeProperty(.authenticationMethod, bytes: authenticationMethod) }
    if let authenticationData { sink.writeProperty(.authenticationData, bytes: authenticationData) }
    properties.write(PropertySet(.userProperty), to: &sink)
  }
}
