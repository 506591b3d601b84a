import Bounded
import MQTTWire

/// A retained message and the topic it is kept for (§3.3.1.3).
struct Retained: BitwiseCopyable {
  /// Its topic's node.
  let place: TopicPlace
  /// The session or the board that made this place.
  let holder: Holder
  /// Who published the message.
  fileprivate(set) var publisher = Holder.nobody
  /// Null only between `prepare` and `commit` or `abandon`.
  fileprivate(set) var message: Handle<Message> = .null
  /// Grows with every store: a replay sends what is not younger than its subscription.
  fileprivate(set) var age: UInt32 = 0
}

/// One retained message a topic (§3.3.1.3): kept, replaced, removed, and swept when its time is over.
///
/// Invariant: a slot and its topic's node name each other; a slot owns its message; no slot is older than `age`; a
/// message that expires is before the sweep under way or counted in `sweep.nextExpiry`; `blockCount` is the sum over the
/// slots' messages. A slot is charged to who made it, and its message's blocks to who published it.
struct RetainedStore: ~Copyable {
  private var slots: Slab<Retained>
  /// A bit for each slot that is lent, so that a walk passes over the others.
  private let used: FixedArray<UInt64>
  /// The age of the message that was retained last.
  private(set) var age: UInt32 = 0
  private(set) var sweep = ExpirySweep()
  /// Blocks of their messages, and how many there may be: others are sure of the rest.
  private(set) var blockCount = 0
  private let blockCountMax: Int
  /// Blocks that are kept for each of the board's topics: a state with its properties, or the text of a fault.
  static var blocksPerOwn: Int { 3 }

  @_optimize(size) init(limits: Limits, in reservation: inout Reservation) {
    blockCountMax = limits.retainedBlocksMax
    slots = Slab(capacity: limits.retainedMax, name: "retained", in: &reservation)
    used = FixedArray(count: (limits.retainedMax + 63) / 64, name: "  bit map", in: &reservation)
  }

  subscript(slot: Handle<Retained>) -> Retained {
    @inline(__always) unsafeAddress { UnsafePointer(slots.address(slot)) }
  }

  var gauge: Gauge { slots.gauge }
  func isLent(_ slot: Handle<Retained>) -> Bool { slots.isLent(slot) }
  func handle(at index: Int) -> Handle<Retained>? { slots.handle(at: index) }

  // MARK: Keeping

  /// A slot for the topic's retained message, made where it is missing; `commit` or `abandon` follows. Throws, and counts,
  /// what there is no room of, or not within the publisher's share.
  mutating func prepare(
    _ message: Inbound, _ topics: inout TopicTree, _ messages: borrowing MessageStore, _ shares: inout Shares,
    _ sessions: borrowing SessionStore
  ) throws(Limit) -> Handle<Retained> {
    let known = topics.find(message.topic) ?? .null
    let isBoards = !known.isNull && topics[known].isOwned || isSys(message)
    let old = known.isNull ? .null : topics[known].retained
    guard isBoards || mayKeep(message, in: old, messages, shares, sessions) else {
      slots.gauge.refused &+= 1
      throw .blocks
    }
    guard old.isNull else { return old }
    let holder = isBoards ? Holder.board : .session(message.publisher)
    guard shares.mayTake(.retained, 1, by: holder, free: slots.gauge.free, sessions) else {
      slots.gauge.refused &+= 1
      throw .retained
    }
    let (node, use) = try topics.intern(message.topic, by: holder, shares.joint, sessions)
    let place = TopicPlace(index: node.index, use: use)
    let slot = slots.lend(Retained(place: place, holder: holder))!  // the room was seen above
    shares.take(.retained, 1, by: holder, sessions)
    topics.take(node, use, by: holder, &shares.joint, sessions)
    topics.hang(slot, on: node)
    used[slot.index >> 6] |= 1 << UInt64(slot.index & 63)
    return slot
  }

  private func isSys(_ message: Inbound) -> Bool {
    message.isBoards && Topic.isSys(message.topic)
  }

  /// Whether its publisher's share has room for the message's blocks in place of those that are there.
  private func mayKeep(
    _ message: Inbound, in slot: Handle<Retained>, _ messages: borrowing MessageStore, _ shares: Shares,
    _ sessions: borrowing SessionStore
  ) -> Bool {
    let count = messages.bodies.blockCount(for: message.byteCount)
    let old = slot.isNull ? 0 : oldBlockCount(slot, messages)
    return count <= old
      || shares.mayTake(
        .retainedBlocks, count, by: .session(message.publisher), free: blockCountMax - blockCount + old, replaced: old,
        of: slot.isNull ? .nobody : slots[slot].publisher, sessions)
  }

