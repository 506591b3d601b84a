public import Bounded

/// What a framer does with bytes that are no packet.
public enum FramerPolicy: UInt8, BitwiseCopyable, Sendable {
  /// Fails for good (§4.13.1).
  case disconnect
  /// Drops one byte and looks for the next plausible header, for lines that garble bytes.
  case resync
}

public enum FramerEvent {
  /// The body's bytes, where they lie in the input.
  case packet(FixedHeader, Bytes)
  /// Bytes of a body of which the rest is still to come, or has come before: the caller keeps them behind those of this
  /// body that it has.
  case part(Bytes)
  /// The last bytes of a body: with the parts before them it is complete.
  case assembled(FixedHeader, Bytes)
  /// The input is used up.
  case needsInput
  /// Policy `disconnect` only, and from then on for every call.
  case failure(WireError)
}

/// Cuts a byte stream into packets. A packet that arrived whole is lent where it lies; of a packet that arrived
/// in part the header is kept here, and the body by the caller.
///
/// A header is plausible when its type, flags, length form and length are possible (§2.1), and when the packet
/// is not over `packetBytesMax`; this is judged before the body is waited for, and while resynchronising too.
/// Each byte is looked at as the start of a packet at most once and as a part of a header at most four times.
///
/// Invariant: the held bytes are an incomplete header: all after the first have the continuation bit set, so
/// that what remains of them after a drop is incomplete again and no body byte is ever held.
/// Invariant: 0 <= filled < header.remainingLength in a body; filled are the bytes of this body that were given as parts.
public struct PacketFramer: BitwiseCopyable {
  /// Largest packet in bytes, header included. A change applies from the next header on.
  public var packetBytesMax: Int
  /// Bytes dropped while resynchronising.
  public private(set) var skippedByteCount: UInt64 = 0

  private enum Phase: UInt8 {
    case header
    case body
    case failed
  }

  private let policy: FramerPolicy
  private var phase = Phase.header
  private var error = WireError.malformedPacket
  /// The first bytes of a packet, the first one in the low byte; the bytes from `heldCount` on are 0.
  private var held: UInt64 = 0
  private var heldCount = 0
  private var header = FixedHeader(type: .pingReq, flags: 0, remainingLength: 0, headerByteCount: 2)
  private var filled = 0

  public init(packetBytesMax: Int, policy: FramerPolicy) {
    precondition(packetBytesMax >= 2)
    self.packetBytesMax = packetBytesMax
    self.policy = policy
  }

  /// Whether the start of a packet is held.
  public var isPartial: Bool { heldCount > 0 || phase == .body }

  /// The next event from the unread rest of what the transport gave; what is consumed is taken off `input`.
  public mutating func next(_ input: inout Bytes) -> FramerEvent {
    switch phase {
    case .header: return nextHeader(&input)
    case .body: return nextBody(&input)
    case .failed: return .failure(error)
    }
  }

  private mutating func nextHeader(_ input: inout Bytes) -> FramerEvent {
    while true {
      let fresh = min(5 &- heldCount, input.count)
      guard fresh > 0 else { return .needsInput }
      let word = held | PacketFramer.word(input, byteCount: fresh) &<< UInt64(heldCount &* 8)
      switch FixedHeader.judge(word, count: heldCount &+ fresh, packetBytesMax: packetBytesMax) {
      case .incomplete:
        held = word
        heldCount &+= fresh
        input = input.from(fresh)
        return .needsInput
      case .complete(let found):
        input = input.from(found.headerByteCount &- heldCount)
        held = 0
        heldCount = 0
        header = found
        filled = 0
        phase = .body
        return nextBody(&input)
      case .bad(let found):
        switch policy {
        case .disconnect:
          error = found
          phase = .failed
          return .failure(found)
        case .resync:
          drop(&input)
        }
      }
    }
  }

  private mutating func nextBody(_ input: inout Bytes) -> FramerEvent {
    let length = header.remainingLength
    if filled == 0, input.count >= length {
      let body = input.first(length)
      input = input.from(length)
      phase = .header
      return .packet(header, body)
    }
    guard !input.isEmpty else { return .needsInput }
    let part = input.first(min(length &- filled, input.count))
    input = input.from(part.count)
    filled &+= part.count
    guard filled == length else { return .part(part) }
    phase = .header
    return .assembled(header, part)
  }

  /// Drops the first byte of a candidate; the others are looked at again.
  private mutating func drop(_ input: inout Bytes) {
    skippedByteCount &+= 1
    if heldCount > 0 {
      held &>>= 8
      heldCount &-= 1
    } else {
      input = input.from(1)
    }
  }

  /// The first 1...5 bytes, the first one lowest.
  @inline(__always) private static func word(_ input: Bytes, byteCount: Int) -> UInt64 {
    if input.count >= 8 {
      let eight = UInt64(littleEndian: input.buffer.loadUnaligned(fromByteOffset: 0, as: UInt64.self))
      return eight & ((1 &<< UInt64(byteCount &* 8)) &- 1)
    }
    var word: UInt64 = 0
    var index = 0
    while index < byteCount {
      word |= UInt64(input[index]) &<< UInt64(index &* 8)
      index &+= 1
    }
    return word
  }
}
