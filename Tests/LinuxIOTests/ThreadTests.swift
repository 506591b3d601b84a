import Bounded
import Foundation
import Synchronization
import Testing

@testable import LinuxIO

/// Both ends of each ring at once, on real threads and as fast as they go. The assertions hold in any build; in one with
/// ThreadSanitizer (Tests/Sanitizers/tsan) the rings' memory order is looked at as well. Counts bound the work.
@Suite("Threads and the rings between them") struct ThreadTests {
  private let directory = TemporaryDirectory()

  // MARK: Each ring alone

  /// Requests go in while results come out, at every fill level; each result is its own request's.
  @Test(arguments: [1, 2, 3, 64]) func readings(capacity: Int) throws {
    for number in 0..<16 { directory.file("sensor\(number)", String(repeating: "\(number)", count: 3 * number + 1)) }
    let lane = try withBytes(directory.path) { try SlowLane(requestsMax: capacity, sysfsRoot: $0) }
    let poller = try Poller(eventsMax: 1)
    try poller.add(lane.fd, token: 0, interest: .read)
    var draw = SeededGenerator(seed: UInt64(capacity))
    var (asked, taken) = (0, 0)
    while taken < 3000 {
      if asked < 3000, draw.oneIn(2) {
        let hasRoom = asked - taken < capacity
        let isTaken = withBytes("sensor\(asked % 16)") {
          lane.submit(sensor: UInt32(asked), place: nil, name: .empty, file: $0)
        }
        #expect(isTaken == hasRoom)
        if isTaken { asked += 1 }
      } else if let result = lane.takeResult() {
        #expect(result.sensor == UInt32(taken) && result.error == nil)
        #expect(text(result.content) == String(repeating: "\(taken % 16)", count: 3 * (taken % 16) + 1))
        taken += 1
      } else if asked == taken + capacity || asked == 3000 {
        try #require(event(of: poller))
      }
    }
    #expect(lane.underway == 0 && lane.takeResult() == nil)
  }

  /// Messages of all lengths, each offered until it is taken: all come once, whole and in order.
  @Test(arguments: [1, 2, 3, 64]) func messages(capacity: Int) throws {
    let seen = Seen()
    let lane = try handlers(capacity: capacity, seen)
    let patience = Patience()
    for message in 0..<20_000 {
      while !submit(message, to: lane) { try patience.yield() }
    }
    while lane.waiting > 0 { try patience.yield() }
    #expect(seen.count.load(ordering: .acquiring) == 20_000)
    #expect(seen.wrong.load(ordering: .relaxed) == 0)
  }

  /// Each level is in the file before its result is, however the result is waited for.
  @Test func levels() throws {
    directory.file("class/leds/a/max_brightness", "100000\n")
    directory.file("class/leds/a/brightness", "0\n")
    let lane = try led("a")
    let poller = try Poller(eventsMax: 1)
    try poller.add(lane.fd, token: 0, interest: .read)
    var draw = SeededGenerator(seed: 1)
    for round in 0..<2000 {
      let share = draw.next() >> 32
      #expect(lane.submit(round == 0 ? .open : .set, share: share))
      #expect(!lane.submit(.set, share: 0))
      var result: LevelResult?
      if draw.oneIn(2) {
        result = lane.wait(until: Patience.isOver)
      } else {
        while true {
          result = lane.takeResult()
          guard result == nil else { break }
          try #require(event(of: poller))
        }
      }
      #expect(try #require(result).failure == nil)
      #expect(content("class/leds/a/brightness") == "\(LevelFile.part(share, of: 100_000))")
    }
    #expect(lane.takeResult() == nil)
  }

  /// The saver's memory is the thread's while it writes: what is not taken meanwhile leaves no trace in it.
  @Test func savedFiles() throws {
    let saver = try saver("state")
    let poller = try Poller(eventsMax: 1)
    try poller.add(saver.fd, token: 0, interest: .read)
    var draw = SeededGenerator(seed: 2)
    for _ in 0..<200 {
      let saved = letters(draw.below(4097), &draw)
      #expect(withBytes(saved) { saver.save($0) })
      #expect(!withBytes("another") { saver.save($0) })
      try outcome(of: saver, poller)
      #expect(content("state") == saved)
    }
  }

  // MARK: Ends

