import Bounded
import MQTTBroker
import MQTTWire

/// Who speaks on a stream: what stands in the stream's 32 bits for its owner.
///
///   ┌────────────────────────┬──────────────────────────────────────┐ a connection's generation is 1...4095, so the
///   │ generation (12 bits)   │ index (20 bits)                      │ other speakers have 0 there
///   └────────────────────────┴──────────────────────────────────────┘
enum Speaker {
  /// Nobody has said anything yet. What its listener wants of a client is kept here until then.
  case none(allowsAnonymous: Bool, policy: FramerPolicy)
  case mqtt(ConnectionID)
  /// A serial line: its place among them. Its client may come and go while the line stays.
  case port(Int)
  /// What lies between the bytes and MQTT: `StreamLayers` knows, by the stream's place.
  case layer

  private static var portBit: UInt32 { 1 << 19 }
  private static var layerBit: UInt32 { 1 << 18 }

  /// Whether the broker's bytes go to the stream as they are.
  @inline(__always) static func isPlain(_ bits: UInt32) -> Bool { bits >> 20 != 0 }

  init(bits: UInt32) {
    if bits >> 20 != 0 {
      self = .mqtt(ConnectionID(bits: bits))
    } else if bits & Speaker.portBit != 0 {
      self = .port(Int(bits & ~Speaker.portBit))
    } else if bits & Speaker.layerBit != 0 {
      self = .layer
    } else {
      self = .none(allowsAnonymous: bits & 1 != 0, policy: FramerPolicy(rawValue: UInt8(bits >> 1 & 1))!)
    }
  }

  var bits: UInt32 {
    switch self {
    case .none(let allowsAnonymous, let policy): UInt32(policy.rawValue) << 1 | (allowsAnonymous ? 1 : 0)
    case .mqtt(let connection): connection.bits
    case .port(let index): Speaker.portBit | UInt32(index)
    case .layer: Speaker.layerBit
    }
  }
}
