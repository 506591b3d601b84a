public import Bounded

/// A PUBLISH on its way out up to its payload, for a sender whose parts lie in different places (§3.3)
/// ┌────────────┬─────┬───────┬────────────────┬───────────────────────────────────────────┬─────────┐
/// │ fixed head │ VBI │ topic │ packet id u16  │ v5: VBI, expiry, alias, ids  │ forwarded  │ payload │
/// └────────────┴─────┴───────┴── QoS 1, 2 ────┴──────────────────────────────┴────────────┴─────────┘
///   `write` makes all up to `forwarded`, which with the payload follows from wherever it is kept.
public struct PublishHead {
  public let version: ProtocolVersion
  public let qos: QoS
  public var retain: Bool
  public var isDuplicate = false
  public var packetID: UInt16 = 0
  /// What remains of the Message Expiry Interval (§3.3.2.3.3).
  public var expirySeconds: UInt32?
  /// 0: none (§3.3.2.3.4).
  public var topicAlias: UInt16 = 0
  /// Bytes of the subscription identifier properties, each `identifierByteCount(_:)`.
  public var identifiersByteCount = 0
  public let forwardedByteCount: Int
  public let payloadByteCount: Int

  public init(
    version: ProtocolVersion, qos: QoS, retain: Bool, forwardedByteCount: Int, payloadByteCount: Int
  ) {
    self.version = version
    self.qos = qos
    self.retain = retain
    self.forwardedByteCount = forwardedByteCount
    self.payloadByteCount = payloadByteCount
  }

  public static func identifierByteCount(_ identifier: UInt32) -> Int {
    1 + ByteCounter.variableByteIntegerByteCount(Int(identifier))
  }

  private var propertyByteCount: Int {
    (expirySeconds == nil ? 0 : 5) + (topicAlias == 0 ? 0 : 3) + identifiersByteCount + forwardedByteCount
  }

  private func remainingLength(topicByteCount: Int) -> Int {
    var length = 2 + topicByteCount + payloadByteCount
    if qos != .atMostOnce { length += 2 }
    if version == .v5 { length += ByteCounter.variableByteIntegerByteCount(propertyByteCount) + propertyByteCount }
    return length
  }

  /// The whole packet, payload included; what the client's Maximum Packet Size bounds (§3.1.2.11.4).
  public func packetByteCount(topicByteCount: Int) -> Int {
    let length = remainingLength(topicByteCount: topicByteCount)
    return 1 + ByteCounter.variableByteIntegerByteCount(length) + length
  }

  /// Writes up to the subscription identifiers, which the caller appends with `writeIdentifier`.
  public func write(topic: Bytes, into writer: inout ByteWriter) {
    let flags: UInt8 = (isDuplicate ? 8 : 0) | qos.rawValue << 1 | (retain ? 1 : 0)
    writer.writeFixedHeader(.publish, flags: flags, remainingLength: remainingLength(topicByteCount: topic.count))
    writer.writeString(topic)
    if qos != .atMostOnce { writer.writeUInt16(packetID) }
    guard version == .v5 else { return }
    writer.writeVariableByteInteger(propertyByteCount)
    if let expirySeconds { writer.writeProperty(.messageExpiryInterval, uint32: expirySeconds) }
    if topicAlias != 0 { writer.writeProperty(.topicAlias, uint16: topicAlias) }
  }

  public static func writeIdentifier(_ identifier: UInt32, into writer: inout ByteWriter) {
    writer.writeProperty(.subscriptionIdentifier, variableByteInteger: identifier)
  }
}
