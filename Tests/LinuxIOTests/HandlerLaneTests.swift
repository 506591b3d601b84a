import Bounded
import LinuxIO
import Synchronization
import Testing

/// What the handlers' thread has seen, for the test's own thread to look at.
private final class Seen: Sendable {
  let count = Atomic<Int>(0)
  let sum = Atomic<Int>(0)
  let isGateOpen = Atomic<Bool>(true)
}

@Suite struct HandlerLaneTests {
  private func lane(capacity: Int, messageBytesMax: Int = 16, _ seen: Seen) throws -> HandlerLane {
    try HandlerLane(capacity: capacity, messageBytesMax: messageBytesMax) { tag, topic, payload in
      while !seen.isGateOpen.load(ordering: .acquiring) { pause() }
      #expect(topic == Bytes("t"))
      // Order shows in the sum: each payload's byte counts by its position.
      let position = seen.count.load(ordering: .relaxed) + 1
      seen.sum.add(position * Int(payload[0]) + Int(tag), ordering: .relaxed)
      seen.count.add(1, ordering: .releasing)
    }
  }

  private func submit(_ lane: HandlerLane, tag: UInt32, _ byte: UInt8) -> Bool {
    withUnsafeBytes(of: byte) { lane.submit(tag: tag, topic: Bytes("t"), payload: Bytes($0)) }
  }

  private func waitUntil(_ isDone: () -> Bool) {
    let deadline = Patience.isOver
    while !isDone() {
      guard Clock.now() < deadline else {
        Issue.record("waited 20 s")
        return
      }
      pause()
    }
  }

  @Test(arguments: [1, 2, 3, 64]) func runsEveryMessageOnceAndInOrder(capacity: Int) throws {
    let seen = Seen()
    let lane = try lane(capacity: capacity, seen)
    var expected = 0
    for position in 1...500 {
      let byte = UInt8(position % 251)
      waitUntil { lane.waiting < capacity }
      #expect(submit(lane, tag: 7, byte))
      expected += position * Int(byte) + 7
    }
    waitUntil { seen.count.load(ordering: .acquiring) == 500 }
    #expect(seen.sum.load(ordering: .relaxed) == expected)
    #expect(lane.waiting == 0)
  }

  @Test func aFullQueueTakesNoMore() throws {
    let seen = Seen()
    seen.isGateOpen.store(false, ordering: .releasing)
    let lane = try lane(capacity: 3, seen)
    #expect(submit(lane, tag: 0, 1) && submit(lane, tag: 0, 2) && submit(lane, tag: 0, 3))
    #expect(!submit(lane, tag: 0, 4))
    seen.isGateOpen.store(true, ordering: .releasing)
    waitUntil { seen.count.load(ordering: .acquiring) == 3 }
    waitUntil { lane.waiting == 0 }
    #expect(submit(lane, tag: 0, 5))
    waitUntil { seen.count.load(ordering: .acquiring) == 4 }
    #expect(seen.sum.load(ordering: .relaxed) == 1 + 4 + 9 + 20)
  }

  @Test func aLongMessageIsNotTaken() throws {
    let seen = Seen()
    let lane = try lane(capacity: 2, messageBytesMax: 4, seen)
    #expect(lane.submit(tag: 0, topic: Bytes("t"), payload: Bytes("123")))
    #expect(!lane.submit(tag: 0, topic: Bytes("t"), payload: Bytes("1234")))
    waitUntil { seen.count.load(ordering: .acquiring) == 1 }
  }
}

/// A millisecond for the other thread.
private func pause() {
  guard let poller = try? Poller(eventsMax: 1) else { return }
  _ = poller.wait(timeoutMilliseconds: 1)
}
