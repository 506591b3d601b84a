public import Bounded
public import MQTTBroker
public import MQTTWire
public import Taps

/// The broker, the board's taps and their rules: what one message sets off, without any input or output of its own. It
/// asks a `Board` for what lines and levels do, and a `Board` can be the kernel's or a model's.
///
/// This module owns the bracket around the broker. A call of the broker may run taps, taps must not call the broker,
/// and so what they want published waits: states in `UntoldTaps`, messages of handlers and answers in the stash, fired
/// rules in their queue. Each function that lets the broker run taps returns when all of that has come to rest.
///
/// It imports Taps, MQTTBroker, MQTTWire and Bounded, and nothing of the kernel's side. Its memory is the reservation's,
/// but for lists that are made at the start (handlers, discovery).
///
/// Files: Gateway (the bracket), Board (what is asked of the board), Origin, TapRoute, Commands (messages on command
/// topics, questions, answers), CarryOut (lines and levels), GatewayRules, Handlers (an embedding program's),
/// HomeAssistant (discovery), PublicationStash.
///
/// It has more than twenty properties, because the bracket joins that many things: the broker, the board, the tables,
/// what waits for the end of a call, and a flag for each way in which a call may be under way.
public final class Gateway<TheBoard: Board> {
  public let board: TheBoard
  public let taps: TapTable
  public let rules: RuleTable
  /// For what is written and read within one call; also for the loop's own texts.
  public let scratch: Scratch
  let limits: Limits
  let handlerLimits: HandlerLimits

  /// Changed by `callBroker` only.
  @usableFromInline var guardedBroker: Broker
  @usableFromInline var isCalled = false
  private var isSettling = false
  private var isDraining = false
  var stash: PublicationStash
  var routes = TapRoutes()
  var handlers: [Handler] = []
  public internal(set) var handlerCounters = HandlerCounters()
  let discovery: DiscoveryRoom
  var history = DiscoveryHistory()
  var isDiscoveryDue = false

  /// The origin of what the broker publishes by itself. A client's message names its client.
  var ownOrigin = Origin.board
  /// Flushes every connection that is ready. Called between two publications when `Broker.outboxesFill`; not within a call of
  /// the broker's.
  public var onOutboxesFill: () -> Void = {}
  /// Lines are being requested or set one after the other: rules wait until all of them are.
  public var rulesMustWait = false
  /// The end has begun: the turn is the last one, and commands are refused.
  public private(set) var isStopping = false

  /// Takes all memory from `reservation`. Call `prepare` before any other function.
  public init(
    _ settings: TapSettings, limits: Limits, handlerLimits: HandlerLimits, keys: BrokerKeys,
    access: AccessSizes = .none, board: TheBoard, in reservation: inout Reservation
  ) {
    self.board = board
    self.limits = limits
    self.handlerLimits = handlerLimits
    guardedBroker = Broker(limits: limits, keys: keys, access: access, in: &reservation)
    taps = TapTable(settings, in: &reservation)
    rules = RuleTable(settings, in: &reservation)
    stash = PublicationStash(handlerLimits, in: &reservation)
    discovery = DiscoveryRoom(settings, in: &reservation)
    scratch = Scratch(byteCount: OutputAnswer.byteCountMax, name: "scratch: gateway", in: &reservation)
  }

  /// Counts what `init` takes, for a plan.
  public static func count(
    _ settings: TapSettings, limits: Limits, handlerLimits: HandlerLimits, access: AccessSizes = .none,
    in reservation: inout Reservation
  ) {
    _ = Broker(limits: limits, keys: BrokerKeys(repeatable: 0), access: access, in: &reservation)
    _ = TapTable(settings, in: &reservation)
    _ = RuleTable(settings, in: &reservation)
    _ = PublicationStash(handlerLimits, in: &reservation)
    _ = DiscoveryRoom(settings, in: &reservation)
    _ = Scratch(byteCount: OutputAnswer.byteCountMax, name: "scratch: gateway", in: &reservation)
  }

