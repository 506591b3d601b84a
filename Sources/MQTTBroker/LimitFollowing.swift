import Bounded

/// Limits that nobody named: a profile's, and as many more as those need that somebody did name.
extension Limits {
  /// Gives each limit that is not named a number that goes with those that are. It is never less than the profile's,
  /// unless a named limit bounds it. Answers what is wrong with named limits; with those numbers in their place, this
  /// answers nothing.
  ///
  /// Before the call the named limits have their values, and the others those of `profile`.
  @inline(never) @_optimize(size) public mutating func follow(
    _ profile: Limits, needs: LimitNeeds = LimitNeeds(), isNamed: (StaticString) -> Bool
  ) -> [LimitProblem] {
    followClients(profile, isNamed)
    followPacketSize(profile, isNamed)
    followOutboxes(profile, isNamed)
    followTopics(profile, needs, isNamed)
    followMessages(profile, isNamed)
    followTree(profile, needs, isNamed)
    let (fit, problems) = fitted(for: needs)
    self = fit
    return problems.filter { isNamed($0.name) }
  }

  /// Others are away at the same time, as many as in the profile.
  @_optimize(size) private mutating func followClients(_ profile: Limits, _ isNamed: (StaticString) -> Bool) {
    if !isNamed("connections") { connectionsMax = min(connectionsMax, sessionsMax) }
    let more = Limits.more(connectionsMax, profile.connectionsMax)
    if !isNamed("sessions") { sessionsMax = Limits.entries(profile.sessionsMax + more) }
    if !isNamed("connections_per_address") {
      connectionsPerAddressMax = Limits.connectionsPerAddress(of: connectionsMax)
    }
    if !isNamed("pending_connections") { pendingConnectionsMax = min(pendingConnectionsMax, connectionsMax) }
    // All may come back at the same moment, from one address, and again when that went wrong.
    if !isNamed("connect_burst") { connectBurst = max(connectBurst, min(2 * connectionsMax, 65_536)) }
    let moreSessions = Limits.more(sessionsMax, profile.sessionsMax)
    if !isNamed("client_id_cells") {
      clientIDCellsMax = Limits.entries(max(clientIDCellsMax + moreSessions / 2, clientIDBytesMax / 32))
    }
  }

  /// Blocks and chunks grow where a table would not have entries enough for a packet.
  @_optimize(size) private mutating func followPacketSize(_ profile: Limits, _ isNamed: (StaticString) -> Bool) {
    if !isNamed("packet_bytes") { packetBytesMax = max(packetBytesMax, 2 * topicBytesMax) }
    if !isNamed("topic_bytes") { topicBytesMax = min(topicBytesMax, packetBytesMax / 2) }
    let half = Limits.entriesMax / 2
    if !isNamed("partial_block_bytes") {
      while packetBlocks(of: partialBlockBytes) > half, partialBlockBytes < 32_768 { partialBlockBytes *= 2 }
    }
    if !isNamed("block_bytes") {
      while packetBlocks(of: blockBytes) > half / 2, blockBytes < 32_768 { blockBytes *= 2 }
    }
    if !isNamed("outbox_chunk_bytes") {
      while 2 * packetChunks > outboxChunksLargest, outboxChunkBytes < 16_384 { outboxChunkBytes *= 2 }
    }
    if !isNamed("partial_blocks") {
      let more = Limits.more(packetBlocks(of: partialBlockBytes), profile.packetBlocks(of: partialBlockBytes))
      partialBlockCount = Limits.entries(
        max(
          partialBlockCount + more,
          Limits.blocks(profile.partialBlockCount, of: profile.partialBlockBytes, in: partialBlockBytes)))
    }
  }

  /// No connection takes more of the shared chunks than it leaves free.
  @_optimize(size) private mutating func followOutboxes(_ profile: Limits, _ isNamed: (StaticString) -> Bool) {
    if !isNamed("outbox_chunks_per_connection") {
      let spare = profile.outboxChunksPerConnection - profile.packetChunks
      outboxChunksPerConnection = min(max(outboxChunksPerConnection, packetChunks + spare), outboxChunksLargest)
      if isNamed("outbox_chunks") {
        outboxChunksPerConnection = min(outboxChunksPerConnection, max(outboxChunksShared, packetChunks))
      }
    }
    if !isNamed("outbox_chunks") {
      let more = 4 * Limits.more(connectionsMax, profile.connectionsMax)
      outboxChunksShared = min(max(outboxChunksShared + more, 2 * outboxChunksPerConnection), outboxChunksLargest)
    }
  }

