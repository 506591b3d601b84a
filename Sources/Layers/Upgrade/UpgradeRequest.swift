public import Bounded
import CDigest

/// The names under which MQTT travels in WebSocket frames (MQTT 5 §6, and what clients of 3.1 send).
public enum MQTTSubprotocol: UInt8, BitwiseCopyable, Sendable {
  case mqtt
  case mqttV31

  public var name: StaticString {
    switch self {
    case .mqtt: "mqtt"
    case .mqttV31: "mqttv3.1"
    }
  }
}

/// The head of an HTTP request that asks for WebSocket (RFC 6455 §4.2.1), and the answer to it.
///
///   GET /mqtt HTTP/1.1 ¶ Host: board ¶ Upgrade: websocket ¶ Connection: Upgrade ¶ Sec-WebSocket-Version: 13 ¶
///   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ== ¶ Sec-WebSocket-Protocol: mqtt ¶ ¶
///
/// The views lie in the bytes that were parsed and live as long.
public struct UpgradeRequest: BitwiseCopyable {
  public enum Outcome {
    /// No end of the head yet, and nothing wrong so far.
    case incomplete
    case refused(UpgradeRefusal)
    case complete(UpgradeRequest)
  }

  /// All lines with their ends, the empty one too.
  public static var headByteCountMax: Int { 2048 }
  /// Between the request line and the empty line.
  public static var headerLinesMax: Int { 48 }
  /// More than a scheme, the longest name of a host and a port that a page can have.
  public static var originByteCountMax: Int { 255 }
  /// The answer 101 has no more bytes than this.
  public static var answerByteCountMax: Int { 168 }

  /// The bytes after these are the first ones of WebSocket.
  public let headByteCount: Int
  /// `mqtt` if the client offers it.
  public let subprotocol: MQTTSubprotocol
  /// The page that a browser sends on behalf of; nil: not a browser.
  public let origin: Bytes?
  /// The last address of X-Forwarded-For: that from which the nearest proxy was reached. Anybody can write one; the caller
  /// knows which peers are proxies. It need not be an address (`NumericAddress`).
  public let forwardedFor: Bytes?
  /// 24 characters.
  let key: Bytes

  /// Parses the head at the start of `bytes`, of which it looks at `headByteCountMax` at most. Malformed bytes are refused
  /// as soon as they are there. Every other refusal waits for the end of the head, so that the client reads the answer.
  /// Each call begins at the start.
  /// - Parameters:
  ///   - path: must be the request's, byte for byte. The query is ignored, as clients put tokens for proxies there.
  ///   - origins: judge a request with an Origin. One without it is not a browser's.
  @_optimize(size) public static func parse(_ bytes: Bytes, path: Bytes, origins: OriginList) -> Outcome {
    var reader = HeadReader(bytes.first(min(bytes.count, headByteCountMax)))
    var head = UpgradeHead()
    var lineCount = 0
    while true {
      switch reader.next() {
      case .malformed: return .refused(.malformed)
      case .incomplete: return bytes.count >= headByteCountMax ? .refused(.tooLarge) : .incomplete
      case .line(let line):
        if lineCount == 0 {
          guard head.readRequestLine(line, path: path) else { return .refused(.malformed) }
        } else if line.isEmpty {
          return head.end(headByteCount: reader.offset, origins: origins)
        } else {
          guard lineCount <= headerLinesMax else { return .refused(.tooLarge) }
          guard head.readHeaderLine(line) else { return .refused(.malformed) }
        }
        lineCount += 1
      }
    }
  }

  /// The answer 101 (§4.2.2). WebSocket's bytes follow it.
  @_optimize(size) public func writeAnswer(to writer: inout ByteWriter) {
    writer.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
    writer.write("Sec-WebSocket-Accept: ")
    writeAccept(to: &writer)
    writer.write("\r\nSec-WebSocket-Protocol: ")
    writer.write(subprotocol.name)
    writer.write("\r\n\r\n")
  }

  /// The digest of the key and of a text that no other protocol has, in base64 (§4.2.2).
  private func writeAccept(to writer: inout ByteWriter) {
    let digestByteCount = 20
    withUnsafeTemporaryAllocation(byteCount: 60 + digestByteCount, alignment: 1) { memory in
      var text = ByteWriter(memory)
      text.write(key)
      text.write("258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
      let digest = memory.baseAddress! + 60
      cdigest_sha1(
        memory.baseAddress!, Int32(text.count), digest.bindMemory(to: UInt8.self, capacity: digestByteCount))
      Base64.write(Bytes(digest, count: digestByteCount), to: &writer)
    }
  }
}
