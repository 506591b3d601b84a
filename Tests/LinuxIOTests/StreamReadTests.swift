import Bounded
import Testing

@testable import LinuxIO

@Suite("Bytes that arrive: each once, in order, in turns, and none while their stream is held") struct StreamReadTests {
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

  /// What is handed out of records stays the kernel's, in part or whole, until it is taken off.
  @Test func recordsAreTakenOffByTheirOwner() throws {
    let world = StreamsWorld(readBytes: 8)
    let (id, far) = try world.open(.records)
    _ = world.turn()
    #expect(write("12345", to: far) == 5)
    #expect(world.turn() == [.writable(id), .bytes(id, "12345")])
    #expect(world.turn() == [])  // nothing new
    #expect(write("67890", to: far) == 5)
    #expect(world.turn() == [.writable(id), .bytes(id, "12345678")])
    #expect(world.consume(id, 3))
    #expect(world.turn() == [.bytes(id, "4567890")])  // the buffer was full, so it is looked at again
    #expect(world.turn() == [])
    #expect(world.consume(id, 6))
    world.lookAgain(at: id)
    #expect(world.turn() == [.bytes(id, "0")])
    #expect(!world.isEnding(id))
    Transport.close(far)
    #expect(world.turn().contains(.bytes(id, "0")))  // what is left comes before the end
    #expect(world.isEnding(id))
    #expect(world.consume(id, 1))
    #expect(world.turn() == [.ended(id)])
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
}
