import Bounded
import CFuzz
import MQTTBroker
import MQTTWire

/// The broker and the loop around it, as `Server` turns it.
final class BrokerWorld {
  private var broker: Broker
  let clients = (0..<4).map { _ in BrokerClient() }
  private let policy: FramerPolicy
  private let allowsAnonymous: Bool
  private let hasSys: Bool
  private let region: UnsafeMutableRawBufferPointer
  private var now = Instant(milliseconds: 1_000_000)
  /// Filters that a client identifier ever asked for.
  private var sessionFilters: [[UInt8]: [[UInt8]]] = [:]
  /// Topics on which something may be retained.
  private var topics: Set<[UInt8]> = []
  private var tapNodes = 0
  private var bytesSent = 0
  /// Identifiers may make a packet larger than it came; own publications are not held against a limit.
  private static let sentBytesMax = 2048
  private let parts = UnsafeMutableBufferPointer<Bytes>.allocate(capacity: 3)

  init(limits: Limits, policy: FramerPolicy, hasTaps: Bool, allowsAnonymous: Bool, hasSys: Bool) {
    check(limits.problem == nil, "\(limits.problem!)")
    self.policy = policy
    self.allowsAnonymous = allowsAnonymous
    self.hasSys = hasSys
    var plan = Reservation.counting()
    _ = Broker(limits: limits, keys: BrokerKeys(repeatable: 1), in: &plan)
    region = .allocate(byteCount: plan.byteCount, alignment: Reservation.alignment)
    region.initializeMemory(as: UInt8.self, repeating: 0)
    var reservation = Reservation(region: region)
    broker = Broker(limits: limits, keys: BrokerKeys(repeatable: 1), in: &reservation)
    if hasSys { broker.startSys(at: now) }
    guard hasTaps else { return }
    check(broker.addTap(filter: Bytes("tap/set")) != nil && broker.addTap(filter: Bytes("a/+")) != nil, "taps")
    tapNodes = pool("topic_nodes").used
    broker.onTap = { _, message in BrokerWorld.verdict(message) }
  }

  deinit {
    region.deallocate()
    parts.deallocate()
  }

  /// By the payload's length, so that the fuzzer finds all of them.
  private static func verdict(_ message: TapMessage) -> TapVerdict {
    switch message.payload.count % 5 {
    case 0: return TapVerdict(reason: .payloadFormatInvalid, reasonString: Bytes("not a command"))
    case 1: return TapVerdict(qos: .exactlyOnce, retain: true, expirySeconds: 3)
    case 2: return TapVerdict(qos: .atMostOnce, retain: false)
    default: return .accept
    }
  }

  /// Nothing may be allocated in here.
  private func sealed<Answer>(_ body: (inout Broker) -> Answer) -> Answer {
    cfuzz_seal_memory()
    defer { cfuzz_unseal_memory() }
    return body(&broker)
  }

  // MARK: Clients

  func attach(_ client: BrokerClient) {
    guard client.id == nil else { return }
    client.id = sealed { broker in broker.attach(allowsAnonymous: allowsAnonymous, policy: policy, at: now) }
    client.outgoing = []
    client.sent = StreamReader(policy: policy, packetBytesMax: broker.limits.packetBytesMax)
    client.received = StreamReader(policy: .disconnect, packetBytesMax: BrokerWorld.sentBytesMax)
    client.hasConnect = false
    client.packetBytesMax = .max
    client.receiveMaximum = 65_535
    client.topicAliasMaximum = 0
    client.aliases = [:]
    client.clientID = []
    client.filters = []
    client.outstanding = [:]
    client.isWild = false
  }

  func send(_ bytes: [UInt8], _ client: BrokerClient) {
    attach(client)
    guard client.id != nil else { return }
    client.outgoing += bytes
    // The version of what is composed next.
    if bytes.count > 8, bytes[0] == 0x10, !client.hasConnect {
      client.version = bytes[8] == 5 || bytes[8] == 0x85 ? .v5 : .v311
    }
  }

  func lose(_ client: BrokerClient) {
    guard let id = client.id else { return }
    sealed { broker in broker.detach(id, at: now) }
    client.id = nil
  }

  func close(_ client: BrokerClient, all: Bool) {
    guard let id = client.id else { return }
    sealed { broker in
      if all { broker.closeAll(.serverShuttingDown, at: now) } else { broker.close(id, .administrativeAction, at: now) }
    }
  }

  func publish(topic: [UInt8], payload: [UInt8], qos: QoS, retain: Bool, expirySeconds: UInt32?) {
    guard topic.count <= broker.limits.topicBytesMax, isValidName(topic) else { return }
    topics.insert(topic)
    withLent(topic) { topic in
      withLent(payload) { payload in
        _ = sealed { broker in
          broker.publish(
            topic: topic, payload: payload, qos: qos, retain: retain, expirySeconds: expirySeconds, at: now)
        }
      }
    }
  }

