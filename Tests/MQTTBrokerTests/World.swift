import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

/// A broker, its clients and a clock, all in memory: the test is the network.
///
///     let world = World(clients: ["pub", "sub"])
///     world.subscribe("sub", "a", qos: 1)
///     world.send("pub", .publish(topic: "a", qos: 1, packetID: 7))
///     world.expect("sub", .publish(topic: "a", qos: 1, packetID: 1))
final class World {
  var broker: Broker
  let arrivals: Arrivals
  private(set) var now = Instant(nanoseconds: 1_000_000_000)
  private let region: UnsafeMutableRawBufferPointer
  private(set) var reservedByteCount = 0
  private(set) var clients: [String: Client] = [:]
  private var names: [ConnectionID.Key: String] = [:]
  private var writable: [ConnectionID] = []
  private var retainedTopics: Set<String> = []
  private var tapNodeCount = 0
  /// Turns in which something went on that had used up the steps of the one before.
  private(set) var turnCount = 0
  /// The steps of the turn that had most.
  var mostSteps = 0

  /// One network connection as its client sees it.
  final class Client {
    let id: ConnectionID
    let version: ProtocolVersion
    var isOpen = true
    /// Bytes the transport takes from the broker in one flush; 0: a reader that is stuck.
    var bytesPerFlush = Int.max
    /// Bytes that wait until the broker wants input.
    var outgoing: [UInt8] = []
    /// Bytes the broker sent that make no packet yet.
    var incoming: [UInt8] = []
    var packets: [Packet] = []
    var lastPacketID: UInt16 = 0

    init(id: ConnectionID, version: ProtocolVersion) {
      self.id = id
      self.version = version
    }
  }

  /// `clients` are connected with MQTT 5, `old` with MQTT 3.1.1; both with Clean Start.
  init(
    clients: [String] = [], old: [String] = [], limits: Limits = .forTests,
    keys: BrokerKeys = BrokerKeys(repeatable: 1), access: AccessSizes = .none,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    if let problem = limits.problem { preconditionFailure("\(problem)") }
    var plan = Reservation.counting()
    _ = Broker(limits: limits, keys: keys, access: access, in: &plan)
    _ = Arrivals(limits, in: &plan)
    region = .zeroed(plan.byteCount)
    var reservation = Reservation(region: region)
    broker = Broker(limits: limits, keys: keys, access: access, in: &reservation)
    arrivals = Arrivals(limits, in: &reservation)
    #expect(reservation.byteCount == plan.byteCount, sourceLocation: sourceLocation)
    for name in clients { connect(name, sourceLocation: sourceLocation) }
    for name in old { connect(name, .v311, sourceLocation: sourceLocation) }
  }

  deinit { region.deallocate() }

  // MARK: Clients

  /// A connection that has sent nothing yet; `false` when the broker refuses it.
  @discardableResult func attach(
    _ name: String, _ version: ProtocolVersion = .v5, allowsAnonymous: Bool = true, from source: SourceAddress = .local
  ) -> Bool {
    if clients[name]?.isOpen == true { preconditionFailure("\(name) is connected already") }
    if let (id, limit, source) = arrivals.givesWay(to: source, of: broker, at: now) {
      detach(clients.values.first { $0.isOpen && $0.id == id }!)
      broker.streamGaveWay(limit, from: source)
    }
    guard let id = arrivals.attach(to: &broker, allowsAnonymous: allowsAnonymous, from: source, at: now) else {
      return false
    }
    clients[name] = Client(id: id, version: version)
    names[id.key] = name
    return true
  }

  /// Connects as client identifier `clientID`, which is `name` if not said otherwise, and takes the CONNACK,
  /// which is to say `reason`. Answers whether a session was present, and the CONNACK's properties.
  @discardableResult func connect(
    _ name: String, _ version: ProtocolVersion = .v5, isBridge: Bool = false, clientID: String? = nil,
    userName: String? = nil,
    cleanStart: Bool = true, keepAliveSeconds: UInt16 = 0, sessionExpiry: UInt32? = nil, receiveMaximum: UInt32? = nil,
    maximumPacketSize: UInt32? = nil, properties: [Prop] = [], will: WillFields? = nil,
    reason: ReasonCode = .success, sourceLocation: SourceLocation = #_sourceLocation
  ) -> (sessionPresent: Bool, properties: [Prop]) {
    guard attach(name, version) else {
      Issue.record("\(name) is not let in", sourceLocation: sourceLocation)
      return (false, [])
    }
    var all = properties
    if let sessionExpiry { all.append(.sessionExpiry(sessionExpiry)) }
    if let receiveMaximum { all.append(.number(.receiveMaximum, receiveMaximum)) }
    if let maximumPacketSize { all.append(.number(.maximumPacketSize, maximumPacketSize)) }
    let fields = ConnectFields(
      version: version, isBridge: isBridge, clientID: clientID ?? name, cleanStart: cleanStart,
      keepAliveSeconds: keepAliveSeconds,
      properties: all, will: will, userName: userName)
    if let will, will.retain { retainedTopics.insert(will.topic) }
    send(name, .connect(fields))
    guard case .connAck(let answer, let sessionPresent, let granted)? = takeFirst(name), answer == reason else {
      Issue.record("\(name) got no CONNACK with \(reason)", sourceLocation: sourceLocation)
      return (false, [])
    }
    return (sessionPresent, granted)
  }

