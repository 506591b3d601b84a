import Bounded
import MQTTBroker
import Taps
import Testing

@testable import TaplineConfiguration

/// `limits:`: profiles, what follows from named limits, and the numbers that errors name.
@Suite struct ConfigurationLimitTests {
  private func yaml(_ named: [(key: String, value: String)]) -> String {
    "limits:" + named.map { "\n  \($0.key): \($0.value)" }.joined()
  }

  private func read(_ limits: String) throws -> Limits { try readConfiguration("limits: {\(limits)}").limits }

  /// The same configuration with the numbers that its errors name. Each error must name one of its keys, at its place and
  /// once.
  private func followed(
    _ named: [(key: String, value: String)], sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> [(key: String, value: String)] {
    var mended = named
    var told: Set<String> = []
    for line in errorLines([UInt8](yaml(named).utf8)) {
      let pattern =
        #/^t.yaml:(\d+):3: limits: (\w+) is \d+; expected (?:at least|at most|a multiple of \d+ such as) (\d+): /#
      let found = try #require(try pattern.firstMatch(in: line), "\(line)", sourceLocation: sourceLocation)
      let place = try #require(Int(found.1)) - 2
      #expect(named[place].key == found.2, sourceLocation: sourceLocation)
      #expect(told.insert(String(found.2)).inserted, "\(line), twice", sourceLocation: sourceLocation)
      mended[place].value = String(found.3)
    }
    return mended
  }

  // MARK: Profiles

  @Test func profilesAreTakenByName() throws {
    for profile in Limits.Profile.all {
      let configuration = try readConfiguration("limits: {profile: \(profile.name)}")
      #expect(configuration.limitProfile == profile && !configuration.isLimitProfileChanged)
      for key in LimitKey.all {
        var expected = LimitSettings()
        expected.broker = Limits(profile)
        var read = LimitSettings()
        read.broker = configuration.limits
        read.loop = configuration.loopLimits
        read.users = configuration.userLimits
        #expect(key.get(read) == key.get(expected), "\(profile.name): \(key.name)")
        #expect(key.range.contains(key.get(expected)), "\(profile.name): \(key.name)")
      }
    }
    #expect(try readConfiguration("").limitProfile == .board)
    let changed = try readConfiguration("limits: {profile: house, connections: 200}")
    #expect(changed.limits.connectionsMax == 200 && changed.limits.packetBytesMax == 1 << 20)
    #expect(changed.isLimitProfileChanged)
    #expect(
      errorLines([UInt8]("limits: {profile: hose}".utf8)) == [
        "t.yaml:1:19: 'profile' is 'hose'; expected board, house or site; did you mean 'house'?"
      ])
  }

  // MARK: One limit alone

  /// Ends of the range, powers of two with their neighbours, and some at random.
  private func values(_ range: ClosedRange<Int>, _ random: inout SeededGenerator) -> Set<Int> {
    var values: Set<Int> = [range.lowerBound, range.upperBound]
    var power = 1
    while power <= range.upperBound {
      for value in [power - 1, power, power + 1] where range.contains(value) { values.insert(value) }
      power *= 2
    }
    for _ in 0..<12 { values.insert(range.lowerBound + random.below(range.count)) }
    return values
  }

  /// Whatever one key says alone is right, or is told at this key with a number that is.
  @Test(arguments: Limits.Profile.all) func everyKeyAloneIsEnough(_ profile: Limits.Profile) throws {
    var random = SeededGenerator(seed: 7)
    for key in LimitKey.all {
      for value in values(key.range, &random).sorted() {
        let named = [(key: "profile", value: "\(profile.name)"), (key: "\(key.name)", value: "\(value)")]
        let mended = try followed(named)
        let configuration = try readConfiguration(yaml(mended))
        var read = LimitSettings()
        read.broker = configuration.limits
        read.loop = configuration.loopLimits
        read.users = configuration.userLimits
        #expect("\(key.get(read))" == mended[1].value, "\(key.name) \(value)")
        for other in LimitKey.all {
          #expect(other.range.contains(other.get(read)), "\(key.name) \(value): \(other.name) \(other.get(read))")
        }
        #expect(configuration.limits.problems.isEmpty, "\(key.name) \(value)")
        var counting = Reservation.counting()
        _ = Broker(limits: configuration.limits, keys: BrokerKeys(repeatable: 1), in: &counting)
      }
    }
  }

  /// What one user has written in one line, and what it brings with it.
  @Test func whatFollows() throws {
    let packets = try read("packet_bytes: 1M")
    #expect(packets.packetBytesMax == 1 << 20)
    // Room for one that comes, one that is kept while the next comes, one that goes out.
    #expect(packets.partialBlockCount * packets.partialBlockBytes >= 1 << 20)
    #expect(
      (packets.blockCount - packets.blocksKeptForQoS - packets.blocksKeptForRetained) * packets.blockBytes >= 2 << 20)
    #expect(packets.outboxChunksPerConnection * packets.outboxChunkBytes >= 1 << 20)
    #expect(packets.outboxChunksShared >= 2 * packets.outboxChunksPerConnection)

