import Bounded

/// Every capacity of the broker, in one place: what it bounds, its default and its reason. The bytes that
/// follow from them are added up by `Reservation`; `problems` says which relations between them do not hold.
/// They are set under `limits:` in the configuration; a change needs a restart. The defaults are those of
/// `Profile.board`; `follow` gives those that a configuration does not name what the named ones need.
///
/// It has more than twenty properties: one for each capacity, with its reason beside it.
public struct Limits: Sendable {
  /// No table has more entries than a handle can name.
  public static var entriesMax: Int { Reservation.entriesMax }

  /// Network connections at one time; a board has few clients, and each costs a control chunk.
  public var connectionsMax = 64
  /// Sessions, connected or waiting for their client.
  public var sessionsMax = 128
  /// The part of `connectionsMax` that one address may have, so that one host does not keep all others out. If the file
  /// does not name it, it is `connectionsPerAddress(of: connectionsMax)`.
  public var connectionsPerAddressMax = 32
  /// One address leaves a quarter of the connections to all others, and 32 at least, but need not do with less than 16.
  static func connectionsPerAddress(of connections: Int) -> Int {
    min(connections, max(connections - max(connections / 4, 32), 16))
  }
  /// The part of `connectionsMax` that no address can take. It is for unix sockets, serial lines and connections of the
  /// embedding program, so that the people who look after the board get in.
  var connectionsKeptForLocal: Int { min(2, connectionsMax / 8) }
  /// Connections that have not sent CONNECT yet, of `connectionsMax`.
  public var pendingConnectionsMax = 32
  /// The same, of one address. Of an address, too: connections a second in the long run, and how many at once before
  /// that. A router's whole network may have one address, and all of it may come back at the same moment.
  public var pendingPerAddressMax = 16
  public var connectsPerSecond = 20
  public var connectBurst = 128
  /// Takeovers of one client identifier within so many seconds; more are refused, so that two clients that throw each
  /// other out come to rest.
  public var takeoversMax = 10
  public var takeoverSeconds = 60
  /// Seconds a new connection may take to its CONNECT.
  public var connectSeconds = 10
  /// Seconds a packet that has begun may take to be complete.
  public var packetSeconds = 30

  /// Largest packet taken or sent, fixed header included; told to clients as Maximum Packet Size (§3.2.2.3.6).
  public var packetBytesMax = 65_536
  /// The largest value of `packetBytesMax`. A receiver's copy is longer (Property Length, expiry, alias, a subscription
  /// identifier for each of `entriesMax` subscriptions), and still fits a Variable Byte Integer (§1.5.5).
  public static var packetBytesLargest: Int { 128 << 20 }
  /// Packets that have arrived in part wait in blocks of this size, together.
  public var partialBlockBytes = 256
  public var partialBlockCount = 384
  /// The blocks that one connection may have before its CONNECT is complete. They are enough for a Will of 1 KiB with
  /// the longest topic and identifier of `Profile.board`, however few blocks there are.
  var partialBlocksBeforeConnect: Int {
    let least = (min(2048, packetBytesMax) + partialBlockBytes - 1) / partialBlockBytes
    return min(max(partialBlockCount / 32, least), partialBlockCount)
  }
  /// Blocks that nobody loses to others: half of all, divided among the connections.
  var partialBlocksOfOne: Int { partialBlockCount / 2 / connectionsMax }
  /// As `partialBlocksBeforeConnect`, of all of them together: who has said CONNECT has the rest.
  var partialBlocksOfPending: Int { max(partialBlockCount / 8, partialBlocksBeforeConnect) }

  public var topicBytesMax = 512
  /// Levels of a topic name or filter; bounds the work of a match.
  public var topicLevelsMax = 32
  /// Levels known to the topic tree, for all subscriptions, taps and retained messages together; with the root
  /// a multiple of 1024, so that the tree's index is not much larger than it.
  public var topicNodesMax = 3071
  /// 64-byte cells for what names of over 20 bytes have beyond the first 12.
  public var topicNameCellsMax = 512
  public var clientIDBytesMax = 64
  /// 32-byte cells for the part of client identifiers beyond 32 bytes.
  public var clientIDCellsMax = 64

