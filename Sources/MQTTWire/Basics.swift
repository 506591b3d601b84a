import Bounded

// The bytes of MQTT 3.1, 3.1.1 and 5.0: what each packet looks like, and where one ends in a stream.
//
// This module owns layouts. Each packet has one file, which reads it and writes it, and whose errors are those that the
// packet alone shows; what depends on a session is the broker's. Names and filters (Topic) are here too, and the two
// framers: `PacketFramer` for streams, `BurstFramer` for lines that lose bytes.
//
// It imports Bounded only: `Bytes` and `ByteWriter`, and a `Reservation` for `BurstFramer`. It does no I/O, reads no
// clock and allocates nothing. It owns no other memory: packets are read where they lie, and their fields are valid
// only as long as those bytes; packets are written into a writer of the caller's. Bytes are read through `Bytes`, which
// checks every access, so a peer's mistake is a `WireError` and never a trap.
//
// This file has the words that every packet uses: version, quality of service, who sent it.

/// Protocol Level as it stands in CONNECT (§3.1.2.2).
public enum ProtocolVersion: UInt8, BitwiseCopyable, Sendable {
  /// MQTT 3.1 of 2010, which has another Protocol Name. Its packets are those of 3.1.1.
  case v31 = 3
  case v311 = 4
  case v5 = 5

  /// Protocol Name in CONNECT (§3.1.2.1).
  var name: Bytes { self == .v31 ? Bytes("MQIsdp") : Bytes("MQTT") }

  /// For log lines.
  public var text: StaticString {
    switch self {
    case .v31: "3.1"
    case .v311: "3.1.1"
    case .v5: "5"
    }
  }
}

/// Quality of service (§4.3), from weak to strong.
public enum QoS: UInt8, Comparable, BitwiseCopyable, Sendable {
  case atMostOnce = 0
  case atLeastOnce = 1
  case exactlyOnce = 2

  @inlinable public static func < (left: QoS, right: QoS) -> Bool { left.rawValue < right.rawValue }
}

/// Who wrote a packet; some fields are allowed in one direction only.
public enum Sender: UInt8, BitwiseCopyable, Sendable {
  case client
  case server
}

/// Control packet types, the high half of the first byte (§2.1.2). 0 is reserved.
public enum PacketType: UInt8, BitwiseCopyable, Sendable {
  case connect = 1
  case connAck
  case publish
  case pubAck
  case pubRec
  case pubRel
  case pubComp
  case subscribe
  case subAck
  case unsubscribe
  case unsubAck
  case pingReq
  case pingResp
  case disconnect
  case auth

  /// Whether the low half of the first byte may be `flags` (§2.1.3; PUBLISH §3.3.1.1, §3.3.1.2). In MQTT 3.1 what is sent
  /// again has DUP, whatever it is (3.1 §2.1).
  @inlinable func allows(flags: UInt8, version: ProtocolVersion?) -> Bool {
    switch self {
    case .publish:
      return flags & 0b0110 != 0b0110 && flags & 0b1110 != 0b1000  // no QoS 3, no DUP with QoS 0
    case .pubRel, .subscribe, .unsubscribe:
      return flags == 0b0010 || version == .v31 && flags == 0b1010
    case .connect, .connAck, .pubAck, .pubRec, .pubComp, .subAck, .unsubAck, .pingReq, .pingResp, .disconnect, .auth:
      return flags == 0
    }
  }

  /// Whether a body of `byteCount` bytes can be one of this type in either version. What is missing inside a
  /// long enough body is for the packet's own decoder to name.
  @inlinable func allows(bodyByteCount byteCount: Int, flags: UInt8) -> Bool {
    switch self {
    case .connect:
      return byteCount >= 12  // name 6, level, flags, keep alive 2, client id 2
    case .publish:
      return byteCount >= (flags & 0b0110 == 0 ? 2 : 4)  // topic length 2, packet id 2
    case .connAck, .pubAck, .pubRec, .pubRel, .pubComp, .subscribe, .unsubscribe, .unsubAck:
      return byteCount >= 2
    case .subAck:
      return byteCount >= 3
    case .pingReq, .pingResp:
      return byteCount == 0
    case .disconnect, .auth:
      return true
    }
  }
}
