import Bounded
import Foundation
import LinuxIO
import TaplineConfiguration
import Testing

@testable import Tapline

/// LEDs of plain files in place of /sys; a FIFO that nobody reads is a driver that hangs.
@Suite("PWM channels and LEDs at the end: each gets its last job, and none waits for another")
struct LevelExitTests {
  let root: URL
  /// For what a lane's thread does sooner or later. It runs out only when that never happens.
  private let patienceMilliseconds = 120_000

  init() throws {
    root = FileManager.default.temporaryDirectory.appendingPathComponent("exit-\(UUID().uuidString)")
  }

  private func brightness(_ name: String) -> String { root.path + "/class/leds/\(name)/brightness" }

  private func lane(_ name: String, hangs: Bool = false) throws -> LevelLane {
    let folder = root.appendingPathComponent("class/leds/\(name)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    try Data("100\n".utf8).write(to: folder.appendingPathComponent("max_brightness"))
    if hangs {
      try #require(mkfifo(brightness(name), 0o600) == 0)
    } else {
      try Data("0\n".utf8).write(to: URL(fileURLWithPath: brightness(name)))
    }
    let device = LevelDevice.led(name: [UInt8](name.utf8).lend { FixedText<64>($0) }, trigger: ShortText(.empty))
    return try [UInt8](root.path.utf8).lend { root throws(LinuxError) in try LevelLane(device, sysfsRoot: root) }
  }

  private func content(_ name: String) throws -> String {
    try String(contentsOfFile: brightness(name), encoding: .utf8)
  }

  /// "ok", the errno, or "hangs", by lane; `-` for one that was not told of.
  private func finish(
    _ lanes: [LevelLane], within nanoseconds: Int64 = .max, _ job: (Int) -> (job: LevelJob, share: UInt64)?
  ) -> [String] {
    var told = [String](repeating: "-", count: lanes.count)
    KernelBoard.finish(lanes, within: nanoseconds, job) { index, result in
      #expect(told[index] == "-")
      guard let result else {
        told[index] = "hangs"
        return
      }
      told[index] = result.failure.map { "\($0.error.errno)" } ?? "ok"
    }
    #expect(lanes.allSatisfy { $0.isEnded && !$0.submit(.set, share: 0) })
    return told
  }

  @Test func eachGetsItsLastJob() throws {
    let lanes = try ["a", "b", "c"].map { try lane($0) }
    #expect(finish(lanes) { $0 == 1 ? nil : (.open, UInt64($0 + 1) << 32 / 4) } == ["ok", "-", "ok"])
    #expect(try ["a", "b", "c"].map { try content($0) } == ["25", "0\n", "75"])
  }

  /// It would wait for hundreds of years.
  @Test func adriverThatHangsWithNothingToDoIsNotWaitedFor() throws {
    let lanes = [try lane("a", hangs: true), try lane("b")]
    #expect(lanes[0].submit(.open, share: 1 << 32))
    #expect(finish(lanes) { $0 == 0 ? nil : (.open, 1 << 32) } == ["-", "ok"])
    #expect(try content("b") == "100")
  }

  @Test func adriverThatHangsHoldsUpNoOther() throws {
    let lanes = [try lane("a", hangs: true), try lane("b"), try lane("c", hangs: true), try lane("d")]
    #expect(lanes[0].submit(.open, share: 1 << 32))  // and c hangs at its last job
    let answers = try [lanes[1], lanes[3]].map { lane in
      let answer = try Poller(eventsMax: 1)
      try answer.add(lane.fd, token: 0, interest: .read)
      return answer
    }
    var haveAnswered = false
    let told = finish(lanes, within: 50_000_000) { index in
      // Asked again about a when all have their last job. Those that answer do so before a's time is looked at.
      if index == 0, lanes[3].isEnded {
        haveAnswered = answers.allSatisfy { $0.wait(timeoutMilliseconds: patienceMilliseconds) == 1 }
      }
      return (.open, 1 << 31)
    }
    #expect(haveAnswered)
    #expect(told == ["hangs", "ok", "hangs", "ok"])
    #expect(try content("b") == "50" && content("d") == "50")
  }

  /// The level that was being written comes first; the last one is told of, not that one.
  @Test func aWriteThatIsUnderWayComesBeforeTheLastOne() throws {
    let lanes = [try lane("a", hangs: true)]
    #expect(lanes[0].submit(.open, share: 1 << 32))
    let fd = open(brightness("a"), O_RDWR)  // the driver wakes up
    defer { close(fd) }
    #expect(finish(lanes) { _ in (.set, 0) } == ["ok"])
    var bytes = [UInt8](repeating: 0, count: 16)
    let count = read(fd, &bytes, bytes.count)
    #expect(String(decoding: bytes.prefix(max(count, 0)), as: UTF8.self) == "1000")
  }

  @Test func aFailureIsTold() throws {
    let lanes = [try lane("a")]
    try FileManager.default.removeItem(at: root.appendingPathComponent("class/leds/a"))
    #expect(finish(lanes) { _ in (.open, 0) } == ["\(ENODEV)"])
  }
}