  /// Writes the tables' memory and adds the taps of commands, questions and rules to the broker. False when the broker
  /// has no room for all of them.
  /// - Parameter onPresence: a client's connection has begun or ended. It must not call the gateway.
  public func prepare(at now: Instant, onPresence: @escaping (Presence) -> Void) -> Bool {
    taps.prepare(at: now)
    rules.prepare(taps.settings)
    guardedBroker.onTap = { [unowned(unsafe) self] tap, message in self.tapMatched(tap, message) }
    guardedBroker.longestKeepAlive = { [unowned(unsafe) self] in self.taps.longestKeepAlive(of: $0) ?? .max }
    guardedBroker.onPresence = { [unowned(unsafe) self] presence in
      onPresence(presence)
      if presence.isHere, self.taps.holdsLeases(presence.clientID, keepAliveSeconds: presence.keepAliveSeconds) {
        self.taps.clientConnected(presence.clientID)
      } else {
        self.taps.clientLost(presence.clientID, at: presence.now)
      }
    }
    return ownTopics() && addTaps()
  }

  /// Tells the broker which topics are the board's own, and whether clients may publish there. False: no room.
  private func ownTopics() -> Bool {
    var hasRoom = true
    let mayOthers = taps.settings.foreignWrites == .allow
    callBroker { broker in
      broker.acceptsForeignWrites = mayOthers
      taps.visitOwnTopics { topic in hasRoom = (topic.isEmpty || broker.own(topic: topic)) && hasRoom }
      guard let announced = discovery.announced else { return }
      for message in 0..<announced.messageCount {
        var topic = discovery.topic.writer()
        announced.writeTopic(message: message, into: &topic)
        hasRoom = broker.own(topic: topic.written) && hasRoom
      }
    }
    return hasRoom
  }

  /// From here on nothing that is asked of an output or a level is carried out, whoever asks.
  public func beginEnd() { isStopping = true }

  // MARK: The broker

  /// The broker is in the middle of a call and must not be called: a handler may ask.
  public var isInCall: Bool { isCalled }

  /// The broker, to look at.
  @inlinable public var broker: Broker { _read { yield guardedBroker } }

  /// Makes one call that changes the broker. Taps run inside it and must not call the broker, so what they want published
  /// waits until `settle`.
  @inlinable @inline(__always)
  public func callBroker<Answer>(_ call: (inout Broker) -> Answer) -> Answer {
    precondition(!isCalled)
    isCalled = true
    defer { isCalled = false }
    return call(&guardedBroker)
  }

  /// Makes one call in which taps may run, and does what they want before anything else happens.
  @inlinable @inline(__always)
  public func brokerTurn<Answer>(at now: Instant, _ call: (inout Broker) -> Answer) -> Answer {
    let answer = callBroker(call)
    settle(at: now)
    return answer
  }

  /// Publishes what taps have to tell and carries out the rules that have fired, until neither leads to anything more.
  public func settle(at now: Instant) {
    // Most messages run no tap: this is all that they pay.
    guard taps.hasUntold || !stash.isEmpty || rules.hasFired, !isSettling else { return }
    isSettling = true
    tellTaps(at: now)
    runRules(at: now)
    isSettling = false
  }

  // MARK: Publishing

  /// Publishes the states of commanded taps, then the messages that handlers and answers left in the stash, until both
  /// are empty.
  func tellTaps(at now: Instant) {
    while true {
      if let update = taps.takeUntold() {
        publishAll(update, at: now)
      } else if let next = stash.pop() {
        // An answer goes to a topic of the asker's choice, which the board's own topics are not.
        if !next.entry.runsTaps, broker.owns(topic: next.topic) { continue }
        _ = publishOwn(
          topic: next.topic, payload: next.payload, properties: next.properties, qos: next.entry.qos,
          retain: next.entry.retain, runsTaps: next.entry.runsTaps, asker: next.entry.asker, at: now)
      } else {
        return
      }
    }
  }

  /// Publishes a message of the board's own: its subscribers see it and, with `runsTaps`, its taps and rules; handlers
  /// do not. What taps want because of it waits for `settle`.
  @discardableResult public func publishOwn(
    topic: Bytes, payload: Bytes, properties: Bytes = .empty, qos: QoS = .atMostOnce, retain: Bool,
    expirySeconds: UInt32? = nil, runsTaps: Bool = true, asker: Handle<Session> = .null, at now: Instant
  ) -> ReasonCode {
    let reason = callBroker {
      $0.publish(
        topic: topic, payload: payload, properties: properties, qos: qos, retain: retain, expirySeconds: expirySeconds,
        runsTaps: runsTaps, asker: asker, at: now)
    }
    drainOutboxes()
    return reason
  }

