import Bounded
import TLS

/// Records that have come in part. As long as the kernel has a part, it may keep much more memory for it and announce no
/// window to the peer, so that the rest of the record never comes: a few bytes that are left unread pin the whole buffer that
/// they came in. So a part is taken off where there is room.
///
/// Invariant: a part whose `owner` is 0 is free. `count` < the record's length.
struct RecordParts: ~Copyable {
  private struct Part: BitwiseCopyable {
    var owner: UInt32  // the stream's place + 1
    var count: UInt32
    var since: Instant
  }

  private let parts: FixedArray<Part>
  private let memory: Scratch
  /// Some stream has found no room.
  private var isCramped = false

  static var countMax: Int { 16 }
  private static var headerBytes: Int { 5 }
  /// The longest record of TLS 1.2 (RFC 5246 §6.2.3).
  private static var recordBytes: Int { headerBytes + 16_384 + 2048 }
  /// How long a record may take while others find no room.
  private static var patienceNanoseconds: Int64 { 5_000_000_000 }

  /// - Parameter count: streams; more than 16 share as many.
  init(count: Int, in reservation: inout Reservation) {
    let count = min(count, RecordParts.countMax)
    parts = FixedArray(count: count, name: "TLS records in part", in: &reservation)
    memory = Scratch(byteCount: count * RecordParts.recordBytes, name: "  bytes", in: &reservation)
  }

  /// A part with these bytes, the start of a record; nil: all are lent.
  mutating func lend(_ bytes: Bytes, to place: Int, at now: Instant) -> Int? {
    for part in 0..<parts.count where parts[part].owner == 0 {
      parts[part] = Part(owner: UInt32(place + 1), count: UInt32(bytes.count), since: now)
      room(of: part).copy(bytes, to: 0)
      return part
    }
    isCramped = true
    return nil
  }

  func giveBack(_ part: Int) { parts[part].owner = 0 }

  /// Whether some stream has found no room since the last time.
  mutating func takeCramped() -> Bool {
    let was = isCramped
    isCramped = false
    return was
  }

  /// The place of a stream whose record has taken too long.
  func overdue(at now: Instant) -> Int? {
    for part in 0..<parts.count where parts[part].owner > 0 {
      if parts[part].since.adding(nanoseconds: RecordParts.patienceNanoseconds) <= now {
        return Int(parts[part].owner) - 1
      }
    }
    return nil
  }

  /// Adds what is missing, as far as `input` has it; the record when it is whole.
  func complete(_ part: Int, _ input: Bytes) -> (addedCount: Int, record: Bytes?) {
    var addedCount = 0
    while true {
      let count = Int(parts[part].count)
      let room = room(of: part)
      let whole =
        count < RecordParts.headerBytes
        ? RecordParts.headerBytes : RecordParts.headerBytes + (Int(room[3]) << 8 | Int(room[4]))
      // A length that is too long is judged with the header alone.
      if count >= RecordParts.headerBytes, count == whole || whole > RecordParts.recordBytes {
        return (addedCount, room.first(count).bytes)
      }
      let more = min(whole - count, input.count - addedCount)
      if more == 0 { return (addedCount, nil) }
      room.copy(input[addedCount..<addedCount + more], to: count)
      addedCount += more
      parts[part].count = UInt32(count + more)
    }
  }

  private func room(of part: Int) -> MutableBytes {
    MutableBytes(memory.buffer)[part * RecordParts.recordBytes..<(part + 1) * RecordParts.recordBytes]
  }
}
