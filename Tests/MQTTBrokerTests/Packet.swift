import Bounded
import MQTTWire

/// A packet as a test writes it down: to send it, and to say what is expected. Packets are put together here by
/// hand, so that the broker's encoder is not its own judge.
enum Packet: Equatable {
  case connect(ConnectFields)
  case connAck(_ reason: ReasonCode = .success, sessionPresent: Bool = false, properties: [Prop] = [])
  case publish(
    topic: String, payload: String = "", qos: UInt8 = 0, packetID: UInt16 = 0, retain: Bool = false,
    dup: Bool = false, properties: [Prop] = [])
  case pubAck(UInt16, _ reason: ReasonCode = .success, text: String? = nil)
  case pubRec(UInt16, _ reason: ReasonCode = .success, text: String? = nil)
  case pubRel(UInt16, _ reason: ReasonCode = .success)
  case pubComp(UInt16, _ reason: ReasonCode = .success)
  case subscribe(UInt16, [Filter], id: UInt32? = nil)
  case subAck(UInt16, [ReasonCode])
  case unsubscribe(UInt16, [String])
  /// No codes in 3.1.1.
  case unsubAck(UInt16, [ReasonCode])
  case pingReq
  case pingResp
  case disconnect(_ reason: ReasonCode = .success, properties: [Prop] = [])
  case auth
  /// Any bytes.
  case raw([UInt8])
}

/// A property (§2.2.2.2), in the order of the wire.
enum Prop: Hashable {
  case number(PropertyID, UInt32)
  case text(PropertyID, String)
  case user(String, String)

  static func expiry(_ seconds: UInt32) -> Prop { .number(.messageExpiryInterval, seconds) }
  static func identifier(_ value: UInt32) -> Prop { .number(.subscriptionIdentifier, value) }
  static func alias(_ value: UInt32) -> Prop { .number(.topicAlias, value) }
  static func sessionExpiry(_ seconds: UInt32) -> Prop { .number(.sessionExpiryInterval, seconds) }

  var bytes: [UInt8] {
    switch self {
    case .number(let id, let value):
      switch id {
      case .receiveMaximum, .topicAliasMaximum, .topicAlias, .serverKeepAlive: return [id.rawValue] + u16(Int(value))
      case .messageExpiryInterval, .sessionExpiryInterval, .willDelayInterval, .maximumPacketSize:
        return [id.rawValue] + u32(Int(value))
      case .subscriptionIdentifier: return [id.rawValue] + vbi(Int(value))
      default: return [id.rawValue, UInt8(value)]
      }
    case .text(let id, let value): return [id.rawValue] + string(value)
    case .user(let key, let value): return [0x26] + string(key) + string(value)
    }
  }
}

/// A filter with its options (§3.8.3.1).
struct Filter: Equatable, ExpressibleByStringLiteral {
  var text: String
  var options: UInt8

  init(
    _ text: String, qos: UInt8 = 0, noLocal: Bool = false, retainAsPublished: Bool = false, retainHandling: UInt8 = 0
  ) {
    self.text = text
    options = qos | (noLocal ? 4 : 0) | (retainAsPublished ? 8 : 0) | retainHandling << 4
  }

  init(stringLiteral text: String) { self.init(text) }
}

struct WillFields: Equatable {
  var topic: String
  var payload = "gone"
  var qos: UInt8 = 0
  var retain = false
  var properties: [Prop] = []
}

struct ConnectFields: Equatable {
  var version = ProtocolVersion.v5
  /// Bit 7 of the level.
  var isBridge = false
  var clientID: String
  var cleanStart = true
  var keepAliveSeconds: UInt16 = 0
  var properties: [Prop] = []
  var will: WillFields?
  var userName: String?
  var password: String?
}

// MARK: - To bytes

