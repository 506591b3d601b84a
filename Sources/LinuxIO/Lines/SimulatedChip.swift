public import Bounded
import CGPIOD
import CLinux

/// A chip without hardware: 28 lines, GPIO0 to GPIO27, label `simulated`. Requests, levels, bias, edges and their
/// sequence numbers behave as the kernel's do, and an eventfd a line wakes the loop. The other side of the pins is the
/// test's, or the simulated board's: `drive`, `letGo`, `setActive`. For one thread.
public final class SimulatedChip {
  public static var lineCount: Int { 28 }
  /// Edges kept for a line until they are read; the oldest is dropped, as in the kernel, and its number is missing.
  static var edgesMax: Int { 64 }

  private struct Line {
    /// What the outside drives the pin with, nil when nothing does.
    var outside: Bool?
    /// What the pin still does since a released output drove it.
    var kept: Bool?
    var settings: LineSettings?
    var consumer = ShortText()
    /// An output's physical level.
    var output = false
    var fd: Int32 = -1
    var first = 0
    var count = 0
    var sequence: UInt32 = 0
  }

  public let capabilities: LineCapabilities
  private let lines: UnsafeMutablePointer<Line>
  /// `edgesMax` slots a line: rings.
  private let edges: UnsafeMutablePointer<EdgeEvent>

  /// - Parameter capabilities: what it claims; without sequence numbers its edges have 0, as those of libgpiod 1.6. Its
  ///   pins do not bounce, so a kernel debounce changes nothing.
  public init(capabilities: LineCapabilities = [.sequenceNumbers, .eventClock]) {
    self.capabilities = capabilities
    lines = .allocate(capacity: SimulatedChip.lineCount)
    lines.initialize(repeating: Line(), count: SimulatedChip.lineCount)
    let edgeCount = SimulatedChip.lineCount * SimulatedChip.edgesMax
    edges = .allocate(capacity: edgeCount)
    edges.initialize(repeating: EdgeEvent(timestampNanoseconds: 0, rising: false, sequence: 0), count: edgeCount)
  }

  deinit {
    for offset in 0..<SimulatedChip.lineCount where lines[offset].fd >= 0 { _ = clinux_close(lines[offset].fd) }
    lines.deinitialize(count: SimulatedChip.lineCount)
    lines.deallocate()
    edges.deallocate()
  }

  // The outside of the pins

  /// Connects the pin to high or low, as a switch or a sensor does. `nanoseconds` is the edge's CLOCK_MONOTONIC time,
  /// nil: now.
  public func drive(_ offset: Int, high: Bool, at nanoseconds: Int64? = nil) { connect(offset, high, nanoseconds) }

  /// Connects the pin to nothing: the bias decides.
  public func letGo(_ offset: Int, at nanoseconds: Int64? = nil) { connect(offset, nil, nanoseconds) }

  /// Drives the pin so that whoever requested it sees it active or not: pressing a button.
  public func setActive(_ offset: Int, _ active: Bool, at nanoseconds: Int64? = nil) {
    connect(offset, active != (line(offset).settings?.activeLow ?? false), nanoseconds)
  }

  /// The pin's physical level.
  public func isHigh(_ offset: Int) -> Bool {
    let line = line(offset)
    if let settings = line.settings, settings.direction == .output {
      switch settings.drive {
      case .pushPull: return line.output
      case .openDrain: return line.output ? line.outside ?? (settings.bias != .pullDown) : false
      case .openSource: return line.output ? true : line.outside ?? (settings.bias == .pullUp)
      }
    }
    return line.outside ?? line.kept ?? (line.settings?.bias == .pullUp)
  }

  /// Lets somebody else hold a line, as another process or a kernel driver does: requests are then busy.
  public func hold(_ offset: Int, consumer: Bytes) {
    precondition(line(offset).settings == nil)
    lines[offset].settings = LineSettings(direction: .input)
    lines[offset].consumer = ShortText(consumer)
  }

  /// Undoes `hold`.
  public func unhold(_ offset: Int) { release(offset) }

  private func connect(_ offset: Int, _ outside: Bool?, _ nanoseconds: Int64?) {
    precondition(offset >= 0 && offset < SimulatedChip.lineCount)
    let before = isHigh(offset)
    lines[offset].outside = outside
    let after = isHigh(offset)
    if before != after { edge(offset, high: after, at: nanoseconds ?? Clock.monotonicNanoseconds()) }
  }

