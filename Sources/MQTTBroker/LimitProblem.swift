import Bounded

/// A limit whose value does not go with the others, and the values that would.
public struct LimitProblem: Sendable {
  public enum Demand: Equatable, Sendable {
    case atLeast(Int)
    case atMost(Int)
    /// A multiple of this many, and at least as many.
    case multipleOf(Int)
  }

  /// The limit, as the configuration calls it under `limits:`.
  public let name: StaticString
  public let value: Int
  public let demand: Demand
  /// The limit that the demand follows from; nil when it follows from none.
  public let cause: StaticString?
  /// The reason, to be read after the demand: "as many as connections".
  public let reason: StaticString

  init(
    _ name: StaticString, _ value: Int, _ demand: Demand, cause: StaticString? = nil, _ reason: StaticString
  ) {
    self.name = name
    self.value = value
    self.demand = demand
    self.cause = cause
    self.reason = reason
  }
}

extension Limits {
  /// Every relation between limits that does not hold, in the order of `Limits`; empty when a broker can be made.
  public var problems: [LimitProblem] {
    var list = LimitProblems()
    addRanges(to: &list)
    addConnectionRelations(to: &list)
    addMessageRelations(to: &list)
    return list.found
  }

  /// The first of them.
  public var problem: LimitProblem? { problems.first }

  /// What a single limit must be, whatever the others are.
  private func addRanges(to list: inout LimitProblems) {
    let none: StaticString = "fewer would let nobody in"
    list.atLeast("pending_per_address", pendingPerAddressMax, 1, none)
    list.atLeast("connects_per_second", connectsPerSecond, 1, none)
    list.atLeast("connect_burst", connectBurst, 1, none)
    list.atLeast("takeovers", takeoversMax, 1, none)
    list.atMost("takeovers", takeoversMax, 1 << 30, "they are counted in 30 bits")
    list.atLeast("takeover_seconds", takeoverSeconds, 1, "a limit needs a time in which it counts")
    list.atLeast("packet_bytes", packetBytesMax, 1024, "the broker's own packets need as much")
    list.atMost("packet_bytes", packetBytesMax, Limits.packetBytesLargest, "MQTT has no larger packets")
    list.multiple("partial_block_bytes", partialBlockBytes, of: 64, most: 65_536)
    list.atLeast("topic_bytes", topicBytesMax, 48, "the longest topic of $SYS has as many")
    list.atMost("topic_bytes", topicBytesMax, 65_535, "MQTT has no longer texts")
    // The topic tree's root takes an entry, too.
    list.atMost("topic_nodes", topicNodesMax, Limits.entriesMax - 1, "a table has no more entries")
    list.atLeast("client_id_bytes", clientIDBytesMax, 24, "identifiers that the broker assigns have as many")
    list.atMost("taps", tapsMax, 65_535, "they are counted in 16 bits")
    list.multiple("block_bytes", blockBytes, of: 32, most: 65_536)
    list.atLeast("queued", queuedMax, 1, "a session without a queue gets nothing")
    list.atLeast("inflight", inflightMax, 1, "Receive Maximum is 1 to 65535")
    list.atMost("inflight", inflightMax, 65_535, "Receive Maximum is 1 to 65535")
    list.atMost("topic_alias", topicAliasMax, 65_535, "an alias has 16 bits")
    list.atMost("topic_alias_bytes", topicAliasBytesMax, 65_535, "MQTT has no longer texts")
    list.multiple("outbox_chunk_bytes", outboxChunkBytes, of: 64, most: ByteQueuePool.chunkBytesRange.upperBound)
    list.atLeast("outbox_chunk_bytes", outboxChunkBytes, 128, "a control packet needs as much")
    list.atLeast("keep_alive_seconds", keepAliveSecondsMax, 1, "no client could be quiet at all")
    list.atLeast("sys_interval_seconds", sysIntervalSeconds, 1, "$SYS would never rest")
  }

