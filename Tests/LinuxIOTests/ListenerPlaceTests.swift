import Bounded
import Testing

@testable import LinuxIO

@Suite("Listeners that come and go while streams are served") struct ListenerPlaceTests {
  private let directory = TemporaryDirectory()

  private func listener(_ name: String) throws -> Listener {
    try withBytes("\(directory.path)/\(name)") { try Listener.unix(path: $0, mode: 0o600, backlog: 8) }
  }

  private func client(_ name: String) -> Int32 { SocketTests().connect(path: "\(directory.path)/\(name)") }

  @Test func oneThatIsClosedTakesNoMoreAndItsStreamsStay() throws {
    let world = StreamsWorld()
    #expect(world.listen(try listener("a")) == 0)
    let first = client("a")
    #expect(world.turn() == [.arrived(0)])
    let id = try #require(world.stream(at: 0))
    let closed = try #require(world.stopListening(at: 0))
    #expect(world.listenerCount == 0 && world.listener(at: 0) == nil && world.poller.count == 1)
    let late = client("a")  // it waits in the kernel, as the socket is still there
    #expect(!world.turn().contains(.arrived(0)))
    closed.close()
    #expect(readText(late) != "<would block>")  // it is told
    #expect(write("x", to: first) == 1)
    #expect(world.turn().contains(.bytes(id, "x")))
    #expect(world.stopListening(at: 0) == nil)
    for fd in [first, late] { Transport.close(fd) }
  }

  /// An event that was told of before is none of the next listener's in its place.
  @Test func connectionsOfTheLastOneDoNotArriveAtTheNext() throws {
    let world = StreamsWorld()
    #expect(world.listen(try listener("a")) == 0)
    let early = client("a")
    world.poll()
    world.stopListening(at: 0)?.close()
    #expect(world.drain() == [])
    #expect(world.listen(try listener("b"), at: 0))
    #expect(world.turn() == [])
    let late = client("b")
    #expect(world.turn() == [.arrived(0)])
    for fd in [early, late] { Transport.close(fd) }
  }

  @Test func theLowestFreePlaceIsTaken() throws {
    let world = StreamsWorld()
    for number in 0..<3 { #expect(world.listen(try listener("\(number)")) == number) }
    world.stopListening(at: 1)?.close()
    #expect(world.listen(try listener("3")) == 1)
    #expect(world.listen(try listener("4"), at: 40))
    #expect(world.listen(try listener("5")) == 3)
    let last = client("4")
    #expect(world.turn() == [.arrived(40)])
    Transport.close(last)
  }

  @Test func thereAreSixtyFour() throws {
    let world = StreamsWorld()
    for number in 0..<Streams.listenersMax { #expect(world.listen(try listener("\(number)")) == number) }
    let more = try listener("more")
    #expect(world.listen(more) == nil)
    let last = client("63")
    #expect(world.turn() == [.arrived(63)])
    world.stopListening(at: 0)?.close()
    #expect(world.listen(more) == 0)
    Transport.close(last)
  }

  @Test func oneThatPausesCanBeClosed() throws {
    let world = StreamsWorld()
    let (near, far) = try Transport.pair()
    #expect(world.listen(Listener(fd: near, isUnix: true)) == 0)  // EINVAL: it does not listen
    #expect(write("x", to: far) == 1)
    #expect(world.turn() == [.paused(0)])
    #expect(world.nextDeadline != .never && world.poller.count == 0)
    world.stopListening(at: 0)?.close()
    #expect(world.nextDeadline == .never && world.poller.count == 0)
    world.now = world.now.adding(seconds: 2)
    world.streams.advance(to: world.now)
    #expect(world.turn() == [])
    Transport.close(far)
  }
}
