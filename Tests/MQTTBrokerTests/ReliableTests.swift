import Bounded
import MQTTBroker
import MQTTWire
import Testing

/// Seeded runs with two well-behaved clients on bad lines: with QoS 2 every message arrives exactly once, with QoS 1
/// at least once, both in order, whatever was lost on the way (§4.3, §4.4, §4.6).
@Suite struct ReliableTests {
  /// What the publisher has not finished yet, in the order of sending.
  private struct Outgoing {
    let number: Int
    let qos: UInt8
    let packetID: UInt16
    var isReceived = false  // PUBREC has come
  }

  private final class Line {
    let world: World
    var random: SeededGenerator
    let version: ProtocolVersion
    var unfinished: [Outgoing] = []
    var nextNumber = 0
    var nextID: UInt16 = 0
    var received: [Int] = []
    var aliasedTopic: String?
    var unreleased: [UInt16] = []  // QoS 2 ids that the subscriber has taken

    init(seed: UInt64, version: ProtocolVersion) {
      var limits = Limits.forTests
      limits.queuedMax = 500
      world = World(limits: limits, keys: BrokerKeys(repeatable: seed))
      random = SeededGenerator(seed: seed)
      self.version = version
      connect("sub")
      world.send("sub", .subscribe(1, [Filter("topic/#", qos: 2)]))
      _ = world.takeAll("sub")
    }

    func connect(_ name: String) {
      let isNew = version == .v5
      let receiveMaximum = isNew && random.oneIn(2) ? UInt32(1 + random.below(5)) : nil
      if world.isOpen(name) { world.lose(name) }
      world.connect(
        name, version, cleanStart: false, sessionExpiry: isNew ? 1000 : nil,
        receiveMaximum: name == "sub" ? receiveMaximum : nil,
        properties: isNew && random.oneIn(2) ? [.number(.topicAliasMaximum, 1)] : [])
      if name == "sub" { aliasedTopic = nil }
      if name == "sub", random.oneIn(3) { world.read(name, bytesPerFlush: 1 + random.below(50)) }
    }

    // MARK: Publisher

    func publish() {
      guard world.isOpen("pub") else { return reconnectPublisher() }
      guard unfinished.count < 16 else { return }
      repeat { nextID = nextID % 40 + 1 } while unfinished.contains { $0.packetID == nextID }
      let message = Outgoing(number: nextNumber, qos: UInt8(1 + random.below(2)), packetID: nextID)
      nextNumber += 1
      unfinished.append(message)
      world.send("pub", packet(message, dup: false))
    }

    private func packet(_ message: Outgoing, dup: Bool) -> Packet {
      .publish(
        topic: "topic/\(message.qos)", payload: "\(message.number)", qos: message.qos, packetID: message.packetID,
        dup: dup)
    }

    private func reconnectPublisher() {
      connect("pub")
      for message in unfinished {
        world.send("pub", message.isReceived ? .pubRel(message.packetID) : packet(message, dup: true))
      }
    }

    func takeAnswers() {
      guard world.isOpen("pub") else { return }
      for answer in world.takeAll("pub") {
        guard let index = unfinished.firstIndex(where: { $0.packetID == answer.packetID }) else { continue }
        switch answer {
        case .pubAck, .pubComp: unfinished.remove(at: index)
        case .pubRec(let id, _, _):
          unfinished[index].isReceived = true
          world.send("pub", .pubRel(id))
        default: Issue.record("\(answer)")
        }
      }
    }

    // MARK: Subscriber

    private func check(_ topic: String, _ properties: [Prop], qos: Int) {
      if !topic.isEmpty, properties == [.alias(1)] { aliasedTopic = topic }
      let name = topic.isEmpty ? aliasedTopic : topic
      if name != "topic/\(qos)" { Issue.record("topic \(topic), alias \(aliasedTopic ?? "none")") }
    }

    /// Takes `count` packets and answers them.
    func take(_ count: Int) {
      guard world.isOpen("sub") else { return connect("sub") }
      for _ in 0..<count {
        guard let packet = world.takeFirst("sub") else { return }
        switch packet {
        case .publish(let topic, let payload, 1, let id, _, _, let properties):
          check(topic, properties, qos: 1)
          received.append(Int(payload)!)
          world.send("sub", .pubAck(id))
        case .publish(let topic, let payload, 2, let id, _, let dup, let properties):
          check(topic, properties, qos: 2)
          if !unreleased.contains(id) {
            unreleased.append(id)
            received.append(Int(payload)!)
          } else if !dup {
            Issue.record("\(id) is used again before it was released")
          }
          world.send("sub", .pubRec(id))
        case .pubRel(let id, _):
          unreleased.removeAll { $0 == id }
          world.send("sub", .pubComp(id))
        default: Issue.record("\(packet)")
        }
      }
    }
  }

  @Test(arguments: 1...20) func everythingArrives(seed: UInt64) {
    let line = Line(seed: seed, version: seed % 3 == 0 ? .v311 : .v5)
    for _ in 0..<1500 {
      switch line.random.below(20) {
      case 0...7: line.publish()
      case 8...12: line.takeAnswers()
      case 13...17: line.take(1 + line.random.below(5))
      case 18: line.world.lose(line.random.oneIn(2) ? "sub" : "pub")
      default: line.world.advance(seconds: 3)
      }
    }
    line.world.lose("sub")
    for _ in 0..<2000 where !line.unfinished.isEmpty || line.received.last != line.nextNumber - 1 {
      if !line.world.isOpen("pub") { line.publish() }
      line.takeAnswers()
      line.take(5)
    }
    for _ in 0..<100 { line.take(5) }
    #expect(line.unfinished.isEmpty)
    var firsts: [Int] = []
    var seen: Set<Int> = []
    for number in line.received where seen.insert(number).inserted { firsts.append(number) }
    #expect(firsts == Array(0..<line.nextNumber))
    #expect(line.nextNumber > 100)
    #expect(line.world.pool("deliveries").used == 0)
    line.world.finish()
  }
}
