import Bounded
import Testing

struct TimerWheelTests {
  private static let day: Int64 = 86_400_000  // milliseconds
  private static let year: Int64 = 365 * day

  /// The wheel beside its model: one deadline per timer, in whole milliseconds, rounded up.
  private struct Pair: ~Copyable {
    var wheel: TimerWheel
    var deadlines: [Int64?]
    var now: Int64 = 0  // milliseconds, the latest moment the wheel has seen

    init(capacity: Int, in reservation: inout Reservation) {
      wheel = TimerWheel(capacity: capacity, name: "timers", in: &reservation)
      deadlines = Array(repeating: nil, count: capacity)
    }

    var earliest: Int64? { deadlines.compactMap { $0 }.min() }

    mutating func arm(_ index: Int, at deadline: Instant) {
      wheel.arm(index, at: deadline)
      deadlines[index] = deadline == .never ? nil : max(1, deadline.millisecondsRoundedUp)
    }

    mutating func cancel(_ index: Int) {
      wheel.cancel(index)
      deadlines[index] = nil
    }

    /// Takes out all that is due; exactly what the model says, neither early nor late, earliest first.
    mutating func advance(to instant: Instant) {
      let limit = instant.nanoseconds / 1_000_000
      var previous = Int64.min
      while let index = wheel.popExpired(at: instant) {
        guard let deadline = deadlines[index] else {
          Issue.record("timer \(index) was not armed")
          return
        }
        check(deadline <= limit, "timer \(index) is early: \(deadline) at \(limit)")
        check(max(deadline, now) >= previous, "timer \(index) is out of order")
        previous = max(deadline, now)
        deadlines[index] = nil
      }
      check(!deadlines.contains { $0 != nil && $0! <= limit }, "late at \(limit)")
      now = max(now, limit)
    }

    func checkInvariants() {
      check(wheel.armedCount == deadlines.count { $0 != nil })
      for index in deadlines.indices { check(wheel.isArmed(index) == (deadlines[index] != nil)) }
      guard let earliest else {
        check(wheel.nextDeadline == nil)
        return
      }
      guard let next = wheel.nextDeadline else {
        Issue.record("no next deadline")
        return
      }
      check(next >= Instant(milliseconds: now), "next deadline lies in the past")
      check(next <= Instant(milliseconds: max(earliest, now)), "next deadline is later than the earliest timer")
    }
  }

  /// A span of time of every order of magnitude, in nanoseconds.
  private func span(_ generator: inout SeededGenerator) -> Int64 {
    switch generator.below(10) {
    case 0: return 0
    case 1: return Int64(generator.below(3_000_000))  // within three ticks
    case 2: return Int64(generator.below(130)) * 1_000_000
    case 3: return (1 << Int64(generator.below(36))) * 1_000_000  // borders of the levels
    case 4: return (1 << Int64(generator.below(36))) * 1_000_000 - 1
    case 5: return Int64(generator.below(90_000)) * 1_000_000
    case 6: return Int64(generator.below(7 * 86_400)) * 1_000_000_000
    case 7: return Int64(generator.below(10)) * TimerWheelTests.year * 1_000_000
    default: return Int64(generator.next() >> UInt64(12 + generator.below(45)))  // up to 52 days
    }
  }

  /// Milliseconds since boot: none, the borders of the first and of the last level, fifty years.
  static let starts: [Int64] = [0, 1, 63, (1 << 36) - 70, 50 * year]

  @Test(arguments: modelCapacities, starts)
  func behavesLikeAnArray(capacity: Int, start: Int64) {
    var generator = SeededGenerator(seed: UInt64(capacity) << 40 ^ UInt64(start))
    withReservation { reservation in
      var pair = Pair(capacity: capacity, in: &reservation)
      var clock = Instant(milliseconds: start)
      pair.advance(to: clock)
      for _ in 0..<3000 {
        let index = generator.below(capacity)
        switch generator.below(12) {
        case 0..<6:
          pair.arm(index, at: clock.adding(nanoseconds: span(&generator)))
        case 6:  // in the past
          pair.arm(index, at: Instant(nanoseconds: max(0, clock.nanoseconds - span(&generator))))
        case 7:
          if generator.oneIn(2) { pair.cancel(index) } else { pair.arm(index, at: .never) }
        case 8:  // the loop woke up just at, just before or just after the deadline
          if let next = pair.wheel.nextDeadline {
            let nearby = next.adding(nanoseconds: Int64(generator.below(3) - 1))
            if nearby >= clock { clock = nearby }
          }
          pair.advance(to: clock)
        default:
          if generator.oneIn(3) || clock.nanoseconds < .max / 4 {
            let jump = span(&generator) / Int64(generator.oneIn(4) ? 1 : 1000)
            if clock.nanoseconds < .max / 2 { clock = clock.adding(nanoseconds: jump) }
          }
          pair.advance(to: clock)
        }
        pair.checkInvariants()
      }
    }
  }

