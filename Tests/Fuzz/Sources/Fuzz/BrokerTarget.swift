import Bounded
import MQTTBroker
import MQTTWire

/// A script of clients, bytes and time against a broker with next to no memory. Whatever it says: nothing traps,
/// nothing is allocated, what the clients get is well-formed and meant for them, and in the end every pool is empty.
///
/// Input: options, then steps; the low two bits of a step's first byte say which of four clients takes it.
func fuzzBroker(_ input: inout Input) {
  let options = input.byte()
  let world = BrokerWorld(
    limits: options & 1 == 0 ? .tiny : .small, policy: options & 2 == 0 ? .disconnect : .resync,
    hasTaps: options & 4 != 0, allowsAnonymous: options & 8 == 0, hasSys: options & 16 != 0)
  while !input.isAtEnd {
    let step = input.byte()
    world.take(Step(rawValue: step >> 2 & 15)!, world.clients[Int(step & 3)], &input)
    world.turn()
  }
  world.finish()
}

/// What a client or the clock does next.
private enum Step: UInt8 {
  case raw, connect, publish, subscribe, unsubscribe, acknowledge, release, pingOrDisconnect
  case time, readRate, lose, ownPublish, cut, close, part, attach
}

extension Limits {
  /// Everything runs out soon.
  static var tiny: Limits {
    var limits = Limits()
    limits.connectionsMax = 4
    limits.pendingConnectionsMax = 3
    limits.sessionsMax = 4
    limits.packetBytesMax = 1024
    limits.partialBlockBytes = 64
    limits.partialBlockCount = 16
    limits.topicBytesMax = 64
    limits.topicLevelsMax = 5
    limits.topicNodesMax = 12
    limits.topicNameCellsMax = 2
    limits.clientIDBytesMax = 36
    limits.clientIDCellsMax = 1
    limits.subscriptionsMax = 6
    limits.sharedGroupsMax = 2
    limits.filtersPerPacketMax = 4
    limits.tapsMax = 2
    limits.messagesMax = 5
    limits.blockBytes = 64
    limits.blockCount = 24
    limits.blocksKeptForQoS = 4
    limits.blocksKeptForRetained = 3
    limits.retainedMax = 3
    limits.deliveriesMax = 5
    limits.queuedMax = 2
    limits.inflightMax = 2
    limits.topicAliasMax = 2
    limits.topicAliasClientsMax = 2
    limits.topicAliasBytesMax = 16
    limits.topicAliasCellsMax = 2
    limits.subscriptionIDCellsMax = 2
    limits.outboxChunkBytes = 512
    limits.outboxChunksShared = 6
    limits.outboxChunksPerConnection = 6
    limits.referenceBytesMin = 80
    limits.sessionExpirySecondsMax = 1000
    limits.keepAliveSecondsMax = 60
    return limits
  }

  /// Little runs out, so that more can be said.
  static var small: Limits {
    var limits = Limits.tiny
    limits.sessionsMax = 8
    limits.partialBlockCount = 40
    limits.topicNodesMax = 63
    limits.topicNameCellsMax = 12
    limits.subscriptionsMax = 32
    limits.sharedGroupsMax = 8
    limits.messagesMax = 40
    limits.blockCount = 100
    limits.retainedMax = 12
    limits.deliveriesMax = 40
    limits.queuedMax = 12
    limits.inflightMax = 6
    limits.subscriptionIDCellsMax = 20
    limits.outboxChunksShared = 24
    limits.outboxChunksPerConnection = 10
    return limits
  }
}

// MARK: - Steps

extension BrokerWorld {
  fileprivate func take(_ step: Step, _ client: BrokerClient, _ input: inout Input) {
    switch step {
    case .raw: send(input.take(Int(input.byte())), client)
    case .connect: send(Script.connect(&input, client), client)
    case .publish: send(Script.publish(&input, client), client)
    case .subscribe: send(Script.subscribe(&input, client), client)
    case .unsubscribe:
      send(Script.packet(0xA2, u16(input.uint16()), client.isV5 ? [0] : [], Script.filter(&input)), client)
    case .acknowledge: acknowledge(client, options: input.byte())
    case .release: send([0x62, 2, 0, input.byte()], client)
    case .pingOrDisconnect:
      let reason = input.byte()
      send(reason & 1 == 0 ? [0xC0, 0] : client.isV5 ? [0xE0, 1, reason & 4] : [0xE0, 0], client)
    case .time:
      let milliseconds: [Int64] = [1, 900, 1000, 5000, 15_000, 31_000, 91_000, 600_000, 1_100_000, 95_000_000_000]
      advance(milliseconds: milliseconds[input.below(10)])
    case .readRate: client.bytesPerTurn = [0, 1, 7, 100, 600, .max][input.below(6)]
    case .lose: lose(client)
    case .ownPublish:
      let options = input.byte()
      publish(
        topic: Script.topics[input.below(Script.topics.count)], payload: Script.payload(&input),
        qos: QoS(rawValue: options & 3) ?? .exactlyOnce, retain: options & 4 != 0,
        expirySeconds: options & 8 != 0 ? UInt32(options >> 4) : nil)
    case .cut: client.cut = Int(input.byte())
    case .close: close(client, all: input.byte() & 1 != 0)
    case .part:
      // The start of a packet that may never be complete.
      let whole = Script.publish(&input, client)
      send(Array(whole.prefix(Int(input.byte()))), client)
    case .attach: attach(client)
    }
  }

