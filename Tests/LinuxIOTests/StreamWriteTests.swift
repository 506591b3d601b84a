import Bounded
import Testing

@testable import LinuxIO

@Suite("Bytes that leave: as many as the kernel takes") struct StreamWriteTests {
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
}
