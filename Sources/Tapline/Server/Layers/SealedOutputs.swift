import Bounded
import TLS

/// Sealed records that wait for the kernel. Each place has room for one record. One place at a time may own the batch, which
/// has room for several, so that they go out with one write.
///
///     records │ place 0 │ place 1 │ …       batch │ record │ record │ record │ record │
///
/// Invariant: `sent` < `count`, or both are 0. `count` is at most `batchBytes` for the owner of the batch, which has output,
/// and `recordBytes` for any other place.
struct SealedOutputs: ~Copyable {
  private struct Row: BitwiseCopyable {
    var count: UInt16
    var sent: UInt16
  }

  private let rows: FixedArray<Row>
  private let records: Scratch
  private let batch: Scratch
  /// The place whose output lies in the batch + 1; 0: the batch is free.
  private var owner = 0

  static var recordBytes: Int { TLSConnection.recordBytesMax + TLSConnection.recordOverhead }
  /// A write costs more than the copying of a record: four records cost little more than one.
  static var batchRecords: Int { 4 }
  static var batchBytes: Int { batchRecords * recordBytes }

  init(count: Int, in reservation: inout Reservation) {
    rows = FixedArray(count: count, name: "TLS records to be sent", in: &reservation)
    records = Scratch(byteCount: count * SealedOutputs.recordBytes, name: "  bytes", in: &reservation)
    batch = Scratch(byteCount: count > 0 ? SealedOutputs.batchBytes : 0, name: "  batch", in: &reservation)
  }

  func isEmpty(_ place: Int) -> Bool { rows[place].count == 0 }

  /// What the kernel has not taken.
  func output(of place: Int) -> Bytes {
    Bytes(UnsafeRawBufferPointer(memory(of: place))).first(Int(rows[place].count)).from(Int(rows[place].sent))
  }

  /// Where further records of this place are sealed.
  func room(of place: Int) -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(rebasing: memory(of: place)[Int(rows[place].count)...])
  }

  /// Records that the place's next output may have.
  var recordsMax: Int { owner == 0 ? SealedOutputs.batchRecords : 1 }

  /// The next output of a place that has none goes into the batch, which is free. `produced` follows.
  mutating func takeBatch(for place: Int) {
    precondition(owner == 0)
    precondition(isEmpty(place))
    owner = place + 1
  }

  /// So many bytes were sealed into `room`.
  mutating func produced(_ byteCount: Int, of place: Int) {
    precondition(byteCount <= room(of: place).count)
    rows[place].count += UInt16(byteCount)
    if isEmpty(place) { clear(place) }
  }

  /// The kernel has taken so many bytes of the output. What is left of a batch moves to the place's own room as soon as it
  /// fits: a slow peer must not keep the batch from the others for long.
  mutating func sent(_ byteCount: Int, of place: Int) {
    let left = output(of: place).from(byteCount)
    rows[place].sent += UInt16(byteCount)
    if left.isEmpty { return clear(place) }
    guard owner == place + 1, left.count <= SealedOutputs.recordBytes else { return }
    clear(place)
    MutableBytes(memory(of: place)).copy(left, to: 0)
    rows[place].count = UInt16(left.count)
  }

  /// Drops the output.
  mutating func clear(_ place: Int) {
    if owner == place + 1 { owner = 0 }
    rows[place] = Row(count: 0, sent: 0)
  }

  private func memory(of place: Int) -> UnsafeMutableRawBufferPointer {
    if owner == place + 1 { return batch.buffer }
    let first = place * SealedOutputs.recordBytes
    return UnsafeMutableRawBufferPointer(rebasing: records.buffer[first..<first + SealedOutputs.recordBytes])
  }
}
