import Bounded
import LinuxIO
import TLS

/// The handshakes that may be under way at one time, and the lane that does their arithmetic: a signature takes a small board
/// some milliseconds. A slot has the records that the lane is to take and the flight that it answers with.
///
/// A slot is a handshake's from its first record to its end, and one side's at a time: the lane's from `submit` until its
/// answer is taken, else the loop's.
///
/// Addresses share the slots. Of those that wait, the one whose address has the fewest slots is next, then the one whose
/// address has not been lent one for the longest. While somebody waits a slow peer gives its slot up, and sooner if its
/// address has two more than an address that waits.
///
/// Invariant: 0 <= flightSent <= flightCount. A slot whose `stream` is null, and that is not `away`, is free.
struct Handshakes: ~Copyable {
  struct Slot: BitwiseCopyable {
    var stream = StreamID.null
    var source = SourceAddress.local
    var isAway = false
    var flightCount = 0
    var flightSent = 0
    /// When its peer was last given something to answer.
    var since = Instant.never
  }

  /// An address to which a slot was lent, and which loan that was.
  private struct Loan: BitwiseCopyable {
    var source = SourceAddress.local
    var number: UInt64 = 0
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
  /// The last loans to different addresses.
  private let loans: FixedArray<Loan>
  private var loanCount: UInt64 = 0
  /// The fewest slots that the address of somebody who waits has; nil: nobody waits.
  private var leastHeld: Int?

  static var countMax: Int { 4 }
  /// The longest record.
  static var inputBytes: Int { 20 << 10 }
  static var stackBytes: Int { 128 * 1024 }
  /// Addresses that are remembered: twice as many as a board's `pending_connections`.
  static var loansMax: Int { 64 }
  /// How long a peer may take for its next flight while others wait: what a slow link and a small device need.
  static var patienceNanoseconds: Int64 { 2_000_000_000 }
  /// The same where its address has more than its share of the slots.
  static var greedPatienceNanoseconds: Int64 { 500_000_000 }

  init(count: Int, in reservation: inout Reservation) {
    slots = FixedArray(count: count, name: "TLS handshakes", in: &reservation)
    work = reservation.take(Work?.self, count: count, name: "  connections")
    input = Scratch(byteCount: count * Handshakes.inputBytes, name: "  records", in: &reservation)
    flights = Scratch(byteCount: count * TLSConnection.handshakeOutputBytes, name: "  flights", in: &reservation)
    loans = FixedArray(count: count > 0 ? Handshakes.loansMax : 0, name: "  addresses", in: &reservation)
  }

  subscript(slot: Int) -> Slot { slots[slot] }

  /// A slot for a stream; nil: all are taken, and it waits. A slot is lent to those that wait before anybody else.
  mutating func lend(to stream: StreamID, from source: SourceAddress, at now: Instant) -> Int? {
    for slot in 0..<slots.count where isFree(slot) {
      slots[slot] = Slot(stream: stream, source: source, since: now)
      note(source)
      return slot
    }
    leastHeld = min(leastHeld ?? .max, heldCount(of: source))
    return nil
  }

  private func isFree(_ slot: Int) -> Bool { slots[slot].stream.isNull && !slots[slot].isAway }

  /// Somebody waits for a slot.
  var isAwaited: Bool { leastHeld != nil }

  /// Nobody waits any more, or those that do are asked again.
  mutating func isAwaitedByNobody() { leastHeld = nil }

  /// Slots of an address, those of closed streams with which the lane is not done among them.
  private func heldCount(of source: SourceAddress) -> Int {
    var count = 0
    for slot in 0..<slots.count where !isFree(slot) && slots[slot].source == source { count += 1 }
    return count
  }

  // MARK: Addresses

  private func lastLoan(to source: SourceAddress) -> UInt64 {
    for place in 0..<loans.count where loans[place].number > 0 && loans[place].source == source {
      return loans[place].number
    }
    return 0
  }

  /// Remembers a loan in place of the address's last one, or of the oldest of all.
  private mutating func note(_ source: SourceAddress) {
    var oldest = 0
    for place in 0..<loans.count {
      if loans[place].number > 0, loans[place].source == source {
        oldest = place
        break
      }
      if loans[place].number < loans[oldest].number { oldest = place }
    }
    loanCount += 1
    loans[oldest] = Loan(source: source, number: loanCount)
  }

  /// Whether one that waits comes before another one.
  func comes(_ source: SourceAddress, before other: SourceAddress) -> Bool {
    guard source != other else { return false }
    let (held, othersHeld) = (heldCount(of: source), heldCount(of: other))
    return held < othersHeld || held == othersHeld && lastLoan(to: source) < lastLoan(to: other)
  }

  // MARK: Those that are slow

  /// When a handshake is given up for those that wait, if nothing comes of its peer.
  private func deadline(of slot: Int) -> Instant {
    guard let leastHeld, !slots[slot].isAway, !slots[slot].stream.isNull else { return .never }
    let isGreedy = heldCount(of: slots[slot].source) >= leastHeld + 2
    return slots[slot].since.adding(
      nanoseconds: isGreedy ? Handshakes.greedPatienceNanoseconds : Handshakes.patienceNanoseconds)
  }

  /// When the first handshake is given up for those that wait for a slot.
  var nextDeadline: Instant {
    guard isAwaited else { return .never }
    var earliest = Instant.never
    for slot in 0..<slots.count { earliest = min(earliest, deadline(of: slot)) }
    return earliest
  }

  /// A stream whose peer has let others wait for too long: of the address with the most slots, and there the slowest.
  func overdue(at now: Instant) -> StreamID? {
    var found: Int?
    for slot in 0..<slots.count where deadline(of: slot) <= now {
      guard let other = found else {
        found = slot
        continue
      }
      let (held, othersHeld) = (heldCount(of: slots[slot].source), heldCount(of: slots[other].source))
      if held > othersHeld || held == othersHeld && slots[slot].since < slots[other].since { found = slot }
    }
    guard let found else { return nil }
    return slots[found].stream
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

  /// The lane has answered. A peer that has sent a part of a flight has no more time for the rest.
  func takeBack(_ slot: Int, at now: Instant) -> (connection: TLSConnection, step: TLSStep) {
    precondition(slots[slot].isAway)
    slots[slot].isAway = false
    let done = work[slot]!
    let step = done.step!
    if step.produced > 0 { slots[slot].since = now }
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
