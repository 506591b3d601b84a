public import Bounded

/// PUBLISH (§3.3)  ┌───────────────┬─────┬────────────┬───────────────┬────────────┬─────────┐ packet id: QoS 1, 2;
///                 │ 0x3 D QoS2b R │ VBI │ topic name │ packet id u16 │ properties │ payload │ properties: MQTT 5
///                 └───────────────┴─────┴────────────┴───────────────┴────────────┴─────────┘
public struct Publish: BitwiseCopyable, Sendable {
  public var dup: Bool
  public var qos: QoS
  public var retain: Bool
  /// Empty only with a topic alias.
  public var topic: Bytes
  /// 0 with QoS 0, else 1...65 535.
  public var packetID: UInt16
  /// 1...65 535.
  public var topicAlias: UInt16?
  public var messageExpirySeconds: UInt32?
  /// A valid topic name.
  public var responseTopic: Bytes?
  /// 0 bytes, 1 UTF-8 (which is not checked here).
  public var payloadFormat: UInt8?
  /// The whole block; `encode` takes the fields above, and all others from the block.
  public var properties: Properties
  public var payload: Bytes

  public init(
    topic: Bytes, payload: Bytes, qos: QoS = .atMostOnce, retain: Bool = false, dup: Bool = false,
    packetID: UInt16 = 0, topicAlias: UInt16? = nil, messageExpirySeconds: UInt32? = nil,
    responseTopic: Bytes? = nil, payloadFormat: UInt8? = nil, properties: Properties = .none
  ) {
    self.dup = dup
    self.qos = qos
    self.retain = retain
    self.topic = topic
    self.packetID = packetID
    self.topicAlias = topicAlias
    self.messageExpirySeconds = messageExpirySeconds
    self.responseTopic = responseTopic
    self.payloadFormat = payloadFormat
    self.properties = properties
    self.payload = payload
  }

  public init(
    body: Bytes, flags: UInt8, version: ProtocolVersion, from sender: Sender = .client
  ) throws(WireError) {
    guard flags <= 0x0F, PacketType.publish.allows(flags: flags, version: version),
      let qos = QoS(rawValue: flags &>> 1 & 0b11)
    else {
      throw .malformedPacket  // §3.3.1.1, §3.3.1.2
    }
    var reader = ByteReader(body)
    let topic = try reader.readBinary()
    let packetID = qos == .atMostOnce ? 0 : try reader.readPacketID()
    self.init(
      topic: topic, payload: .empty, qos: qos, retain: flags & 0x01 != 0, dup: flags & 0x08 != 0, packetID: packetID)
    if version == .v5 { try readProperties(&reader, from: sender) }
    try checkTopic()
    payload = reader.readRest()
  }

  private mutating func readProperties(_ reader: inout ByteReader, from sender: Sender) throws(WireError) {
    var scan = try PropertyScan(from: &reader, scope: .publish)
    while let property = try scan.nextOfMessage() {
      switch property.id {
      case .topicAlias: topicAlias = property.uint16
      case .messageExpiryInterval: messageExpirySeconds = property.uint32
      case .responseTopic: responseTopic = property.bytes
      case .payloadFormatIndicator: payloadFormat = property.byte
      case .subscriptionIdentifier:
        guard sender == .server else { throw .protocolError }  // §3.3.4
      default: break
      }
    }
    properties = scan.properties
  }

  /// §3.3.2.1. Which of the mistakes it is matters only once there is one.
  private func checkTopic() throws(WireError) {
    if Topic.isValidName(topic) { return }
    if topic.isEmpty {
      guard topicAlias != nil else { throw .protocolError }
      return
    }
    throw UTF8Check.isValid(topic) ? .topicNameInvalid : .malformedPacket
  }
}

extension Publish: PacketLayout {
  public func encode(into writer: inout ByteWriter, version: ProtocolVersion) {
    encode(.publish, flags: flags, into: &writer, version: version)
  }

  /// Bytes of the whole packet, to be held against the receiver's Maximum Packet Size (§3.1.2.11.4).
  public func byteCount(version: ProtocolVersion) -> Int { wholeByteCount(version: version) }

  /// The low half of the first byte.
  public var flags: UInt8 {
    (dup && qos != .atMostOnce ? 0x08 : 0) | qos.rawValue &<< 1 | (retain ? 0x01 : 0)
  }

  func writeBody<Sink: ByteSink>(to sink: inout Sink, version: ProtocolVersion) {
    sink.writeString(topic)
    if qos != .atMostOnce { sink.writeUInt16(packetID) }
    if version == .v5 { writePropertyBlock(to: &sink) }
    sink.write(payload)
  }

  func writeProperties<Sink: ByteSink>(to sink: inout Sink) {
    if let payloadFormat { sink.writeProperty(.payloadFormatIndicator, byte: payloadFormat) }
    if let messageExpirySeconds { sink.writeProperty(.messageExpiryInterval, uint32: messageExpirySeconds) }
    if let topicAlias { sink.writeProperty(.topicAlias, uint16: topicAlias) }
    if let responseTopic { sink.writeProperty(.responseTopic, bytes: responseTopic) }
    let written = PropertySet(.payloadFormatIndicator).with(.messageExpiryInterval).with(.topicAlias)
      .with(.responseTopic)
    properties.write(written.inverted, to: &sink)
  }
}

// MARK: - Forwarding

extension Publish {
  /// Writes the properties that go on to the receivers unaltered: all but Topic Alias, Message Expiry Interval,
  /// Subscription Identifier and, of a Will, Will Delay Interval (§3.3.2.3). In their order, as §3.3.2.3.7 asks of User
  /// Properties.
  public static func writeForwardable(_ properties: Properties, into writer: inout ByteWriter) {
    properties.write(.forwardable, to: &writer)
  }
}
