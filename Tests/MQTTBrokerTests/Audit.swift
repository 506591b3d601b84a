import MQTTWire

@testable import Bounded
@testable import MQTTBroker

/// Walks everything a broker keeps and compares it: what is lent is owned, exactly as often as it is counted.
///
/// The rules are the invariants that the types state; `docs/simulation.md` lists them.
struct Audit {
  private(set) var problems: [String] = []
  private var messageOwners: [UInt32]
  private var bodyOwners: [UInt32]  // by head block
  private var isDeliveryListed: [Bool]
  private var subscriptionsInSessions = 0
  var subscriptionsInNodes = 0
  var groupsInNodes = 0
  private var cellCount = 0
  private var clientIDCells = 0
  private var armedTimers = 0

  /// What is wrong with `broker` between two calls; empty: nothing.
  static func problems(of broker: borrowing Broker, at now: Instant) -> [String] {
    var audit = Audit(of: broker)
    audit.sessions(broker, at: now)
    audit.connections(broker)
    audit.topicNodes(broker)
    audit.retained(broker)
    audit.messages(broker)
    audit.gauges(broker)
    audit.shares(broker)
    return audit.problems
  }

  private init(of broker: borrowing Broker) {
    messageOwners = Array(repeating: 0, count: broker.limits.messagesMax)
    bodyOwners = Array(repeating: 0, count: broker.limits.blockCount)
    isDeliveryListed = Array(repeating: false, count: broker.limits.deliveriesMax)
  }

  mutating func check(_ isTrue: Bool, _ problem: @autoclosure () -> String) {
    if !isTrue { problems.append(problem()) }
  }

  // MARK: Sessions

  private mutating func sessions(_ broker: borrowing Broker, at now: Instant) {
    for index in 0..<broker.limits.sessionsMax {
      guard let handle = broker.sessions.handle(at: index) else { continue }
      let session = broker.sessions[handle]
      let name = "session \(index)"
      check(broker.sessions.find(broker.sessions.clientID(handle)) == handle, "\(name) is not in the index")
      clientIDCells += broker.sessions.clientIDs.blockCount(for: session.clientID.byteCount)
      lifetime(broker, session, index, at: now)
      let queued = deliveries(broker, session.outgoing.queued, "\(name): queue") { $0 == .queued }
      let inflight = deliveries(broker, session.outgoing.inflight, "\(name): in flight") { $0 != .queued }
      check(queued.count <= broker.limits.queuedMax, "\(name): queue of \(queued.count)")
      held(broker, session.outgoing, queued, inflight, name)
      check(inflight.count <= broker.limits.inflightMax, "\(name): \(inflight.count) in flight")
      inFlight(broker, session, inflight, name)
      subscriptions(broker, handle, session, name)
      incoming(broker, handle, index)
      if !session.will.isNull { own(broker, session.will, "\(name): Will") }
    }
    check(broker.sessions.index.count == broker.sessions.gauge.used, "session index")
    check(isDeliveryListed.count { $0 } == broker.deliveries.gauge.used, "deliveries lent, but in no session")
    check(clientIDCells == broker.sessions.clientIDs.gauge.used, "cells of client identifiers")
    check(
      broker.sessions.clientIDs.gauge.free >= broker.sessions.gauge.free,
      "a client identifier's cell that a session is sure of")
    check(cellCount == broker.deliveries.identifiers.gauge.used, "identifier cells lent, but to no delivery")
    check(subscriptionsInSessions == broker.subscriptions.gauge.used, "subscriptions lent, but in no session")
  }

  private mutating func lifetime(_ broker: borrowing Broker, _ session: Session, _ index: Int, at now: Instant) {
    let armed = broker.timers.deadlineMilliseconds(broker.limits.connectionsMax + index)
    if armed != 0 { armedTimers += 1 }
    guard session.connection.isNull else {
      check(broker.connections.isLent(session.connection), "session \(index): stale connection")
      guard broker.connections.isLent(session.connection) else { return }
      let connection = broker.connections[session.connection]
      check(connection.session.index == index && connection.state == .connected, "session \(index): its connection")
      check(session.expiresAt == .never && session.willAt == .never && armed == 0, "session \(index): has a deadline")
      return
    }
    let due = min(session.expiresAt, session.willAt)
    check(session.expiresAt != .never, "session \(index) never ends")
    // What is due after a Will that has run a tap waits for the next call.
    let waits = (broker.timers.nextDeadline ?? .never) <= now
    check(waits || due.millisecondsRoundedUp > now.nanoseconds / 1_000_000, "session \(index): its deadline has passed")
    check(armed == max(1, due.millisecondsRoundedUp), "session \(index): its timer")
    check(session.will.isNull == (session.willAt == .never), "session \(index): its Will's deadline")
  }

