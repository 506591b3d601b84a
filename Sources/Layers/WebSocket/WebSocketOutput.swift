public import Bounded

/// What is written around the bytes of MQTT: the answer to the request, frame headers, and control frames at the border of
/// frames. Each write is offered in pieces, `front` and then payload, and `sent` says how much of both was taken.
///
/// All zeros is the start.
///
/// Invariant: 0 <= headerLeft <= the header's bytes of `frameByteCount`; payloadLeft <= frameByteCount; while headerLeft > 0
/// all payload is left. `pongCount` bytes at the end of `own` are a pong of which nothing is written.
public struct WebSocketOutput: BitwiseCopyable {
  /// An answer to the request, a pong and a close.
  public static var ownByteCountMax: Int { 304 }
  /// What `front` writes at most.
  public static var frontByteCountMax: Int { ownByteCountMax + 4 }
  /// More would make the header longer.
  public static var frameByteCountMax: Int { 0xFFFF }

  /// Whole answers and control frames, which go out at the border of frames; of the first one a part may be written.
  private var own = InlineArray<304, UInt8>(repeating: 0)
  private var ownCount: UInt16 = 0
  private var pongCount: UInt16 = 0
  /// The payload of the frame that is under way, and what is left of it and of its header.
  private var frameByteCount: UInt16 = 0
  private var payloadLeft: UInt16 = 0
  private var headerLeft: UInt8 = 0
  /// A close is on its way: no frame follows.
  public private(set) var isClosing = false

  public init() {}

  /// Whether nothing is to be written but payload.
  public var isEmpty: Bool { ownCount == 0 && headerLeft == 0 }

  /// Whether no frame is under way.
  public var isAtBorder: Bool { headerLeft == 0 && payloadLeft == 0 }

  // MARK: What is to be written

  /// The answer to the request, which is the first that is written.
  public mutating func answer(_ bytes: Bytes) {
    precondition(ownCount == 0 && isAtBorder && !isClosing)
    for index in 0..<bytes.count { push(bytes[index]) }
  }

  /// Answers a ping. A pong of which nothing is written yet is not sent any more (RFC 6455 §5.5.3).
  public mutating func pong(_ payload: Bytes) {
    if isClosing { return }
    precondition(payload.count <= WebSocketFrame.controlPayloadByteCountMax)
    ownCount -= pongCount
    push(0x80 | WebSocketOpcode.pong.rawValue)
    push(UInt8(payload.count))
    for index in 0..<payload.count { push(payload[index]) }
    pongCount = UInt16(payload.count + 2)
  }

  /// Sends a close, once. nil: the answer to one without a code (§5.5.1).
  public mutating func close(_ code: WebSocketCloseCode?) {
    if isClosing { return }
    isClosing = true
    pongCount = 0
    push(0x80 | WebSocketOpcode.close.rawValue)
    push(code == nil ? 0 : 2)
    guard let code else { return }
    precondition(code.mayTravel)
    push(UInt8(code.rawValue >> 8))
    push(UInt8(code.rawValue & 0xFF))
  }

  private mutating func push(_ byte: UInt8) {
    own[Int(ownCount)] = byte
    ownCount += 1
  }

  // MARK: Writing

  /// Writes what goes out before payload.
  /// - Parameter payloadByteCount: the bytes of MQTT that are there.
  /// - Returns: how many of them go out with it. None and nothing written: there is nothing to write.
  public func front(payloadByteCount: Int, into writer: inout ByteWriter) -> Int {
    if !isAtBorder {
      writeHeader(of: Int(frameByteCount), last: Int(headerLeft), into: &writer)
      return min(payloadByteCount, Int(payloadLeft))
    }
    for index in 0..<Int(ownCount) { writer.write(own[index]) }
    guard payloadByteCount > 0, !isClosing else { return 0 }
    let frame = min(payloadByteCount, WebSocketOutput.frameByteCountMax)
    writeHeader(of: frame, last: WebSocketFrame.headerByteCount(payloadByteCount: frame), into: &writer)
    return frame
  }

  private func writeHeader(of frame: Int, last count: Int, into writer: inout ByteWriter) {
    if count >= 4 { writer.write(0x80 | WebSocketOpcode.binary.rawValue) }
    if frame <= 125 {
      if count == 2 { writer.write(0x80 | WebSocketOpcode.binary.rawValue) }
      if count >= 1 { writer.write(UInt8(frame)) }
      return
    }
    if count >= 3 { writer.write(126) }
    if count >= 2 { writer.write(UInt8(frame >> 8)) }
    if count >= 1 { writer.write(UInt8(frame & 0xFF)) }
  }

  /// The transport took the first `byteCount` bytes of what `front` wrote and of the payload behind it.
  /// - Parameter payloadByteCount: what `front` answered.
  /// - Returns: the bytes of payload among them.
  public mutating func sent(_ byteCount: Int, payloadByteCount: Int) -> Int {
    var left = byteCount
    if isAtBorder {
      left -= sentOwn(left)
      guard left > 0 else { return 0 }
      precondition(payloadByteCount > 0 && payloadByteCount <= WebSocketOutput.frameByteCountMax)
      frameByteCount = UInt16(payloadByteCount)
      payloadLeft = frameByteCount
      headerLeft = UInt8(WebSocketFrame.headerByteCount(payloadByteCount: payloadByteCount))
    }
    let fromHeader = min(left, Int(headerLeft))
    headerLeft -= UInt8(fromHeader)
    left -= fromHeader
    precondition(left <= Int(payloadLeft))
    payloadLeft -= UInt16(left)
    return left
  }

  /// How many of `byteCount` bytes were of `own`.
  private mutating func sentOwn(_ byteCount: Int) -> Int {
    let count = min(byteCount, Int(ownCount))
    guard count > 0 else { return 0 }
    ownCount -= UInt16(count)
    if ownCount < pongCount { pongCount = 0 }
    for index in 0..<Int(ownCount) { own[index] = own[index + count] }
    return count
  }
}
