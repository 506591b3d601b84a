import Bounded
import MQTTBroker
import MQTTWire
import Testing

/// Seeded runs against tiny limits: whatever clients do, nothing traps, what is sent can be read, and in the end
/// everything that was lent is back.
@Suite struct RandomTests {
  private static var tinyLimits: Limits {
    var limits = Limits()
    limits.connectionsMax = 5
    limits.pendingConnectionsMax = 3
    limits.sessionsMax = 6
    limits.packetBytesMax = 2048
    limits.framerSmallBytes = 64
    limits.framerSmallCount = 2
    limits.framerLargeCount = 1
    limits.topicBytesMax = 64
    limits.topicLevelsMax = 6
    limits.topicNodesMax = 24
    limits.topicNameCellsMax = 4
    limits.clientIDBytesMax = 24
    limits.subscriptionsMax = 14
    limits.sharedGroupsMax = 3
    limits.filtersPerPacketMax = 6
    limits.messagesMax = 20
    limits.blockBytes = 64
    limits.blockCount = 128
    limits.blocksKeptForQoS = 16
    limits.blocksKeptForRetained = 8
    limits.retainedMax = 6
    limits.deliveriesMax = 18
    limits.queuedMax = 5
    limits.inflightMax = 4
    limits.topicAliasMax = 2
    limits.topicAliasBytesMax = 32
    limits.subscriptionIDCellsMax = 4
    limits.outboxChunkBytes = 512
    limits.outboxChunksShared = 10
    limits.outboxChunksPerConnection = 9
    limits.referenceBytesMin = 200
    limits.sessionExpirySecondsMax = 40
    limits.sysIntervalSeconds = 7
    return limits
  }

  private struct Player {
    let world: World
    var random: SeededGenerator
    var serial = 0
    let names = ["a", "b", "c", "d", "e"]
    let topics = ["a", "a/b", "a/b/c", "b", "/", "a//c", "$x/y", "long/" + String(repeating: "n", count: 40)]
    let filters = [
      "#", "+", "a/#", "a/+", "+/b", "+/+/+", "a", "a/b/c", "/", "$x/#", "$share/g/a/#", "$share/h/#", "$share/g/b",
      "$share/g", "a/#/b", "$SYS/#", "1/2/3/4/5/6/7", "long/" + String(repeating: "n", count: 40),
    ]

    mutating func pick<Element>(_ elements: [Element]) -> Element { elements[random.below(elements.count)] }

    mutating func step() {
      switch random.below(120) {
      case 0...7: connect()
      case 8...9: lose()
      case 10...11: world.advance(seconds: Double(random.below(12_000)) / 1000)
      case 12...21: read()
      case 22...35: subscribe()
      case 36...40: send(.unsubscribe(packetID(), (0...random.below(3)).map { _ in pick(filters) }))
      case 41...89: send(publish())
      case 90...108: send(acknowledge())
      case 109: sendBroken()
      case 110...114:
        world.publish(
          topic: pick(topics), payload: payload(), qos: QoS(rawValue: UInt8(random.below(3)))!,
          retain: random.oneIn(3), expirySeconds: random.oneIn(3) ? UInt32(random.below(5)) : nil)
      case 115...117: send(.pingReq)
      default:
        send(
          .disconnect(
            pick([.success, .disconnectWithWill, .unspecifiedError]),
            properties: random.oneIn(3) ? [.sessionExpiry(UInt32(random.below(30)))] : []))
      }
    }

    // MARK: Connections

    private mutating func connect() {
      let name = "\(pick(names))\(random.below(2))"  // two names for a client: takeovers
      guard !world.isOpen(name) else { return }
      let version: ProtocolVersion = random.oneIn(3) ? .v311 : .v5
      guard world.attach(name, version, allowsAnonymous: !random.oneIn(20)) else { return }
      if random.oneIn(12) { return }  // says nothing
      var fields = ConnectFields(version: version, clientID: random.oneIn(15) ? "" : String(name.first!))
      fields.cleanStart = random.oneIn(3)
      fields.keepAliveSeconds = UInt16(random.below(30))
      if version == .v5 {
        if !random.oneIn(3) { fields.properties.append(.sessionExpiry(UInt32(random.below(60)))) }
        if random.oneIn(3) { fields.properties.append(.number(.receiveMaximum, UInt32(1 + random.below(6)))) }
        if random.oneIn(2) { fields.properties.append(.number(.topicAliasMaximum, UInt32(random.below(4)))) }
        if random.oneIn(4) { fields.properties.append(.number(.maximumPacketSize, UInt32(15 + random.below(300)))) }
      }
      if random.oneIn(2) {
        fields.will = WillFields(
          topic: pick(topics), payload: payload(), qos: UInt8(random.below(3)), retain: random.oneIn(3))
        if version == .v5, random.oneIn(2) {
          fields.will!.properties.append(.number(.willDelayInterval, UInt32(random.below(20))))
        }
        if version == .v5, random.oneIn(3) { fields.will!.properties.append(.expiry(UInt32(random.below(20)))) }
        if fields.will!.retain { world.remember(retained: fields.will!.topic) }
      }
      world.send(name, .connect(fields))
    }

    private mutating func lose() {
      if let name = openName() { world.lose(name) }
    }