  private mutating func deliveries(
    _ broker: borrowing Broker, _ list: DeliveryList, _ name: String, _ isRight: (Delivery.State) -> Bool
  ) -> [Delivery] {
    var found: [Delivery] = []
    var last = Handle<Delivery>.null
    var next = list.head
    while !next.isNull {
      guard broker.deliveries.isLent(next), !isDeliveryListed[next.index] else {
        check(false, "\(name): a stale delivery or one of another list")
        return found
      }
      isDeliveryListed[next.index] = true
      let delivery = broker.deliveries[next]
      check(isRight(delivery.state), "\(name): state \(delivery.state)")
      check(
        delivery.state == .awaitingPubComp
          ? delivery.message.isNull : !delivery.message.isNull || delivery.state != .queued,
        "\(name): message and state")
      if !delivery.message.isNull { own(broker, delivery.message, name) }
      var cell = delivery.moreIdentifiers
      while !cell.isNull {
        cellCount += 1
        cell = broker.deliveries.identifiers[cell].next
      }
      found.append(delivery)
      last = next
      next = delivery.next
    }
    check(found.count == list.count && last == list.tail, "\(name): count or tail")
    return found
  }

  /// What a session holds is the sum over its deliveries.
  private mutating func held(
    _ broker: borrowing Broker, _ outgoing: Outgoing, _ queued: [Delivery], _ inflight: [Delivery], _ name: String
  ) {
    var byteCount: UInt32 = 0
    var units: UInt32 = 0
    for delivery in queued { byteCount += UInt32(broker.messages[delivery.message].body.byteCount) }
    for delivery in queued + inflight where !delivery.message.isNull {
      units += broker.messages.heldUnits(broker.messages[delivery.message].body)
    }
    check(byteCount == outgoing.queuedByteCount && units == outgoing.heldUnits, "\(name): what it holds")
    var cells: UInt32 = 0
    for delivery in queued + inflight {
      var cell = delivery.moreIdentifiers
      while !cell.isNull {
        cells += 1
        cell = broker.deliveries.identifiers[cell].next
      }
    }
    check(cells == outgoing.cellCount, "\(name): its identifier cells")
  }

  private mutating func inFlight(
    _ broker: borrowing Broker, _ session: Session, _ inflight: [Delivery], _ name: String
  ) {
    for (position, delivery) in inflight.enumerated() {
      let isTaken = inflight[..<position].contains { $0.packetID == delivery.packetID }
      check(delivery.packetID != 0 && !isTaken, "\(name): packet id \(delivery.packetID)")
      check(
        (delivery.qos == .exactlyOnce) == (delivery.state != .awaitingPubAck), "\(name): \(delivery.state) and QoS")
    }
    check(inflight.count { $0.isSentHere } <= session.window || session.connection.isNull, "\(name): over its window")
    guard !session.outgoing.redelivery.isNull else { return }
    let isListed = broker.deliveries.isLent(session.outgoing.redelivery)
    check(isListed && broker.deliveries[session.outgoing.redelivery].state != .queued, "\(name): redelivery")
  }

  private mutating func subscriptions(
    _ broker: borrowing Broker, _ handle: Handle<Session>, _ session: Session, _ name: String
  ) {
    var count = 0
    var replays = 0
    var previous = Handle<Subscription>.null
    var next = session.subscriptions.first
    while !next.isNull, count <= broker.limits.subscriptionsMax {
      let entry = broker.subscriptions[next]
      check(entry.session == handle && entry.previousInSession == previous, "\(name): a subscription's links")
      if entry.isReplaying { replays += 1 }
      count += 1
      previous = next
      next = entry.nextInSession
    }
    check(
      count == session.subscriptions.count,
      "\(name): \(count) subscriptions, counted \(session.subscriptions.count)")
    check(
      replays == session.subscriptions.replayCount,
      "\(name): \(replays) replays, counted \(session.subscriptions.replayCount)")
    subscriptionsInSessions += count
  }

  private mutating func incoming(_ broker: borrowing Broker, _ session: Handle<Session>, _ index: Int) {
    let count = broker.sessions[session].incoming.count
    check(count <= broker.limits.inflightMax, "session \(index): QoS 2 ids over the limit")
    let ids = (0..<count).map { broker.packetIDs[session, $0] }
    check(Set(ids).count == ids.count, "session \(index): QoS 2 id twice")
  }

  // MARK: Connections

