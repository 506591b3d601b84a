import Bounded
import Glibc
import Testing

@testable import LinuxIO

@Suite("Places of streams: refused when there is none, never mistaken for the stream before") struct StreamPlaceTests {
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
}
