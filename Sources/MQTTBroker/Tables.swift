public import Bounded
import MQTTWire

public typealias ConnectionID = Handle<Connection>

/// One client's subscription to one filter (§3.8.3). Linked in its node's (or shared group's) list and in its
/// session's.
struct Subscription: BitwiseCopyable {
  let session: Handle<Session>
  /// Where it is listed: the topic node, or for a shared one its group, which knows its node.
  private let place: UInt32
  private var identifierBits: UInt32  // 28 bits; the highest bit: shared
  var nextInNode: Handle<Subscription> = .null
  var nextInSession: Handle<Subscription> = .null
  var previousInSession: Handle<Subscription> = .null
  /// The next of this session's subscriptions that matched the message being routed.
  var nextMatched: Handle<Subscription> = .null
  private var replayBits: UInt32  // the slot in the upper 24 bits, the options in the lower 8
  /// The last of the retained messages still to be sent, by age.
  var replayAge: UInt32 = 0

  static var replayDone: UInt32 { 0xFF_FFFF }
  private static var sharedBit: UInt32 { 1 << 31 }

  /// - Parameter group: null: not shared.
  init(
    session: Handle<Session>, node: Handle<TopicNode>, group: Handle<SharedGroup>, options: SubscriptionOptions,
    identifier: UInt32
  ) {
    self.session = session
    place = group.isNull ? node.bits : group.bits
    identifierBits = identifier | (group.isNull ? 0 : Subscription.sharedBit)
    replayBits = Subscription.replayDone << 8 | UInt32(options.byte)
  }

  var isShared: Bool { identifierBits & Subscription.sharedBit != 0 }
  /// Of one that is not shared.
  var node: Handle<TopicNode> {
    precondition(!isShared)
    return Handle(bits: place)
  }
  /// Null: not shared.
  var group: Handle<SharedGroup> { isShared ? Handle(bits: place) : .null }

  var options: SubscriptionOptions {
    @inline(__always) get { SubscriptionOptions(byte: UInt8(truncatingIfNeeded: replayBits)) }
    set { replayBits = replayBits & ~0xFF | UInt32(newValue.byte) }
  }
  /// 0: none.
  var identifier: UInt32 {
    @inline(__always) get { identifierBits & ~Subscription.sharedBit }
    set { identifierBits = identifierBits & Subscription.sharedBit | newValue }
  }
  /// Retained messages still to be sent: the slot to look at next.
  var replaySlot: UInt32 {
    get { replayBits >> 8 }
    set { replayBits = newValue << 8 | replayBits & 0xFF }
  }
}

/// `$share/{name}/{filter}` (§4.8.2): each message goes to one of its members.
struct SharedGroup: BitwiseCopyable {
  let node: Handle<TopicNode>
  let name: Body
  var members: Handle<Subscription> = .null
  /// The member whose turn is next.
  var turn: Handle<Subscription> = .null
  var next: Handle<SharedGroup> = .null
}

/// A retained message and the topic it is kept for (§3.3.1.3).
struct Retained: BitwiseCopyable {
  let node: Handle<TopicNode>
  var message: Handle<Message>
  /// Grows with every store: a replay sends what is not younger than its subscription.
  var age: UInt32
}

/// A message that is held for somebody: its body is topic, properties as forwarded, payload, in this order.
struct Message: BitwiseCopyable {
  let body: Body
  let propertyByteCount: UInt32
  let topicByteCount: UInt16
  let qos: QoS
  let retain: Bool
  private let packedExpiresAt: PackedInstant
  var owners: UInt32 = 1

  init(
    body: Body, propertyByteCount: UInt32, topicByteCount: UInt16, qos: QoS, retain: Bool, expiresAt: Instant
  ) {
    self.body = body
    self.propertyByteCount = propertyByteCount
    self.topicByteCount = topicByteCount
    self.qos = qos
    self.retain = retain
    packedExpiresAt = PackedInstant(expiresAt)
  }

  /// Never: no expiry.
  var expiresAt: Instant { packedExpiresAt.instant }

  var payloadStart: Int { Int(topicByteCount) + Int(propertyByteCount) }
  var payloadByteCount: Int { body.byteCount - payloadStart }
}

/// A message on its way to one session with QoS 1 or 2.
struct Delivery: BitwiseCopyable {
  enum State: UInt8, BitwiseCopyable {
    case queued  // not sent yet
    case awaitingPubAck
    case awaitingPubRec
    case awaitingPubComp  // its message is given up, only the packet id is still taken
  }
  var message: Handle<Message>
  var next: Handle<Delivery> = .null
  var packetID: UInt16 = 0
  var state = State.queued
  let qos: QoS
  let retain: Bool
  var isDuplicate = false
  /// Sent as PUBLISH on the present connection: it takes of the client's Receive Maximum until it is answered.
  var isSentHere = false
  let identifier: UInt32
  let moreIdentifiers: Handle<IdentifierCell>
}

/// A further subscription identifier of a delivery.
struct IdentifierCell: BitwiseCopyable {
  let identifier: UInt32
  let next: Handle<IdentifierCell>
}

/// A first-in first-out list through `Delivery.next`.
struct DeliveryList: BitwiseCopyable {
  var head: Handle<Delivery> = .null
  var tail: Handle<Delivery> = .null
  private var storedCount: UInt32 = 0

