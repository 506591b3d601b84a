import MQTTWire
import Testing

@testable import Bounded
@testable import MQTTBroker

/// What each session, the board and nobody hold, counted anew: `Shares` says the same.
extension Audit {
  mutating func shares(_ broker: borrowing Broker) {
    var held = Array(repeating: [Int: Int](), count: SharedPool.retainedBlocks.rawValue + 1)
    func add(_ pool: SharedPool, _ count: Int, _ holder: Holder) {
      let session = holder.session
      if !session.isNull, broker.sessions.isLent(session) { held[pool.rawValue][session.index, default: 0] += count }
      if holder == .board { held[pool.rawValue][-1, default: 0] += count }
    }
    for index in 0..<broker.limits.sessionsMax {
      guard let session = broker.sessions.handle(at: index) else { continue }
      var next = broker.sessions[session].subscriptions.first
      while !next.isNull {
        let entry = broker.subscriptions[next]
        add(.subscriptions, 1, .session(session))
        add(.topicNodes, Int(entry.charge.nodes), .session(session))
        add(.topicNameCells, Int(entry.charge.nameCells), .session(session))
        if entry.isShared, broker.subscriptions[entry.group].founder == next {
          add(.sharedGroups, 1, .session(session))
        }
        next = entry.nextInSession
      }
    }
    for index in 0..<broker.limits.retainedMax {
      guard let handle = broker.retained.handle(at: index) else { continue }
      let slot = broker.retained[handle]
      add(.retained, 1, slot.holder)
      add(.topicNodes, Int(slot.charge.nodes), slot.holder)
      add(.topicNameCells, Int(slot.charge.nameCells), slot.holder)
      let body = broker.messages[slot.message].body
      add(.retainedBlocks, broker.messages.bodies.blockCount(for: body.byteCount), slot.publisher)
    }
    for raw in held.indices {
      let pool = SharedPool(rawValue: raw)!
      let floor = broker.shares.floor(pool)
      var kept = (broker.limits.sessionsMax - broker.sessions.gauge.used) * floor
      for index in 0..<broker.limits.sessionsMax {
        guard let session = broker.sessions.handle(at: index) else { continue }
        let count = held[raw][index] ?? 0
        check(broker.shares.held(pool, by: session, broker.sessions) == count, "session \(index): its \(pool)")
        kept += max(0, floor - count)
      }
      kept += broker.shares.keptForBoard(pool)
      check(broker.shares.kept(pool) == kept, "\(pool): \(kept) to keep, not \(broker.shares.kept(pool))")
    }
  }
}

extension World {
  /// What the broker keeps agrees with itself.
  func audit(sourceLocation: SourceLocation = #_sourceLocation) {
    #expect(Audit.problems(of: broker, at: now) == [], sourceLocation: sourceLocation)
  }
}
