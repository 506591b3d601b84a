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

/// A further subscription identifier of a delivery.
struct IdentifierCell: BitwiseCopyable {
  let identifier: UInt32
  let next: Handle<IdentifierCell>
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

/// What a session has of the store. All operations are `DeliveryStore`'s.
struct Outgoing: BitwiseCopyable {
  /// Not sent yet, in the order in which they came.
  fileprivate(set) var queued = DeliveryList()
  /// Sent, in the order in which they were sent first.
  fileprivate(set) var inflight = DeliveryList()
  /// The next delivery in flight to be sent again on this connection.
  fileprivate(set) var redelivery: Handle<Delivery> = .null
  /// The packet id given last, and how many after it are surely not in flight.
  fileprivate var lastPacketID: UInt16
  fileprivate var unusedPacketIDs: UInt16 = 0

  init(lastPacketID: UInt16 = 0) { self.lastPacketID = lastPacketID }
}

/// Deliveries: each session's queue and what it has in flight (§4.3, §4.4, §4.6).
///
/// Invariant: a delivery is in its session's queue (`queued`) or in flight (any other state), once. It owns its message
/// except while it awaits PUBCOMP, and its identifier cells. Packet ids in flight are not 0, each once a session.
/// `redelivery` is null or in flight.
struct DeliveryStore: ~Copyable {
  private var deliveries: Slab<Delivery>
  private var identifierCells: Slab<IdentifierCell>

  init(limits: Limits, in reservation: inout Reservation) {
    deliveries = Slab(capacity: limits.deliveriesMax, name: "deliveries", in: &reservation)
    identifierCells = Slab(
      capacity: limits.subscriptionIDCellsMax, name: "subscription id cells", in: &reservation)
  }

  subscript(handle: Handle<Delivery>) -> Delivery {
    @inline(__always) unsafeAddress { UnsafePointer(deliveries.address(handle)) }
  }

  subscript(cell: Handle<IdentifierCell>) -> IdentifierCell {
    @inline(__always) unsafeAddress { UnsafePointer(identifierCells.address(cell)) }
  }

  var gauge: Gauge { deliveries.gauge }
  var identifiersGauge: Gauge { identifierCells.gauge }
  var hasRoom: Bool { deliveries.hasRoom }
  func isLent(_ delivery: Handle<Delivery>) -> Bool { deliveries.isLent(delivery) }

