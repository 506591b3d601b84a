public import Bounded

/// CONNECT (§3.1)
/// ┌──────┬─────┬──────────┬──────────┬──────────┬────────────────┬────────────┐ properties: MQTT 5 only
/// │ 0x10 │ VBI │ 4 "MQTT" │ level u8 │ flags u8 │ keep alive u16 │ properties │
/// └──────┴─────┴──────────┴──────────┴──────────┴────────────────┴────────────┘
/// ┌───────────┬─────────────────┬────────────┬──────────────┬───────────┬──────────┐ client id always, the others
/// │ client id │ will properties │ will topic │ will payload │ user name │ password │ as the flags say
/// └───────────┴─────────────────┴────────────┴──────────────┴───────────┴──────────┘
/// flags: user name 7, password 6, will retain 5, will QoS 4-3, will 2, clean start 1, reserved 0.
public struct Connect: BitwiseCopyable, Sendable {
  public var version: ProtocolVersion
  /// Clean Start, in 3.1.1 Clean Session.
  public var cleanStart: Bool
  /// 0: no limit.
  public var keepAliveSeconds: UInt16
  public var clientID: Bytes
  public var userName: Bytes?
  public var password: Bytes?
  public var will: Will?
  /// `.max`: never. In 3.1.1: 0 with Clean Session, else `.max`.
  public var sessionExpirySeconds: UInt32
  /// 1...65 535.
  public var receiveMaximum: UInt16
  /// In bytes, 1 or more; `.max`: no limit.
  public var maximumPacketSize: UInt32
  public var topicAliasMaximum: UInt16
  public var requestResponseInformation: Bool
  public var requestProblemInformation: Bool
  public var authenticationMethod: Bytes?
  public var authenticationData: Bytes?
  /// The whole block; `encode` takes the fields above, and of the block the User Properties.
  public var properties: Properties

  public init(
    version: ProtocolVersion, clientID: Bytes, cleanStart: Bool = true, keepAliveSeconds: UInt16 = 0,
    sessionExpirySeconds: UInt32 = 0
  ) {
    self.version = version
    self.cleanStart = cleanStart
    self.keepAliveSeconds = keepAliveSeconds
    self.clientID = clientID
    self.sessionExpirySeconds = version == .v5 ? sessionExpirySeconds : cleanStart ? 0 : .max
    receiveMaximum = .max
    maximumPacketSize = .max
    topicAliasMaximum = 0
    requestResponseInformation = false
    requestProblemInformation = true
    properties = .none
  }

  /// The version in which a CONNECT that is refused is to be answered: that of its Protocol Level, or the
  /// nearest one (§3.1.2.2).
  public static func answerVersion(body: Bytes) -> ProtocolVersion {
    var reader = ByteReader(body)
    guard (try? reader.readBinary()) != nil, let level = try? reader.readByte() else { return .v311 }
    return level < 5 ? .v311 : .v5
  }

  public init(body: Bytes, flags headerFlags: UInt8 = 0) throws(WireError) {
    guard headerFlags == 0 else { throw .malformedPacket }
    var reader = ByteReader(body)
    let version = try Connect.readVersion(&reader)
    let flags = ConnectFlags(bits: try reader.readByte())
    try flags.check(version)
    let keepAliveSeconds = try reader.readUInt16()

    self.init(version: version, clientID: .empty, cleanStart: flags.cleanStart, keepAliveSeconds: keepAliveSeconds)
    if version == .v5 { try readProperties(&reader) }
    clientID = try reader.readString()
    if clientID.isEmpty, version == .v311, !cleanStart { throw .clientIdentifierNotValid }  // 3.1.1 §3.1.3.1
    if flags.hasWill { will = try Will(from: &reader, flags: flags, version: version) }
    if flags.hasUserName { userName = try reader.readString() }
    if flags.hasPassword { password = try reader.readBinary() }
    try reader.expectEnd()
  }

  /// Protocol Name and Level (§3.1.2.1, §3.1.2.2). Other names, "MQIsdp" of MQTT 3.1 among them, are another
  /// protocol's.
  private static func readVersion(_ reader: inout ByteReader) throws(WireError) -> ProtocolVersion {
    let name = try reader.readBinary()
    let level = try reader.readByte()
    guard name == Bytes("MQTT"), let version = ProtocolVersion(rawValue: level) else {
      throw .unsupportedProtocolVersion
    }
    return version
  }