  private mutating func connections(_ broker: borrowing Broker) {
    var chunks = 0
    var openHeld = 0
    var partialBlocks = 0
    var pending = 0
    var waitingAcks = 0
    var aliasSets: [Handle<SharedTexts.Owner>] = []
    for index in 0..<broker.limits.connectionsMax {
      let isArmed = broker.timers.isArmed(index)
      if isArmed { armedTimers += 1 }
      guard let handle = broker.connections.handle(at: index) else {
        check(!isArmed, "timer of free connection \(index)")
        continue
      }
      let connection = broker.connections[handle]
      let name = "connection \(index)"
      partialBlocks += broker.partials.blockCount(for: connection.partial.byteCount)
      let isKept = connection.framer.isPartial || connection.state == .awaitingVerdict || connection.heldByteCount > 0
      check(connection.partial.isEmpty || isKept, "\(name): keeps parts of no packet")
      check(connection.partial.byteCount >= Int(connection.heldByteCount), "\(name): held input")
      check(connection.serial.place == index, "\(name): its serial")
      waitingAcks += Int(connection.acks.count)
      check(
        connection.state == .closing
          || broker.outboxes.promisesControl(connection.outbox, connection.acks.byteCount),
        "\(name): what its acknowledgements were promised")
      if !connection.outbox.aliases.isNull {
        aliasSets.append(connection.outbox.aliases)
        check(connection.state == .connected && connection.version == .v5, "\(name) has aliases")
      }
      check(connection.outbox.sentAliasMax == 0 || !connection.outbox.aliases.isNull, "\(name): aliases without a set")
      switch connection.state {
      case .awaitingVerdict where connection.partial.isEmpty:
        check(false, "\(name): its CONNECT is lost")
      case .awaitingConnect, .awaitingVerdict, .awaitingConnAck:
        pending += 1
        check(isArmed && connection.session.isNull, "\(name) awaits CONNECT")
      case .connected:
        let isMutual =
          broker.sessions.isLent(connection.session)
          && broker.sessions[connection.session].connection == handle
        check(isMutual, "\(name): its session")
        let hasDeadline = connection.keepAliveNanoseconds > 0 || connection.packetDeadline != .never
        check(isArmed == hasDeadline, "\(name): its timer")
      case .closing:
        check(connection.session.isNull && connection.partial.isEmpty, "\(name) is closing and holds something")
        check(isArmed || connection.outbox.isEmpty, "\(name) never gives up its last bytes")
      }
      let (count, reserve) = outbox(broker, connection.outbox.queue, name)
      chunks += count
      openHeld += max(0, count - reserve - broker.outboxes.chunks.floor)
    }
    check(
      chunks == broker.outboxes.chunks.gauge.used,
      "outbox chunks: \(chunks) of \(broker.outboxes.chunks.gauge.used) owned")
    check(openHeld == broker.outboxes.chunks.openHeld, "chunks that connections hold beyond their floors")
    check(
      broker.outboxes.chunks.gauge.free >= broker.outboxes.chunks.keptBackCount,
      "a connection's floor or control chunk is taken")
    check(partialBlocks == broker.partials.gauge.used, "blocks of partial packets")
    aliases(broker, aliasSets)
    acks(broker, waitingAcks)
    check(pending == broker.pendingCount, "pending connections")
    if broker.timers.isArmed(broker.limits.connectionsMax + broker.limits.sessionsMax) { armedTimers += 1 }
    if broker.timers.isArmed(broker.sweepTimer) { armedTimers += 1 }
    if broker.timers.isArmed(broker.queueSweepTimer) { armedTimers += 1 }
    check(
      broker.timers.isArmed(broker.queueSweepTimer)
        || broker.deliveries.sweep.position == 0 && broker.deliveries.sweep.nextExpiry == .never,
      "queues are never swept")
    check(
      broker.timers.isArmed(broker.sweepTimer)
        || broker.retained.sweep.position == 0 && broker.retained.sweep.nextExpiry == .never,
      "retained messages are never swept")
    check(armedTimers == broker.timers.armedCount, "timers armed for nobody")
  }

  /// - Parameter counted: by the connections.
  private mutating func acks(_ broker: borrowing Broker, _ counted: Int) {
    var last = broker.acks.stored
    var owned = 0
    for position in 0..<broker.acks.gauge.used {
      let ack = broker.acks[position]
      check(position == 0 ? ack.position > last : ack.position >= last, "acknowledgement \(position): its position")
      last = ack.position
      if let id = broker.link(ack.serial), broker.connections[id].state != .closing { owned += 1 }
    }
    check(last <= broker.acks.written, "an acknowledgement waits for what nobody writes")
    check(owned == counted, "\(owned) acknowledgements wait, connections count \(counted)")
  }

