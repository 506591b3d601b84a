public import Bounded
import CGPIOD

/// How a line is requested. Levels and edges are logical: active, not high.
public struct LineSettings: Sendable {
  public enum Direction: UInt8, Sendable { case input, output }
  public enum Edges: UInt8, Sendable { case none, both, rising, falling }
  public enum Bias: UInt8, Sendable { case asIs, disabled, pullUp, pullDown }
  public enum Drive: UInt8, Sendable { case pushPull, openDrain, openSource }

  public var direction: Direction
  /// Inputs only.
  public var edges = Edges.none
  public var bias = Bias.asIs
  public var activeLow = false
  /// Outputs only.
  public var drive = Drive.pushPull
  /// The kernel's debounce, inputs only; 0 for none. Without `LineCapabilities.kernelDebounce` opening fails
  /// (EOPNOTSUPP).
  public var debounceMicroseconds: UInt32 = 0
  /// An output's level from the request on, without a glitch before.
  public var initialActive = false
  /// Instead of `initialActive`: an output begins with the level that the line has, whoever left it so; `get` tells it.
  public var keepsLevel = false
  /// Edge events that the kernel keeps until they are read, 48 bytes each: 0 for 16; 1024 at most. libgpiod 1.6: always
  /// 16.
  public var eventsMax: UInt16 = 0

  public init(direction: Direction) { self.direction = direction }

  /// Bytes that the kernel keeps for the edges of one line with so many events: 48 an event, and a power of two of them.
  /// Of libgpiod 1.6 always 16 events of 16 bytes.
  public static func kernelBytes(eventsMax: UInt16) -> Int {
    guard LineCapabilities.ofKernel.contains(.sequenceNumbers) else { return 256 }
    var count = 1
    while count < min(eventsMax == 0 ? 16 : Int(eventsMax), 1024) { count *= 2 }
    return count * 48
  }

  var shim: cgpiod_settings {
    cgpiod_settings(
      direction: direction.rawValue, edges: edges.rawValue, bias: bias.rawValue, drive: drive.rawValue,
      active_low: activeLow ? 1 : 0,
      initial: keepsLevel ? UInt8(CGPIOD_KEEP) : initialActive ? 1 : 0, event_count: eventsMax,
      debounce_us: debounceMicroseconds)
  }
}

/// The abilities of the interface to the lines. A missing one is done in user space, or what it would tell is not
/// known.
public struct LineCapabilities: OptionSet, Sendable {
  public let rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  public static var kernelDebounce: LineCapabilities { LineCapabilities(rawValue: UInt32(CGPIOD_KERNEL_DEBOUNCE)) }
  /// Edges are numbered, so that lost ones are counted.
  public static var sequenceNumbers: LineCapabilities { LineCapabilities(rawValue: UInt32(CGPIOD_SEQUENCE_NUMBERS)) }
  /// Timestamps are CLOCK_MONOTONIC by request, on every kernel.
  public static var eventClock: LineCapabilities { LineCapabilities(rawValue: UInt32(CGPIOD_EVENT_CLOCK)) }

  /// The abilities of the libgpiod that this program is linked with.
  public static var ofKernel: LineCapabilities { LineCapabilities(rawValue: cgpiod_capabilities()) }
}

/// One change of a line's level.
public struct EdgeEvent: BitwiseCopyable, Sendable {
  /// CLOCK_MONOTONIC; with libgpiod 1.6 this holds for kernels from 5.7 on. Taken in the interrupt, or when a kernel
  /// debounce ends. `Clock` has the offsets to other clocks.
  public var timestampNanoseconds: Int64
  /// The line became active.
  public var rising: Bool
  /// The kernel's count of this line's edges, wrapping: a gap is as many lost events. 0 when unknown.
  public var sequence: UInt32
}

public struct LineError: Error, Sendable {
  public enum Reason: Sendable {
    /// No chip of that name, label or path, or none at all.
    case noChip
    /// There is no such line on the chips that could be read.
    case notFound
    /// Several lines have that name.
    case ambiguous
    /// Somebody else holds the line: `consumer`.
    case busy
    /// The chip's device may not be opened: group `gpio`?
    case denied
    /// Anything else: `error`.
    case failed
  }

  public var reason: Reason
  public var error: LinuxError
  /// Who holds a busy line, as far as the kernel knows.
  public var consumer = ShortText()

  init(_ reason: Reason, _ error: LinuxError, consumer: ShortText = ShortText()) {
    self.reason = reason
    self.error = error
    self.consumer = consumer
  }

  /// Makes the error from the answer to opening a chip or a line.
  init(answer: Int32, consumer: ShortText = ShortText()) {
    let error = LinuxError(errno: -answer)
    switch error {
    case .busy: self.init(.busy, error, consumer: consumer)
    case .notPermitted, .accessDenied: self.init(.denied, error, consumer: consumer)
    case .noEntry, .noDevice: self.init(.noChip, error, consumer: consumer)
    default: self.init(.failed, error, consumer: consumer)
    }
  }
}

public struct ChipInfo: Sendable {
  /// `/dev/gpiochip0`; of the simulated chip `simulated`.
  public var path: ShortText
  public var name: ShortText
  public var label: ShortText
  public var lineCount: Int
}

public struct LineInfo: Sendable {
  public var offset: Int
  public var name: ShortText
  /// Who holds the line, empty when nobody does or the holder has no name.
  public var consumer: ShortText
  public var isUsed: Bool
  public var isOutput: Bool
  public var isActiveLow: Bool
}

/// A line that was found: a chip, and the line's offset on it. Valid until chips come or go.
public struct ChipLine {
  enum Place {
    case kernel(path: ShortText)
    case simulated(SimulatedChip)
  }

  let place: Place
  public let chip: ShortText
  /// From 0.
  public let offset: Int

  /// `gpiochip0 line 17`.
  public func write(to writer: inout ByteWriter) {
    chip.write(to: &writer)
    writer.write(" line ")
    writer.writeDecimal(UInt64(offset))
  }
}

extension FixedText where capacity == 32 {
  /// From the shim's NUL-terminated array.
  init<Name: BitwiseCopyable>(fromShim name: Name) {
    self.init()
    withUnsafeBytes(of: name) { text in
      let bytes = Bytes(text)
      append(bytes.first(bytes.firstIndex(of: 0) ?? bytes.count))
    }
  }
}
