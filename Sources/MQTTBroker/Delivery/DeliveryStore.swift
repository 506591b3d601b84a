import Bounded
import MQTTWire

/// A message on its way to one session with QoS 1 or 2.
struct Delivery: BitwiseCopyable {
  enum State: UInt8, BitwiseCopyable {
    case queued  // not sent yet
    case awaitingPubAck
    case awaitingPubRec
    case awaitingPubComp  // its message is given up, only the packet id is still taken
  }
  /// Null when it is received, or has given way to others: only the packet id is still taken then.
  fileprivate(set) var message: Handle<Message>
  fileprivate(set) var next: Handle<Delivery> = .null
  fileprivate(set) var packetID: UInt16 = 0
  fileprivate(set) var state = State.queued
  private var bits: UInt8  // QoS in the lowest two, then retain, duplicate, sent here
  let identifier: UInt32
  let moreIdentifiers: Handle<IdentifierCell>

  fileprivate init(
    message: Handle<Message>, qos: QoS, retain: Bool, identifier: UInt32, moreIdentifiers: Handle<IdentifierCell>
  ) {
    self.message = message
    bits = qos.rawValue | (retain ? 4 : 0)
    self.identifier = identifier
    self.moreIdentifiers = moreIdentifiers
  }

  var qos: QoS { QoS(rawValue: bits & 3)! }
  var retain: Bool { bits & 4 != 0 }
  fileprivate(set) var isDuplicate: Bool {
    get { bits & 8 != 0 }
    set { bits = bits & ~8 | (newValue ? 8 : 0) }
  }
  /// Sent as PUBLISH on the present connection: it takes of the client's Receive Maximum until it is answered.
  fileprivate(set) var isSentHere: Bool {
    get { bits & 16 != 0 }
    set { bits = bits & ~16 | (newValue ? 16 : 0) }
  }
}

/// A first-in first-out list through `Delivery.next`.
struct DeliveryList: BitwiseCopyable {
  fileprivate(set) var head: Handle<Delivery> = .null
  fileprivate(set) var tail: Handle<Delivery> = .null
  private var storedCount: UInt32 = 0

  fileprivate(set) var count: Int {
    @inline(__always) get { Int(storedCount) }
    @inline(__always) set { storedCount = UInt32(truncatingIfNeeded: newValue) }  // of those that handles name
  }
}

/// A session's deliveries in `DeliveryStore`, which alone changes them.
struct Outgoing: BitwiseCopyable {
  /// Not sent yet, in the order in which they came.
  fileprivate(set) var queued = DeliveryList()
  /// Sent, in the order in which they were sent first.
  fileprivate(set) var inflight = DeliveryList()
  /// The next delivery in flight to be sent again on this connection.
  fileprivate(set) var redelivery: Handle<Delivery> = .null
  /// Bytes of its messages that wait.
  fileprivate(set) var queuedByteCount: UInt32 = 0
  /// The bytes that the session's messages take of the pools, waiting and in flight, in units of 32: at least a block
  /// each.
  fileprivate(set) var heldUnits: UInt32 = 0
  /// Cells of further subscription identifiers that its deliveries have.
  fileprivate(set) var cellCount: UInt32 = 0
  /// The packet id given last, and how many after it are surely not in flight.
  fileprivate var lastPacketID: UInt16
  fileprivate var unusedPacketIDs: UInt16 = 0

  init(lastPacketID: UInt16 = 0) { self.lastPacketID = lastPacketID }
}

/// Deliveries: each session's queue and what it has in flight (§4.3, §4.4, §4.6).
///
/// Invariant: a delivery is in its session's queue (`queued`) or in flight (any other state), once. It owns its message
/// except while it awaits PUBCOMP or has given way, and its identifier cells. Packet ids in flight are not 0, each once a
/// session. `redelivery` is null or in flight. A session's counts are the sums over its deliveries.
struct DeliveryStore: ~Copyable {
  private var deliveries: Slab<Delivery>
  private(set) var identifiers: IdentifierStore
  /// Over all sessions, for messages in their queues that have expired.
  var sweep = ExpirySweep()

  @_optimize(size) init(limits: Limits, in reservation: inout Reservation) {
    deliveries = Slab(capacity: limits.deliveriesMax, name: "deliveries", in: &reservation)
    identifiers = IdentifierStore(limits: limits, in: &reservation)
  }

  subscript(handle: Handle<Delivery>) -> Delivery {
    @inline(__always) unsafeAddress { UnsafePointer(deliveries.address(handle)) }
  }

