import Bounded

/// Pools whose entries many use at once: a level of the topic tree is there for all whose filters and retained topics lead
/// through it, a shared group for all its members. So they have no holder to charge.
enum JointPool: Int {
  case topicNodes, topicNameCells, sharedGroups
}

/// What a session's subscriptions and retained messages use of its floors in these pools.
struct SureUse: BitwiseCopyable {
  fileprivate var counts = InlineArray<3, UInt16>(repeating: 0)
  /// As in `Holdings`.
  fileprivate var assured: UInt8 = 0
}

/// What one subscription or retained message uses of the topic tree: all levels from the root to its topic. Either it has
/// them in common with others, or its holder's floor has room for each of them, whoever else uses them.
struct TopicUse: BitwiseCopyable {
  /// 0: it has them in common. Of the board: how many it has brought to what is in common, which are the deepest ones, as
  /// a level is in common as long as one below it is.
  var levelCount = 0

  static var common: TopicUse { TopicUse() }
}

/// Where a subscription or a retained message hangs, and what it uses of the topic tree. Four bytes.
struct TopicPlace: BitwiseCopyable {
  private let bits: UInt32  // levels (12 bits), index (20 bits)

  /// - Parameters:
  ///   - index: of a node, or of a shared group; it is lent as long as the entry hangs there.
  ///   - use: a session's is within its floor, and the board's topics have few levels.
  init(index: Int, use: TopicUse) {
    precondition(index >= 0 && index < Limits.entriesMax)
    precondition(use.levelCount >= 0 && use.levelCount < 1 << 12)
    bits = UInt32(use.levelCount << 20 | index)
  }

  var index: Int { Int(bits & 0xF_FFFF) }
  var use: TopicUse { TopicUse(levelCount: Int(bits >> 20)) }
}

/// In each of these pools every session is sure of a floor, as in those of `Shares`.
///
/// An entry is in common as long as anything counts on its being so; how many of these there are is limited, so that all
/// floors are left. Only when nothing more may come into common, what a client asks for is taken from its floor: the whole
/// way, though others may use some of its levels now, as they may leave. So there is never less room than was promised,
/// whoever goes first.
///
/// Invariant: entries in use are at most `common`, what sessions use of their floors, and `left`.
struct JointShares: BitwiseCopyable {
  private struct Pool: BitwiseCopyable {
    var capacity = 0
    var floor = 0
    /// Entries that something counts on in common.
    var common = 0
    /// What is left for the sessions that are assured of it.
    var owed = 0
    /// Of floors of sessions that have ended: what is retained stays.
    var left = 0
    var boardFloor = 0
    var boardHeld = 0

    var keptForBoard: Int { max(0, boardFloor - boardHeld) }
    var taken: Int { common + left + keptForBoard }
  }
  private var pools = InlineArray<3, Pool>(repeating: Pool())

  init(limits: Limits) {
    set(.topicNodes, limits.topicNodesMax, floor: min(8, limits.topicNodesMax / (3 * limits.sessionsMax)))
    set(.topicNameCells, limits.topicNameCellsMax, floor: min(1, limits.topicNameCellsMax / (2 * limits.sessionsMax)))
    set(.sharedGroups, limits.sharedGroupsMax, floor: min(1, limits.sharedGroupsMax / (2 * limits.sessionsMax)))
  }

  private mutating func set(_ pool: JointPool, _ capacity: Int, floor: Int) {
    pools[pool.rawValue].capacity = capacity
    pools[pool.rawValue].floor = floor
  }

  func floor(_ pool: JointPool) -> Int { pools[pool.rawValue].floor }
  func common(_ pool: JointPool) -> Int { pools[pool.rawValue].common }
  /// What the board has brought to it.
  func held(_ pool: JointPool) -> Int { pools[pool.rawValue].boardHeld }
  func owed(_ pool: JointPool) -> Int { pools[pool.rawValue].owed }
  func left(_ pool: JointPool) -> Int { pools[pool.rawValue].left }
  func sure(_ pool: JointPool, by session: Handle<Session>, _ sessions: borrowing SessionStore) -> Int {
    Int(sessions[session].sureUse.counts[pool.rawValue])
  }

