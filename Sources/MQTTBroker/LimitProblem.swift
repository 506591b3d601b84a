import Bounded

/// A limit whose value does not go with the others, and the number that would.
public struct LimitProblem: Sendable {
  public enum Demand: Equatable, Sendable {
    case atLeast(Int)
    case atMost(Int)
    /// A multiple of the first, such as the second.
    case multipleOf(Int, such: Int)
  }

  /// The limit, as the configuration calls it under `limits:`.
  public let name: StaticString
  public let value: Int
  public let demand: Demand
  /// The limit that the demand follows from; nil when it follows from none.
  public let cause: StaticString?
  /// The reason, to be read after the demand: "as many as connections".
  public let reason: StaticString

  /// A value that fulfils the demand.
  public var wanted: Int {
    switch demand {
    case .atLeast(let least): least
    case .atMost(let most): most
    case .multipleOf(_, let such): such
    }
  }
}

/// What the taps of a configuration need of the limits.
public struct LimitNeeds: Equatable, Sendable {
  /// Filters that taps listen on, and taps.
  public var taps = 0
  /// Retained messages: the states of taps and the board's status.
  public var retained = 0

  public init() {}
}

extension Limits {
  /// Every relation between limits that does not hold, each limit once; empty when a broker can be made. Whoever gives
  /// each of these limits the number that is wanted has limits without a problem.
  public var problems: [LimitProblem] { fitted(for: LimitNeeds()).problems }

  /// The first of them.
  public var problem: LimitProblem? { problems.first }

  /// The nearest limits that hold. Relations are looked at in an order in which each limit depends on those before it;
  /// one that does not hold is a problem of the later limit, which takes the number that is wanted.
  func fitted(for needs: LimitNeeds) -> (limits: Limits, problems: [LimitProblem]) {
    var fit = self
    var list = LimitProblems()
    fit.fitRanges(&list)
    fit.fitConnections(&list)
    fit.fitPackets(&list)
    fit.fitOutboxes(&list)
    fit.fitMessages(&list, needs)
    return (fit, list.found)
  }

  /// Brings each limit into its own range, whatever the others are.
  @_optimize(size) private mutating func fitRanges(_ list: inout LimitProblems) {
    let none: StaticString = "fewer would let nobody in"
    list.atLeast("connections_per_address", &connectionsPerAddressMax, 1, none)
    list.atLeast("pending_per_address", &pendingPerAddressMax, 1, none)
    list.atLeast("connects_per_second", &connectsPerSecond, 1, none)
    list.atLeast("connect_burst", &connectBurst, 1, none)
    list.atLeast("takeovers", &takeoversMax, 1, none)
    list.atMost("takeovers", &takeoversMax, 1 << 30, "they are counted in 30 bits")
    list.atLeast("takeover_seconds", &takeoverSeconds, 1, "a limit needs a time in which it counts")
    list.atLeast("packet_bytes", &packetBytesMax, 1024, "the broker's own packets need as much")
    list.atMost("packet_bytes", &packetBytesMax, Limits.packetBytesLargest, "MQTT has no larger packets")
    list.multiple("partial_block_bytes", &partialBlockBytes, of: 64, most: 65_536)
    list.atLeast("topic_bytes", &topicBytesMax, 48, "the longest topic of $SYS has as many")
    list.atMost("topic_bytes", &topicBytesMax, 65_535, "MQTT has no longer texts")
    // The topic tree's root takes an entry, too.
    list.atMost("topic_nodes", &topicNodesMax, Limits.entriesMax - 1, "a table has no more entries")
    list.atLeast("client_id_bytes", &clientIDBytesMax, 24, "identifiers that the broker assigns have as many")
    list.atMost("taps", &tapsMax, Limits.tapsLargest, "they are counted in 16 bits")
    list.multiple("block_bytes", &blockBytes, of: 32, most: 65_536)
    list.atLeast("queued", &queuedMax, 1, "a session without a queue gets nothing")
    list.atLeast("inflight", &inflightMax, 1, "Receive Maximum is 1 to 65535")
    list.atMost("inflight", &inflightMax, 65_535, "Receive Maximum is 1 to 65535")
    list.atMost("topic_alias", &topicAliasMax, 65_535, "an alias has 16 bits")
    list.atMost("topic_alias_bytes", &topicAliasBytesMax, 65_535, "MQTT has no longer texts")
    list.multiple(
      "outbox_chunk_bytes", &outboxChunkBytes, of: 64, most: ByteQueuePool.chunkBytesRange.upperBound)
    list.atLeast("outbox_chunk_bytes", &outboxChunkBytes, 128, "a control packet needs as much")
    list.atLeast("keep_alive_seconds", &keepAliveSecondsMax, 1, "no client could be quiet at all")
    list.atLeast("sys_interval_seconds", &sysIntervalSeconds, 1, "$SYS would never rest")
  }

