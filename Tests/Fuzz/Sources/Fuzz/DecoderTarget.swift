import Bounded
import MQTTWire

/// Any body as any packet: it is refused, or what was read can be written and read again as the same.
///
/// Input: first byte of a fixed header, version and sender, the body.
func fuzzDecoders(_ input: inout Input) {
  let first = input.byte()
  let options = input.byte()
  let version: ProtocolVersion = options & 1 == 0 ? .v5 : options & 4 == 0 ? .v311 : .v31
  let sender: Sender = options & 2 == 0 ? .client : .server
  let body = input.rest()
  guard let type = PacketType(rawValue: first >> 4) else { return }
  withLent(body) { body in
    if type == .connect { _ = Connect.answerVersion(body: body) }
    guard let packet = try? AnyPacket(type, flags: first & 15, body: body, version: version, from: sender) else {
      return
    }
    packet.walk()
    // Defaults may be left out, so the packet may become shorter; it becomes longer by its fixed header only, and
    // where a property length of 0 is added to a packet that was cut short.
    guard
      let encoded = written(capacity: body.count + 16, { packet.encode(into: &$0, version: packet.version ?? version) })
    else { fatalError("longer than it was: \(packet.text)") }
    var framer = PacketFramer(packetBytesMax: 300_000_000, policy: .disconnect)
    withLent(encoded) { encodedBytes in
      var rest = encodedBytes
      guard case .packet(let header, let again) = framer.next(&rest), rest.isEmpty, header.type == type else {
        fatalError("no packet: \(encoded.hex)")
      }
      guard
        let second = try? AnyPacket(type, flags: header.flags, body: again, version: version, from: sender)
      else { fatalError("does not read back: \(encoded.hex)") }
      check(packet.canonical == second.canonical, "\(packet.text) became \(second.text)")
      let twice = written(capacity: encoded.count, { second.encode(into: &$0, version: packet.version ?? version) })
      check(twice == encoded, "written differently: \(encoded.hex), \(twice?.hex ?? "longer")")
    }
  }
}

extension AnyPacket {
  /// CONNECT says itself of which version it is.
  var version: ProtocolVersion? {
    if case .connect(let packet) = self { return packet.version }
    return nil
  }

  /// Everything that can be asked of a packet that was read.
  func walk() {
    switch self {
    case .subscribe(let packet):
      var filters = packet.filters
      var count = 0
      while let (filter, options) = filters.next() {
        check(UTF8Check.isValid(filter), "filter")
        check(options.retainHandling <= 2, "retain handling")
        count += 1
      }
      check(count == packet.filterCount, "\(count) filters, not \(packet.filterCount)")
    case .unsubscribe(let packet):
      var filters = packet.filters
      var count = 0
      while filters.next() != nil { count += 1 }
      check(count == packet.filterCount, "\(count) filters, not \(packet.filterCount)")
    case .publish(let packet):
      check(written { Publish.writeForwardable(packet.properties, into: &$0) } != nil, "forwardable properties")
      check(packet.topic.isEmpty || Topic.isValidName(packet.topic), "topic")
      check(packet.packetID != 0 || packet.qos == .atMostOnce, "packet id")
    case .connect, .connAck, .ack, .subAck, .ping, .disconnect, .auth:
      break
    }
  }

  /// The fields in a row; properties sorted, without those of CONNECT whose default may be left out.
  var canonical: [UInt8] {
    var text = Canonical()
    switch self {
    case .connect(let packet):
      text.add(
        Int(packet.version.rawValue), packet.isBridge ? 1 : 0, packet.cleanStart ? 1 : 0, Int(packet.keepAliveSeconds),
        Int(packet.sessionExpirySeconds), Int(packet.receiveMaximum), Int(packet.maximumPacketSize),
        Int(packet.topicAliasMaximum), packet.requestResponseInformation ? 1 : 0,
        packet.requestProblemInformation ? 1 : 0)
      text.add(packet.clientID, packet.userName, packet.password)
      text.add(packet.authenticationMethod, packet.authenticationData)
      text.add(
        packet.properties,
        leavingOut: [
          .sessionExpiryInterval, .receiveMaximum, .maximumPacketSize, .topicAliasMaximum,
          .requestResponseInformation, .requestProblemInformation,
        ])
      if let will = packet.will {
        text.add(
          Int(will.qos.rawValue), will.retain ? 1 : 0, Int(will.delaySeconds),
          Canonical.number(will.messageExpirySeconds))
        text.add(will.topic, will.payload)
        text.add(will.properties, leavingOut: [.willDelayInterval])
      }
    case .connAck(let packet):
      text.add(packet.sessionPresent ? 1 : 0, Int(packet.reason.rawValue))
      text.add(packet.properties)
    case .publish(let packet):
      text.add(
        packet.dup ? 1 : 0, Int(packet.qos.rawValue), packet.retain ? 1 : 0, Int(packet.packetID),
        Canonical.number(packet.topicAlias), Canonical.number(packet.messageExpirySeconds),
        Canonical.number(packet.payloadFormat))
      text.add(packet.topic, packet.responseTopic, packet.payload)
      text.add(packet.properties)
    case .ack(let type, let packet):
      text.add(Int(type.rawValue), Int(packet.packetID), Int(packet.reason.rawValue))
      text.add(packet.reasonString)
      text.add(packet.properties)
    case .subscribe(let packet):
      text.add(Int(packet.packetID), Int(packet.subscriptionID), packet.filterCount)
      text.add(packet.properties)
      var filters = packet.filters
      while let (filter, options) = filters.next() {
        text.add(filter)
        text.add(Int(options.byte))
      }
    case .subAck(let type, let packet):
      text.add(Int(type.rawValue), Int(packet.packetID))
      text.add(packet.reasonCodes, packet.reasonString)
      text.add(packet.properties)
    case .unsubscribe(let packet):
      text.add(Int(packet.packetID), packet.filterCount)
      text.add(packet.properties)
      var filters = packet.filters
      while let filter = filters.next() { text.add(filter) }
    case .ping(let type):
      text.add(Int(type.rawValue))
    case .disconnect(let packet):
      text.add(Int(packet.reason.rawValue), Canonical.number(packet.sessionExpirySeconds))
      text.add(packet.reasonString, packet.serverReference)
      text.add(packet.properties)
    case .auth(let packet):
      text.add(Int(packet.reason.rawValue))
      text.add(packet.method, packet.data, packet.reasonString)
      text.add(packet.properties)
    }
    return text.bytes
  }
}

private struct Canonical {
  var bytes: [UInt8] = []

  static func number<Number: BinaryInteger>(_ value: Number?) -> Int { value.map { Int($0) } ?? -1 }

  mutating func add(_ numbers: Int...) {
    for number in numbers { withUnsafeBytes(of: number) { bytes += $0 } }
  }

  mutating func add(_ parts: Bytes?...) {
    for part in parts {
      add(part?.count ?? -1)
      if let part { bytes += part.array() }
    }
  }

  /// Those of one identifier stay in their order.
  mutating func add(_ properties: Properties, leavingOut: [PropertyID] = []) {
    var rows: [(id: UInt8, place: Int, encoded: [UInt8])] = []
    var reader = properties.makeReader()
    while let property = reader.next() {
      if leavingOut.contains(property.id) { continue }
      rows.append((property.id.rawValue, rows.count, property.encoded.array()))
    }
    rows.sort { ($0.id, $0.place) < ($1.id, $1.place) }
    for row in rows { bytes += row.encoded }
    add(rows.count)
  }
}
