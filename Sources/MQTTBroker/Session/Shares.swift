import Bounded

/// Pools whose entries nobody is made to give back, and which have one holder each: a subscription or a retained message is
/// its client's until the client lets go of it.
enum SharedPool: Int {
  case subscriptions, retained, retainedBlocks
}

/// Who holds an entry of such a pool: a session, the board, or nobody any more. Four bytes.
struct Holder: BitwiseCopyable, Equatable {
  private let bits: UInt32

  /// Null: nobody.
  static func session(_ session: Handle<Session>) -> Holder { Holder(bits: session.bits) }
  /// No handle has the generation 0.
  static var board: Holder { Holder(bits: 1) }
  static var nobody: Holder { Holder(bits: 0) }

  private init(bits: UInt32) { self.bits = bits }

  /// Null: the holder is no session.
  var session: Handle<Session> { self == .board ? .null : Handle(bits: bits) }
}

/// What a session holds of these pools.
struct Holdings: BitwiseCopyable {
  fileprivate var counts = InlineArray<3, UInt32>(repeating: 0)
}

/// In each of these pools every session is sure of a floor, and the board of room for its own topics: others cannot take
/// that, however many they are. What the floors leave is for whoever comes first. So a client that asks for no more than
/// its floor is never refused for what others hold, and nobody can take a whole pool.
///
/// Invariant: a pool's `kept` is the sum of what all places for sessions, lent or not, and the board have not taken of
/// their floors.
struct Shares: BitwiseCopyable {
  private struct Pool: BitwiseCopyable {
    var floor = 0
    var kept = 0
    var boardFloor = 0
    var boardHeld = 0
  }
  private var pools = InlineArray<3, Pool>(repeating: Pool())
  /// Of the pools whose entries have many users.
  var joint: JointShares
  /// Messages that are left for what the board has to say, and one more, as a message is stored before the one that it
  /// replaces goes. Every message that is stored asks.
  private(set) var messagesKeptForBoard = 0
  private let messagesKeptMost: Int

  init(limits: Limits) {
    messagesKeptMost = limits.messagesMax / 4
    joint = JointShares(limits: limits)
    setFloor(.subscriptions, 4, of: limits.subscriptionsMax, limits)
    setFloor(.retained, 2, of: limits.retainedMax, limits)
    setFloor(.retainedBlocks, 4, of: limits.retainedBlocksMax, limits)
  }

  /// All floors together are half of the pool at most.
  private mutating func setFloor(_ pool: SharedPool, _ floor: Int, of capacity: Int, _ limits: Limits) {
    pools[pool.rawValue].floor = min(floor, capacity / (2 * limits.sessionsMax))
    pools[pool.rawValue].kept = pools[pool.rawValue].floor * limits.sessionsMax
  }

  /// What each session is sure of.
  func floor(_ pool: SharedPool) -> Int { pools[pool.rawValue].floor }
  /// What is kept for floors that are not taken.
  func kept(_ pool: SharedPool) -> Int { pools[pool.rawValue].kept }
  /// What is kept for the board.
  func keptForBoard(_ pool: SharedPool) -> Int {
    max(0, pools[pool.rawValue].boardFloor - pools[pool.rawValue].boardHeld)
  }

  func held(_ pool: SharedPool, by session: Handle<Session>, _ sessions: borrowing SessionStore) -> Int {
    Int(sessions[session].holdings.counts[pool.rawValue])
  }

  /// The board is sure of so many more.
  mutating func keepForBoard(_ pool: SharedPool, _ count: Int) {
    let before = keptForBoard(pool)
    pools[pool.rawValue].boardFloor += count
    pools[pool.rawValue].kept += keptForBoard(pool) - before
    countMessagesForBoard()
  }

  private mutating func countMessagesForBoard() {
    messagesKeptForBoard = min(messagesKeptMost, keptForBoard(.retained) + 1)
  }

  /// Whether a holder may take `count` more of a pool in which `free` are free. What the others have not taken of their
  /// floors stays free; a session's own floor goes before those of sessions that are away or not there yet, and the board
  /// before all.
  /// - Parameters:
  ///   - free: with those that are replaced.
  ///   - replaced: how many are given back for these, and by whom.
  func mayTake(
    _ pool: SharedPool, _ count: Int, by holder: Holder, free: Int, replaced: Int = 0, of other: Holder = .nobody,
    _ sessions: borrowing SessionStore
  ) -> Bool {
    guard holder != .board else { return free >= count }
    let returned = untaken(pool, by: other, less: replaced, sessions) - untaken(pool, by: other, sessions)
    let ofFloor = min(count, untaken(pool, by: holder, less: other == holder ? replaced : 0, sessions))
    let newcomers = count == ofFloor ? floor(pool) * (sessions.gauge.capacity - sessions.connectedCount) : 0
    return free - count >= max(0, kept(pool) + returned - ofFloor - newcomers)
  }

  /// What a holder has not taken of its floor; of a session: if it held so much less.
  private func untaken(
    _ pool: SharedPool, by holder: Holder, less: Int = 0, _ sessions: borrowing SessionStore
  ) -> Int {
    if holder == .board { return keptForBoard(pool) }
    guard sessions.isLent(holder.session) else { return 0 }
    return max(0, floor(pool) - max(0, held(pool, by: holder.session, sessions) - less))
  }

  /// The holder has taken them.
  mutating func take(_ pool: SharedPool, _ count: Int, by holder: Holder, _ sessions: borrowing SessionStore) {
    change(pool, by: count, of: holder, sessions)
  }

  /// The holder has let go of them.
  mutating func giveBack(_ pool: SharedPool, _ count: Int, by holder: Holder, _ sessions: borrowing SessionStore) {
    change(pool, by: -count, of: holder, sessions)
  }

  private mutating func change(
    _ pool: SharedPool, by count: Int, of holder: Holder, _ sessions: borrowing SessionStore
  ) {
    let before = untaken(pool, by: holder, sessions)
    if holder == .board {
      pools[pool.rawValue].boardHeld += count
      countMessagesForBoard()
    } else if sessions.isLent(holder.session) {
      // 4095 sessions later a handle names another one in the same place.
      let after = max(0, held(pool, by: holder.session, sessions) + count)
      sessions[holder.session].holdings.counts[pool.rawValue] = UInt32(after)
    }
    pools[pool.rawValue].kept += untaken(pool, by: holder, sessions) - before
  }

  /// The session ends: what it leaves behind is nobody's, and its floors are the next one's.
  mutating func end(_ session: Handle<Session>, _ sessions: borrowing SessionStore) {
    var pool = 0
    while pool < pools.count {
      pools[pool].kept += min(pools[pool].floor, Int(sessions[session].holdings.counts[pool]))
      sessions[session].holdings.counts[pool] = 0
      pool += 1
    }
    joint.end(session, sessions)
  }
}
