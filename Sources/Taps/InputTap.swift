public import Bounded

/// One edge as the kernel reports it. `isRising` is in logical terms: to active, whichever level that is.
public struct LineEdge: BitwiseCopyable {
  /// Nanoseconds since 1970 UTC, made from the kernel's time of the edge.
  public var wallNanoseconds: Int64
  public var isRising: Bool
  /// The line's own count from its request on: 1, 2, ... and around after 2^32 - 1; nil where the kernel does
  /// not count (libgpiod 1.6).
  public var sequence: UInt32?

  public init(wallNanoseconds: Int64, isRising: Bool, sequence: UInt32?) {
    self.wallNanoseconds = wallNanoseconds
    self.isRising = isRising
    self.sequence = sequence
  }
}

/// An input line and its topics: edges in, states out.
///
/// After each batch of edges the owner looks at `needsResync`, reads the level if it is set, and tells it by
/// `levelRead`. An edge that comes after that may be older than the level; it is then no loss.
public struct InputTap: BitwiseCopyable {
  public enum State: BitwiseCopyable, Equatable {
    /// The level is not known yet.
    case waiting
    case known(active: Bool)
    case faulted
  }
  public private(set) var state = State.waiting
  /// The level is to be read: nothing is known yet, an edge was missed, or edges are not counted.
  public private(set) var needsResync = true
  /// Edges missed since start, as far as the kernel's counts and equal edges tell.
  public private(set) var lostCount: UInt64 = 0
  /// The line's place among all lines: outputs first, then inputs.
  public let lineIndex: Int
  public let stateTopic: Bytes
  public var faultTopic: Bytes { fault.topic }
  private var fault: FaultReport
  private var lastSequence: UInt32 = 0
  /// No edge came since the level was read.
  private var levelIsFromRead = false
  private var published: Bool?
  private var publishedLostCount: UInt64 = 0

  init(lineIndex: Int, stateTopic: Bytes, fault: FaultReport) {
    self.lineIndex = lineIndex
    self.stateTopic = stateTopic
    self.fault = fault
  }

  /// Why the line is faulted; empty when it is not.
  public var faultText: Bytes { state == .faulted ? fault.text.bytes : .empty }
  public var isActive: Bool? {
    if case .known(let active) = state { return active }
    return nil
  }

  public mutating func edgeReceived(_ edge: LineEdge) -> TapUpdate {
    var missed: UInt32 = 0
    switch state {
    case .faulted:  // left over from the request that ended
      lostCount &+= 1
      return .none
    case .waiting:
      missed = countMissed(edge.sequence)
    case .known(let active):
      missed = countMissed(edge.sequence)
      // Two equal edges in a row: the one between was missed, unless the level was read in between.
      if active == edge.isRising, missed == 0, !levelIsFromRead { missed = 1 }
    }
    lostCount &+= UInt64(missed)
    needsResync = needsResync || missed > 0 || edge.sequence == nil
    levelIsFromRead = false
    state = .known(active: edge.isRising)
    return update(wallNanoseconds: edge.wallNanoseconds, sequence: edge.sequence, andLost: false)
  }

  /// The level as it is now, after a resync or at start. A loss is published now if no edge has done so.
  public mutating func levelRead(active: Bool, wallNanoseconds: Int64) -> TapUpdate {
    needsResync = false
    levelIsFromRead = true
    state = .known(active: active)
    return update(wallNanoseconds: wallNanoseconds, sequence: nil, andLost: true)
  }

  /// The line cannot be requested or read; `reason` is for people. The last state stays on the state topic.
  public mutating func lineFailed(_ reason: Bytes, wallNanoseconds: Int64) -> TapUpdate {
    state = .faulted
    needsResync = false
    return TapUpdate(fault: fault.raise(reason, wallNanoseconds: wallNanoseconds))
  }

  /// The line was requested, at start or after a fault, and has this level. Its edges are counted from 1.
  public mutating func lineHealed(active: Bool, wallNanoseconds: Int64) -> TapUpdate {
    lastSequence = 0
    return levelRead(active: active, wallNanoseconds: wallNanoseconds)
  }

  /// Edges between the last one and this one. A count that goes back, or stands still, is a loss of one: more
  /// is not known.
  private mutating func countMissed(_ sequence: UInt32?) -> UInt32 {
    guard let sequence else { return 0 }
    let distance = sequence &- lastSequence
    lastSequence = sequence
    return distance >= 1 && distance < 1 << 31 ? distance - 1 : 1
  }

  private mutating func update(wallNanoseconds: Int64, sequence: UInt32?, andLost: Bool) -> TapUpdate {
    let cleared = fault.clear(wallNanoseconds: wallNanoseconds)
    guard case .known(let active) = state else { return TapUpdate(fault: cleared) }
    guard published != active || cleared != nil || andLost && publishedLostCount != lostCount else { return .none }
    published = active
    publishedLostCount = lostCount
    return TapUpdate(
      state: Publication(
        topic: stateTopic, payload: StateText.bytes(active: active), wallNanoseconds: wallNanoseconds,
        sequence: sequence, lostCount: lostCount),
      fault: cleared)
  }
}
