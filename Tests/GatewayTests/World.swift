import MQTTWire
import Taps
import Testing

@testable import Bounded
@testable import Gateway
@testable import MQTTBroker

/// A gateway, its board, its clients and their clock, all in memory: the test is the network, the kernel and the loop.
///
///     let world = World(settings { $0.outputs = [output("relay")] })
///     world.connect("c")
///     world.command("c", "b/relay/set", "ON")
///     #expect(world.board.lines == [true])
final class World {
  let board: ModelBoard
  let gateway: Gateway<ModelBoard>
  private let region: UnsafeMutableRawBufferPointer
  private var clients: [String: Client] = [:]
  /// Network connections that are open, by their bits.
  var connections: [UInt32: Client] = [:]
  /// Connections that began and ended since the last look: `+c`, `-c`.
  var presence: [String] = []
  private(set) var lastTurn = Instant(nanoseconds: 0)
  let parts = UnsafeMutableBufferPointer<Bytes>.allocate(capacity: 3)

  /// - Parameters:
  ///   - previous: what an earlier life announced to Home Assistant.
  ///   - prepare: adds handlers, before anything is opened.
  init(
    _ settings: TapSettings, limits: Limits = .forTests, handlerLimits: HandlerLimits = HandlerLimits(),
    access: AccessSizes = .none, seed: UInt64 = 1, at now: Instant = Instant(nanoseconds: 1_000_000_000),
    previous: [String] = [],
    prepare: (World) -> Void = { _ in }
  ) {
    if let problem = limits.problem { preconditionFailure("\(problem)") }
    var plan = Reservation.counting()
    Gateway<ModelBoard>.count(settings, limits: limits, handlerLimits: handlerLimits, access: access, in: &plan)
    region = .zeroed(plan.byteCount)
    var reservation = Reservation(region: region)
    board = ModelBoard(
      lineCount: settings.outputs.count + settings.inputs.count + settings.counters.count,
      levelCount: settings.levels.count, at: now)
    gateway = Gateway(
      settings, limits: limits, handlerLimits: handlerLimits, keys: BrokerKeys(repeatable: seed), access: access,
      board: board, in: &reservation)
    precondition(reservation.byteCount == plan.byteCount)
    let isPrepared = gateway.prepare(at: now) { [unowned self] presence in
      self.presence.append((presence.isHere ? "+" : "-") + plainText(presence.clientID))
    }
    precondition(isPrepared)
    gateway.onOutboxesFill = { [unowned self] in self.flush() }
    prepare(self)
    start(previous: previous)
  }

  deinit {
    region.deallocate()
    parts.deallocate()
  }

  var now: Instant { board.now }
  var taps: TapTable { gateway.taps }

  // MARK: Turns

  /// As a server starts.
  private func start(previous: [String]) {
    gateway.publish(taps.status(online: true, wallNanoseconds: board.moment.wallNanoseconds), at: now)
    gateway.startDiscovery(previous: previous.map { utf8($0) }, at: now)
    gateway.rulesMustWait = true
    for line in 0..<taps.lineCount { openLine(line) }
    gateway.rulesMustWait = false
    gateway.settle(at: now)
    turn()
    _ = board.takeChanges()
  }

  /// What a turn of the loop does beside what came in.
  func turn() {
    lastTurn = now
    gateway.callBroker { $0.beginTurn() }
    gateway.advance(to: board.moment)
    let turn = now
    for index in 0..<taps.levels.count where taps.levels[index].retryAt <= turn { openLevel(index) }
    for line in board.retryAt.indices where board.retryAt[line] <= turn { openLine(line) }
    flush()
  }

  /// Requests a line, as at start and again after a fault.
  func openLine(_ line: Int) {
    let moment = board.moment
    let isBroken = board.isBroken[line]
    let update: TapUpdate
    switch taps.owner(ofLine: line) {
    case .output(let output):
      let active = taps.requestLevel(output: output, found: nil)
      if !isBroken { board.request(line: line, active: active) }
      update =
        isBroken
        ? taps.lineFailed(output: output, Bytes("broken"), at: moment)
        : taps.lineHealed(output: output, active: active, at: moment)
    case .input(let input):
      if !isBroken { board.request(line: line, active: board.lines[line]) }
      update =
        isBroken
        ? taps.inputs[input].lineFailed(Bytes("broken"), wallNanoseconds: moment.wallNanoseconds)
        : taps.inputs[input].lineHealed(
          active: board.lines[line], isDebounced: false, isPolled: false, at: moment)
    case .counter(let counter):
      if !isBroken { board.request(line: line, active: board.lines[line]) }
      update =
        isBroken
        ? taps.counters[counter].lineFailed(Bytes("broken"), wallNanoseconds: moment.wallNanoseconds)
        : taps.counters[counter].lineHealed(
          isHigh: board.lines[line], seesBothEdges: true, at: moment)
    }
    if isBroken { board.lose(line: line) }
    gateway.publish(update, at: now)
  }

