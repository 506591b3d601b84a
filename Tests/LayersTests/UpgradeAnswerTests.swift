import Bounded
import CDigest
import Layers
import Testing

@Suite struct UpgradeAnswerTests {
  private func answer(_ head: Head) -> String? {
    withLent(head.bytes) { bytes in
      guard case .complete(let request) = UpgradeRequest.parse(bytes, path: Bytes("/mqtt"), origins: OriginList(.empty))
      else { return nil }
      return written { request.writeAnswer(to: &$0) }.map { text($0) }
    }
  }

  /// RFC 6455 §1.3 has the first one; the others were computed with another library.
  @Test(
    arguments: [
      ("dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
      ("AAAAAAAAAAAAAAAAAAAAAA==", "ICX+Yqv66kxgM0FcWaLWlFLwTAI="),
      ("x3JJHMbDL1EzLkh9GBhXDw==", "HSmrc0sMlYUkAGmm5OPpG2HaGWk="),
    ]) func accepts(_ key: String, _ accept: String)
  {
    for subprotocol in ["mqtt", "mqttv3.1"] {
      let response = answer(
        Head {
          $0.key = "Sec-WebSocket-Key: \(key)"
          $0.subprotocol = "Sec-WebSocket-Protocol: \(subprotocol)"
        })
      #expect(
        response == """
          HTTP/1.1 101 Switching Protocols\r
          Upgrade: websocket\r
          Connection: Upgrade\r
          Sec-WebSocket-Accept: \(accept)\r
          Sec-WebSocket-Protocol: \(subprotocol)\r
          \r\n
          """)
      #expect((response?.utf8.count ?? 1_000) <= UpgradeRequest.answerByteCountMax)
    }
  }

  /// FIPS 180's examples, and lengths around a block of 64 bytes.
  @Test func sha1() {
    let rows: [([UInt8], String)] = [
      ([], "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
      ([UInt8]("abc".utf8), "a9993e364706816aba3e25717850c26c9cd0d89d"),
      (
        [UInt8]("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".utf8),
        "84983e441c3bd26ebaae4aa1f95129e5e54670f1"
      ),
      ([UInt8](repeating: 0x61, count: 64), "0098ba824b5c16427bd7a1122a5a442a25ec644d"),
    ]
    for (bytes, expected) in rows {
      var digest = [UInt8](repeating: 0, count: 20)
      cdigest_sha1(bytes, Int32(bytes.count), &digest)
      let hex = digest.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
      #expect(hex == expected)
    }
  }

  /// An HTTP client can read it, and it names the remedy in one line.
  @Test(arguments: UpgradeRefusal.allCases) func refuses(_ refusal: UpgradeRefusal) throws {
    let bytes = try #require(written { refusal.write(to: &$0) })
    #expect(bytes.count <= UpgradeRefusal.answerByteCountMax)
    let whole = text(bytes)
    let parts = whole.split(separator: "\r\n\r\n", maxSplits: 1).map { String($0) }
    try #require(parts.count == 2)
    let lines = parts[0].split(separator: "\r\n").map { String($0) }
    #expect(lines[0].hasPrefix("HTTP/1.1 \(refusal.status) "))
    #expect([400, 403, 404, 405, 426, 431, 505].contains(refusal.status))
    #expect(lines.contains("Content-Length: \(parts[1].utf8.count)"))
    #expect(parts[1].hasSuffix("\n") && parts[1].split(separator: "\n").count == 1)
    #expect(parts[1] == "\(refusal.remedy)\n")
    #expect(lines.contains(refusal.status == 426 ? "Connection: close, Upgrade" : "Connection: close"))
    #expect(lines.contains("Upgrade: websocket") == (refusal.status == 426))
    #expect(lines.contains("Sec-WebSocket-Version: 13") == (refusal.status == 426))
    #expect(lines.contains("Allow: GET") == (refusal.status == 405))
  }

  @Test func aRefusalThatHasNoRoomIsNotCut() {
    #expect(written(capacity: 100) { UpgradeRefusal.key.write(to: &$0) } == nil)
  }
}
