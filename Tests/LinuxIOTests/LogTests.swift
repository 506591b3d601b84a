import Bounded
import Glibc
import Testing

@testable import LinuxIO

/// Lines as they reach the descriptor.
@Suite struct LogTests {
  func logged(_ settings: LogSettings = LogSettings(), marksPriority: Bool = false, _ body: (Log) -> Void) -> String {
    let pair = try! Transport.pair()
    body(Log(settings, fd: pair.0, marksPriority: marksPriority))
    let lines = readText(pair.1)
    Transport.close(pair.0)
    Transport.close(pair.1)
    return lines
  }

  @Test func aLineIsOneWrite() {
    #expect(logged { $0.write(.notice, .server, "hello") } == "hello\n")
    #expect(logged(marksPriority: true) { $0.write(.error, .server, "bad") } == "<3>bad\n")
    #expect(logged { $0.write(.info, .server, "quiet") } == "<would block>")
    #expect(
      logged { $0.line(.warning, .taps) { $0.write("client \u{1b}[31m\n<0>forged\u{7f}") } }
        == "client ?[31m?<0>forged?\n")
  }

  @Test func otherSettingsHoldFromThenOn() {
    var settings = LogSettings()
    settings[.mqtt] = .info
    settings.burst = 2
    let lines = logged { log in
      log.write(.info, .mqtt, "before")
      log.adopt(settings)
      #expect(log.shows(.info, .mqtt) && !log.shows(.info, .server))
      for index in 0..<4 { log.line(.info, .mqtt) { $0.writeDecimal(UInt64(index)) } }
      log.adopt(LogSettings())
      log.write(.info, .mqtt, "after")
    }
    #expect(lines == "0\n1\n")
  }

  @Test func aLongLineIsCut() {
    let long = String(repeating: "x", count: 2000)
    let line = logged(marksPriority: true) { log in
      withBytes(long) { text in log.line(.notice, .server) { $0.write(text.first($0.free)) } }
    }
    #expect(line.utf8.count == Log.lineBytesMax && line.hasSuffix("xxx...\n"))
    let overflow = logged { log in
      log.line(.notice, .server) { line in
        line.write("short ")
        withBytes(long) { line.write($0) }
      }
    }
    #expect(overflow == "short ...\n")
  }

  @Test func aPeersBytesAreEscapedAndCut() {
    func quoted(_ bytes: [UInt8]) -> String {
      written { writer in bytes.withUnsafeBytes { writer.write(quoted: Bytes($0)) } }
    }
    #expect(quoted(Array("kitchen 1".utf8)) == "'kitchen 1'")
    #expect(quoted(Array("a'\\\n\u{1b}[2J\u{7f}".utf8)) == #"'a\x27\x5c\x0a\x1b[2J\x7f'"#)
    #expect(quoted([0xC2, 0x9B, 0xFF]) == #"'\xc2\x9b\xff'"#)  // the terminal's other way to say ESC [
    #expect(quoted([]) == "''")
    #expect(quoted([UInt8](repeating: 0x78, count: 64)) == "'" + String(repeating: "x", count: 64) + "'")
    #expect(quoted([UInt8](repeating: 0x78, count: 65)) == "'" + String(repeating: "x", count: 64) + "'...")
  }

  @Test func eachAreaHasItsLevel() {
    var settings = LogSettings()
    settings[.mqtt] = .debug
    settings[.taps] = .error
    let lines = logged(settings) { log in
      log.write(.debug, .mqtt, "mqtt debug")
      log.write(.warning, .taps, "taps warning")
      log.write(.error, .taps, "taps error")
      log.write(.notice, .state, "state notice")
      log.write(.info, .state, "state info")
    }
    #expect(lines == "mqtt debug\ntaps error\nstate notice\n")
  }

  @Test func repeatsAreTold() {
    let lines = logged(marksPriority: true) { log in
      for _ in 0..<3 { log.write(.warning, .taps, "again") }
      log.write(.notice, .taps, "other")
      for _ in 0..<2 { log.write(.notice, .taps, "once more") }
      log.end()
      #expect(log.counters.written == 3 && log.counters.repeated == 3)
    }
    #expect(
      lines == """
        <4>again
        <4>tapline: last line repeated 2 times
        <5>other
        <5>once more
        <5>tapline: last line repeated 1 time

        """)
  }

  @Test func whatIsSuppressedIsTold() {
    var settings = LogSettings()
    settings.burst = 2
    settings.linesPerSecond = 1
    let lines = logged(settings) { log in
      for number in 0..<5 { log.line(.notice, .mqtt) { $0.writeDecimal(UInt64(number)) } }
      log.write(.notice, .taps, "not of that area")
      #expect(log.nextDeadline != .never)
      log.advance(to: Clock.now())
      log.advance(to: Clock.now().adding(seconds: 3))
      #expect(log.nextDeadline == .never)
      #expect(log.counters.suppressed == 3)
    }
    #expect(lines == "0\n1\nnot of that area\ntapline: 3 lines suppressed; see 'log: rate'; area mqtt\n")
  }

  /// Nobody reads: no line waits, all that do not fit are counted, and told to whoever reads again.
  @Test func aStuckReaderIsNotWaitedFor() {
    let pair = try! Transport.pair()
    defer {
      Transport.close(pair.0)
      Transport.close(pair.1)
    }
    _ = fcntl(pair.0, F_SETFL, fcntl(pair.0, F_GETFL) & ~O_NONBLOCK)  // as standard error is
    var settings = LogSettings()
    settings.burst = 10_000
    let log = Log(settings, fd: pair.0, marksPriority: false)
    for number in 0..<5000 { log.line(.notice, .server) { $0.writeDecimal(UInt64(number)) } }
    let lost = log.counters.lost
    #expect(lost > 0 && log.counters.written + lost == 5000)
    while readText(pair.1) != "<would block>" {}
    log.write(.notice, .server, "here")
    #expect(readText(pair.1) == "tapline: \(lost) lines lost: the log did not take them\nhere\n")
    #expect(log.counters.lost == lost)
  }

  /// JOURNAL_STREAM counts for the file that it names only.
  @Test func theJournalIsRecognised() throws {
    var place = [Int32](repeating: 0, count: 2)
    #expect(pipe(&place) == 0)
    defer { for fd in place { close(fd) } }
    var status = stat()
    #expect(fstat(place[1], &status) == 0)
    setenv("JOURNAL_STREAM", "\(status.st_dev):\(status.st_ino)", 1)
    #expect(Log.isJournal(place[1]))
    setenv("JOURNAL_STREAM", "\(status.st_dev):\(status.st_ino + 1)", 1)
    #expect(!Log.isJournal(place[1]))
    unsetenv("JOURNAL_STREAM")
    #expect(!Log.isJournal(place[1]))
  }
}