  public var subscriptionsMax = 1536
  public var sharedGroupsMax = 256
  /// Filters in one SUBSCRIBE or UNSUBSCRIBE. Home Assistant puts up to 500 into one.
  public var filtersPerPacketMax = 512
  public var tapsMax = 128
  /// They are counted in 16 bits.
  public static var tapsLargest: Int { 65_535 }

  /// Messages held for delivery, retained or as a Will.
  public var messagesMax = 2048
  /// Their bytes (topic, properties, payload) lie in blocks of this size: a topic of 32 bytes and a payload of 64 fit one.
  public var blockBytes = 96
  public var blockCount = 3072
  /// Blocks that only QoS 1 and 2 and retained messages may take, and blocks that only retained ones may:
  /// one class cannot starve another.
  public var blocksKeptForQoS = 512
  public var blocksKeptForRetained = 256
  /// Whether a message of so many bytes is a small one.
  func isSmall(byteCount: Int) -> Bool { byteCount <= 8 * blockBytes }
  /// Blocks that other messages leave free, so that a queue of large ones does not keep the small ones
  /// of all others out.
  public var blocksKeptForSmall: Int { blockCount / 32 }
  public var retainedMax = 1536

  /// Deliveries waiting or in flight, all sessions together.
  public var deliveriesMax = 3072
  /// Messages waiting in one session beyond those in flight; the oldest is dropped for a new one. Room for a burst:
  /// a client in Python is hundreds behind one in C within milliseconds.
  public var queuedMax = 1000
  /// What happens to a message for a session whose queue is full.
  public var queueFull = QueueFull.dropOldest
  /// Unacknowledged QoS 1 and 2 messages per session, each way; told to clients as Receive Maximum (§3.2.2.3.3).
  /// MQTT 3.1.1 cannot be told: more than the 20 that mosquitto's and paho's clients have under way of themselves.
  public var inflightMax = 32
  /// Topic aliases of a client, each way; told as Topic Alias Maximum (§3.2.2.3.8). A client may set them for any
  /// topic, the broker for topics up to `topicAliasBytesMax`.
  public var topicAliasMax = 8
  /// Clients that have them at one time; others are told that there are none, as most never use one.
  public var topicAliasClientsMax = 16
  public var topicAliasBytesMax = 128
  /// 64-byte cells for the topics that aliases stand for, beyond one for each alias that such a client may set.
  public var topicAliasCellsMax = 128
  /// Subscription identifiers beyond the first that waiting deliveries carry.
  public var subscriptionIDCellsMax = 512

  /// Bytes, 64...32,704: bytes going out are copied into chunks of this size. For each connection one chunk is kept for
  /// its control packets and some, its floor, for whatever it sends (`ByteQueuePool.floor`).
  public var outboxChunkBytes = 128
  public var outboxChunksShared = 1152
  /// Chunks of data waiting for one connection; beyond it QoS 0 is dropped and QoS 1 and 2 wait in the session.
  public var outboxChunksPerConnection = 576
  /// Payloads of at least this size are sent by reference instead of copied.
  public var referenceBytesMin = 1024

  /// Seconds a session may outlive its connection, whatever its client asks for (§3.1.2.11.2).
  public var sessionExpirySecondsMax = 7 * 24 * 3600
  /// Longest keep alive granted; told as Server Keep Alive (§3.2.2.3.14).
  public var keepAliveSecondsMax = 3600
  /// Seconds between two publications of $SYS.
  public var sysIntervalSeconds = 10

  public init() {}

  /// Overflow policy of a session's queue; each case counts what it does.
  public enum QueueFull: UInt8, Sendable {
    /// The oldest that is not sent yet gives way.
    case dropOldest
    /// The new one is not queued for this session; other sessions get it.
    case dropNewest
    /// The publisher is told Quota exceeded (0x97), or closed under MQTT 3.1.1, and nobody gets the message.
    case refuse
  }

  /// Sets of aliases that there is use for.
  public var topicAliasSets: Int { topicAliasMax == 0 ? 0 : min(topicAliasClientsMax, connectionsMax) }
}
