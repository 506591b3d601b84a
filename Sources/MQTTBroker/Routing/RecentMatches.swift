import Bounded

/// The nodes that lately matched topics have led to: a row for each remainder of a topic's hash. A row holds the topic
/// itself, so that none is mistaken for another, and its nodes; subscriptions on them are read when the row is used. So
/// rows become stale only when a node is added to the tree or removed from it, or something is hung on a node on which
/// nothing hung, and then all of them do. Two topics that
/// share a row only cost each other a match, so a quick hash is enough.
struct RecentMatches: ~Copyable {
  private struct Row: BitwiseCopyable {
    var hash: UInt32
    var edition: UInt32  // 0: an empty row
    var topicByteCount: UInt8
    var foundCount: UInt8
    var found: InlineArray<4, Handle<TopicNode>>
    var topic: InlineArray<64, UInt8>
  }
  private static var rowCount: Int { 64 }
  private let rows: FixedArray<Row>
  /// Rows of another edition are stale.
  var edition: UInt32 = 1

  init(in reservation: inout Reservation) {
    rows = FixedArray(count: RecentMatches.rowCount, name: "match: recent topics", in: &reservation)
  }

  /// The tree has a node more or less, or one more that matches find.
  mutating func forget() {
    edition &+= 1
    guard edition == 0 else { return }
    var row = 0
    while row < rows.count {
      rows[row].edition = 0
      row += 1
    }
    edition = 1
  }

  @inline(__always) func row(of topic: Bytes, hash: UInt32) -> Int? {
    let row = Int(hash) & (RecentMatches.rowCount - 1)
    guard rows[row].hash == hash, rows[row].edition == edition, Int(rows[row].topicByteCount) == topic.count else {
      return nil
    }
    return withUnsafeBytes(of: &rows[row].topic) { Bytes($0).first(topic.count) == topic } ? row : nil
  }

  @inline(__always) func copy(_ row: Int, into found: borrowing FixedArray<Handle<TopicNode>>) -> Int {
    let count = Int(rows[row].foundCount)
    var position = 0
    while position < count {
      found[position] = rows[row].found[position]
      position += 1
    }
    return count
  }

  /// Long topics and those that find much are matched each time.
  mutating func keep(_ topic: Bytes, hash: UInt32, _ found: borrowing FixedArray<Handle<TopicNode>>, count: Int) {
    guard topic.count <= 64, count <= 4 else { return }
    let row = Int(hash) & (RecentMatches.rowCount - 1)
    rows[row].hash = hash
    rows[row].edition = edition
    rows[row].topicByteCount = UInt8(topic.count)
    rows[row].foundCount = UInt8(count)
    var position = 0
    while position < count {
      rows[row].found[position] = found[position]
      position += 1
    }
    withUnsafeMutableBytes(of: &rows[row].topic) {
      UnsafeMutableRawBufferPointer(rebasing: $0[..<topic.count]).copyMemory(from: topic.buffer)
    }
  }
}
