// What may lie between a socket and MQTT: the PROXY protocol's header, the HTTP head that asks for WebSocket, and
// WebSocket's frames.
//
// This module is pure: bytes in, steps and bytes out. It does no I/O, reads no clock, allocates nothing, and keeps no
// bytes: what has arrived in part stays with the caller, who lends it again with what follows. It imports `Bounded` and
// the digests of `CDigest`, and knows nothing of MQTT but the names of its subprotocols.

public import Bounded

/// What the first bytes of a connection begin.
///
/// ┌──────────────────────────┬───────────┬─────────┬─────────┬──────────────────────┐
/// │ 0D 0A 0D 0A 00 0D 0A     │ "PROXY "  │ 16 03   │ "GET "  │ 10                   │
/// │ 51 55 49 54 0A: PROXY v2 │ PROXY v1  │ TLS     │ HTTP    │ MQTT, by its CONNECT │
/// └──────────────────────────┴───────────┴─────────┴─────────┴──────────────────────┘
public enum FirstBytes: UInt8, BitwiseCopyable, Sendable {
  case proxyV1
  case proxyV2
  /// A handshake record of TLS (RFC 8446 §5.1).
  case tls
  /// A GET request, which may ask for WebSocket.
  case http
  /// A CONNECT packet.
  case mqtt
  /// None of these.
  case other

  /// So many bytes always suffice.
  public static var byteCountMax: Int { 12 }

  static var proxyV1Start: StaticString { "PROXY " }
  static var proxyV2Start: StaticString { "\r\n\r\n\0\r\nQUIT\n" }

  /// What `bytes` begin; nil: more of them are needed. The first byte alone decides between the kinds.
  public static func judge(_ bytes: Bytes) -> FirstBytes? {
    guard !bytes.isEmpty else { return nil }
    switch bytes[0] {
    case 0x10: return .mqtt
    case 0x16: return judge(bytes, begins: "\u{16}\u{03}", as: .tls)
    case 0x47: return judge(bytes, begins: "GET ", as: .http)
    case 0x50: return judge(bytes, begins: proxyV1Start, as: .proxyV1)
    case 0x0D: return judge(bytes, begins: proxyV2Start, as: .proxyV2)
    default: return .other
    }
  }

  private static func judge(_ bytes: Bytes, begins literal: StaticString, as kind: FirstBytes) -> FirstBytes? {
    let start = Bytes(literal)
    if bytes.count >= start.count { return bytes.hasPrefix(start) ? kind : .other }
    return start.hasPrefix(bytes) ? nil : .other
  }
}
