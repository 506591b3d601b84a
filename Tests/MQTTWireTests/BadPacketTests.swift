import Bounded
import MQTTWire
import Testing

/// Mistakes that the standard names, and the Reason Code that answers each.
struct Bad: CustomTestStringConvertible, Sendable {
  let what: String
  let bytes: [UInt8]
  let version: ProtocolVersion
  let sender: Sender
  let error: WireError

  init(
    _ what: String, _ bytes: [UInt8], _ error: WireError, _ version: ProtocolVersion = .v5,
    from sender: Sender = .client
  ) {
    self.what = what
    self.bytes = bytes
    self.version = version
    self.sender = sender
    self.error = error
  }

  var testDescription: String { "\(what) \(version)" }

  private static func connect(_ level: UInt8, flags: UInt8, _ rest: [UInt8], name: String = "MQTT") -> [UInt8] {
    packet(0x10, string(name), [level, flags], u16(0), rest)
  }

  static let connect = [
    Bad("another protocol", connect(5, flags: 2, [0] + string("a"), name: "MQTX"), .unsupportedProtocolVersion),
    Bad("level 3 of MQTT", connect(3, flags: 2, string("a")), .unsupportedProtocolVersion),
    Bad("level 4 of MQIsdp", connect(4, flags: 2, string("a"), name: "MQIsdp"), .unsupportedProtocolVersion),
    Bad("level 0x84 of MQIsdp", connect(0x84, flags: 2, string("a"), name: "MQIsdp"), .unsupportedProtocolVersion),
    Bad("level 0x83 of MQTT", connect(0x83, flags: 2, string("a")), .unsupportedProtocolVersion),
    Bad("level 0", connect(0, flags: 2, string("a")), .unsupportedProtocolVersion),
    Bad("level 0x80", connect(0x80, flags: 2, string("a")), .unsupportedProtocolVersion),
    Bad("level 6", connect(6, flags: 2, [0] + string("a")), .unsupportedProtocolVersion),
    Bad("level 0x86", connect(0x86, flags: 2, [0] + string("a")), .unsupportedProtocolVersion),
    Bad("no client id in 3.1", connect(3, flags: 2, string(""), name: "MQIsdp"), .clientIdentifierNotValid),
    Bad(
      "will QoS 3 in 3.1", connect(3, flags: 0x1E, string("a") + string("w") + u16(0), name: "MQIsdp"), .malformedPacket
    ),
    Bad("user name cut in 3.1", connect(3, flags: 0x82, string("a") + [0], name: "MQIsdp"), .malformedPacket),
    Bad("no will in 3.1", connect(3, flags: 6, string("a"), name: "MQIsdp"), .malformedPacket),
    Bad("reserved flag", connect(5, flags: 3, [0] + string("a")), .malformedPacket),
    Bad("will QoS without will", connect(5, flags: 0x0A, [0] + string("a")), .malformedPacket),
    Bad("will retain without will", connect(5, flags: 0x22, [0] + string("a")), .malformedPacket),
    Bad("will QoS 3", connect(5, flags: 0x1E, [0] + string("a") + [0] + string("w") + u16(0)), .malformedPacket),
    Bad("password without user name", connect(4, flags: 0x42, string("a") + u16(0)), .malformedPacket, .v311),
    Bad("no client id, no clean session", connect(4, flags: 0, string("")), .clientIdentifierNotValid, .v311),
    Bad("client id with U+0000", connect(4, flags: 2, string("a\0")), .malformedPacket, .v311),
    Bad("user name not UTF-8", connect(4, flags: 0x82, string("a") + binary([0xFF])), .malformedPacket, .v311),
    Bad("will topic with #", connect(4, flags: 6, string("a") + string("w/#") + u16(0)), .topicNameInvalid, .v311),
    Bad("will topic empty", connect(4, flags: 6, string("a") + string("") + u16(0)), .topicNameInvalid, .v311),
    Bad("data without method", connect(5, flags: 2, block([0x16] + binary([1])) + string("a")), .protocolError),
    Bad("receive maximum 0", connect(5, flags: 2, block([0x21] + u16(0)) + string("a")), .protocolError),
    Bad("packet size 0", connect(5, flags: 2, block([0x27] + u32(0)) + string("a")), .protocolError),
    Bad("request problem 2", connect(5, flags: 2, block([0x17, 2]) + string("a")), .protocolError),
    Bad("will delay in CONNECT", connect(5, flags: 2, block([0x18] + u32(1)) + string("a")), .malformedPacket),
    Bad("property block too long", connect(5, flags: 2, [100] + string("a")), .malformedPacket),
    Bad("property block cuts a property", connect(5, flags: 2, [2, 0x21] + string("a")), .malformedPacket),
  ]