  /// SUBSCRIBE and its SUBACK, which grants what is asked for.
  func subscribe(
    _ name: String, _ filter: String, qos: UInt8 = 0, id: UInt32? = nil, noLocal: Bool = false,
    retainAsPublished: Bool = false, retainHandling: UInt8 = 0, sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let client = client(name)
    client.lastPacketID += 1
    let options = Filter(
      filter, qos: qos, noLocal: noLocal, retainAsPublished: retainAsPublished, retainHandling: retainHandling)
    send(name, .subscribe(client.lastPacketID, [options], id: id))
    expect(name, .subAck(client.lastPacketID, [ReasonCode(rawValue: qos)!]), sourceLocation: sourceLocation)
  }

  func unsubscribe(_ name: String, _ filter: String, sourceLocation: SourceLocation = #_sourceLocation) {
    let client = client(name)
    client.lastPacketID += 1
    send(name, .unsubscribe(client.lastPacketID, [filter]))
    let codes: [ReasonCode] = client.version == .v5 ? [.success] : []
    expect(name, .unsubAck(client.lastPacketID, codes), sourceLocation: sourceLocation)
  }

  /// Sends all of them in one write, then lets the loop turn until nothing moves any more.
  func send(_ name: String, _ packets: Packet...) {
    let client = client(name)
    for packet in packets {
      if case .publish(let topic, _, _, _, true, _, _) = packet { retainedTopics.insert(topic) }
      client.outgoing += packet.bytes(client.version)
    }
    settle()
  }

  func send(_ name: String, bytes: [UInt8]) {
    client(name).outgoing += bytes
    settle()
  }

  /// The transport of `name` is gone without a word.
  func lose(_ name: String) {
    if let client = clients[name], client.isOpen { detach(client) }
    settle()
  }

  /// How much the transport takes at a time from now on; `nil`: all.
  func read(_ name: String, bytesPerFlush: Int?) {
    client(name).bytesPerFlush = bytesPerFlush ?? .max
    settle()
  }

  /// Time passes; every deadline on the way is met in its millisecond.
  func advance(seconds: Double) {
    let end = now.adding(milliseconds: Int64(seconds * 1000))
    while let deadline = broker.nextDeadline, deadline <= end {
      if deadline > now { now = deadline }
      broker.advance(to: now)
      settle()
    }
    now = end
    broker.advance(to: now)
    settle()
  }

  /// The process is stopped: the clock goes on, nothing is read and nothing judged.
  func pause(seconds: Double) { now = now.adding(milliseconds: Int64(seconds * 1000)) }

  /// What is due now, as far as it can be judged by what had come by `heard`.
  func advance(heardUntil heard: Instant) {
    broker.advance(to: now, heardUntil: heard)
    settle()
  }

  /// What the broker itself says.
  @discardableResult func publish(
    topic: String, payload: String = "", qos: QoS = .atMostOnce, retain: Bool = false, expirySeconds: UInt32? = nil
  ) -> ReasonCode {
    if retain { retainedTopics.insert(topic) }
    let reason = withBytes([UInt8](topic.utf8)) { topic in
      withBytes([UInt8](payload.utf8)) { payload in
        broker.publish(
          topic: topic, payload: payload, qos: qos, retain: retain, expirySeconds: expirySeconds, at: now)
      }
    }
    settle()
    return reason
  }

  /// `finish` removes what is retained for `topic`.
  func remember(retained topic: String) { retainedTopics.insert(topic) }

  func addTap(_ filter: String, _ phase: TapPhase = .command) -> TapID? {
    let before = pool("topic_nodes").used
    let tap = withBytes([UInt8](filter.utf8)) { broker.addTap(filter: $0, phase) }
    tapNodeCount += pool("topic_nodes").used - before
    return tap
  }

  /// From here on the topic is the board's.
  func own(_ topic: String) -> Bool {
    let before = pool("topic_nodes").used
    let isDone = withBytes([UInt8](topic.utf8)) { broker.own(topic: $0) }
    tapNodeCount += pool("topic_nodes").used - before
    return isDone
  }

  // MARK: What waits

  /// The verdict on a CONNECT that waits.
  func answer(_ serial: LinkSerial, _ verdict: Verdict) {
    broker.answered(serial, verdict, at: now)
    settle()
  }

  /// What has changed until now stands in the journal up to `position`.
  func journaled(_ position: UInt64) { broker.journaled(upTo: position) }

  /// The medium has the journal up to `position`.
  func stored(_ position: UInt64) {
    broker.stored(upTo: position)
    settle()
  }

