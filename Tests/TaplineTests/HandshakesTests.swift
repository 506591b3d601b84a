import Bounded
import LinuxIO
import Testing

@testable import Tapline

@Suite("Slots for TLS handshakes") struct HandshakesTests {
  private final class Slots {
    var handshakes: Handshakes
    private let region: UnsafeMutableRawBufferPointer

    init(_ count: Int) {
      var plan = Reservation.counting()
      _ = Handshakes(count: count, in: &plan)
      region = .zeroed(plan.byteCount)
      var reservation = Reservation(region: region)
      handshakes = Handshakes(count: count, in: &reservation)
    }

    deinit { region.deallocate() }

    func lend(_ number: UInt32, at seconds: Int64) -> Int? {
      handshakes.lend(to: StreamID(bits: 1 << 20 | number), at: Slots.at(seconds))
    }

    var hasRoom: Bool { handshakes.hasRoom }
    var isAwaited: Bool { handshakes.isAwaited }
    var nextDeadline: Instant { handshakes.nextDeadline }
    func overdue(at seconds: Int64) -> StreamID? { handshakes.overdue(at: Slots.at(seconds)) }

    static func at(_ seconds: Int64) -> Instant { Instant(nanoseconds: seconds * 1_000_000_000) }
  }

  @Test func eachIsLentOnce() {
    let slots = Slots(2)
    #expect(slots.hasRoom)
    #expect(slots.lend(1, at: 1) == 0)
    #expect(slots.lend(2, at: 2) == 1)
    #expect(!slots.hasRoom && !slots.isAwaited)
    #expect(slots.lend(3, at: 2) == nil)
    #expect(slots.isAwaited)
    slots.handshakes.giveBack(0)
    #expect(slots.hasRoom)
    #expect(slots.lend(3, at: 3) == 0)
  }

  /// A peer may take its time, unless somebody waits.
  @Test func theSlowGiveWayToThoseThatWait() {
    let slots = Slots(2)
    _ = slots.lend(1, at: 1)
    _ = slots.lend(2, at: 2)
    #expect(slots.nextDeadline == .never)
    #expect(slots.overdue(at: 100) == nil)
    _ = slots.lend(3, at: 2)
    #expect(slots.nextDeadline == Slots.at(3))
    #expect(slots.overdue(at: 2) == nil)
    #expect(slots.overdue(at: 3) == StreamID(bits: 1 << 20 | 1))
    slots.handshakes.giveBack(0)
    #expect(slots.nextDeadline == Slots.at(4))
    slots.handshakes.isAwaitedByNobody()
    #expect(slots.nextDeadline == .never)
  }
}
