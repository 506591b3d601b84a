import Bounded
import Foundation
import Testing

@testable import LinuxIO

@Suite struct FileSaverTests {
  private let directory = TemporaryDirectory()
  private func path(_ name: String) -> [UInt8] { [UInt8]("\(directory.path)/\(name)".utf8) }
  private func content(_ name: String) -> String? {
    try? String(contentsOfFile: directory.path + "/" + name, encoding: .utf8)
  }
  private func memory(_ byteCount: Int) -> UnsafeMutableRawBufferPointer {
    .allocate(byteCount: byteCount, alignment: 16)
  }
  private func saver(_ name: String, byteCount: Int = 64) throws -> FileSaver {
    try path(name).withUnsafeBytes { path throws(LinuxError) in
      try FileSaver(path: Bytes(path), memory: memory(byteCount))
    }
  }
  private var soon: Instant { Patience.isOver }

  /// "saved", the errno's text, or nil when nothing came.
  private func outcome(_ saver: FileSaver) -> String? {
    switch saver.waitForOutcome(until: soon) {
    case .saved: return "saved"
    case .failed(let error): return text(error.text)
    case nil: return nil
    }
  }

  @Test func replacesAFileAgainAndAgain() throws {
    directory.file("state", "before")
    directory.file("state.new", "left over from a crash")
    let saver = try saver("state")
    for round in 0..<50 {
      #expect(!saver.isBusy)
      #expect(withBytes("round \(round)") { saver.save($0) })
      #expect(outcome(saver) == "saved")
      #expect(content("state") == "round \(round)")
      #expect(content("state.new") == nil)
    }
    #expect(saver.takeOutcome() == nil)
  }

  @Test func takesOneAtATimeAndNoMoreThanItHasRoomFor() throws {
    let saver = try saver("state", byteCount: 4)
    #expect(!withBytes("12345") { saver.save($0) })
    #expect(withBytes("1234") { saver.save($0) })
    #expect(!withBytes("5678") { saver.save($0) })
    #expect(outcome(saver) == "saved")
    #expect(content("state") == "1234")
  }

  @Test func tellsByItsDescriptor() throws {
    let saver = try saver("state")
    let poller = try Poller(eventsMax: 1)
    try poller.add(saver.fd, token: 1, interest: .read)
    #expect(poller.wait(timeoutMilliseconds: 0) == 0)
    #expect(withBytes("x") { saver.save($0) })
    #expect(poller.wait(timeoutMilliseconds: Patience.milliseconds) == 1)
    #expect(saver.takeOutcome() != nil)
    #expect(poller.wait(timeoutMilliseconds: 0) == 0)
  }

  @Test func aDirectoryThatIsNotThereIsAnError() throws {
    let saver = try saver("nowhere/state")
    #expect(withBytes("x") { saver.save($0) })
    #expect(outcome(saver) == "No such file or directory")
    // And is no longer once it is there.
    try FileManager.default.createDirectory(atPath: directory.path + "/nowhere", withIntermediateDirectories: false)
    #expect(withBytes("x") { saver.save($0) })
    #expect(outcome(saver) == "saved")
    #expect(content("nowhere/state") == "x")
  }

  @Test func whatCannotBeWrittenLeavesTheFileAsItWas() throws {
    directory.file("state", "before")
    try FileManager.default.createDirectory(atPath: directory.path + "/state.new", withIntermediateDirectories: false)
    let saver = try saver("state")
    #expect(withBytes("x") { saver.save($0) })
    #expect(outcome(saver) == "File exists")
    #expect(content("state") == "before")
  }

  @Test func aDirectoryIsNotReplaced() throws {
    directory.file("state/child", "")
    let saver = try saver("state")
    #expect(withBytes("x") { saver.save($0) })
    #expect(outcome(saver) == "Is a directory")
    #expect(content("state.new") == nil)
    #expect(content("state/child") == "")
  }

  @Test func aBadFileIsSetAside() throws {
    directory.file("state", "bad")
    directory.file("state.bad", "worse")
    try path("state").withUnsafeBytes { try Files.setAside(Bytes($0)) }
    #expect(content("state") == nil)
    #expect(content("state.bad") == "bad")
    #expect(errno { try path("state").withUnsafeBytes { try Files.setAside(Bytes($0)) } } == 2)
  }
}
