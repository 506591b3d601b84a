public import Bounded
import MQTTWire

public typealias ConnectionID = Handle<Connection>

/// One client's subscription to one filter (§3.8.3). Linked in its node's (or shared group's) list and in its
/// session's.
struct Subscription: BitwiseCopyable {
  let session: Handle<Session>
  let node: Handle<TopicNode>
  let group: Handle<SharedGroup>  // null: not shared
  var options: SubscriptionOptions
  var identifier: UInt32  // 0: none
  var nextInNode: Handle<Subscription> = .null
  var previousInNode: Handle<Subscription> = .null
  var nextInSession: Handle<Subscription> = .null
  var previousInSession: Handle<Subscription> = .null
  /// The next of this session's subscriptions that matched the message being routed.
  var nextMatched: Handle<Subscription> = .null
  /// Retained messages still to be sent: the slot to look at next, and the last one to send by age.
  var replaySlot = Subscription.replayDone
  var replayAge: UInt64 = 0

  static var replayDone: UInt32 { .max }
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
  var age: UInt64
}

/// A message that is held for somebody: its body is topic, properties as forwarded, payload, in this order.
struct Message: BitwiseCopyable {
  let body: Body
  let propertyByteCount: UInt32
  let topicByteCount: UInt16
  let qos: QoS
  let retain: Bool
  let expiresAt: Instant  // never: no expiry
  var owners: UInt32 = 1

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
  var count = 0
}

/// What the broker keeps for a client beyond its connection (§4.1).
public struct Session: BitwiseCopyable {
  let hash: UInt32
  let clientIDByteCount: Int
  var version: ProtocolVersion
  var connection: ConnectionID = .null
  var subscriptions: Handle<Subscription> = .null
  var subscriptionCount = 0
  var queued = DeliveryList()
  var inflight = DeliveryList()
  /// The next delivery in flight to be sent again on this connection.
  var redelivery: Handle<Delivery> = .null
  /// The packet id given last, and how many after it are surely not in flight.
  var lastPacketID: UInt16 = 0
  var unusedPacketIDs = 0
  /// Unacknowledged messages this client takes: the smaller of its Receive Maximum and ours.
  var window = 0
  /// QoS 2 packet ids received and not yet released.
  var incomingCount = 0
  /// Subscriptions whose retained messages are not all sent.
  var replayCount = 0
  var expirySeconds: UInt32
  var expiresAt = Instant.never  // while not connected
  var will: Handle<Message> = .null
  var willDelaySeconds: UInt32 = 0
  var willAt = Instant.never  // while not connected
  /// The routing in which `matched` was collected.
  var matchSerial: UInt64 = 0
  var matched: Handle<Subscription> = .null
  var takeovers = Takeovers()
  var droppedCount: UInt64 = 0
}

/// How often a client identifier was taken over lately.
struct Takeovers: BitwiseCopyable {
  var windowEnds = Instant(nanoseconds: 0)
  var count: UInt32 = 0
  var isTold = false
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
  var keepAliveNanoseconds: Int64 = 0  // 0: none
  var lastReceived: Instant
  var packetBytesMax: UInt32 = .max  // the client's Maximum Packet Size
  var aliases: Handle<SharedTexts.Owner> = .null  // null: it has none, in neither direction
  var sentAliasMax: UInt16 = 0  // the smaller of the client's Topic Alias Maximum and ours
  var sentAliasCount: UInt16 = 0  // rows of `aliases` in use for what it was sent
  var wantsProblemInformation = true
}