  var count: Int {
    @inline(__always) get { Int(storedCount) }
    @inline(__always) set { storedCount = UInt32(truncatingIfNeeded: newValue) }  // of those that handles name
  }
}

/// What the broker keeps for a client beyond its connection (§4.1). There are many: nothing in it asks for an alignment of
/// eight bytes.
public struct Session: BitwiseCopyable {
  let hash: UInt32
  let clientID: Body
  var connection: ConnectionID = .null
  var subscriptions: Handle<Subscription> = .null
  var subscriptionCount: UInt32 = 0
  var queued = DeliveryList()
  var inflight = DeliveryList()
  /// The next delivery in flight to be sent again on this connection.
  var redelivery: Handle<Delivery> = .null
  /// The packet id given last, and how many after it are surely not in flight.
  var lastPacketID: UInt16 = 0
  var unusedPacketIDs: UInt16 = 0
  private var storedWindow: UInt16 = 0
  /// QoS 2 packet ids received and not yet released: the first of them, and a list of cells, of which all but its head
  /// are full.
  var incomingCount: UInt16 = 0
  var firstIncoming = InlineArray<4, UInt16>(repeating: 0)
  var moreIncoming: Handle<PacketIDCell> = .null
  /// Subscriptions whose retained messages are not all sent.
  var replayCount: UInt32 = 0
  var expirySeconds: UInt32
  var will: Handle<Message> = .null
  var willDelaySeconds: UInt32 = 0
  private var packedLostAt = PackedInstant(.never)
  /// The routing in which `matched` was collected.
  var matchSerial: UInt32 = 0
  var matched: Handle<Subscription> = .null
  var takeovers = Takeovers()
  private(set) var droppedCount: UInt32 = 0
  var version: ProtocolVersion

  init(hash: UInt32, clientID: Body, version: ProtocolVersion) {
    self.hash = hash
    self.clientID = clientID
    self.version = version
    expirySeconds = 0
  }

  /// Unacknowledged messages this client takes: the smaller of its Receive Maximum and ours.
  var window: Int {
    @inline(__always) get { Int(storedWindow) }
    set { storedWindow = UInt16(newValue) }
  }
  /// When its connection ended; never while it is connected.
  var lostAt: Instant {
    get { packedLostAt.instant }
    set { packedLostAt = PackedInstant(newValue) }
  }
  /// Never while it is connected.
  var expiresAt: Instant { lostAt == .never ? .never : lostAt.adding(seconds: Int64(expirySeconds)) }
  /// Never while it is connected, or without a Will.
  var willAt: Instant {
    lostAt == .never || will.isNull ? .never : lostAt.adding(seconds: Int64(willDelaySeconds))
  }

  /// Stays at its highest.
  mutating func countDropped() {
    if droppedCount < .max { droppedCount += 1 }
  }
}

/// Further QoS 2 packet ids of a session.
struct PacketIDCell: BitwiseCopyable {
  /// What a session has itself, and what a cell has.
  static var countInSession: Int { 4 }
  static var capacity: Int { 6 }
  var ids = InlineArray<6, UInt16>(repeating: 0)
  let next: Handle<PacketIDCell>
}

/// How often a client identifier was taken over lately.
struct Takeovers: BitwiseCopyable {
  private var windowEndsSeconds: UInt32 = 0  // since boot, rounded up
  private var bits: UInt32 = 0  // the count, and in the lowest bit whether a refusal is told

  init() {}
  init(windowEnds: Instant) {
    windowEndsSeconds = UInt32(clamping: (windowEnds.millisecondsRoundedUp + 999) / 1000)
  }

  var windowEnds: Instant { Instant(nanoseconds: 0).adding(seconds: Int64(windowEndsSeconds)) }
  var count: Int {
    get { Int(bits >> 1) }
    set { bits = UInt32(newValue) << 1 | bits & 1 }
  }
  var isTold: Bool {
    get { bits & 1 != 0 }
    set { bits = bits & ~1 | (newValue ? 1 : 0) }
  }
}

/// One network connection, whatever carries its bytes.
public struct Connection: BitwiseCopyable {
  enum State: UInt8, BitwiseCopyable {
    case awaitingConnect
    case connected
    case closing  // nothing is read any more; closed once its outbox is empty
  }
  var state = State.awaitingConnect
  var version = ProtocolVersion.v5
  let allowsAnonymous: Bool
  var source: UInt32 = 0  // its address's place in `sources` + 1 while it awaits CONNECT; 0: local
  var session: Handle<Session> = .null
  var framer: PacketFramer
  /// What has arrived of a packet that is not complete.
  var partial = BlockChain()
  var packetDeadline = Instant.never
  var outbox = ByteQueue()
  var keepAliveSeconds: UInt16 = 0  // 0: none
  var lastReceived: Instant
  var packetBytesMax: UInt32 = .max  // the client's Maximum Packet Size
  var aliases: Handle<SharedTexts.Owner> = .null  // null: it has none, in neither direction
  var sentAliasMax: UInt16 = 0  // the smaller of the client's Topic Alias Maximum and ours
  var sentAliasCount: UInt16 = 0  // rows of `aliases` in use for what it was sent
  var wantsProblemInformation = true

  /// 1.5 times what is granted (§3.1.2-22); 0: none.
  var keepAliveNanoseconds: Int64 { Int64(keepAliveSeconds) * 1_500_000_000 }
}
