import Bounded
import MQTTWire

/// The messages with QoS 1 and 2 that taps have run for lately. A client that has not seen the acknowledgement sends a message
/// again, with DUP (§4.4), also in a new session: then it is acknowledged, and nothing moves a second time.
///
/// Invariant: a mark is never 0; the newest stands before `next`, and each new one takes the oldest one's place.
struct RepeatedMessages: ~Copyable {
  private let marks: FixedArray<UInt64>
  private let key: HashKey
  private var next = 0

  /// More than all clients of a board have under way at a time, as clients that send commands wait for their answer.
  static var count: Int { 128 }

  init(key: HashKey, in reservation: inout Reservation) {
    marks = FixedArray(count: RepeatedMessages.count, name: "repeated messages", in: &reservation)
    self.key = key
  }

  /// What makes a repeat: the same client, packet identifier, topic and payload.
  func mark(_ packet: Publish, topic: Bytes, clientID: Bytes) -> UInt64 {
    let start = packet.payload.first(min(packet.payload.count, 256))
    let place = UInt64(truncatingIfNeeded: packet.payload.count) &<< 18 | UInt64(packet.packetID) &<< 2
    let words = key.hash(topic) &* 31 &+ key.hash(start) &* 37 &+ key.hash(clientID)
    return words ^ (place | UInt64(packet.qos.rawValue)) &* 0x9E37_79B9_7F4A_7C15 | 1
  }

  func contains(_ mark: UInt64) -> Bool {
    var index = 0
    while index < marks.count {
      if marks[index] == mark { return true }
      index += 1
    }
    return false
  }

  mutating func add(_ mark: UInt64) {
    marks[next] = mark
    next = (next + 1) % marks.count
  }
}
