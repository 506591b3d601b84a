public import Bounded

public enum WebSocketStep {
  /// Bytes of MQTT, unmasked where they lie in the input. Packets and frames share no borders. Empty for a frame without
  /// payload.
  case payload(Bytes)
  /// To be answered by a pong with the same payload, 125 bytes at most.
  case ping(Bytes)
  case pong
  /// The peer closes, with its code if it gave one. To be answered by a close; what follows it is dropped.
  case close(WebSocketCloseCode?)
  /// The caller keeps the rest of the input, at most `WebSocketFramer.keptByteCountMax` bytes, and lends it again, in one
  /// piece with what follows. Nothing comes of a call with fewer than `byteCount` bytes in all.
  case needsInput(byteCount: Int)
  /// The peer has broken the protocol and is to be closed with this code. Every later call gives the same.
  case failure(WebSocketCloseCode)
}

/// Takes a client's frames apart (RFC 6455 §5)
///
///   ┌─────────────────────────┬───────────────┬──────────────────┬────────┬─────────────────┐
///   │ FIN, RSV 000, opcode u4 │ 1, length u7  │ length u16 / u64 │ key u4 │ payload, masked │
///   └─────────────────────────┴───────────────┴──────────────────┴────────┴─────────────────┘
///
/// Payload of data is handed over as it comes, whatever the borders of frames and messages. A header waits until it is
/// whole, and so does a control frame. Each step but `needsInput` consumes a header or payload, so a flood of empty frames
/// is as many steps, which the caller counts. Each byte is unmasked once. The reason of a close is not looked at.
///
/// All zeros is the start.
///
/// Invariant: remaining > 0 in a payload; the lowest byte of `key` is the next byte's.
public struct WebSocketFramer: BitwiseCopyable {
  private enum Phase: UInt8, BitwiseCopyable {
    case header
    case payload
    case closed
    case failed
  }

  /// Bytes of payload that the data frame under way still has.
  private var remaining: UInt32 = 0
  private var key: UInt32 = 0
  private var failure: UInt16 = 0
  private var phase = Phase.header
  /// Whether a message has begun whose last fragment has not.
  private var isInMessage = false

  /// What the caller may have to keep: a control frame but for its last byte.
  public static var keptByteCountMax: Int { 6 + WebSocketFrame.controlPayloadByteCountMax - 1 }

  public init() {}

  /// Whether payload of a frame or fragments of a message are still to come, beside what the caller keeps.
  public var isPartial: Bool { phase == .payload || isInMessage }

  /// The next step from the unread rest of the input; what is consumed is taken off `input`.
  public mutating func next(_ input: inout MutableBytes) -> WebSocketStep {
    switch phase {
    case .header: return nextFrame(&input)
    case .payload: return nextPayload(&input)
    case .closed:
      input = input.from(input.count)
      return .needsInput(byteCount: 1)
    case .failed: return .failure(WebSocketCloseCode(rawValue: failure))
    }
  }

  private mutating func nextFrame(_ input: inout MutableBytes) -> WebSocketStep {
    guard !input.isEmpty else { return .needsInput(byteCount: 2) }
    let first = input[0]
    if let code = problem(of: first) { return fail(code) }
    guard input.count >= 2 else { return .needsInput(byteCount: 2) }
    let isControl = first & 0x08 != 0
    let short = Int(input[1] & 0x7F)
    guard input[1] & 0x80 != 0 else { return fail(.protocolError) }  // §5.1: a client masks
    guard !isControl || short <= WebSocketFrame.controlPayloadByteCountMax else { return fail(.protocolError) }
    let headerByteCount = short < 126 ? 6 : short == 126 ? 8 : 14
    let awaited = isControl ? headerByteCount &+ short : headerByteCount
    guard input.count >= awaited else { return .needsInput(byteCount: awaited) }
    guard let length = WebSocketFramer.length(input, short) else { return fail(.protocolError) }
    key = WebSocketFramer.key(input, at: headerByteCount &- 4)
    input = input.from(headerByteCount)
    if isControl { return control(first, short, &input) }

    isInMessage = first & 0x80 == 0
    remaining = length
    guard length > 0 else { return .payload(.empty) }
    phase = .payload
    return nextPayload(&input)
  }

  private mutating func nextPayload(_ input: inout MutableBytes) -> WebSocketStep {
    guard !input.isEmpty else { return .needsInput(byteCount: 1) }
    let part = input.first(min(Int(remaining), input.count))
    part.mask(with: key)
    input = input.from(part.count)
    remaining &-= UInt32(truncatingIfNeeded: part.count)
    let shift = UInt32(truncatingIfNeeded: part.count & 3) &* 8
    key = key &>> shift | key &<< (32 &- shift)
    if remaining == 0 { phase = .header }
    return .payload(part.bytes)
  }

  /// What is wrong with a frame that begins with this byte.
  private func problem(of first: UInt8) -> WebSocketCloseCode? {
    guard first & 0x70 == 0 else { return .protocolError }  // no extension was agreed on
    switch WebSocketOpcode(rawValue: first & 0x0F) {
    case .continuation: return isInMessage ? nil : .protocolError
    case .binary: return isInMessage ? .protocolError : nil
    case .text: return isInMessage ? .protocolError : .unsupportedData
    case .close, .ping, .pong: return first & 0x80 != 0 ? nil : .protocolError  // §5.5: not fragmented
    case nil: return .protocolError
    }
  }

  /// A control frame's payload, which is all there.
  private mutating func control(_ first: UInt8, _ length: Int, _ input: inout MutableBytes) -> WebSocketStep {
    let payload = input.first(length)
    payload.mask(with: key)
    input = input.from(length)
    switch first & 0x0F {
    case WebSocketOpcode.ping.rawValue: return .ping(payload.bytes)
    case WebSocketOpcode.pong.rawValue: return .pong
    default: return close(payload.bytes)
    }
  }

  private mutating func close(_ payload: Bytes) -> WebSocketStep {
    if payload.isEmpty {
      phase = .closed
      return .close(nil)
    }
    guard payload.count >= 2 else { return fail(.protocolError) }
    let code = WebSocketCloseCode(rawValue: UInt16(payload[0]) &<< 8 | UInt16(payload[1]))
    guard code.mayTravel else { return fail(.protocolError) }
    phase = .closed
    return .close(code)
  }

  private mutating func fail(_ code: WebSocketCloseCode) -> WebSocketStep {
    phase = .failed
    failure = code.rawValue
    return .failure(code)
  }

  /// nil: not in its shortest form, or over 32 bits.
  private static func length(_ input: MutableBytes, _ short: Int) -> UInt32? {
    guard short >= 126 else { return UInt32(truncatingIfNeeded: short) }
    let high = UInt32(input[2]) &<< 8 | UInt32(input[3])
    if short == 126 { return high > 125 ? high : nil }
    guard high == 0, input[4] == 0, input[5] == 0 else { return nil }
    let low = UInt32(input[6]) &<< 24 | UInt32(input[7]) &<< 16 | UInt32(input[8]) &<< 8 | UInt32(input[9])
    return low > 0xFFFF ? low : nil
  }

  private static func key(_ input: MutableBytes, at index: Int) -> UInt32 {
    UInt32(input[index]) | UInt32(input[index &+ 1]) &<< 8 | UInt32(input[index &+ 2]) &<< 16
      | UInt32(input[index &+ 3]) &<< 24
  }
}
