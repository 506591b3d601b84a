/// What the broker has done in the turn of the loop that is under way, counted in steps: a packet taken, a node of the topic
/// tree visited, a subscription or a retained message looked at or removed, a delivery made or given up. A step takes some ten
/// nanoseconds on a workstation and about a hundred on a small board.
///
/// A turn is bounded in steps, not in bytes: a connection whose input has used them up goes on in the next turn, before
/// anybody else is read; a replay of retained messages goes on when the others have had their turn; what is due later than
/// the steps suffice for stays due. Deadlines and replays have some steps of each turn even if input has used up all.
public struct Work: BitwiseCopyable {
  private var left = Work.stepsPerTurn
  private var granted = Work.stepsPerTurn

  public var steps: Int { granted &- left }

  /// The steps of one turn. A packet that was begun is finished, so a turn may have as many more as one packet takes.
  public static var stepsPerTurn: Int { 20_000 }
  /// The steps that deadlines may take, whatever was done before them.
  static var deadlineSteps: Int { 2048 }
  /// The steps that replays to one session may take at a time.
  static var replaySteps: Int { 256 }
  /// The steps counted for a filter in SUBSCRIBE or UNSUBSCRIBE, a subscription that ends with its session, a deadline and a
  /// topic of $SYS; and for a message that gives way.
  static var filterSteps: Int { 8 }
  static var giveWaySteps: Int { 16 }

  var isOver: Bool { left <= 0 }

  @inline(__always) mutating func did(_ count: Int) { left &-= count }
  mutating func begin() { self = Work() }

  /// Whatever was done in this turn, so many steps more may follow.
  mutating func allow(_ count: Int) {
    guard left < count else { return }
    granted &+= count &- left
    left = count
  }
}