  /// The loop sleeps until `nextDeadline` and no longer: every timer fires at its own millisecond, in order,
  /// and a timer is looked at a few times only.
  @Test(arguments: modelCapacities) func sleepingUntilTheNextDeadlineFiresAll(capacity: Int) {
    var generator = SeededGenerator(seed: UInt64(capacity) + 100)
    withReservation { reservation in
      for _ in 0..<20 {
        var pair = Pair(capacity: capacity, in: &reservation)
        let start = Instant(nanoseconds: Int64(generator.below(1 << 50)))
        pair.advance(to: start)
        for index in 0..<capacity { pair.arm(index, at: start.adding(nanoseconds: span(&generator))) }
        var wakeUps = 0
        while let next = pair.wheel.nextDeadline, wakeUps < 100_000 {
          let before = pair.earliest
          pair.advance(to: next)
          if pair.earliest != before { check(before == next.nanoseconds / 1_000_000, "not at its millisecond") }
          pair.checkInvariants()
          wakeUps += 1
        }
        check(pair.wheel.armedCount == 0)
        // Six levels, and one more look for each two years of the at most nine.
        check(wakeUps <= capacity * (6 + 5), "\(wakeUps) wake-ups")
      }
    }
  }

  @Test func farDeadlines() {
    withReservation { reservation in
      var pair = Pair(capacity: 4, in: &reservation)
      pair.advance(to: Instant(milliseconds: 12_345))
      pair.arm(0, at: Instant(milliseconds: 3 * TimerWheelTests.year))
      pair.arm(1, at: Instant(milliseconds: 100 * TimerWheelTests.year))
      pair.arm(2, at: Instant(nanoseconds: .max - 1))
      pair.arm(3, at: .never)
      pair.checkInvariants()
      pair.advance(to: Instant(milliseconds: 3 * TimerWheelTests.year - 1))
      #expect(pair.wheel.armedCount == 3)
      pair.advance(to: Instant(milliseconds: 3 * TimerWheelTests.year))
      #expect(pair.wheel.armedCount == 2)
      pair.advance(to: Instant(milliseconds: 200 * TimerWheelTests.year))
      #expect(pair.wheel.armedCount == 1)
      pair.advance(to: .never)
      pair.checkInvariants()
      #expect(pair.wheel.armedCount == 1)  // its millisecond ends after the last moment there is
    }
  }

  @Test func roundsUpToTheMillisecond() {
    withReservation { reservation in
      var wheel = TimerWheel(capacity: 1, name: "timers", in: &reservation)
      wheel.arm(0, at: Instant(nanoseconds: 5_000_001))
      #expect(wheel.nextDeadline == Instant(milliseconds: 6))
      #expect(wheel.popExpired(at: Instant(nanoseconds: 5_999_999)) == nil)
      #expect(wheel.popExpired(at: Instant(milliseconds: 6)) == 0)
      #expect(wheel.popExpired(at: Instant(milliseconds: 6)) == nil)
    }
  }

  @Test func pastDeadlineFiresAtOnce() {
    withReservation { reservation in
      var wheel = TimerWheel(capacity: 2, name: "timers", in: &reservation)
      #expect(wheel.popExpired(at: Instant(milliseconds: 1_000_000)) == nil)
      wheel.arm(0, at: Instant(milliseconds: 5))
      wheel.arm(1, at: Instant(nanoseconds: 0))
      #expect(wheel.nextDeadline == Instant(milliseconds: 1_000_000))
      var fired: Set<Int> = []
      while let index = wheel.popExpired(at: Instant(milliseconds: 1_000_000)) { fired.insert(index) }
      #expect(fired == [0, 1])
      #expect(wheel.nextDeadline == nil)
    }
  }

  /// A keep alive is moved at each packet.
  @Test func reArmingMoves() {
    withReservation { reservation in
      var wheel = TimerWheel(capacity: 1, name: "timers", in: &reservation)
      for second in Int64(0)..<5000 {
        let now = Instant(milliseconds: second * 1000)
        check(wheel.popExpired(at: now) == nil)
        wheel.arm(0, at: now.adding(seconds: 90))
        check(wheel.armedCount == 1)
      }
      #expect(wheel.popExpired(at: Instant(milliseconds: 4999 * 1000 + 89_999)) == nil)
      #expect(wheel.popExpired(at: Instant(milliseconds: 4999 * 1000 + 90_000)) == 0)
    }
  }

  /// A handler that arms its own timer again, already due, while the loop takes out the rest.
  @Test func armingWhileTakingOut() {
    withReservation { reservation in
      var wheel = TimerWheel(capacity: 3, name: "timers", in: &reservation)
      let now = Instant(milliseconds: 4096)
      for index in 0..<3 { wheel.arm(index, at: now.adding(milliseconds: Int64(index) * 50)) }
      var fired: [Int] = []
      while let index = wheel.popExpired(at: now) {
        fired.append(index)
        if fired.count < 4 { wheel.arm(index, at: now) }
      }
      #expect(fired == [0, 0, 0, 0])
      #expect(wheel.armedCount == 2)
      #expect(wheel.popExpired(at: now.adding(milliseconds: 50)) == 1)
    }
  }

  /// A clock that goes back is our own mistake elsewhere; here it fires nothing early and breaks nothing.
  @Test func earlierMomentFiresNothing() {
    withReservation { reservation in
      var pair = Pair(capacity: 2, in: &reservation)
      pair.advance(to: Instant(milliseconds: 10_000))
      pair.arm(0, at: Instant(milliseconds: 10_001))
      pair.arm(1, at: Instant(milliseconds: 9000))
      #expect(pair.wheel.popExpired(at: Instant(milliseconds: 8999)) == nil)
      pair.checkInvariants()
      pair.advance(to: Instant(milliseconds: 10_001))
      #expect(pair.wheel.armedCount == 0)
    }
  }

  @Test func indexOutsideTraps() async {
    await #expect(processExitsWith: .failure) {
      withReservation { reservation in
        var wheel = TimerWheel(capacity: 1, name: "timers", in: &reservation)
        wheel.arm(1, at: Instant(milliseconds: 1))
      }
    }
  }
}
