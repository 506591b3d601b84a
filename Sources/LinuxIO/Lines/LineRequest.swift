public import Bounded
import CGPIOD
import CLinux

/// One requested line of a real or the simulated chip. A handle: copies mean the same line, and whoever opened it
/// closes it once. For one thread. `get`, `set` and `readEdges` allocate nothing.
///
/// Retries: opening allocates inside libgpiod (1.6: the chip, about 0.7 KB, and its descriptor, until `close`; 2.x:
/// about 0.3 KB). A failed open gives all of it back, so that retrying a busy or missing line every few seconds does
/// not grow the heap.
public struct LineRequest {
  private enum Backend {
    case kernel(OpaquePointer)
    case simulated(SimulatedChip)
  }

  private let backend: Backend
  private let offset: Int
  /// Readable when edges wait; -1 for a line without edge detection.
  public let fd: Int32
  public let capabilities: LineCapabilities

  /// - Parameter consumer: who holds the line, as `gpioinfo` shows it; cut to 31 bytes.
  public static func open(_ address: ChipLine, _ settings: LineSettings, consumer: Bytes) throws(LineError)
    -> LineRequest
  {
    let consumer = ShortText(consumer.count < 32 ? consumer : consumer.first(31))
    let hasEdges = settings.direction == .input && settings.edges != .none
    switch address.place {
    case .simulated(let chip):
      let fd = try chip.request(address.offset, settings, consumer: consumer)
      return LineRequest(
        backend: .simulated(chip), offset: address.offset, fd: hasEdges ? fd : -1, capabilities: chip.capabilities)
    case .kernel(let path):
      let handle = try open(path, address.offset, settings, consumer)
      return LineRequest(
        backend: .kernel(handle), offset: address.offset, fd: hasEdges ? cgpiod_fd(handle) : -1, capabilities: .ofKernel
      )
    }
  }

  private static func open(
    _ path: ShortText, _ offset: Int, _ settings: LineSettings, _ consumer: ShortText
  ) throws(LineError) -> OpaquePointer {
    var handle: OpaquePointer?
    var holder = ShortText()
    var shim = settings.shim
    var answer: Int32 = 0
    let found = holder.fill { holder in
      let holder = holder.baseAddress!.assumingMemoryBound(to: CChar.self)
      answer = consumer.withBytes { consumer in
        withPath(consumer) { consumer in
          path.withBytes { withPath($0) { cgpiod_request($0, UInt32(offset), &shim, consumer, &handle, holder) } }
        }
      }
      return Int64(bytes(fromCString: holder).count)
    }
    guard answer >= 0, found >= 0, let handle else { throw LineError(answer: answer, consumer: holder) }
    return handle
  }

  /// Active or not; nil when the chip does not answer.
  public func get() -> Bool? {
    switch backend {
    case .simulated(let chip): return chip.isActive(offset)
    case .kernel(let handle):
      let value = cgpiod_get(handle)
      return value < 0 ? nil : value != 0
    }
  }

  /// Drives an output. The line has changed when this returns. EPERM for an input (libgpiod 1.6: EINVAL), ENODEV when the
  /// chip is gone.
  public func set(_ active: Bool) throws(LinuxError) {
    switch backend {
    case .simulated(let chip): try chip.setOutput(offset, active: active)
    case .kernel(let handle): try check(cgpiod_set(handle, active ? 1 : 0))
    }
  }

  /// Takes edges that wait, oldest first, as many as the buffer holds (libgpiod 1.6: 16 at most); 0 when none waits.
  /// What is left keeps `fd` readable. With libgpiod 1.6 the newest of more than 16 edges are lost: read the level
  /// afterwards.
  public func readEdges(into buffer: EdgeBuffer) throws(LinuxError) -> Int {
    switch backend {
    case .simulated(let chip):
      buffer.count = chip.takeEdges(offset, into: buffer)
    case .kernel(let handle):
      buffer.count = 0
      let count = cgpiod_read_edges(handle, buffer.room, buffer.edges, Int32(buffer.capacity))
      guard count != -Int32(CLINUX_EAGAIN), count != -Int32(CLINUX_EINTR) else { return 0 }
      buffer.count = Int(try check(count))
    }
    return buffer.count
  }

  /// Gives the line back; what its pin does then is the kernel driver's choice.
  public func close() {
    switch backend {
    case .simulated(let chip): chip.release(offset)
    case .kernel(let handle): cgpiod_release(handle)
    }
  }
}

/// Room for the edges of one `readEdges`, shared by all lines.
public final class EdgeBuffer {
  /// Edges taken in one read, 1...1024.
  public let capacity: Int
  /// Edges that the last read took.
  public internal(set) var count = 0
  let edges: UnsafeMutablePointer<cgpiod_edge>
  /// The buffer into which libgpiod 2.x reads edges.
  let room: OpaquePointer?

  public init(capacity: Int) throws(LinuxError) {
    precondition(capacity >= 1 && capacity <= 1024)
    var room: OpaquePointer?
    try check(cgpiod_buffer_new(Int32(capacity), &room))
    self.room = room
    self.capacity = capacity
    edges = .allocate(capacity: capacity)
    edges.initialize(repeating: cgpiod_edge(), count: capacity)
  }

  deinit {
    if let room { cgpiod_buffer_free(room) }
    edges.deallocate()
  }

  /// One of the edges that the last read took; `index` from 0.
  public subscript(index: Int) -> EdgeEvent {
    precondition(index >= 0 && index < count)
    let edge = edges[index]
    return EdgeEvent(timestampNanoseconds: edge.timestamp_ns, rising: edge.rising != 0, sequence: edge.sequence)
  }
}
