import Bounded
import MQTTBroker

/// All that stands under `limits:`, each part with its owner.
struct LimitSettings {
  var profile = Limits.Profile.board
  /// Whether the file names limits beside it.
  var isProfileChanged = false
  var broker = Limits()
  var loop = LoopLimits()
  var users = UserLimits()
}

/// One key under `limits:`: a field of `LimitSettings`, its unit and its range.
struct LimitKey {
  enum Unit { case count, bytes, seconds }

  let name: StaticString
  let unit: Unit
  let range: ClosedRange<Int>
  let get: (LimitSettings) -> Int
  let set: (inout LimitSettings, Int) -> Void

  init(
    _ name: StaticString, _ unit: Unit, _ range: ClosedRange<Int>,
    _ get: @escaping (LimitSettings) -> Int, _ set: @escaping (inout LimitSettings, Int) -> Void
  ) {
    self.name = name
    self.unit = unit
    self.range = range
    self.get = get
    self.set = set
  }
}

extension LimitKey {
  /// In the order of `Limits`. Key paths would be shorter, but Embedded Swift has none.
  static var all: [LimitKey] {
    let entries = 1...Limits.entriesMax
    let none = 0...Limits.entriesMax
    return [
      LimitKey("connections", .count, 1...65_536, { $0.broker.connectionsMax }, { $0.broker.connectionsMax = $1 }),
      LimitKey("sessions", .count, entries, { $0.broker.sessionsMax }, { $0.broker.sessionsMax = $1 }),
      LimitKey(
        "connections_per_address", .count, 1...65_536, { $0.broker.connectionsPerAddressMax },
        { $0.broker.connectionsPerAddressMax = $1 }),
      LimitKey(
        "pending_connections", .count, 1...65_536, { $0.broker.pendingConnectionsMax },
        { $0.broker.pendingConnectionsMax = $1 }),
      LimitKey(
        "pending_per_address", .count, 1...65_536, { $0.broker.pendingPerAddressMax },
        { $0.broker.pendingPerAddressMax = $1 }),
      LimitKey(
        "connects_per_second", .count, 1...1_000_000, { $0.broker.connectsPerSecond },
        { $0.broker.connectsPerSecond = $1 }),
      LimitKey("connect_burst", .count, 1...65_536, { $0.broker.connectBurst }, { $0.broker.connectBurst = $1 }),
      LimitKey("logins", .count, 1...1024, { $0.users.loginsMax }, { $0.users.loginsMax = $1 }),
      LimitKey(
        "logins_per_address", .count, 1...1024, { $0.users.loginsPerAddressMax }, { $0.users.loginsPerAddressMax = $1 }),
      LimitKey("users", .count, 0...65_536, { $0.users.usersMax }, { $0.users.usersMax = $1 }),
      LimitKey(
        "user_name_bytes", .bytes, 1...255, { $0.users.userNameBytesMax }, { $0.users.userNameBytesMax = $1 }),
      LimitKey("acl_rules", .count, 0...65_536, { $0.users.aclRulesMax }, { $0.users.aclRulesMax = $1 }),
      LimitKey("acl_levels", .count, none, { $0.users.aclLevelsMax }, { $0.users.aclLevelsMax = $1 }),
      LimitKey("acl_name_bytes", .bytes, none, { $0.users.aclNameBytesMax }, { $0.users.aclNameBytesMax = $1 }),
      LimitKey("takeovers", .count, 1...65_536, { $0.broker.takeoversMax }, { $0.broker.takeoversMax = $1 }),
      LimitKey(
        "takeover_seconds", .seconds, 1...86_400, { $0.broker.takeoverSeconds }, { $0.broker.takeoverSeconds = $1 }),
      LimitKey("connect_seconds", .seconds, 1...3600, { $0.broker.connectSeconds }, { $0.broker.connectSeconds = $1 }),
      LimitKey("packet_seconds", .seconds, 1...3600, { $0.broker.packetSeconds }, { $0.broker.packetSeconds = $1 }),
      LimitKey(
        "packet_bytes", .bytes, 1024...Limits.packetBytesLargest, { $0.broker.packetBytesMax },
        { $0.broker.packetBytesMax = $1 }),
      LimitKey(
        "partial_blocks", .count, entries, { $0.broker.partialBlockCount }, { $0.broker.partialBlockCount = $1 }),
      LimitKey(
        "partial_block_bytes", .bytes, 64...65_536, { $0.broker.partialBlockBytes },
        { $0.broker.partialBlockBytes = $1 }),
      LimitKey("topic_bytes", .bytes, 48...65_535, { $0.broker.topicBytesMax }, { $0.broker.topicBytesMax = $1 }),
      LimitKey("topic_levels", .count, 2...1024, { $0.broker.topicLevelsMax }, { $0.broker.topicLevelsMax = $1 }),
      LimitKey(
        "topic_nodes", .count, 16...Limits.entriesMax, { $0.broker.topicNodesMax }, { $0.broker.topicNodesMax = $1 }),
      LimitKey("topic_name_cells", .count, none, { $0.broker.topicNameCellsMax }, { $0.broker.topicNameCellsMax = $1 }),
      LimitKey(
        "client_id_bytes", .bytes, 24...65_535, { $0.broker.clientIDBytesMax }, { $0.broker.clientIDBytesMax = $1 }),
      LimitKey("client_id_cells", .count, none, { $0.broker.clientIDCellsMax }, { $0.broker.clientIDCellsMax = $1 }),
      LimitKey("subscriptions", .count, entries, { $0.broker.subscriptionsMax }, { $0.broker.subscriptionsMax = $1 }),
      LimitKey("shared_groups", .count, none, { $0.broker.sharedGroupsMax }, { $0.broker.sharedGroupsMax = $1 }),
      LimitKey(
        "filters_per_packet", .count, 1...4096, { $0.broker.filtersPerPacketMax },
        { $0.broker.filtersPerPacketMax = $1 }),
      LimitKey("taps", .count, 0...Limits.tapsLargest, { $0.broker.tapsMax }, { $0.broker.tapsMax = $1 }),
      LimitKey("tap_publishes", .count, 4...4096, { $0.loop.tapPublishesMax }, { $0.loop.tapPublishesMax = $1 }),
      LimitKey(
        "tap_publish_bytes", .bytes, 4096...16_777_216, { $0.loop.tapPublishBytes }, { $0.loop.tapPublishBytes = $1 }),
      LimitKey(
        "tap_microseconds", .count, 1...1_000_000, { $0.loop.tapMicroseconds }, { $0.loop.tapMicroseconds = $1 }),
      LimitKey("tap_overruns", .count, 1...65_536, { $0.loop.tapOverrunsMax }, { $0.loop.tapOverrunsMax = $1 }),
      LimitKey("tap_queue", .count, 1...65_536, { $0.loop.tapQueueMax }, { $0.loop.tapQueueMax = $1 }),
      LimitKey(
        "tap_queue_bytes", .bytes, 64...1_048_576, { $0.loop.tapQueueBytesMax }, { $0.loop.tapQueueBytesMax = $1 }),
      LimitKey("messages", .count, entries, { $0.broker.messagesMax }, { $0.broker.messagesMax = $1 }),
      LimitKey("block_bytes", .bytes, 32...65_536, { $0.broker.blockBytes }, { $0.broker.blockBytes = $1 }),
      LimitKey("blocks", .count, entries, { $0.broker.blockCount }, { $0.broker.blockCount = $1 }),
      LimitKey(
        "blocks_kept_for_qos", .count, none, { $0.broker.blocksKeptForQoS }, { $0.broker.blocksKeptForQoS = $1 }),
      LimitKey(
        "blocks_kept_for_retained", .count, none, { $0.broker.blocksKeptForRetained },
        { $0.broker.blocksKeptForRetained = $1 }),
      LimitKey("retained", .count, none, { $0.broker.retainedMax }, { $0.broker.retainedMax = $1 }),
      LimitKey("deliveries", .count, entries, { $0.broker.deliveriesMax }, { $0.broker.deliveriesMax = $1 }),
      LimitKey("queued", .count, 1...Limits.entriesMax, { $0.broker.queuedMax }, { $0.broker.queuedMax = $1 }),
      LimitKey("inflight", .count, 1...65_535, { $0.broker.inflightMax }, { $0.broker.inflightMax = $1 }),
      LimitKey("topic_alias", .count, 0...65_535, { $0.broker.topicAliasMax }, { $0.broker.topicAliasMax = $1 }),
      LimitKey(
        "topic_alias_clients", .count, none, { $0.broker.topicAliasClientsMax }, { $0.broker.topicAliasClientsMax = $1 }
      ),
      LimitKey(
        "topic_alias_bytes", .bytes, 1...65_535, { $0.broker.topicAliasBytesMax }, { $0.broker.topicAliasBytesMax = $1 }
      ),
      LimitKey(
        "topic_alias_cells", .count, none, { $0.broker.topicAliasCellsMax }, { $0.broker.topicAliasCellsMax = $1 }),
      LimitKey(
        "subscription_id_cells", .count, none, { $0.broker.subscriptionIDCellsMax },
        { $0.broker.subscriptionIDCellsMax = $1 }),
      LimitKey(
        "outbox_chunk_bytes", .bytes, 128...32_704, { $0.broker.outboxChunkBytes }, { $0.broker.outboxChunkBytes = $1 }),
      LimitKey(
        "outbox_chunks", .count, entries, { $0.broker.outboxChunksShared }, { $0.broker.outboxChunksShared = $1 }),
      LimitKey(
        "outbox_chunks_per_connection", .count, entries,
        { $0.broker.outboxChunksPerConnection }, { $0.broker.outboxChunksPerConnection = $1 }),
      LimitKey(
        "reference_bytes", .bytes, 1...(256 << 20), { $0.broker.referenceBytesMin },
        { $0.broker.referenceBytesMin = $1 }),
      LimitKey("read_bytes", .bytes, 1024...(16 << 20), { $0.loop.readBytes }, { $0.loop.readBytes = $1 }),
      LimitKey(
        "session_expiry_seconds", .seconds, 0...(10 * 365 * 86_400),
        { $0.broker.sessionExpirySecondsMax }, { $0.broker.sessionExpirySecondsMax = $1 }),
      LimitKey(
        "keep_alive_seconds", .seconds, 1...65_535, { $0.broker.keepAliveSecondsMax },
        { $0.broker.keepAliveSecondsMax = $1 }),
      LimitKey(
        "dead_peer_seconds", .seconds, 5...3600, { $0.loop.deadPeerSeconds }, { $0.loop.deadPeerSeconds = $1 }),
      LimitKey(
        "sys_interval_seconds", .seconds, 1...86_400, { $0.broker.sysIntervalSeconds },
        { $0.broker.sysIntervalSeconds = $1 }),
    ]
  }
}
