public import Bounded
import CLinux

/// Lines to standard error, one write(2) each, in the journal's form when it listens. Allocates nothing.
public struct Log: Sendable {
  /// As in syslog(3).
  public enum Priority: UInt8, Sendable, Comparable {
    case error = 3
    case warning = 4
    case notice = 5
    case info = 6
    case debug = 7

    public static func < (left: Priority, right: Priority) -> Bool { left.rawValue < right.rawValue }
  }

  /// Bytes of a line with prefix and newline; what is longer is cut and ends in `...`.
  public static var lineBytesMax: Int { 512 }

  /// Lines less urgent than this are not written.
  public var least: Priority
  private let fd: Int32
  private let marksPriority: Bool

  /// - Parameter marksPriority: `<3>` before each line (sd-daemon(3)); nil: when JOURNAL_STREAM is set.
  public init(least: Priority = .info, fd: Int32 = 2, marksPriority: Bool? = nil) {
    self.least = least
    self.fd = fd
    self.marksPriority = marksPriority ?? (Process.environment("JOURNAL_STREAM") != nil)
  }

  public func error(_ text: StaticString) { write(.error, Bytes(text)) }
  public func warning(_ text: StaticString) { write(.warning, Bytes(text)) }
  public func notice(_ text: StaticString) { write(.notice, Bytes(text)) }
  public func info(_ text: StaticString) { write(.info, Bytes(text)) }

  public func write(_ priority: Priority, _ text: Bytes) {
    line(priority) { $0.write(text.count <= $0.free ? text : text.first($0.free)) }
  }

  /// Writes what `body` composes. Control bytes become `?`: a peer's text cannot forge a line or a colour.
  public func line(_ priority: Priority, _ body: (inout ByteWriter) -> Void) {
    guard priority <= least else { return }
    var memory = InlineArray<512, UInt8>(repeating: 0)
    withUnsafeMutableBytes(of: &memory) { line in
      var text = begin(line, priority)
      body(&text)
      finish(line, text)
    }
  }

  // Out of line, as the compiler makes a `line` for every `body`.

  @inline(never) private func begin(_ line: UnsafeMutableRawBufferPointer, _ priority: Priority) -> ByteWriter {
    if marksPriority {
      line[0] = UInt8(ascii: "<")
      line[1] = 48 + priority.rawValue
      line[2] = UInt8(ascii: ">")
    }
    let start = marksPriority ? 3 : 0
    return ByteWriter(line.baseAddress! + start, capacity: line.count - start - 4)
  }

  @inline(never) private func finish(_ line: UnsafeMutableRawBufferPointer, _ text: ByteWriter) {
    let start = marksPriority ? 3 : 0
    var end = start + text.count
    for index in start..<end where line[index] < 0x20 || line[index] == 0x7F { line[index] = UInt8(ascii: "?") }
    if text.overflowed || text.free == 0 {
      for _ in 0..<3 {
        line[end] = UInt8(ascii: ".")
        end += 1
      }
    }
    line[end] = UInt8(ascii: "\n")
    // A log that cannot be written has nowhere to say so.
    _ = clinux_write(fd, line.baseAddress!, end + 1)
  }
}
