import Bounded
import Testing

struct LimitsTests {
  @Test func defaultsHold() {
    #expect(Limits().problem == nil)
  }

  struct Row: CustomTestStringConvertible {
    let text: String
    let change: @Sendable (inout Limits) -> Void
    var testDescription: String { text }
  }

  private static var atLeastOne: String {
    "limits: connects_per_second, connect_burst, pending_per_address and takeovers must be at least 1"
  }

  /// Each relation, broken by one step.
  static let broken: [Row] = [
    Row(text: "limits: sessions must be at least connections") { $0.sessionsMax = $0.connectionsMax - 1 },
    Row(text: "limits: pending_connections must be at most connections") {
      $0.pendingConnectionsMax = $0.connectionsMax + 1
    },
    Row(text: "limits: topic_nodes must be at most 1048575") { $0.topicNodesMax = 1 << 20 },
    Row(text: "limits: outbox_chunks and twice connections must be at most 1048576 together") {
      $0.outboxChunksShared = (1 << 20) - 2 * $0.connectionsMax + 1
    },
    Row(text: "limits: sessions and client_id_cells must be at most 1048576 together") {
      $0.clientIDCellsMax = (1 << 20) - $0.sessionsMax + 1
    },
    Row(text: "limits: packet_bytes must be 1024 to 134217728") { $0.packetBytesMax = 1023 },
    Row(text: "limits: packet_bytes must be 1024 to 134217728") { $0.packetBytesMax = (128 << 20) + 1 },
    Row(text: atLeastOne) { $0.connectsPerSecond = 0 },
    Row(text: atLeastOne) { $0.connectBurst = 0 },
    Row(text: atLeastOne) { $0.pendingPerAddressMax = 0 },
    Row(text: atLeastOne) { $0.takeoversMax = 0 },
    Row(text: atLeastOne) { $0.takeoverSeconds = 0 },
    Row(text: "limits: takeovers must be at most 1073741824") { $0.takeoversMax = (1 << 30) + 1 },
    Row(text: "limits: partial_block_bytes must be a multiple of 64") { $0.partialBlockBytes = 100 },
    Row(text: "limits: takeovers must be at most 1073741824") { $0.takeoversMax = (1 << 30) + 1 },
    Row(text: "limits: partial_block_bytes must be a multiple of 64") { $0.partialBlockBytes = 0 },
    Row(text: "limits: partial_blocks must have room for one packet of packet_bytes") {
      $0.partialBlockCount = $0.packetBytesMax / $0.partialBlockBytes - 1
    },
    Row(text: "limits: topic_bytes must be at least 48") { $0.topicBytesMax = 47 },
    Row(text: "limits: client_id_bytes must be at least 24") { $0.clientIDBytesMax = 23 },
    Row(text: "limits: topic_bytes must be at most half of packet_bytes") {
      $0.topicBytesMax = $0.packetBytesMax / 2 + 1
    },
    Row(
      text: "limits: topic_alias for each of topic_alias_clients and topic_alias_cells must be at most 1048576 together"
    ) {
      $0.topicAliasCellsMax = (1 << 20) - $0.topicAliasClientsMax * $0.topicAliasMax + 1
    },
    Row(text: "limits: block_bytes must be a multiple of 32") { $0.blockBytes = 48 },
    Row(text: "limits: block_bytes must be a multiple of 32") { $0.blockBytes = 0 },
    Row(text: "limits: outbox_chunk_bytes must be a multiple of 64, 128 to 32704") { $0.outboxChunkBytes = 1000 },
    Row(text: "limits: outbox_chunk_bytes must be a multiple of 64, 128 to 32704") { $0.outboxChunkBytes = 64 },
    Row(text: "limits: blocks kept for QoS and retained must be at most half of blocks") {
      $0.blocksKeptForQoS = $0.blockCount / 2 - $0.blocksKeptForRetained + 1
    },
    Row(text: "limits: blocks are too few for one packet of packet_bytes") {
      $0.partialBlockBytes = 65_536
      $0.packetBytesMax =
        ($0.blockCount - $0.blocksKeptForQoS - $0.blocksKeptForRetained - $0.blocksKeptForSmall) * $0.blockBytes + 1
    },
    Row(text: "limits: inflight must be 1 to 65535") { $0.inflightMax = 0 },
    Row(text: "limits: inflight must be 1 to 65535") { $0.inflightMax = 65_536 },
    Row(text: "limits: messages must be at least retained") { $0.retainedMax = $0.messagesMax + 1 },
    Row(text: "limits: outbox_chunks_per_connection is too small for one packet of packet_bytes") {
      $0.outboxChunksPerConnection = $0.packetBytesMax / $0.outboxChunkBytes + 3
    },
    Row(text: "limits: outbox_chunks must be at least outbox_chunks_per_connection") {
      $0.outboxChunksShared = $0.outboxChunksPerConnection - 1
    },
  ]
  @Test(arguments: broken) func namesTheBrokenRelation(row: Row) {
    var limits = Limits()
    row.change(&limits)
    #expect(limits.problem?.description == row.text)
  }

