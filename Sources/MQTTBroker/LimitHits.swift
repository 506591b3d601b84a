public import Bounded
import MQTTWire

/// A limit at which the broker refuses, drops or ends something.
public enum Limit: UInt8, BitwiseCopyable, Sendable, Error {
  case connections, connectionsPerAddress, pendingConnections, pendingPerAddress, connectsPerSecond
  case connectSeconds, packetSeconds, takeovers
  case sessions, clientIDBytes, clientIDCells
  case packetBytes, partialBlocks, filtersPerPacket
  case topicBytes, topicLevels, topicNodes, topicNameCells, topicAlias, topicAliasCells
  case subscriptions, sharedGroups
  case retained, messages, blocks, deliveries, queued, subscriptionIDCells, inflight
  case outboxChunks, outboxChunksPerConnection

  /// True of a pool in which each client has a floor: a client can be refused there although entries are free.
  public var hasFloors: Bool {
    switch self {
    case .subscriptions, .sharedGroups, .topicNodes, .topicNameCells, .retained, .blocks: true
    default: false
    }
  }

  static var count: Int { Int(Limit.outboxChunksPerConnection.rawValue) + 1 }

  /// The meaning of the limit's number.
  public enum Measure: BitwiseCopyable {
    /// Places, of which all are taken.
    case places
    /// The most that one thing may have, or be.
    case size
    /// A time, which is over.
    case seconds
  }

  /// Its key under `limits:`, what its number counts, and the number.
  @_optimize(size) public func facts(_ limits: Limits) -> (name: StaticString, measure: Measure, value: Int) {
    switch self {
    case .connections: ("connections", .places, limits.connectionsMax)
    case .connectionsPerAddress: ("connections_per_address", .size, limits.connectionsPerAddressMax)
    case .pendingConnections: ("pending_connections", .places, limits.pendingConnectionsMax)
    case .pendingPerAddress: ("pending_per_address", .size, limits.pendingPerAddressMax)
    case .connectsPerSecond: ("connects_per_second", .size, limits.connectsPerSecond)
    case .connectSeconds: ("connect_seconds", .seconds, limits.connectSeconds)
    case .packetSeconds: ("packet_seconds", .seconds, limits.packetSeconds)
    case .takeovers: ("takeovers", .size, limits.takeoversMax)
    case .sessions: ("sessions", .places, limits.sessionsMax)
    case .clientIDBytes: ("client_id_bytes", .size, limits.clientIDBytesMax)
    case .clientIDCells: ("client_id_cells", .places, limits.clientIDCellsMax)
    case .packetBytes: ("packet_bytes", .size, limits.packetBytesMax)
    case .partialBlocks: ("partial_blocks", .places, limits.partialBlockCount)
    case .filtersPerPacket: ("filters_per_packet", .size, limits.filtersPerPacketMax)
    case .topicBytes: ("topic_bytes", .size, limits.topicBytesMax)
    case .topicLevels: ("topic_levels", .size, limits.topicLevelsMax)
    case .topicNodes: ("topic_nodes", .places, limits.topicNodesMax)
    case .topicNameCells: ("topic_name_cells", .places, limits.topicNameCellsMax)
    case .topicAlias: ("topic_alias", .size, limits.topicAliasMax)
    case .topicAliasCells: ("topic_alias_cells", .places, limits.topicAliasCellsMax)
    case .subscriptions: ("subscriptions", .places, limits.subscriptionsMax)
    case .sharedGroups: ("shared_groups", .places, limits.sharedGroupsMax)
    case .retained: ("retained", .places, limits.retainedMax)
    case .messages: ("messages", .places, limits.messagesMax)
    case .blocks: ("blocks", .places, limits.blockCount)
    case .deliveries: ("deliveries", .places, limits.deliveriesMax)
    case .queued: ("queued", .size, limits.queuedMax)
    case .subscriptionIDCells: ("subscription_id_cells", .places, limits.subscriptionIDCellsMax)
    case .inflight: ("inflight", .size, limits.inflightMax)
    case .outboxChunks: ("outbox_chunks", .places, limits.outboxChunksShared)
    case .outboxChunksPerConnection: ("outbox_chunks_per_connection", .size, limits.outboxChunksPerConnection)
    }
  }
}

/// How often each limit was hit since the log told of it, and by which client last that a notice was made of: its session
/// may have ended when the log is written.
///
/// Invariant: a limit has at most one notice that waits.
struct LimitHits: ~Copyable {
  private struct Row: BitwiseCopyable {
    var count: UInt32
    var isNoted: Bool
    var nameByteCount: UInt8
    var quietUntil: Instant
  }
  private let rows: FixedArray<Row>
  private let names: Scratch  // `nameBytes` for each row

  /// Bytes of a client identifier that are kept; most have no more.
  static var nameBytes: Int { 32 }

  /// Seconds for which a limit is not told of again.
  static var quietSeconds: Int64 { 60 }

  init(in reservation: inout Reservation) {
    rows = FixedArray(count: Limit.count, name: "limit hits", in: &reservation)
    names = Scratch(byteCount: Limit.count * LimitHits.nameBytes, name: "  clients", in: &reservation)
  }

  /// Counts one. Answers whether a notice is to be made of it: none of this limit waits.
  func count(_ limit: Limit) -> Bool {
    let row = rows[Int(limit.rawValue)]
    if row.count < .max { rows[Int(limit.rawValue)].count = row.count + 1 }
    return !row.isNoted
  }