  /// After a publication: what is ready goes out while little room is left for the next one.
  public func drainOutboxes() {
    // A flush may end a connection, and its Will be told of.
    guard guardedBroker.outboxesFill, !isDraining else { return }
    isDraining = true
    onOutboxesFill()
    isDraining = false
  }

  /// Visits the gateway's own numbers: topic under $SYS, and value.
  public func visitFigures(_ visit: (StaticString, UInt64) -> Void) {
    visit("$SYS/tapline/taps/overruns", handlerCounters.overruns)
    visit("$SYS/tapline/taps/quarantines", handlerCounters.quarantines)
    visit("$SYS/tapline/taps/quarantined_skipped", handlerCounters.quarantinedSkipped)
    visit("$SYS/tapline/taps/decoupled_dropped", handlerCounters.decoupledDropped)
    visit("$SYS/tapline/rules/fired", rules.counters.fired)
    visit("$SYS/tapline/rules/cut", rules.counters.cut)
    visit("$SYS/tapline/rules/refused", rules.counters.refused)
    visit("$SYS/tapline/rules/dropped", rules.counters.dropped)
    visit("$SYS/tapline/rules/not_comparable", rules.counters.notComparable)
  }

  /// Publishes a message of a tap, and does what follows from it.
  public func publish(_ publication: Publication, at now: Instant) {
    send(publication, at: now)
    settle(at: now)
  }

  private func send(_ publication: Publication, at now: Instant) {
    var properties = scratch.writer()
    publication.writeProperties(into: &properties)
    publishOwn(
      topic: publication.topic, payload: publication.payload,
      properties: properties.overflowed ? .empty : properties.written, retain: publication.retain,
      expirySeconds: publication.expirySeconds, at: now)
  }

  /// Publishes a tap's news, and does what follows from it.
  public func publish(_ update: TapUpdate, at now: Instant) {
    publishAll(update, at: now)
    settle(at: now)
  }

  private func publishAll(_ update: TapUpdate, at now: Instant) {
    if let state = update.state { send(state, at: now) }
    if let fault = update.fault { send(fault, at: now) }
    if let event = update.event { send(event, at: now) }
  }

  /// Publishes a message of the embedding program. During a call of the broker, which is inside a handler, it is copied and
  /// published when the call is over; false when the stash has no room, or the topic is no topic name within the limits.
  public func publish(topic: Bytes, payload: Bytes, qos: QoS, retain: Bool) -> Bool {
    guard isWithinLimits(topic) else { return false }
    guard isCalled else {
      let now = board.moment.at
      let reason = publishOwn(topic: topic, payload: payload, qos: qos, retain: retain, at: now)
      settle(at: now)
      return !reason.isError
    }
    return stash.push(topic: topic, payload: payload, properties: { _ in }, qos: qos, retain: retain, runsTaps: true)
  }

  func isWithinLimits(_ topic: Bytes) -> Bool {
    Topic.isValidName(topic) && topic.count <= limits.topicBytesMax && Topic.levelCount(topic) <= limits.topicLevelsMax
  }

  // MARK: Time

  /// The earliest moment at which `advance` has something to do.
  public var nextDeadline: Instant {
    let broker = guardedBroker.nextDeadline ?? .never
    return isStopping
      ? broker : .earliest(broker, taps.nextOutputDeadline, taps.nextLevelDeadline, rules.nextDeadline)
  }

  /// Does what is due of the broker, of rules, and of outputs and levels; when the end has begun, of the broker only. A
  /// level that is to be opened is the board's.
  /// - Parameter heard: see `Broker.advance`.
  public func advance(to moment: Moment, heardUntil heard: Instant? = nil) {
    let now = moment.at
    brokerTurn(at: now) { $0.advance(to: now, heardUntil: heard) }  // a Will may run taps
    guard !isStopping else { return }  // a timer asks, too
    rules.advance(to: now)
    settle(at: now)
    advanceOutputs(at: moment)
    advanceLevels(at: now)
    advanceHomeAssistant(at: now)
  }
}