  /// At most a hundred years in all.
  func advance(milliseconds: Int64) {
    guard now < Instant(milliseconds: 3_000_000_000_000) else { return }
    now = now.adding(milliseconds: milliseconds)
    advance()
    if let deadline = broker.nextDeadline { check(deadline > now, "a deadline that has passed") }
  }

  // MARK: The loop

  /// Until nothing moves: reads what can be read, writes what can be written.
  func turn() {
    sealed { broker in broker.beginTurn() }
    for client in clients { receive(client) }
    advance()
    var remaining = broker.limits.connectionsMax
    while remaining > 0, let id = sealed({ broker in broker.nextReady() }) {
      remaining -= 1
      check(clients.contains { $0.id == id }, "a connection that nobody has is ready")
    }
    for client in clients { flush(client) }
    readNotices()
  }

  private func readNotices() {
    while sealed({ broker in broker.nextNotice() }) != nil {}
  }

  /// What had used up its steps goes on, turn by turn.
  private func advance() {
    repeat {
      sealed { broker in broker.advance(to: now) }
      sealed { broker in broker.beginTurn() }
      if let id = sealed({ broker in broker.takePaused() }) {
        var none = Bytes.empty
        while [.tapsRan, .outboxesFill].contains(sealed({ broker in broker.receive(&none, on: id, at: now) })) {}
      }
    } while broker.nextDeadline ?? .never <= now
  }

  private func receive(_ client: BrokerClient) {
    while let id = client.id, !client.outgoing.isEmpty, broker.wantsInput(id) {
      let piece = Array(client.outgoing.prefix(client.cut == 0 ? client.outgoing.count : client.cut))
      client.outgoing.removeFirst(piece.count)
      willTake(piece, client)
      withLent(piece) { bytes in
        var input = bytes
        while true {
          let receipt = sealed { broker in broker.receive(&input, on: id, at: now) }
          switch receipt {
          case .done:
            check(input.isEmpty, "input is left")
            return
          case .tapsRan:
            publish(topic: [UInt8]("tap".utf8), payload: [1], qos: .atMostOnce, retain: true, expirySeconds: nil)
          case .outboxesFill:
            for other in clients { flush(other) }
            guard client.id != nil else { return }
          case .needsFlush:
            let before = broker.pendingByteCount(id)
            flush(client)
            guard client.id != nil else { return }
            if broker.pendingByteCount(id) == before {
              sealed { broker in broker.close(id, .quotaExceeded, at: now) }
            }
          }
        }
      }
    }
  }

  private func flush(_ client: BrokerClient) {
    guard let id = client.id else { return }
    var room = client.bytesPerTurn
    while room > 0, broker.pendingByteCount(id) > 0 {
      let parts = parts
      let count = sealed { broker in broker.gather(id, into: parts) }
      check(count > 0 && count <= 3, "\(count) parts")
      var bytes: [UInt8] = []
      for part in parts[..<count] {
        check(!part.isEmpty, "an empty part")
        bytes += part.first(min(part.count, room - bytes.count)).array()
      }
      check(bytes.count <= broker.pendingByteCount(id), "more than there is")
      room -= bytes.count
      bytesSent += bytes.count
      sealed { broker in broker.sent(bytes.count, on: id, at: now) }
      didGet(bytes, client)
    }
    if broker.isFinished(id) { lose(client) }
  }

  // MARK: What may be

  /// Notes what the broker is about to learn.
  private func willTake(_ bytes: [UInt8], _ client: BrokerClient) {
    _ = client.sent.read(bytes) { header, body in
      if header.type == .connect, !client.hasConnect {
        client.hasConnect = true
        client.version = Connect.answerVersion(body: body)
        if let connect = try? Connect(body: body) {
          client.version = connect.version
          client.packetBytesMax = Int(connect.maximumPacketSize)
          client.receiveMaximum = Int(connect.receiveMaximum)
          client.topicAliasMaximum = Int(connect.topicAliasMaximum)
          client.clientID = connect.clientID.array()
          if let will = connect.will { topics.insert(will.topic.array()) }
        }
        return
      }
      guard
        let packet = try? AnyPacket(
          header.type, flags: header.flags, body: body, version: client.version, from: .client)
      else { return }
      switch packet {
      case .publish(let publish): topics.insert(publish.topic.array())
      case .subscribe(let subscribe):
        var filters = subscribe.filters
        while let (filter, _) = filters.next() {
          client.filters.append(filter.array())
          sessionFilters[client.clientID, default: []].append(filter.array())
        }
      case .ack(let type, let ack): noteAck(type, ack, client)
      default: break
      }
    }
  }

  private func noteAck(_ type: PacketType, _ ack: Ack, _ client: BrokerClient) {
    guard type != .pubRel else { return }
    guard let state = client.outstanding[ack.packetID] else {
      client.isWild = true
      return
    }
    switch (type, state.awaits) {
    case (.pubAck, .pubAck), (.pubComp, .pubComp): client.outstanding[ack.packetID] = nil
    case (.pubRec, .pubRec), (.pubRec, .pubComp):
      client.outstanding[ack.packetID]?.awaits = .pubComp
      if ack.reason.isError { client.outstanding[ack.packetID] = nil }
    default: client.isWild = true
    }
  }