  /// Whether there is room for so many deliveries and further identifiers; `false` is counted.
  mutating func hasRoom(for count: Int, identifierCells cellCount: Int) -> Bool {
    if deliveries.gauge.free >= count, identifierCells.gauge.free >= cellCount { return true }
    deliveries.gauge.refused &+= 1
    return false
  }

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
      } else if identifier != 0, let cell = identifierCells.lend(IdentifierCell(identifier: identifier, next: more)) {
        more = cell
      }
      subscription = subscriptions.nextMatched(subscription, of: receiver)
    }
    let entry = Delivery(message: message, qos: qos, retain: retain, identifier: first, moreIdentifiers: more)
    let delivery = deliveries.lend(entry)!  // reserved
    messages.retain(message)
    append(delivery, to: &sessions[receiver.session].outgoing.queued)
  }

  /// Gives up the first of the queue, which was not sent.
  mutating func dropQueued(
    _ session: Handle<Session>, _ sessions: borrowing SessionStore, _ messages: inout MessageStore
  ) {
    free(popFirst(&sessions[session].outgoing.queued), &messages)
  }

  /// Gives the first of the queue the packet id with which it is to be sent.
  func assignPacketID(_ session: Handle<Session>, _ sessions: borrowing SessionStore) {
    let delivery = sessions[session].outgoing.queued.head
    deliveries[delivery].packetID = unusedPacketID(&sessions[session].outgoing)
  }

  /// The first of the queue was sent: from now on it is in flight.
  mutating func sent(_ session: Handle<Session>, _ sessions: borrowing SessionStore) {
    let delivery = popFirst(&sessions[session].outgoing.queued)
    deliveries[delivery].isSentHere = true
    deliveries[delivery].state = deliveries[delivery].qos == .atLeastOnce ? .awaitingPubAck : .awaitingPubRec
    append(delivery, to: &sessions[session].outgoing.inflight)
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

  func find(_ packetID: UInt16, of session: Handle<Session>, _ sessions: borrowing SessionStore) -> Handle<Delivery>? {
    var delivery = sessions[session].outgoing.inflight.head
    while !delivery.isNull {
      if deliveries[delivery].packetID == packetID { return delivery }
      delivery = deliveries[delivery].next
    }
    return nil
  }

  /// PUBREC: the client has the message, which is given up; the packet id stays taken until PUBCOMP (§4.3.3).
  func received(_ delivery: Handle<Delivery>, _ messages: inout MessageStore) {
    guard deliveries[delivery].state == .awaitingPubRec else { return }
    messages.release(deliveries[delivery].message)
    deliveries[delivery].message = .null
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
    free(delivery, &messages)
  }

  /// Gives up everything that waits or is in flight: the session ends.
  mutating func drop(_ session: Handle<Session>, _ sessions: borrowing SessionStore, _ messages: inout MessageStore) {
    while sessions[session].outgoing.queued.count > 0 {
      free(popFirst(&sessions[session].outgoing.queued), &messages)
    }
    while sessions[session].outgoing.inflight.count > 0 {
      free(popFirst(&sessions[session].outgoing.inflight), &messages)
    }
    sessions[session].outgoing.redelivery = .null
  }

  // MARK: Redelivery

  /// A client is back: everything in flight is to be sent again, in order (§4.4).
  func beginRedelivery(_ session: Handle<Session>, _ sessions: borrowing SessionStore) {
    sessions[session].outgoing.redelivery = sessions[session].outgoing.inflight.head
    var delivery = sessions[session].outgoing.inflight.head
    while !delivery.isNull {
      deliveries[delivery].isSentHere = false
      delivery = deliveries[delivery].next
    }
  }

  func markDuplicate(_ delivery: Handle<Delivery>) { deliveries[delivery].isDuplicate = true }

  func markSentHere(_ delivery: Handle<Delivery>) { deliveries[delivery].isSentHere = true }

  /// The delivery that was to be sent again has been.
  func advanceRedelivery(_ session: Handle<Session>, _ sessions: borrowing SessionStore) {
    sessions[session].outgoing.redelivery = deliveries[sessions[session].outgoing.redelivery].next
  }

  /// Sent as PUBLISH on the present connection and not answered.
  func sentHereCount(_ session: Handle<Session>, _ sessions: borrowing SessionStore) -> Int {
    var count = 0
    var delivery = sessions[session].outgoing.inflight.head
    while !delivery.isNull {
      if deliveries[delivery].isSentHere { count += 1 }
      delivery = deliveries[delivery].next
    }
    return count
  }

  // MARK: Subscription identifiers

  func identifiersByteCount(_ delivery: Delivery) -> Int {
    guard delivery.identifier != 0 else { return 0 }
    var byteCount = PublishHead.identifierByteCount(delivery.identifier)
    var cell = delivery.moreIdentifiers
    while !cell.isNull {
      byteCount += PublishHead.identifierByteCount(identifierCells[cell].identifier)
      cell = identifierCells[cell].next
    }
    return byteCount
  }

  func writeIdentifiers(_ first: UInt32, _ more: Handle<IdentifierCell>, into writer: inout ByteWriter) {
    PublishHead.writeIdentifier(first, into: &writer)
    var cell = more
    while !cell.isNull {
      PublishHead.writeIdentifier(identifierCells[cell].identifier, into: &writer)
      cell = identifierCells[cell].next
    }
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

  private mutating func free(_ delivery: Handle<Delivery>, _ messages: inout MessageStore) {
    if !deliveries[delivery].message.isNull { messages.release(deliveries[delivery].message) }
    var cell = deliveries[delivery].moreIdentifiers
    while !cell.isNull {
      let next = identifierCells[cell].next
      identifierCells.giveBack(cell)
      cell = next
    }
    deliveries.giveBack(delivery)
  }
}
