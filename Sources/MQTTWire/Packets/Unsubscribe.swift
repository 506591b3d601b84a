public import Bounded

/// UNSUBSCRIBE (§3.10)  ┌──────┬─────┬───────────────┬────────────┬──────────────┬─ ─ ┐ properties: MQTT 5;
///                      │ 0xA2 │ VBI │ packet id u16 │ properties │ topic filter │... │ one filter or more
///                      └──────┴─────┴───────────────┴────────────┴──────────────┴─ ─ ┘
public struct Unsubscribe: BitwiseCopyable, Sendable {
  public var packetID: UInt16
  /// 1 or more.
  public let filterCount: Int
  /// User Properties only.
  public var properties: Properties
  private let payload: Bytes

  /// `payload` is a list of filters (`writeString`).
  public init(packetID: UInt16, payload: Bytes, properties: Properties = .none) throws(WireError) {
    self.packetID = packetID
    self.properties = properties
    self.payload = payload
    filterCount = try Unsubscribe.check(payload)
  }

  @_optimize(size) public init(body: Bytes, flags: UInt8 = 0b0010, version: ProtocolVersion) throws(WireError) {
    guard PacketType.unsubscribe.allows(flags: flags, version: version) else { throw .malformedPacket }
    var reader = ByteReader(body)
    let packetID = try reader.readPacketID()
    var properties = Properties.none
    if version == .v5 {
      var scan = try PropertyScan(from: &reader, scope: .unsubscribe)
      while try scan.next() != nil {}
      properties = scan.properties
    }
    try self.init(packetID: packetID, payload: reader.readRest(), properties: properties)
  }

  public var filters: UnsubscribeFilterReader { UnsubscribeFilterReader(payload) }

  private static func check(_ payload: Bytes) throws(WireError) -> Int {
    guard !payload.isEmpty else { throw .protocolError }  // §3.10.3
    var reader = ByteReader(payload)
    var count = 0
    while !reader.isAtEnd {
      guard Topic.isValidSubscription(try reader.readBinary()) else { throw .malformedPacket }  // as in SUBSCRIBE
      count &+= 1
    }
    return count
  }
}

/// Goes through the filters of an UNSUBSCRIBE that was judged.
public struct UnsubscribeFilterReader: BitwiseCopyable {
  private var reader: ByteReader

  init(_ payload: Bytes) { reader = ByteReader(payload) }

  public mutating func next() -> Bytes? {
    guard !reader.isAtEnd else { return nil }
    do throws(WireError) {
      return try reader.readBinary()
    } catch {
      preconditionFailure("a judged UNSUBSCRIBE does not parse")
    }
  }
}

extension Unsubscribe: PacketLayout {
  public func encode(into writer: inout ByteWriter, version: ProtocolVersion) {
    encode(.unsubscribe, flags: 0b0010, into: &writer, version: version)
  }

  func writeBody<Sink: ByteSink>(to sink: inout Sink, version: ProtocolVersion) {
    sink.writeUInt16(packetID)
    if version == .v5 { writePropertyBlock(to: &sink) }
    sink.write(payload)
  }

  func writeProperties<Sink: ByteSink>(to sink: inout Sink) {
    properties.write(PropertySet(.userProperty), to: &sink)
  }
}