  static let publish = [
    Bad("QoS 3", packet(0x36, string("a"), u16(1), [0]), .malformedPacket),
    Bad("dup with QoS 0", packet(0x38, string("a"), [0]), .malformedPacket),
    Bad("packet id 0", packet(0x32, string("a"), u16(0), [0]), .protocolError),
    Bad("topic with +", packet(0x30, string("a/+"), [0]), .topicNameInvalid),
    Bad("topic with #", packet(0x30, string("abcdefgh#"), [0]), .topicNameInvalid),
    Bad("topic with a surrogate", packet(0x30, binary([0xED, 0xA0, 0x80]), [0]), .malformedPacket),
    Bad("topic with U+0000", packet(0x30, binary([0x61, 0]), [0]), .malformedPacket),
    Bad("no topic, no alias", packet(0x30, string(""), [0]), .protocolError),
    Bad("no topic", packet(0x30, string("")), .protocolError, .v311),
    Bad("alias 0", packet(0x30, string("a"), block([0x23] + u16(0))), .topicAliasInvalid),
    Bad("alias twice", packet(0x30, string("a"), block([0x23, 0, 1], [0x23, 0, 1])), .protocolError),
    Bad("response topic with #", packet(0x30, string("a"), block([0x08] + string("b/#"))), .protocolError),
    Bad("response topic empty", packet(0x30, string("a"), block([0x08] + string(""))), .protocolError),
    Bad("response topic not UTF-8", packet(0x30, string("a"), block([0x08] + binary([0xC0]))), .malformedPacket),
    Bad("payload format 2", packet(0x30, string("a"), block([0x01, 2])), .protocolError),
    Bad("subscription id from a client", packet(0x30, string("a"), block([0x0B, 1])), .protocolError),
    Bad("subscription id 0", packet(0x30, string("a"), block([0x0B, 0])), .protocolError, from: .server),
    Bad("unknown property", packet(0x30, string("a"), block([0x04, 0])), .malformedPacket),
    Bad("property of CONNACK", packet(0x30, string("a"), block([0x24, 0])), .malformedPacket),
    Bad("property length not shortest", packet(0x30, string("a"), [0x80, 0x00]), .malformedPacket),
  ]

  static let subscribe = [
    Bad("packet id 0", packet(0x82, u16(0), [0], string("a"), [0]), .protocolError),
    Bad("no filter", packet(0x82, u16(1), [0]), .protocolError),
    Bad("no filter", packet(0x82, u16(1)), .protocolError, .v311),
    Bad("no options", packet(0x82, u16(1), [0], string("a")), .malformedPacket),
    Bad("QoS 3", packet(0x82, u16(1), [0], string("a"), [3]), .protocolError),
    Bad("QoS 3", packet(0x82, u16(1), string("a"), [3]), .malformedPacket, .v311),
    Bad("no local is of MQTT 5", packet(0x82, u16(1), string("a"), [4]), .malformedPacket, .v311),
    Bad("retain handling 3", packet(0x82, u16(1), [0], string("a"), [0x30]), .protocolError),
    Bad("reserved bit 6", packet(0x82, u16(1), [0], string("a"), [0x40]), .malformedPacket),
    Bad("reserved bit 7", packet(0x82, u16(1), [0], string("a"), [0x80]), .malformedPacket),
    Bad("filter empty", packet(0x82, u16(1), [0], string(""), [0]), .malformedPacket),
    Bad("filter a/#/b", packet(0x82, u16(1), string("a/#/b"), [0]), .malformedPacket, .v311),
    Bad("share without a filter", packet(0x82, u16(1), [0], string("$share/x"), [0]), .malformedPacket),
    Bad("share with an empty filter", packet(0x82, u16(1), string("$share/x/"), [0]), .malformedPacket, .v31),
    Bad("share without a name", packet(0x82, u16(1), [0], string("$share//f"), [0]), .malformedPacket),
    Bad("unsubscribe an empty filter", packet(0xA2, u16(1), string("")), .malformedPacket, .v311),
    Bad("unsubscribe a+", packet(0xA2, u16(1), [0], string("a+")), .malformedPacket),
    Bad("unsubscribe a share without a filter", packet(0xA2, u16(1), [0], string("$share/x")), .malformedPacket),
    Bad("no local, shared", packet(0x82, u16(1), [0], string("$share/g/a"), [4]), .protocolError),
    Bad("second filter not UTF-8", packet(0x82, u16(1), [0], string("a"), [0], binary([0xFE]), [0]), .malformedPacket),
    Bad("subscription id 0", packet(0x82, u16(1), block([0x0B, 0]), string("a"), [0]), .protocolError),
    Bad("subscription id twice", packet(0x82, u16(1), block([0x0B, 1], [0x0B, 2]), string("a"), [0]), .protocolError),
    Bad("unsubscribe nothing", packet(0xA2, u16(1), [0]), .protocolError),
    Bad("unsubscribe packet id 0", packet(0xA2, u16(0), [0], string("a")), .protocolError),
    Bad("unsubscribe not UTF-8", packet(0xA2, u16(1), [0], binary([0x80])), .malformedPacket),
  ]