  var gauge: Gauge { deliveries.gauge }
  var hasRoom: Bool { deliveries.hasRoom }
  func isLent(_ delivery: Handle<Delivery>) -> Bool { deliveries.isLent(delivery) }

  /// Whether there is room for so many deliveries and further identifiers.
  @inline(__always) func hasRoom(for count: Int, identifierCells cellCount: Int) -> Bool {
    deliveries.gauge.free >= count && identifiers.gauge.free >= cellCount
  }

  /// A delivery for which no room could be made.
  mutating func countRefused() { deliveries.gauge.refused &+= 1 }

  // MARK: Queue

  /// Puts a stored message at the end of the receiver's queue. The room was seen before.
  mutating func queue(
    _ message: Handle<Message>, for receiver: Receiver, qos: QoS, retain: Bool,
    _ subscriptions: borrowing SubscriptionStore, _ sessions: borrowing SessionStore, _ messages: inout MessageStore
  ) {
    var first: UInt32 = 0
    var more = Handle<IdentifierCell>.null
    var subscription = receiver.matched
    while !subscription.isNull {
      let identifier = subscriptions[subscription].identifier
      if identifier != 0, first == 0 {
        first = identifier
      } else if identifier != 0, identifiers.add(identifier, to: &more) {
        sessions[receiver.session].outgoing.cellCount &+= 1
      }
      subscription = subscriptions.nextMatched(subscription, of: receiver)
    }
    let entry = Delivery(message: message, qos: qos, retain: retain, identifier: first, moreIdentifiers: more)
    let delivery = deliveries.lend(entry)!  // reserved
    messages.retain(message)
    let holder = sessions.address(receiver.session)
    append(delivery, to: &holder.pointee.outgoing.queued)
    let body = messages[message].body
    holder.pointee.outgoing.queuedByteCount &+= UInt32(truncatingIfNeeded: body.byteCount)
    holder.pointee.outgoing.heldUnits &+= messages.heldUnits(body)
  }

  /// Gives up the first of the queue, which was not sent.
  mutating func dropQueued(
    _ session: Handle<Session>, _ sessions: borrowing SessionStore, _ messages: inout MessageStore
  ) {
    let holder = sessions.address(session)
    let first = popFirst(&holder.pointee.outgoing.queued)
    countSent(first, &holder.pointee.outgoing, messages)
    free(first, &holder.pointee.outgoing, &messages)
  }

  /// The same of the first that has identifier cells, or whatever it has; `false`: there is none.
  mutating func dropOldestQueued(
    _ session: Handle<Session>, _ sessions: borrowing SessionStore, _ messages: inout MessageStore, withCells: Bool
  ) -> Bool {
    let holder = sessions.address(session)
    var before = Handle<Delivery>.null
    var delivery = holder.pointee.outgoing.queued.head
    while withCells, !delivery.isNull, deliveries[delivery].moreIdentifiers.isNull {
      before = delivery
      delivery = deliveries[delivery].next
    }
    guard !delivery.isNull else { return false }
    dropQueued(delivery, behind: before, &holder.pointee.outgoing, &messages)
    return true
  }

  private mutating func dropQueued(
    _ delivery: Handle<Delivery>, behind before: Handle<Delivery>, _ outgoing: inout Outgoing,
    _ messages: inout MessageStore
  ) {
    countSent(delivery, &outgoing, messages)
    let next = deliveries[delivery].next
    if before.isNull { outgoing.queued.head = next } else { deliveries[before].next = next }
    if next.isNull { outgoing.queued.tail = before }
    outgoing.queued.count -= 1
    free(delivery, &outgoing, &messages)
  }

  /// It does not wait any more.
  @inline(__always) private func countSent(
    _ delivery: Handle<Delivery>, _ outgoing: inout Outgoing, _ messages: borrowing MessageStore
  ) {
    outgoing.queuedByteCount &-= UInt32(truncatingIfNeeded: messages[deliveries[delivery].message].body.byteCount)
  }

  /// Gives up the oldest message in flight that the session still holds; `false`: there is none. While the client is here
  /// the packet id stays taken until it is answered.
  /// - Parameter withCells: the oldest that has identifier cells.
  mutating func dropInflight(
    _ session: Handle<Session>, _ sessions: borrowing SessionStore, _ messages: inout MessageStore, withCells: Bool
  ) -> Bool {
    let holder = sessions.address(session)
    var delivery = holder.pointee.outgoing.inflight.head
    while !delivery.isNull,
      deliveries[delivery].message.isNull || withCells && deliveries[delivery].moreIdentifiers.isNull
    {
      delivery = deliveries[delivery].next
    }
    guard !delivery.isNull else { return false }
    if sessions[session].connection.isNull {
      finish(delivery, of: session, sessions, &messages)
    } else {
      giveUpMessage(delivery, &holder.pointee.outgoing, &messages)
    }
    return true
  }

