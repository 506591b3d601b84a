import MQTTWire
import Testing

/// A packet as the standard draws it, whole. What the encoder makes of the decoded packet is the same bytes.
struct Good: CustomTestStringConvertible, Sendable {
  let name: String
  let version: ProtocolVersion
  let sender: Sender
  let bytes: [UInt8]
  /// How many bytes may be missing at the end and leave a good packet.
  var shorter: [Int] = []
  /// Whether a byte 0x00 more leaves a good packet.
  var longer = false

  var testDescription: String { "\(name) \(version)" }
}

extension Good {
  static let all = connect + connAck + publish + acks + subscribe + subAcks + rest

  static let connect = [
    Good(
      name: "CONNECT shortest", version: .v31, sender: .client,
      bytes: packet(0x10, string("MQIsdp"), [3, 0x02], u16(60), string("a"))),
    Good(
      name: "CONNECT all", version: .v31, sender: .client,
      bytes: packet(
        0x10, string("MQIsdp"), [3, 0b1110_1100], u16(0xABCD), string("client"), string("will/topic"),
        binary([0, 1, 2]), string("user"), binary([0xFF, 0x00])),
      shorter: [4, 10]),
    Good(
      name: "CONNECT of a bridge", version: .v31, sender: .client,
      bytes: packet(0x10, string("MQIsdp"), [0x83, 0x00], u16(60), string("b"))),
    Good(
      name: "CONNECT of a bridge", version: .v311, sender: .client,
      bytes: packet(0x10, string("MQTT"), [0x84, 0x00], u16(60), string("b"))),
    Good(
      name: "CONNECT shortest", version: .v311, sender: .client,
      bytes: packet(0x10, string("MQTT"), [4, 0x02], u16(60), string(""))),
    Good(
      name: "CONNECT all", version: .v311, sender: .client,
      bytes: packet(
        0x10, string("MQTT"), [4, 0b1110_1100], u16(0xABCD), string("client"), string("will/topic"),
        binary([0, 1, 2]), string("user"), binary([0xFF, 0x00]))),
    Good(
      name: "CONNECT shortest", version: .v5, sender: .client,
      bytes: packet(0x10, string("MQTT"), [5, 0x02], u16(0), [0], string(""))),
    Good(
      name: "CONNECT password only", version: .v5, sender: .client,
      bytes: packet(0x10, string("MQTT"), [5, 0x40], u16(0), [0], string("é"), binary([1]))),
    Good(
      name: "CONNECT all", version: .v5, sender: .client,
      bytes: packet(
        0x10, string("MQTT"), [5, 0b1111_0110], u16(0xABCD),
        block(
          [0x11] + u32(3600), [0x21] + u16(10), [0x27] + u32(65_536), [0x22] + u16(7), [0x19, 1], [0x17, 0],
          [0x15] + string("SCRAM"), [0x16] + binary([9, 8]), user("a", "b"), user("a", "c")),
        string("client"),
        block(
          [0x18] + u32(5), [0x02] + u32(120), [0x01, 1], [0x03] + string("text/plain"), [0x08] + string("answer"),
          [0x09] + binary([1, 2, 3]), user("w", "")),
        string("will/topic"), binary([]), string("user"), binary([0x70]))),
  ]

  static let connAck = [
    Good(name: "CONNACK accepted", version: .v31, sender: .server, bytes: [0x20, 2, 0, 0]),
    Good(name: "CONNACK accepted", version: .v311, sender: .server, bytes: [0x20, 2, 1, 0]),
    Good(name: "CONNACK refused", version: .v311, sender: .server, bytes: [0x20, 2, 0, 5]),
    Good(name: "CONNACK shortest", version: .v5, sender: .server, bytes: [0x20, 3, 0, 0x8A, 0]),
    Good(
      name: "CONNACK all", version: .v5, sender: .server,
      bytes: packet(
        0x20, [1, 0],
        block(
          [0x11] + u32(1), [0x21] + u16(2), [0x24, 1], [0x25, 0], [0x27] + u32(3), [0x12] + string("auto-1"),
          [0x22] + u16(4), [0x1F] + string("why"), [0x28, 1], [0x29, 0], [0x2A, 1], [0x13] + u16(5),
          [0x1A] + string("resp/"), [0x1C] + string("other:1883"), [0x15] + string("M"), [0x16] + binary([0]),
          user("k", "v")))),
  ]

  static let publish = [
    Good(
      name: "PUBLISH QoS 0", version: .v311, sender: .client,
      bytes: packet(0x31, string("a/b"), [1, 2, 3, 4, 5]), shorter: [1, 2, 3, 4, 5], longer: true),
    Good(
      name: "PUBLISH QoS 1 again", version: .v311, sender: .client,
      bytes: packet(0x3A, string("a"), u16(1)), longer: true),
    Good(
      name: "PUBLISH QoS 2", version: .v5, sender: .client,
      bytes: packet(0x34, string("a"), u16(0xFFFF), [0], [7]), shorter: [1], longer: true),
    Good(
      name: "PUBLISH alias alone", version: .v5, sender: .client,
      bytes: packet(0x30, string(""), block([0x23] + u16(1))), longer: true),
    Good(
      name: "PUBLISH all from client", version: .v5, sender: .client,
      bytes: packet(
        0x33, string("sensor/κλίμα"), u16(9),
        block(
          [0x01, 1], [0x02] + u32(60), [0x23] + u16(3), [0x08] + string("re/ply"), [0x03] + string("json"),
          [0x09] + binary([0xDE, 0xAD]), user("z", "1"), user("y", "2"), user("z", "3")),
        [0x7B, 0x7D]), shorter: [1, 2], longer: true),
    Good(
      name: "PUBLISH from server", version: .v5, sender: .server,
      bytes: packet(0x30, string("t"), block([0x0B] + vbi(1), [0x0B] + vbi(268_435_455), user("a", "b")), [1]),
      shorter: [1], longer: true),
  ]

