import Bounded
import LinuxIO
import TLS

/// The handshakes that may be under way at one time, and the lane that does their arithmetic: a signature takes a small board
/// some milliseconds. A slot has the records that the lane is to take and the flight that it answers with.
///
/// A slot is a handshake's from its first record to its end, and one side's at a time: the lane's from `submit` until its
/// answer is taken, else the loop's.
///
/// Invariant: 0 <= flightSent <= flightCount. A slot whose `stream` is null, and that is not `away`, is free.
struct Handshakes: ~Copyable {
  struct Slot: BitwiseCopyable {
    var stream = StreamID.null
    var isAway = false
    var flightCount = 0
    var flightSent = 0
    /// When its peer was last given something to answer.
    var since = Instant.never
  }

  /// What the lane and the loop hand to each other.
  private struct Work: BitwiseCopyable {
    var connection: TLSConnection
    var inputCount = 0
    /// nil: the lane has not answered.
    var step: TLSStep?
  }

  private let slots: FixedArray<Slot>
  private let work: UnsafeMutablePointer<Work?>
  private let input: Scratch
  private let flights: Scratch
  /// Somebody waits for a slot.
  private(set) var isAwaited = false

  static var countMax: Int { 4 }
  /// The longest record.
  static var inputBytes: Int { 20 << 10 }
  static var stackBytes: Int { 128 * 1024 }
  /// How long a peer may take for its next flight while others wait: what a slow link and a small device need.
  private static var patienceNanoseconds: Int64 { 2_000_000_000 }

  init(count: Int, in reservation: inout Reservation) {
    slots = FixedArray(count: count, name: "TLS handshakes", in: &reservation)
    work = reservation.take(Work?.self, count: count, name: "  connections")
    input = Scratch(byteCount: count * Handshakes.inputBytes, name: "  records", in: &reservation)
    flights = Scratch(byteCount: count * TLSConnection.handshakeOutputBytes, name: "  flights", in: &reservation)
  }

  subscript(slot: Int) -> Slot { slots[slot] }

  /// A slot for a stream; nil: all are taken, and it waits for `hasRoom`.
  mutating func lend(to stream: StreamID, at now: Instant) -> Int? {
    for slot in 0..<slots.count where isFree(slot) {
      slots[slot] = Slot(stream: stream, since: now)
      return slot
    }
    isAwaited = true
    return nil
  }

  private func isFree(_ slot: Int) -> Bool { slots[slot].stream.isNull && !slots[slot].isAway }

  var hasRoom: Bool {
    for slot in 0..<slots.count where isFree(slot) { return true }
    return false
  }

  /// Nobody waits any more.
  mutating func isAwaitedByNobody() { isAwaited = false }

  /// When the first handshake is given up for those that wait for a slot.
  var nextDeadline: Instant {
    guard isAwaited else { return .never }
    var earliest = Instant.never
    for slot in 0..<slots.count where !slots[slot].isAway && !slots[slot].stream.isNull {
      earliest = min(earliest, slots[slot].since.adding(nanoseconds: Handshakes.patienceNanoseconds))
    }
    return earliest
  }

  /// A stream whose peer has let others wait for too long.
  func overdue(at now: Instant) -> StreamID? {
    guard nextDeadline <= now else { return nil }
    for slot in 0..<slots.count where !slots[slot].isAway && !slots[slot].stream.isNull {
      if slots[slot].since.adding(nanoseconds: Handshakes.patienceNanoseconds) <= now { return slots[slot].stream }
    }
    return nil
  }

  /// The stream is done with its handshake, or closed. A slot that is away is free when the lane has answered.
  func giveBack(_ slot: Int) {
    slots[slot].stream = .null
    slots[slot].flightCount = 0
    slots[slot].flightSent = 0
  }

  // MARK: To the lane and back

  /// Whole records for the lane, as many as fit; `submit` the slot next.
  func hand(_ bytes: Bytes, _ connection: TLSConnection, slot: Int) {
    precondition(!slots[slot].isAway && flight(of: slot).isEmpty)
    MutableBytes(input.buffer).from(slot * Handshakes.inputBytes).copy(bytes, to: 0)
    work[slot] = Work(connection: connection, inputCount: bytes.count)
    slots[slot].isAway = true
  }

  /// The lane has answered.
  func takeBack(_ slot: Int, at now: Instant) -> (connection: TLSConnection, step: TLSStep) {
    precondition(slots[slot].isAway)
    slots[slot].isAway = false
    slots[slot].since = now
    let done = work[slot]!
    let step = done.step!
    slots[slot].flightCount = step.produced
    slots[slot].flightSent = 0
    return (done.connection, step)
  }

  /// What the lane runs. It touches the memory of the slot and OpenSSL, and nothing else.
  func laneBody() -> @Sendable (UInt32) -> Int32 {
    let memory = LaneMemory(work: work, input: input.buffer, flights: flights.buffer)
    return { slot in memory.run(Int(slot)) }
  }

  /// Invariant: the loop touches a slot's part only while the slot is not away.
  private struct LaneMemory: @unchecked Sendable {
    let work: UnsafeMutablePointer<Work?>
    let input: UnsafeMutableRawBufferPointer
    let flights: UnsafeMutableRawBufferPointer

    func run(_ slot: Int) -> Int32 {
      guard var item = work[slot] else { return 0 }
      let start = slot * TLSConnection.handshakeOutputBytes
      let flight = UnsafeMutableRawBufferPointer(
        rebasing: flights[start..<start + TLSConnection.handshakeOutputBytes])
      let bytes = MutableBytes(input).from(slot * Handshakes.inputBytes).first(item.inputCount).bytes
      item.step = item.connection.receive(
        bytes, plaintext: UnsafeMutableRawBufferPointer(start: nil, count: 0), output: flight)
      work[slot] = item
      return 0
    }
  }

  // MARK: The flight

  /// What is left to be sent.
  func flight(of slot: Int) -> Bytes {
    let all = MutableBytes(flights.buffer).from(slot * TLSConnection.handshakeOutputBytes)
    return all[slots[slot].flightSent..<slots[slot].flightCount].bytes
  }

  func sent(_ byteCount: Int, of slot: Int) {
    slots[slot].flightSent += byteCount
    precondition(slots[slot].flightSent <= slots[slot].flightCount)
  }
}
