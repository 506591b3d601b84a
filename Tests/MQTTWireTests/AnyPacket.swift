import Bounded
import MQTTWire

/// Any packet, so that one test can say the same of all.
enum AnyPacket {
  case connect(Connect)
  case connAck(ConnAck)
  case publish(Publish)
  case ack(PacketType, Ack)
  case subscribe(Subscribe)
  case subAck(PacketType, SubAck)
  case unsubscribe(Unsubscribe)
  case ping(PacketType)
  case disconnect(Disconnect)
  case auth(Auth)

  init(
    _ type: PacketType, flags: UInt8, body: Bytes, version: ProtocolVersion, from sender: Sender
  ) throws(WireError) {
    switch type {
    case .connect: self = .connect(try Connect(body: body, flags: flags))
    case .connAck: self = .connAck(try ConnAck(body: body, flags: flags, version: version))
    case .publish: self = .publish(try Publish(body: body, flags: flags, version: version, from: sender))
    case .pubAck, .pubRec, .pubRel, .pubComp:
      self = .ack(type, try Ack(type: type, body: body, flags: flags, version: version))
    case .subscribe: self = .subscribe(try Subscribe(body: body, flags: flags, version: version))
    case .subAck, .unsubAck:
      self = .subAck(type, try SubAck(type: type, body: body, flags: flags, version: version))
    case .unsubscribe: self = .unsubscribe(try Unsubscribe(body: body, flags: flags, version: version))
    case .pingReq, .pingResp:
      guard body.isEmpty else { throw .malformedPacket }
      self = .ping(type)
    case .disconnect: self = .disconnect(try Disconnect(body: body, flags: flags, version: version, from: sender))
    case .auth: self = .auth(try Auth(body: body, flags: flags, version: version, from: sender))
    }
  }

  func encode(into writer: inout ByteWriter, version: ProtocolVersion) {
    switch self {
    case .connect(let packet): packet.encode(into: &writer)
    case .connAck(let packet): packet.encode(into: &writer, version: version)
    case .publish(let packet): packet.encode(into: &writer, version: version)
    case .ack(let type, let packet): packet.encode(type: type, into: &writer, version: version)
    case .subscribe(let packet): packet.encode(into: &writer, version: version)
    case .subAck(let type, let packet): packet.encode(type: type, into: &writer, version: version)
    case .unsubscribe(let packet): packet.encode(into: &writer, version: version)
    case .ping(.pingReq): Ping.encodeRequest(into: &writer)
    case .ping: Ping.encodeResponse(into: &writer)
    case .disconnect(let packet): packet.encode(into: &writer, version: version)
    case .auth(let packet): packet.encode(into: &writer, version: version)
    }
  }

  /// What the fields say, to compare packets by.
  var text: String {
    switch self {
    case .connect(let packet): return fields(packet)
    case .connAck(let packet): return fields(packet)
    case .publish(let packet): return fields(packet)
    case .ack(let type, let packet): return "\(type) " + fields(packet)
    case .subscribe(let packet): return fields(packet)
    case .subAck(let type, let packet): return "\(type) " + fields(packet)
    case .unsubscribe(let packet): return fields(packet)
    case .ping(let type): return "\(type)"
    case .disconnect(let packet): return fields(packet)
    case .auth(let packet): return fields(packet)
    }
  }
}

/// The fixed header and the body of a packet that stands whole in `bytes`; the length is judged elsewhere.
func split(_ bytes: [UInt8]) -> (type: PacketType, flags: UInt8, body: [UInt8]) {
  var index = 1
  while bytes[index] >= 0x80 { index += 1 }
  return (PacketType(rawValue: bytes[0] >> 4)!, bytes[0] & 0x0F, Array(bytes[(index + 1)...]))
}

private func fields(_ packet: Any) -> String {
  if let bytes = packet as? Bytes { return "[\(bytes.array().hex)]" }
  if let properties = packet as? Properties { return list(properties) }
  let mirror = Mirror(reflecting: packet)
  if mirror.displayStyle == .optional { return mirror.children.first.map { fields($0.value) } ?? "nil" }
  if mirror.displayStyle == .enum || mirror.children.isEmpty { return "\(packet)" }
  return mirror.children.map { "\($0.label ?? "")=\(fields($0.value))" }.joined(separator: " ")
}

/// Sorted by identifier, those of one identifier in their order; without those whose default may be left out
/// and which are fields of their own.
private func list(_ properties: Properties) -> String {
  let fieldsOfTheirOwn: [PropertyID] = [
    .sessionExpiryInterval, .receiveMaximum, .maximumPacketSize, .topicAliasMaximum, .requestResponseInformation,
    .requestProblemInformation, .willDelayInterval,
  ]
  var rows: [(UInt8, String)] = []
  var reader = properties.makeReader()
  while let property = reader.next() {
    if fieldsOfTheirOwn.contains(property.id) { continue }
    rows.append((property.id.rawValue, property.encoded.array().hex))
  }
  let sorted = rows.enumerated().sorted { ($0.element.0, $0.offset) < ($1.element.0, $1.offset) }
  return "{" + sorted.map(\.element.1).joined(separator: "; ") + "}"
}
