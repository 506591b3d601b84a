public import Bounded
import MQTTWire

public typealias ConnectionID = Handle<Link>

/// Names one network connection for the whole run: never given twice, unlike a `ConnectionID`, whose place is lent again
/// and whose generation wraps. What waits for a connection (a verdict, an acknowledgement) is addressed by it.
public struct LinkSerial: BitwiseCopyable, Equatable, Sendable {
  /// A count in the upper 44 bits, the connection's place in the lower 20.
  let bits: UInt64

  init(count: UInt64, place: Int) {
    precondition(count < 1 << 44)
    bits = count << 20 | UInt64(place)
  }

  var place: Int { Int(bits & 0xF_FFFF) }
}

/// One network connection, whatever carries its bytes: the states that a connection goes through, and what holds in them.
///
/// ```
///  attach ──▶ awaitingConnect ──connected──▶ connected ──┐
///                 │    └──park──▶ awaitingVerdict ──▲    ├──close──▶ closing ──▶ detach
///                 └────────────────────────┴─────────────┘
/// ```
///
/// Invariant: `session` is null except in `connected`; in `closing` nothing is kept but the outbox. A client's role, whose
/// CONNECT is ours to send, waits in `awaitingConnAck`; nothing takes it yet.
public struct Link: BitwiseCopyable {
  enum State: UInt8, BitwiseCopyable {
    case awaitingConnect
    /// Its CONNECT waits in `partial`; nothing of it is decided (`Broker.answered`).
    case awaitingVerdict
    case awaitingConnAck
    case connected
    case closing  // nothing is read any more; closed once its outbox is empty
  }
  enum Role: UInt8, BitwiseCopyable {
    case server  // the peer sends CONNECT
    case client  // we do
  }
  private(set) var state: State
  let role: Role
  private(set) var version = ProtocolVersion.v5
  /// Its client is another broker's bridge: what it publishes it does not get back, and RETAIN stays as it was published.
  private(set) var isBridge = false
  let allowsAnonymous: Bool
  private(set) var wantsProblemInformation = true
  var acks = LinkAcks()
  private(set) var keepAliveSeconds: UInt16 = 0  // 0: none
  let transport: UInt32  // the caller's
  private(set) var session: Handle<Session> = .null
  private(set) var packetBytesMax: UInt32 = .max  // the client's Maximum Packet Size
  var framer: PacketFramer
  /// The bytes of a packet that is not complete, or the CONNECT that awaits its verdict. Behind them lies input that
  /// nobody has looked at.
  var partial = BlockChain()
  private(set) var heldByteCount: UInt32 = 0
  var outbox = Outbox()
  private(set) var serial = LinkSerial(count: 0, place: 0)
  var packetDeadline = Instant.never
  var lastReceived: Instant

  init(
    role: Role = .server, allowsAnonymous: Bool, transport: UInt32 = 0, framer: PacketFramer, lastReceived: Instant
  ) {
    state = role == .server ? .awaitingConnect : .awaitingConnAck
    self.role = role
    self.allowsAnonymous = allowsAnonymous
    self.transport = transport
    self.framer = framer
    self.lastReceived = lastReceived
  }

  /// 1.5 times what is granted (§3.1.2-22); 0: none.
  var keepAliveNanoseconds: Int64 { Int64(keepAliveSeconds) * 1_500_000_000 }

  /// Whether it counts as pending: its client is not known yet.
  var isPending: Bool { state == .awaitingConnect || state == .awaitingVerdict }

  /// Whether what it sends is looked at.
  @inline(__always) var isReading: Bool { state == .awaitingConnect || state == .connected }

  // MARK: Input that waits, at the end of `partial`

  mutating func hold(_ byteCount: Int) { heldByteCount += UInt32(byteCount) }

  /// Answers how many bytes were held.
  mutating func takeHeld() -> Int {
    let byteCount = Int(heldByteCount)
    heldByteCount = 0
    return byteCount
  }

  // MARK: Transitions

  /// It has its place, and a name of its own.
  mutating func begin(_ serial: LinkSerial) {
    precondition(self.serial.bits == 0)
    self.serial = serial
  }

  /// A CONNECT has been decoded as far as this: how its client is answered.
  mutating func connectReceived(
    version: ProtocolVersion, isBridge: Bool, packetBytesMax: UInt32, wantsProblemInformation: Bool
  ) {
    precondition(isPending)
    self.version = version
    self.isBridge = isBridge
    framer.version = version
    self.packetBytesMax = packetBytesMax
    self.wantsProblemInformation = wantsProblemInformation
  }

  /// CONNECT waits for its verdict.
  mutating func park() {
    precondition(state == .awaitingConnect)
    state = .awaitingVerdict
  }

  /// CONNECT is accepted.
  mutating func connected(to session: Handle<Session>, keepAliveSeconds: UInt16) {
    precondition(isPending)
    state = .connected
    self.session = session
    self.keepAliveSeconds = keepAliveSeconds
  }

  /// From here on it only drains. Answers the session that it had; null: none.
  mutating func close() -> Handle<Session> {
    precondition(state != .closing)
    state = .closing
    heldByteCount = 0
    acks = LinkAcks()
    let session = session
    self.session = .null
    return session
  }
}