  /// PUBACK, PUBREC, PUBREL, PUBCOMP.
  static let acks = [UInt8](arrayLiteral: 0x40, 0x50, 0x62, 0x70).flatMap { first -> [Good] in
    let bad: UInt8 = first < 0x60 ? 0x97 : 0x92
    let why = [0x1F] + string("why")
    return [
      Good(name: "ack \(first)", version: .v311, sender: .client, bytes: [first, 2, 0x12, 0x34]),
      Good(name: "ack \(first) shortest", version: .v5, sender: .client, bytes: [first, 2, 0, 1], longer: true),
      Good(
        name: "ack \(first) reason", version: .v5, sender: .client, bytes: [first, 3, 0, 1, bad], shorter: [1],
        longer: true),
      Good(
        name: "ack \(first) all", version: .v5, sender: .client,
        bytes: packet(first, [0, 1, bad], block(why, user("a", "b"))),
        shorter: [block(why, user("a", "b")).count, block(why, user("a", "b")).count + 1]),
    ]
  }

  static let subscribe = [
    Good(
      name: "SUBSCRIBE two", version: .v311, sender: .client,
      bytes: packet(0x82, u16(1), string("a/#"), [0], string("+/b"), [2]), shorter: [6]),
    Good(
      name: "SUBSCRIBE one", version: .v5, sender: .client,
      bytes: packet(0x82, u16(1), [0], string("a"), [0b0010_1110])),
    Good(
      name: "SUBSCRIBE all", version: .v5, sender: .client,
      bytes: packet(
        0x82, u16(0xFFFF), block([0x0B] + vbi(128), user("a", "b")), string("$share/g/a"), [0b0001_1001],
        string("$SYS/#"), [0]), shorter: [9]),
    Good(
      name: "UNSUBSCRIBE two", version: .v311, sender: .client, bytes: packet(0xA2, u16(2), string("a"), string("#")),
      shorter: [3]),
    Good(
      name: "UNSUBSCRIBE all", version: .v5, sender: .client,
      bytes: packet(0xA2, u16(2), block(user("a", "b")), string("a/+"))),
  ]

  static let subAcks = [
    Good(
      name: "SUBACK", version: .v311, sender: .server, bytes: packet(0x90, u16(1), [0, 1, 2, 0x80]),
      shorter: [1, 2, 3], longer: true),
    Good(
      name: "SUBACK", version: .v5, sender: .server,
      bytes: packet(0x90, u16(1), block([0x1F] + string("why"), user("a", "b")), [2, 0x87, 0xA2]), shorter: [1, 2],
      longer: true),
    Good(name: "UNSUBACK", version: .v311, sender: .server, bytes: [0xB0, 2, 0, 1]),
    Good(
      name: "UNSUBACK", version: .v5, sender: .server,
      bytes: packet(0xB0, u16(1), block([0x1F] + string("why")), [0, 0x11]), shorter: [1], longer: true),
  ]

  static let rest = [
    Good(name: "PINGREQ", version: .v311, sender: .client, bytes: [0xC0, 0]),
    Good(name: "PINGRESP", version: .v5, sender: .server, bytes: [0xD0, 0]),
    Good(name: "DISCONNECT", version: .v311, sender: .client, bytes: [0xE0, 0]),
    Good(name: "DISCONNECT shortest", version: .v5, sender: .client, bytes: [0xE0, 0], longer: true),
    Good(name: "DISCONNECT reason", version: .v5, sender: .client, bytes: [0xE0, 1, 4], shorter: [1], longer: true),
    Good(
      name: "DISCONNECT all from client", version: .v5, sender: .client,
      bytes: packet(0xE0, [0x93], block([0x11] + u32(0), [0x1F] + string("why"), user("a", "b"))), shorter: [19, 20]),
    Good(
      name: "DISCONNECT from server", version: .v5, sender: .server,
      bytes: packet(0xE0, [0x9D], block([0x1F] + string("moved"), [0x1C] + string("there"))), shorter: [17, 18]),
    Good(
      name: "AUTH from client", version: .v5, sender: .client,
      bytes: packet(0xF0, [0x18], block([0x15] + string("M"), [0x16] + binary([1, 2])))),
    Good(name: "AUTH shortest", version: .v5, sender: .server, bytes: [0xF0, 0]),
    Good(
      name: "AUTH all from server", version: .v5, sender: .server,
      bytes: packet(
        0xF0, [0], block([0x15] + string("M"), [0x16] + binary([]), [0x1F] + string("why"), user("a", "b"))),
      shorter: [22]),
  ]
}
