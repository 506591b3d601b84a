import MQTTWire

@testable import Bounded
@testable import MQTTBroker

/// A broker, its clients, their network and the clock, all drawn from one seed: limits, what clients do and how often,
/// where bytes are cut, who reads slowly. After every step everything is looked at.
///
/// Rooms: Simulation (steps), SimulationActions (what clients send), SimulationWaiting (verdicts and the journal),
/// SimulationClient, SimulationNetwork (bytes), SimulationPackets (what each packet is to do), SimulationModel
/// (sessions and deliveries), Audit (what the broker keeps).
final class Simulation: SimulatedDay {
  static let willMark = UInt8(ascii: "w")
  static let ownMark = UInt8(ascii: "o")
  static let honestCount = 3

  let limits: Limits
  var broker: Broker
  /// Absent sessions that ended in the call that is looked at, to make room, and are not accounted for yet.
  var givenWay = 0
  private let arrivals: Arrivals
  var now = Instant(nanoseconds: 1_000_000_000)
  var random: SeededGenerator
  private(set) var failure: String?
  private let region: UnsafeMutableRawBufferPointer
  private let kept: Int  // topic nodes that stay: the root and the taps'

  // Network.
  var lines: [Line] = []
  var writable: [ConnectionID] = []
  let parts = UnsafeMutableBufferPointer<Bytes>.allocate(capacity: 3)
  let cutsOften: Bool
  let clients: [SimulatedClient]
  let waiting: SimulatedWaiting

  // Model.
  var sessions: [ModelSession?]
  var actual: [Handle<Delivery>] = []
  var published: Set<Int> = []
  /// Sent again by their publisher, who did not hear whether they were taken: they may come late.
  var repeated: Set<Int> = []
  var matchCache: [[UInt8]: Bool] = [:]
  var lastSerial = 0

  private(set) var stepCount = 0
  var eventCount = 0
  var packetCount = 0
  var messageCount = 0

  let topics = ["a", "a/b", "a/b/c", "b", "/", "a//c", "$x/y", "long/" + String(repeating: "n", count: 40)]
  let filters = [
    "#", "+", "a/#", "a/+", "+/b", "+/+/+", "a", "a/b/c", "/", "$x/#", "$share/g/a/#", "$share/h/#", "$share/g/b",
    "$share/h/+", "+/c/#", "$SYS/#", "1/2/3/4/5/6/7", "long/" + String(repeating: "n", count: 40),
  ]

  private enum Action: CaseIterable {
    case connect, lose, wait, waitLong, read, subscribe, unsubscribe, publish, publishHonestly, reply, acknowledge
    case hostile, publishOwn, ping, disconnect, close
  }
  private let actions: [Action]  // each as often as its weight

  init(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    limits = Simulation.limits(&random)
    if let problem = limits.problem { preconditionFailure("\(problem)") }
    var plan = Reservation.counting()
    _ = Broker(limits: limits, keys: BrokerKeys(repeatable: seed), in: &plan)
    _ = Arrivals(limits, in: &plan)
    region = .zeroed(plan.byteCount)
    var reservation = Reservation(region: region)
    broker = Broker(limits: limits, keys: BrokerKeys(repeatable: seed), in: &reservation)
    arrivals = Arrivals(limits, in: &reservation)
    sessions = Array(repeating: nil, count: limits.sessionsMax)
    clients = "hijcde".utf8.map { SimulatedClient(mark: $0) }
    cutsOften = random.oneIn(3)
    actions = Simulation.drawActions(&random)
    if random.oneIn(2) {
      _ = broker.addTap(filter: Bytes("a/b"), .command)
      _ = broker.addTap(filter: Bytes("a/#"), .judge)
    }
    kept = broker.topics.gauge.used
    let waiting = SimulatedWaiting(seed: seed)
    self.waiting = waiting
    if waiting.hasLateVerdicts {
      broker.onCredentials = { waiting.judge($0) }
    }
    var whim = SeededGenerator(seed: seed &+ 1000)
    broker.onTap = { _, _ in
      TapVerdict(reason: whim.oneIn(9) ? .payloadFormatInvalid : .success, retain: whim.oneIn(2) ? false : nil)
    }
    if random.oneIn(4) { broker.startSys(at: now) }
    self.random = random
  }

  deinit {
    region.deallocate()
    parts.deallocate()
  }

