import Bounded
import LinuxIO
import TLS
import TaplineConfiguration

/// What TLS knows of each stream: a row for each place of `Streams`. Without a listener that has TLS it takes no memory.
///
///   hello ──▶ shaking ◀──▶ away, with the lane ──▶ lastFlight ──▶ open
///    ▼          ▲
///   waiting ──▶ called             what has not come as whole records is left to the kernel
///
/// Invariant: a row in `called`, `shaking`, `away` or `lastFlight` has a slot, and only such a row. The connection of a row in
/// `away` is the lane's.
struct TLSTable: ~Copyable {
  enum Stage: UInt8, BitwiseCopyable {
    case none = 0
    /// Nothing of the handshake has been taken yet.
    case hello
    /// All slots for handshakes are taken.
    case waiting
    /// It has waited, and has a slot now.
    case called
    case shaking
    case away
    /// Done, but for bytes that the kernel has not taken yet.
    case lastFlight
    case open
  }

  private struct Row: BitwiseCopyable {
    var stage = Stage.none
    var slot: UInt8 = 0
    var listener: UInt8 = 0
    /// The slot of the connection's context.
    var context: UInt8 = 0
    /// Its place in `parts` + 1; 0: none.
    var part: UInt8 = 0
    var connection: TLSConnection?
  }

  private let rows: FixedArray<Row>
  private var outputs: SealedOutputs
  private let plain: Scratch
  private let gathered: Scratch
  private(set) var parts: RecordParts
  /// Where whoever waits for a slot begins to be looked for, so that all have their turn.
  private var waitingFrom = 0
  var counters = TLSCounters()

  /// - Parameters:
  ///   - rowCount: streams, or 0.
  ///   - readBytes: what is read from one stream in one turn.
  init(rowCount: Int, readBytes: Int, in reservation: inout Reservation) {
    let isUsed = rowCount > 0
    rows = FixedArray(count: rowCount, name: "TLS of streams", in: &reservation)
    outputs = SealedOutputs(count: rowCount, in: &reservation)
    plain = Scratch(byteCount: isUsed ? readBytes : 0, name: "scratch: TLS read", in: &reservation)
    gathered = Scratch(
      byteCount: isUsed ? SealedOutputs.batchRecords * TLSConnection.recordBytesMax : 0, name: "scratch: TLS write",
      in: &reservation)
    parts = RecordParts(count: rowCount, in: &reservation)
  }

  var isUsed: Bool { rows.count > 0 }

  // MARK: Rows

  func begin(_ place: Int, listener: Int) {
    rows[place] = Row(stage: .hello, listener: UInt8(listener))
  }

  func stage(of place: Int) -> Stage { isUsed ? rows[place].stage : .none }
  func listener(of place: Int) -> Int { Int(rows[place].listener) }
  func slot(of place: Int) -> Int { Int(rows[place].slot) }

  /// The slot of the context that the stream's connection was made of; nil: it has none.
  func context(of place: Int) -> Int? {
    switch stage(of: place) {
    case .none, .hello, .waiting, .called: nil
    case .shaking, .away, .lastFlight, .open: Int(rows[place].context)
    }
  }

  func setContext(_ slot: Int, of place: Int) { rows[place].context = UInt8(slot) }

  /// The connection, unless it is the lane's.
  func connection(of place: Int) -> TLSConnection? { rows[place].connection }

  func shake(_ place: Int, _ connection: TLSConnection, slot: Int) {
    precondition(rows[place].stage == .hello || rows[place].stage == .called || rows[place].stage == .away)
    rows[place].connection = connection
    rows[place].slot = UInt8(slot)
    rows[place].stage = connection.state == .handshaking ? .shaking : .lastFlight
  }

  func wait(_ place: Int) { rows[place].stage = .waiting }

  mutating func call(_ place: Int, slot: Int) {
    precondition(rows[place].stage == .waiting)
    rows[place].slot = UInt8(slot)
    rows[place].stage = .called
    waitingFrom = (place + 1) % rows.count
  }

  /// The connection is the lane's until `shake` or `open`.
  func goAway(_ place: Int) {
    precondition(rows[place].stage == .shaking)
    rows[place].stage = .away
    rows[place].connection = nil
  }

  /// The last flight is sent.
  func open(_ place: Int) {
    precondition(rows[place].stage == .lastFlight)
    rows[place].stage = .open
  }

  /// The stream is closed. Its connection is to be freed, if it is here.
  mutating func end(_ place: Int) -> TLSConnection? {
    guard isUsed else { return nil }
    outputs.clear(place)
    let connection = rows[place].connection
    giveBackPart(of: place)
    rows[place] = Row()
    return connection
  }

