public import Bounded
public import MQTTWire

/// The MQTT server without its network: bytes in, bytes out, time as a parameter. No clock, no descriptor, no
/// randomness but its keys, no allocation after `init`: keys and a byte log replay a run.
///
/// The caller attaches a connection, feeds `receive`, and after each turn empties the outboxes of the
/// connections that `nextReady` names.
///
/// **What this module owns, and what may be touched where.** State lies in stores, each in a file of its own with its
/// invariant, and only that file changes it. A session, a subscription or a connection has a part for each store that
/// needs one (`Session.outgoing`, `Link.outbox`), which that store alone changes. `Broker` has the verbs that join stores:
/// connect, publish, route, pump. They reserve before they change.
///
/// - Connection: `Link` (states of a connection), `Outboxes`, `AckGate`; verbs: BrokerInput (bytes in), BrokerAcks,
///   `Admission` and BrokerCrowd (before a connection); this file (attach, bytes out, ending)
/// - Session: `SessionStore`, `PacketIDStore`, `Takeovers`, `Shares` (what each is sure of), `JointShares` (the same for
///   what many use at once); verbs: BrokerConnect, Verdict, BrokerWill
/// - Routing: `TopicTree`, `RecentMatches`, `SubscriptionStore`, `Receivers`; verbs: BrokerSubscribe, BrokerPublish,
///   BrokerRoute (reserve, then commit), BrokerAccepted, Tap, `RepeatedMessages`
/// - Access: `AccessRules` (a compiled ACL), `Rights` (what it says of a topic); verbs: BrokerAccess
/// - Messages: `MessageStore`, `RetainedStore`, `ExpirySweep`
/// - Delivery: `DeliveryStore`, `IdentifierStore`; verbs: BrokerDeliver (queue to outbox), BrokerGiveWay (`Holders`:
///   who makes room), BrokerReplay (retained messages)
/// - Time: BrokerTime (deadlines), BrokerSys ($SYS), `Loads`, `Work` (the steps of a turn)
/// - `Limits`, `LimitProblem`, `LimitProfile`, LimitFollowing (limits that nobody named), and `LimitHits`, which
///   tells of those that were met
/// - `BrokerKeys` (the secrets of one start), `Counters` and the notices for the log
///
/// **Durable facts.** What must survive a power cut changes in one function each, so that a journal is a line there:
///
/// | fact | function |
/// |---|---|
/// | session begun, ended | `SessionStore.begin`, `end` |
/// | its client is here, with expiry and Will; away; expiry set; Will taken | `connect`, `disconnect`, `setExpiry`, `takeWill` |
/// | subscription added, changed, removed | `SubscriptionStore.add`, `change`, `remove` |
/// | message stored, changed, released | `MessageStore.store`, `change`, `release` |
/// | retained message set, removed | `RetainedStore.commit`, `remove`; `giveWay` before a `commit` that follows |
/// | delivery queued, given up, sent | `DeliveryStore.queue`, `dropQueued`, `sent` |
/// | delivery received (PUBREC), done, all dropped | `DeliveryStore.received`, `finish`, `drop` |
/// | QoS 2 packet id taken, released, all dropped | `PacketIDStore.take`, `release`, `drop` |
///
/// Properties: one for each store and pool, four hooks, and memory that is used within one call; more than twenty, as
/// this is the place where they meet.
public struct Broker: ~Copyable {
  public let limits: Limits
  /// Called for every message that matches a tap's filter, during the call that received or published the message.
  public var onTap: TapHandler = { _, _ in .accept }
  /// A client's connection has begun, or has ended in whatever way; a takeover is both. Must not call the broker.
  public var onPresence: (Presence) -> Void = { _ in }
  /// Called for every CONNECT that could be served. Without another one, a listener that takes anonymous clients takes
  /// all, and the others take none.
  public var onCredentials: CredentialsHandler = {
    $0.allowsAnonymous ? .accept(.anonymous) : .refuse(.notAuthorized)
  }
  /// The longest keep alive that a client with this identifier is granted, in seconds, beside the limit; 1 or more. MQTT 3.1.1
  /// has no way to be told, so there it is the client's own. Must not call the broker.
  public var longestKeepAlive: (Bytes) -> UInt16 = { _ in .max }
  public internal(set) var counters = Counters()

