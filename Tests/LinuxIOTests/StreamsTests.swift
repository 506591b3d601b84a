import Bounded
import CLinux
import Glibc
import Testing

@testable import LinuxIO

/// Streams over socket pairs: the near ends are theirs, the far ends the tests'.
private final class StreamsWorld {
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
    case .paused(let listener): .paused(listener)
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
  func isOpen(_ id: StreamID) -> Bool { streams.isOpen(id) }
  func owner(of id: StreamID) -> UInt32 { streams.owner(of: id) }
  func mayHaveBytes(_ id: StreamID) -> Bool { streams.mayHaveBytes(id) }
  func isWritable(_ id: StreamID) -> Bool { streams.isWritable(id) }
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

@Suite("Streams: bytes of any descriptor, and what becomes of it")
struct StreamsTests {
  @Test func bytesComeOnceAndInOrder() throws {
    let world = StreamsWorld()
    let (id, far) = try world.open(owner: 77)
    #expect(world.owner(of: id) == 77)
    #expect(world.turn() == [.writable(id)])
    #expect(write("one", to: far) == 3)
    #expect(write("two", to: far) == 3)
    #expect(world.turn() == [.writable(id), .bytes(id, "onetwo")])
    #expect(world.turn() == [])
    #expect(!world.hasReadable)
    Transport.close(far)
  }

  /// The kernel tells of bytes once. What one read leaves is read in the next turn, not in the same one.
  @Test func aRestIsReadInTheNextTurn() throws {
    let world = StreamsWorld(readBytes: 8)
    let (id, far) = try world.open()
    _ = world.turn()
    #expect(write("0123456789abcdefXY", to: far) == 18)
    #expect(world.turn() == [.writable(id), .bytes(id, "01234567")])
    #expect(world.hasReadable)
    #expect(world.turn() == [.bytes(id, "89abcdef")])
    #expect(world.turn() == [.bytes(id, "XY")])  // fewer than asked for: nothing is left
    #expect(!world.hasReadable && !world.mayHaveBytes(id))
    Transport.close(far)
  }

  /// One that sends much does not hold up one that sends little.
  @Test func eachStreamIsReadOnceATurn() throws {
    let world = StreamsWorld(readBytes: 4)
    let (busy, far) = try world.open()
    let (calm, other) = try world.open()
    _ = world.turn()
    #expect(write("aaaabbbbcc", to: far) == 10)
    #expect(write("x", to: other) == 1)
    let first = world.turn()
    #expect(first.filter { $0 == .bytes(busy, "aaaa") || $0 == .bytes(calm, "x") }.count == 2)
    #expect(world.turn() == [.bytes(busy, "bbbb")])
    #expect(world.turn() == [.bytes(busy, "cc")])
    for fd in [far, other] { Transport.close(fd) }
  }