  private static func limits(_ random: inout SeededGenerator) -> Limits {
    var limits = Limits()
    limits.connectionsMax = 3 + random.below(4)
    limits.pendingConnectionsMax = 1 + random.below(3)
    limits.connectionsPerAddressMax = limits.connectionsMax - 2
    limits.sessionsMax = limits.connectionsMax + random.below(3)
    limits.packetBytesMax = 2048
    limits.partialBlockBytes = 64
    limits.partialBlockCount = 32 + random.below(6)
    limits.topicBytesMax = 64
    limits.topicLevelsMax = 6
    limits.topicNodesMax = 12 + random.below(24)
    limits.topicNameCellsMax = 1 + random.below(4)
    limits.clientIDBytesMax = 40
    limits.clientIDCellsMax = random.below(3)
    limits.subscriptionsMax = 4 + random.below(16)
    limits.sharedGroupsMax = random.below(4)
    limits.filtersPerPacketMax = 6
    limits.retainedMax = random.below(8)
    limits.messagesMax = 8 + random.below(16)
    limits.blockBytes = 64
    limits.blockCount = 64 + random.below(64)
    limits.blocksKeptForQoS = 8
    limits.blocksKeptForRetained = 8
    limits.deliveriesMax = 4 + random.below(20)
    limits.queuedMax = 1 + random.below(6)
    limits.inflightMax = 1 + random.below(9)
    limits.topicAliasMax = random.below(4)
    limits.topicAliasClientsMax = random.below(6)
    limits.topicAliasBytesMax = 32
    limits.topicAliasCellsMax = 3 * 6 + random.below(20)  // a topic that is too long takes two
    limits.subscriptionIDCellsMax = 1 + random.below(6)
    limits.outboxChunkBytes = 512
    limits.outboxChunksPerConnection = 8 + random.below(3)
    limits.outboxChunksShared = limits.outboxChunksPerConnection + random.below(8)
    limits.referenceBytesMin = 200
    limits.sessionExpirySecondsMax = 40
    limits.sysIntervalSeconds = 7
    var other = random
    limits.queueFull = [.dropOldest, .dropOldest, .dropNewest, .refuse][other.below(4)]
    limits.pendingPerAddressMax = 1 + other.below(3)
    limits.connectsPerSecond = 1 + other.below(3)
    limits.connectBurst = 1 + other.below(6)
    limits.takeoversMax = 1 + other.below(4)
    limits.takeoverSeconds = 1 + other.below(20)
    return limits
  }

  private static func drawActions(_ random: inout SeededGenerator) -> [Action] {
    let usual: [Action: Int] = [
      .connect: 14, .lose: 2, .wait: 2, .waitLong: 1, .read: 5, .subscribe: 12, .unsubscribe: 3, .publish: 30,
      .publishHonestly: 40, .reply: 40, .acknowledge: 4, .hostile: 1, .publishOwn: 4, .ping: 2, .disconnect: 1,
      .close: 1,
    ]
    return Action.allCases.flatMap { action in
      // Each day is a little different: some things happen far more often, others never.
      Array(repeating: action, count: random.oneIn(8) ? random.below(2 * usual[action]!) : usual[action]!)
    }
  }

  /// The first is kept.
  func fail(_ what: String) {
    if failure == nil { failure = what }
  }

  // MARK: Steps

  func step() {
    stepCount += 1
    stepWaiting()
    act(actions[random.below(actions.count)])
    settle()
    audit()
  }

  func audit() {
    guard failure == nil else { return }
    let problems = Audit.problems(of: broker, at: now)
    if !problems.isEmpty { fail(problems.joined(separator: "; ")) }
    if !arrivals.agrees(with: broker) { fail("pending connections: admission control and broker differ") }
    for case let model? in sessions where broker.sessions[model.handle].incoming.count != model.incoming.count {
      fail("session \(text(model.clientID)): QoS 2 packet ids")
    }
    while broker.nextNotice() != nil {}
  }

  func pick<Element>(_ elements: [Element]) -> Element { elements[random.below(elements.count)] }

  private func act(_ action: Action) {
    switch action {
    case .connect: connect(pick(clients))
    case .lose: if let line = anyLine() { detach(line) }
    case .wait: wait(milliseconds: random.below(3000))
    case .waitLong: wait(milliseconds: random.below(60_000))
    case .read: anyLine()?.bytesPerStep = pick([0, 0, 1, 10, 500, .max, .max, .max])
    case .subscribe: subscribe()
    case .unsubscribe: send(.unsubscribe(anyPacketID(), (0...random.below(3)).map { _ in pick(filters) }))
    case .publish: publish()
    case .publishHonestly: publishHonestly()
    case .reply: reply()
    case .acknowledge: acknowledge()
    case .hostile: sendHostile()
    case .publishOwn: publishOwn()
    case .ping: send(.pingReq)
    case .disconnect:
      send(
        .disconnect(
          pick([.success, .disconnectWithWill, .unspecifiedError]),
          properties: random.oneIn(3) ? [.sessionExpiry(UInt32(random.below(30)))] : []))
    case .close:
      if let line = anyLine(), random.oneIn(3) {
        event(.other) { broker.close(line.id, .administrativeAction, at: now) }
      }
    }
  }

  /// Deadlines are met on the way, or all at once and late.
  func wait(milliseconds: Int) {
    let end = now.adding(milliseconds: Int64(milliseconds))
    if random.oneIn(2) {
      while let deadline = broker.nextDeadline, deadline <= end, failure == nil {
        now = max(now, deadline)
        event(.other) { broker.advance(to: now) }
        settle()
      }
    }
    now = end
    meetDeadlines()
  }

  /// After a Will that has run a tap, or when a turn has had its steps, the rest of what is due waits for the next call.
  private func meetDeadlines() {
    repeat {
      event(.other) { broker.advance(to: now) }
    } while failure == nil && broker.timers.nextDeadline ?? .never <= now
  }