  var connections: Slab<Link>
  private var connectionCount: UInt64 = 0
  /// The gauge of the streams that carry connections, silent ones included. nil: there are as many as connections.
  public var transports: Gauge?
  var sessions: SessionStore
  var packetIDs: PacketIDStore
  var topics: TopicTree
  var subscriptions: SubscriptionStore
  var taps: FixedArray<TapEntry>
  var tapCount = 0
  /// Topics that are the board's, beside `$SYS`.
  var ownedCount = 0
  /// Whether clients may publish there all the same.
  public var acceptsForeignWrites = false
  var repeated: RepeatedMessages
  var messages: MessageStore
  var retained: RetainedStore
  var deliveries: DeliveryStore
  let holders: Holders
  var rights: Rights
  var shares: Shares
  var outboxes: Outboxes
  var acks: AckGate
  /// Packets that have arrived in part; one that is complete is put together in `assembled`.
  var partials: BlockPool
  let assembled: Scratch
  var timers: TimerWheel
  var notices: Ring<Notice>
  var limitHits: LimitHits

  // Used within one call only.
  var receivers: Receivers
  let headScratch: Scratch
  let encodedV5: Scratch
  let encodedV311: Scratch
  let messageScratch: Scratch  // a message's properties, a stored message in one piece, or SUBACK
  let topicScratch: Scratch
  let filterScratch: Scratch  // a filter, and a name beside it

  /// The work done in the turn that is under way.
  public internal(set) var work = Work()
  var replayEnd = 0  // of the replay that is under way, in steps
  /// The connection whose input waits for the next turn; null: none.
  var paused = ConnectionID.null

  var startedAt = Instant(nanoseconds: 0)
  var loads = Loads()
  var sys = SysRound()
  /// Connections that have not been accepted yet.
  var pendingCount = 0

  /// Takes all memory from `reservation`. `keys` are drawn anew for every start.
  /// - Parameter access: the room for an ACL and for user names.
  @_optimize(size) public init(
    limits: Limits, keys: BrokerKeys, access: AccessSizes = .none, in reservation: inout Reservation
  ) {
    precondition(limits.problems.isEmpty)
    self.limits = limits
    connections = Slab(capacity: limits.connectionsMax, name: "connections", in: &reservation)
    sessions = SessionStore(limits: limits, keys: keys, userNameBytes: access.userNameBytes, in: &reservation)
    packetIDs = PacketIDStore(limits: limits, in: &reservation)
    topics = TopicTree(limits: limits, key: keys.names, in: &reservation)
    subscriptions = SubscriptionStore(limits: limits, key: keys.names, in: &reservation)
    taps = FixedArray(count: limits.tapsMax, name: "taps", in: &reservation)
    repeated = RepeatedMessages(limits: limits, key: keys.names, in: &reservation)
    messages = MessageStore(limits: limits, in: &reservation)
    retained = RetainedStore(limits: limits, in: &reservation)
    deliveries = DeliveryStore(limits: limits, in: &reservation)
    holders = Holders(limits: limits, in: &reservation)
    rights = Rights(limits: limits, sizes: access, in: &reservation)
    shares = Shares(limits: limits)
    outboxes = Outboxes(limits: limits, in: &reservation)
    acks = AckGate(capacity: limits.connectionsMax, chunkBytes: limits.outboxChunkBytes, in: &reservation)
    partials = BlockPool(
      blockCount: limits.partialBlockCount, blockBytes: limits.partialBlockBytes, name: "partial packets",
      in: &reservation)
    assembled = Scratch(byteCount: limits.packetBytesMax, name: "  one in one piece", in: &reservation)
    timers = TimerWheel(
      capacity: limits.connectionsMax + limits.sessionsMax + 3, name: "timers", in: &reservation)
    notices = Ring(capacity: 32, name: "notices", in: &reservation)
    limitHits = LimitHits(in: &reservation)

    receivers = Receivers(limits: limits, in: &reservation)
    headScratch = Scratch(
      byteCount: max(limits.topicBytesMax + 64 + 5 * limits.subscriptionsMax, 320),
      name: "scratch: head", in: &reservation)
    // The largest message that is copied fits, with 1 KiB of properties: larger ones are sent by reference.
    let wholeByteCount = limits.referenceBytesMin + limits.topicBytesMax + 16
    encodedV5 = Scratch(byteCount: min(wholeByteCount + 1024, 4096), name: "scratch: v5 packet", in: &reservation)
    encodedV311 = Scratch(byteCount: min(wholeByteCount, 4096), name: "scratch: v3.1.1 packet", in: &reservation)
    messageScratch = Scratch(byteCount: limits.packetBytesMax, name: "scratch: message", in: &reservation)
    topicScratch = Scratch(byteCount: limits.topicBytesMax, name: "scratch: topic", in: &reservation)
    filterScratch = Scratch(byteCount: 2 * limits.topicBytesMax, name: "scratch: filter and topic", in: &reservation)
  }

