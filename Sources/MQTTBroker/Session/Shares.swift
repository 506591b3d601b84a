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
  /// A bit for each pool in which what it has not taken of its floor is free for nobody else.
  fileprivate var assured: UInt8 = 0
}

/// What is free of each pool, by its raw value.
typealias FreePlaces = InlineArray<3, Int>

/// In each of these pools every session is sure of a floor, and the board of room for its own topics: others cannot take
/// that, however many they are. What the floors leave is for whoever comes first. So a client that asks for no more than
/// its floor is never refused for what others hold, and nobody can take a whole pool.
///
/// What a session leaves behind when it ends is nobody's, while its floor is the next one's. So many that come, take and go
/// may leave less than all floors. Then those of clients that are here come first, of these whoever was here before: a
/// client is assured of its floor when it comes, if there is room for it beside the floors of those who are.
///
/// Invariant: a pool's `kept` is the sum of what all places for sessions, lent or not, and the board have not taken of
/// their floors; its `owed` is that of the sessions that are assured of them, whose clients are here.
struct Shares: BitwiseCopyable {
  private struct Pool: BitwiseCopyable {
    var floor = 0
    var kept = 0
    var owed = 0
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
  /// What is left for those who are assured of it.
  func owed(_ pool: SharedPool) -> Int { pools[pool.rawValue].owed }
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
  /// floors stays free; what is within a session's own floor goes before the floors of those that are not assured of theirs,
  /// and the board before all.
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
    guard count == ofFloor else { return free - count >= max(0, kept(pool) + returned - ofFloor) }
    var owed = owed(pool) + keptForBoard(pool)
    if other == .board || isAssured(pool, other, sessions) { owed += returned }
    if isAssured(pool, holder, sessions) { owed -= ofFloor }
    return free - count >= max(0, owed)
  }

  func isAssured(_ pool: SharedPool, _ holder: Holder, _ sessions: borrowing SessionStore) -> Bool {
    sessions.isLent(holder.session) && sessions[holder.session].holdings.assured >> UInt8(pool.rawValue) & 1 != 0
  }

  /// The session's client has come.
  @_optimize(size) mutating func come(
    _ session: Handle<Session>, free: FreePlaces, inCommon: FreePlaces, _ sessions: borrowing SessionStore
  ) {
    var index = 0
    while index < pools.count {
      let pool = SharedPool(rawValue: index)!
      let untaken = untaken(pool, by: .session(session), sessions)
      if free[index] >= pools[index].owed + keptForBoard(pool) + untaken {
        sessions[session].holdings.assured |= 1 << UInt8(index)
        pools[index].owed += untaken
      }
      index += 1
    }
    joint.come(session, free: inCommon, sessions)
  }

  /// The session's client goes.
  @_optimize(size) mutating func go(_ session: Handle<Session>, _ sessions: borrowing SessionStore) {
    var index = 0
    while index < pools.count {
      let pool = SharedPool(rawValue: index)!
      if isAssured(pool, .session(session), sessions) {
        pools[index].owed -= untaken(pool, by: .session(session), sessions)
      }
      index += 1
    }
    sessions[session].holdings.assured = 0
    joint.go(session, sessions)
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
    let isAssured = isAssured(pool, holder, sessions)
    if holder == .board {
      pools[pool.rawValue].boardHeld += count
      countMessagesForBoard()
    } else if sessions.isLent(holder.session) {
      // 4095 sessions later a handle names another one in the same place.
      let after = max(0, held(pool, by: holder.session, sessions) + count)
      sessions[holder.session].holdings.counts[pool.rawValue] = UInt32(after)
    }
    let change = untaken(pool, by: holder, sessions) - before
    pools[pool.rawValue].kept += change
    if isAssured { pools[pool.rawValue].owed += change }
  }

  /// The session, whose client has gone, ends: what it leaves behind is nobody's, and its floors are the next one's.
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