  private mutating func readProperties(_ reader: inout ByteReader) throws(WireError) {
    var scan = try PropertyScan(from: &reader, scope: .connect)
    while let property = try scan.next() {
      switch property.id {
      case .sessionExpiryInterval: sessionExpirySeconds = property.uint32
      case .receiveMaximum: receiveMaximum = property.uint16
      case .maximumPacketSize: maximumPacketSize = property.uint32
      case .topicAliasMaximum: topicAliasMaximum = property.uint16
      case .requestResponseInformation: requestResponseInformation = property.bool
      case .requestProblemInformation: requestProblemInformation = property.bool
      case .authenticationMethod: authenticationMethod = property.bytes
      case .authenticationData: authenticationData = property.bytes
      default: break
      }
    }
    guard authenticationData == nil || authenticationMethod != nil else { throw .protocolError }  // §3.1.2.11.10
    properties = scan.properties
  }
}

extension Connect: PacketLayout {
  public func encode(into writer: inout ByteWriter) { encode(.connect, into: &writer, version: version) }

  func writeBody<Sink: ByteSink>(to sink: inout Sink, version: ProtocolVersion) {
    sink.writeString(Bytes("MQTT"))
    sink.write(version.rawValue)
    sink.write(ConnectFlags(self).bits)
    sink.writeUInt16(keepAliveSeconds)
    if version == .v5 { writePropertyBlock(to: &sink) }
    sink.writeString(clientID)
    if let will { will.write(to: &sink, version: version) }
    if let userName { sink.writeString(userName) }
    if let password { sink.writeString(password) }
  }

  func writeProperties<Sink: ByteSink>(to sink: inout Sink) {
    if sessionExpirySeconds != 0 { sink.writeProperty(.sessionExpiryInterval, uint32: sessionExpirySeconds) }
    if receiveMaximum != .max { sink.writeProperty(.receiveMaximum, uint16: receiveMaximum) }
    if maximumPacketSize != .max { sink.writeProperty(.maximumPacketSize, uint32: maximumPacketSize) }
    if topicAliasMaximum != 0 { sink.writeProperty(.topicAliasMaximum, uint16: topicAliasMaximum) }
    if requestResponseInformation { sink.writeProperty(.requestResponseInformation, bool: true) }
    if !requestProblemInformation { sink.writeProperty(.requestProblemInformation, bool: false) }
    if let authenticationMethod { sink.writeProperty(.authenticationMethod, bytes: authenticationMethod) }
    if let authenticationData { sink.writeProperty(.authenticationData, bytes: authenticationData) }
    properties.write(PropertySet(.userProperty), to: &sink)
  }
}

/// Connect Flags (§3.1.2.3).
struct ConnectFlags {
  let bits: UInt8

  init(bits: UInt8) { self.bits = bits }

  init(_ connect: Connect) {
    var bits: UInt8 = connect.cleanStart ? 0x02 : 0
    if let will = connect.will { bits |= 0x04 | will.qos.rawValue &<< 3 | (will.retain ? 0x20 : 0) }
    if connect.password != nil { bits |= 0x40 }
    if connect.userName != nil { bits |= 0x80 }
    self.bits = bits
  }

  var cleanStart: Bool { bits & 0x02 != 0 }
  var hasWill: Bool { bits & 0x04 != 0 }
  var willQoS: QoS? { QoS(rawValue: bits &>> 3 & 0b11) }
  var willRetain: Bool { bits & 0x20 != 0 }
  var hasPassword: Bool { bits & 0x40 != 0 }
  var hasUserName: Bool { bits & 0x80 != 0 }

  func check(_ version: ProtocolVersion) throws(WireError) {
    guard bits & 0x01 == 0 else { throw .malformedPacket }  // §3.1.2.3
    guard willQoS != nil else { throw .malformedPacket }  // §3.1.2.6
    guard hasWill || bits & 0x38 == 0 else { throw .malformedPacket }  // §3.1.2.6, §3.1.2.7
    guard version == .v5 || hasUserName || !hasPassword else { throw .malformedPacket }  // 3.1.1 §3.1.2.9
  }
}