  /// A lane that is given up while messages wait: those that were begun ran in order, the thread ends, and the handler
  /// is let go.
  @Test func aLaneGivenUpWhileItIsBusyEnds() throws {
    let patience = Patience()
    for round in 0..<200 {
      let seen = Seen()
      weak var handler: Witness?
      do {
        let witness = Witness(seen)
        handler = witness
        let lane = try HandlerLane(capacity: 8, messageBytesMax: 64) { witness.seen.check($0, $1, $2) }
        for message in 0..<8 { #expect(submit(message, to: lane)) }
        for _ in 0..<round % 8 { sched_yield() }
      }
      while handler != nil { try patience.yield() }
      #expect(seen.count.load(ordering: .acquiring) <= 8 && seen.wrong.load(ordering: .relaxed) == 0)
    }
  }

  /// The same of readings: the results that are taken first are right, and nothing touches memory that is gone.
  @Test func aLaneGivenUpWhileItReads() throws {
    directory.file("sensor", "5\n")
    for round in 0..<200 {
      let lane = try withBytes(directory.path) { try SlowLane(requestsMax: 4, sysfsRoot: $0) }
      for sensor in 0..<4 {
        #expect(lane.submit(sensor: UInt32(sensor), place: nil, name: .empty, file: Bytes("sensor")))
      }
      let poller = try Poller(eventsMax: 1)
      try poller.add(lane.fd, token: 0, interest: .read)
      for sensor in 0..<round % 4 {
        var result = lane.takeResult()
        while result == nil {
          try #require(event(of: poller))
          result = lane.takeResult()
        }
        #expect(result?.sensor == UInt32(sensor) && result.map { text($0.content) } == "5\n")
      }
    }
  }

  // MARK: All together

  /// As the daemon has them: one thread with a poller, and lanes of every kind that it feeds and that wake it.
  @Test func everyLaneOnOneLoop() throws {
    let rounds = 300
    for name in ["a", "b"] {
      directory.file("class/leds/\(name)/max_brightness", "255\n")
      directory.file("class/leds/\(name)/brightness", "0\n")
      directory.file("sensor-\(name)", "\(name)\n")
    }
    let seen = Seen()
    let handlers = try handlers(capacity: 16, seen)
    let sensors = try (0..<2).map { _ in try withBytes(directory.path) { try SlowLane(requestsMax: 2, sysfsRoot: $0) } }
    let levels = [try led("a"), try led("b")]
    let saver = try saver("state")
    let poller = try Poller(eventsMax: 8)
    let fds = sensors.map(\.fd) + levels.map(\.fd) + [saver.fd]
    for (token, fd) in fds.enumerated() { try poller.add(fd, token: UInt64(token), interest: .read) }

    let patience = Patience()
    var messages = 0
    /// What the loop does with each event: a message to the handlers.
    func handle() throws {
      while !submit(messages, to: handlers) { try patience.yield() }
      messages += 1
    }
    func ask(_ lane: Int, _ number: Int) {
      let file = lane == 0 ? Bytes("sensor-a") : Bytes("sensor-b")
      #expect(sensors[lane].submit(sensor: UInt32(number), place: nil, name: .empty, file: file))
    }
    func set(_ lane: Int, _ number: Int) {
      #expect(levels[lane].submit(number == 0 ? .open : .set, share: UInt64(number % 256) << 32 / 255))
    }
    func save(_ number: Int) { #expect(withBytes("state \(number)") { saver.save($0) }) }

    var done = [Int](repeating: 0, count: fds.count)
    for lane in 0..<2 {
      ask(lane, 0)
      set(lane, 0)
    }
    save(0)
    while done.contains(where: { $0 < rounds }) {
      let count = poller.wait(timeoutMilliseconds: Patience.milliseconds)
      try #require(count > 0)
      for index in 0..<count {
        let which = Int(poller.event(index).token)
        switch which {
        case 0, 1:
          guard let result = sensors[which].takeResult() else { continue }
          #expect(result.sensor == UInt32(done[which]) && text(result.content) == (which == 0 ? "a\n" : "b\n"))
          done[which] += 1
          if done[which] < rounds { ask(which, done[which]) }
        case 2, 3:
          guard let result = levels[which - 2].takeResult() else { continue }
          #expect(result.failure == nil)
          #expect(content("class/leds/\(which == 2 ? "a" : "b")/brightness") == "\(done[which] % 256)")
          done[which] += 1
          if done[which] < rounds { set(which - 2, done[which]) }
        default:
          guard case .saved = saver.takeOutcome() else { continue }
          #expect(content("state") == "state \(done[which])")
          done[which] += 1
          if done[which] < rounds { save(done[which]) }
        }
        try handle()
      }
    }
    while handlers.waiting > 0 { try patience.yield() }
    #expect(messages == rounds * fds.count)
    #expect(seen.count.load(ordering: .acquiring) == messages && seen.wrong.load(ordering: .relaxed) == 0)
  }

  // MARK: Helpers

  private func content(_ name: String) -> String? {
    try? String(contentsOfFile: directory.path + "/" + name, encoding: .utf8)
  }

  private func led(_ name: String) throws -> LevelLane {
    let device = LevelDevice.led(name: withBytes(name) { FixedText<64>($0) }, trigger: ShortText(.empty))
    return try withBytes(directory.path) { try LevelLane(device, sysfsRoot: $0) }
  }

  /// The saver's thread may outlive it, so its memory is never given back.
  private func saver(_ name: String) throws -> FileSaver {
    try withBytes(directory.path + "/" + name) {
      try FileSaver(path: $0, memory: .allocate(byteCount: 4096, alignment: 16))
    }
  }

  private func outcome(of saver: FileSaver, _ poller: Poller) throws {
    while true {
      switch saver.takeOutcome() {
      case .saved: return
      case .failed(let error): throw error
      case nil: try #require(event(of: poller))
      }
    }
  }

  private func event(of poller: Poller) -> Bool { poller.wait(timeoutMilliseconds: Patience.milliseconds) > 0 }

  private func handlers(capacity: Int, _ seen: Seen) throws -> HandlerLane {
    try HandlerLane(capacity: capacity, messageBytesMax: 64) { seen.check($0, $1, $2) }
  }

  /// A message that tells its place in the order by its tag, its lengths and every byte.
  private func submit(_ number: Int, to lane: HandlerLane) -> Bool {
    let byte = UInt8(truncatingIfNeeded: number)
    return withUnsafeTemporaryAllocation(byteCount: 64, alignment: 1) { memory in
      memory.initializeMemory(as: UInt8.self, repeating: byte)
      let topic = Bytes(UnsafeRawBufferPointer(rebasing: memory[..<(number % 23)]))
      let payload = Bytes(UnsafeRawBufferPointer(rebasing: memory[..<(number % 41)]))
      return lane.submit(tag: UInt32(number), topic: topic, payload: payload)
    }
  }

  private func letters(_ count: Int, _ draw: inout SeededGenerator) -> String {
    String(decoding: (0..<count).map { _ in UInt8(ascii: "a") + UInt8(draw.below(26)) }, as: UTF8.self)
  }
}

/// What a handlers' thread has seen, for the test's own thread to look at.
private final class Seen: Sendable {
  let count = Atomic<Int>(0)
  let wrong = Atomic<Int>(0)

  /// The message is the next one, as `submit` made it.
  func check(_ tag: UInt32, _ topic: Bytes, _ payload: Bytes) {
    let number = count.load(ordering: .relaxed)
    var isRight = tag == UInt32(number) && topic.count == number % 23 && payload.count == number % 41
    for bytes in [topic, payload] {
      for index in 0..<bytes.count where bytes[index] != UInt8(truncatingIfNeeded: number) { isRight = false }
    }
    if !isRight { wrong.add(1, ordering: .relaxed) }
    count.store(number + 1, ordering: .releasing)
  }
}

/// Lives as long as the closure that holds it.
private final class Witness: Sendable {
  let seen: Seen
  init(_ seen: Seen) { self.seen = seen }
}

/// For what another thread does sooner or later. It runs out only when that never happens.
struct Patience {
  static var seconds: Int64 { 120 }
  static var milliseconds: Int { Int(seconds) * 1000 }
  static var isOver: Instant { Clock.now().adding(seconds: seconds) }
  struct Exhausted: Error {}
  private let end = Patience.isOver

  /// Lets the other thread run.
  func yield() throws {
    sched_yield()
    guard Clock.now() < end else { throw Exhausted() }
  }
}
