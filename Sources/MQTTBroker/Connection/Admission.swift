public import Bounded

/// Admission control: whose streams there are, and who may be connected without having said who it is. It looks at streams
/// when they arrive, before anything is read of them. It names them by 32 bits of its caller, of which the low 20 are a
/// place below `connectionsMax` that no other stream has at the same time (`Handle.bits`).
///
/// A stream is *pending* from its arrival to its accepted CONNECT or its end. `pendingConnectionsMax` streams may be pending
/// at a time. Of one address there may be `connectionsPerAddressMax` streams, `pendingPerAddressMax` of them pending. A
/// few places, and one for each serial line, are for streams without an address only. When all places are taken, the
/// stream that has been pending for the longest gives way to a newcomer (`givesWay`). One that stays silent is told of by
/// `popExpired` when `connectSeconds` are over; from its first byte on somebody else keeps that deadline.
///
/// Invariant: the list from `first` to `last` holds the pending streams in the order of their arrival and of their
/// deadlines; those before `firstSilent` have no deadline here. A place whose `stream` is 0 is free.
public struct Admission: ~Copyable {
  public enum Refusal: BitwiseCopyable, Equatable {
    /// All places are taken: of connections, or of those that are pending.
    case full(Limit)
    /// Its address connects too often, or has too many streams.
    case ofAddress(SourceTable.Refusal, isNews: Bool)
  }

  private struct Place: BitwiseCopyable {
    var stream: UInt32
    var source: UInt32  // its address's place in `sources` + 1; 0: local; `unknown`: a proxy's
    // Neighbours in the list, their places + 1; 0: none.
    var previous: UInt32
    var next: UInt32
    var deadline: Instant  // never: it is not silent any more
    var isPending: Bool { deadline.nanoseconds != 0 }

    static var unknown: UInt32 { .max }
    /// The address's place in `sources`.
    var sourceIndex: Int? { source > 0 && source < Place.unknown ? Int(source) - 1 : nil }
  }

  private var sources: SourceTable
  private let places: FixedArray<Place>
  private let connectSeconds: Int64
  private let pendingMax: Int
  private let distantMax: Int
  /// The most streams that may be admitted at a time: all connections but one for each serial line.
  private let admittedMax: Int
  private var admittedCount = 0
  public private(set) var pendingCount = 0
  /// Streams that have an address.
  public private(set) var distantCount = 0
  // Ends of the list of pending streams, as places + 1; 0: it is empty.
  private var first: UInt32 = 0
  private var last: UInt32 = 0
  private var firstSilent: UInt32 = 0
  private var latestDeadline = Instant(nanoseconds: 0)

  /// - Parameter serialCount: serial lines, whose streams are not admitted here.
  public init(_ limits: Limits, serialCount: Int = 0, in reservation: inout Reservation) {
    sources = SourceTable(
      capacity: limits.connectionsMax + 2 * limits.pendingConnectionsMax, connectsPerSecond: limits.connectsPerSecond,
      burst: limits.connectBurst, countMax: limits.connectionsPerAddressMax, pendingMax: limits.pendingPerAddressMax,
      name: "source addresses", in: &reservation)
    places = FixedArray(count: limits.connectionsMax, name: "admitted connections", in: &reservation)
    connectSeconds = Int64(limits.connectSeconds)
    pendingMax = limits.pendingConnectionsMax
    admittedMax = max(0, limits.connectionsMax - serialCount)
    distantMax = max(0, admittedMax - limits.connectionsKeptForLocal)
  }

  // MARK: Arrival

  /// Lets a stream from `source` in, unless there are too many. `open` makes the stream and answers its 32 bits; nil
  /// where that fails, which is a refusal, too.
  /// - Parameter isProxy: the address is that of a proxy and not limited; `setSource` says who its client is.
  @_optimize(size) public mutating func admit(
    from source: SourceAddress, isProxy: Bool = false, at now: Instant, open: () -> UInt32?
  ) -> Refusal? {
    var sourcePlace: UInt32 = 0
    guard admittedCount < admittedMax else { return .full(.connections) }
    if !source.isLocal {
      guard distantCount < distantMax else { return .full(.connections) }
      guard pendingCount < pendingMax else { return .full(.pendingConnections) }
      if isProxy {
        sourcePlace = Place.unknown
      } else {
        switch sources.admit(source, at: now) {
        case .admitted(let found): sourcePlace = UInt32(found + 1)
        case .refused(let refusal, let isNews): return .ofAddress(refusal, isNews: isNews)
        }
      }
    }
    guard pendingCount < pendingMax else { return .full(.pendingConnections) }
    guard let stream = open() else {
      if sourcePlace > 0, sourcePlace < Place.unknown {
        sources.leave(Int(sourcePlace) - 1)
        sources.end(Int(sourcePlace) - 1)
      }
      return .full(.connections)
    }
    if sourcePlace > 0 { distantCount += 1 }
    admittedCount += 1
    append(stream, sourcePlace, now.adding(seconds: connectSeconds))
    return nil
  }

