public import Bounded

/// The Will's part of CONNECT (§3.1.3.2 to §3.1.3.4)
/// ┌─────────────────┬────────────┬──────────────┐ properties: MQTT 5 only
/// │ will properties │ will topic │ will payload │
/// └─────────────────┴────────────┴──────────────┘
public struct Will: BitwiseCopyable, Sendable {
  public var topic: Bytes
  public var payload: Bytes
  public var qos: QoS
  public var retain: Bool
  /// Will Delay Interval (§3.1.3.2.2).
  public var delaySeconds: UInt32
  public var messageExpirySeconds: UInt32?
  /// The whole block; `encode` takes the fields above, and all others from the block.
  public var properties: Properties

  public init(
    topic: Bytes, payload: Bytes, qos: QoS = .atMostOnce, retain: Bool = false, delaySeconds: UInt32 = 0,
    messageExpirySeconds: UInt32? = nil, properties: Properties = .none
  ) {
    self.topic = topic
    self.payload = payload
    self.qos = qos
    self.retain = retain
    self.delaySeconds = delaySeconds
    self.messageExpirySeconds = messageExpirySeconds
    self.properties = properties
  }

  /// `flags` have been checked.
  @_optimize(size) init(from reader: inout ByteReader, flags: ConnectFlags, version: ProtocolVersion) throws(WireError)
  {
    self.init(topic: .empty, payload: .empty, qos: flags.willQoS ?? .atMostOnce, retain: flags.willRetain)
    if version == .v5 {
      var scan = try PropertyScan(from: &reader, scope: .will)
      while let property = try scan.next() {
        switch property.id {
        case .willDelayInterval: delaySeconds = property.uint32
        case .messageExpiryInterval: messageExpirySeconds = property.uint32
        default: break
        }
      }
      properties = scan.properties
    }
    topic = try reader.readString()
    guard Topic.isValidName(topic) else { throw .topicNameInvalid }  // §3.1.3.3, §4.7
    payload = try reader.readBinary()
  }

  func write<Sink: ByteSink>(to sink: inout Sink, version: ProtocolVersion) {
    if version == .v5 {
      var counter = ByteCounter()
      writeProperties(to: &counter)
      sink.writeVariableByteInteger(counter.count)
      writeProperties(to: &sink)
    }
    sink.writeString(topic)
    sink.writeString(payload)
  }

  private func writeProperties<Sink: ByteSink>(to sink: inout Sink) {
    if delaySeconds != 0 { sink.writeProperty(.willDelayInterval, uint32: delaySeconds) }
    if let messageExpirySeconds { sink.writeProperty(.messageExpiryInterval, uint32: messageExpirySeconds) }
    properties.write(.forwardable, to: &sink)
  }
}