    private mutating func openName() -> String? {
      let open = world.openNames
      return open.isEmpty ? nil : pick(open)
    }

    private mutating func read() {
      guard let name = openName() else { return }
      world.read(name, bytesPerFlush: pick([0, 0, 1, 10, 500, nil, nil]))
    }

    // MARK: Packets

    private mutating func send(_ packet: Packet) {
      guard let name = openName() else { return }
      if case .publish(let topic, _, _, _, true, _, _) = packet { world.remember(retained: topic) }
      let bytes = packet.bytes(world.client(name).version)
      switch random.below(60) {
      case 0...4:  // in two parts, with something in between
        let cut = random.below(bytes.count)
        world.send(name, bytes: Array(bytes[..<cut]))
        if random.oneIn(2) { world.advance(seconds: 1) }
        if random.oneIn(6) { lose() }
        if world.isOpen(name) { world.send(name, bytes: Array(bytes[cut...])) }
      case 5:  // never completed
        world.send(name, bytes: Array(bytes[..<random.below(bytes.count)]))
      default: world.send(name, bytes: bytes)
      }
    }

    private mutating func sendBroken() {
      guard let name = openName() else { return }
      var bytes = publish().bytes(world.client(name).version)
      bytes[random.below(bytes.count)] = UInt8(truncatingIfNeeded: random.next())
      // What it says now may be a retained message for a topic that nobody remembers.
      bytes[0] &= 0xFE
      world.send(name, bytes: random.oneIn(4) ? [0xC0] + random.bytes(1 + random.below(30)) : bytes)
    }

    private mutating func packetID() -> UInt16 { UInt16(1 + random.below(random.oneIn(20) ? 8 : 4)) }

    private mutating func payload() -> String {
      serial += 1
      return "\(serial)-" + String(repeating: "x", count: pick([0, 0, 5, 60, 190, 300, 900, 1800]))
    }

    private mutating func publish() -> Packet {
      let qos = UInt8(random.below(3))
      var properties: [Prop] = []
      if random.oneIn(5) { properties.append(.expiry(UInt32(random.below(20)))) }
      if random.oneIn(5) { properties.append(.user("k", String(repeating: "v", count: random.below(60)))) }
      if random.oneIn(9) { properties.append(.alias(UInt32(1 + random.below(2)))) }
      let topic = random.oneIn(80) ? "" : random.oneIn(20) ? "1/2/3/4/5/6/7" : pick(topics)
      return .publish(
        topic: topic, payload: random.oneIn(6) ? "" : payload(), qos: qos, packetID: packetID(),
        retain: random.oneIn(3),
        dup: qos > 0 && random.oneIn(4), properties: properties)
    }

    private mutating func subscribe() {
      guard let name = openName() else { return }
      let isOld = world.client(name).version == .v311
      let list = (0...random.below(4)).map { _ in
        let qos = UInt8(random.below(3))
        return isOld
          ? Filter(pick(filters), qos: qos)
          : Filter(
            pick(filters), qos: qos, noLocal: random.oneIn(60), retainAsPublished: random.oneIn(2),
            retainHandling: UInt8(random.below(3)))
      }
      let packet = Packet.subscribe(packetID(), list, id: random.oneIn(2) ? UInt32(1 + random.below(300)) : nil)
      world.send(name, bytes: packet.bytes(world.client(name).version))
    }

    /// The right answer to something that came, or any.
    private mutating func acknowledge() -> Packet {
      let id = packetID()
      if let name = openName() {
        for packet in world.takeAll(name) {
          guard random.below(4) > 0, world.isOpen(name) else { continue }
          switch packet {
          case .publish(_, _, 1, let id, _, _, _): world.send(name, .pubAck(id))
          case .publish(_, _, 2, let id, _, _, _):
            world.send(name, .pubRec(id, random.oneIn(9) ? .quotaExceeded : .success))
          case .pubRec(let id, _, _): world.send(name, .pubRel(id))
          case .pubRel(let id, _): world.send(name, .pubComp(id))
          default: break
          }
        }
      }
      switch random.below(4) {
      case 0: return .pubAck(id)
      case 1: return .pubRec(id)
      case 2: return .pubRel(id)
      default: return .pubComp(id)
      }
    }
  }

  @Test(arguments: 1...12) func anythingGoes(seed: UInt64) {
    let world = World(limits: RandomTests.tinyLimits, seed: seed)
    _ = world.addTap("a/b")
    _ = world.addTap("a/#")
    var refuses = SeededGenerator(seed: seed &+ 1000)
    world.broker.onTap = { _, _ in
      TapVerdict(reason: refuses.oneIn(9) ? .payloadFormatInvalid : .success, retain: refuses.oneIn(2) ? false : nil)
    }
    if seed % 4 == 0 { world.broker.startSys(at: world.now) }
    var player = Player(world: world, random: SeededGenerator(seed: seed))
    for step in 0..<5000 {
      player.step()
      for index in 0..<Broker.poolCount {
        let (name, gauge) = world.broker.pool(index)
        if gauge.used > gauge.capacity || gauge.used < 0 { Issue.record("\(name) after step \(step)") }
      }
    }
    #expect(world.broker.counters.publishesReceived > 100)
    world.finish()
  }
}
