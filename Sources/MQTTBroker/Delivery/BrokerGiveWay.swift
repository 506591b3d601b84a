import Bounded
import MQTTWire

/// Finds the session that gives way when a pool that sessions share runs short: the one that holds the most of that pool
/// beyond its share. Sessions without a client come before those with one, and expired messages before all. The session gives
/// up its own oldest message, which is counted. Messages within its share stay. When all deliveries or identifier cells that
/// sessions can give up do not suffice, nobody gives any up.
struct Holders: ~Copyable {
  /// By what they hold of `deliveries`, of `subscription_id_cells`, and of `messages` and `blocks`: no less than what they
  /// can give up.
  fileprivate let byDeliveries: HeaviestFinder
  fileprivate let byCells: HeaviestFinder
  fileprivate let byBytes: HeaviestFinder
  /// Half of each pool, divided among all sessions: who holds no more never gives way to others.
  fileprivate let deliveryShare: Int
  fileprivate let cellShare: UInt32
  fileprivate let unitShare: UInt32  // of 32 bytes

  init(limits: Limits, in reservation: inout Reservation) {
    byDeliveries = HeaviestFinder(count: limits.sessionsMax, name: "holders of deliveries", in: &reservation)
    byCells = HeaviestFinder(count: limits.sessionsMax, name: "holders of id cells", in: &reservation)
    byBytes = HeaviestFinder(count: limits.sessionsMax, name: "holders of blocks", in: &reservation)
    deliveryShare = max(1, limits.deliveriesMax / (2 * limits.sessionsMax))
    cellShare = UInt32(limits.subscriptionIDCellsMax / (2 * limits.sessionsMax))
    unitShare = UInt32(limits.blockCount * (limits.blockBytes / 32) / (2 * limits.sessionsMax))
  }

  /// Sessions without a client give way first.
  fileprivate static var absent: UInt32 { 1 << 31 }

  /// The blocks that the session can give up, in units of 32 bytes, if it holds more than its share; 0: none.
  @inline(__always) fileprivate func byteWeight(_ session: UnsafeMutablePointer<Session>) -> UInt32 {
    let units = session.pointee.outgoing.heldUnits
    guard units > unitShare else { return 0 }
    return units | (session.pointee.connection.isNull ? Holders.absent : 0)
  }

  /// The session holds more than before, or its client has gone.
  @inline(__always) func grew(_ session: Handle<Session>, _ entry: UnsafeMutablePointer<Session>) {
    // Most hold no more than their share.
    let isAbsent = entry.pointee.connection.isNull
    // The packet ids in flight to a client that is here stay taken.
    let count = entry.pointee.outgoing.queued.count &+ (isAbsent ? entry.pointee.outgoing.inflight.count : 0)
    if count > deliveryShare {
      byDeliveries.raise(session.index, to: UInt32(truncatingIfNeeded: count) | (isAbsent ? Holders.absent : 0))
    }
    if entry.pointee.outgoing.cellCount > cellShare {
      byCells.raise(session.index, to: entry.pointee.outgoing.cellCount | (isAbsent ? Holders.absent : 0))
    }
    let byteWeight = byteWeight(entry)
    if byteWeight > 0 { byBytes.raise(session.index, to: byteWeight) }
  }
}

/// Deliveries and identifier cells.
extension Broker {
  /// Makes room for so many deliveries and identifier cells, if holders beyond their share have as many to give up.
  mutating func makeRoom(forDeliveries count: Int, identifierCells cellCount: Int, at now: Instant) {
    sweepQueuesIfDue(at: now)
    makeRoom(.deliveries, for: count)
    makeRoom(.subscriptionIDCells, for: cellCount)
  }

  /// - Parameter pool: of the deliveries, or of the identifier cells.
  private mutating func makeRoom(_ pool: Limit, for need: Int) {
    guard need <= gauge(pool).capacity else { return }
    var isEnough = false
    while gauge(pool).free < need, let holder = heaviest(pool) {
      let missing = need - gauge(pool).free
      guard isEnough || surplus(holder, pool) >= missing || surplusOfAll(pool) >= missing else { return }
      isEnough = true
      guard giveWay(holder, pool) else { return }
    }
  }

  private func gauge(_ pool: Limit) -> Gauge {
    pool == .deliveries ? deliveries.gauge : deliveries.identifiers.gauge
  }

  private func heaviest(_ pool: Limit) -> Handle<Session>? {
    let index =
      pool == .deliveries
      ? holders.byDeliveries.heaviest { weight(at: $0, pool) } : holders.byCells.heaviest { weight(at: $0, pool) }
    return index.flatMap { sessions.handle(at: $0) }
  }

