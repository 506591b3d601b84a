import Bounded
import Layers
import Testing

@Suite struct WebSocketFrameTests {
  @Test(
    arguments: [
      (0, [0x82, 0]), (1, [0x82, 1]), (125, [0x82, 125]), (126, [0x82, 126, 0, 126]),
      (65_535, [0x82, 126, 0xFF, 0xFF]),
      (65_536, [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]), (0x1_0203_0405, [0x82, 127, 0, 0, 0, 1, 2, 3, 4, 5]),
    ] as [(Int, [UInt8])]) func headers(_ payloadByteCount: Int, _ bytes: [UInt8])
  {
    #expect(written { WebSocketFrame.header(.binary, payloadByteCount: payloadByteCount, into: &$0) } == bytes)
    #expect(WebSocketFrame.headerByteCount(payloadByteCount: payloadByteCount) == bytes.count)
    #expect(bytes.count <= WebSocketFrame.headerByteCountMax)
    let tooSmall = written(capacity: bytes.count - 1) {
      WebSocketFrame.header(.binary, payloadByteCount: payloadByteCount, into: &$0)
    }
    #expect(tooSmall == nil)
  }

  @Test func controlFrames() {
    let payload = [UInt8](repeating: 7, count: 125)
    withLent(payload) { payload in
      #expect(written { WebSocketFrame.pong(payload, into: &$0) } == [0x8A, 125] + payload.array())
      #expect(written { WebSocketFrame.ping(payload.first(2), into: &$0) } == [0x89, 2, 7, 7])
    }
    #expect(written { WebSocketFrame.pong(.empty, into: &$0) } == [0x8A, 0])
    #expect(written { WebSocketFrame.close(.protocolError, into: &$0) } == [0x88, 2, 0x03, 0xEA])
    #expect(written { WebSocketFrame.close(nil, into: &$0) } == [0x88, 0])
  }

  @Test func codes() {
    let codes: [(WebSocketCloseCode, UInt16)] = [
      (.normal, 1000), (.goingAway, 1001), (.protocolError, 1002), (.unsupportedData, 1003), (.policyViolation, 1008),
      (.tooBig, 1009), (.internalError, 1011),
    ]
    for (code, number) in codes {
      #expect(code.rawValue == number)
      #expect(code.mayTravel)
    }
    for number in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] as [UInt16] {
      #expect(!WebSocketCloseCode(rawValue: number).mayTravel)
    }
    for number in [1007, 1014, 3000, 4999] as [UInt16] { #expect(WebSocketCloseCode(rawValue: number).mayTravel) }
  }
}