  /// The stream that must go before one from `source` can be let in, and the limit that wants it: the one that has been
  /// pending for the longest, of those whose place would do. nil: no place is missing, nobody pending has one that
  /// would do, or the address may have no further stream anyway.
  /// - Parameters:
  ///   - isProxy: as for `admit`.
  ///   - hasPlace: whether there is a place for another stream.
  public func givesWay(
    to source: SourceAddress, isProxy: Bool = false, hasPlace: Bool, at now: Instant
  ) -> (stream: UInt32, limit: Limit)? {
    let isKeptFrom = !source.isLocal && distantCount >= distantMax
    let isFull = isKeptFrom || !hasPlace || admittedCount >= admittedMax
    guard isFull || pendingCount >= pendingMax, isProxy || source.isLocal || sources.admits(source, at: now) else {
      return nil
    }
    var index = first
    while index > 0 {
      let place = places[Int(index) - 1]
      if !isKeptFrom || place.source > 0 { return (place.stream, isFull ? .connections : .pendingConnections) }
      index = place.next
    }
    return nil
  }

  /// Counts a pending stream of a proxy among those of `source`, who the proxy says is its client. A refusal leaves it as
  /// it is, to be closed.
  @_optimize(size) public mutating func setSource(
    _ source: SourceAddress, of stream: UInt32, at now: Instant
  ) -> Refusal? {
    guard !source.isLocal, let index = index(of: stream), places[index].sourceIndex == nil else { return nil }
    precondition(places[index].isPending)
    let isNewcomer = places[index].source == 0  // of a proxy without an address
    guard !isNewcomer || distantCount < distantMax else { return .full(.connections) }
    switch sources.admit(source, at: now) {
    case .admitted(let found): places[index].source = UInt32(found + 1)
    case .refused(let refusal, let isNews): return .ofAddress(refusal, isNews: isNews)
    }
    if isNewcomer { distantCount += 1 }
    return nil
  }

  // MARK: Until CONNECT

  /// The stream has sent its first byte. Its deadline, which the caller keeps from here on; never for one that is not
  /// pending.
  public mutating func heard(_ stream: UInt32) -> Instant {
    guard let index = index(of: stream), places[index].isPending else { return .never }
    return silenceEnds(index)
  }

  /// The stream is pending no more, if it was: its CONNECT has been accepted.
  public mutating func leave(_ stream: UInt32) {
    guard let index = index(of: stream), places[index].isPending else { return }
    _ = silenceEnds(index)
    let place = places[index]
    if place.previous > 0 { places[Int(place.previous) - 1].next = place.next } else { first = place.next }
    if place.next > 0 { places[Int(place.next) - 1].previous = place.previous } else { last = place.previous }
    places[index].deadline = Instant(nanoseconds: 0)
    pendingCount -= 1
    if let source = place.sourceIndex { sources.leave(source) }
  }

  /// The stream is gone. One that was not admitted here is nobody's.
  public mutating func end(_ stream: UInt32) {
    guard let index = index(of: stream) else { return }
    leave(stream)
    if let source = places[index].sourceIndex { sources.end(source) }
    if places[index].source > 0 { distantCount -= 1 }
    places[index].stream = 0
    admittedCount -= 1
  }

  /// When a stream has been silent for too long.
  public var nextDeadline: Instant { firstSilent > 0 ? places[Int(firstSilent) - 1].deadline : .never }

  /// A stream that has been silent for `connectSeconds`; each once. It is pending until `leave`.
  public mutating func popExpired(at now: Instant) -> UInt32? {
    guard nextDeadline <= now else { return nil }
    let index = Int(firstSilent) - 1
    _ = silenceEnds(index)
    return places[index].stream
  }

  /// Streams that have an address, and those of them that are pending.
  public var countsOfAddresses: (all: Int, pending: Int) { sources.counts }

  // MARK: The list

  private func index(of stream: UInt32) -> Int? {
    let index = Int(stream & 0xF_FFFF)
    return index < places.count && places[index].stream == stream ? index : nil
  }

  /// A stream that arrives in the course of a turn may have an earlier clock than one before it.
  private mutating func append(_ stream: UInt32, _ source: UInt32, _ deadline: Instant) {
    let index = Int(stream & 0xF_FFFF)
    precondition(places[index].stream == 0)
    latestDeadline = max(latestDeadline, deadline)
    places[index] = Place(stream: stream, source: source, previous: last, next: 0, deadline: latestDeadline)
    if last > 0 { places[Int(last) - 1].next = UInt32(index + 1) } else { first = UInt32(index + 1) }
    last = UInt32(index + 1)
    if firstSilent == 0 { firstSilent = last }
    pendingCount += 1
  }

  /// Answers the deadline that it had.
  private mutating func silenceEnds(_ index: Int) -> Instant {
    let deadline = places[index].deadline
    places[index].deadline = .never
    guard firstSilent == UInt32(index + 1) else { return deadline }
    while firstSilent > 0, places[Int(firstSilent) - 1].deadline == .never {
      firstSilent = places[Int(firstSilent) - 1].next
    }
    return deadline
  }
}