  // MARK: Connections

  /// Takes a new connection in; `nil`, counted as refused, when there is no room for it.
  /// - Parameters:
  ///   - allowsAnonymous: whether its listener lets clients in without a user name.
  ///   - transport: 32 bits of the caller's, which names what carries the connection.
  ///   - deadline: when its CONNECT must be here; nil: `connectSeconds` from now.
  @_optimize(size) public mutating func attach(
    allowsAnonymous: Bool, policy: FramerPolicy = .disconnect, transport: UInt32 = 0,
    connectBy deadline: Instant? = nil,
    at now: Instant
  ) -> ConnectionID? {
    let connection = Link(
      allowsAnonymous: allowsAnonymous, transport: transport,
      framer: PacketFramer(packetBytesMax: limits.packetBytesMax, policy: policy), lastReceived: now)
    guard let id = connections.lend(connection) else { return nil }
    connectionCount += 1
    connections[id].begin(LinkSerial(count: connectionCount, place: id.index))
    pendingCount += 1
    counters.connectionsAccepted &+= 1
    timers.arm(id.index, at: deadline ?? now.adding(seconds: Int64(limits.connectSeconds)))
    return id
  }

  /// What carries a connection, as `attach` was told.
  public func transport(of id: ConnectionID) -> UInt32 { connections[id].transport }

  /// Whether its CONNECT has not been accepted yet.
  @inline(__always) public func awaitsConnect(_ id: ConnectionID) -> Bool { connections[id].isPending }

  /// The connection in this place, of 0..<connectionsMax.
  public func connection(at index: Int) -> ConnectionID? { connections.handle(at: index) }

  public func isAttached(_ id: ConnectionID) -> Bool { connections.isLent(id) }

  /// The transport is gone (or was closed after `isFinished`): the connection's place is free again, its
  /// session goes on or ends, its Will fires where it should (§3.1.2.5).
  @_optimize(size) public mutating func detach(_ id: ConnectionID, at now: Instant) {
    if connections[id].state != .closing { end(id, .lost, publishesWill: true, at: now) }
    if paused == id { paused = .null }
    outboxes.clear(&connections[id].outbox, &messages)
    timers.cancel(id.index)
    connections.giveBack(id)
    pumpStarved(at: now)
  }

  // MARK: Bytes out

  /// A connection that has bytes to write or is to be closed; each once until it is ready again.
  public mutating func nextReady() -> ConnectionID? {
    while let index = outboxes.nextReady() {
      if let id = connections.handle(at: index) { return id }
    }
    return nil
  }

  public var hasReady: Bool { outboxes.hasReady }

  /// Fills in the pieces that are to be written next; answers how many.
  public func gather(_ id: ConnectionID, into parts: UnsafeMutableBufferPointer<Bytes>) -> Int {
    outboxes.gather(connections[id].outbox, messages, into: parts)
  }

  /// The transport took `byteCount` bytes. What waited in the session for room follows.
  public mutating func sent(_ byteCount: Int, on id: ConnectionID, at now: Instant) {
    counters.bytesSent &+= UInt64(byteCount)
    outboxes.consume(byteCount, from: &connections[id].outbox, &messages)
    pumpStarved(at: now)
    guard connections[id].state == .connected else { return }
    pump(connections[id].session, at: now)
  }

  public func pendingByteCount(_ id: ConnectionID) -> Int { connections[id].outbox.byteCount }

