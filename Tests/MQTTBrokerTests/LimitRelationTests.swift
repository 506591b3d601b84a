import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

@Suite struct LimitRelationTests {
  @Test func defaultsHold() {
    #expect(Limits().problems.isEmpty)
  }

  /// A relation broken by one step: the limit that is named, what it is asked for, and the limit that asks.
  struct Row: CustomTestStringConvertible {
    let name: String
    let demand: LimitProblem.Demand
    let cause: String?
    let change: @Sendable (inout Limits) -> Void
    var testDescription: String { "\(name) \(demand)" }

    init(
      _ name: String, _ demand: LimitProblem.Demand, cause: String? = nil,
      _ change: @escaping @Sendable (inout Limits) -> Void
    ) {
      self.name = name
      self.demand = demand
      self.cause = cause
      self.change = change
    }
  }

  private static var most: Int { 1 << 20 }

  static let broken: [Row] = [
    Row("sessions", .atLeast(64), cause: "connections") { $0.sessionsMax = 63 },
    Row("pending_connections", .atMost(64), cause: "connections") { $0.pendingConnectionsMax = 65 },
    Row("topic_nodes", .atMost(most - 1)) { $0.topicNodesMax = 1 << 20 },
    Row("outbox_chunks", .atMost(most - 128), cause: "connections") { $0.outboxChunksShared = (1 << 20) - 127 },
    Row("client_id_cells", .atMost(most - 128), cause: "sessions") { $0.clientIDCellsMax = (1 << 20) - 127 },
    Row("packet_bytes", .atLeast(1024)) {
      $0.packetBytesMax = 1023
      $0.topicBytesMax = 500
    },
    Row("connects_per_second", .atLeast(1)) { $0.connectsPerSecond = 0 },
    Row("connect_burst", .atLeast(1)) { $0.connectBurst = 0 },
    Row("connections_per_address", .atLeast(1)) { $0.connectionsPerAddressMax = 0 },
    Row("pending_per_address", .atLeast(1)) { $0.pendingPerAddressMax = 0 },
    Row("takeovers", .atLeast(1)) { $0.takeoversMax = 0 },
    Row("takeovers", .atMost(1 << 30)) { $0.takeoversMax = (1 << 30) + 1 },
    Row("takeover_seconds", .atLeast(1)) { $0.takeoverSeconds = 0 },
    Row("partial_block_bytes", .multipleOf(64, such: 256)) { $0.partialBlockBytes = 200 },
    Row("partial_block_bytes", .multipleOf(64, such: 64)) {
      $0.partialBlockBytes = 0
      $0.partialBlockCount = 1024
    },
    Row("partial_block_bytes", .atMost(65_536)) { $0.partialBlockBytes = 65_600 },
    Row("partial_blocks", .atLeast(256), cause: "packet_bytes") { $0.partialBlockCount = 255 },
    Row("topic_bytes", .atLeast(48)) { $0.topicBytesMax = 47 },
    Row("topic_bytes", .atMost(32_768), cause: "packet_bytes") { $0.topicBytesMax = 32_769 },
    Row("client_id_bytes", .atLeast(24)) { $0.clientIDBytesMax = 23 },
    Row("topic_alias_cells", .atMost(most - 128), cause: "topic_alias_clients") {
      $0.topicAliasCellsMax = (1 << 20) - 127
    },
    Row("topic_alias", .atMost(65_535)) {
      $0.topicAliasMax = 65_536
      $0.topicAliasClientsMax = 1
    },
    Row("topic_alias_bytes", .atMost(65_535)) { $0.topicAliasBytesMax = 65_536 },
    Row("taps", .atMost(65_535)) { $0.tapsMax = 65_536 },
    Row("block_bytes", .multipleOf(32, such: 64)) { $0.blockBytes = 48 },
    Row("block_bytes", .multipleOf(32, such: 32)) { $0.blockBytes = 0 },
    Row("outbox_chunk_bytes", .multipleOf(64, such: 1024)) { $0.outboxChunkBytes = 1000 },
    Row("outbox_chunk_bytes", .atLeast(128)) {
      $0.outboxChunkBytes = 64
      $0.outboxChunksPerConnection = 1028
    },
    Row("blocks", .atLeast(3074), cause: "blocks_kept_for_qos") {
      $0.blocksKeptForQoS = 1537 - $0.blocksKeptForRetained
    },
    Row("blocks", .atLeast(969), cause: "packet_bytes") {
      $0.blocksKeptForQoS = 0
      $0.blockCount = 968
    },
    Row("packet_bytes", .atMost((most - most / 32 - 768) * 32), cause: "block_bytes") {
      $0.packetBytesMax = 32_481_281
      $0.blockBytes = 32
      $0.blockCount = most
      $0.partialBlockBytes = 256
      $0.partialBlockCount = most
      $0.outboxChunksPerConnection = 260_000
      $0.outboxChunksShared = 520_000
    },
    Row("blocks_kept_for_retained", .atMost(most / 2)) {
      $0.blocksKeptForRetained = most / 2 + 1
      $0.blocksKeptForQoS = 0
      $0.blockCount = most
    },
    Row("topic_alias", .atMost(16_384), cause: "topic_alias_clients") {
      $0.topicAliasMax = 16_385
      $0.topicAliasClientsMax = 64
      $0.topicAliasCellsMax = 0
    },
    Row("inflight", .atLeast(1)) { $0.inflightMax = 0 },
    Row("inflight", .atMost(65_535)) { $0.inflightMax = 65_536 },
    Row("queued", .atLeast(1)) { $0.queuedMax = 0 },
    Row("messages", .atLeast(2049), cause: "retained") { $0.retainedMax = 2049 },
    Row("outbox_chunks_per_connection", .atLeast(516), cause: "packet_bytes") { $0.outboxChunksPerConnection = 515 },
    Row("outbox_chunks", .atLeast(576), cause: "outbox_chunks_per_connection") { $0.outboxChunksShared = 575 },
    Row("keep_alive_seconds", .atLeast(1)) { $0.keepAliveSecondsMax = 0 },
    Row("sys_interval_seconds", .atLeast(1)) { $0.sysIntervalSeconds = 0 },
  ]
  @Test(arguments: broken) func namesTheLimitAndTheNumberThatWouldDo(row: Row) {
    var limits = Limits()
    row.change(&limits)
    let problem = limits.problem
    #expect(limits.problems.count == 1)
    #expect(problem?.name.description == row.name)
    #expect(problem?.demand == row.demand)
    #expect(problem?.cause?.description == row.cause)
    #expect(limits.fitted(for: LimitNeeds()).limits.problems.isEmpty)
  }