  @_optimize(size) private mutating func fitConnections(_ list: inout LimitProblems) {
    list.atLeast("sessions", &sessionsMax, connectionsMax, cause: "connections", "as many as connections")
    list.atMost(
      "pending_connections", &pendingConnectionsMax, connectionsMax, cause: "connections", "as many as connections")
    list.atMost(
      "client_id_cells", &clientIDCellsMax, Limits.entriesMax - sessionsMax, cause: "sessions",
      "a table has no more entries beside those of sessions")
    let sets = topicAliasSets
    if sets > 0 {
      list.atMost(
        "topic_alias", &topicAliasMax, Limits.entriesMax / sets, cause: "topic_alias_clients",
        "a table has no more entries for topic_alias_clients")
    }
    list.atMost(
      "topic_alias_cells", &topicAliasCellsMax, Limits.entriesMax - sets * topicAliasMax, cause: "topic_alias_clients",
      "a table has no more entries beside topic_alias for each of topic_alias_clients")
  }

  /// A packet of the largest size must find room where it arrives, where it is stored and where it goes out.
  @_optimize(size) private mutating func fitPackets(_ list: inout LimitProblems) {
    let half = Limits.entriesMax / 2
    let keptReason: StaticString = "both of blocks_kept_for are half of the blocks, of which a table has no more"
    list.atMost("blocks_kept_for_retained", &blocksKeptForRetained, half, keptReason)
    list.atMost(
      "blocks_kept_for_qos", &blocksKeptForQoS, half - blocksKeptForRetained, cause: "blocks_kept_for_retained",
      keptReason)
    let blocks = Limits.entriesMax - Limits.entriesMax / 32 - blocksKept
    let reason: StaticString = "a table has no more entries for one packet"
    list.atMost("packet_bytes", &packetBytesMax, blocks * blockBytes, cause: "block_bytes", reason)
    list.atMost(
      "packet_bytes", &packetBytesMax, Limits.entriesMax * partialBlockBytes, cause: "partial_block_bytes", reason)
    list.atMost(
      "packet_bytes", &packetBytesMax, (outboxChunksLargest - 4) * outboxChunkBytes, cause: "outbox_chunk_bytes", reason
    )
    list.atMost("topic_bytes", &topicBytesMax, packetBytesMax / 2, cause: "packet_bytes", "half of packet_bytes")
    list.atLeast(
      "partial_blocks", &partialBlockCount, packetBlocks(of: partialBlockBytes), cause: "packet_bytes",
      "room for one packet of packet_bytes")
  }

  @_optimize(size) private mutating func fitOutboxes(_ list: inout LimitProblems) {
    let most: StaticString = "a table has no more entries beside two for each connection"
    let perConnection: StaticString = "outbox_chunks_per_connection"
    list.atMost(perConnection, &outboxChunksPerConnection, outboxChunksLargest, cause: "connections", most)
    list.atLeast(
      perConnection, &outboxChunksPerConnection, packetChunks, cause: "packet_bytes",
      "room for one packet of packet_bytes")
    list.atMost("outbox_chunks", &outboxChunksShared, outboxChunksLargest, cause: "connections", most)
    list.atLeast(
      "outbox_chunks", &outboxChunksShared, outboxChunksPerConnection, cause: perConnection,
      "as many as outbox_chunks_per_connection")
  }

