import MQTTWire

@testable import Bounded
@testable import MQTTBroker

/// What clients send, and what the broker says itself.
extension Simulation {
  func send(_ packet: Packet) {
    guard let line = anyLine(), !line.isAbandoned else { return }
    send(packet, on: line)
  }

  func send(_ packet: Packet, on line: Line) {
    guard line.isReady || !line.client.isHonest else { return }
    var bytes = packet.bytes(line.version)
    switch random.below(60) {
    case 0...4:  // in two parts, with time between them
      let cut = random.below(bytes.count)
      line.outgoing += bytes[..<cut]
      settle()
      if random.oneIn(2) { wait(milliseconds: 1000) }
      if random.oneIn(6), line.isOpen { detach(line) }
      bytes.removeFirst(cut)
    case 5:  // never completed
      guard !line.client.isHonest else { break }
      bytes.removeLast(1 + random.below(bytes.count))
    default: break
    }
    if line.isOpen, !broker.isClosing(line.id) { line.outgoing += bytes }
  }

  func sendHostile() {
    guard let line = anyLine(), !line.client.isHonest else { return }
    var bytes = anyPublish(line).bytes(line.version)
    bytes[random.below(bytes.count)] = UInt8(truncatingIfNeeded: random.next())
    line.outgoing += random.oneIn(4) ? random.bytes(1 + random.below(30)) : bytes
  }

  func anyPacketID() -> UInt16 { UInt16(1 + random.below(random.oneIn(20) ? 8 : 4)) }

  func payload(_ mark: UInt8) -> String {
    lastSerial += 1
    return "\(lastSerial)\(UnicodeScalar(mark))-"
      + String(repeating: "x", count: pick([0, 0, 0, 5, 60, 190, 300, 900, 1800]))
  }

  func anyPublish(_ line: Line) -> Packet {
    let qos = UInt8(random.below(3))
    var properties: [Prop] = []
    if random.oneIn(5) { properties.append(.expiry(UInt32(random.below(20)))) }
    if random.oneIn(5) { properties.append(.user("k", String(repeating: "v", count: random.below(60)))) }
    if random.oneIn(9) { properties.append(.alias(UInt32(1 + random.below(2)))) }
    let topic = random.oneIn(80) ? "" : random.oneIn(20) ? "1/2/3/4/5/6/7" : pick(topics)
    return .publish(
      topic: topic, payload: random.oneIn(8) ? "" : payload(line.client.mark), qos: qos, packetID: anyPacketID(),
      retain: random.oneIn(3), dup: qos > 0 && random.oneIn(4), properties: properties)
  }

  func publish() {
    guard let line = anyLine(), !line.client.isHonest, !line.isAbandoned else { return }
    send(anyPublish(line), on: line)
  }

  func publishHonestly() {
    let client = clients[random.below(Simulation.honestCount)]
    guard let line = client.line, line.isOpen, line.isReady, !broker.isClosing(line.id),
      client.unfinished.count < limits.inflightMax
    else { return }
    let qos = UInt8(random.below(3))
    let id = qos > 0 ? client.unusedPacketID() : 0
    let packet = Packet.publish(
      topic: pick(topics), payload: payload(client.mark), qos: qos, packetID: id,
      retain: limits.retainedMax > 0 && random.oneIn(9))
    if qos > 0 { client.unfinished.append(SimulatedClient.Unfinished(packetID: id, packet: packet)) }
    send(packet, on: line)
  }

  func subscribe() {
    guard let line = anyLine(), !line.isAbandoned else { return }
    let list = (0...random.below(4)).map { _ in
      let qos = UInt8(random.oneIn(4) ? 0 : 1 + random.below(2))
      return line.version != .v5
        ? Filter(pick(filters), qos: qos)
        : Filter(
          pick(filters), qos: qos, noLocal: random.oneIn(60), retainAsPublished: random.oneIn(2),
          retainHandling: UInt8(random.below(3)))
    }
    send(.subscribe(anyPacketID(), list, id: random.oneIn(2) ? UInt32(1 + random.below(300)) : nil), on: line)
  }

  /// The right answers to what came, in order.
  func reply() {
    guard let line = lines.first(where: { !$0.replies.isEmpty && random.oneIn(2) }), !line.isAbandoned else { return }
    reply(on: line, count: 1 + random.below(6))
  }

  func reply(on line: Line, count: Int) {
    for reply in line.replies.prefix(count) {
      guard line.isOpen, !broker.isClosing(line.id) else { break }
      let isRefused = !line.client.isHonest && random.oneIn(9)
      switch reply.type {
      case .pubAck: line.outgoing += Packet.pubAck(reply.id).bytes(line.version)
      case .pubRec: line.outgoing += Packet.pubRec(reply.id, isRefused ? .quotaExceeded : .success).bytes(line.version)
      case .pubRel: line.outgoing += Packet.pubRel(reply.id).bytes(line.version)
      default: line.outgoing += Packet.pubComp(reply.id).bytes(line.version)
      }
    }
    line.replies.removeFirst(min(count, line.replies.count))
  }

  func acknowledge() {
    guard let line = anyLine(), !line.client.isHonest, !line.isAbandoned else { return }
    let id = anyPacketID()
    send(pick([.pubAck(id), .pubRec(id), .pubRel(id), .pubComp(id)]), on: line)
  }

  func publishOwn() {
    let topic = [UInt8](pick(topics).utf8)
    let payload = random.oneIn(6) ? [] : [UInt8](payload(Simulation.ownMark).utf8)
    let qos = QoS(rawValue: UInt8(random.below(3)))!
    let retain = random.oneIn(3)
    publishOwn(topic, payload, qos, retain, expirySeconds: random.oneIn(3) ? UInt32(random.below(5)) : nil)
  }

  func publishOwn(_ topic: [UInt8], _ payload: [UInt8], _ qos: QoS, _ retain: Bool, expirySeconds: UInt32?) {
    let publication = Publication(
      topic: topic, qos: qos, retain: retain, serial: readSerial(payload).number, isEmpty: payload.isEmpty,
      publisher: nil)
    withBytes(topic) { topic in
      withBytes(payload) { payload in
        _ = event(.publish(publication), isAccepted: { !$0.isError }) {
          broker.publish(
            topic: topic, payload: payload, qos: qos, retain: retain, expirySeconds: expirySeconds, at: now)
        }
      }
    }
  }
}