  /// The delivery goes on without its message.
  @inline(__always) private mutating func giveUpMessage(
    _ delivery: Handle<Delivery>, _ outgoing: inout Outgoing, _ messages: inout MessageStore
  ) {
    let message = deliveries[delivery].message
    guard !message.isNull else { return }
    outgoing.heldUnits &-= messages.heldUnits(messages[message].body)
    messages.release(message)
    deliveries[delivery].message = .null
  }

  /// Gives the first of the queue the packet id with which it is to be sent.
  func assignPacketID(_ session: Handle<Session>, _ sessions: borrowing SessionStore) {
    let delivery = sessions[session].outgoing.queued.head
    deliveries[delivery].packetID = unusedPacketID(&sessions[session].outgoing)
  }

  /// The first of the queue was sent: from now on it is in flight.
  mutating func sent(
    _ session: Handle<Session>, _ sessions: borrowing SessionStore, _ messages: borrowing MessageStore
  ) {
    let holder = sessions.address(session)
    let delivery = popFirst(&holder.pointee.outgoing.queued)
    countSent(delivery, &holder.pointee.outgoing, messages)
    deliveries[delivery].isSentHere = true
    deliveries[delivery].state = deliveries[delivery].qos == .atLeastOnce ? .awaitingPubAck : .awaitingPubRec
    append(delivery, to: &holder.pointee.outgoing.inflight)
  }

  private func unusedPacketID(_ outgoing: inout Outgoing) -> UInt16 {
    while outgoing.unusedPacketIDs == 0 { lookForUnusedPacketIDs(&outgoing) }
    outgoing.unusedPacketIDs -= 1
    outgoing.lastPacketID = outgoing.lastPacketID % 65_535 + 1
    return outgoing.lastPacketID
  }

  /// Counts the ids from the last one given up to the next one in flight, and steps over that when it is the very
  /// next. Fewer than 65,535 are in flight, so it ends.
  private func lookForUnusedPacketIDs(_ outgoing: inout Outgoing) {
    let last = Int(outgoing.lastPacketID)
    var unused = 65_535
    var delivery = outgoing.inflight.head
    while !delivery.isNull {
      let distance = (Int(deliveries[delivery].packetID) - last + 65_534) % 65_535  // 0: the very next
      unused = min(unused, distance)
      delivery = deliveries[delivery].next
    }
    outgoing.unusedPacketIDs = UInt16(unused)
    if unused == 0 { outgoing.lastPacketID = outgoing.lastPacketID % 65_535 + 1 }
  }

  // MARK: In flight

  /// PUBREC: the client has the message, which is given up; the packet id stays taken until PUBCOMP (§4.3.3).
  mutating func received(
    _ delivery: Handle<Delivery>, of session: Handle<Session>, _ sessions: borrowing SessionStore,
    _ messages: inout MessageStore
  ) {
    guard deliveries[delivery].state == .awaitingPubRec else { return }
    giveUpMessage(delivery, &sessions.address(session).pointee.outgoing, &messages)
    deliveries[delivery].state = .awaitingPubComp
  }

  /// PUBACK, PUBCOMP, or the delivery is given up: its packet id is free.
  mutating func finish(
    _ delivery: Handle<Delivery>, of session: Handle<Session>, _ sessions: borrowing SessionStore,
    _ messages: inout MessageStore
  ) {
    let next = deliveries[delivery].next
    if sessions[session].outgoing.redelivery == delivery { sessions[session].outgoing.redelivery = next }
    if sessions[session].outgoing.inflight.head == delivery {
      sessions[session].outgoing.inflight.head = next
      if next.isNull { sessions[session].outgoing.inflight.tail = .null }
    } else {
      var before = sessions[session].outgoing.inflight.head
      while deliveries[before].next != delivery { before = deliveries[before].next }
      deliveries[before].next = next
      if next.isNull { sessions[session].outgoing.inflight.tail = before }
    }
    sessions[session].outgoing.inflight.count -= 1
    free(delivery, &sessions.address(session).pointee.outgoing, &messages)
  }

