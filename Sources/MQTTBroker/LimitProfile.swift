extension Limits {
  /// A set of limits that go together, for a size of network.
  public enum Profile: UInt8, Sendable {
    /// A board by itself with a few clients, in no more memory than it takes.
    case board
    /// A house with Home Assistant and zigbee2mqtt: 60 clients, 2,000 retained discovery messages of 600 bytes, retained
    /// messages of 500 kB.
    case house
    /// 1,000 clients.
    case site

    public static var all: [Profile] { [.board, .house, .site] }

    /// As the configuration calls it.
    public var name: StaticString {
      switch self {
      case .board: "board"
      case .house: "house"
      case .site: "site"
      }
    }
  }

  @_optimize(size) public init(_ profile: Profile) {
    self.init()
    switch profile {
    case .board: break
    case .house: setHouse()
    case .site: setSite()
    }
  }

  private mutating func setHouse() {
    connectionsMax = 96
    connectionsPerAddressMax = 64
    sessionsMax = 192
    pendingConnectionsMax = 48
    connectBurst = 192
    packetBytesMax = 1 << 20
    // Two packets of the largest size less a fifth: they seldom come at the same moment.
    partialBlockCount = 7168
    // Three levels of its own for each of 2000 discovery messages, two for other retained ones, one a subscription.
    topicNodesMax = 12_287
    topicNameCellsMax = 2048
    clientIDCellsMax = 96
    subscriptionsMax = 2048
    sharedGroupsMax = 384
    messagesMax = 6144
    // 2000 discovery messages of 7 blocks, 2096 of 2, two of 500 kB and one that replaces one of them, and what is queued.
    blockCount = 40_960
    retainedMax = 4096
    deliveriesMax = 6144
    topicAliasClientsMax = 32
    outboxChunkBytes = 256
    outboxChunksPerConnection = 4352
    outboxChunksShared = 8704
    referenceBytesMin = 2048
  }

  private mutating func setSite() {
    setHouse()
    connectionsMax = 1024
    connectionsPerAddressMax = 768
    sessionsMax = 2048
    pendingConnectionsMax = 256
    // One router may be the address of all of them.
    pendingPerAddressMax = 128
    connectsPerSecond = 100
    connectBurst = 2048
    partialBlockCount = 12_288
    topicNodesMax = 57_343
    topicNameCellsMax = 8192
    clientIDCellsMax = 1024
    subscriptionsMax = 16_384
    sharedGroupsMax = 4096
    messagesMax = 28_672
    blockCount = 131_072
    retainedMax = 16_384
    deliveriesMax = 32_768
    topicAliasClientsMax = 256
    topicAliasCellsMax = 1024
    subscriptionIDCellsMax = 2048
    outboxChunksShared = 24_576
  }
}
