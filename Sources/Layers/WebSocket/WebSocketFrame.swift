public import Bounded

/// The kind of a frame (RFC 6455 §5.2).
public enum WebSocketOpcode: UInt8, BitwiseCopyable, Sendable {
  case continuation = 0x0
  case text = 0x1
  case binary = 0x2
  case close = 0x8
  case ping = 0x9
  case pong = 0xA
}

/// Why a peer closes (RFC 6455 §7.4).
public struct WebSocketCloseCode: RawRepresentable, Equatable, BitwiseCopyable, Sendable {
  public let rawValue: UInt16

  public init(rawValue: UInt16) { self.rawValue = rawValue }

  public static var normal: WebSocketCloseCode { WebSocketCloseCode(rawValue: 1000) }
  public static var goingAway: WebSocketCloseCode { WebSocketCloseCode(rawValue: 1001) }
  public static var protocolError: WebSocketCloseCode { WebSocketCloseCode(rawValue: 1002) }
  /// MQTT travels in binary frames only.
  public static var unsupportedData: WebSocketCloseCode { WebSocketCloseCode(rawValue: 1003) }
  public static var policyViolation: WebSocketCloseCode { WebSocketCloseCode(rawValue: 1008) }
  public static var tooBig: WebSocketCloseCode { WebSocketCloseCode(rawValue: 1009) }
  public static var internalError: WebSocketCloseCode { WebSocketCloseCode(rawValue: 1011) }

  /// Whether a frame may hold it: those registered for frames (§7.4.1), and those of libraries and applications (§7.4.2).
  /// 1004, 1005, 1006 and 1015 never travel.
  public var mayTravel: Bool {
    switch rawValue {
    case 1000...1003, 1007...1014, 3000...4999: true
    default: false
    }
  }
}

/// Frames of the server: final and unmasked (RFC 6455 §5.1, §5.2)
///
///   ┌──────────────┬────────────┐   ┌──────────────┬──────┬────────────┐   ┌──────────────┬──────┬────────────┐
///   │ 0x80, opcode │ u8 0...125 │   │ 0x80, opcode │ 0x7E │ length u16 │   │ 0x80, opcode │ 0x7F │ length u64 │
///   └──────────────┴────────────┘   └──────────────┴──────┴────────────┘   └──────────────┴──────┴────────────┘
public enum WebSocketFrame {
  public static var headerByteCountMax: Int { 10 }
  /// Of a ping, a pong or a close (§5.5).
  public static var controlPayloadByteCountMax: Int { 125 }

  /// 2, 4 or 10.
  public static func headerByteCount(payloadByteCount: Int) -> Int {
    payloadByteCount <= 125 ? 2 : payloadByteCount <= 0xFFFF ? 4 : 10
  }

  /// The header of a frame with `payloadByteCount` bytes of payload, which follow it.
  public static func header(_ opcode: WebSocketOpcode, payloadByteCount: Int, into writer: inout ByteWriter) {
    precondition(payloadByteCount >= 0)
    writer.write(0x80 | opcode.rawValue)
    if payloadByteCount <= 125 {
      writer.write(UInt8(payloadByteCount))
    } else if payloadByteCount <= 0xFFFF {
      writer.write(126)
      writer.writeUInt16(UInt16(payloadByteCount))
    } else {
      writer.write(127)
      writer.writeUInt32(UInt32(truncatingIfNeeded: payloadByteCount >> 32))
      writer.writeUInt32(UInt32(truncatingIfNeeded: payloadByteCount))
    }
  }

  /// The answer to a ping: its payload, 125 bytes at most (§5.5.3).
  public static func pong(_ payload: Bytes, into writer: inout ByteWriter) {
    control(.pong, payload, into: &writer)
  }

  /// 125 bytes at most.
  public static func ping(_ payload: Bytes, into writer: inout ByteWriter) {
    control(.ping, payload, into: &writer)
  }

  /// A close, with its code. nil: the answer to a close that has none (§5.5.1).
  public static func close(_ code: WebSocketCloseCode?, into writer: inout ByteWriter) {
    header(.close, payloadByteCount: code == nil ? 0 : 2, into: &writer)
    guard let code else { return }
    precondition(code.mayTravel)
    writer.writeUInt16(code.rawValue)
  }

  private static func control(_ opcode: WebSocketOpcode, _ payload: Bytes, into writer: inout ByteWriter) {
    precondition(payload.count <= controlPayloadByteCountMax)
    header(opcode, payloadByteCount: payload.count, into: &writer)
    writer.write(payload)
  }
}
