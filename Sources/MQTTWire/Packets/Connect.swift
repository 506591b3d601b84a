public import Bounded

/// CONNECT (§3.1)
/// ┌──────┬─────┬──────────┬──────────┬──────────┬────────────────┬────────────┐ properties: MQTT 5 only; MQTT 3.1:
/// │ 0x10 │ VBI │ 4 "MQTT" │ level u8 │ flags u8 │ keep alive u16 │ properties │ 6 "MQIsdp"; bit 7 of the level: a bridge
/// └──────┴─────┴──────────┴──────────┴──────────┴────────────────┴────────────┘
/// ┌───────────┬─────────────────┬────────────┬──────────────┬───────────┬──────────┐ client id always, the others
/// │ client id │ will properties │ will topic │ will payload │ user name │ password │ as the flags say
/// └───────────┴─────────────────┴────────────┴──────────────┴───────────┴──────────┘
/// flags: user name 7, password 6, will retain 5, will QoS 4-3, will 2, clean start 1, reserved 0.
public struct Connect: BitwiseCopyable, Sendable {
  public var version: ProtocolVersion
  /// Bit 7 of the level, by which brokers' bridges name themselves; no standard has it.
  public var isBridge: Bool
  /// Clean Start, in 3.1.1 Clean Session.
  public var cleanStart: Bool
  /// 0: no limit.
  public var keepAliveSeconds: UInt16
  public var clientID: Bytes
  public var userName: Bytes?
  public var password: Bytes?
  public var will: Will?
  /// `.max`: never. Before MQTT 5: 0 with Clean Session, else `.max`.
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
    isBridge = false
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

  /// The version in which a CONNECT that is refused is to be answered: its own, or that which its client surely reads
  /// (§3.1.2.2). From level 5 on that is MQTT 5. A bridge of an unknown version understands 3.1.1's answer, and may try
  /// again as a client.
  @_optimize(size) public static func answerVersion(body: Bytes) -> ProtocolVersion {
    var reader = ByteReader(body)
    guard let name = try? reader.readBinary(), let level = try? reader.readByte() else { return .v311 }
    if let version = ProtocolVersion(name: name, level: level) { return version }
    return level < 5 || level >= ProtocolVersion.bridgeBit || name == ProtocolVersion.v31.name ? .v311 : .v5
  }

  /// - Parameter isShortest: whether Remaining Length has its shortest form; only MQTT 5 demands it (§1.5.5-1).
  @_optimize(size) public init(body: Bytes, flags headerFlags: UInt8 = 0, isShortest: Bool = true) throws(WireError) {
    guard headerFlags == 0 else { throw .malformedPacket }
    var reader = ByteReader(body)
    let (version, isBridge) = try Connect.readVersion(&reader)
    guard isShortest || version != .v5 else { throw .malformedPacket }
    let flags = ConnectFlags(bits: try reader.readByte())
    try flags.check(version)
    let keepAliveSeconds = try reader.readUInt16()

    self.init(version: version, clientID: .empty, cleanStart: flags.cleanStart, keepAliveSeconds: keepAliveSeconds)
    self.isBridge = isBridge
    if version == .v5 { try readProperties(&reader) }
    clientID = try reader.readString()
    if clientID.isEmpty { try checkEmptyClientID() }
    if flags.hasWill { will = try Will(from: &reader, flags: flags, version: version) }
    // In MQTT 3.1 both may be missing whatever the flags say (3.1 §3.1).
    let mayEnd = version == .v31
    if flags.hasUserName, !(mayEnd && reader.isAtEnd) { userName = try reader.readString() }
    if flags.hasPassword, !(mayEnd && reader.isAtEnd) { password = try reader.readBinary() }
    try reader.expectEnd()
  }

  /// Refuses an empty Client Identifier where the server may not choose one: always in MQTT 3.1, and in 3.1.1 without
  /// CleanSession (3.1.1 §3.1.3.1).
  private func checkEmptyClientID() throws(WireError) {
    switch version {
    case .v31: throw .clientIdentifierNotValid
    case .v311: guard cleanStart else { throw .clientIdentifierNotValid }
    case .v5: break
    }
  }

  /// Protocol Name and Level (§3.1.2.1, §3.1.2.2). Other names are another protocol's.
  private static func readVersion(
    _ reader: inout ByteReader
  ) throws(WireError) -> (version: ProtocolVersion, isBridge: Bool) {
    let name = try reader.readBinary()
    let level = try reader.readByte()
    guard let version = ProtocolVersion(name: name, level: level) else { throw .unsupportedProtocolVersion }
    return (version, level & ProtocolVersion.bridgeBit != 0)
  }

  @_optimize(size) private mutating func readProperties(_ reader: inout ByteReader) throws(WireError) {
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
    sink.writeString(version.name)
    sink.write(version.rawValue | (isBridge ? ProtocolVersion.bridgeBit : 0))
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

extension ProtocolVersion {
  /// The bit of the Protocol Level that mosquitto's bridges set (`try_private`), and others after it.
  static var bridgeBit: UInt8 { 0x80 }

  /// `nil`: there is no such version.
  init?(name: Bytes, level: UInt8) {
    guard let version = ProtocolVersion(rawValue: level & ~ProtocolVersion.bridgeBit), name == version.name else {
      return nil
    }
    self = version
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
    guard willQoS != nil else { throw .malformedPacket }  // §3.1.2.6
    if version != .v31 {  // which says nothing of bits that mean nothing
      guard bits & 0x01 == 0 else { throw .malformedPacket }  // §3.1.2.3
      guard hasWill || bits & 0x38 == 0 else { throw .malformedPacket }  // §3.1.2.6, §3.1.2.7
    }
    guard version == .v5 || hasUserName || !hasPassword else { throw .malformedPacket }  // 3.1.1 §3.1.2.9
  }
}