  @_optimize(size) private mutating func fitMessages(_ list: inout LimitProblems, _ needs: LimitNeeds) {
    list.atLeast("taps", &tapsMax, needs.taps, "the configuration has as many; an output counts as two or three")
    list.atLeast(
      "retained", &retainedMax, needs.retained, "one for each state of the configuration's taps, and the status")
    list.atLeast("messages", &messagesMax, retainedMax, cause: "retained", "as many as retained")
    list.atLeast(
      "blocks", &blockCount, 2 * blocksKept, cause: "blocks_kept_for_qos",
      "twice blocks_kept_for_qos and blocks_kept_for_retained")
    // The largest message must be storable beside the reserves, or no publisher could ever send it.
    let needed = packetBlocks(of: blockBytes) + blocksKept
    // One in 32 is kept for small messages.
    var least = (32 * needed + 30) / 31
    while least - 1 - (least - 1) / 32 >= needed { least -= 1 }
    list.atLeast(
      "blocks", &blockCount, least, cause: "packet_bytes", "room for one packet of packet_bytes beside those kept")
  }

  // MARK: What follows from limits

  /// Blocks of `blockBytes` for one packet of `packetBytesMax`.
  func packetBlocks(of blockBytes: Int) -> Int { (packetBytesMax + blockBytes - 1) / blockBytes }

  /// Chunks of an outbox for one packet of `packetBytesMax`, in pieces.
  var packetChunks: Int { packetBytesMax / outboxChunkBytes + 4 }

  /// A table's, beside two for each connection.
  var outboxChunksLargest: Int { Limits.entriesMax - 2 * connectionsMax }

  /// Blocks that retained messages may take: others are sure of the rest.
  var retainedBlocksMax: Int { blockCount - blocksKeptForQoS }

  var blocksKept: Int { blocksKeptForQoS + blocksKeptForRetained }
}

/// Collects what does not hold, each limit once: a later demand stands in place of an earlier one. Each limit takes the
/// number that is wanted, for the demands that follow.
private struct LimitProblems {
  private(set) var found: [LimitProblem] = []

  @inline(never) mutating func atLeast(
    _ name: StaticString, _ value: inout Int, _ least: Int, cause: StaticString? = nil, _ reason: StaticString
  ) {
    if value < least { add(name, &value, .atLeast(least), cause, reason) }
  }

  @inline(never) mutating func atMost(
    _ name: StaticString, _ value: inout Int, _ most: Int, cause: StaticString? = nil, _ reason: StaticString
  ) {
    if value > most { add(name, &value, .atMost(most), cause, reason) }
  }

  @inline(never) mutating func multiple(_ name: StaticString, _ value: inout Int, of unit: Int, most: Int) {
    atMost(name, &value, most, "a block has no more")
    guard value < unit || value % unit != 0 else { return }
    let such = max(unit, (value + unit - 1) / unit * unit)
    add(name, &value, .multipleOf(unit, such: min(such, most / unit * unit)), nil, "a block is cut evenly")
  }

  @inline(never) private mutating func add(
    _ name: StaticString, _ value: inout Int, _ demand: LimitProblem.Demand, _ cause: StaticString?,
    _ reason: StaticString
  ) {
    let before = found.firstIndex { Bytes($0.name) == Bytes(name) }
    let problem = LimitProblem(
      name: name, value: before.map { found[$0].value } ?? value, demand: demand, cause: cause, reason: reason)
    value = problem.wanted
    if let before { found[before] = problem } else { found.append(problem) }
  }
}
