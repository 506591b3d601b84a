public import Bounded
import CLinux

/// Every byte stream of a loop, whatever carries it: descriptors, readiness, back-pressure, and the listeners where new
/// ones arrive. It knows no protocol. An owner's 32 bits stand beside each stream and say who speaks on it.
///
/// A turn of the loop gives each event of its poller to `take`, then calls `next` until it answers nil. What `next` answers
/// has happened already: bytes have been read, a connection has been accepted. So the kernel's completions would fit here in
/// place of its readiness.
///
/// Descriptors are polled edge-triggered, both directions once, so nothing but `add` and `close` asks the poller for
/// anything. Each stream is read once a turn, `readsMax` streams a turn; those left over are first in the next.
///
/// Invariant: a stream that may have bytes and is not held is in `pending`, or is the one whose bytes were handed out
/// last.
public struct Streams: ~Copyable {
  /// Pieces of one write, far below IOV_MAX (1024).
  public static var partsMax: Int { 72 }
  /// Reads in one turn.
  public static var readsMax: Int { 64 }
  /// Connections that a listener takes in one turn, so that a storm of them does not hold up who is connected. They are
  /// read in the turn after, behind as many new ones: what comes with a connection is known of the 8 before.
  public static var acceptsMax: Int { 8 }

  private let poller: Poller?
  /// The upper half of the poller's tokens.
  private let streamTag: UInt64
  private var streams: Slab<Stream>
  /// Places of streams to be read this turn or the next.
  private var pending: IndexQueue
  private let readBuffer: Scratch
  private var listeners: ListenerPlaces
  /// Reads that this turn may still do; negative before its first read.
  private var readsLeft = -1
  /// The stream whose bytes were handed out last.
  private var reading = StreamID.null
  /// Bytes that had come by this time have been read: of each stream at least the first. Deadlines by which a peer must
  /// have been heard are judged by it, not by the clock: after a pause of the process, or with more to read than a turn
  /// does, bytes that came in time are still in the kernel.
  public private(set) var heardUntil = Instant(nanoseconds: 0)
  private var round = HearingRound()
  /// The connection that `next` told of as arrived, until its owner takes it.
  private var arrived: (fd: Int32, peer: PeerAddress)?

  /// - Parameters:
  ///   - capacity: streams at one time.
  ///   - readBytes: bytes read from one stream in one turn.
  ///   - poller: the loop's, which has descriptors of other kinds, too; nil with a reservation that only counts.
  ///   - streamTag: the upper half of a stream's token in `poller`.
  ///   - listenerTag: the upper half of a listener's token, whose lower half is the listener's place.
  public init(
    capacity: Int, readBytes: Int, poller: Poller?, streamTag: UInt32, listenerTag: UInt32,
    in reservation: inout Reservation
  ) {
    self.poller = poller
    self.streamTag = UInt64(streamTag) << 32
    listeners = ListenerPlaces(poller: poller, tag: UInt64(listenerTag) << 32)
    streams = Slab(capacity: capacity, name: "streams", in: &reservation)
    pending = IndexQueue(count: capacity, name: "readable streams", in: &reservation)
    readBuffer = Scratch(byteCount: readBytes, name: "read buffer", in: &reservation)
  }

  // MARK: Streams

  /// Places, how many of them are taken, and connections for which there was none.
  public var gauge: Gauge { streams.gauge }
  public var hasRoom: Bool { streams.hasRoom }
  public func isOpen(_ id: StreamID) -> Bool { streams.isLent(id) }
  /// The open stream in this place, of 0..<capacity.
  public func stream(at place: Int) -> StreamID? { streams.handle(at: place) }

  /// Serves a connected descriptor from here on: it becomes nonblocking, and `close` closes it.
  /// Without a place, counted as refused, or where it cannot be polled, the answer is nil and the descriptor is still the
  /// caller's.
  public mutating func add(_ fd: Int32, _ layer: Layer, owner: UInt32, from peer: PeerAddress) -> StreamID? {
    guard clinux_set_nonblocking(fd) == 0 else { return nil }
    return poll(fd, layer, owner, peer)
  }