/// Folding and budgets, with the clock in hand.
@Suite struct LogGateTests {
  private static func settings(rate: Int, burst: Int) -> LogSettings {
    var settings = LogSettings()
    settings.linesPerSecond = rate
    settings.burst = burst
    return settings
  }

  /// A gate and what it lets through at a time in milliseconds.
  private struct World {
    var gate: LogGate
    init(rate: Int = 5, burst: Int = 100) { gate = LogGate(LogGateTests.settings(rate: rate, burst: burst)) }

    mutating func log(
      _ line: String, _ priority: Log.Priority = .notice, _ area: Log.Area = .mqtt, at milliseconds: Int64
    ) -> LogGate.Answer {
      let now = Instant(milliseconds: milliseconds)
      return withBytes(line) { bytes in
        let answer = gate.admit(bytes, priority, area, at: now)
        if answer == .write {
          _ = gate.takeRepeats(at: .never)
          gate.keep(bytes, priority, at: now)
        }
        return answer
      }
    }
  }

  @Test func theSameLineIsFoldedForTenSeconds() {
    var world = World()
    #expect(world.log("a", at: 1000) == .write)
    #expect(world.gate.nextDeadline == .never)
    #expect(world.log("a", at: 2000) == .repeated)
    #expect(world.log("a", at: 10_999) == .repeated)
    #expect(world.gate.nextDeadline == Instant(milliseconds: 11_000))
    #expect(world.gate.takeRepeats(at: Instant(milliseconds: 10_999)) == nil)
    #expect(world.gate.takeRepeats(at: Instant(milliseconds: 11_000))?.count == 2)
    #expect(world.gate.nextDeadline == .never)
    // Told, and folded on.
    #expect(world.log("a", at: 12_000) == .repeated)
    #expect(world.gate.nextDeadline == Instant(milliseconds: 21_000))
    #expect(world.gate.takeRepeats(at: Instant(milliseconds: 21_000))?.count == 1)
    // Written anew when it was quiet.
    #expect(world.log("a", at: 31_000) == .write)
  }

