import Bounded
import MQTTWire

/// A message on its way in; all bytes are borrowed for the length of the routing.
struct Inbound {
  let topic: Bytes
  /// Properties as they go on to receivers: no alias, no expiry, no subscription identifiers.
  let forwarded: Bytes
  let payload: Bytes
  var qos: QoS
  var retain: Bool
  var expiresAt: Instant
  var author: Author

  /// Null: the board itself.
  var publisher: Handle<Session> { @inline(__always) get { author.session } }
  var isBoards: Bool { @inline(__always) get { publisher.isNull } }

  var byteCount: Int { topic.count + forwarded.count + payload.count }
}

/// A message that is held for somebody: its body is topic, properties as forwarded, payload, in this order.
///
/// bodyWord ┌─────────┬────────────┬────────────────┬──────────────────┬───────────┐ bits, from the highest
///          │ QoS (2) │ RETAIN (1) │ properties (1) │ body length (28) │ head (32) │
/// counts   ├─────────┴───┬────────┴────────┬───────┴──────────────────┴───────────┤
///          │ owners (21) │ properties (27) │ topic (16)                           │
///          └─────────────┴─────────────────┴──────────────────────────────────────┘
///
/// No packet has 2^28 bytes (§2.1.4). The count of the properties' bytes has its highest bit in `bodyWord`. Every delivery may
/// own the message, and three more.
struct Message: BitwiseCopyable {
  private var bodyWord: UInt64
  private var counts: UInt64
  /// Never: no expiry.
  fileprivate(set) var expiresAt: Instant

  init(_ message: Inbound, body: Body) {
    precondition(body.byteCount < 1 << 28)
    precondition(message.topic.count < 1 << 16)
    precondition(message.forwarded.count <= body.byteCount)
    let propertyByteCount = UInt64(message.forwarded.count)
    bodyWord = body.bits | (propertyByteCount &>> 27) &<< 60
    counts = Message.oneOwner | (propertyByteCount & 0x7FF_FFFF) << 16 | UInt64(message.topic.count)
    expiresAt = message.expiresAt
    setFlags(message)
  }

  fileprivate mutating func setFlags(_ message: Inbound) {
    bodyWord = bodyWord & (1 << 61 - 1) | UInt64(message.qos.rawValue) &<< 62 | (message.retain ? 1 &<< 61 : 0)
  }

  var body: Body { Body(bits: bodyWord & (1 << 60 - 1)) }
  var qos: QoS { QoS(rawValue: UInt8(bodyWord &>> 62))! }
  var retain: Bool { bodyWord & 1 << 61 != 0 }

  fileprivate static var oneOwner: UInt64 { 1 << 43 }
  var owners: Int { Int(counts &>> 43) }
  /// One more than there can be, or one less than none, stops the program.
  @inline(__always) fileprivate mutating func addOwner() { counts += Message.oneOwner }
  @inline(__always) fileprivate mutating func removeOwner() { counts -= Message.oneOwner }

  var topicByteCount: Int { Int(counts & 0xFFFF) }
  var propertyByteCount: Int { Int((counts &>> 16 & 0x7FF_FFFF) | (bodyWord &>> 60 & 1) &<< 27) }
  var payloadStart: Int { topicByteCount &+ propertyByteCount }
  var payloadByteCount: Int { body.byteCount - payloadStart }
}

/// Stored messages, and the blocks in which their bytes lie.
///
/// Invariant: a message is lent exactly while it has owners: retained slots, deliveries, Wills, and the call that routes
/// it. Its body is owned by the message and by each outbox chunk that refers to it; without owners its blocks are free.
struct MessageStore: ~Copyable {
  private var messages: Slab<Message>
  /// Read outside for the room that is left; changed here only.
  private(set) var bodies: BlockPool

  @_optimize(size) init(limits: Limits, in reservation: inout Reservation) {
    messages = Slab(capacity: limits.messagesMax, name: "messages", in: &reservation)
    bodies = BlockPool(
      blockCount: limits.blockCount, blockBytes: limits.blockBytes, name: "message blocks", in: &reservation)
  }

  subscript(handle: Handle<Message>) -> Message {
    @inline(__always) unsafeAddress { UnsafePointer(messages.address(handle)) }
  }