  private func addConnectionRelations(to list: inout LimitProblems) {
    list.atLeast("sessions", sessionsMax, connectionsMax, cause: "connections", "as many as connections")
    list.atMost(
      "pending_connections", pendingConnectionsMax, connectionsMax, cause: "connections", "as many as connections")
    list.atMost(
      "client_id_cells", clientIDCellsMax, Limits.entriesMax - sessionsMax, cause: "sessions",
      "a table has no more entries beside those of sessions")
    if partialBlockBytes >= 64 {
      list.atLeast(
        "partial_blocks", partialBlockCount, blocks(packetBytesMax, of: partialBlockBytes), cause: "packet_bytes",
        "room for one packet of packet_bytes")
    }
    list.atMost("topic_bytes", topicBytesMax, packetBytesMax / 2, cause: "packet_bytes", "half of packet_bytes")
    list.atMost(
      "topic_alias_cells", topicAliasCellsMax, Limits.entriesMax - topicAliasSets * topicAliasMax,
      cause: "topic_alias_clients", "a table has no more entries beside topic_alias for each of topic_alias_clients")
    list.atMost(
      "outbox_chunks", outboxChunksShared, Limits.entriesMax - 2 * connectionsMax, cause: "connections",
      "a table has no more entries beside two for each connection")
    // Whoever follows the first demand must not meet the second one then.
    let chunks = outboxChunkBytes >= 64 ? packetBytesMax / outboxChunkBytes + 4 : 0
    list.atLeast(
      "outbox_chunks_per_connection", outboxChunksPerConnection, chunks, cause: "packet_bytes",
      "room for one packet of packet_bytes")
    list.atLeast(
      "outbox_chunks", outboxChunksShared, max(chunks, outboxChunksPerConnection),
      cause: chunks > outboxChunksPerConnection ? "packet_bytes" : "outbox_chunks_per_connection",
      "as many as outbox_chunks_per_connection")
  }

  private func addMessageRelations(to list: inout LimitProblems) {
    list.atLeast("messages", messagesMax, retainedMax, cause: "retained", "as many as retained")
    let kept = blocksKeptForQoS + blocksKeptForRetained
    list.atLeast(
      "blocks", blockCount, 2 * kept, cause: "blocks_kept_for_qos",
      "twice blocks_kept_for_qos and blocks_kept_for_retained")
    guard blockBytes >= 32 else { return }
    // The largest message must be storable beside the reserves, or no publisher could ever send it.
    let needed = blocks(packetBytesMax, of: blockBytes) + kept
    // One in 32 is kept for small messages.
    var least = (32 * needed + 30) / 31
    while least - 1 - (least - 1) / 32 >= needed { least -= 1 }
    list.atLeast(
      "blocks", blockCount, least, cause: "packet_bytes", "room for one packet of packet_bytes beside those kept")
  }

  private func blocks(_ byteCount: Int, of blockBytes: Int) -> Int { (byteCount + blockBytes - 1) / blockBytes }
}

/// Collects what does not hold. Of several demands for more of one limit the largest is kept, and of several for less
/// the smallest: a user who follows it has followed all.
private struct LimitProblems {
  private(set) var found: [LimitProblem] = []

  mutating func atLeast(
    _ name: StaticString, _ value: Int, _ least: Int, cause: StaticString? = nil, _ reason: StaticString
  ) {
    if value < least { add(LimitProblem(name, value, .atLeast(least), cause: cause, reason)) }
  }

  mutating func atMost(
    _ name: StaticString, _ value: Int, _ most: Int, cause: StaticString? = nil, _ reason: StaticString
  ) {
    if value > most { add(LimitProblem(name, value, .atMost(most), cause: cause, reason)) }
  }

  mutating func multiple(_ name: StaticString, _ value: Int, of unit: Int, most: Int) {
    if value < unit || value % unit != 0 { add(LimitProblem(name, value, .multipleOf(unit), "a block is cut evenly")) }
    atMost(name, value, most, "a block has no more")
  }

  private mutating func add(_ problem: LimitProblem) {
    for (index, other) in found.enumerated() where Bytes(other.name) == Bytes(problem.name) {
      switch (other.demand, problem.demand) {
      case (.atLeast(let before), .atLeast(let now)):
        if now > before { found[index] = problem }
        return
      case (.atMost(let before), .atMost(let now)):
        if now < before { found[index] = problem }
        return
      default:
        break
      }
    }
    found.append(problem)
  }
}