  /// Opens a PWM channel or an LED; one whose driver hangs has a write under way, and answers later.
  func openLevel(_ index: Int) {
    taps.levels[index].tried()
    if case .hangs = board.drivers[index] { return }
    if board.open(level: index, share: taps.levels[index].share(of: taps.levels[index].level)) {
      gateway.levelOpened(index, at: board.moment)
    } else {
      gateway.levelFailed(index, Bytes("refused"), at: board.moment)
    }
  }

  /// A write that hung has come to its end: the driver is given what the tap has.
  func driverReturns(_ index: Int) {
    board.driverReturns(index)
    openLevel(index)
    flush()
  }

  /// Time passes; every deadline on the way is met in its millisecond.
  func pass(milliseconds: Int64) {
    let end = now.adding(milliseconds: milliseconds)
    var turns = 0
    while nextDeadline <= end {
      board.now = max(now, nextDeadline)
      turn()
      turns += 1
      precondition(turns < 100_000, "a deadline stays")
    }
    board.now = max(now, end)
    turn()
  }

  func pass(seconds: Int64) { pass(milliseconds: seconds * 1000) }

  /// Time passes in one leap.
  func leap(milliseconds: Int64) {
    board.now = now.adding(milliseconds: milliseconds)
    repeat { turn() } while nextDeadline <= now
  }

  var nextDeadline: Instant {
    var deadline = gateway.nextDeadline
    for retry in board.retryAt { deadline = min(deadline, retry) }
    return deadline
  }

  // MARK: The end

  /// Nothing is to move from here on but to what is safe.
  func leave() {
    gateway.leave(at: now)
    flush()
  }

  /// The connections are closed, all in one call.
  func closeAll() {
    gateway.brokerTurn(at: now) { $0.closeAll(.serverShuttingDown, at: now) }
    flush()
  }

  /// The connections of all but `name` are closed, all in one call.
  func closeAllBut(_ name: String) {
    let kept = client(name).id
    let others = clients.values.filter { $0.isOpen && $0.id != kept }.sorted { $0.id.bits < $1.id.bits }
    gateway.brokerTurn(at: now) { broker in
      for client in others { broker.close(client.id, .administrativeAction, at: now) }
    }
    flush()
  }

  // MARK: Clients

  /// Connects with MQTT 5 as client identifier `clientID`, which is `name` if not said otherwise, and takes the CONNACK.
  @discardableResult func connect(
    _ name: String, _ version: ProtocolVersion = .v5, clientID: String? = nil, cleanStart: Bool = true,
    keepAliveSeconds: UInt16 = 0, sessionExpiry: UInt32? = nil, will: WillFields? = nil,
    sourceLocation: SourceLocation = #_sourceLocation
  ) -> Client {
    guard let client = open(name, version) else { preconditionFailure("\(name) is not let in") }
    var fields = ConnectFields(
      version: version, clientID: clientID ?? name, cleanStart: cleanStart, keepAliveSeconds: keepAliveSeconds,
      will: will)
    if let sessionExpiry { fields.properties.append(.sessionExpiry(sessionExpiry)) }
    send(client, [.connect(fields)])
    guard case .connAck(.success, _, _)? = client.packets.first else {
      Issue.record("\(name) got no CONNACK", sourceLocation: sourceLocation)
      return client
    }
    client.packets.removeFirst()
    return client
  }

  /// A network connection that has said nothing yet; nil: the broker has no place for it.
  func open(_ name: String, _ version: ProtocolVersion, transport: UInt32 = 0) -> Client? {
    let attached = gateway.callBroker { $0.attach(allowsAnonymous: true, transport: transport, at: now) }
    guard let id = attached else { return nil }
    let client = Client(name: name, id: id, version: version)
    clients[name] = client
    connections[id.bits] = client
    return client
  }

