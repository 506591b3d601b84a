/// What the broker has done in the turn of the loop that is under way, counted in steps: a packet taken, a node of the topic
/// tree visited, a subscription or a retained message looked at, a delivery made. A step takes some ten nanoseconds on a
/// workstation and about a hundred on a small board.
///
/// A turn is bounded in steps, not in bytes: a connection whose input has used them up goes on in the next turn, before
/// anybody else is read; a replay of retained messages goes on when the others have had their turn.
public struct Work: BitwiseCopyable {
  public private(set) var steps = 0

  /// The steps of one turn. A packet that was begun is finished, so a turn may have as many more as one packet takes.
  public static var stepsPerTurn: Int { 20_000 }
  /// The steps that replays to one session may take at a time.
  static var replaySteps: Int { 256 }
  /// The steps counted for a filter in SUBSCRIBE or UNSUBSCRIBE, and for a message that gives way.
  static var filterSteps: Int { 8 }
  static var giveWaySteps: Int { 16 }

  var isOver: Bool { steps >= Work.stepsPerTurn }

  @inline(__always) mutating func did(_ count: Int) { steps &+= count }
  mutating func begin() { steps = 0 }
}
