import Bounded
import Layers

/// Any bytes as a request head: a part of them is incomplete or has the answer of the whole, and a head that is taken has
/// what it must have, found by splitting text.
///
/// Input: where it is cut (two bytes), whether every origin is allowed, the head.
func fuzzUpgrade(_ input: inout Input) {
  let cut = input.uint16()
  let origins: StaticString = input.byte() & 1 == 0 ? "http://a" : "*"
  let bytes = input.rest()
  let whole = parse(bytes, origins)
  let part = parse(Array(bytes.prefix(cut % (bytes.count + 1))), origins)
  check(part == .incomplete || part == whole, "\(part), then \(whole)")
  switch whole {
  case .incomplete: check(bytes.count < UpgradeRequest.headByteCountMax, "an endless head")
  case .refused: break
  case .complete(let head, let answer): checkTaken(Array(bytes.prefix(head)), answer)
  }
}

private enum Result: Equatable {
  case incomplete
  case refused(UpgradeRefusal)
  /// The bytes of the head, and the answer.
  case complete(Int, [UInt8])
}

private func parse(_ bytes: [UInt8], _ origins: StaticString) -> Result {
  withLent(bytes) { bytes in
    switch UpgradeRequest.parse(bytes, path: Bytes("/mqtt"), origins: OriginList(Bytes(origins))) {
    case .incomplete: return .incomplete
    case .refused(let refusal):
      check(written(capacity: UpgradeRefusal.answerByteCountMax) { refusal.write(to: &$0) } != nil, "no room")
      return .refused(refusal)
    case .complete(let request):
      check(request.headByteCount <= min(bytes.count, UpgradeRequest.headByteCountMax), "a head of more than there is")
      if let origin = request.origin { check(origin.isWithin(bytes), "origin") }
      if let address = request.forwardedFor {
        check(address.isWithin(bytes) && !address.isEmpty, "forwarded for")
        _ = NumericAddress(address)
      }
      let answer = written(capacity: UpgradeRequest.answerByteCountMax) { request.writeAnswer(to: &$0) }
      check(answer != nil, "no room")
      return .complete(request.headByteCount, answer!)
    }
  }
}

private func checkTaken(_ head: [UInt8], _ answer: [UInt8]) {
  let text = String(decoding: head.map { $0 < 128 ? $0 : 0x3F }, as: UTF8.self)
  check(text.hasPrefix("GET /mqtt") && text.hasSuffix("\r\n\r\n"), text)
  let lines = text.dropLast(2).split(separator: "\r\n" as Character, omittingEmptySubsequences: false)
  check(lines.count - 1 <= UpgradeRequest.headerLinesMax, "\(lines.count) lines")
  check(lines[0].hasSuffix(" HTTP/1.1") && lines[0].split(separator: " ").count == 3, text)
  var fields: [String: [String]] = [:]
  for line in lines.dropFirst() {
    let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    check(parts.count == 2 && !parts[0].isEmpty, text)
    fields[parts[0].lowercased(), default: []].append(trimmed(parts[1]))
  }
  func elements(_ name: String) -> [String] {
    fields[name, default: []].flatMap { $0.split(separator: ",").map { trimmed($0) } }
  }
  check(fields["host"]?.count == 1 && fields["sec-websocket-version"] == ["13"], text)
  check(elements("upgrade").contains { $0.lowercased() == "websocket" }, text)
  check(elements("connection").contains { $0.lowercased() == "upgrade" }, text)
  check(fields["sec-websocket-key"]?.count == 1 && fields["sec-websocket-key"]![0].utf8.count == 24, text)
  check(fields["origin", default: []].count <= 1 && fields["transfer-encoding"] == nil, text)
  let offers = elements("sec-websocket-protocol")
  let chosen = offers.contains("mqtt") ? "mqtt" : "mqttv3.1"
  check(offers.contains(chosen), text)
  check(String(decoding: answer, as: UTF8.self).hasSuffix("Sec-WebSocket-Protocol: \(chosen)\r\n\r\n"), text)
}

private func trimmed(_ text: Substring) -> String {
  let isBlank: (Character) -> Bool = { $0 == " " || $0 == "\t" }
  var text = text.drop(while: isBlank)
  while let last = text.last, isBlank(last) { text.removeLast() }
  return String(text)
}

func upgradeSeeds() -> [[UInt8]] {
  let lines = [
    "GET /mqtt HTTP/1.1", "Host: a", "Upgrade: websocket", "Connection: keep-alive, Upgrade",
    "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol: mqttv3.1, mqtt", "Origin: http://a", "X-Forwarded-For: 10.0.0.1, ::1",
    "Content-Length: 0",
  ]
  func bytes(_ lines: [String]) -> [UInt8] {
    [0, 60, 0] + [UInt8]((lines.joined(separator: "\r\n") + "\r\n\r\n").utf8)
  }
  var seeds = [bytes(lines), bytes(Array(lines.prefix(7))), bytes([]), [0, 0, 1]]
  for left in lines.indices { seeds.append(bytes(lines.enumerated().filter { $0.offset != left }.map(\.element))) }
  seeds.append(bytes(["GET /mqtt?a HTTP/1.0", "Transfer-Encoding: chunked", " folded"]))
  seeds.append(bytes(["POST / HTTP/1.1"] + (0..<49).map { "A\($0):" }))
  seeds.append(bytes(lines) + [0x82, 0x80, 1, 2, 3, 4])
  return seeds
}