extension Packet {
  func bytes(_ version: ProtocolVersion) -> [UInt8] {
    switch self {
    case .connect(let fields): return fields.bytes
    case .connAck(let reason, let sessionPresent, let properties):
      return packet(0x20, [sessionPresent ? 1 : 0, reason.rawValue], block(version, properties))
    case .publish(let topic, let payload, let qos, let packetID, let retain, let dup, let properties):
      let first = 0x30 | qos << 1 | (retain ? 1 : 0) | (dup ? 8 : 0)
      let id = qos == 0 ? [] : u16(Int(packetID))
      return packet(first, string(topic), id, block(version, properties), [UInt8](payload.utf8))
    case .pubAck(let id, let reason, _): return ack(0x40, id, reason, version)
    case .pubRec(let id, let reason, _): return ack(0x50, id, reason, version)
    case .pubRel(let id, let reason): return ack(0x62, id, reason, version)
    case .pubComp(let id, let reason): return ack(0x70, id, reason, version)
    case .subscribe(let id, let filters, let identifier):
      let list = filters.flatMap { string($0.text) + [$0.options] }
      return packet(0x82, u16(Int(id)), block(version, identifier.map { [.identifier($0)] } ?? []), list)
    case .unsubscribe(let id, let filters):
      return packet(0xA2, u16(Int(id)), block(version, []), filters.flatMap { string($0) })
    case .subAck(let id, let codes):
      return packet(0x90, u16(Int(id)), block(version, []), codes.map { $0.rawValue })
    case .unsubAck(let id, let codes):
      return packet(0xB0, u16(Int(id)), block(version, []), codes.map { $0.rawValue })
    case .pingReq: return [0xC0, 0]
    case .pingResp: return [0xD0, 0]
    case .disconnect(let reason, let properties):
      guard version == .v5, reason != .success || !properties.isEmpty else { return [0xE0, 0] }
      return packet(0xE0, [reason.rawValue], block(version, properties))
    case .auth: return [0xF0, 0]
    case .raw(let bytes): return bytes
    }
  }

  private func ack(_ first: UInt8, _ id: UInt16, _ reason: ReasonCode, _ version: ProtocolVersion) -> [UInt8] {
    packet(first, u16(Int(id)), version == .v5 && reason != .success ? [reason.rawValue] : [])
  }
}

extension ConnectFields {
  fileprivate var bytes: [UInt8] {
    var flags: UInt8 = (cleanStart ? 0x02 : 0) | (userName == nil ? 0 : 0x80) | (password == nil ? 0 : 0x40)
    if let will { flags |= 0x04 | will.qos << 3 | (will.retain ? 0x20 : 0) }
    let level = version.rawValue | (isBridge ? 0x80 : 0)
    var body =
      string(version == .v31 ? "MQIsdp" : "MQTT") + [level, flags] + u16(Int(keepAliveSeconds))
      + block(version, properties)
    body += string(clientID)
    if let will { body += block(version, will.properties) + string(will.topic) + string(will.payload) }
    if let userName { body += string(userName) }
    if let password { body += string(password) }
    return packet(0x10, body)
  }
}

func packet(_ first: UInt8, _ body: [UInt8]...) -> [UInt8] {
  let all = body.flatMap { $0 }
  return [first] + vbi(all.count) + all
}

private func block(_ version: ProtocolVersion, _ properties: [Prop]) -> [UInt8] {
  guard version == .v5 else { return [] }
  let all = properties.flatMap { $0.bytes }
  return vbi(all.count) + all
}

func string(_ text: String) -> [UInt8] { u16(text.utf8.count) + [UInt8](text.utf8) }
func u16(_ value: Int) -> [UInt8] { [UInt8(value >> 8 & 0xFF), UInt8(value & 0xFF)] }
func u32(_ value: Int) -> [UInt8] { u16(value >> 16) + u16(value & 0xFFFF) }
func vbi(_ value: Int) -> [UInt8] { value < 128 ? [UInt8(value)] : [UInt8(value % 128) | 0x80] + vbi(value / 128) }

// MARK: - From bytes

extension Packet {
  /// Takes the first whole packet off what the broker sent; nil when there is none.
  static func takeFirst(from bytes: inout [UInt8], _ version: ProtocolVersion) throws(WireError) -> Packet? {
    var framer = PacketFramer(packetBytesMax: 268_435_460, policy: .disconnect)
    var found: Packet?
    var taken = 0
    var failure: WireError?
    bytes.withUnsafeBytes { all in
      var input = Bytes(all)
      switch framer.next(&input) {
      case .packet(let header, let body):
        taken = all.count - input.count
        do throws(WireError) {
          found = try Packet(header, body, version)
        } catch {
          failure = error
        }
      case .part, .assembled, .needsInput: break
      case .failure(let error): failure = error
      }
    }
    if let failure { throw failure }
    bytes.removeFirst(taken)
    return found
  }