  /// The same relations at their last good value.
  static let atTheEdge: [@Sendable (inout Limits) -> Void] = [
    { $0.sessionsMax = $0.connectionsMax },
    { $0.pendingConnectionsMax = $0.connectionsMax },
    { $0.topicNodesMax = (1 << 20) - 1 },
    { $0.outboxChunksShared = (1 << 20) - 2 * $0.connectionsMax },
    { $0.clientIDCellsMax = (1 << 20) - $0.sessionsMax },
    { $0.packetBytesMax = 1024 },
    {
      $0.packetBytesMax = 128 << 20
      $0.blockBytes = 65_536
      $0.blockCount = 4096
      $0.partialBlockBytes = 65_536
      $0.partialBlockCount = 2048
      $0.outboxChunkBytes = 32_704
      $0.outboxChunksPerConnection = 4109
      $0.outboxChunksShared = 4109
    },
    {
      $0.partialBlockBytes = 64
      $0.partialBlockCount = $0.packetBytesMax / 64
    },
    { $0.topicBytesMax = 48 },
    { $0.clientIDBytesMax = 24 },
    { $0.topicBytesMax = $0.packetBytesMax / 2 },
    { $0.blockBytes = 32 },
    { $0.blocksKeptForQoS = $0.blockCount / 2 - $0.blocksKeptForRetained },
    { $0.inflightMax = 1 },
    { $0.inflightMax = 65_535 },
    { $0.retainedMax = $0.messagesMax },
    { $0.outboxChunksPerConnection = $0.packetBytesMax / $0.outboxChunkBytes + 4 },
    { $0.outboxChunksShared = $0.outboxChunksPerConnection },
  ]
  @Test(arguments: atTheEdge.indices) func edgeHolds(row: Int) {
    var limits = Limits()
    LimitsTests.atTheEdge[row](&limits)
    #expect(limits.problem == nil)
  }

  /// A plan beyond any board's memory is still counted, so that its size can be told instead of a trap.
  @Test func countsMoreThanABoardHas() {
    var counting = Reservation.counting()
    _ = BlockPool(blockCount: Limits.entriesMax, blockBytes: 65_536, name: "blocks", in: &counting)
    #expect(counting.byteCount > 1 << 36)
  }

  /// What the relations promise: one packet of the largest size finds blocks and chunks in an empty broker.
  @Test func largestPacketFits() {
    let limits = Limits()
    withReservation(4 << 20) { reservation in
      let blocks = BlockPool(
        blockCount: limits.blockCount, blockBytes: limits.blockBytes, name: "blocks", in: &reservation)
      #expect(
        blocks.hasRoom(
          for: limits.packetBytesMax, keepingFree: limits.blocksKeptForQoS + limits.blocksKeptForRetained) == true)
      let queues = ByteQueuePool(
        queueCount: limits.connectionsMax, sharedChunkCount: limits.outboxChunksShared,
        chunkBytes: limits.outboxChunkBytes, chunksPerQueueMax: limits.outboxChunksPerConnection, name: "outboxes",
        in: &reservation)
      #expect(queues.hasRoom(ByteQueue(), for: limits.packetBytesMax, references: 1, use: .data) == true)
      #expect(queues.hasRoom(ByteQueue(), for: limits.filtersPerPacketMax + 16, use: .control) == true)
    }
  }
}