  static let rest = [
    Bad("PUBACK packet id 0", [0x40, 2, 0, 0], .protocolError),
    Bad("PUBACK reason of SUBACK", [0x40, 3, 0, 1, 1], .protocolError),
    Bad("PUBACK unknown reason", [0x40, 3, 0, 1, 0x7F], .protocolError),
    Bad("PUBREL reason of PUBREC", [0x62, 3, 0, 1, 0x97], .protocolError),
    Bad("PUBACK with a reason", [0x40, 3, 0, 1, 0], .malformedPacket, .v311),
    Bad("CONNACK flag 1", [0x20, 3, 2, 0, 0], .malformedPacket, from: .server),
    Bad("CONNACK session of a refusal", [0x20, 3, 1, 0x87, 0], .protocolError, from: .server),
    Bad("CONNACK code 6", [0x20, 2, 0, 6], .protocolError, .v311, from: .server),
    Bad("CONNACK maximum QoS 2", [0x20, 5, 0, 0, 2, 0x24, 2], .protocolError, from: .server),
    Bad("SUBACK without codes", [0x90, 3, 0, 1, 0], .protocolError, from: .server),
    Bad("SUBACK code 3", [0x90, 4, 0, 1, 0, 3], .protocolError, from: .server),
    Bad("SUBACK code 0x87", [0x90, 3, 0, 1, 0x87], .protocolError, .v311, from: .server),
    Bad("UNSUBACK without codes", [0xB0, 3, 0, 1, 0], .protocolError, from: .server),
    Bad("UNSUBACK code 1", [0xB0, 4, 0, 1, 0, 1], .protocolError, from: .server),
    Bad("DISCONNECT reason", [0xE0, 1, 0], .malformedPacket, .v311),
    Bad("DISCONNECT taken over, from a client", [0xE0, 1, 0x8E], .protocolError),
    Bad("DISCONNECT with will, from a server", [0xE0, 1, 4], .protocolError, from: .server),
    Bad("DISCONNECT expiry from a server", [0xE0, 7, 0x80, 5, 0x11, 0, 0, 0, 1], .protocolError, from: .server),
    Bad("AUTH of 3.1.1", [0xF0, 0], .protocolError, .v311),
    Bad("AUTH success from a client", [0xF0, 0], .protocolError),
    Bad("AUTH re-authenticate from a server", [0xF0, 6, 0x19, 4, 0x15, 0, 1, 0x4D], .protocolError, from: .server),
    Bad("AUTH without method", [0xF0, 2, 0x18, 0], .protocolError),
    Bad("AUTH without properties", [0xF0, 1, 0x18], .malformedPacket),
  ]

  static let all = connect + publish + subscribe + rest
}

@Suite struct BadPacketTests {
  @Test(arguments: Bad.all) func mistakesHaveTheirReasonCode(_ bad: Bad) {
    let parts = split(bad.bytes)
    #expect(throws: bad.error) {
      try AnyPacket(parts.type, flags: parts.flags, body: lent(parts.body), version: bad.version, from: bad.sender)
    }
  }
}