  /// The board is sure of so many more than it has.
  mutating func keepForBoard(_ pool: JointPool, _ count: Int) { pools[pool.rawValue].boardFloor += count }

  // MARK: Whether there is room

  /// Whether `count` more may be in common.
  func mayBeCommon(_ pool: JointPool, _ count: Int, by holder: Holder, _ sessions: borrowing SessionStore) -> Bool {
    let pool = pools[pool.rawValue]
    return count == 0 || holder == .board || pool.taken + count + pool.floor * sessions.gauge.capacity <= pool.capacity
  }

  /// Whether the holder's floor has room for `count` more. The board goes before all, and who is assured of its floor before
  /// others.
  /// - Parameter free: how many are free when it has them.
  func isSure(
    _ pool: JointPool, _ count: Int, by holder: Holder, free: Int, _ sessions: borrowing SessionStore
  ) -> Bool {
    guard count > 0 else { return true }
    guard holder != .board, sessions.isLent(holder.session) else { return false }
    let held = sure(pool, by: holder.session, sessions)
    let own = isAssured(pool, holder.session, sessions) ? count : 0
    let pool = pools[pool.rawValue]
    return held + count <= pool.floor && free >= pool.keptForBoard + pool.owed - own
  }

  func isAssured(_ pool: JointPool, _ session: Handle<Session>, _ sessions: borrowing SessionStore) -> Bool {
    sessions[session].sureUse.assured >> UInt8(pool.rawValue) & 1 != 0
  }

  // MARK: What is in use

  mutating func addCommon(_ pool: JointPool, _ count: Int) { pools[pool.rawValue].common += count }

  /// The holder uses `count` more of its floor; less than 0: so many less.
  mutating func change(
    _ pool: JointPool, by count: Int, of holder: Holder, _ sessions: borrowing SessionStore
  ) {
    if holder == .board {
      pools[pool.rawValue].boardHeld += count
    } else if sessions.isLent(holder.session) {
      // 4095 sessions later a handle names another one in the same place.
      let before = sure(pool, by: holder.session, sessions)
      let after = max(0, before + count)
      sessions[holder.session].sureUse.counts[pool.rawValue] = UInt16(after)
      if isAssured(pool, holder.session, sessions) { pools[pool.rawValue].owed -= after - before }
    } else {
      pools[pool.rawValue].left = max(0, pools[pool.rawValue].left + count)
    }
  }

  /// The session's client has come.
  mutating func come(_ session: Handle<Session>, free: FreePlaces, _ sessions: borrowing SessionStore) {
    var index = 0
    while index < pools.count {
      let untaken = pools[index].floor - Int(sessions[session].sureUse.counts[index])
      if free[index] >= pools[index].owed + pools[index].keptForBoard + untaken {
        sessions[session].sureUse.assured |= 1 << UInt8(index)
        pools[index].owed += untaken
      }
      index += 1
    }
  }

  /// The session's client goes.
  mutating func go(_ session: Handle<Session>, _ sessions: borrowing SessionStore) {
    var index = 0
    while index < pools.count {
      if isAssured(JointPool(rawValue: index)!, session, sessions) {
        pools[index].owed -= pools[index].floor - Int(sessions[session].sureUse.counts[index])
      }
      index += 1
    }
    sessions[session].sureUse.assured = 0
  }

  /// The session, whose client has gone, ends: what it leaves behind is nobody's, and its floors are the next one's.
  mutating func end(_ session: Handle<Session>, _ sessions: borrowing SessionStore) {
    var pool = 0
    while pool < pools.count {
      pools[pool].left += Int(sessions[session].sureUse.counts[pool])
      sessions[session].sureUse.counts[pool] = 0
      pool += 1
    }
  }
}