  /// 64 reads a turn; who is left over is first in the next.
  @Test func readsOfATurnAreBounded() throws {
    let world = StreamsWorld(capacity: 100)
    var order: [StreamID] = []
    var far: [Int32] = []
    for _ in 0..<100 {
      let pair = try world.open()
      order.append(pair.id)
      far.append(pair.far)
    }
    for _ in 0..<2 { _ = world.turn() }
    for fd in far { #expect(write("x", to: fd) == 1) }
    for _ in 0..<2 { world.poll() }  // the poller tells of 64 at a time
    let first = world.drain()
    #expect(first.count == Streams.readsMax)
    #expect(world.hasReadable)
    let second = world.turn().filter { if case .bytes = $0 { true } else { false } }
    #expect(second.count == 36)
    #expect(Set((first + second).map { "\($0)" }).count == 100)
    for fd in far { Transport.close(fd) }
  }

  /// A held stream is not read, however often the kernel tells of bytes; once free it is, without another word of the
  /// kernel.
  @Test func whatIsHeldWaits() throws {
    let world = StreamsWorld()
    let (id, far) = try world.open()
    _ = world.turn()
    world.streams.hold(id, true)
    #expect(write("a", to: far) == 1)
    #expect(world.turn() == [.writable(id)])
    #expect(write("b", to: far) == 1)
    #expect(world.turn() == [.writable(id)])
    #expect(world.mayHaveBytes(id))
    world.streams.hold(id, false)
    #expect(world.hasReadable)
    #expect(world.turn() == [.bytes(id, "ab")])
    Transport.close(far)
  }

  /// Held in the middle of what it sends: the rest is still there afterwards.
  @Test func aStreamThatIsHeldWhileItIsReadKeepsItsRest() throws {
    let world = StreamsWorld(readBytes: 4)
    let (id, far) = try world.open()
    _ = world.turn()
    #expect(write("aaaab", to: far) == 5)
    world.poll()
    #expect(world.next() == .bytes(id, "aaaa"))
    world.streams.hold(id, true)
    #expect(world.drain() == [])
    #expect(world.turn() == [])
    world.streams.hold(id, false)
    #expect(world.turn() == [.bytes(id, "b")])
    // Free and held again before the turn: nothing is read, nothing is lost.
    #expect(write("c", to: far) == 1)
    world.poll()
    world.streams.hold(id, true)
    #expect(world.drain() == [])
    world.streams.hold(id, false)
    #expect(world.drain() == [.bytes(id, "c")])
    Transport.close(far)
  }

  @Test func aFullKernelTakesAPartAndTellsWhenItTakesMore() throws {
    let world = StreamsWorld()
    let (id, far) = try world.open()
    _ = world.turn()
    let much = String(repeating: "m", count: 1 << 20)
    let first = try #require(world.write(id, ["head", much, "tail"]))
    #expect(first > 4 && first < 1 << 20)
    #expect(!world.isWritable(id))
    #expect(world.turn() == [])
    var left = first
    var start = ""
    while left > 0 {
      let text = readText(far)
      if start.isEmpty { start = String(text.prefix(6)) }
      left -= text.utf8.count
    }
    #expect(left == 0 && start == "headmm")
    #expect(world.turn() == [.writable(id)])
    #expect(world.isWritable(id))
    #expect(world.write(id, ["more", "", " and more"]) == 13)
    #expect(readText(far) == "more and more")
    // A kernel that takes nothing at all.
    while world.isWritable(id) { #expect(world.write(id, [much]) != nil) }
    #expect(world.write(id, ["x"]) == 0)
    Transport.close(far)
  }

  @Test func writingToAPeerThatIsGoneFails() throws {
    let world = StreamsWorld()
    let (id, far) = try world.open()
    Transport.close(far)
    #expect(world.write(id, ["x"]) == nil)
    #expect(world.isOpen(id))  // until its owner closes it
    world.streams.close(id)
    #expect(!world.isOpen(id))
  }

  @Test func whatWasSentBeforeTheEndComesBeforeIt() throws {
    let world = StreamsWorld(readBytes: 4)
    let (id, far) = try world.open()
    _ = world.turn()
    #expect(write("last words", to: far) == 10)
    Transport.close(far)
    var seen: [StreamsWorld.Seen] = []
    for _ in 0..<4 { seen += world.turn().filter { $0 != .writable(id) } }
    #expect(seen == [.bytes(id, "last"), .bytes(id, " wor"), .bytes(id, "ds"), .ended(id)])
    #expect(!world.isOpen(id))
  }

  /// A peer that has closed its side and reads on still gets its answers.
  @Test func aHalfClosedPeerIsReadToItsEndAndWrittenTo() throws {
    let world = StreamsWorld()
    let (id, far) = try world.open()
    _ = world.turn()
    #expect(write("bye", to: far) == 3)
    #expect(clinux_shutdown(far, 1) == 0)
    world.poll()
    // The kernel tells of bytes and end together and never again: the short read must not be taken for all.
    #expect(world.next() == .bytes(id, "bye"))
    #expect(world.write(id, ["answer"]) == 6)
    #expect(world.drain() == [])
    #expect(world.turn() == [.ended(id)])
    #expect(readText(far) == "answer")
    #expect(readText(far) == "<closed>")
    Transport.close(far)
  }

  @Test func aPeerThatResetsEnds() throws {
    let listener = try Listener.tcp(address: Bytes("127.0.0.1"), port: 0, backlog: 4)
    let world = StreamsWorld()
    #expect(world.listen(listener) == 0)
    let client = SocketTests().connect(family: Int32(CLINUX_IPV4), port: listener.port)
    var arrivals: [StreamsWorld.Seen] = []
    while arrivals.isEmpty { arrivals = world.turn() }
    let id = try #require(world.stream(at: 0))
    var linger = Glibc.linger(l_onoff: 1, l_linger: 0)
    #expect(setsockopt(client, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<Glibc.linger>.size)) == 0)
    Transport.close(client)  // RST
    var seen: [StreamsWorld.Seen] = []
    while !seen.contains(.ended(id)) { seen += world.turn() }
    #expect(!world.isOpen(id))
  }

  /// Events that were taken before a stream was closed are not those of the one that has its place now.
  @Test func aPlaceThatIsTakenAgainGetsNoEventOfTheOneBefore() throws {
    let world = StreamsWorld(capacity: 1)
    let (first, far) = try world.open()
    _ = world.turn()
    #expect(write("old", to: far) == 3)
    #expect(world.poller.wait(timeoutMilliseconds: Patience.milliseconds) == 1)
    let stale = world.poller.event(0)
    world.streams.close(first)
    let (second, other) = try world.open()
    #expect(second.index == first.index && second != first)
    #expect(world.takes(stale) == false)
    #expect(!world.mayHaveBytes(second) && !world.hasReadable)
    #expect(write("new", to: other) == 3)
    #expect(world.turn() == [.writable(second), .bytes(second, "new")])
    for fd in [far, other] { Transport.close(fd) }
  }

  /// Closed by its owner in the middle of a turn, it is not read any more, and who has its place is not read for it.
  @Test func aPlaceThatIsTakenAgainWithinATurn() throws {
    let world = StreamsWorld(capacity: 2)
    let (first, far) = try world.open()
    let (second, other) = try world.open()
    _ = world.turn()
    for fd in [far, other] { #expect(write("x", to: fd) == 1) }
    world.poll()
    var seen: [StreamsWorld.Seen] = []
    var taker = StreamID.null
    while let event = world.next() {
      guard case .bytes(let id, _) = event else { continue }
      seen.append(event)
      if seen.count == 1 {
        world.streams.close(id == first ? second : first)
        taker = try world.open().id
      }
    }
    #expect(seen.count == 1)
    #expect(world.isOpen(taker))
    for fd in [far, other] { Transport.close(fd) }
  }

  @Test func withoutAPlaceItIsRefusedAndCounted() throws {
    let world = StreamsWorld(capacity: 2)
    let (one, far) = try world.open()
    let (_, other) = try world.open()
    let pair = try Transport.pair()
    #expect(world.add(pair.0, .plain, owner: 0, from: PeerAddress(of: pair.0)) == nil)
    #expect(write("mine", to: pair.0) == 4)  // still the caller's
    #expect(world.gauge.refused == 1 && world.gauge.used == 2)
    #expect(!world.hasRoom)
    world.streams.close(one)
    let again = try world.open()
    for fd in [pair.0, pair.1, far, other, again.far] { Transport.close(fd) }
  }

  @Test func aDescriptorThatCannotBePolledIsNotTaken() throws {
    let world = StreamsWorld()
    let directory = TemporaryDirectory()
    directory.file("plain", "x")
    let fd = Glibc.open(directory.path + "/plain", O_RDONLY)
    #expect(world.add(fd, .plain, owner: 0, from: PeerAddress(of: fd)) == nil)
    #expect(world.gauge.used == 0)
    Transport.close(fd)
    #expect(world.add(fd, .plain, owner: 0, from: PeerAddress(of: fd)) == nil)  // EBADF
  }

  @Test func whereAStreamComesFromIsKnownUntilItsPlaceIsTaken() throws {
    let world = StreamsWorld(capacity: 1)
    let (id, far) = try world.open()
    #expect(world.uid(of: id) == getuid())
    world.streams.close(id)
    #expect(world.uid(of: id) == getuid())
    let (_, other) = try world.open()
    #expect(world.uid(of: id) == nil)
    for fd in [far, other] { Transport.close(fd) }
  }

  /// A terminal hands out what it likes: a short read does not mean that it is empty.
  @Test func aTerminalIsReadUntilItHasNothing() throws {
    let world = StreamsWorld(readBytes: 64)
    let (id, far) = try world.open(.terminal)
    _ = world.turn()
    #expect(write("short", to: far) == 5)
    #expect(world.turn() == [.writable(id), .bytes(id, "short")])
    #expect(world.hasReadable && world.mayHaveBytes(id))
    #expect(world.turn() == [])
    #expect(!world.hasReadable && !world.mayHaveBytes(id))
    Transport.close(far)
  }

  // MARK: Listeners

  private func listen(_ world: StreamsWorld, _ directory: TemporaryDirectory) throws -> String {
    let path = directory.path + "/s"
    let listener = try withBytes(path) { try Listener.unix(path: $0, mode: 0o600, backlog: 64) }
    #expect(world.listen(listener) == world.listenerCount - 1)
    return path
  }

  @Test func sixteenArriveInATurn() throws {
    let world = StreamsWorld(capacity: 32)
    let directory = TemporaryDirectory()
    let path = try listen(world, directory)
    let clients = (0..<20).map { _ in SocketTests().connect(path: path) }
    #expect(world.turn() == Array(repeating: .arrived(0), count: 16))
    #expect(world.gauge.used == 16)
    #expect(world.owner(of: world.stream(at: 0)!) == 9)
    let rest = world.turn().filter { $0 == .arrived(0) }
    #expect(rest.count == 4)
    #expect(write("hello", to: clients[0]) == 5)
    #expect(world.turn().contains(.bytes(world.stream(at: 0)!, "hello")))
    for fd in clients { Transport.close(fd) }
  }

  @Test func whoIsNotAdmittedIsClosed() throws {
    let world = StreamsWorld()
    let directory = TemporaryDirectory()
    let path = try listen(world, directory)
    let client = SocketTests().connect(path: path)
    #expect(world.turn(admits: false) == [.arrived(0)])
    #expect(readText(client) == "<closed>")
    #expect(world.gauge.used == 0 && world.gauge.refused == 0)
    Transport.close(client)
  }

  @Test func whoArrivesWithoutAPlaceIsClosedAndCounted() throws {
    let world = StreamsWorld(capacity: 1)
    let directory = TemporaryDirectory()
    let path = try listen(world, directory)
    let clients = (0..<3).map { _ in SocketTests().connect(path: path) }
    #expect(world.turn() == Array(repeating: .arrived(0), count: 3))
    #expect(world.gauge.used == 1 && world.gauge.refused == 2)
    #expect(clients.map(readText) == ["<would block>", "<closed>", "<closed>"])
    for fd in clients { Transport.close(fd) }
  }

  /// A listener that fails is left alone for a second, and then looked at again.
  @Test func aListenerThatFailsPauses() throws {
    let world = StreamsWorld()
    let (near, far) = try Transport.pair()
    #expect(world.listen(Listener(fd: near, isUnix: true)) == 0)  // EINVAL: it does not listen
    #expect(write("x", to: far) == 1)
    #expect(world.turn() == [.paused(0)])
    #expect(world.nextDeadline == world.now.adding(seconds: 1))
    #expect(world.turn() == [])  // not polled
    world.now = world.now.adding(milliseconds: 999)
    world.streams.advance(to: world.now)
    #expect(world.turn() == [])
    world.now = world.now.adding(milliseconds: 1)
    world.streams.advance(to: world.now)
    #expect(world.nextDeadline == .never)
    #expect(world.turn() == [.paused(0)])
    Transport.close(far)
  }
}
