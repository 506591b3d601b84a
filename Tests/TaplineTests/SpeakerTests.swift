import Bounded
import MQTTBroker
import MQTTWire
import Testing

@testable import Tapline

/// Who speaks on a stream, in 32 bits.
@Suite struct SpeakerTests {
  @Test func nobodyYet() {
    for allowsAnonymous in [false, true] {
      for policy in [FramerPolicy.disconnect, .resync] {
        let bits = Speaker.none(allowsAnonymous: allowsAnonymous, policy: policy).bits
        guard case .none(allowsAnonymous, policy) = Speaker(bits: bits) else {
          Issue.record("\(bits)")
          return
        }
      }
    }
  }

  @Test func aSerialLine() {
    for place in [0, 1, 15] {
      guard case .port(place) = Speaker(bits: Speaker.port(place).bits) else {
        Issue.record("\(place)")
        return
      }
    }
  }

  @Test func aLayer() {
    guard case .layer = Speaker(bits: Speaker.layer.bits) else {
      Issue.record("\(Speaker.layer.bits)")
      return
    }
    #expect(!Speaker.isPlain(Speaker.layer.bits) && !Speaker.isPlain(Speaker.port(3).bits))
    #expect(Speaker.isPlain(1 << 20))
  }

  /// Of any index and generation that a handle may have.
  @Test(arguments: [1 << 20, 1 << 20 | 1, 1 << 20 | 0xF_FFFF, 0xFFF0_0000, 0xFFFF_FFFF, 5 << 20 | 1 << 19] as [UInt32])
  func aConnection(bits: UInt32) {
    let id = ConnectionID(bits: bits)
    guard case .mqtt(id) = Speaker(bits: Speaker.mqtt(id).bits) else {
      Issue.record("\(bits)")
      return
    }
  }
}
