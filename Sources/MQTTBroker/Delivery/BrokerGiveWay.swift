import Bounded
import MQTTWire

/// Finds the session that gives way when a pool that sessions share runs short: the one that holds the most beyond its
/// share. Sessions without a client come before those with one, and expired messages before all. The session gives up
/// its own oldest message, which is counted. Messages within its share stay.
struct Holders: ~Copyable {
  /// By what they hold of `deliveries` and `subscription_id_cells`, and of `messages` and `blocks`.
  fileprivate let byEntries: HeaviestFinder
  fileprivate let byBytes: HeaviestFinder
  /// Half of each pool, divided among all sessions: who holds no more never gives way to others.
  fileprivate let entryShare: Int
  fileprivate let unitShare: UInt32  // of 32 bytes

  init(limits: Limits, in reservation: inout Reservation) {
    byEntries = HeaviestFinder(count: limits.sessionsMax, name: "holders of deliveries", in: &reservation)
    byBytes = HeaviestFinder(count: limits.sessionsMax, name: "holders of blocks", in: &reservation)
    entryShare = max(1, limits.deliveriesMax / (2 * limits.sessionsMax))
    unitShare = UInt32(limits.blockCount * (limits.blockBytes / 32) / (2 * limits.sessionsMax))
  }

  /// Sessions without a client give way first.
  private static var absent: UInt32 { 1 << 31 }

  /// The number of deliveries that the session can give up, if it holds more than its share; 0: none.
  @inline(__always) fileprivate func entryWeight(_ session: UnsafeMutablePointer<Session>) -> UInt32 {
    let isAbsent = session.pointee.connection.isNull
    let queued = session.pointee.outgoing.queued.count
    // The packet ids in flight to a client that is here stay taken.
    let inflight = isAbsent ? session.pointee.outgoing.inflight.count : 0
    let count = queued &+ Int(session.pointee.outgoing.cellCount) &+ inflight
    guard count > entryShare, isAbsent || queued > 0 else { return 0 }
    return UInt32(truncatingIfNeeded: count) | (isAbsent ? Holders.absent : 0)
  }

  /// The blocks that the session can give up, in units of 32 bytes, if it holds more than its share; 0: none.
  @inline(__always) fileprivate func byteWeight(_ session: UnsafeMutablePointer<Session>) -> UInt32 {
    let units = session.pointee.outgoing.heldUnits
    guard units > unitShare else { return 0 }
    return units | (session.pointee.connection.isNull ? Holders.absent : 0)
  }

  /// The session holds more than before, or its client has gone.
  @inline(__always) func grew(_ session: Handle<Session>, _ entry: UnsafeMutablePointer<Session>) {
    // Most hold no more than their share.
    let entryWeight = entryWeight(entry)
    if entryWeight > 0 { byEntries.raise(session.index, to: entryWeight) }
    let byteWeight = byteWeight(entry)
    if byteWeight > 0 { byBytes.raise(session.index, to: byteWeight) }
  }
}

extension Broker {
  /// Makes room for so many deliveries and identifier cells, as far as holders beyond their share have any to give up.
  mutating func makeRoom(forDeliveries count: Int, identifierCells cellCount: Int, at now: Instant) {
    sweepQueuesIfDue(at: now)
    while !deliveries.hasRoom(for: count, identifierCells: cellCount) {
      guard
        let index = holders.byEntries.heaviest({ index in
          sessions.handle(at: index).map { holders.entryWeight(sessions.address($0)) } ?? 0
        }), giveWay(sessions.handle(at: index)!, deliveries.gauge.free < count ? .deliveries : .subscriptionIDCells)
      else { return }
    }
  }

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
  /// - Parameter limit: what all have too little of.
  private mutating func giveWay(_ session: Handle<Session>, _ limit: Limit) -> Bool {
    if sessions[session].outgoing.queued.count > 0 {
      deliveries.dropQueued(session, sessions, &messages)
    } else if !deliveries.dropInflight(session, sessions, &messages) {
      return false
    }
    work.did(Work.giveWaySteps)
    counters.queuedDropped &+= 1
    counters.gaveWay &+= 1
    sessions.countDropped(session)
    limitHit(limit, by: session, .lostMessage)
    return true
  }
}
