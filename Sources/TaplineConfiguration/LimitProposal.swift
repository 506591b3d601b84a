import Bounded
public import MQTTBroker

/// Limits for a number of clients, of one of several sizes: a `limits:` section that names all that memory depends on.
public struct LimitProposal {
  private let named: [(name: StaticString, value: Int)]
  /// What the section stands for, in a file whose taps have the needs that were given.
  public let limits: Limits

  /// From the smallest to the largest; each is larger than the one before in some limit, and smaller in none.
  public static var sizes: [Int] {
    var sizes = [1]
    var size = 2
    while size <= 4096 {
      sizes.append(size)
      sizes.append(size + size / 2)
      size *= 2
    }
    return sizes
  }

  /// - Parameters:
  ///   - size: one of `sizes`; 64 is about that of `profile: board`.
  ///   - clients: 1 to 65536, all connected at the same time. As many others may be away.
  ///   - needs: of the taps in the file in which the section is to stand.
  public init(size: Int, clients: Int, needs: LimitNeeds) {
    let packetBytes = min(size, 1024) * 1024
    let profile = Limits(.board)
    let packetBlocks = (packetBytes + profile.blockBytes - 1) / profile.blockBytes
    // $SYS has about a hundred.
    let retained = needs.retained + 128 + 14 * size
    let messages = retained + 8 * size + clients
    let subscriptions = 4 * clients + 12 * size
    let chunks = packetBytes / profile.outboxChunkBytes + 4 + size / 2
    let wanted: [(name: StaticString, value: Int)] = [
      // Two places are kept, and all clients may be behind one router.
      ("connections", clients + 2), ("connections_per_address", clients), ("sessions", 2 * clients + 2),
      ("packet_bytes", packetBytes),
      ("partial_blocks", packetBytes / profile.partialBlockBytes + 2 * size),
      ("topic_nodes", 3 * retained + subscriptions + 6 * needs.taps + 64), ("topic_name_cells", 8 * size + clients),
      ("subscriptions", subscriptions), ("messages", messages), ("blocks", 2 * packetBlocks + 2 * messages),
      ("retained", retained), ("deliveries", 40 * size + 2 * clients), ("queued", min(1000, 16 * size)),
      ("outbox_chunks", 2 * chunks + 4 * clients), ("outbox_chunks_per_connection", chunks),
    ]
    var named: [(name: StaticString, value: Int)] = []
    var settings = LimitSettings()
    for limit in wanted {
      for key in LimitKey.all where Bytes(key.name) == Bytes(limit.name) {
        let value = max(key.range.lowerBound, min(key.range.upperBound, limit.value))
        named.append((limit.name, value))
        key.set(&settings, value)
      }
    }
    var limits = settings.broker
    for problem in limits.follow(
      profile, needs: needs, isNamed: { name in named.contains { Bytes($0.name) == Bytes(name) } })
    {
      for index in named.indices where Bytes(named[index].name) == Bytes(problem.name) {
        named[index].value = problem.wanted
      }
    }
    self.named = named
    self.limits = limits
  }

  /// As it is written in a file.
  public var yaml: Text {
    var text = Text("limits:\n  profile: board\n")
    for limit in named {
      text.add("  ")
      text.add(limit.name)
      text.add(": ")
      let isBytes = Bytes(limit.name) == Bytes("packet_bytes")
      text.add(isBytes ? limit.value / 1024 : limit.value)
      text.add(isBytes ? "k\n" : "\n")
    }
    return text
  }
}
