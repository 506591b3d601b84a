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
/// A header is plausible when its type, flags, length form and length are possible (§2.1) in the sender's version, and
/// when the packet is not over `packetBytesMax`; this is judged before the body is waited for, and while resynchronising too.
/// Each byte is looked at as the start of a packet at most once and as a part of a header at most four times.
///
/// Invariant: the held bytes are an incomplete header: all after the first have the continuation bit set, so
/// that what remains of them after a drop is incomplete again and no body byte is ever held.
/// Invariant: 0 <= filled < length in a body; filled are the bytes of this body that were given as parts.
public struct PacketFramer: BitwiseCopyable {
  private enum Phase: UInt8 {
    case header
    case body
    case failed
  }

  private let policy: FramerPolicy
  private var phase = Phase.header
  private var error = WireError.malformedPacket
  private var heldCount: UInt8 = 0
  /// The first bytes of a packet, the first one in the low byte; the bytes from `heldCount` on are 0.
  private var held: UInt32 = 0
  /// The first byte of the packet that is under way.
  private var firstByte: UInt8 = 0
  private var headerByteCount: UInt8 = 0
  /// The version that the sender speaks; nil: it has sent no CONNECT yet. A change applies from the next header on.
  public var version: ProtocolVersion?
  private var length: UInt32 = 0
  private var filled: UInt32 = 0
  private var storedPacketBytesMax: UInt32
  /// Bytes dropped while resynchronising, modulo 2^32.
  public private(set) var skippedByteCount: UInt32 = 0

  public init(packetBytesMax: Int, policy: FramerPolicy) {
    precondition(packetBytesMax >= 2)
    storedPacketBytesMax = UInt32(packetBytesMax)
    self.policy = policy
  }

  /// Largest packet in bytes, header included. A change applies from the next header on.
  public var packetBytesMax: Int {
    get { Int(storedPacketBytesMax) }
    set { storedPacketBytesMax = UInt32(newValue) }
  }

  /// Whether the start of a packet is held.
  public var isPartial: Bool { heldCount > 0 || phase == .body }

  /// The size that the header of a packet that is too large declares, fixed header included; 0: there is none.
  public var refusedByteCount: Int { phase == .failed ? Int(length) : 0 }

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
      let heldBefore = Int(heldCount)
      let fresh = min(5 &- heldBefore, input.count)
      guard fresh > 0 else { return .needsInput }
      let word = UInt64(held) | PacketFramer.word(input, byteCount: fresh) &<< UInt64(heldBefore &* 8)
      switch FixedHeader.judge(word, count: heldBefore &+ fresh, packetBytesMax: packetBytesMax, version: version) {
      case .incomplete:  // of five bytes none is
        held = UInt32(truncatingIfNeeded: word)
        heldCount &+= UInt8(truncatingIfNeeded: fresh)
        input = input.from(fresh)
        return .needsInput
      case .complete(let found):
        input = input.from(found.headerByteCount &- heldBefore)
        held = 0
        heldCount = 0
        if input.count >= found.remainingLength {
          let body = input.first(found.remainingLength)
          input = input.from(found.remainingLength)
          return .packet(found, body)
        }
        begin(found)
        return nextBody(&input)
      case .bad(let found):
        switch policy {
        case .disconnect:
          error = found
          phase = .failed
          length = FixedHeader.declaredByteCount(word)
          return .failure(found)
        case .resync:
          drop(&input)
        }
      }
    }
  }

  /// Takes back the packet that the last call gave: its body is awaited again.
  /// - Parameter filled: bytes of the body that the caller has as parts; the input has to go on with the next one.
  public mutating func putBack(_ header: FixedHeader, filled: Int) {
    precondition(phase == .header)
    precondition(heldCount == 0)
    precondition(filled < header.remainingLength)
    begin(header)
    self.filled = UInt32(filled)
  }

  private mutating func begin(_ header: FixedHeader) {
    firstByte = header.type.rawValue &<< 4 | header.flags
    headerByteCount = UInt8(header.headerByteCount)
    length = UInt32(header.remainingLength)
    filled = 0
    phase = .body
  }

  private var header: FixedHeader {
    FixedHeader(
      type: PacketType(rawValue: firstByte &>> 4)!, flags: firstByte & 0x0F, remainingLength: Int(length),
      headerByteCount: Int(headerByteCount))
  }

  private mutating func nextBody(_ input: inout Bytes) -> FramerEvent {
    guard !input.isEmpty else { return .needsInput }
    let missing = Int(length &- filled)
    let isWhole = filled == 0 && input.count >= missing
    let part = input.first(min(missing, input.count))
    input = input.from(part.count)
    if isWhole {
      phase = .header
      return .packet(header, part)
    }
    filled &+= UInt32(part.count)
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
