import Bounded
import CLinux
import Glibc
import Testing

@testable import LinuxIO

/// Streams over socket pairs: the near ends are theirs, the far ends the tests'.
final class StreamsWorld {
  let poller = try! Poller(eventsMax: 64)
  var streams: Streams
  var now = Instant(milliseconds: 1)
  private let region: UnsafeMutableRawBufferPointer

  enum Seen: Equatable {
    case arrived(Int)
    case paused(Int)
    case bytes(StreamID, String)
    case writable(StreamID)
    case ended(StreamID)
  }

  init(capacity: Int = 8, readBytes: Int = 64) {
    _ = clinux_signal_ignore(Int32(CLINUX_SIGPIPE))
    var plan = Reservation.counting()
    _ = Streams(capacity: capacity, readBytes: readBytes, poller: nil, streamTag: 1, listenerTag: 2, in: &plan)
    region = .allocate(byteCount: plan.byteCount, alignment: Reservation.alignment)
    region.initializeMemory(as: UInt8.self, repeating: 0)
    var reservation = Reservation(region: region)
    streams = Streams(
      capacity: capacity, readBytes: readBytes, poller: poller, streamTag: 1, listenerTag: 2, in: &reservation)
  }

  deinit {
    for place in 0..<streams.gauge.capacity {
      if let id = streams.stream(at: place) { streams.close(id) }
    }
    streams.closeListeners()
    region.deallocate()
    scratch.deallocate()
  }

  /// A stream and the other end of its pair.
  func open(_ layer: Layer = .plain, owner: UInt32 = 0) throws -> (id: StreamID, far: Int32) {
    let (near, far) = try Transport.pair()
    return (try #require(add(near, layer, owner: owner, from: PeerAddress(of: near))), far)
  }

  /// What the poller has to tell now is taken, and what `take` answers.
  @discardableResult func poll() -> [Seen] {
    var seen: [Seen] = []
    let count = poller.wait(timeoutMilliseconds: 0)
    for index in 0..<count {
      if let id = streams.take(poller.event(index)) { seen.append(.writable(id)) }
    }
    return seen
  }

  /// `next` until it answers nil. What arrives is admitted for owner 9 if `admits` says so; what has ended is closed.
  func drain(admits: Bool = true) -> [Seen] {
    var seen: [Seen] = []
    while let event = streams.next(at: now) {
      seen.append(look(event))
      if case .arrived = event, admits { _ = streams.admit(.plain, owner: 9) }
      if case .ended(let id) = event { streams.close(id) }
    }
    return seen
  }

  func turn(admits: Bool = true) -> [Seen] { poll() + drain(admits: admits) }

  private func look(_ event: StreamEvent) -> Seen {
    switch event {
    case .arrived(let listener): .arrived(listener)
    case .paused(let listener, _): .paused(listener)
    case .bytes(let id, let bytes): .bytes(id, text(bytes))
    case .ended(let id): .ended(id)
    }
  }

  var gauge: Gauge { streams.gauge }
  var hasRoom: Bool { streams.hasRoom }
  var hasReadable: Bool { streams.hasReadable }
  var nextDeadline: Instant { streams.nextDeadline }
  var listenerCount: Int { streams.listenerCount }
  func next() -> Seen? { streams.next(at: now).map(look) }
  func add(_ fd: Int32, _ layer: Layer, owner: UInt32, from peer: PeerAddress) -> StreamID? {
    streams.add(fd, layer, owner: owner, from: peer)
  }
  func listen(_ listener: Listener) -> Int? { streams.listen(listener) }
  func listen(_ listener: Listener, at place: Int) -> Bool { streams.listen(listener, at: place) }
  func listener(at place: Int) -> Listener? { streams.listener(at: place) }
  func stopListening(at place: Int) -> Listener? { streams.stopListening(at: place) }
  func isOpen(_ id: StreamID) -> Bool { streams.isOpen(id) }
  func owner(of id: StreamID) -> UInt32 { streams.owner(of: id) }
  func mayHaveBytes(_ id: StreamID) -> Bool { streams.mayHaveBytes(id) }
  func isWritable(_ id: StreamID) -> Bool { streams.isWritable(id) }
  func consume(_ id: StreamID, _ byteCount: Int) -> Bool { streams.consume(id, byteCount) }
  func lookAgain(at id: StreamID) { streams.look(id) }
  func isEnding(_ id: StreamID) -> Bool { streams.isEnding(id) }
  func stream(at place: Int) -> StreamID? { streams.stream(at: place) }
  /// Who connected the stream's socket; nil when nothing is known of the stream any more.
  func uid(of id: StreamID) -> UInt32? { streams.peer(of: id)?.uid }
  /// Whether anything follows from this event at once.
  func takes(_ event: Poller.Event) -> Bool { streams.take(event) != nil }

  /// One write of these texts; nil where the stream has failed.
  func write(_ id: StreamID, _ texts: [String]) -> Int? {
    var reservation = Reservation(region: scratch)
    let parts = PartList(count: Streams.partsMax, name: "parts", in: &reservation)
    return lend(texts, 0, parts, id)
  }

  private func lend(_ texts: [String], _ index: Int, _ parts: borrowing PartList, _ id: StreamID) -> Int? {
    guard index < texts.count else { return streams.write(id, parts, count: texts.count) }
    return withBytes(texts[index]) {
      parts.places[index] = $0
      return lend(texts, index + 1, parts, id)
    }
  }

  private let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: Reservation.alignment)
}
