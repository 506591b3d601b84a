import MQTTBroker
import MQTTWire
import Testing

@testable import Bounded
@testable import Gateway

/// One client over all its connections.
final class SimulatedClient {
  let name: String
  var connection: World.Client?
  var will: SimulatedMessage?
  var keepAliveSeconds = 0
  /// The connection was last heard of between these two.
  var heardFrom = Instant(nanoseconds: 0)
  var heardUntil = Instant(nanoseconds: 0)
  var lastPacketID: UInt16 = 0

  init(name: String) { self.name = name }

  var isOpen: Bool { connection != nil }
}

extension Simulation {
  // MARK: They come and go

  func connect(_ client: SimulatedClient) {
    if client.isOpen, !random.oneIn(5) { return }
    model.begin()
    let before = world.now
    // A takeover: the old connection is lost, and its Will is due.
    if client.isOpen { isLost(client, publishesWill: true) }
    client.will = random.oneIn(2) ? drawMessage() : nil
    client.keepAliveSeconds = random.oneIn(3) ? 1 + random.below(20) : 0
    let will = client.will.map { will in
      WillFields(
        topic: will.topic, payload: will.payload, qos: UInt8(random.below(3)),
        properties: will.answerTopic.isEmpty ? [] : [.text(.responseTopic, will.answerTopic)])
    }
    model.isHere(client.name)
    model.settle()
    client.connection = world.connect(
      client.name, cleanStart: random.oneIn(2), keepAliveSeconds: UInt16(client.keepAliveSeconds),
      sessionExpiry: random.oneIn(2) ? 20 : nil, will: will)
    client.heardFrom = before
    client.heardUntil = world.now
  }

  /// Of the model: what the broker does when a connection has ended.
  func isLost(_ client: SimulatedClient, publishesWill: Bool) {
    model.isLost(client.name)
    if publishesWill, let will = client.will { _ = model.receive(will, from: client.name) }
    client.connection = nil
    client.will = nil
  }

  func lose(_ client: SimulatedClient) {
    guard let connection = client.connection else { return }
    model.begin()
    isLost(client, publishesWill: true)
    model.settle()
    world.lose(connection)
  }

  /// Several connections are closed in one call, and all their Wills are due at once.
  func loseSome() {
    let some = clients.filter { $0.isOpen && !random.oneIn(3) }
    closeAtOnce(some)
  }

  func closeAtOnce(_ some: [SimulatedClient]) {
    let connections = some.compactMap(\.connection)
    model.begin()
    for client in some where client.isOpen { isLost(client, publishesWill: true) }
    model.settle()
    let moment = world.now
    world.gateway.brokerTurn(at: moment) { broker in
      for connection in connections { broker.close(connection.id, .administrativeAction, at: moment) }
    }
    world.flush()
  }

  func disconnect(_ client: SimulatedClient) {
    guard let connection = client.connection else { return }
    let keepsWill = random.oneIn(3)
    model.begin()
    isLost(client, publishesWill: keepsWill)
    model.settle()
    world.send(connection, [.disconnect(keepsWill ? .disconnectWithWill : .success)])
  }

  func ping() {
    world.send(watcher, [.pingReq])
    guard let client = clients.first(where: \.isOpen) else { return }
    send(client, [.pingReq])
    client.connection?.packets.removeAll(keepingCapacity: true)
  }

  private func send(_ client: SimulatedClient, _ packets: [Packet]) {
    guard let connection = client.connection else { return }
    client.heardFrom = world.now
    world.send(connection, packets)
    client.heardUntil = world.now
  }

  // MARK: They publish

  func publish() {
    guard let client = clients.first(where: { $0.isOpen && random.oneIn(2) }), let connection = client.connection else {
      return
    }
    let message = drawMessage()
    let qos = UInt8(random.below(3))
    client.lastPacketID = client.lastPacketID % 1000 + 1
    let id = client.lastPacketID
    let isCommand = if case .command = message.kind { true } else { false }
    model.begin()
    let answer = model.receive(message, from: client.name)
    model.settle()
    let packet = Packet.publish(
      topic: message.topic, payload: message.payload, qos: qos, packetID: qos == 0 ? 0 : id,
      retain: isCommand && random.oneIn(9), dup: qos > 0 && random.oneIn(9),
      properties: message.answerTopic.isEmpty ? [] : [.text(.responseTopic, message.answerTopic)])
    let failures = world.board.failureCount
    let changes = world.board.changes.count
    // QoS 2 that comes twice is carried out once.
    send(client, qos == 2 && answer == .success && random.oneIn(4) ? [packet, packet] : [packet])
    defer { connection.packets.removeAll(keepingCapacity: true) }
    guard qos > 0 else { return }
    let reason: ReasonCode
    switch connection.packets.first {
    case .pubAck(id, let code, _)? where qos == 1: reason = code
    case .pubRec(id, let code, _)? where qos == 2: reason = code
    default: return fail("\(message.topic) \(message.payload): no acknowledgement")
    }
    if reason.rawValue != answer.rawValue {
      fail("\(message.topic) \(message.payload): acknowledged with \(reason.rawValue), not \(answer.rawValue)")
    }
    if reason.isError {
      refusalCount += 1
      // Said without the model: what is answered with an error has changed nothing.
      if world.board.failureCount == failures, world.board.changes.count != changes {
        fail("\(message.topic) \(message.payload): refused, and yet something moved")
      }
    } else if qos == 2 {
      connection.packets.removeAll(keepingCapacity: true)
      send(client, [.pubRel(id)])
      if connection.packets.first != Packet.pubComp(id) { fail("no PUBCOMP") }
    }
  }

  // MARK: Keep alive

  /// Connections that the broker has just given up; `world.presence` names them in their order.
  func takeKeepAlives(at moment: Instant) {
    for line in world.presence where line.hasPrefix("-") {
      guard let client = clients.first(where: { $0.name == line.dropFirst() }), client.isOpen else {
        fail("\(line) was not connected")
        continue
      }
      let nanoseconds = Int64(client.keepAliveSeconds) * 1_500_000_000
      if client.keepAliveSeconds == 0 || moment < client.heardFrom.adding(nanoseconds: nanoseconds) {
        fail("\(client.name) was given up too early")
      }
      isLost(client, publishesWill: true)
    }
  }

  /// A second is what the timers may be late by.
  func watchKeepAlives(at moment: Instant) {
    for client in clients where client.isOpen && client.keepAliveSeconds > 0 {
      let nanoseconds = Int64(client.keepAliveSeconds) * 1_500_000_000 + 1_000_000_000
      if client.heardUntil.adding(nanoseconds: nanoseconds) < moment { fail("\(client.name) was not given up") }
    }
  }
}
