public import Bounded
import CLinux

/// What is logged: `log:` of the configuration.
public struct LogSettings: Sendable {
  /// By the area; lines less urgent are not written.
  public private(set) var levels = InlineArray<5, Log.Priority>(repeating: .notice)
  /// Lines a second of each area, in the long run; 1...1000.
  public var linesPerSecond = 5
  /// Lines of each area at once; 1...10000.
  public var burst = 100

  public init() {}

  public subscript(area: Log.Area) -> Log.Priority {
    get { levels[Int(area.rawValue)] }
    set { levels[Int(area.rawValue)] = newValue }
  }
}

/// Lines to standard error, one write(2) each, in the journal's form when it listens. Allocates nothing and never waits:
/// a line that the reader has no room for is lost, and counted.
public final class Log {
  /// As in syslog(3).
  public enum Priority: UInt8, Sendable, Comparable {
    case error = 3
    case warning = 4
    case notice = 5
    case info = 6
    case debug = 7

    public static func < (left: Priority, right: Priority) -> Bool { left.rawValue < right.rawValue }
  }

  public enum Area: UInt8, Sendable { case server, mqtt, taps, sensors, state }

  /// Lines since the start.
  public struct Counters: BitwiseCopyable, Equatable, Sendable {
    public fileprivate(set) var written: UInt64 = 0
    public fileprivate(set) var repeated: UInt64 = 0
    public fileprivate(set) var suppressed: UInt64 = 0
    /// Nobody read them, or they could not be written.
    public fileprivate(set) var lost: UInt64 = 0

    public init() {}
  }

  /// Bytes of a line with prefix and newline; what is longer is cut and ends in `...`.
  public static var lineBytesMax: Int { 512 }

  public private(set) var settings: LogSettings
  public private(set) var counters = Counters()
  /// When `advance` has something to say.
  public private(set) var nextDeadline = Instant.never
  private var gate: LogGate
  /// Lost lines that no line has told of yet.
  private var untold: UInt64 = 0
  private let fd: Int32
  private let marksPriority: Bool

  /// - Parameter marksPriority: `<3>` before each line (sd-daemon(3)); nil: when the journal reads `fd`.
  public init(_ settings: LogSettings = LogSettings(), fd: Int32 = 2, marksPriority: Bool? = nil) {
    self.settings = settings
    self.fd = fd
    self.marksPriority = marksPriority ?? Log.isJournal(fd)
    gate = LogGate(settings)
  }

  /// JOURNAL_STREAM is `DEVICE:INODE` of what the service manager has connected to the journal. Who has sent standard error
  /// elsewhere since then still has the variable.
  static func isJournal(_ fd: Int32) -> Bool {
    var device: UInt64 = 0
    var inode: UInt64 = 0
    guard let stream = Process.environment("JOURNAL_STREAM"), clinux_file_id(fd, &device, &inode) == 0 else {
      return false
    }
    var text = FixedText<48>()
    text.append(decimal: device)
    text.append(":")
    text.append(decimal: inode)
    return text == stream
  }

  /// Goes by other settings from here on.
  public func adopt(_ settings: LogSettings) {
    self.settings = settings
    gate.adopt(settings)
  }

  /// Whether such a line would be written.
  public func shows(_ priority: Priority, _ area: Area) -> Bool { priority <= settings[area] }

  public func write(_ priority: Priority, _ area: Area, _ text: StaticString) {
    line(priority, area) { $0.write(text) }
  }

  /// Writes what `body` composes. Control bytes become `?`: a peer's text cannot forge a line or a colour.
  public func line(_ priority: Priority, _ area: Area, _ body: (inout ByteWriter) -> Void) {
    guard shows(priority, area) else { return }
    compose(body) { line, text in finish(line, text, priority, area, at: Clock.now()) }
  }

  /// Says what has not been said of lines that were not written, where it is due.
  public func advance(to now: Instant) {
    guard nextDeadline <= now else { return }
    settle(at: now)
  }

  /// Says all that has not been said: before the end.
  public func end() { settle(at: .never) }

  // Out of line, as the compiler makes a `line` for every `body`.

  private func compose(_ body: (inout ByteWriter) -> Void, then: (UnsafeMutableRawBufferPointer, ByteWriter) -> Void) {
    var memory = InlineArray<512, UInt8>(repeating: 0)
    withUnsafeMutableBytes(of: &memory) { line in
      var text = ByteWriter(line.baseAddress! + Log.prefixBytes, capacity: line.count - Log.prefixBytes - 4)
      body(&text)
      then(line, text)
    }
  }