  private init(_ header: FixedHeader, _ body: Bytes, _ version: ProtocolVersion) throws(WireError) {
    switch header.type {
    case .connAck:
      let answer = try ConnAck(body: body, flags: header.flags, version: version)
      self = .connAck(
        answer.reason, sessionPresent: answer.sessionPresent, properties: Prop.list(answer.properties))
    case .publish:
      let message = try Publish(body: body, flags: header.flags, version: version, from: .server)
      self = .publish(
        topic: plainText(message.topic), payload: plainText(message.payload), qos: message.qos.rawValue,
        packetID: message.packetID, retain: message.retain, dup: message.dup,
        properties: Prop.list(message.properties))
    case .pubAck, .pubRec, .pubRel, .pubComp:
      let ack = try Ack(type: header.type, body: body, flags: header.flags, version: version)
      self = Packet(ack, header.type)
    case .subAck:
      let answer = try SubAck(type: .subAck, body: body, flags: header.flags, version: version)
      self = .subAck(answer.packetID, codes(answer.reasonCodes))
    case .unsubAck:
      let answer = try SubAck(type: .unsubAck, body: body, flags: header.flags, version: version)
      self = .unsubAck(answer.packetID, codes(answer.reasonCodes))
    case .pingResp: self = .pingResp
    case .disconnect:
      let last = try Disconnect(body: body, flags: header.flags, version: version, from: .server)
      self = .disconnect(last.reason, properties: Prop.list(last.properties))
    case .connect, .subscribe, .unsubscribe, .pingReq, .auth: throw .protocolError  // not a server's to send
    }
  }

  private init(_ ack: Ack, _ type: PacketType) {
    switch type {
    case .pubAck: self = .pubAck(ack.packetID, ack.reason, text: ack.reasonString.map { plainText($0) })
    case .pubRec: self = .pubRec(ack.packetID, ack.reason, text: ack.reasonString.map { plainText($0) })
    case .pubRel: self = .pubRel(ack.packetID, ack.reason)
    default: self = .pubComp(ack.packetID, ack.reason)
    }
  }
}

extension Prop {
  fileprivate static func list(_ properties: Properties) -> [Prop] {
    var list: [Prop] = []
    var reader = properties.makeReader()
    while let property = reader.next() {
      switch property.id {
      case .userProperty: list.append(.user(plainText(property.key), plainText(property.value)))
      case .contentType, .responseTopic, .correlationData, .assignedClientIdentifier, .authenticationMethod,
        .authenticationData, .responseInformation, .serverReference, .reasonString:
        list.append(.text(property.id, plainText(property.value)))
      default: list.append(.number(property.id, property.uint32))
      }
    }
    return list
  }
}

func plainText(_ bytes: Bytes) -> String { String(decoding: bytes.buffer, as: UTF8.self) }

private func codes(_ bytes: Bytes) -> [ReasonCode] { bytes.array().map { ReasonCode(rawValue: $0)! } }

extension Packet {
  /// Its parts for a test that looks at one field; nil for other packets.
  var packetID: UInt16? {
    switch self {
    case .publish(_, _, let qos, let id, _, _, _): return qos == 0 ? nil : id
    case .pubAck(let id, _, _), .pubRec(let id, _, _), .pubRel(let id, _), .pubComp(let id, _), .subAck(let id, _),
      .unsubAck(let id, _):
      return id
    default: return nil
    }
  }

  /// Of an acknowledgement.
  var reason: ReasonCode? {
    switch self {
    case .pubAck(_, let reason, _), .pubRec(_, let reason, _): reason
    default: nil
    }
  }

  var topic: String? {
    if case .publish(let topic, _, _, _, _, _, _) = self { return topic }
    return nil
  }

  var payload: String? {
    if case .publish(_, let payload, _, _, _, _, _) = self { return payload }
    return nil
  }
}
