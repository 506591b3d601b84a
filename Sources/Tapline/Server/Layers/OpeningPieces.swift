import Bounded
import Layers

/// Bytes that have come before MQTT in part: the start of a PROXY header, of a request's head, or of either. Each piece has
/// room for the longest of both.
///
/// Invariant: a piece whose `place` is 0 is free. `count` <= byteCount.
struct OpeningPieces: ~Copyable {
  private struct Piece: BitwiseCopyable {
    var place: UInt32  // of the stream, + 1
    var count: UInt32
    var serial: UInt64  // in the order of lending
  }

  private let pieces: FixedArray<Piece>
  private let memory: Scratch
  private var serial: UInt64 = 0

  static var byteCount: Int { max(UpgradeRequest.headByteCountMax, ProxyHeader.byteCountMax) }
  private static var countMax: Int { 8 }

  /// - Parameter count: streams that may be before MQTT; more than 8 share as many.
  init(count: Int, in reservation: inout Reservation) {
    let count = min(count, OpeningPieces.countMax)
    pieces = FixedArray(count: count, name: "bytes before MQTT", in: &reservation)
    memory = Scratch(byteCount: count * OpeningPieces.byteCount, name: "  bytes", in: &reservation)
  }

  /// An empty piece; nil: all are lent.
  mutating func lend(to place: Int) -> Int? {
    for index in 0..<pieces.count where pieces[index].place == 0 {
      serial += 1
      pieces[index] = Piece(place: UInt32(place + 1), count: 0, serial: serial)
      return index
    }
    return nil
  }

  func giveBack(_ piece: Int) { pieces[piece].place = 0 }

  /// Whose piece was lent first, of all; all are lent.
  var oldestPlace: Int {
    var oldest = 0
    for index in 1..<pieces.count where pieces[index].serial < pieces[oldest].serial { oldest = index }
    return Int(pieces[oldest].place) - 1
  }

  /// All of `bytes` fit: a head or header of the largest size is not incomplete.
  func append(_ bytes: Bytes, to piece: Int) {
    let count = Int(pieces[piece].count)
    room(of: piece).copy(bytes, to: count)
    pieces[piece].count = UInt32(count + bytes.count)
  }

  /// What is in the piece, with as much of `bytes` behind it as fits, and the count of the former. `bytes` are not kept.
  func join(_ piece: Int, _ bytes: Bytes) -> (Bytes, Int) {
    let count = Int(pieces[piece].count)
    let room = room(of: piece)
    let more = min(bytes.count, OpeningPieces.byteCount - count)
    room.copy(bytes.first(more), to: count)
    return (room.first(count + more).bytes, count)
  }

  private func room(of piece: Int) -> MutableBytes {
    MutableBytes(memory.buffer)[piece * OpeningPieces.byteCount..<(piece + 1) * OpeningPieces.byteCount]
  }
}
