import Bounded

/// Names at numbered places, in memory of a fixed size.
///
/// Invariant: the first `count` places have names that differ, each of them in the index.
struct NameTable: ~Copyable {
  private let lengths: FixedArray<UInt8>
  private let bytes: Scratch
  private var index: HashIndex
  let byteCountMax: Int
  private(set) var count = 0

  /// - Parameter byteCountMax: of a name, 255 or less.
  init(capacity: Int, byteCountMax: Int, name: StaticString, in reservation: inout Reservation) {
    precondition(byteCountMax <= 255)
    lengths = FixedArray(count: capacity, name: name, in: &reservation)
    bytes = Scratch(byteCount: capacity * byteCountMax, name: "  names", in: &reservation)
    index = HashIndex(capacity: capacity, name: "  index", in: &reservation)
    self.byteCountMax = byteCountMax
  }

  var capacity: Int { lengths.count }

  subscript(place: Int) -> Bytes {
    precondition(place < count)
    let start = place * byteCountMax
    return Bytes(UnsafeRawBufferPointer(rebasing: bytes.buffer[start..<(start + Int(lengths[place]))]))
  }

  func find(_ name: Bytes) -> Int? { index.find(hash: NameTable.hash(name)) { self[$0] == name } }

  /// The name's place, which it may have already; nil when there is no room for it.
  /// - Parameter name: 1 to `byteCountMax` bytes.
  mutating func put(_ name: Bytes) -> Int? {
    precondition(!name.isEmpty && name.count <= byteCountMax)
    if let place = find(name) { return place }
    guard count < capacity else { return nil }
    let place = count
    lengths[place] = UInt8(name.count)
    bytes.buffer[(place * byteCountMax)...].copyBytes(from: name.buffer)
    index.insert(place, hash: NameTable.hash(name))
    count += 1
    return place
  }

  mutating func removeAll() {
    index.removeAll()
    count = 0
  }

  /// The names in the table are the administrator's, not a peer's, so the hash needs no key.
  private static func hash(_ name: Bytes) -> UInt32 { name.quickHash(seed: 0) }
}
