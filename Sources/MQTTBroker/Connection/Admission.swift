public import Bounded

/// Admission control: who may be connected without having said who it is. It looks at streams when they arrive, before
/// anything is read of them, and names them by 32 bits of its caller.
///
/// A stream is *pending* from its arrival to its accepted CONNECT or its end. `pendingConnectionsMax` streams may be pending
/// at a time, and of one address `pendingPerAddressMax`. One that stays silent is told of by `popExpired` when
/// `connectSeconds` are over; from its first byte on somebody else keeps that deadline.
///
/// Invariant: the rows before `pendingCount` are the pending streams, each once; `nextDeadline` is the earliest of theirs.
public struct Admission: ~Copyable {
  public enum Refusal: BitwiseCopyable, Equatable {
    /// All places are taken: of connections, or of those that are pending.
    case full(Limit)
    /// Its address connects too often.
    case tooFast(isNews: Bool)
    /// Its address has too many pending streams.
    case tooManyPending(isNews: Bool)
  }

  private struct Row: BitwiseCopyable {
    var stream: UInt32
    var source: UInt32  // its address's place in `sources` + 1; 0: local
    var deadline: Instant  // never: it is not silent any more
  }

  private var sources: SourceTable
  private let rows: FixedArray<Row>
  private let connectSeconds: Int64
  public private(set) var pendingCount = 0
  /// When a stream has been silent for too long.
  public private(set) var nextDeadline = Instant.never

  public init(_ limits: Limits, in reservation: inout Reservation) {
    sources = SourceTable(
      capacity: 4 * limits.pendingConnectionsMax, connectsPerSecond: limits.connectsPerSecond,
      burst: limits.connectBurst, pendingMax: limits.pendingPerAddressMax, name: "source addresses", in: &reservation)
    rows = FixedArray(count: limits.pendingConnectionsMax, name: "pending connections", in: &reservation)
    connectSeconds = Int64(limits.connectSeconds)
  }

  /// Lets a stream from `source` in, unless there are too many. `open` makes the stream and answers its 32 bits; nil
  /// where that fails, which is a refusal, too.
  public mutating func admit(
    from source: SourceAddress, at now: Instant, open: () -> UInt32?
  ) -> Refusal? {
    guard pendingCount < rows.count else { return .full(.pendingConnections) }
    var place: UInt32 = 0
    if !source.isLocal {
      switch sources.admit(source, at: now) {
      case .admitted(let found): place = UInt32(found + 1)
      case .tooFast(let isNews): return .tooFast(isNews: isNews)
      case .tooManyPending(let isNews): return .tooManyPending(isNews: isNews)
      }
    }
    guard let stream = open() else {
      if place > 0 { sources.leave(Int(place) - 1) }
      return .full(.connections)
    }
    let deadline = now.adding(seconds: connectSeconds)
    rows[pendingCount] = Row(stream: stream, source: place, deadline: deadline)
    pendingCount += 1
    nextDeadline = min(nextDeadline, deadline)
    return nil
  }

  /// The stream has sent its first byte. Its deadline, which the caller keeps from here on; never for one that is not
  /// pending.
  public mutating func heard(_ stream: UInt32) -> Instant {
    guard let index = index(of: stream) else { return .never }
    let deadline = rows[index].deadline
    rows[index].deadline = .never
    findNextDeadline(without: deadline)
    return deadline
  }

  /// The stream is pending no more, if it was: its CONNECT has been accepted, or it has ended.
  public mutating func leave(_ stream: UInt32) {
    guard let index = index(of: stream) else { return }
    let row = rows[index]
    if row.source > 0 { sources.leave(Int(row.source) - 1) }
    pendingCount -= 1
    rows[index] = rows[pendingCount]
    findNextDeadline(without: row.deadline)
  }

  /// A stream that has been silent for `connectSeconds`; each once. It is pending until `leave`.
  public mutating func popExpired(at now: Instant) -> UInt32? {
    guard nextDeadline <= now else { return nil }
    var index = 0
    while rows[index].deadline > now { index += 1 }
    let deadline = rows[index].deadline
    rows[index].deadline = .never
    findNextDeadline(without: deadline)
    return rows[index].stream
  }

  /// Some pending stream, for a walk that ends each of them.
  public var first: UInt32? { pendingCount > 0 ? rows[0].stream : nil }

  /// Of all addresses but this machine's.
  public var distantCount: Int { sources.pendingCount }

  private func index(of stream: UInt32) -> Int? {
    var index = 0
    while index < pendingCount {
      if rows[index].stream == stream { return index }
      index += 1
    }
    return nil
  }

  private mutating func findNextDeadline(without deadline: Instant) {
    guard deadline == nextDeadline else { return }
    nextDeadline = .never
    var index = 0
    while index < pendingCount {
      nextDeadline = min(nextDeadline, rows[index].deadline)
      index += 1
    }
  }
}
