/// What a server writes to a WebSocket, taken apart.
struct WebSocketAnswers {
  /// The HTTP answer with its empty line, and with what follows it if it is no 101.
  private(set) var head = ""
  /// Opcodes and payloads.
  private(set) var controlFrames: [(opcode: UInt8, payload: [UInt8])] = []
  private(set) var problem: String?
  private var rest: [UInt8] = []
  private var isOpen = false

  /// The payload of data that has come.
  mutating func take(_ more: ArraySlice<UInt8>) -> [UInt8] {
    rest += more
    if !isOpen {
      let end = Array("\r\n\r\n".utf8)
      guard let place = rest.indices.first(where: { rest[$0...].starts(with: end) }) else { return [] }
      isOpen = rest.starts(with: Array("HTTP/1.1 101 ".utf8))
      head = String(decoding: isOpen ? rest[..<(place + 4)] : rest[...], as: UTF8.self)
      guard isOpen else { return [] }
      rest.removeFirst(place + 4)
    }
    var payload: [UInt8] = []
    while let frame = takeFrame() {
      if frame.opcode == 2 { payload += frame.payload } else { controlFrames.append(frame) }
    }
    return payload
  }

  private mutating func takeFrame() -> (opcode: UInt8, payload: [UInt8])? {
    guard rest.count >= 2 else { return nil }
    if rest[0] & 0xF0 != 0x80 || rest[1] > 126 { problem = "a frame begins with \(rest[0]), \(rest[1])" }
    let start = rest[1] == 126 ? 4 : 2
    guard rest.count >= start else { return nil }
    let count = rest[1] == 126 ? Int(rest[2]) * 256 + Int(rest[3]) : Int(rest[1])
    guard rest.count >= start + count else { return nil }
    let frame = (rest[0] & 0x0F, Array(rest[start..<(start + count)]))
    rest.removeFirst(start + count)
    return frame
  }
}

/// A client's request.
func upgradeRequest(_ more: String = "", path: String = "/mqtt", subprotocol: String = "mqtt") -> [UInt8] {
  let lines = [
    "GET \(path) HTTP/1.1", "Host: board", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: \(subprotocol)",
  ]
  return [UInt8]((lines.joined(separator: "\r\n") + "\r\n" + more + "\r\n").utf8)
}

/// A client's frame.
func clientFrame(_ opcode: UInt8, _ payload: [UInt8], isFinal: Bool = true) -> [UInt8] {
  let key: [UInt8] = [0x37, 0xFA, 0x21, 0x3D]
  var bytes: [UInt8] = [isFinal ? 0x80 | opcode : opcode]
  switch payload.count {
  case ..<126: bytes.append(0x80 | UInt8(payload.count))
  case ..<65_536: bytes += [0xFE, UInt8(payload.count / 256), UInt8(payload.count % 256)]
  default: bytes += [0xFF] + (0..<8).map { UInt8(truncatingIfNeeded: payload.count >> (56 - 8 * $0)) }
  }
  return bytes + key + payload.enumerated().map { $1 ^ key[$0 % 4] }
}