  /// Gives up everything that waits or is in flight: the session ends.
  mutating func drop(_ session: Handle<Session>, _ sessions: borrowing SessionStore, _ messages: inout MessageStore) {
    while sessions[session].outgoing.queued.count > 0 { dropQueued(session, sessions, &messages) }
    let holder = sessions.address(session)
    while holder.pointee.outgoing.inflight.count > 0 {
      free(popFirst(&holder.pointee.outgoing.inflight), &holder.pointee.outgoing, &messages)
    }
    holder.pointee.outgoing.redelivery = .null
  }

  // MARK: Expiry

  /// Gives up queued messages that have expired, of some sessions a turn. Answers how many, how many it has looked at, and
  /// when the sweep goes on or is due again.
  @_optimize(size) mutating func sweepExpired(
    _ sessions: borrowing SessionStore, _ messages: inout MessageStore, at now: Instant
  ) -> (dropped: Int, steps: Int, next: Instant) {
    sweep.begin()
    var dropped = 0
    var steps = 0
    while sweep.position < sessions.gauge.capacity, steps < ExpirySweep.stepsPerTurn {
      steps += 1
      if let session = sessions.handle(at: sweep.position) {
        steps += sessions[session].outgoing.queued.count
        dropped += dropExpired(session, sessions, &messages, at: now)
      }
      sweep.position += 1
    }
    return (dropped, steps, sweep.pause(of: sessions.gauge.capacity, at: now))
  }

  @_optimize(size) private mutating func dropExpired(
    _ session: Handle<Session>, _ sessions: borrowing SessionStore, _ messages: inout MessageStore, at now: Instant
  ) -> Int {
    let holder = sessions.address(session)
    var dropped = 0
    var before = Handle<Delivery>.null
    var delivery = holder.pointee.outgoing.queued.head
    while !delivery.isNull {
      let next = deliveries[delivery].next
      if messages.hasExpired(deliveries[delivery].message, at: now) {
        dropQueued(delivery, behind: before, &holder.pointee.outgoing, &messages)
        dropped += 1
      } else {
        sweep.keep(messages[deliveries[delivery].message].expiresAt)
        before = delivery
      }
      delivery = next
    }
    return dropped
  }

  // MARK: Redelivery

  /// A client is back: everything in flight is to be sent again, in order (§4.4). What has given way is over.
  mutating func beginRedelivery(
    _ session: Handle<Session>, _ sessions: borrowing SessionStore, _ messages: inout MessageStore
  ) {
    var delivery = sessions[session].outgoing.inflight.head
    while !delivery.isNull {
      let next = deliveries[delivery].next
      deliveries[delivery].isSentHere = false
      if hasGivenWay(delivery) { finish(delivery, of: session, sessions, &messages) }
      delivery = next
    }
    sessions[session].outgoing.redelivery = sessions[session].outgoing.inflight.head
  }

  /// Its message was given up before its client had it.
  func hasGivenWay(_ delivery: Handle<Delivery>) -> Bool {
    deliveries[delivery].message.isNull && deliveries[delivery].state != .awaitingPubComp
  }

  func markDuplicate(_ delivery: Handle<Delivery>) { deliveries[delivery].isDuplicate = true }

  func markSentHere(_ delivery: Handle<Delivery>) { deliveries[delivery].isSentHere = true }

  /// The delivery that was to be sent again has been.
  func advanceRedelivery(_ session: Handle<Session>, _ sessions: borrowing SessionStore) {
    sessions[session].outgoing.redelivery = deliveries[sessions[session].outgoing.redelivery].next
  }

  // MARK: Lists

  private func append(_ delivery: Handle<Delivery>, to list: inout DeliveryList) {
    deliveries[delivery].next = .null
    if list.tail.isNull { list.head = delivery } else { deliveries[list.tail].next = delivery }
    list.tail = delivery
    list.count += 1
  }

  private func popFirst(_ list: inout DeliveryList) -> Handle<Delivery> {
    let first = list.head
    list.head = deliveries[first].next
    if list.head.isNull { list.tail = .null }
    list.count -= 1
    deliveries[first].next = .null
    return first
  }

  private mutating func free(
    _ delivery: Handle<Delivery>, _ outgoing: inout Outgoing, _ messages: inout MessageStore
  ) {
    giveUpMessage(delivery, &outgoing, &messages)
    outgoing.cellCount &-= identifiers.free(deliveries[delivery].moreIdentifiers)
    deliveries.giveBack(delivery)
  }
}