  private func didGet(_ bytes: [UInt8], _ client: BrokerClient) {
    let isGood = client.received.read(bytes) { header, body in
      check(header.packetByteCount <= client.packetBytesMax, "\(header.type) is too large for its client")
      guard
        let packet = try? AnyPacket(
          header.type, flags: header.flags, body: body, version: client.version, from: .server)
      else { fatalError("\(header.type) does not read: \(body.array().hex)") }
      switch packet {
      case .publish(let publish): gotPublish(publish, client)
      case .ack(.pubRel, let ack):
        guard ack.reason == .success else { return }
        client.order += 1
        if client.outstanding[ack.packetID] == nil {
          client.outstanding[ack.packetID] = (.pubComp, client.order, false)
        }
      case .connAck(let answer):
        if let assigned = answer.assignedClientID { client.clientID = assigned.array() }
      case .ack, .subAck, .ping(.pingResp), .disconnect: break
      default: fatalError("\(header.type) from a server")
      }
    }
    check(isGood, "not a packet: \(bytes.hex)")
  }

  private func gotPublish(_ publish: Publish, _ client: BrokerClient) {
    var topic = publish.topic.array()
    if let alias = publish.topicAlias {
      check(Int(alias) <= client.topicAliasMaximum, "alias \(alias) of \(client.topicAliasMaximum)")
      if topic.isEmpty { topic = client.aliases[alias] ?? [] } else { client.aliases[alias] = topic }
    }
    check(isValidName(topic), "topic \(topic.hex)")
    let filters = client.filters + (sessionFilters[client.clientID] ?? [])
    let isWanted = filters.contains { filter in
      topicMatches(filter: sharedFilter(filter)?.filter ?? filter, name: topic)
    }
    check(isWanted, "\(String(decoding: topic, as: UTF8.self)) was not asked for")
    guard publish.qos != .atMostOnce else { return }
    client.order += 1
    let known = client.outstanding.updateValue(
      (publish.qos == .atLeastOnce ? .pubAck : .pubRec, client.order, true), forKey: publish.packetID)
    if client.isWild { return }
    check(known == nil, "packet id \(publish.packetID) is taken")
    check(client.sentWhole <= client.receiveMaximum, "more than Receive Maximum \(client.receiveMaximum)")
  }

  // MARK: The end

  private func pool(_ name: StaticString) -> Gauge {
    for index in 0..<Broker.poolCount where Bytes(broker.pool(index).name) == Bytes(name) {
      return broker.pool(index).gauge
    }
    fatalError("no pool \(name)")
  }

  /// Everybody goes, everything expires, every retained message is removed: what was lent is back.
  func finish() {
    for client in clients { lose(client) }
    while sealed({ broker in broker.nextReady() }) != nil {}
    now = now.adding(seconds: Int64(broker.limits.sessionExpirySecondsMax + 1))
    advance()
    for topic in topics { publish(topic: topic, payload: [], qos: .atMostOnce, retain: true, expirySeconds: nil) }
    // A retained message that was to expire has left its sweep due, in 136 years at most.
    if !hasSys {
      now = now.adding(seconds: Int64(UInt32.max) + 1)
      advance()
      check(broker.nextDeadline == nil, "something is still due")
    }
    readNotices()
    for index in 0..<Broker.poolCount {
      let (name, gauge) = broker.pool(index)
      check(gauge.used <= kept(name), "\(gauge.used) of \(name) are still used")
      check(gauge.peak <= gauge.capacity, "\(name) over its capacity")
    }
    check(broker.counters.bytesSent == UInt64(bytesSent), "bytes sent")
    takeAllGroups()
  }

  /// The tree's root, the nodes of taps, and what $SYS has published stay.
  private func kept(_ name: StaticString) -> Int {
    switch "\(name)" {
    case "topic_nodes": return hasSys ? .max : max(1, tapNodes)
    case "topic_name_cells", "message_blocks", "retained": return hasSys ? .max : 0
    case "messages": return pool("retained").used
    default: return 0
    }
  }

  /// The names of shared groups are in no pool that can be asked: all must be free to be taken again.
  private func takeAllGroups() {
    let client = clients[0]
    client.cut = 0
    client.bytesPerTurn = .max
    guard policy == .disconnect, allowsAnonymous, !hasSys else { return }
    send(packet(0x10, string("MQTT"), [5, 2], u16(0), [0], string("z")), client)
    turn()
    let count = min(broker.limits.sharedGroupsMax, broker.limits.subscriptionsMax)
    for group in 0..<count {
      send(packet(0x82, u16(group + 1), [0], string("$share/g\(group)/z"), [0]), client)
      turn()
    }
    check(pool("shared_groups").used == count, "\(pool("shared_groups").used) groups of \(count)")
  }
}
