import Bounded
import MQTTWire

/// An acknowledgement that waits until the journal holds what it promises.
struct WaitingAck: BitwiseCopyable {
  let serial: LinkSerial
  /// The position in the journal.
  let position: UInt64
  let packetID: UInt16
  let type: PacketType
  let reason: ReasonCode
}

/// A connection's part of `AckGate`.
struct LinkAcks: BitwiseCopyable {
  /// Acknowledgements that wait.
  fileprivate(set) var count: UInt8 = 0
  /// The bytes that the connection's outbox has promised to the waiting acknowledgements.
  @inline(__always) var byteCount: Int { Int(count) &* AckGate.ackBytesMax }
}

/// Acknowledgements in the order in which they were given, each with the position that the journal must have stored.
///
/// Invariant: positions do not fall from one to the next, and the first is beyond `stored`. A connection's count is its
/// entries here; one whose connection has ended stays until its turn, and then is dropped.
struct AckGate: ~Copyable {
  private var waiting: Ring<WaitingAck>
  /// Up to here the journal has been written into, and up to here it is on the medium. 0: there is no journal.
  private(set) var written: UInt64 = 0
  private(set) var stored: UInt64 = 0
  /// How many a connection may have: its outbox promises them, and one more control packet, a chunk.
  let perConnectionMax: Int

  /// PUBACK and its kin without a text: header, packet id, reason.
  static var ackBytesMax: Int { 5 }

  /// - Parameter capacity: 1 or more; when it is full no connection is read.
  init(capacity: Int, chunkBytes: Int, in reservation: inout Reservation) {
    waiting = Ring(capacity: capacity, name: "waiting acknowledgements", in: &reservation)
    perConnectionMax = min((chunkBytes - Broker.controlBytesMax) / AckGate.ackBytesMax, Int(UInt8.max))
  }

  var gauge: Gauge { waiting.gauge }
  @inline(__always) var isEmpty: Bool { waiting.isEmpty }
  var isFull: Bool { waiting.gauge.free == 0 }

  /// Whether a connection may not give one more.
  func isFull(for acks: LinkAcks) -> Bool { isFull || Int(acks.count) >= perConnectionMax }

  /// Whether an acknowledgement may go out at once: the journal holds what it promises, and none of its connection is
  /// before it (§4.6).
  @inline(__always) func isOpen(_ position: UInt64, for acks: LinkAcks) -> Bool {
    position <= stored && acks.count == 0
  }

  /// The room was seen before its packet was read.
  mutating func park(
    _ type: PacketType, _ packetID: UInt16, _ reason: ReasonCode, of serial: LinkSerial, position: UInt64,
    _ acks: inout LinkAcks
  ) {
    // One that promises nothing itself waits for those before it.
    let last = waiting.isEmpty ? 0 : waiting[waiting.count - 1].position
    let isTaken = waiting.push(
      WaitingAck(serial: serial, position: max(position, last), packetID: packetID, type: type, reason: reason))
    precondition(isTaken)
    acks.count += 1
  }

  /// The journal has been written into.
  mutating func advance(written position: UInt64) {
    precondition(position >= written)
    written = position
  }

  mutating func advance(stored position: UInt64) {
    precondition(position <= written)
    stored = max(stored, position)
  }

  /// The first of those whose position is stored.
  mutating func next() -> WaitingAck? {
    guard !waiting.isEmpty, waiting[0].position <= stored else { return nil }
    return waiting.pop()
  }

  func release(_ acks: inout LinkAcks) { acks.count -= 1 }

  /// The entry `position` places behind the first, for the audit.
  subscript(position: Int) -> WaitingAck { waiting[position] }
}
