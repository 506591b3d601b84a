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
        next = entry.nextInSession
      }
    }
    for index in 0..<broker.limits.retainedMax {
      guard let handle = broker.retained.handle(at: index) else { continue }
      let slot = broker.retained[handle]
      add(.retained, 1, slot.holder)
      let body = broker.messages[slot.message].body
      add(.retainedBlocks, broker.messages.bodies.blockCount(for: body.byteCount), slot.publisher)
    }
    for raw in held.indices {
      let pool = SharedPool(rawValue: raw)!
      let floor = broker.shares.floor(pool)
      var owed = 0
      var kept = (broker.limits.sessionsMax - broker.sessions.gauge.used) * floor
      for index in 0..<broker.limits.sessionsMax {
        guard let session = broker.sessions.handle(at: index) else { continue }
        let count = held[raw][index] ?? 0
        check(broker.shares.held(pool, by: session, broker.sessions) == count, "session \(index): its \(pool)")
        kept += max(0, floor - count)
        if broker.shares.isAssured(pool, .session(session), broker.sessions) {
          check(!broker.sessions[session].connection.isNull, "session \(index) is away, and assured of \(pool)")
          owed += max(0, floor - count)
        }
      }
      check(broker.shares.owed(pool) == owed, "\(pool): \(owed) owed, not \(broker.shares.owed(pool))")
      kept += broker.shares.keptForBoard(pool)
      check(broker.shares.kept(pool) == kept, "\(pool): \(kept) to keep, not \(broker.shares.kept(pool))")
    }
    jointShares(broker)
  }

  /// What is in common, of floors, and left behind, counted anew.
  private mutating func jointShares(_ broker: borrowing Broker) {
    var inCommon = Array(repeating: 0, count: broker.topics.gauge.capacity)
    var groupsInCommon: Set<Int> = []
    var groupBlocks = 0
    var sure: [Int: [Int]] = [:]
    var left = [0, 0, 0]
    var boards = [0, 0, 0]
    func add(_ holder: Holder, _ levelCount: Int, _ cellCount: Int, _ blocks: Int = 0) {
      let counts = [levelCount, cellCount, blocks]
      if holder == .board {
        boards = zip(boards, counts).map(+)
      } else if broker.sessions.isLent(holder.session) {
        sure[holder.session.index] = zip(sure[holder.session.index] ?? [0, 0, 0], counts).map(+)
      } else {
        left = zip(left, counts).map(+)
      }
    }
    for index in 0..<broker.limits.sessionsMax {
      guard let session = broker.sessions.handle(at: index) else { continue }
      var next = broker.sessions[session].subscriptions.first
      while !next.isNull {
        let entry = broker.subscriptions[next]
        let node = broker.subscriptions.node(of: entry, broker.topics)
        let use = entry.place.use
        if use.levelCount == 0 { inCommon[node.index] += 1 }
        add(.session(session), use.levelCount, broker.topics.cellCount(of: use, at: node))
        if entry.isShared {
          let group = broker.subscriptions.group(of: entry)
          let blocks = broker.subscriptions.groupNames.blockCount(for: broker.subscriptions[group].name.byteCount)
          if entry.groupIsSure {
            add(.session(session), 0, 0, blocks)
          } else if groupsInCommon.insert(group.index).inserted {
            groupBlocks += blocks
          }
        }
        next = entry.nextInSession
      }
    }
    for index in 0..<broker.limits.retainedMax {
      guard let slot = broker.retained.handle(at: index).map({ broker.retained[$0] }) else { continue }
      let use = slot.place.use
      if use.levelCount == 0 || slot.holder == .board { inCommon[slot.place.index] += 1 }
      let node = broker.topics.handle(at: slot.place.index)!
      add(slot.holder, use.levelCount, broker.topics.cellCount(of: use, at: node))
    }
    for tap in 0..<broker.tapCount { inCommon[broker.taps[tap].node.index] += 1 }
    var (nodes, cells) = (0, 0)
    let handles = (0..<inCommon.count).compactMap { broker.topics.handle(at: $0) }
    for handle in handles where broker.topics[handle].isOwned { inCommon[handle.index] += 1 }
    var pending = handles.filter { inCommon[$0.index] > 0 && $0 != broker.topics.rootHandle }
    while let handle = pending.popLast() {
      nodes += 1
      cells += broker.topics.cellCount(handle)
      let parent = broker.topics.parent(of: handle)
      guard parent != broker.topics.rootHandle else { continue }
      inCommon[parent.index] += 1
      if inCommon[parent.index] == 1 { pending.append(parent) }
    }
    for handle in handles where handle != broker.topics.rootHandle {
      let count = broker.topics[handle].commonCount
      check(
        count == inCommon[handle.index], "topic node \(handle.index): \(inCommon[handle.index]) in common, not \(count)"
      )
    }
    let shares = broker.shares.joint
    let used = [
      broker.topics.gauge.used - 1, broker.topics.namesGauge.used, broker.subscriptions.groupNames.gauge.used,
    ]
    for (pool, common) in [(JointPool.topicNodes, nodes), (.topicNameCells, cells), (.sharedGroups, groupBlocks)] {
      let raw = pool.rawValue
      check(shares.common(pool) == common, "\(pool): \(common) in common, not \(shares.common(pool))")
      check(shares.left(pool) == left[raw], "\(pool): \(left[raw]) left behind, not \(shares.left(pool))")
      check(shares.held(pool) == boards[raw], "\(pool): \(boards[raw]) of the board, not \(shares.held(pool))")
      var (sureOfAll, owed) = (0, 0)
      for index in 0..<broker.limits.sessionsMax {
        guard let session = broker.sessions.handle(at: index) else { continue }
        let count = shares.sure(pool, by: session, broker.sessions)
        check(count == sure[index]?[raw] ?? 0, "session \(index): \(count) of its floor in \(pool)")
        check(count <= shares.floor(pool), "session \(index): beyond its floor in \(pool)")
        sureOfAll += count
        if shares.isAssured(pool, session, broker.sessions) { owed += shares.floor(pool) - count }
      }
      check(shares.owed(pool) == owed, "\(pool): \(owed) owed, not \(shares.owed(pool))")
      check(used[raw] <= common + sureOfAll + left[raw], "\(pool): \(used[raw]) in use, more than is accounted for")
    }
  }
}

extension World {
  /// What the broker keeps agrees with itself.
  func audit(sourceLocation: SourceLocation = #_sourceLocation) {
    #expect(Audit.problems(of: broker, at: now) == [], sourceLocation: sourceLocation)
  }
}
