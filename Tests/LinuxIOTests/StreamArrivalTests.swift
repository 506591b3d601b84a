import Bounded
import Testing

@testable import LinuxIO

@Suite("Listeners: who arrives is admitted, or closed and counted") struct StreamArrivalTests {
  private func listen(_ world: StreamsWorld, _ directory: TemporaryDirectory) throws -> String {
    let path = directory.path + "/s"
    let listener = try withBytes(path) { try Listener.unix(path: $0, mode: 0o600, backlog: 64) }
    #expect(world.listen(listener) == world.listenerCount - 1)
    return path
  }

  @Test func eightArriveInATurn() throws {
    let world = StreamsWorld(capacity: 32)
    let directory = TemporaryDirectory()
    let path = try listen(world, directory)
    let clients = (0..<12).map { _ in SocketTests().connect(path: path) }
    #expect(world.turn() == Array(repeating: .arrived(0), count: 8))
    #expect(world.gauge.used == 8)
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
