public import Bounded

/// SUBSCRIBE (§3.8)  ┌──────┬─────┬───────────────┬────────────┬──────────────┬────────────┬─ ─ ┐ properties: MQTT 5;
///                   │ 0x82 │ VBI │ packet id u16 │ properties │ topic filter │ options u8 │... │ one filter or more
///                   └──────┴─────┴───────────────┴────────────┴──────────────┴────────────┴─ ─ ┘
/// Judged as a whole: form, filters (`Topic.isValidSubscription`), options. A filter that is none is no matter of a Reason
/// Code of its own: those speak of filters that are correctly formed (§3.9.3).
public struct Subscribe: BitwiseCopyable, Sendable {
  public var packetID: UInt16
  /// 1...268 435 455; 0: none.
  public var subscriptionID: UInt32
  /// 1 or more.
  public let filterCount: Int
  /// The whole block; `encode` takes the field above, and of the block the User Properties.
  public var properties: Properties
  private let payload: Bytes

  /// `payload` is a list of filters (`writeString`), each followed by its options.
  public init(
    packetID: UInt16, subscriptionID: UInt32 = 0, payload: Bytes, properties: Properties = .none,
    version: ProtocolVersion
  ) throws(WireError) {
    self.packetID = packetID
    self.subscriptionID = subscriptionID
    self.properties = properties
    self.payload = payload
    filterCount = try Subscribe.check(payload, version)
  }

  @_optimize(size) public init(body: Bytes, flags: UInt8 = 0b0010, version: ProtocolVersion) throws(WireError) {
    guard PacketType.subscribe.allows(flags: flags, version: version) else { throw .malformedPacket }
    var reader = ByteReader(body)
    let packetID = try reader.readPacketID()
    var subscriptionID: UInt32 = 0
    var properties = Properties.none
    if version == .v5 {
      var scan = try PropertyScan(from: &reader, scope: .subscribe)
      while let property = try scan.next() {
        if property.id == .subscriptionIdentifier { subscriptionID = property.uint32 }
      }
      properties = scan.properties
    }
    try self.init(
      packetID: packetID, subscriptionID: subscriptionID, payload: reader.readRest(), properties: properties,
      version: version)
  }

  public var filters: FilterReader { FilterReader(payload) }

  /// The number of filters, all of them judged.
  private static func check(_ payload: Bytes, _ version: ProtocolVersion) throws(WireError) -> Int {
    guard !payload.isEmpty else { throw .protocolError }  // §3.8.3
    var reader = ByteReader(payload)
    var count = 0
    while !reader.isAtEnd {
      let filter = try reader.readBinary()
      guard Topic.isValidSubscription(filter) else { throw .malformedPacket }  // §4.7.1, §4.7.3-1, §4.8.2
      let options = SubscriptionOptions(byte: try reader.readByte())
      try options.check(version)
      if options.noLocal, SharedFilter.isShare(filter) { throw .protocolError }  // §3.8.3.1
      count &+= 1
    }
    return count
  }
}

/// Goes through the filters of a SUBSCRIBE that was judged.
public struct FilterReader: BitwiseCopyable {
  private var reader: ByteReader

  init(_ payload: Bytes) { reader = ByteReader(payload) }

  public mutating func next() -> (filter: Bytes, options: SubscriptionOptions)? {
    guard !reader.isAtEnd else { return nil }
    do throws(WireError) {
      let filter = try reader.readBinary()
      return (filter, SubscriptionOptions(byte: try reader.readByte()))
    } catch {
      preconditionFailure("a judged SUBSCRIBE does not parse")
    }
  }
}

/// Subscription Options (§3.8.3.1)  ┌─────────────┬────────────────┬─────┬──────────┬─────────┐
///                                  │ reserved 7-6│ retain hdlg 5-4│ RAP 3│ no local 2│ QoS 1-0 │
///                                  └─────────────┴────────────────┴─────┴──────────┴─────────┘
public struct SubscriptionOptions: BitwiseCopyable, Equatable, Sendable {
  public let byte: UInt8

  @inlinable public init(byte: UInt8) { self.byte = byte }

  /// `retainHandling` is 0: send retained messages, 1: only if the subscription is new, 2: do not.
  @inlinable public init(
    qos: QoS, noLocal: Bool = false, retainAsPublished: Bool = false, retainHandling: UInt8 = 0
  ) {
    precondition(retainHandling <= 2)
    byte = qos.rawValue | (noLocal ? 0x04 : 0) | (retainAsPublished ? 0x08 : 0) | retainHandling &<< 4
  }

  /// The value 3, which `check` refuses, reads as `.exactlyOnce`.
  @inlinable @inline(__always) public var qos: QoS { QoS(rawValue: byte & 0b11) ?? .exactlyOnce }
  @inlinable @inline(__always) public var noLocal: Bool { byte & 0x04 != 0 }
  @inlinable @inline(__always) public var retainAsPublished: Bool { byte & 0x08 != 0 }
  @inlinable public var retainHandling: UInt8 { byte &>> 4 & 0b11 }

  /// With No Local and Retain As Published, which bridges of all versions are granted: before MQTT 5 they cannot ask.
  public var ofBridge: SubscriptionOptions { SubscriptionOptions(byte: byte | 0x0C) }

  func check(_ version: ProtocolVersion) throws(WireError) {
    switch version {
    case .v31, .v311:
      guard byte <= 2 else { throw .malformedPacket }  // 3.1.1 §3.8.3
    case .v5:
      guard byte & 0xC0 == 0 else { throw .malformedPacket }
      guard byte & 0b11 != 0b11, retainHandling != 3 else { throw .protocolError }
    }
  }
}

extension Subscribe: PacketLayout {
  public func encode(into writer: inout ByteWriter, version: ProtocolVersion) {
    encode(.subscribe, flags: 0b0010, into: &writer, version: version)
  }

  func writeBody<Sink: ByteSink>(to sink: inout Sink, version: ProtocolVersion) {
    sink.writeUInt16(packetID)
    if version == .v5 { writePropertyBlock(to: &sink) }
    sink.write(payload)
  }

  func writeProperties<Sink: ByteSink>(to sink: inout Sink) {
    if subscriptionID != 0 { sink.writeProperty(.subscriptionIdentifier, variableByteInteger: subscriptionID) }
    properties.write(PropertySet(.userProperty), to: &sink)
  }
}