    let connections = try read("connections: 300")
    #expect(connections.sessionsMax == 364 && connections.connectBurst == 600)
    #expect(connections.subscriptionsMax == 1536 + 8 * 236 && connections.deliveriesMax == 3072 + 8 * 236)
    #expect(connections.connectionsPerAddressMax == 225)
    #expect(try read("connections: 300, connections_per_address: 300").connectionsPerAddressMax == 300)
    for (connections, most) in [
      (1, 1), (16, 16), (20, 16), (48, 16), (49, 17), (64, 32), (96, 64), (128, 96), (129, 97),
    ] {
      #expect(try read("connections: \(connections)").connectionsPerAddressMax == most)
    }
    #expect(try read("connections: 10").pendingConnectionsMax == 10)
    #expect(try read("connections: 10").sessionsMax == 128)
    let sessions = try read("sessions: 20")
    #expect(sessions.connectionsMax == 20 && sessions.pendingConnectionsMax == 20)
    #expect(sessions.connectionsPerAddressMax == 16)

    let retained = try read("retained: 5000")
    #expect(retained.messagesMax == 5512 && retained.topicNodesMax >= 3 * 5000)
    #expect(retained.blockCount >= 2 * 5000)
    #expect((retained.topicNodesMax + 1) % 1024 == 0)
    #expect(try read("messages: 300").retainedMax == 200)
    #expect(try read("queued: 5000").deliveriesMax > 5000)
    #expect(try read("subscriptions: 9000").topicNodesMax > 9000)
    #expect(try read("topic_bytes: 65535").packetBytesMax == 131_070)
    #expect(try read("packet_bytes: 1024").topicBytesMax == 512)
    #expect(try read("packet_bytes: 128M").outboxChunkBytes == 512)
    let blocks = try read("blocks: 1000")
    #expect(blocks.blocksKeptForQoS + blocks.blocksKeptForRetained <= 500)
    #expect(try read("topic_alias: 65535").topicAliasCellsMax == 16)
  }

  // MARK: Several limits

  @Test(arguments: 0..<60) func theNumbersThatAreToldWouldDo(_ seed: Int) throws {
    var random = SeededGenerator(seed: UInt64(seed))
    for _ in 0..<20 {
      var keys = LimitKey.all
      var named: [(key: String, value: String)] = []
      for _ in 0...random.below(9) {
        let key = keys.remove(at: random.below(keys.count))
        let width = random.below(1 + Int.bitWidth - key.range.count.leadingZeroBitCount)
        let value = min(key.range.upperBound, key.range.lowerBound + random.below(1 << width))
        named.append((key: "\(key.name)", value: "\(value)"))
      }
      let mended = try followed(named)
      #expect(errorLines([UInt8](yaml(mended).utf8)) == [], "\(yaml(named))")
    }
  }

  static let told: [WrongCase] = [
    WrongCase(
      "limits:\n  packet_bytes: 1048576\n  partial_blocks: 5\n  blocks: 20\n  retained: 100\n  messages: 3",
      "t.yaml:3:3: limits: partial_blocks is 5; expected at least 4096: room for one packet of packet_bytes",
      "t.yaml:4:3: limits: blocks is 20; expected at least 11275: room for one packet of packet_bytes beside those kept",
      "t.yaml:6:3: limits: messages is 3; expected at least 100: as many as retained"),
    WrongCase(
      "limits: {block_bytes: 100}",
      "t.yaml:1:10: limits: block_bytes is 100; expected a multiple of 32 such as 128: a block is cut evenly"),
    WrongCase(
      "limits: {packet_bytes: 64M, block_bytes: 32}",
      "t.yaml:1:10: limits: packet_bytes is 67108864; expected at most 32481280: a table has no more entries for one packet"
    ),
    // A value that cannot be read asks nothing of others.
    WrongCase(
      "limits: {connections: 0, sessions: 5}", "t.yaml:1:23: 'connections' is '0'; expected a number from 1 to 65536"),
    WrongCase(
      "limits: {retained: 0, messages: 0}", "t.yaml:1:33: 'messages' is '0'; expected a number from 1 to 1048576"),
  ]
  @Test(arguments: told) func isTold(_ wrong: WrongCase) {
    #expect(errorLines([UInt8](wrong.yaml.utf8)) == wrong.errors)
  }

  // MARK: Taps

  private func outputs(_ count: Int, stats: Bool = false) -> String {
    let outputs = (0..<count).map { "    r\($0): {pin: {chip: c, line: \($0)}, stats: \(stats)}" }
    return "\ntaps:\n  outputs:\n" + outputs.joined(separator: "\n")
  }

  @Test(arguments: [1, 63, 64, 200, 1000]) func limitsFollowTheTaps(count: Int) throws {
    let limits = try readConfiguration(outputs(count, stats: true)).limits
    #expect(limits.tapsMax == (count < 64 ? 128 : 2 * count + 1 + 32))
    #expect(limits.retainedMax > 2 * count)
    #expect(limits.problems.isEmpty)
  }

  @Test func aNamedLimitOfTapsNamesTheNumberThatWouldDo() throws {
    let wrong = "limits: {taps: 128, retained: 64}" + outputs(64)
    #expect(
      errorLines([UInt8](wrong.utf8)) == [
        "t.yaml:1:10: limits: taps is 128; expected at least 129: the configuration has as many; an output counts as two or three",
        "t.yaml:1:21: limits: retained is 64; expected at least 65: one for each state of the configuration's taps, and the status",
      ])
    #expect(errorLines([UInt8](("limits: {taps: 129, retained: 65}" + outputs(64)).utf8)) == [])
    // Both at once, and what follows from them.
    #expect(
      errorLines([UInt8](("limits: {messages: 3, retained: 2}" + outputs(64)).utf8)).map { $0.prefix(60) } == [
        "t.yaml:1:10: limits: messages is 3; expected at least 65: as",
        "t.yaml:1:23: limits: retained is 2; expected at least 65: on",
      ])
  }
}
