import Bounded
import CLinux
import Glibc
import Testing

@testable import LinuxIO

@Suite("What a peer sent before its end comes before it") struct StreamEndTests {
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
}