  /// Nothing more will be read or written: the transport is to be closed and `detach` called.
  public func isFinished(_ id: ConnectionID) -> Bool {
    connections[id].state == .closing && connections[id].outbox.isEmpty
  }

  /// The broker has ended this connection; what is in its outbox may still be written.
  public func isClosing(_ id: ConnectionID) -> Bool { connections[id].state == .closing }

  /// Appends one control packet; `receive` made sure of its room, other callers lose it only on a connection
  /// that they close.
  @inline(__always) mutating func sendControl(on id: ConnectionID, _ encode: (inout ByteWriter) -> Void) {
    var writer = headScratch.writer()
    encode(&writer)
    precondition(!writer.overflowed)
    sendControl(writer.written, on: id)
  }

  /// The same, of one that is encoded already.
  mutating func sendControl(_ packet: Bytes, on id: ConnectionID) {
    let connection = connections.address(id)
    guard packet.count <= Int(connection.pointee.packetBytesMax),  // §3.1.2-24
      outboxes.append(packet, to: &connection.pointee.outbox, use: .control)
    else {
      counters.controlPacketsDropped &+= 1
      return
    }
    counters.packetsSent &+= 1
    outboxes.markReady(id)
  }

  /// The next event that the log may tell; call until nil.
  public mutating func nextNotice() -> Notice? { notices.pop() }

  mutating func note(_ notice: Notice) {
    if !notices.push(notice) { notices.gauge.dropped &+= 1 }
  }

  // MARK: Ending

  /// Ends a connection for a reason of the caller's: an administrator's, or Quota exceeded of a peer that takes no bytes.
  @_optimize(size) public mutating func close(_ id: ConnectionID, _ reason: ReasonCode, at now: Instant) {
    if reason == .quotaExceeded { outboxHit(on: id, .disconnected) }
    fail(id, reason, at: now)
  }

  /// Ends all connections, each with a DISCONNECT where its version has one.
  @_optimize(size) public mutating func closeAll(_ reason: ReasonCode, at now: Instant) {
    var index = 0
    while index < limits.connectionsMax {
      if let id = connections.handle(at: index) { fail(id, reason, at: now) }
      index += 1
    }
  }

  /// Our side ends the connection because of what the peer did or did not do.
  @_optimize(size) mutating func fail(_ id: ConnectionID, _ reason: ReasonCode, at now: Instant) {
    guard connections[id].state != .closing else { return }
    counters.countClosed(reason)
    note(
      Notice(
        kind: .connectionFailed, reason: reason, session: connections[id].session, transport: connections[id].transport)
    )
    if connections[id].state == .connected, connections[id].version == .v5 {
      sendControl(on: id) { writer in
        Disconnect(reason: reason).encode(into: &writer, version: .v5)
      }
    }
    end(id, .closed(reason), publishesWill: true, at: now)
  }

  /// From here on the connection only drains; its session, if it still has one, is on its own.
  @_optimize(size) mutating func end(
    _ id: ConnectionID, _ change: Presence.Change, publishesWill: Bool, at now: Instant
  ) {
    precondition(connections[id].state != .closing)
    if connections[id].isPending { pendingCount -= 1 }
    if tapCount > 0 { endRepeats(id, change) }
    let session = connections[id].close()
    partials.clear(&connections.address(id).pointee.partial)
    outboxes.giveBackAliases(of: &connections[id].outbox)
    // A peer that does not take its last bytes is cut off.
    timers.arm(id.index, at: now.adding(seconds: Int64(limits.connectSeconds)))
    outboxes.markReady(id)
    guard !session.isNull else { return }
    tellPresence(session, id, change, at: now)
    connectionLost(session, publishesWill: publishesWill, at: now)
  }

  /// A client that is known to have the acknowledgements of its commands repeats none of them.
  @_optimize(size) private mutating func endRepeats(_ id: ConnectionID, _ change: Presence.Change) {
    let session = connections[id].session
    guard !session.isNull else { return }
    var isAnswered = false
    if case .disconnected = change { isAnswered = connections[id].outbox.isEmpty && connections[id].acks.count == 0 }
    repeated.disconnected(sessions.clientID(session), isAnswered: isAnswered, heardAt: connections[id].lastReceived)
  }
}
