public import Bounded

/// What one read of a WebSocket connection has brought.
public struct WebSocketArrival: BitwiseCopyable {
  public enum End: BitwiseCopyable {
    /// The peer closes, with its code if it gave one. To be answered by a close.
    case close(WebSocketCloseCode?)
    /// The peer has broken the protocol and is to be closed with this code.
    case failure(WebSocketCloseCode)
  }

  /// The bytes of MQTT, in one piece, as TCP alone would have brought them. They lie in the input.
  public internal(set) var payload = Bytes.empty
  /// What follows the payload; nil: more may come.
  public internal(set) var end: End?
  /// Frames, and parts of frames, that were looked at.
  public internal(set) var frameCount = 0

  /// Bytes that came without a frame.
  public init(payload: Bytes = .empty) { self.payload = payload }
}

/// Takes the frames off what a client sends. A frame's header or a control frame that has come in part waits here.
///
/// All zeros is the start.
///
/// Invariant: the first `keptCount` bytes of `kept` are the start of a frame that needs `awaitedCount` bytes or more;
/// keptCount < awaitedCount <= scratchByteCount where keptCount > 0.
public struct WebSocketInput: BitwiseCopyable {
  private var framer = WebSocketFramer()
  private var kept = InlineArray<130, UInt8>(repeating: 0)
  private var keptCount: UInt8 = 0
  private var awaitedCount: UInt8 = 0

  /// The longest control frame.
  public static var scratchByteCount: Int { 6 + WebSocketFrame.controlPayloadByteCountMax }

  public init() {}

  /// Unmasks the frames of one read where they lie, and moves their payload together.
  /// - Parameters:
  ///   - scratch: at least `scratchByteCount` bytes, whose content does not matter.
  ///   - ping: is called with the payload of each ping.
  public mutating func take(_ input: MutableBytes, scratch: MutableBytes, ping: (Bytes) -> Void) -> WebSocketArrival {
    var arrival = WebSocketArrival()
    var rest = input
    if keptCount > 0 {
      finishKept(&rest, scratch, &arrival, ping)
      if keptCount > 0 || arrival.end != nil { return arrival }
    }
    var start = 0
    var count = 0
    while true {
      let step = framer.next(&rest)
      if case .payload(let part) = step {
        let end = input.count &- rest.count
        if count == 0 {
          start = end &- part.count
        } else {
          input.move(end &- part.count..<end, to: start &+ count)
        }
        count &+= part.count
        arrival.frameCount &+= 1
      } else if case .needsInput(let byteCount) = step {
        keep(rest.bytes, awaiting: byteCount)
        break
      } else {
        take(step, &arrival, ping)
        if arrival.end != nil { break }
      }
    }
    arrival.payload = input[start..<start &+ count].bytes
    return arrival
  }

  /// A step without payload.
  private func take(_ step: WebSocketStep, _ arrival: inout WebSocketArrival, _ ping: (Bytes) -> Void) {
    arrival.frameCount &+= 1
    switch step {
    case .ping(let payload): ping(payload)
    case .close(let code): arrival.end = .close(code)
    case .failure(let code): arrival.end = .failure(code)
    case .payload, .pong, .needsInput: break
    }
  }

  /// Goes on with what is kept, as far as a header or a control frame.
  @inline(never) private mutating func finishKept(
    _ rest: inout MutableBytes, _ scratch: MutableBytes, _ arrival: inout WebSocketArrival, _ ping: (Bytes) -> Void
  ) {
    var count = Int(keptCount)
    for index in 0..<count { scratch[index] = kept[index] }
    while true {
      let more = min(Int(awaitedCount) - count, rest.count)
      scratch.copy(rest.first(more).bytes, to: count)
      rest = rest.from(more)
      count += more
      guard count == Int(awaitedCount) else { return keep(scratch.first(count).bytes, awaiting: Int(awaitedCount)) }
      var frame = scratch.first(count)
      let step = framer.next(&frame)
      if case .needsInput(let byteCount) = step, !frame.isEmpty {
        awaitedCount = UInt8(byteCount)
        continue
      }
      keptCount = 0
      if case .needsInput = step { return }  // the header is taken, and its payload follows
      return take(step, &arrival, ping)
    }
  }

  private mutating func keep(_ bytes: Bytes, awaiting byteCount: Int) {
    keptCount = UInt8(bytes.count)
    awaitedCount = UInt8(byteCount)
    for index in 0..<bytes.count { kept[index] = bytes[index] }
  }
}