  /// - Parameter clientID: of the client that has met the limit; empty: none has.
  func noted(_ limit: Limit, _ clientID: Bytes) {
    let kept = clientID.first(min(clientID.count, LimitHits.nameBytes))
    place(limit).copyMemory(from: kept.buffer)
    rows[Int(limit.rawValue)].nameByteCount = UInt8(kept.count)
    rows[Int(limit.rawValue)].isNoted = true
  }

  func clientID(_ limit: Limit) -> Bytes {
    Bytes(UnsafeRawBufferPointer(place(limit))).first(Int(rows[Int(limit.rawValue)].nameByteCount))
  }

  private func place(_ limit: Limit) -> UnsafeMutableRawBufferPointer {
    let start = Int(limit.rawValue) * LimitHits.nameBytes
    return UnsafeMutableRawBufferPointer(rebasing: names.buffer[start..<start + LimitHits.nameBytes])
  }

  /// The notice has been taken: how many hits it stands for, 1 or more; nil: the limit was told of a short time ago.
  func take(_ limit: Limit, at now: Instant) -> Int? {
    let row = rows[Int(limit.rawValue)]
    rows[Int(limit.rawValue)].isNoted = false
    guard row.quietUntil <= now else { return nil }
    rows[Int(limit.rawValue)].quietUntil = now.adding(seconds: LimitHits.quietSeconds)
    rows[Int(limit.rawValue)].count = 0
    return Int(row.count)
  }
}

/// Telling the operator. The time is looked at when the notice is taken, so those who report a hit need none.
extension Broker {
  /// Counts that a session's client met a limit, and notes it for the log if the last time is long enough ago.
  /// - Parameters:
  ///   - session: null: the broker itself wanted something.
  ///   - size: what was too much for a limit of a size; 0: not known.
  @inline(never) @_optimize(size) mutating func limitHit(
    _ limit: Limit, by session: Handle<Session>, size: Int = 0, _ outcome: Notice.Outcome = .refused
  ) {
    guard limitHits.count(limit) else { return }
    let id = session.isNull ? ConnectionID.null : sessions[session].connection
    noteHit(
      limit,
      Notice(
        kind: .limitHit, limit: limit, outcome: outcome, session: session,
        transport: id.isNull ? 0 : connections[id].transport, size: size))
  }

  /// The same of a connection, whether or not it has a session.
  @inline(never) @_optimize(size) mutating func limitHit(
    _ limit: Limit, on id: ConnectionID, size: Int = 0, _ outcome: Notice.Outcome = .refused
  ) {
    guard limitHits.count(limit) else { return }
    noteHit(
      limit,
      Notice(
        kind: .limitHit, limit: limit, outcome: outcome, session: connections[id].session,
        transport: connections[id].transport, size: size))
  }

  /// The same of a stream that is no connection yet, or never was one.
  @inline(never) @_optimize(size) mutating func limitHit(
    _ limit: Limit, from source: SourceAddress, transport: UInt32 = 0, _ outcome: Notice.Outcome = .refused
  ) {
    guard limitHits.count(limit) else { return }
    noteHit(
      limit, Notice(kind: .limitHit, limit: limit, outcome: outcome, source: source, transport: transport))
  }

  @_optimize(size) private mutating func noteHit(_ limit: Limit, _ notice: Notice) {
    guard notices.push(notice) else {
      notices.gauge.dropped &+= 1
      return
    }
    limitHits.noted(limit, clientID(of: notice))
  }

  /// The client that the last notice of this limit is about, or the first 32 bytes of its identifier; empty: it was none.
  /// Valid until the next call.
  public func clientID(at limit: Limit) -> Bytes { limitHits.clientID(limit) }

  /// How many times the limit of a notice was met since it was last told of, this time included. nil: that was less than
  /// a minute ago, and it is not to be told of now.
  public mutating func takeHits(_ limit: Limit, at now: Instant) -> Int? { limitHits.take(limit, at: now) }
}

/// Which limit it was, looked for where something has been refused or lost.
extension Broker {
  /// What of a topic or a filter is too much.
  func excess(of topic: Bytes) -> (limit: Limit, size: Int)? {
    if topic.count > limits.topicBytesMax { return (.topicBytes, topic.count) }
    let levelCount = Topic.levelCount(topic)
    return levelCount > limits.topicLevelsMax ? (.topicLevels, levelCount) : nil
  }

  /// A message was refused as the store had no room for it: no place beside the `keepingMessages` that are kept free, or no
  /// blocks for its bytes.
  @_optimize(size) mutating func storeHit(_ message: Inbound, keepingMessages: Int) {
    limitHit(messages.gauge.free > keepingMessages ? .blocks : .messages, by: message.publisher, .refused)
  }

  /// A connection's outbox has no room.
  @_optimize(size) mutating func outboxHit(on id: ConnectionID, _ outcome: Notice.Outcome) {
    let isItsMost = outboxes.isBoundByItself(connections[id].outbox)
    limitHit(isItsMost ? .outboxChunksPerConnection : .outboxChunks, on: id, outcome)
  }

  /// A topic alias of a client's is not taken.
  @_optimize(size) mutating func aliasHit(_ error: WireError, _ alias: UInt16, on id: ConnectionID) {
    if error.reason == .quotaExceeded { return limitHit(.topicAliasCells, on: id, .disconnected) }
    // Of a client with fewer than it may have it is a mistake.
    guard error.reason == .topicAliasInvalid, Int(alias) > limits.topicAliasMax, limits.topicAliasMax > 0 else {
      return
    }
    limitHit(.topicAlias, on: id, size: Int(alias), .disconnected)
  }
}