  var gauge: Gauge { messages.gauge }
  var hasRoom: Bool { messages.hasRoom }
  func isLent(_ message: Handle<Message>) -> Bool { messages.isLent(message) }
  func handle(at index: Int) -> Handle<Message>? { messages.handle(at: index) }

  /// The charge for holding a message, in units of 32 bytes: its bytes, and a block for its entry and its delivery.
  @inline(__always) func heldUnits(_ body: Body) -> UInt32 {
    UInt32(truncatingIfNeeded: (body.byteCount &+ bodies.blockBytes) &>> 5)
  }

  /// Whether `store` would find room.
  @inline(__always) func hasRoom(for message: Inbound, keepingFree: Int, keepingMessages: Int) -> Bool {
    messages.gauge.free > keepingMessages && bodies.hasRoom(for: message.byteCount, keepingFree: keepingFree)
  }

  // MARK: Storing

  /// Stores a copy, with one owner. `nil`, counted as refused, when there is no room.
  /// - Parameters:
  ///   - keepingFree: blocks that are left over for messages of a higher class.
  ///   - keepingMessages: messages that are.
  mutating func store(_ message: Inbound, keepingFree: Int, keepingMessages: Int = 0) -> Handle<Message>? {
    guard messages.gauge.free > keepingMessages else {
      messages.gauge.refused &+= 1
      return nil
    }
    guard let body = bodies.lend(byteCount: message.byteCount, keepingFree: keepingFree) else { return nil }
    var cursor = bodies.cursor(body)
    bodies.write(message.topic, at: &cursor)
    bodies.write(message.forwarded, at: &cursor)
    bodies.write(message.payload, at: &cursor)
    return messages.lend(Message(message, body: body))
  }

  /// From here on a stored message has QoS, RETAIN and expiry of `message`. Only the caller holds it.
  mutating func change(_ stored: Handle<Message>, as message: Inbound) {
    precondition(messages[stored].owners == 1)
    messages[stored].setFlags(message)
    messages[stored].expiresAt = message.expiresAt
  }

  /// Adds an owner.
  @inline(__always) mutating func retain(_ message: Handle<Message>) { messages[message].addOwner() }

  /// Takes an owner away; without one the message is gone.
  mutating func release(_ message: Handle<Message>) {
    messages[message].removeOwner()
    guard messages[message].owners == 0 else { return }
    bodies.release(messages[message].body)
    messages.giveBack(message)
  }

  // MARK: Reading

  /// Message Expiry Interval 0 is for whoever can be sent it at once, with every QoS (§3.3.2.3.3).
  func hasExpired(_ message: Handle<Message>, at now: Instant) -> Bool { messages[message].expiresAt < now }

  func copy(_ message: Handle<Message>, from position: Int, byteCount: Int, into writer: inout ByteWriter) {
    bodies.copy(messages[message].body, from: position, byteCount: byteCount, into: &writer)
  }

  /// The message in one piece again, as if it had just come in; valid until `scratch` is used again.
  func inbound(from message: Handle<Message>, in scratch: borrowing Scratch) -> Inbound {
    let entry = messages[message]
    var writer = scratch.writer()
    bodies.copy(entry.body, from: 0, byteCount: entry.body.byteCount, into: &writer)
    let bytes = writer.written
    let topicEnd = entry.topicByteCount
    return Inbound(
      topic: bytes.first(topicEnd), forwarded: bytes[topicEnd..<entry.payloadStart],
      payload: bytes.from(entry.payloadStart), qos: entry.qos, retain: entry.retain, expiresAt: entry.expiresAt,
      author: .board)
  }

  // MARK: Bodies in outboxes

  /// Puts the body from `position` on at a queue's end without copying it; the queue becomes one of its owners.
  mutating func append(
    _ body: Body, from position: Int, to queue: inout ByteQueue, of chunks: inout ByteQueuePool
  ) -> Bool {
    chunks.append(body, from: position, to: &queue, isPromised: true, bodies: &bodies)
  }

  /// Forgets the first bytes of a queue, which the transport has taken, and the bodies that end with them.
  mutating func consume(_ byteCount: Int, from queue: inout ByteQueue, of chunks: inout ByteQueuePool) {
    chunks.consume(byteCount, from: &queue, bodies: &bodies)
  }

  mutating func clear(_ queue: inout ByteQueue, of chunks: inout ByteQueuePool) {
    chunks.clear(&queue, bodies: &bodies)
  }
}