  /// How many entries of `pool` the session at place `index` can give up, if they are more than its share; 0: none.
  private func weight(at index: Int, _ pool: Limit) -> UInt32 {
    guard let session = sessions.handle(at: index) else { return 0 }
    let count = held(session, pool)
    guard count > share(pool) else { return 0 }
    return UInt32(truncatingIfNeeded: count) | (sessions[session].connection.isNull ? Holders.absent : 0)
  }

  private func share(_ pool: Limit) -> Int { pool == .deliveries ? holders.deliveryShare : Int(holders.cellShare) }

  private func held(_ session: Handle<Session>, _ pool: Limit) -> Int {
    pool == .deliveries
      ? deliveries.countToGiveUp(session, sessions)
      : deliveries.cellsToGiveUp(session, sessions, withInflight: sessions[session].connection.isNull)
  }

  /// How many entries of `pool` the session can give up before it holds no more than its share.
  private func surplus(_ session: Handle<Session>, _ pool: Limit) -> Int {
    let count = held(session, pool)
    let share = share(pool)
    guard count > share else { return 0 }
    return pool == .deliveries ? count - share : deliveries.cellsGivenUp(session, sessions, of: count, downTo: share)
  }

  private mutating func surplusOfAll(_ pool: Limit) -> Int {
    var all = 0
    var index = 0
    while index < limits.sessionsMax {
      if let session = sessions.handle(at: index) { all += surplus(session, pool) }
      index += 1
    }
    work.did(limits.sessionsMax / 8)
    return all
  }
}

/// Messages and their bytes.
extension Broker {
  /// Makes room for a message and its bytes, as far as holders beyond their share have any to give up. Retained messages
  /// and Wills may leave less than the shares together: then a small message has room made by those within them, and by
  /// who holds the most of these. Nobody gives way to a message for which retained messages alone leave no room.
  /// - Parameter sparesShares: those within their share never give way.
  mutating func makeRoom(
    for message: Inbound, keepingFree: Int, keepingMessages: Int, sparesShares: Bool = false, at now: Instant
  ) {
    let blocksLeft = limits.blockCount - retained.blockCount
    guard messages.bodies.blockCount(for: message.byteCount) + keepingFree <= blocksLeft,
      limits.messagesMax - retained.gauge.used > keepingMessages
    else { return }
    sweepQueuesIfDue(at: now)
    while !messages.hasRoom(for: message, keepingFree: keepingFree, keepingMessages: keepingMessages) {
      let index = holders.byBytes.heaviest { index in
        sessions.handle(at: index).map { holders.byteWeight(sessions.address($0)) } ?? 0
      }
      let limit: Limit = messages.gauge.free > keepingMessages ? .blocks : .messages
      guard
        let holder = index.map({ sessions.handle(at: $0)! })
          ?? (sparesShares ? nil : holderOfMost(for: message, keepingFree: keepingFree)), giveWay(holder, limit)
      else { return }
    }
  }

  /// The session that holds the most of what `message` needs, though no more than its share, whether its client is connected
  /// or not; nil: the message is not small, or all that sessions hold is less than what is missing.
  private mutating func holderOfMost(for message: Inbound, keepingFree: Int) -> Handle<Session>? {
    guard limits.isSmall(byteCount: message.byteCount) else { return nil }
    let missing = messages.bodies.blockCount(for: message.byteCount) + keepingFree - messages.bodies.gauge.free
    var holder = Handle<Session>.null
    var most: UInt32 = 0
    var all = 0
    var index = 0
    while index < limits.sessionsMax {
      if let session = sessions.handle(at: index) {
        let units = sessions[session].outgoing.heldUnits
        all += Int(units)
        if units > most {
          most = units
          holder = session
        }
      }
      index += 1
    }
    work.did(limits.sessionsMax / 8)
    return holder.isNull || all < missing * (limits.blockBytes / 32) ? nil : holder
  }

  private mutating func sweepQueuesIfDue(at now: Instant) {
    if deliveries.sweep.nextExpiry < now { sweepQueues(at: now) }
  }

  /// The session gives up the oldest message that was not sent, else the oldest in flight; `false`: it has none.
  /// - Parameter limit: what all have too little of. Of identifier cells: the oldest that has some.
  private mutating func giveWay(_ session: Handle<Session>, _ limit: Limit) -> Bool {
    let withCells = limit == .subscriptionIDCells
    guard
      deliveries.dropOldestQueued(session, sessions, &messages, withCells: withCells)
        || deliveries.dropInflight(session, sessions, &messages, withCells: withCells)
    else { return false }
    work.did(Work.giveWaySteps)
    counters.queuedDropped &+= 1
    counters.gaveWay &+= 1
    sessions.countDropped(session)
    limitHit(limit, by: session, .lostMessage)
    return true
  }
}