  private func edge(_ offset: Int, high: Bool, at nanoseconds: Int64) {
    guard let settings = lines[offset].settings, settings.direction == .input else { return }
    let rising = high != settings.activeLow
    switch settings.edges {
    case .none: return
    case .both: break
    case .rising: guard rising else { return }
    case .falling: guard !rising else { return }
    }
    lines[offset].sequence &+= 1
    let numbered = capabilities.contains(.sequenceNumbers)
    let event = EdgeEvent(
      timestampNanoseconds: nanoseconds, rising: rising, sequence: numbered ? lines[offset].sequence : 0)
    let max = SimulatedChip.edgesMax
    if lines[offset].count == max {
      lines[offset].first = (lines[offset].first + 1) % max
      lines[offset].count -= 1
    }
    edges[offset * max + (lines[offset].first + lines[offset].count) % max] = event
    lines[offset].count += 1
    var one: UInt64 = 1
    _ = clinux_write(lines[offset].fd, &one, 8)
  }

  // The inside: what a chip of the kernel offers

  var info: ChipInfo {
    let name = ShortText(Bytes("simulated"))
    return ChipInfo(path: name, name: name, label: name, lineCount: SimulatedChip.lineCount)
  }

  func lineInfo(_ offset: Int) -> LineInfo {
    let line = line(offset)
    var name = ShortText(Bytes("GPIO"))
    name.append(decimal: UInt64(offset))
    return LineInfo(
      offset: offset, name: name, consumer: line.consumer, isUsed: line.settings != nil,
      isOutput: line.settings?.direction == .output, isActiveLow: line.settings?.activeLow ?? false)
  }

  /// The line's eventfd.
  func request(_ offset: Int, _ settings: LineSettings, consumer: ShortText) throws(LineError) -> Int32 {
    guard offset >= 0, offset < SimulatedChip.lineCount else { throw LineError(.notFound, .invalid) }
    guard lines[offset].settings == nil else {
      throw LineError(.busy, .busy, consumer: lines[offset].consumer)
    }
    guard settings.debounceMicroseconds == 0 || capabilities.contains(.kernelDebounce) else {
      throw LineError(answer: -Int32(CLINUX_EOPNOTSUPP))
    }
    let fd = clinux_eventfd(1)
    guard fd >= 0 else { throw LineError(answer: fd) }
    let found = isHigh(offset)
    lines[offset].settings = settings
    lines[offset].kept = nil
    lines[offset].consumer = consumer
    lines[offset].output = settings.keepsLevel ? found : settings.initialActive != settings.activeLow
    lines[offset].fd = fd
    lines[offset].first = 0
    lines[offset].count = 0
    lines[offset].sequence = 0
    return fd
  }

  /// An output keeps driving its last level, as Raspberry Pi kernels do.
  func release(_ offset: Int) {
    let line = line(offset)
    if let settings = line.settings, settings.direction == .output { lines[offset].kept = line.output }
    if line.fd >= 0 { _ = clinux_close(line.fd) }
    lines[offset].settings = nil
    lines[offset].consumer = ShortText()
    lines[offset].fd = -1
    lines[offset].count = 0
  }

  func isActive(_ offset: Int) -> Bool { isHigh(offset) != (line(offset).settings?.activeLow ?? false) }

  func setOutput(_ offset: Int, active: Bool) throws(LinuxError) {
    guard let settings = line(offset).settings, settings.direction == .output else {
      throw .notPermitted
    }
    lines[offset].output = active != settings.activeLow
  }

  func takeEdges(_ offset: Int, into buffer: EdgeBuffer) -> Int {
    let count = min(line(offset).count, buffer.capacity)
    let max = SimulatedChip.edgesMax
    for index in 0..<count {
      let event = edges[offset * max + (lines[offset].first + index) % max]
      buffer.edges[index] = cgpiod_edge(
        timestamp_ns: event.timestampNanoseconds, sequence: event.sequence, rising: event.rising ? 1 : 0)
    }
    lines[offset].first = (lines[offset].first + count) % max
    lines[offset].count -= count
    if lines[offset].count == 0 {
      var value: UInt64 = 0
      _ = clinux_read(lines[offset].fd, &value, 8)
    }
    return count
  }

  private func line(_ offset: Int) -> Line {
    precondition(offset >= 0 && offset < SimulatedChip.lineCount)
    return lines[offset]
  }
}