  /// Closes a descriptor that `add` did not take.
  public static func close(unserved fd: Int32) { Transport.close(fd) }

  /// Where the connection comes from that `next` has just told of.
  public var arrivedPeer: PeerAddress { arrived!.peer }

  /// Takes in the connection that `next` has just told of. nil, and it is closed, where there is no place, counted as
  /// refused, or where it cannot be polled.
  public mutating func admit(_ layer: Layer, owner: UInt32) -> StreamID? {
    let (fd, peer) = arrived!
    arrived = nil
    guard let id = poll(fd, layer, owner, peer) else {
      Transport.close(fd)
      return nil
    }
    return id
  }

  private mutating func poll(_ fd: Int32, _ layer: Layer, _ owner: UInt32, _ peer: PeerAddress) -> StreamID? {
    let flags: Stream.Flags =
      switch layer {
      case .plain: .writable
      case .terminal: [.writable, .terminal]
      case .records: [.writable, .records]
      }
    guard let id = streams.lend(Stream(fd: fd, owner: owner, peer: peer, flags: flags)) else { return nil }
    do throws(LinuxError) {
      try poller!.add(fd, token: streamTag | UInt64(id.bits), interest: [.read, .write, .edgeTriggered])
    } catch {
      streams.giveBack(id)
      return nil
    }
    return id
  }

  /// Closes a stream's descriptor; its place is free again.
  public mutating func close(_ id: StreamID) {
    let fd = streams[id].fd
    try? poller!.remove(fd)
    // close(2) of a terminal waits until what was written is sent: half a minute where nobody lets it be sent.
    if streams[id].flags.contains(.terminal) { _ = clinux_terminal_discard(fd) }
    Transport.close(fd)
    streams.giveBack(id)
  }

  @inline(__always) public func owner(of id: StreamID) -> UInt32 { streams[id].owner }
  public mutating func setOwner(_ owner: UInt32, of id: StreamID) { streams[id].owner = owner }

  /// Where a stream comes from; of one that is closed nil once its place is taken again.
  public func peer(of id: StreamID) -> PeerAddress? { streams.latest(id)?.peer }

  /// Where a connection came in: this machine's address and port; nil where it is no TCP connection.
  public func localAddress(of id: StreamID) -> PeerAddress? {
    var address = clinux_address()
    guard streams.isLent(id), clinux_local_address(streams[id].fd, &address) >= 0,
      address.family == Int32(CLINUX_IPV4) || address.family == Int32(CLINUX_IPV6)
    else { return nil }
    return PeerAddress(address, uid: nil)
  }

  /// Another address stands for the stream's own from here on: that of the client for which a proxy connects.
  public mutating func setPeer(_ peer: PeerAddress, of id: StreamID) { streams[id].peer = peer }

  // MARK: Reading

  /// The bytes that `next` has just handed out, to be changed where they lie.
  public func mutable(_ bytes: Bytes) -> MutableBytes {
    let buffer = readBuffer.buffer
    precondition(bytes.buffer.baseAddress == UnsafeRawPointer(buffer.baseAddress!))
    return MutableBytes(UnsafeMutableRawBufferPointer(rebasing: buffer[..<bytes.count]))
  }

  /// Whether something is left to be read by the next turn.
  public var hasReadable: Bool { !pending.isEmpty }

  /// Whether the kernel may have bytes of this stream that were not read.
  public func mayHaveBytes(_ id: StreamID) -> Bool { streams[id].flags.contains(.readable) }

  /// Back-pressure: a stream that is held is not read; its bytes wait in the kernel, and its peer with them.
  @inline(__always) public mutating func hold(_ id: StreamID, _ isHeld: Bool) {
    let flags = streams[id].flags
    guard flags.contains(.held) != isHeld else { return }
    if isHeld {
      streams[id].flags.insert(.held)
    } else {
      streams[id].flags.remove(.held)
      if flags.contains(.readable) { pending.push(id.index) }
    }
  }

