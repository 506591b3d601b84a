import Bounded
import MQTTWire

/// A retained message and the topic it is kept for (§3.3.1.3).
struct Retained: BitwiseCopyable {
  let node: Handle<TopicNode>
  /// Null only between `prepare` and `commit` or `abandon`.
  fileprivate(set) var message: Handle<Message> = .null
  /// Grows with every store: a replay sends what is not younger than its subscription.
  fileprivate(set) var age: UInt32 = 0
}

/// A walk over all retained messages for those that have expired.
struct RetainedSweep: BitwiseCopyable {
  static var slotsPerTurn: Int { 256 }
  /// The next slot of the walk that is under way; 0: there is none.
  fileprivate(set) var position = 0
  /// The earliest expiry of those that the walk under way does not look at any more, or of all.
  fileprivate(set) var nextExpiry = Instant.never
  fileprivate(set) var notBefore = Instant(nanoseconds: 0)
}

/// One retained message a topic (§3.3.1.3): kept, replaced, removed, and swept when its time is over.
///
/// Invariant: a slot and its topic's node name each other; a slot owns its message; no slot is older than `age`; a
/// message that expires is before the sweep under way or counted in `sweep.nextExpiry`.
struct RetainedStore: ~Copyable {
  private var slots: Slab<Retained>
  /// Of the message that was retained last.
  private(set) var age: UInt32 = 0
  private(set) var sweep = RetainedSweep()

  init(limits: Limits, in reservation: inout Reservation) {
    slots = Slab(capacity: limits.retainedMax, name: "retained", in: &reservation)
  }

  subscript(slot: Handle<Retained>) -> Retained {
    @inline(__always) unsafeAddress { UnsafePointer(slots.address(slot)) }
  }

  var gauge: Gauge { slots.gauge }
  func isLent(_ slot: Handle<Retained>) -> Bool { slots.isLent(slot) }
  func handle(at index: Int) -> Handle<Retained>? { slots.handle(at: index) }

  // MARK: Keeping

  /// A slot for the topic's retained message, made where it is missing; `commit` or `abandon` follows. `nil` when there
  /// is no room.
  mutating func prepare(_ message: Inbound, _ topics: inout TopicTree) -> Handle<Retained>? {
    guard let node = topics.intern(message.topic) else { return nil }
    if !topics[node].retained.isNull { return topics[node].retained }
    guard let slot = slots.lend(Retained(node: node)) else {
      topics.prune(node)
      return nil
    }
    topics.hang(slot, on: node)
    return slot
  }

  /// A retained message can always be replaced: when the pool of messages is full, the old one is released first.
  mutating func giveWay(_ slot: Handle<Retained>, to message: Inbound, _ messages: inout MessageStore) {
    let old = slots[slot].message
    guard !messages.hasRoom, !old.isNull, messages[old].owners == 1 else { return }
    guard messages.bodies.hasRoom(for: message.byteCount, keepingFree: 0) else { return }
    messages.release(old)
    slots[slot].message = .null
  }

  /// What `prepare` was for does not happen.
  mutating func abandon(_ slot: Handle<Retained>, _ topics: inout TopicTree, _ messages: inout MessageStore) {
    if slots[slot].message.isNull { remove(slot, &topics, &messages) }
  }

  /// From now on this is the topic's retained message. Answers when a sweep is due; nil: no earlier than before.
  mutating func commit(
    _ slot: Handle<Retained>, _ message: Handle<Message>, _ messages: inout MessageStore
  ) -> Instant? {
    if !slots[slot].message.isNull { messages.release(slots[slot].message) }
    messages.retain(message)
    slots[slot].message = message
    if age == .max { beginAges(at: 0) }
    age += 1
    slots[slot].age = age
    return expectSweep(messages[message].expiresAt)
  }

  /// Forgets the ages. A replay that is under way may send one twice then: that it came live, too.
  mutating func beginAges(at first: UInt32) {
    slots.visit { $0.pointee.age = 0 }
    age = first
  }

  /// The topic has no retained message any more.
  mutating func remove(_ slot: Handle<Retained>, _ topics: inout TopicTree, _ messages: inout MessageStore) {
    let node = slots[slot].node
    if !slots[slot].message.isNull { messages.release(slots[slot].message) }
    topics.hang(Handle<Retained>.null, on: node)
    slots.giveBack(slot)
    topics.prune(node)
  }

  // MARK: Expiry

  /// The sweep is due when the first of them expires, but at most once a second.
  private mutating func expectSweep(_ expiresAt: Instant) -> Instant? {
    guard expiresAt < sweep.nextExpiry else { return nil }
    sweep.nextExpiry = expiresAt
    return sweep.position == 0 ? max(expiresAt, sweep.notBefore) : nil
  }

  /// Removes retained messages that have expired, so that they do not keep their place from others; some a turn.
  /// Answers how many, and when the sweep goes on or is due again.
  mutating func sweepExpired(
    _ topics: inout TopicTree, _ messages: inout MessageStore, at now: Instant
  ) -> (removed: Int, next: Instant) {
    if sweep.position == 0 { sweep.nextExpiry = .never }
    var removed = 0
    let end = min(sweep.position + RetainedSweep.slotsPerTurn, slots.capacity)
    while sweep.position < end {
      if let slot = slots.handle(at: sweep.position) {
        let expiresAt = messages[slots[slot].message].expiresAt
        if expiresAt <= now {
          remove(slot, &topics, &messages)
          removed += 1
        } else {
          sweep.nextExpiry = min(sweep.nextExpiry, expiresAt)
        }
      }
      sweep.position += 1
    }
    if end < slots.capacity { return (removed, now.adding(milliseconds: 1)) }
    sweep.position = 0
    sweep.notBefore = now.adding(seconds: 1)
    return (removed, max(sweep.nextExpiry, sweep.notBefore))
  }
}