  /// The first slot from `index` on that is lent, and how many words were looked at.
  func next(from index: Int) -> (slot: Handle<Retained>, wordCount: Int)? {
    var word = index >> 6
    guard word < used.count else { return nil }
    var bits = used[word] & (.max << UInt64(index & 63))
    while bits == 0 {
      word += 1
      guard word < used.count else { return nil }
      bits = used[word]
    }
    return (slots.handle(at: word << 6 + bits.trailingZeroBitCount)!, word - index >> 6 + 1)
  }

  private func oldBlockCount(_ slot: Handle<Retained>, _ messages: borrowing MessageStore) -> Int {
    let old = slots[slot].message
    return old.isNull ? 0 : messages.bodies.blockCount(for: messages[old].body.byteCount)
  }

  /// Whether the message would find room in place of the one that is kept, if nobody else holds that.
  func canReplace(_ slot: Handle<Retained>, with message: Inbound, _ messages: borrowing MessageStore) -> Bool {
    let old = slots[slot].message
    guard !old.isNull, messages[old].owners == 1 else { return false }
    // Blocks that an outbox refers to stay taken.
    let body = messages[old].body
    let freed = messages.bodies.isReferenced(body) ? 0 : messages.bodies.blockCount(for: body.byteCount)
    return messages.bodies.blockCount(for: message.byteCount) <= messages.bodies.gauge.free + freed
  }

  /// Releases the message that is kept, for one that is stored next and committed.
  mutating func giveWay(
    _ slot: Handle<Retained>, _ messages: inout MessageStore, _ shares: inout Shares, _ sessions: borrowing SessionStore
  ) {
    let count = oldBlockCount(slot, messages)
    blockCount -= count
    shares.giveBack(.retainedBlocks, count, by: slots[slot].publisher, sessions)
    messages.release(slots[slot].message)
    slots[slot].message = .null
  }

  /// Gives back a slot that `prepare` made, when the message is not retained after all.
  mutating func abandon(
    _ slot: Handle<Retained>, _ topics: inout TopicTree, _ messages: inout MessageStore, _ shares: inout Shares,
    _ sessions: borrowing SessionStore
  ) {
    if slots[slot].message.isNull { remove(slot, &topics, &messages, &shares, sessions) }
  }

  /// From now on this is the topic's retained message. Answers when a sweep is due; nil: no earlier than before.
  /// - Parameter publisher: null: none of the clients.
  mutating func commit(
    _ slot: Handle<Retained>, _ message: Handle<Message>, by publisher: Handle<Session>,
    _ messages: inout MessageStore, _ shares: inout Shares, _ sessions: borrowing SessionStore
  ) -> Instant? {
    if !slots[slot].message.isNull { giveWay(slot, &messages, &shares, sessions) }
    messages.retain(message)
    slots[slot].message = message
    slots[slot].publisher = .session(publisher)
    let count = messages.bodies.blockCount(for: messages[message].body.byteCount)
    blockCount += count
    shares.take(.retainedBlocks, count, by: slots[slot].publisher, sessions)
    if age == .max { beginAges(at: 0) }
    age += 1
    slots[slot].age = age
    return sweep.expect(messages[message].expiresAt)
  }

  /// Forgets the ages. A replay that is under way may send one twice then: that it came live, too.
  mutating func beginAges(at first: UInt32) {
    slots.visit { $0.pointee.age = 0 }
    age = first
  }

  /// The topic has no retained message any more.
  mutating func remove(
    _ slot: Handle<Retained>, _ topics: inout TopicTree, _ messages: inout MessageStore, _ shares: inout Shares,
    _ sessions: borrowing SessionStore
  ) {
    let place = slots[slot].place
    let node = topics.handle(at: place.index)!
    if !slots[slot].message.isNull { giveWay(slot, &messages, &shares, sessions) }
    shares.giveBack(.retained, 1, by: slots[slot].holder, sessions)
    topics.giveBack(node, place.use, by: slots[slot].holder, &shares.joint, sessions)
    topics.hang(Handle<Retained>.null, on: node)
    used[slot.index >> 6] &= ~(1 << UInt64(slot.index & 63))
    slots.giveBack(slot)
    topics.prune(node)
  }

  // MARK: Expiry

  /// Removes retained messages that have expired, so that they do not keep their place from others; some a turn.
  /// Answers how many, and when the sweep goes on or is due again.
  @_optimize(size) mutating func sweepExpired(
    _ topics: inout TopicTree, _ messages: inout MessageStore, _ shares: inout Shares,
    _ sessions: borrowing SessionStore, at now: Instant
  ) -> (removed: Int, next: Instant) {
    sweep.begin()
    var removed = 0
    let end = min(sweep.position + ExpirySweep.stepsPerTurn, slots.capacity)
    while sweep.position < end {
      if let slot = slots.handle(at: sweep.position) {
        let expiresAt = messages[slots[slot].message].expiresAt
        if expiresAt <= now {
          remove(slot, &topics, &messages, &shares, sessions)
          removed += 1
        } else {
          sweep.keep(expiresAt)
        }
      }
      sweep.position += 1
    }
    return (removed, sweep.pause(of: slots.capacity, at: now))
  }
}
