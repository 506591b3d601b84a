import Bounded
import CLinux
import Foundation
import Glibc

@testable import LinuxIO

/// A directory of its own for a test, removed with it: in place of /sys, for sockets and files.
final class TemporaryDirectory {
  let path: String

  init() {
    var template = Array((NSTemporaryDirectory() as NSString).appendingPathComponent("tapline-test-XXXXXX").utf8CString)
    path = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func file(_ name: String, _ content: String) {
    let full = path + "/" + name
    try! FileManager.default.createDirectory(
      atPath: (full as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
    try! content.write(toFile: full, atomically: false, encoding: .utf8)
  }

  func fifo(_ name: String) { precondition(mkfifo(path + "/" + name, 0o600) == 0) }
}

/// Calls `body` with the bytes of `text`.
func withBytes<Result>(_ text: String, _ body: (Bytes) throws -> Result) rethrows -> Result {
  try Array(text.utf8).withUnsafeBytes { try body(Bytes($0)) }
}

func text(_ bytes: Bytes) -> String { String(decoding: bytes.array(), as: UTF8.self) }
func text<let capacity: Int>(_ fixed: FixedText<capacity>) -> String { fixed.withBytes { text($0) } }

/// What `body` writes.
func written(_ body: (inout ByteWriter) -> Void) -> String {
  withUnsafeTemporaryAllocation(byteCount: 512, alignment: 8) { buffer in
    var writer = ByteWriter(buffer)
    body(&writer)
    return text(writer.written)
  }
}

/// What one read of `fd` gives, as text; what else it gives, in angle brackets.
func readText(_ fd: Int32) -> String {
  var buffer = [UInt8](repeating: 0, count: 4096)
  return buffer.withUnsafeMutableBytes { buffer in
    switch Transport.read(fd, into: buffer) {
    case .bytes(let count): return text(Bytes(buffer.baseAddress!, count: count))
    case .wouldBlock: return "<would block>"
    case .closed: return "<closed>"
    case .failed(let error): return "<\(text(error.text))>"
    }
  }
}

func write(_ text: String, to fd: Int32) -> Int? {
  withBytes(text) { bytes in
    guard case .bytes(let count) = Transport.write(fd, bytes) else { return nil }
    return count
  }
}

/// Tries again where another process has taken a port between two steps of `body`; a port that is always in use is no chance.
func onFreePorts(_ body: () throws -> Void) throws {
  for _ in 0..<20 {
    do { return try body() } catch let error as LinuxError where error.errno == EADDRINUSE {}
  }
  try body()
}

func errno(of body: () throws -> Void) -> Int32? {
  do { try body() } catch let error as LinuxError { return error.errno } catch { return -1 }
  return nil
}
