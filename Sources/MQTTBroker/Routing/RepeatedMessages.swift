import Bounded
import MQTTWire

/// The messages with QoS 1 and 2 that taps have run for lately. A client that has not seen the acknowledgement sends a message
/// again, with DUP (§4.4), also in a new session: then it is acknowledged, and nothing moves a second time.
///
/// Each session's place has room for its last ones, so no other client can push them out. They stay when the session ends, until
/// another client that has the place then sends a command, and follow their client to the place of its next session.
///
/// Invariant: a client has one place at most, which is in the list of its hash; a mark is never 0; the newest of a place stands
/// before its `next`, and each new one takes the oldest one's place.
struct RepeatedMessages: ~Copyable {
  /// Hashes by which a repeat is known: of the Client Identifier, and of packet identifier, QoS, topic and payload.
  struct Mark: BitwiseCopyable, Equatable {
    fileprivate let client: UInt32
    fileprivate let message: UInt32
  }
  private struct Place: BitwiseCopyable {
    /// 0: of no client yet.
    var client: UInt32
    /// The next place in the same list + 1; 0: it is the last.
    var following: UInt32
    var next: UInt32
  }
  private let places: FixedArray<Place>
  /// Lists of places by the hash of their client: each the first place + 1; 0: an empty one.
  private let lists: FixedArray<UInt32>
  private let marks: FixedArray<UInt32>
  private let key: HashKey
  /// Places that the last search has looked at.
  private(set) var lookedCount = 0

  /// As many as mosquitto's and paho's clients have under way.
  static var perClient: Int { 20 }

  init(limits: Limits, key: HashKey, in reservation: inout Reservation) {
    places = FixedArray(count: limits.sessionsMax, name: "repeated messages", in: &reservation)
    var listCount = 1
    while listCount * 2 < limits.sessionsMax { listCount *= 2 }
    lists = FixedArray(count: listCount, name: "  lists", in: &reservation)
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
  mutating func contains(_ mark: Mark) -> Bool {
    guard let place = find(mark.client) else { return false }
    let end = (place + 1) * RepeatedMessages.perClient
    var index = end - RepeatedMessages.perClient
    while index < end {
      if marks[index] == mark.message { return true }
      index += 1
    }
    return false
  }

  /// Remembers a message for which a tap has run, in place of the oldest one of its client.
  /// - Parameter place: of the client's session, 0..<`sessions`.
  mutating func add(_ mark: Mark, at place: Int) {
    if places[place].client != mark.client { take(place, for: mark.client) }
    let next = Int(places[place].next)
    marks[place * RepeatedMessages.perClient + next] = mark.message
    places[place].next = UInt32((next + 1) % RepeatedMessages.perClient)
  }

  // MARK: Places

  private func list(_ client: UInt32) -> Int { Int(client &>> 1) & (lists.count - 1) }

  private mutating func find(_ client: UInt32) -> Int? {
    lookedCount = 0
    var link = lists[list(client)]
    while link != 0 {
      lookedCount += 1
      let place = Int(link) - 1
      if places[place].client == client { return place }
      link = places[place].following
    }
    return nil
  }

  /// The client has this place from now on, with the marks that it had elsewhere.
  private mutating func take(_ place: Int, for client: UInt32) {
    let old = find(client)
    leave(place)
    var index = 0
    while index < RepeatedMessages.perClient {
      marks[place * RepeatedMessages.perClient + index] =
        old.map { marks[$0 * RepeatedMessages.perClient + index] } ?? 0
      index += 1
    }
    let next = old.map { places[$0].next } ?? 0
    if let old { leave(old) }
    let list = list(client)
    places[place] = Place(client: client, following: lists[list], next: next)
    lists[list] = UInt32(place) + 1
  }

  /// The place has no client any more.
  private func leave(_ place: Int) {
    let entry = places[place]
    guard entry.client != 0 else { return }
    let list = list(entry.client)
    if Int(lists[list]) - 1 == place {
      lists[list] = entry.following
    } else {
      var before = Int(lists[list]) - 1
      while Int(places[before].following) - 1 != place { before = Int(places[before].following) - 1 }
      places[before].following = entry.following
    }
    places[place].client = 0
  }
}