  @_optimize(size) private mutating func followTopics(
    _ profile: Limits, _ needs: LimitNeeds, _ isNamed: (StaticString) -> Bool
  ) {
    if !isNamed("subscriptions") {
      let more =
        8 * Limits.more(sessionsMax, profile.sessionsMax)
        + Limits.more(filtersPerPacketMax, profile.filtersPerPacketMax)
      subscriptionsMax = Limits.entries(subscriptionsMax + more)
    }
    if !isNamed("shared_groups"), sharedGroupsMax > 0 {
      sharedGroupsMax = Limits.entries(sharedGroupsMax + 2 * Limits.more(sessionsMax, profile.sessionsMax))
    }
    if !isNamed("taps"), needs.taps > tapsMax {
      // And some for handlers of an embedding program.
      tapsMax = min(needs.taps + 32, Limits.tapsLargest)
    }
    if !isNamed("retained") {
      retainedMax = Limits.entries(retainedMax + Limits.more(tapsMax, profile.tapsMax))
      if isNamed("messages") { retainedMax = min(retainedMax, (2 * messagesMax + 2) / 3) }
      retainedMax = max(retainedMax, min(needs.retained, Limits.entriesMax))
    }
  }

  @_optimize(size) private mutating func followMessages(_ profile: Limits, _ isNamed: (StaticString) -> Bool) {
    let moreSessions = Limits.more(sessionsMax, profile.sessionsMax)
    let moreQueued = Limits.more(queuedMax, profile.queuedMax)
    if !isNamed("messages") {  // each session may have a Will
      let more = Limits.more(retainedMax, profile.retainedMax) + moreQueued + moreSessions
      messagesMax = Limits.entries(messagesMax + more)
    }
    if !isNamed("deliveries") { deliveriesMax = Limits.entries(deliveriesMax + moreQueued + 8 * moreSessions) }
    if isNamed("blocks") {
      keepFewer(than: max(0, min(blockCount / 2, blockCount - blockCount / 32 - packetBlocks(of: blockBytes))), isNamed)
    } else {
      // Packets twice, as the largest retained message stays until another one is in its place.
      let rate = (profile.blockCount + profile.messagesMax - 1) / profile.messagesMax
      let small = profile.blockCount + rate * Limits.more(messagesMax, profile.messagesMax)
      let more =
        2 * Limits.more(packetBlocks(of: blockBytes), profile.packetBlocks(of: blockBytes))
        + 2 * Limits.more(blocksKept, profile.blocksKept)
      blockCount = Limits.entries(Limits.blocks(small, of: profile.blockBytes, in: blockBytes) + more)
    }
  }

  /// Bounds the reserves that are not named by what a named number of blocks leaves for them.
  @_optimize(size) private mutating func keepFewer(than most: Int, _ isNamed: (StaticString) -> Bool) {
    guard blocksKept > most else { return }
    if !isNamed("blocks_kept_for_retained") {
      let others = isNamed("blocks_kept_for_qos") ? blocksKeptForQoS : 2 * most / 3
      blocksKeptForRetained = min(blocksKeptForRetained, max(0, most - others))
    }
    if !isNamed("blocks_kept_for_qos") {
      blocksKeptForQoS = min(blocksKeptForQoS, max(0, most - blocksKeptForRetained))
    }
  }

  /// Three levels of its own for each retained message where there are more, as Home Assistant's discovery has, one for
  /// each subscription, four for each tap.
  @_optimize(size) private mutating func followTree(
    _ profile: Limits, _ needs: LimitNeeds, _ isNamed: (StaticString) -> Bool
  ) {
    let moreRetained = Limits.more(retainedMax, profile.retainedMax)
    let moreSubscriptions = Limits.more(subscriptionsMax, profile.subscriptionsMax)
    let moreNodes = 3 * moreRetained + moreSubscriptions + 4 * Limits.more(tapsMax, profile.tapsMax)
    if !isNamed("topic_nodes"), moreNodes > 0 {
      let all = moreRetained > 0 ? 3 * retainedMax + subscriptionsMax : 0
      let nodes = max(profile.topicNodesMax + moreNodes, all) + 1
      topicNodesMax = Limits.entries((nodes + 1023) / 1024 * 1024) - 1
    }
    if !isNamed("topic_name_cells") {
      topicNameCellsMax = Limits.entries(
        max(topicNameCellsMax + moreRetained / 2 + moreSubscriptions / 4, topicBytesMax / 64))
    }
  }

  private static func more(_ value: Int, _ than: Int) -> Int { max(0, value - than) }

  /// As many as a table may have.
  private static func entries(_ count: Int) -> Int { min(count, entriesMax) }

  /// Blocks of `smaller` bytes that have the bytes of `count` blocks of `blockBytes`.
  private static func blocks(_ count: Int, of blockBytes: Int, in smaller: Int) -> Int {
    smaller >= blockBytes ? count : (count * blockBytes + smaller - 1) / max(1, smaller)
  }
}