  public func isHeld(_ id: StreamID) -> Bool { streams[id].flags.contains(.held) }

  /// Takes note of an event that the poller tells of a stream or a listener. A stream to which the kernel takes bytes again,
  /// or that has failed, is the answer: it is to be written to at once. An event of a stream that has been closed since is
  /// none.
  @_optimize(speed) public mutating func take(_ event: Poller.Event) -> StreamID? {
    let low = UInt32(truncatingIfNeeded: event.token)
    guard event.token & ~0xFFFF_FFFF == streamTag else {
      listeners.note(Int(low))
      return nil
    }
    let id = StreamID(bits: low)
    guard streams.isLent(id) else { return nil }
    if event.readable {
      streams[id].flags.insert(event.ending ? [.readable, .ending] : .readable)
      pending.push(id.index)
    }
    guard event.writable || event.hangup else { return nil }
    streams[id].flags.insert(.writable)
    return id
  }

  /// What has happened next: arrivals first, then bytes. nil ends the turn.
  @_optimize(speed) public mutating func next(at now: Instant) -> StreamEvent? {
    if let (fd, _) = arrived {
      Transport.close(fd)
      arrived = nil
    }
    if !reading.isNull {
      if streams.isLent(reading), streams[reading].flags.contains(.readable) { pending.push(reading.index) }
      reading = .null
    }
    switch listeners.next(at: now) {
    case .connection(let place, let fd, let peer):
      arrived = (fd, peer)
      return .arrived(listener: place)
    case .paused(let place, let error): return .paused(listener: place, error)
    case nil: break
    }
    if readsLeft < 0 { readsLeft = min(pending.count, Streams.readsMax) }
    while readsLeft > 0, let place = pending.pop() {
      readsLeft -= 1
      round.readsLeft -= 1
      if let id = streams.handle(at: place), let event = read(id) { return event }
    }
    readsLeft = -1
    if let instant = round.end() { heardUntil = instant }
    return nil
  }

  /// The events of a wait have been taken. `before`: a reading of the clock before the wait; what had come by then and was
  /// not told of yet is among its events, or among those of the next waits where it gave as many as it may.
  public mutating func polled(since before: Instant) {
    round.polled(
      since: before, isLast: !poller!.hasMore, descriptorCount: poller!.count, eventsMax: poller!.eventsMax,
      pendingCount: pending.count)
  }

  @inline(__always) private mutating func read(_ id: StreamID) -> StreamEvent? {
    let stream = streams.address(id)
    if stream.pointee.flags.contains(.held) { return nil }
    let buffer = readBuffer.buffer
    let kind: Transport.ReadKind = stream.pointee.flags.contains(.records) ? .peeking : .taking
    switch Transport.read(stream.pointee.fd, into: buffer, kind) {
    case .wouldBlock:
      stream.pointee.flags.remove(.readable)
      return nil
    case .closed, .failed:
      return .ended(id)
    case .bytes(let count):
      if count < buffer.count, stream.pointee.flags.isDisjoint(with: [.ending, .terminal]) {
        stream.pointee.flags.remove(.readable)
      }
      reading = id
      return .bytes(id, Bytes(UnsafeRawBufferPointer(rebasing: buffer[..<count])))
    }
  }

  // MARK: Records

  /// Takes bytes off a stream of records, the first ones that `next` has handed out; these lie where they lay. `false`: the
  /// stream has failed, and is to be closed.
  public mutating func consume(_ id: StreamID, _ byteCount: Int) -> Bool {
    var left = byteCount
    while left > 0 {
      let part = UnsafeMutableRawBufferPointer(rebasing: readBuffer.buffer[byteCount - left..<byteCount])
      guard case .bytes(let count) = Transport.read(streams[id].fd, into: part, .discarding) else { return false }
      left -= count
    }
    return true
  }