  private mutating func aliases(_ broker: borrowing Broker, _ sets: [Handle<SharedTexts.Owner>]) {
    var cells = 0
    var keptBack = broker.outboxes.aliases.sureCells * broker.outboxes.aliases.gauge.free
    for set in sets {
      var heldCells = 0
      for row in 0..<(2 * broker.limits.topicAliasMax) {
        let count = (broker.outboxes.aliases.byteCount(row, of: set) + 63) / 64
        if row < broker.limits.topicAliasMax { heldCells += count }
        cells += count
      }
      check(heldCells == Int(broker.outboxes.aliases.owners[set].cellCount), "alias set \(set.index): its cells")
      keptBack += max(0, broker.outboxes.aliases.sureCells - heldCells)
    }
    let isLentOnce = Set(sets.map(\.bits)).count == sets.count && sets.count == broker.outboxes.aliases.gauge.used
    check(isLentOnce, "alias sets lent, but to no connection")
    check(
      cells == broker.outboxes.aliases.cellsGauge.used && keptBack == broker.outboxes.aliases.keptBack,
      "cells of aliases")
    check(keptBack <= broker.outboxes.aliases.cellsGauge.free, "cells that a client is sure of")
  }

  private mutating func outbox(
    _ broker: borrowing Broker, _ queue: ByteQueue, _ name: String
  ) -> (chunks: Int, reserves: Int) {
    var chunks = 0
    var bytes = 0
    var reserves = 0
    var last: UInt32 = 0
    var next = queue.head
    while next != 0, chunks <= queue.chunkCount {
      let state = broker.outboxes.chunks.state(next)
      if state.isReference { bodyOwners[Int(broker.outboxes.chunks.reference(next).pointee.body.head) - 1] += 2 }
      if state.isReserve { reserves += 1 }
      bytes += broker.outboxes.chunks.byteCountOf(next)
      chunks += 1
      last = next
      next = broker.outboxes.chunks.chunks.next(next)
    }
    if queue.holdsLent { bytes += broker.outboxes.chunks.lent.count }
    check(chunks == queue.chunkCount && bytes == queue.byteCount && last == queue.tail, "\(name): outbox counts")
    check(reserves == (queue.holdsReserve ? 1 : 0), "\(name): reserved chunks in its outbox")
    return (chunks, reserves)
  }

  // MARK: Messages

  private mutating func retained(_ broker: borrowing Broker) {
    for index in 0..<broker.limits.retainedMax {
      guard let handle = broker.retained.handle(at: index) else { continue }
      let slot = broker.retained[handle]
      let isMutual = broker.topics.handle(at: slot.place.index).map { broker.topics[$0].retained == handle } ?? false
      check(isMutual && slot.age <= broker.retained.age, "retained \(index): node or age")
      own(broker, slot.message, "retained \(index)")
    }
  }

  private mutating func own(_ broker: borrowing Broker, _ message: Handle<Message>, _ owner: String) {
    guard broker.messages.isLent(message) else {
      check(false, "\(owner): stale message")
      return
    }
    messageOwners[message.index] += 1
  }

  private mutating func messages(_ broker: borrowing Broker) {
    for index in 0..<broker.limits.messagesMax {
      guard let handle = broker.messages.handle(at: index) else { continue }
      let message = broker.messages[handle]
      let owners = messageOwners[index]
      check(message.owners == owners, "message \(index): \(owners) owners, not \(message.owners)")
      bodyOwners[Int(message.body.head) - 1] += 1
    }
    var owned = 0
    for head in bodyOwners.indices where bodyOwners[head] > 0 {
      let owners = bodyOwners[head]
      check(
        broker.messages.bodies.owners[head] == owners,
        "body \(head): \(owners) owners, not \(broker.messages.bodies.owners[head])")
      var block = UInt32(head) + 1
      while block != 0, owned <= broker.limits.blockCount {
        owned += 1
        block = broker.messages.bodies.next(block)
      }
    }
    check(
      owned == broker.messages.bodies.gauge.used,
      "message blocks: \(owned) of \(broker.messages.bodies.gauge.used) owned")
  }

  private mutating func gauges(_ broker: borrowing Broker) {
    for index in 0..<Broker.poolCount {
      let (name, gauge) = broker.pool(index)
      check(gauge.used >= 0 && gauge.used <= gauge.capacity && gauge.used <= gauge.peak, "pool \(name)")
    }
  }
}
