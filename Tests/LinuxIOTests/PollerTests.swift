import Bounded
import CLinux
import LinuxIO
import Testing

@Suite struct PollerTests {
  let poller: Poller
  let near: Int32
  let far: Int32

  init() throws {
    poller = try Poller(eventsMax: 4)
    (near, far) = try Transport.pair()
  }

  func close() {
    Transport.close(near)
    Transport.close(far)
  }

  @Test func reportsWhatCanBeReadWithItsToken() throws {
    defer { close() }
    try poller.add(near, token: 0xFEED_0000_0000_0001, interest: .read)
    #expect(poller.wait(timeoutMilliseconds: 0) == 0)
    #expect(write("x", to: far) == 1)
    #expect(poller.wait(timeoutMilliseconds: Patience.milliseconds) == 1)
    let event = poller.event(0)
    #expect(event.token == 0xFEED_0000_0000_0001)
    #expect(event.readable && !event.writable && !event.hangup)
  }

  @Test func levelTriggeredRepeatsAndEdgeTriggeredDoesNot() throws {
    defer { close() }
    try poller.add(near, token: 1, interest: .read)
    #expect(write("x", to: far) == 1)
    for _ in 0..<2 { #expect(poller.wait(timeoutMilliseconds: Patience.milliseconds) == 1) }
    try poller.remove(near)
    try poller.add(near, token: 2, interest: [.read, .edgeTriggered])
    #expect(poller.wait(timeoutMilliseconds: Patience.milliseconds) == 1)
    #expect(poller.event(0).token == 2)
    #expect(poller.wait(timeoutMilliseconds: 0) == 0)
  }

  @Test func writeInterestIsReportedUntilTheBufferIsFull() throws {
    defer { close() }
    try poller.add(near, token: 1, interest: .write)
    #expect(poller.wait(timeoutMilliseconds: Patience.milliseconds) == 1)
    #expect(poller.event(0).writable && !poller.event(0).readable)
    let much = String(repeating: "m", count: 65_536)
    while write(much, to: near) != nil {}
    #expect(poller.wait(timeoutMilliseconds: 0) == 0)
  }

  @Test func aPeerThatIsGoneIsAHangupAndReadable() throws {
    try poller.add(near, token: 1, interest: .read)
    Transport.close(far)
    #expect(poller.wait(timeoutMilliseconds: Patience.milliseconds) == 1)
    #expect(poller.event(0).hangup && poller.event(0).readable)
    #expect(readText(near) == "<closed>")
    Transport.close(near)
  }

  @Test func whatWasRemovedIsSilent() throws {
    defer { close() }
    try poller.add(near, token: 1, interest: .read)
    #expect(write("x", to: far) == 1)
    try poller.remove(near)
    #expect(poller.wait(timeoutMilliseconds: 0) == 0)
    #expect(errno { try poller.remove(near) } == Int32(CLINUX_ENOENT))
  }

  @Test func moreEventsThanRoomComeWithTheNextWaits() throws {
    var pairs: [(Int32, Int32)] = []
    for token in 0..<10 {
      let pair = try Transport.pair()
      pairs.append(pair)
      try poller.add(pair.0, token: UInt64(token), interest: [.read, .edgeTriggered])
      #expect(write("x", to: pair.1) == 1)
    }
    var tokens: Set<UInt64> = []
    while case let count = poller.wait(timeoutMilliseconds: 0), count > 0 {
      #expect(count <= 4)
      for index in 0..<count { tokens.insert(poller.event(index).token) }
    }
    #expect(tokens == Set(0..<10))
    for pair in pairs {
      Transport.close(pair.0)
      Transport.close(pair.1)
    }
    close()
  }

  @Test(arguments: [Int64(200_000), 1_500_000, 20_000_000])
  func waitsUntilTheDeadlineAndNotLess(nanoseconds: Int64) {
    defer { close() }
    let now = Clock.now()
    let deadline = Instant(nanoseconds: now.nanoseconds + nanoseconds)
    #expect(poller.wait(until: deadline, now: now) == 0)
    #expect(Clock.now() >= deadline)
  }

  @Test func aDeadlineInThePastDoesNotWait() {
    defer { close() }
    #expect(poller.wait(until: Instant(nanoseconds: 1), now: Clock.now()) == 0)
  }
}

@Suite struct ClockTests {
  @Test func clocksRunAndTheirOffsetsFit() {
    // An offset is the difference of two readings, each of which lies between one before and one after, however long the
    // machine stops in between.
    func readings() -> (monotonic: Int64, wall: Int64, boot: Int64) {
      (Clock.monotonicNanoseconds(), Clock.wallNanoseconds(), Clock.now().nanoseconds)
    }
    let before = readings()
    let wall = Clock.wallOffsetNanoseconds()
    let boot = Clock.bootOffsetNanoseconds()
    let after = readings()
    #expect(wall >= before.wall - after.monotonic && wall <= after.wall - before.monotonic)
    #expect(boot >= before.boot - after.monotonic && boot <= after.boot - before.monotonic)
    #expect(after.boot >= before.boot && after.wall > 1_700_000_000_000_000_000)
  }
}