  /// One change may break several relations: each limit is named once, with the number that all of them ask for.
  @Test func namesEachLimitOnce() {
    var limits = Limits()
    limits.packetBytesMax = 1 << 20
    #expect(
      limits.problems.map { "\($0.name) \($0.demand)" } == [
        "partial_blocks atLeast(4096)", "outbox_chunks_per_connection atLeast(8196)", "outbox_chunks atLeast(8196)",
        "blocks atLeast(12068)",
      ])
    limits.blocksKeptForQoS = 1 << 16
    #expect(limits.problems.last.map { "\($0.name) \($0.demand)" } == "blocks atLeast(131584)")
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
    LimitRelationTests.atTheEdge[row](&limits)
    #expect(limits.problems.isEmpty)
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
    let region = UnsafeMutableRawBufferPointer.zeroed(4 << 20)
    defer { region.deallocate() }
    var reservation = Reservation(region: region)
    do {
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

  /// §1.5.5: whatever a receiver's copy has more than the largest packet that came, its length can be written.
  @Test func largestCopyHasALength() {
    let largest = Limits.packetBytesLargest
    var head = PublishHead(
      version: .v5, qos: .exactlyOnce, retain: true, forwardedByteCount: 0, payloadByteCount: largest - 8)
    head.expirySeconds = .max
    head.topicAlias = .max
    head.identifiersByteCount = Limits.entriesMax * PublishHead.identifierByteCount(268_435_455)
    #expect(head.packetByteCount(topicByteCount: 1) <= 268_435_460)
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 64, alignment: 1)
    defer { memory.deallocate() }
    var writer = ByteWriter(memory)
    head.write(topic: Bytes("t"), into: &writer)
    #expect(writer.written.count == 22)
    #expect(writer.written[4] < 0x80)  // the fourth byte of its length is the last
    var limits = Limits()
    limits.packetBytesMax = largest + 1
    #expect(limits.problem != nil)
  }
}
