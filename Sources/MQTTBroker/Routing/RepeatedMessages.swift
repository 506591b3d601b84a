import Bounded
import MQTTWire

/// The messages with QoS 1 and 2 that taps have run for lately. A client that has not seen the acknowledgement sends a message
/// again, with DUP (§4.4), also in a new session: then it is acknowledged, and nothing moves a second time.
///
/// Each session's place has room for its last ones, so no other client can push them out. They stay when the session ends, until
/// another client that has the place then sends a command.
///
/// Invariant: a mark is never 0; the newest of a place stands before its `next`, and each new one takes the oldest one's place.
struct RepeatedMessages: ~Copyable {
  /// Hashes by which a repeat is known: of the Client Identifier, and of packet identifier, QoS, topic and payload.
  struct Mark: BitwiseCopyable, Equatable {
    fileprivate let client: UInt32
    fileprivate let message: UInt32
  }
  private struct Place: BitwiseCopyable {
    /// 0: of no client yet.
    var client: UInt32
    var next: UInt32
  }
  private let places: FixedArray<Place>
  private let marks: FixedArray<UInt32>
  private let key: HashKey

  /// As many as mosquitto's and paho's clients have under way.
  static var perClient: Int { 20 }

  init(limits: Limits, key: HashKey, in reservation: inout Reservation) {
    places = FixedArray(count: limits.sessionsMax, name: "repeated messages", in: &reservation)
    marks = FixedArray(count: limits.sessionsMax * RepeatedMessages.perClient, name: "  marks", in: &reservation)
    self.key = key
  }

  func mark(_ packet: Publish, topic: Bytes, clientID: Bytes) -> Mark {
    let start = packet.payload.first(min(packet.payload.count, 256))
    let place = UInt64(truncatingIfNeeded: packet.payload.count) &<< 18 | UInt64(packet.packetID) &<< 2
    var words = key.hash(topic) &* 31 &+ key.hash(start) &* 37
    words ^= (place | UInt64(packet.qos.rawValue)) &* 0x9E37_79B9_7F4A_7C15
    return Mark(
      client: UInt32(truncatingIfNeeded: key.hash(clientID)) | 1,
      message: UInt32(truncatingIfNeeded: words ^ words &>> 32) | 1)
  }

  /// Whether the message of this mark is among the last ones of its client, in whatever place the client's session was.
  func contains(_ mark: Mark) -> Bool {
    var place = 0
    while place < places.count {
      if places[place].client == mark.client, contains(mark.message, at: place) { return true }
      place += 1
    }
    return false
  }

  private func contains(_ message: UInt32, at place: Int) -> Bool {
    let end = (place + 1) * RepeatedMessages.perClient
    var index = end - RepeatedMessages.perClient
    while index < end {
      if marks[index] == message { return true }
      index += 1
    }
    return false
  }

  /// Remembers a message for which a tap has run, in place of the oldest one of its client.
  /// - Parameter place: of the client's session, 0..<`sessions`.
  func add(_ mark: Mark, at place: Int) {
    let first = place * RepeatedMessages.perClient
    if places[place].client != mark.client {
      places[place] = Place(client: mark.client, next: 0)
      var index = first
      while index < first + RepeatedMessages.perClient {
        marks[index] = 0
        index += 1
      }
    }
    let next = Int(places[place].next)
    marks[first + next] = mark.message
    places[place].next = UInt32((next + 1) % RepeatedMessages.perClient)
  }
}