  /// The length of `<3>`.
  private static var prefixBytes: Int { 3 }

  @inline(never) private func finish(
    _ line: UnsafeMutableRawBufferPointer, _ text: ByteWriter, _ priority: Priority, _ area: Area, at now: Instant
  ) {
    var end = Log.prefixBytes + text.count
    for index in Log.prefixBytes..<end where line[index] < 0x20 || line[index] == 0x7F {
      line[index] = UInt8(ascii: "?")
    }
    if text.overflowed || text.free == 0 {
      for _ in 0..<3 {
        line[end] = UInt8(ascii: ".")
        end += 1
      }
    }
    let whole = Bytes(UnsafeRawBufferPointer(rebasing: line[Log.prefixBytes..<end]))
    settle(at: now)
    switch gate.admit(whole, priority, area, at: now) {
    case .write:
      sayRepeats(at: .never)
      gate.keep(whole, priority, at: now)
      send(line, end, priority)
    case .repeated: counters.repeated &+= 1
    case .suppressed: counters.suppressed &+= 1
    }
    nextDeadline = gate.nextDeadline
  }

  private func settle(at now: Instant) {
    sayRepeats(at: now)
    while let (count, area) = gate.takeSuppressed(at: now) {
      let name: StaticString =
        switch area {
        case .server: "server"
        case .mqtt: "mqtt"
        case .taps: "taps"
        case .sensors: "sensors"
        case .state: "state"
        }
      say(.notice, "", count, "line", " suppressed; see 'log: rate'; area ", name)
    }
    nextDeadline = gate.nextDeadline
  }

  private func sayRepeats(at now: Instant) {
    guard let (count, priority) = gate.takeRepeats(at: now) else { return }
    say(priority, "last line repeated ", count, "time")
  }

  @inline(never) @discardableResult private func say(
    _ priority: Priority, _ before: StaticString, _ count: UInt64, _ noun: StaticString, _ after: StaticString = "",
    _ name: StaticString = ""
  ) -> Bool {
    var isWritten = false
    // Not by way of a constant: a closure that has a name takes memory for what it captures in the Embedded build.
    compose { text in
      text.write("tapline: ")
      text.write(before)
      text.writeDecimal(count)
      text.write(" ")
      text.write(noun)
      if count != 1 { text.write("s") }
      text.write(after)
      text.write(name)
    } then: { line, text in
      isWritten = put(line, Log.prefixBytes + text.count, priority)
    }
    return isWritten
  }

  private func send(_ line: UnsafeMutableRawBufferPointer, _ end: Int, _ priority: Priority) {
    if untold > 0, say(.warning, "", untold, "line", " lost: the log did not take them") { untold = 0 }
    if put(line, end, priority) {
      counters.written &+= 1
    } else {
      counters.lost &+= 1
      untold &+= 1
    }
  }

  /// Line and newline to the reader, if it takes them at once.
  private func put(_ line: UnsafeMutableRawBufferPointer, _ end: Int, _ priority: Priority) -> Bool {
    line[0] = UInt8(ascii: "<")
    line[1] = 48 + priority.rawValue
    line[2] = UInt8(ascii: ">")
    line[end] = UInt8(ascii: "\n")
    let start = marksPriority ? 0 : Log.prefixBytes
    let byteCount = end + 1 - start
    return clinux_write_now(fd, line.baseAddress! + start, byteCount) == Int64(byteCount)
  }
}

extension ByteWriter {
  /// A peer's text in quotes: what is not printable ASCII, and `'` and `\`, as `\x1b`; at most 64 bytes of it, `...` after
  /// them where there are more.
  public mutating func write(quoted text: Bytes) {
    write("'")
    for index in 0..<min(text.count, 64) {
      let byte = text[index]
      if byte >= 0x20, byte < 0x7F, byte != UInt8(ascii: "'"), byte != UInt8(ascii: "\\") {
        write(byte)
      } else {
        write("\\x")
        writeHexDigit(byte >> 4)
        writeHexDigit(byte & 15)
      }
    }
    write(text.count > 64 ? "'..." : "'")
  }

  private mutating func writeHexDigit(_ digit: UInt8) { write(digit < 10 ? 48 + digit : 87 + digit) }
}