  /// The streams that wait for a slot, each once; among equals the first is next.
  func visitWaiting(_ visit: (Int) -> Void) {
    for step in 0..<rows.count {
      let place = (waitingFrom + step) % rows.count
      if rows[place].stage == .waiting { visit(place) }
    }
  }

  // MARK: Records

  /// Takes whole records of a connection that is open. The plaintext lies in memory that the next call uses again.
  mutating func receive(_ input: Bytes, of place: Int) -> (TLSStep, MutableBytes) {
    var connection = rows[place].connection!
    let step = connection.receive(input, plaintext: plain.buffer, output: outputs.room(of: place))
    rows[place].connection = connection
    outputs.produced(step.produced, of: place)
    return (step, MutableBytes(plain.buffer).first(step.plaintext))
  }

  // MARK: Records that have come in part

  func hasPart(_ place: Int) -> Bool { rows[place].part > 0 }

  /// Adds what a record in part lacks, as far as it is there; how many bytes were added, and the record if it is whole.
  func complete(_ input: Bytes, of place: Int) -> (addedCount: Int, record: Bytes?) {
    parts.complete(Int(rows[place].part) - 1, input)
  }

  func giveBackPart(of place: Int) {
    let part = Int(rows[place].part)
    if part > 0 { parts.giveBack(part - 1) }
    rows[place].part = 0
  }

  /// Keeps the start of a record. `false`: there is no room, and it stays the kernel's.
  mutating func keep(_ bytes: Bytes, of place: Int, at now: Instant) -> Bool {
    guard let part = parts.lend(bytes, to: place, at: now) else { return false }
    rows[place].part = UInt8(part + 1)
    return true
  }

  /// Streams with room for a record in part may go on: they are to be looked at again.
  mutating func takeCramped() -> Bool { parts.takeCramped() }

  // MARK: Records that are sent

  /// Makes records of the first bytes of `parts`: one, or several while the batch is free. Nothing else may wait to be sent.
  /// How many bytes; nil: it has failed.
  mutating func seal(_ parts: Slice<UnsafeMutableBufferPointer<Bytes>>, of place: Int) -> Int? {
    precondition(!hasOutput(place))
    let bytesMax = outputs.recordsMax * TLSConnection.recordBytesMax
    var writer = ByteWriter(UnsafeMutableRawBufferPointer(rebasing: gathered.buffer[..<bytesMax]))
    for part in parts where writer.free > 0 { writer.write(part.first(min(part.count, writer.free))) }
    if writer.written.count > TLSConnection.recordBytesMax { outputs.takeBatch(for: place) }
    var connection = rows[place].connection!
    let step = connection.send(writer.written, output: outputs.room(of: place))
    rows[place].connection = connection
    outputs.produced(step.produced, of: place)
    if case .failed = step.event { return nil }
    return step.plaintext
  }

  /// Says that nothing more is sent, where there is room for it.
  mutating func sayEnd(_ place: Int) {
    guard rows[place].stage == .open, !hasOutput(place), var connection = rows[place].connection,
      connection.state == .open || connection.state == .halfClosed
    else { return }
    let step = connection.close(output: outputs.room(of: place))
    rows[place].connection = connection
    outputs.produced(step.produced, of: place)
  }

  /// The name in the peer's certificate, in memory that the next record uses again; nil: it names nobody.
  func certificateName(_ kind: TLSName, of place: Int) -> Bytes? {
    guard stage(of: place) == .open, let connection = rows[place].connection else { return nil }
    var writer = gathered.writer()
    do throws(TLSNameError) {
      try connection.identity(kind, into: &writer)
    } catch {
      return nil
    }
    return writer.written
  }

  // MARK: What waits to be sent

  func hasOutput(_ place: Int) -> Bool { isUsed && !outputs.isEmpty(place) }

  /// Whether a record that is received may be answered.
  func hasRoom(_ place: Int) -> Bool { outputs.room(of: place).count >= TLSConnection.recordOverhead }

  func output(of place: Int) -> Bytes { outputs.output(of: place) }
  mutating func sent(_ byteCount: Int, of place: Int) { outputs.sent(byteCount, of: place) }
}

/// What `$SYS/tapline/layers/tls` tells.
struct TLSCounters: BitwiseCopyable, Equatable {
  var opened: UInt64 = 0
  var failed: UInt64 = 0
  /// Handshakes that gave way to others.
  var gaveWay: UInt64 = 0

  /// Topic and value of each.
  func visit(_ visit: (StaticString, UInt64) -> Void) {
    visit("$SYS/tapline/layers/tls/opened", opened)
    visit("$SYS/tapline/layers/tls/failed", failed)
    visit("$SYS/tapline/layers/tls/gave_way", gaveWay)
  }
}
