public import Bounded

/// Why a request for WebSocket is refused.
public enum UpgradeRefusal: UInt8, BitwiseCopyable, Sendable, CaseIterable {
  case malformed
  case tooLarge
  case method
  case httpVersion
  case path
  case host
  case body
  case notUpgrade
  case connection
  case webSocketVersion
  case key
  case subprotocol
  case severalOrigins
  case origin

  /// The HTTP status.
  public var status: Int {
    switch self {
    case .malformed, .host, .body, .connection, .key, .subprotocol, .severalOrigins: 400
    case .origin: 403
    case .path: 404
    case .method: 405
    case .notUpgrade, .webSocketVersion: 426
    case .tooLarge: 431
    case .httpVersion: 505
    }
  }

  /// What the client should do.
  public var remedy: StaticString {
    switch self {
    case .malformed: "send a request head as RFC 9112 has it"
    case .tooLarge: "send a request head of at most 2048 bytes and 48 header lines"
    case .method: "use GET"
    case .httpVersion: "use HTTP/1.1"
    case .path: "use the path of the listener's configuration"
    case .host: "send Host once"
    case .body: "send no body"
    case .notUpgrade: "this port speaks MQTT over WebSocket: send Upgrade: websocket"
    case .connection: "send Connection: Upgrade"
    case .webSocketVersion: "send Sec-WebSocket-Version: 13"
    case .key: "send one Sec-WebSocket-Key, 16 bytes in base64"
    case .subprotocol: "send Sec-WebSocket-Protocol: mqtt"
    case .severalOrigins: "send Origin at most once"
    case .origin: "add this origin to the listener's configuration"
    }
  }

  /// The longest answer has so many bytes.
  public static var answerByteCountMax: Int { 288 }

  /// The whole answer, after which the connection is closed.
  @_optimize(size) public func write(to writer: inout ByteWriter) {
    writer.write("HTTP/1.1 ")
    writer.writeDecimal(UInt64(status))
    writer.write(" ")
    writer.write(reason)
    writer.write("\r\nConnection: close")
    if status == 426 {  // RFC 9110 §15.5.22, §7.8; RFC 6455 §4.4
      writer.write(", Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13")
    }
    if status == 405 { writer.write("\r\nAllow: GET") }  // RFC 9110 §15.5.6
    writer.write("\r\nContent-Type: text/plain\r\nContent-Length: ")
    writer.writeDecimal(UInt64(remedy.utf8CodeUnitCount + 1))
    writer.write("\r\n\r\n")
    writer.write(remedy)
    writer.write("\n")
  }

  /// The name of the status (RFC 9110 §15, RFC 6585 §5).
  private var reason: StaticString {
    switch self {
    case .malformed, .host, .body, .connection, .key, .subprotocol, .severalOrigins: "Bad Request"
    case .origin: "Forbidden"
    case .path: "Not Found"
    case .method: "Method Not Allowed"
    case .notUpgrade, .webSocketVersion: "Upgrade Required"
    case .tooLarge: "Request Header Fields Too Large"
    case .httpVersion: "HTTP Version Not Supported"
    }
  }
}
