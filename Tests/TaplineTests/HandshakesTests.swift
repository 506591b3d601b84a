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

    func lend(_ number: UInt32, from address: UInt32, at milliseconds: Int64) -> Int? {
      handshakes.lend(
        to: StreamID(bits: 1 << 20 | number), from: SourceAddress(ipv4: address), at: Slots.at(milliseconds))
    }

    var isAwaited: Bool { handshakes.isAwaited }
    var nextDeadline: Instant { handshakes.nextDeadline }
    func overdue(at milliseconds: Int64) -> UInt32? {
      handshakes.overdue(at: Slots.at(milliseconds)).map { $0.bits & 0xFFFF }
    }

    static func at(_ milliseconds: Int64) -> Instant { Instant(nanoseconds: milliseconds * 1_000_000) }
  }

  @Test func eachIsLentOnce() {
    let slots = Slots(2)
    #expect(slots.lend(1, from: 1, at: 1) == 0)
    #expect(slots.lend(2, from: 2, at: 2) == 1)
    #expect(!slots.isAwaited)
    #expect(slots.lend(3, from: 3, at: 2) == nil)
    #expect(slots.isAwaited)
    slots.handshakes.giveBack(0)
    #expect(slots.lend(3, from: 3, at: 3) == 0)
  }

  /// A peer may take its time, unless somebody waits.
  @Test func theSlowGiveWayToThoseThatWait() {
    let slots = Slots(2)
    _ = slots.lend(1, from: 1, at: 1000)
    _ = slots.lend(2, from: 2, at: 2000)
    #expect(slots.nextDeadline == .never)
    #expect(slots.overdue(at: 100_000) == nil)
    _ = slots.lend(3, from: 3, at: 2000)
    #expect(slots.nextDeadline == Slots.at(3000))
    #expect(slots.overdue(at: 2999) == nil)
    #expect(slots.overdue(at: 3000) == 1)
    slots.handshakes.giveBack(0)
    #expect(slots.nextDeadline == Slots.at(4000))
    slots.handshakes.isAwaitedByNobody()
    #expect(slots.nextDeadline == .never)
  }

  /// An address with two slots more than one that waits has less time; with one more it has the whole.
  @Test func whoHasTheMostGivesWayFirst() {
    let slots = Slots(3)
    _ = slots.lend(1, from: 1, at: 1000)
    _ = slots.lend(2, from: 2, at: 1100)
    _ = slots.lend(3, from: 2, at: 1200)
    _ = slots.lend(4, from: 1, at: 1200)
    #expect(slots.nextDeadline == Slots.at(3000))  // two and one: nobody has two more
    _ = slots.lend(5, from: 3, at: 1300)
    #expect(slots.nextDeadline == Slots.at(1600))
    #expect(slots.overdue(at: 1599) == nil)
    #expect(slots.overdue(at: 1600) == 2)
    // Of those that have had all their time, the address with more slots is first, and there the slowest.
    #expect(slots.overdue(at: 10_000) == 2)
    slots.handshakes.giveBack(1)
    #expect(slots.overdue(at: 10_000) == 1)
  }

  @Test func whoComesNext() {
    let slots = Slots(2)
    func comes(_ address: UInt32, before other: UInt32) -> Bool {
      slots.handshakes.comes(SourceAddress(ipv4: address), before: SourceAddress(ipv4: other))
    }
    #expect(!comes(1, before: 2) && !comes(2, before: 1))
    _ = slots.lend(1, from: 1, at: 1)
    #expect(comes(2, before: 1) && !comes(1, before: 2))  // it has none
    slots.handshakes.giveBack(0)
    #expect(comes(2, before: 1) && !comes(1, before: 2))  // it has had none
    _ = slots.lend(2, from: 2, at: 2)
    slots.handshakes.giveBack(0)
    #expect(comes(1, before: 2) && comes(3, before: 1) && !comes(1, before: 1))
    for address in UInt32(10)..<UInt32(10 + Handshakes.loansMax) {
      _ = slots.lend(3, from: address, at: 3)
      slots.handshakes.giveBack(0)
    }
    #expect(!comes(1, before: 2) && !comes(2, before: 1))  // long ago
  }

  /// Peers that begin handshakes, and the server's part in it.
  private final class Crowd {
    let slots = Slots(Handshakes.countMax)
    private(set) var waiting: [(number: UInt32, address: UInt32)] = []
    private(set) var held: [UInt32: (slot: Int, address: UInt32)] = [:]
    /// Addresses that were lent a slot, in order.
    private(set) var lent: [UInt32] = []
    private var arrivals: UInt32 = 0

    func arrive(from address: UInt32, at now: Int64) {
      arrivals += 1
      guard let slot = slots.lend(arrivals, from: address, at: now) else { return waiting.append((arrivals, address)) }
      held[arrivals] = (slot, address)
      lent.append(address)
    }

    /// The handshake is done, or given up.
    func end(_ number: UInt32, at now: Int64) {
      slots.handshakes.giveBack(held.removeValue(forKey: number)!.slot)
      guard slots.isAwaited else { return }
      slots.handshakes.isAwaitedByNobody()
      while var next = waiting.first {
        for other in waiting.dropFirst()
        where slots.handshakes.comes(SourceAddress(ipv4: other.address), before: SourceAddress(ipv4: next.address)) {
          next = other
        }
        guard let slot = slots.lend(next.number, from: next.address, at: now) else { return }
        waiting.removeAll { $0.number == next.number }
        held[next.number] = (slot, next.address)
        lent.append(next.address)
      }
    }

    /// Peers that say nothing more are given up until `address` has a slot, each followed by another of its address. How
    /// many milliseconds it takes.
    func wait(for address: UInt32, from start: Int64) -> Int64 {
      var now = start
      while !held.values.contains(where: { $0.address == address }) {
        let deadline = slots.nextDeadline
        guard deadline < .never else { return .max }
        while Slots.at(now) < deadline { now += 1 }
        while let slow = slots.overdue(at: now) {
          let address = held[slow]!.address
          end(slow, at: now)
          arrive(from: address, at: now)
        }
      }
      return now - start
    }
  }

  /// From how many addresses, and how many milliseconds a newcomer waits at most.
  static let crowds: [(addresses: UInt32, most: Int64)] = [
    (1, 500), (2, 500), (3, 500), (4, 2000), (7, 2000), (8, 4000), (12, 6000),
  ]

  /// As many as may wait, all silent after their first flight, ahead of a newcomer of another address.
  @Test(arguments: HandshakesTests.crowds)
  func silentPeersOfFewAddressesDoNotKeepOthersOut(addresses: UInt32, most: Int64) {
    let crowd = Crowd()
    for number in UInt32(0)..<31 { crowd.arrive(from: 1 + number % addresses, at: 0) }
    let before = crowd.lent.count
    crowd.arrive(from: 99, at: 0)
    let taken = crowd.wait(for: 99, from: 0)
    #expect(taken <= most, "\(taken) ms")
    #expect(crowd.lent.count - before <= Int(addresses) + Handshakes.countMax)
    #expect(crowd.lent[before...].prefix { $0 != 99 }.count <= addresses)
  }

  /// While an address waits each other one is lent one slot at most, whatever came before.
  @Test(arguments: UInt64(0)..<8) func noAddressIsPassedTwice(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let crowd = Crowd()
    let addresses = 1 + random.below(10)
    var now: Int64 = 0
    for _ in 0..<random.below(28) { crowd.arrive(from: UInt32(1 + random.below(addresses)), at: now) }
    for _ in 0..<200 {
      now += Int64(random.below(3000))
      let before = crowd.lent.count
      crowd.arrive(from: 99, at: now)
      let taken = crowd.wait(for: 99, from: now)
      #expect(taken <= 2000 * Int64(1 + (addresses + 3) / 4))
      let passing = crowd.lent[before...].prefix { $0 != 99 }
      #expect(Set(passing).count == passing.count)
      now += taken
      crowd.end(crowd.held.first { $0.value.address == 99 }!.key, at: now)
    }
  }
}