  @Test func anotherLineOrPriorityIsNotTheSame() {
    var world = World()
    #expect(world.log("a", at: 0) == .write)
    #expect(world.log("a", .warning, at: 0) == .write)
    #expect(world.log("ab", .warning, at: 0) == .write)
    #expect(world.log("a", .warning, at: 0) == .write)
    #expect(world.log("", .warning, at: 0) == .write)
  }

  @Test func aSpentBudgetIsSilentUntilItIsWhole() {
    var world = World(rate: 2, burst: 4)
    var number = 0
    func next() -> String {
      number += 1
      return "\(number)"
    }
    for _ in 0..<4 { #expect(world.log(next(), at: 0) == .write) }
    #expect(world.log(next(), at: 0) == .suppressed)
    #expect(world.log(next(), .error, at: 1999) == .suppressed)  // even urgent ones: the area says that there were some
    #expect(world.log(next(), .notice, .taps, at: 1999) == .write)  // others are not silent
    #expect(world.gate.nextDeadline == Instant(milliseconds: 2000))
    #expect(world.gate.takeSuppressed(at: Instant(milliseconds: 1999)) == nil)
    let told = world.gate.takeSuppressed(at: Instant(milliseconds: 2000))
    #expect(told?.count == 2 && told?.area == .mqtt)
    #expect(world.gate.nextDeadline == .never)
    for _ in 0..<4 { #expect(world.log(next(), at: 2000) == .write) }
    #expect(world.log(next(), at: 2000) == .suppressed)
  }

  @Test func aSteadyPaceIsNeverSuppressed() {
    var world = World(rate: 2, burst: 1)
    for number in 0..<100 { #expect(world.log("\(number)", at: Int64(number) * 500) == .write) }
  }

  @Test func repeatsCostNothing() {
    var world = World(rate: 1, burst: 2)
    #expect(world.log("a", at: 0) == .write)
    for _ in 0..<1000 { #expect(world.log("a", at: 0) == .repeated) }
    #expect(world.log("b", at: 0) == .write)
    #expect(world.log("b", at: 0) == .repeated)  // with nothing left
    #expect(world.log("c", at: 0) == .suppressed)
  }

  /// However lines come, what is written is at most `burst` and `rate` a second, and nothing is uncounted.
  @Test(arguments: 1...20) func noStormExceedsTheBudget(seed: UInt64) {
    var random = seed &* 0x9E37_79B9_7F4A_7C15
    func below(_ bound: UInt64) -> UInt64 {
      random = random &* 6_364_136_223_846_793_005 &+ 1
      return (random >> 33) % bound
    }
    let (rate, burst) = (Int(1 + below(50)), Int(1 + below(50)))
    var world = World(rate: rate, burst: burst)
    var milliseconds: Int64 = 0
    var (written, repeated, suppressed, told) = (0, 0, 0, 0)
    for _ in 0..<5000 {
      milliseconds += Int64(below(20))
      while let (count, _) = world.gate.takeSuppressed(at: Instant(milliseconds: milliseconds)) { told += Int(count) }
      switch world.log("\(below(4))", at: milliseconds) {
      case .write: written += 1
      case .repeated: repeated += 1
      case .suppressed: suppressed += 1
      }
      #expect(Int64(written) * 1000 <= Int64(burst) * 1000 + milliseconds * Int64(rate) + 1000)
    }
    while let (count, _) = world.gate.takeSuppressed(at: .never) { told += Int(count) }
    #expect(written + repeated + suppressed == 5000 && told == suppressed)
  }
}