  func subscribe(_ name: String, _ filter: String, qos: UInt8 = 0, sourceLocation: SourceLocation = #_sourceLocation) {
    let client = client(name)
    client.lastPacketID += 1
    send(client, [.subscribe(client.lastPacketID, [Filter(filter, qos: qos, retainHandling: 2)])])
    #expect(
      client.packets.popLast() == .subAck(client.lastPacketID, [ReasonCode(rawValue: qos)!]),
      sourceLocation: sourceLocation)
  }

  /// A PUBLISH with QoS 1, and what its PUBACK says.
  @discardableResult func command(
    _ name: String, _ topic: String, _ payload: String, retain: Bool = false, properties: [Prop] = [],
    sourceLocation: SourceLocation = #_sourceLocation
  ) -> String {
    let client = client(name)
    client.lastPacketID += 1
    let id = client.lastPacketID
    send(
      client,
      [.publish(topic: topic, payload: payload, qos: 1, packetID: id, retain: retain, properties: properties)])
    let place = client.packets.firstIndex { if case .pubAck(id, _, _) = $0 { true } else { false } }
    guard let place, case .pubAck(_, let reason, let text) = client.packets.remove(at: place) else {
      Issue.record("\(name) got no PUBACK", sourceLocation: sourceLocation)
      return ""
    }
    if !reason.isError { return "ok" }
    return "\(reason.rawValue)\(text.map { ": " + $0 } ?? "")"
  }

  /// Sends all of them in one write, then lets the loop turn until nothing moves any more.
  func send(_ name: String, _ packets: Packet...) { send(client(name), packets) }

  func send(_ client: Client, _ packets: [Packet]) {
    for packet in packets { client.outgoing += packet.bytes(client.version) }
    give(client)
    flush()
  }

  /// The transport of `name` is gone without a word.
  func lose(_ name: String) { lose(client(name)) }

  func lose(_ client: Client) {
    guard client.isOpen else { return }
    detach(client)
    flush()
  }

  func client(_ name: String) -> Client { clients[name]! }

  func takeAll(_ name: String) -> [Packet] {
    let client = client(name)
    defer { client.packets.removeAll(keepingCapacity: true) }
    return client.packets
  }

  /// What `name` has got since the last look: `topic=payload`, with ` by=` where the message says it.
  func messages(_ name: String) -> [String] {
    takeAll(name).compactMap { packet in
      guard case .publish(let topic, let payload, _, _, _, _, let properties) = packet else { return nil }
      return "\(topic)=\(payload)" + (World.by(properties).map { " by=" + $0 } ?? "")
    }
  }

  /// The message that is retained for a topic, in the same words; nil without one.
  func retained(_ topic: String) -> String? {
    guard let (payload, properties) = retainedMessage(utf8(topic)) else { return nil }
    let block = vbi(properties.count) + properties
    let bytes = packet(0x30, string("t"), block)
    var all = bytes
    guard case .publish(_, _, _, _, _, _, let list)? = try? Packet.takeFirst(from: &all, .v5) else { return payload }
    return payload + (World.by(list).map { " by=" + $0 } ?? "")
  }

  func retainedMessage(_ topic: [UInt8]) -> (payload: String, properties: [UInt8])? {
    let found = topic.withUnsafeBytes { gateway.broker.topics.find(Bytes($0)) }
    guard let node = found, case let slot = gateway.broker.topics[node].retained, !slot.isNull else { return nil }
    let message = gateway.broker.messages[gateway.broker.retained[slot].message]
    return (
      String(decoding: bytes(of: message, from: message.payloadStart, count: message.payloadByteCount), as: UTF8.self),
      bytes(of: message, from: message.topicByteCount, count: message.propertyByteCount)
    )
  }

  private func bytes(of message: Message, from start: Int, count: Int) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: count) { room, written in
      var writer = ByteWriter(UnsafeMutableRawBufferPointer(room))
      if count > 0 { gateway.broker.messages.bodies.copy(message.body, from: start, byteCount: count, into: &writer) }
      written = count
    }
  }

  static func by(_ properties: [Prop]) -> String? {
    for case .user("by", let value) in properties { return value }
    return nil
  }

  /// What taps wanted published is published, and what rules wanted is done.
  var isAtRest: Bool { gateway.stash.isEmpty && !taps.hasUntold && !gateway.rules.hasFired }
  /// Publications that found no room in the stash.
  var stashRefusedCount: UInt64 { gateway.stash.refused }

  func pool(_ name: String) -> Gauge {
    for index in 0..<Broker.poolCount {
      let (poolName, gauge) = gateway.broker.pool(index)
      if "\(poolName)" == name { return gauge }
    }
    preconditionFailure("no pool \(name)")
  }
}
