import Bounded

/// One key under `limits:`: a field of `Limits`, its unit and its range.
struct LimitKey {
  enum Unit { case count, bytes, seconds }

  let name: StaticString
  let unit: Unit
  let range: ClosedRange<Int>
  let get: (Limits) -> Int
  let set: (inout Limits, Int) -> Void

  init(
    _ name: StaticString, _ unit: Unit, _ range: ClosedRange<Int>,
    _ get: @escaping (Limits) -> Int, _ set: @escaping (inout Limits, Int) -> Void
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
      LimitKey("connections", .count, 1...65_536, { $0.connectionsMax }, { $0.connectionsMax = $1 }),
      LimitKey("sessions", .count, entries, { $0.sessionsMax }, { $0.sessionsMax = $1 }),
      LimitKey(
        "pending_connections", .count, 1...65_536, { $0.pendingConnectionsMax }, { $0.pendingConnectionsMax = $1 }),
      LimitKey(
        "pending_per_address", .count, 1...65_536, { $0.pendingPerAddressMax }, { $0.pendingPerAddressMax = $1 }),
      LimitKey("connects_per_second", .count, 1...1_000_000, { $0.connectsPerSecond }, { $0.connectsPerSecond = $1 }),
      LimitKey("connect_burst", .count, 1...65_536, { $0.connectBurst }, { $0.connectBurst = $1 }),
      LimitKey("takeovers", .count, 1...65_536, { $0.takeoversMax }, { $0.takeoversMax = $1 }),
      LimitKey("takeover_seconds", .seconds, 1...86_400, { $0.takeoverSeconds }, { $0.takeoverSeconds = $1 }),
      LimitKey("connect_seconds", .seconds, 1...3600, { $0.connectSeconds }, { $0.connectSeconds = $1 }),
      LimitKey("packet_seconds", .seconds, 1...3600, { $0.packetSeconds }, { $0.packetSeconds = $1 }),
      LimitKey(
        "packet_bytes", .bytes, 1024...Limits.packetBytesLargest, { $0.packetBytesMax }, { $0.packetBytesMax = $1 }),
      LimitKey("partial_blocks", .count, entries, { $0.partialBlockCount }, { $0.partialBlockCount = $1 }),
      LimitKey("partial_block_bytes", .bytes, 64...65_536, { $0.partialBlockBytes }, { $0.partialBlockBytes = $1 }),
      LimitKey("topic_bytes", .bytes, 48...65_535, { $0.topicBytesMax }, { $0.topicBytesMax = $1 }),
      LimitKey("topic_levels", .count, 2...1024, { $0.topicLevelsMax }, { $0.topicLevelsMax = $1 }),
      LimitKey("topic_nodes", .count, 16...Limits.entriesMax, { $0.topicNodesMax }, { $0.topicNodesMax = $1 }),
      LimitKey("topic_name_cells", .count, none, { $0.topicNameCellsMax }, { $0.topicNameCellsMax = $1 }),
      LimitKey("client_id_bytes", .bytes, 24...65_535, { $0.clientIDBytesMax }, { $0.clientIDBytesMax = $1 }),
      LimitKey("client_id_cells", .count, none, { $0.clientIDCellsMax }, { $0.clientIDCellsMax = $1 }),
      LimitKey("subscriptions", .count, entries, { $0.subscriptionsMax }, { $0.subscriptionsMax = $1 }),
      LimitKey("shared_groups", .count, none, { $0.sharedGroupsMax }, { $0.sharedGroupsMax = $1 }),
      LimitKey("filters_per_packet", .count, 1...4096, { $0.filtersPerPacketMax }, { $0.filtersPerPacketMax = $1 }),
      LimitKey("taps", .count, none, { $0.tapsMax }, { $0.tapsMax = $1 }),
      LimitKey("tap_publishes", .count, 4...4096, { $0.tapPublishesMax }, { $0.tapPublishesMax = $1 }),
      LimitKey("tap_publish_bytes", .bytes, 4096...16_777_216, { $0.tapPublishBytes }, { $0.tapPublishBytes = $1 }),
      LimitKey("tap_microseconds", .count, 1...1_000_000, { $0.tapMicroseconds }, { $0.tapMicroseconds = $1 }),
      LimitKey("tap_overruns", .count, 1...65_536, { $0.tapOverrunsMax }, { $0.tapOverrunsMax = $1 }),
      LimitKey("tap_queue", .count, 1...65_536, { $0.tapQueueMax }, { $0.tapQueueMax = $1 }),
      LimitKey("tap_queue_bytes", .bytes, 64...1_048_576, { $0.tapQueueBytesMax }, { $0.tapQueueBytesMax = $1 }),
      LimitKey("messages", .count, entries, { $0.messagesMax }, { $0.messagesMax = $1 }),
      LimitKey("block_bytes", .bytes, 32...65_536, { $0.blockBytes }, { $0.blockBytes = $1 }),
      LimitKey("blocks", .count, entries, { $0.blockCount }, { $0.blockCount = $1 }),
      LimitKey("blocks_kept_for_qos", .count, none, { $0.blocksKeptForQoS }, { $0.blocksKeptForQoS = $1 }),
      LimitKey(
        "blocks_kept_for_retained", .count, none, { $0.blocksKeptForRetained }, { $0.blocksKeptForRetained = $1 }),
      LimitKey("retained", .count, none, { $0.retainedMax }, { $0.retainedMax = $1 }),
      LimitKey("deliveries", .count, entries, { $0.deliveriesMax }, { $0.deliveriesMax = $1 }),
      LimitKey("queued", .count, 1...Limits.entriesMax, { $0.queuedMax }, { $0.queuedMax = $1 }),
      LimitKey("inflight", .count, 1...65_535, { $0.inflightMax }, { $0.inflightMax = $1 }),
      LimitKey("packet_id_cells", .count, none, { $0.packetIDCellsMax }, { $0.packetIDCellsMax = $1 }),
      LimitKey("topic_alias", .count, 0...65_535, { $0.topicAliasMax }, { $0.topicAliasMax = $1 }),
      LimitKey("topic_alias_clients", .count, none, { $0.topicAliasClientsMax }, { $0.topicAliasClientsMax = $1 }),
      LimitKey("topic_alias_bytes", .bytes, 1...65_535, { $0.topicAliasBytesMax }, { $0.topicAliasBytesMax = $1 }),
      LimitKey("topic_alias_cells", .count, none, { $0.topicAliasCellsMax }, { $0.topicAliasCellsMax = $1 }),
      LimitKey(
        "subscription_id_cells", .count, none, { $0.subscriptionIDCellsMax }, { $0.subscriptionIDCellsMax = $1 }),
      LimitKey("outbox_chunk_bytes", .bytes, 128...32_704, { $0.outboxChunkBytes }, { $0.outboxChunkBytes = $1 }),
      LimitKey("outbox_chunks", .count, entries, { $0.outboxChunksShared }, { $0.outboxChunksShared = $1 }),
      LimitKey(
        "outbox_chunks_per_connection", .count, entries,
        { $0.outboxChunksPerConnection }, { $0.outboxChunksPerConnection = $1 }),
      LimitKey("reference_bytes", .bytes, 1...(256 << 20), { $0.referenceBytesMin }, { $0.referenceBytesMin = $1 }),
      LimitKey("read_bytes", .bytes, 1024...(16 << 20), { $0.readBytes }, { $0.readBytes = $1 }),
      LimitKey(
        "session_expiry_seconds", .seconds, 0...(10 * 365 * 86_400),
        { $0.sessionExpirySecondsMax }, { $0.sessionExpirySecondsMax = $1 }),
      LimitKey("keep_alive_seconds", .seconds, 1...65_535, { $0.keepAliveSecondsMax }, { $0.keepAliveSecondsMax = $1 }),
      LimitKey("sys_interval_seconds", .seconds, 1...86_400, { $0.sysIntervalSeconds }, { $0.sysIntervalSeconds = $1 }),
    ]
  }

  /// `limits:` as a whole, relations between the limits included.
  static func read(_ top: Section) -> Limits {
    var limits = Limits()
    guard let entry = top.entry("limits") else { return limits }
    let all = LimitKey.all
    var names: [StaticString] = []
    for key in all { names.append(key.name) }
    names.append("queue_full")
    let section = Section(entry.value, "limits", keys: names, errors: top.errors)
    for key in all where section.has(key.name) {
      let fallback = key.get(limits)
      let value =
        switch key.unit {
        case .count: section.integer(key.name, key.range, default: fallback)
        case .bytes: section.byteCount(key.name, key.range, default: fallback)
        case .seconds: section.seconds(key.name, key.range, default: fallback)
        }
      key.set(&limits, value)
    }
    limits.follow(section)
    limits.queueFull = section.choice(
      "queue_full",
      [
        Choice("drop-oldest", Limits.QueueFull.dropOldest), Choice("drop-newest", .dropNewest),
        Choice("refuse", .refuse),
      ],
      default: limits.queueFull)
    if let problem = limits.problem { top.errors.add(place(of: problem, section) ?? entry.place, problem) }
    return limits
  }

  /// Of the key that a problem names first, "limits: KEY must be ...", if the file has it.
  private static func place(of problem: StaticString, _ section: Section) -> Place? {
    let words = [UInt8](ascii: problem).split(separator: UInt8(ascii: " "))
    guard words.count > 1 else { return nil }
    let name = [UInt8](words[1])
    return all.first { name.equals($0.name) }.flatMap { section.entry($0.name)?.place }
  }
}

extension Limits {
  /// What the file does not name makes room for what it does.
  fileprivate mutating func follow(_ section: Section) {
    if !section.has("sessions") { sessionsMax = max(sessionsMax, connectionsMax) }
    if !section.has("pending_connections") { pendingConnectionsMax = min(pendingConnectionsMax, connectionsMax) }
    if !section.has("partial_blocks"), partialBlockBytes > 0 {
      partialBlockCount = max(partialBlockCount, (packetBytesMax + partialBlockBytes - 1) / partialBlockBytes)
    }
    // As many beside retained ones as by default.
    let others = messagesMax - Limits().retainedMax
    if !section.has("messages") { messagesMax = max(messagesMax, min(retainedMax + others, Limits.entriesMax)) }
  }
}