  /// The stream is read again, though the kernel may tell of nothing new.
  public mutating func look(_ id: StreamID) {
    streams[id].flags.insert(.readable)
    pending.push(id.index)
  }

  /// Whether the peer has closed its side, and nothing more will come.
  public func isEnding(_ id: StreamID) -> Bool { streams[id].flags.contains(.ending) }

  // MARK: Writing

  /// Whether the kernel may take bytes: nothing said otherwise since the last write.
  @inline(__always) public func isWritable(_ id: StreamID) -> Bool { streams[id].flags.contains(.writable) }

  /// Writes `count` of `parts`, from the place `first` on; how many bytes were taken. Fewer than given: `isWritable` is false until
  /// `take` answers this stream. nil: the stream has failed and is to be closed.
  @_optimize(speed) public mutating func write(
    _ id: StreamID, _ parts: borrowing PartList, from first: Int = 0, count: Int
  ) -> Int? {
    var byteCount = 0
    for index in first..<first + count { byteCount += parts.places[index].count }
    switch Transport.write(streams[id].fd, UnsafeBufferPointer(rebasing: parts.places[first..<first + count])) {
    case .bytes(let written):
      if written < byteCount { streams[id].flags.remove(.writable) }
      return written
    case .wouldBlock:
      streams[id].flags.remove(.writable)
      return 0
    case .closed, .failed:
      return nil
    }
  }

  // MARK: Listeners

  /// Listeners at one time.
  public static var listenersMax: Int { ListenerPlaces.countMax }

  /// Takes connections from a listener from here on. Its place; nil where it cannot be polled, or there are `listenersMax`.
  public mutating func listen(_ listener: Listener) -> Int? {
    guard let place = listeners.firstFree else { return nil }
    return listen(listener, at: place) ? place : nil
  }

  /// As `listen`, in a place that is free. `false`: it cannot be polled, and is still the caller's.
  public mutating func listen(_ listener: Listener, at place: Int) -> Bool { listeners.open(listener, at: place) }

  /// The listener in a place of 0..<listenersMax.
  public func listener(at place: Int) -> Listener? { listeners[place] }

  /// Takes no more connections from a listener. Those that came from it stay. It is the caller's from here on.
  public mutating func stopListening(at place: Int) -> Listener? { listeners.close(place) }

  public var listenerCount: Int { listeners.count }

  /// Takes no more connections from anywhere.
  public mutating func closeListeners() {
    for place in 0..<Streams.listenersMax { listeners.close(place)?.close() }
  }

  /// When `advance` has something to do next.
  public var nextDeadline: Instant { listeners.nextDeadline }

  /// Looks again at listeners whose pause is over.
  public mutating func advance(to now: Instant) { listeners.advance(to: now) }
}

/// One time around all that may have something to read, over as many turns as it takes. It ends when every event has been told
/// of what had come before it began, and each stream that had bytes then has been read once. What has come since waits at the
/// ends of the kernel's list and of the queue of streams, so it does not hold up the end.
private struct HearingRound {
  /// A reading of the clock before the first wait; never: there was none yet.
  private var beganAt = Instant.never
  private var eventCount = 0
  private var isTold = false
  /// Reads until each stream has had its turn; below 0 before all events are told.
  var readsLeft = 0

  mutating func polled(
    since before: Instant, isLast: Bool, descriptorCount: Int, eventsMax: Int, pendingCount: Int
  ) {
    if beganAt == .never { beganAt = before }
    guard !isTold else { return }
    eventCount += eventsMax
    guard isLast || eventCount >= descriptorCount else { return }
    isTold = true
    readsLeft = pendingCount
  }

  /// When the round began, if it is over; the next one begins with the next wait.
  mutating func end() -> Instant? {
    guard isTold, readsLeft <= 0 else { return nil }
    let instant = beganAt
    self = HearingRound()
    return instant
  }
}