  // MARK: The loop

  /// As the real loop: what can be read is given to the broker, then every ready connection is flushed.
  func settle() {
    var isMoving = true
    while isMoving {
      isMoving = takeTurn()
      // Few of many clients have something to send.
      var senders: [String] = []
      for (name, client) in clients where !client.outgoing.isEmpty || client.isOpen && broker.holdsInput(client.id) {
        senders.append(name)
      }
      for name in senders.sorted() where receive(clients[name]!) { isMoving = true }
      while let id = broker.nextReady() {
        if !writable.contains(id) { writable.append(id) }
      }
      let ready = writable
      writable = []
      for id in ready where names[id.key] != nil && flush(id) { isMoving = true }
    }
  }

  /// A turn begins: what waits for it goes on.
  private func takeTurn() -> Bool {
    mostSteps = max(mostSteps, broker.work.steps)
    broker.beginTurn()
    let paused = broker.takePaused()
    if let paused {
      var none = Bytes.empty
      _ = broker.receive(&none, on: paused, lends: true, at: now)
      broker.settle()
    }
    guard let due = broker.nextDeadline, due.nanoseconds == 0 else { return paused != nil }
    turnCount += 1
    broker.advance(to: now)
    return true
  }

  private func receive(_ client: Client) -> Bool {
    guard client.isOpen, broker.wantsInput(client.id) else { return false }
    let isHeld = broker.holdsInput(client.id)
    let taken = client.outgoing.withUnsafeBytes { all in
      var input = Bytes(all)
      _ = broker.receive(&input, on: client.id, lends: true, at: now)
      broker.settle()
      return all.count - input.count
    }
    client.outgoing.removeFirst(taken)
    return taken > 0 || isHeld
  }

  /// One turn's writes on one connection; whether anything was taken or closed.
  private func flush(_ id: ConnectionID) -> Bool {
    let client = clients[names[id.key]!]!
    var missing = client.bytesPerFlush
    var moved = false
    while missing > 0, broker.pendingByteCount(id) > 0 {
      var parts = [Bytes](repeating: .empty, count: 3)
      let count = parts.withUnsafeMutableBufferPointer { broker.gather(id, into: $0) }
      precondition(count > 0)
      var taken = 0
      for part in parts[..<count] {
        let piece = part.first(min(part.count, missing))
        client.incoming += piece.array()
        taken += piece.count
        missing -= piece.count
      }
      broker.sent(taken, on: id, at: now)
      moved = true
    }
    decode(client)
    if broker.isFinished(id) {
      detach(client)
      return true
    }
    if broker.pendingByteCount(id) > 0, !writable.contains(id) { writable.append(id) }
    return moved
  }

  private func decode(_ client: Client) {
    do throws(WireError) {
      while let packet = try Packet.takeFirst(from: &client.incoming, client.version) { client.packets.append(packet) }
    } catch {
      Issue.record("the broker's bytes are no packet: \(error.reason)")
      client.incoming = []
    }
  }

  private func detach(_ client: Client) {
    broker.detach(client.id, at: now)
    client.isOpen = false
    client.outgoing = []
    names[client.id.key] = nil
  }

  // MARK: The end

  /// Everybody leaves, every session ends, every retained message is removed: whatever was lent is back.
  func finish(sourceLocation: SourceLocation = #_sourceLocation) {
    for client in clients.values where client.isOpen { detach(client) }
    broker.timers.cancel(broker.sysTimer)
    advance(seconds: Double(broker.limits.sessionExpirySecondsMax + 10))
    for topic in retainedTopics.sorted() where topic.utf8.count <= broker.limits.topicBytesMax {
      publish(topic: topic, retain: true)
    }
    removeOtherRetained()
    for index in 0..<Broker.poolCount {
      let (name, gauge) = broker.pool(index)
      // The root of the topic tree stays, and what taps hang on.
      let kept = "\(name)" == "topic_nodes" ? max(1, tapNodeCount) : "\(name)" == "notices" ? gauge.used : 0
      #expect(gauge.used <= kept, "\(name)", sourceLocation: sourceLocation)
    }
  }

  /// $SYS, and what a test wrote by hand.
  private func removeOtherRetained() {
    guard pool("retained").used > 0, attach("cleaner") else { return }
    send("cleaner", .connect(ConnectFields(clientID: "cleaner")), .subscribe(1, ["#", "$SYS/#"]))
    let topics = takeAll("cleaner").compactMap(\.topic)
    lose("cleaner")
    for topic in topics { publish(topic: topic, retain: true) }
  }
}

/// Lends a view of an array's bytes.
@discardableResult func withBytes<Answer>(_ array: [UInt8], _ body: (Bytes) -> Answer) -> Answer {
  array.withUnsafeBytes { body(Bytes($0)) }
}

extension Handle {
  /// What a dictionary needs.
  typealias Key = UInt32
  var key: Key { bits }
}