  // MARK: Connections

  func anyLine() -> Line? { lines.isEmpty ? nil : pick(lines) }

  private func connect(_ client: SimulatedClient, fields given: ConnectFields? = nil) {
    if let line = client.line, line.isOpen, given == nil, !random.oneIn(6) { return }
    let old: ProtocolVersion = client.mark % 2 == 0 ? .v31 : .v311
    let version: ProtocolVersion = given?.version ?? (random.oneIn(3) ? old : .v5)
    let isAllowed = client.isHonest || !random.oneIn(20)
    let source = client.isHonest ? SourceAddress.local : SourceAddress(ipv4: UInt32(client.mark % 2))
    if let (id, limit, gone) = arrivals.givesWay(to: source, of: broker, at: now),
      let line = lines.first(where: { $0.id == id })
    {
      detach(line)
      event(.other) { broker.streamGaveWay(limit, from: gone) }
    }
    let attached = event(.other) {
      arrivals.attach(to: &broker, allowsAnonymous: isAllowed, from: source, at: now)
    }
    guard let id = attached else { return }
    let line = Line(id: id, client: client, version: version)
    lines.append(line)
    guard client.isHonest || !random.oneIn(12) else { return }  // says nothing
    client.line?.isAbandoned = true
    client.line = line
    line.outgoing = Packet.connect(given ?? connectFields(client, version)).bytes(version)
  }

  private func connectFields(_ client: SimulatedClient, _ version: ProtocolVersion) -> ConnectFields {
    var fields = ConnectFields(version: version, clientID: client.name)
    fields.isBridge = client.isBridge
    if !client.isHonest, random.oneIn(15) { fields.clientID = "" }
    if !client.isHonest, random.oneIn(8) {
      fields.clientID += String(repeating: "n", count: 39 - client.name.utf8.count)
    }
    fields.cleanStart = random.oneIn(client.isHonest ? 8 : 3)
    fields.keepAliveSeconds = UInt16(random.below(30))
    if version == .v5 {
      if !random.oneIn(4) { fields.properties.append(.sessionExpiry(UInt32(random.below(60)))) }
      if random.oneIn(3) { fields.properties.append(.number(.receiveMaximum, UInt32(1 + random.below(6)))) }
      if random.oneIn(2) { fields.properties.append(.number(.topicAliasMaximum, UInt32(random.below(4)))) }
      if random.oneIn(5) { fields.properties.append(.number(.maximumPacketSize, UInt32(15 + random.below(300)))) }
    }
    if random.oneIn(2) {
      var will = WillFields(
        topic: pick(topics), payload: payload(Simulation.willMark), qos: UInt8(random.below(3)),
        retain: random.oneIn(3))
      if version == .v5, random.oneIn(2) {
        will.properties.append(.number(.willDelayInterval, UInt32(random.below(20))))
      }
      if version == .v5, random.oneIn(3) { will.properties.append(.expiry(UInt32(random.below(20)))) }
      fields.will = will
    }
    return fields
  }

  // MARK: The end

  /// Honest clients come back and take all that is theirs; then everybody leaves, and whatever was lent is back.
  func finish() {
    endWaiting()
    while failure == nil, let line = lines.first { detach(line) }
    settle()
    for client in clients where failure == nil && hasSession(client) { takeAll(client) }
    now = now.adding(seconds: Int64(limits.sessionExpirySecondsMax + 1))
    meetDeadlines()
    while failure == nil, let line = lines.first { detach(line) }
    settle()
    now = now.adding(seconds: Int64(limits.sessionExpirySecondsMax + 1))
    meetDeadlines()
    audit()
    for index in 0..<limits.retainedMax where failure == nil {
      guard let slot = broker.retained.handle(at: index) else { continue }
      publishOwn(topicBytes(of: broker.retained[slot].message), [], .atMostOnce, true, expirySeconds: nil)
    }
    audit()
    for index in 0..<Broker.poolCount where failure == nil {
      let (name, gauge) = broker.pool(index)
      if gauge.used > ("\(name)" == "topic_nodes" ? max(1, kept) : 0) { fail("\(gauge.used) \(name) never came back") }
    }
  }

  private func hasSession(_ client: SimulatedClient) -> Bool {
    client.isHonest && sessions.contains { $0?.clientID == [client.mark] }
  }

  private func takeAll(_ client: SimulatedClient) {
    var fields = ConnectFields(isBridge: client.isBridge, clientID: client.name, cleanStart: false)
    fields.properties = [.sessionExpiry(40)]
    connect(client, fields: fields)
    guard let line = client.line, line.isOpen else { return fail("\(client.name) is not let in") }
    for _ in 0..<200 where failure == nil {
      settle()
      reply(on: line, count: line.replies.count)
    }
    guard failure == nil else { return }
    guard let session = line.session, line.isOpen else { return fail("\(client.name) is not let in") }
    let serials = session.held.map { "\($0.serial)" }
    if !serials.isEmpty { fail("\(client.name) does not get \(serials.joined(separator: ", "))") }
    if let first = client.unfinished.first { fail("\(client.name): \(first.packetID) was never acknowledged") }
    audit()
  }
}