  /// Answers what the client has got, in order, mostly as it should.
  private func acknowledge(_ client: BrokerClient, options: UInt8) {
    guard let (id, state) = client.outstanding.min(by: { $0.value.order < $1.value.order }) else { return }
    let wrong: [UInt8] = options & 1 != 0 && client.isV5 ? [0x97] : []
    let id16 = u16(Int(id))
    switch state.awaits {
    case .pubAck: send(Script.packet(0x40, id16, wrong), client)
    case .pubRec: send(Script.packet(0x50, id16, wrong), client)
    case .pubComp: send(Script.packet(0x70, id16), client)
    }
  }
}

/// Packets from a few bytes each, so that most of them mean something.
enum Script {
  static let clientIDs = [
    "", "a", "b", "c", "d", "a client whose id is long", "a client whose id is longer than one cell",
  ].map { [UInt8]($0.utf8) }
  static let topics = [
    "a", "a/b", "a/b/c", "b", "", "/", "$t/a", "tap/set", "a/level/whose/name is longer than one cell of the tree",
    "q/w/e/r/t/y", "another topic, which is longer than anything that is allowed here at all", "a/+",
  ].map { [UInt8]($0.utf8) }
  static let filters = [
    "a", "a/b", "a/#", "#", "+", "+/b", "a/+/c", "$share/g/a", "$share/g/#", "$share/h/+/b", "$t/#", "/",
    "a/level/whose/name is longer than one cell of the tree", "a#", "$share/g", "q/w/e/r/t/y",
  ].map { [UInt8]($0.utf8) }

  static func packet(_ first: UInt8, _ body: [UInt8]...) -> [UInt8] {
    let body = body.flatMap { $0 }
    return [first] + vbi(body.count) + body
  }

  static func filter(_ input: inout Input) -> [UInt8] { binary(filters[input.below(filters.count)]) }

  /// 0 to 31 bytes, or one of a few longer sizes.
  static func payload(_ input: inout Input) -> [UInt8] {
    let size = input.byte()
    let count = size < 32 ? Int(size) : [60, 79, 80, 200, 300, 700, 950, 1010][Int(size) % 8]
    return [UInt8](repeating: size, count: count)
  }

  static func connect(_ input: inout Input, _ client: BrokerClient) -> [UInt8] {
    let options = input.byte()
    let isV5 = options & 1 == 0
    let hasWill = options & 4 != 0
    let id = clientIDs[input.below(clientIDs.count)]
    var flags: UInt8 = options & 2  // Clean Start
    if hasWill { flags |= 4 | (options >> 3 & 3) % 3 << 3 | (options & 32) }
    var properties: [UInt8] = []
    let more = input.byte()
    if more & 3 != 0 { properties += [0x11] + u32([0, 5, 500, 0xFFFF_FFFF][Int(more & 3)]) }
    if more & 12 != 0 { properties += [0x21] + u16([0, 1, 2, 100][Int(more >> 2 & 3)]) }
    if more & 48 != 0 { properties += [0x27] + u32([0, 30, 60, 200][Int(more >> 4 & 3)]) }
    if more & 64 != 0 { properties += [0x17, 0] }
    if more & 128 != 0 { properties += [0x22] + u16(Int(more & 1) + 1) }
    var will: [UInt8] = []
    if hasWill {
      let delay = input.byte()
      var willProperties: [UInt8] = []
      if delay & 3 != 0 { willProperties += [0x18] + u32([0, 1, 50, 0xFFFF_FFFF][Int(delay & 3)]) }
      if delay & 4 != 0 { willProperties += [0x02] + u32(Int(delay >> 4)) }
      if delay & 8 != 0 { willProperties += user("w", "x") }
      will = (isV5 ? block(willProperties) : []) + binary(topics[input.below(topics.count)]) + binary(payload(&input))
    }
    let keepAlive = options & 64 == 0 ? 0 : 30
    let bridge: UInt8 = id == clientIDs[3] ? 0x80 : 0
    let is31 = !isV5 && options & 128 != 0
    return packet(
      0x10, string(is31 ? "MQIsdp" : "MQTT"), [(isV5 ? 5 : is31 ? 3 : 4) | bridge, flags], u16(keepAlive),
      isV5 ? block(properties) : [], binary(id), will)
  }

  static func publish(_ input: inout Input, _ client: BrokerClient) -> [UInt8] {
    let options = input.byte()
    let qos = (options & 3) % 3
    var first: UInt8 = 0x30 | qos << 1 | (options >> 2 & 1)
    if options & 8 != 0, qos > 0 { first |= 8 }
    var properties: [UInt8] = []
    if options & 16 != 0 { properties += [0x02] + u32(Int(input.byte())) }
    if options & 32 != 0 { properties += [0x23] + u16(input.below(4)) }
    if options & 64 != 0 { properties += user("key", "value") }
    if options & 128 != 0 { properties += [0x09] + binary([1, 2, 3]) }
    let topic = topics[input.below(topics.count)]
    let id: [UInt8] = qos == 0 ? [] : [0, input.byte()]
    return packet(first, binary(topic), id, client.isV5 ? block(properties) : [], payload(&input))
  }

  static func subscribe(_ input: inout Input, _ client: BrokerClient) -> [UInt8] {
    let options = input.byte()
    let count = 1 + Int(options & 3)
    let properties: [UInt8] = options & 4 != 0 ? [0x0B] + vbi(1 + Int(options >> 3) * 300) : []
    var list: [UInt8] = []
    for _ in 0..<count {
      list += filter(&input)
      list.append(client.isV5 ? input.byte() & 0b10_1111 : input.byte() % 3)
    }
    return packet(0x82, [0, options | 1], client.isV5 ? block(properties) : [], list)
  }
}
