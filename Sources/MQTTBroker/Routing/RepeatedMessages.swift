import Bounded
import MQTTWire

/// The messages with QoS 1 and 2 that taps have run for lately. A client that has not seen the acknowledgement sends a message
/// again, with DUP (§4.4), also in a new session: then it is acknowledged, and nothing moves a second time.
///
/// A repeat is a message with DUP whose Client Identifier, packet identifier, QoS, topic and payload are those of one of the
/// client's last messages that taps have run for; of the payload its length and its first 256 bytes. So many as the client may
/// have in flight are known.
///
/// A client that has restarted counts its packet identifiers from 1 again, and what it repeats then may look like what it
/// sent before it restarted. So a client's messages are forgotten when its connection ends and it is known to have the
/// acknowledgements: when it said DISCONNECT and all bytes for it had been written, on a connection on which it had sent a
/// command; or when it was heard a minute after its last command, and a minute after its CONNECT, since a client repeats at once
/// what it has to.
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
    var next: UInt16
    /// The lowest 15 bits of a time in seconds, after which the client repeats nothing if it is heard for a minute; and, in the
    /// highest bit, whether it has sent a command on its present connection.
    var bits: UInt16
  }
  /// 24 bits: of a message that comes with DUP and was not acted on, one of half a million is taken for one that was.
  private struct StoredMark: BitwiseCopyable, Equatable {
    let low: UInt8
    let middle: UInt8
    let high: UInt8

    init(_ message: UInt32) {
      low = UInt8(truncatingIfNeeded: message)
      middle = UInt8(truncatingIfNeeded: message &>> 8)
      high = UInt8(truncatingIfNeeded: message &>> 16)
    }
  }
  private let places: FixedArray<Place>
  /// Lists of places by the hash of their client: each the first place + 1; 0: an empty one.
  private let lists: FixedArray<UInt32>
  private let marks: FixedArray<StoredMark>
  private let key: HashKey
  private let perClient: Int
  /// The place of the mark that was added last, until it has its time; -1: none.
  private var added = -1
  /// Places that the last search has looked at.
  private(set) var lookedCount = 0

  /// As many as mosquitto's and paho's clients have under way of themselves, even if they are told of fewer.
  static var perClientMin: Int { 20 }
  static var quietSeconds: UInt16 { 60 }

  init(limits: Limits, key: HashKey, in reservation: inout Reservation) {
    places = FixedArray(count: limits.sessionsMax, name: "repeated messages", in: &reservation)
    var listCount = 1
    while listCount * 2 < limits.sessionsMax { listCount *= 2 }
    lists = FixedArray(count: listCount, name: "  lists", in: &reservation)
    perClient = max(limits.inflightMax, RepeatedMessages.perClientMin)
    marks = FixedArray(count: limits.sessionsMax * perClient, name: "  marks", in: &reservation)
    self.key = key
  }

  func mark(_ packet: Publish, topic: Bytes, clientID: Bytes) -> Mark {
    let start = packet.payload.first(min(packet.payload.count, 256))
    let place = UInt64(truncatingIfNeeded: packet.payload.count) &<< 18 | UInt64(packet.packetID) &<< 2
    var words = key.hash(topic) &* 31 &+ key.hash(start) &* 37
    words ^= (place | UInt64(packet.qos.rawValue)) &* 0x9E37_79B9_7F4A_7C15
    return Mark(
      client: client(clientID),
      message: UInt32(truncatingIfNeeded: words ^ words &>> 32) | 1)
  }

  private func client(_ clientID: Bytes) -> UInt32 { UInt32(truncatingIfNeeded: key.hash(clientID)) | 1 }

  /// Whether the message of this mark is among the last ones of its client, in whatever place the client's session was.
  mutating func contains(_ mark: Mark) -> Bool {
    guard let place = find(mark.client) else { return false }
    let end = (place + 1) * perClient
    let wanted = StoredMark(mark.message)
    var index = end - perClient
    while index < end {
      if marks[index] == wanted { return true }
      index += 1
    }
    return false
  }

  /// Remembers a message for which a tap has run, in place of the oldest one of its client.
  /// - Parameter place: of the client's session, 0..<`sessions`.
  mutating func add(_ mark: Mark, at place: Int) {
    if places[place].client != mark.client { take(place, for: mark.client) }
    let next = Int(places[place].next)
    marks[place * perClient + next] = StoredMark(mark.message)
    places[place].next = UInt16((next + 1) % perClient)
    added = place
  }

  // MARK: Time

  /// The packet is done for which a mark may have been added.
  mutating func packetTaken(at now: Instant) {
    guard added >= 0 else { return }
    places[added].bits = seconds(now) | 0x8000
    added = -1
  }

  /// A client is here again: what it has to repeat it repeats now.
  mutating func connected(_ clientID: Bytes, at now: Instant) {
    if let place = find(client(clientID)) { places[place].bits = seconds(now) }
  }

  /// A client's connection has ended.
  /// - Parameters:
  ///   - isAnswered: it said DISCONNECT, and had been written all that there was for it.
  ///   - heard: when its last packet came.
  mutating func disconnected(_ clientID: Bytes, isAnswered: Bool, heardAt heard: Instant) {
    guard let place = find(client(clientID)) else { return }
    let bits = places[place].bits
    let isQuiet = (seconds(heard) &- bits) & 0x7FFF >= RepeatedMessages.quietSeconds
    if isQuiet || isAnswered && bits & 0x8000 != 0 { leave(place) }
  }

  private func seconds(_ instant: Instant) -> UInt16 {
    UInt16(truncatingIfNeeded: instant.nanoseconds / 1_000_000_000) & 0x7FFF
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
    while index < perClient {
      marks[place * perClient + index] = old.map { marks[$0 * perClient + index] } ?? StoredMark(0)
      index += 1
    }
    let next = old.map { places[$0].next } ?? 0
    if let old { leave(old) }
    let list = list(client)
    places[place] = Place(client: client, following: lists[list], next: next, bits: 0)
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
