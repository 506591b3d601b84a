/// Finds a slab's entries by the hash of their key: open addressing with linear probing. A slot is four bytes, an entry's
/// index and a tag of 12 bits of its hash, so that hardly another entry than the right one is looked at; keys and
/// hashes stay with their owner, who says which candidate it is.
///
/// Invariant: a power of two of slots, at least twice the capacity, so that a search always meets an empty one.
public struct HashIndex: ~Copyable {
  @usableFromInline let slots: UnsafeMutablePointer<UInt32>  // tag, never 0, and index (20 bits); 0 is an empty slot
  @usableFromInline let mask: Int
  @usableFromInline let capacity: Int
  @usableFromInline var used = 0

  public init(capacity: Int, name: StaticString, in reservation: inout Reservation) {
    precondition(capacity <= Reservation.entriesMax)
    var slotCount = 4
    while slotCount < capacity * 2 { slotCount *= 2 }
    slots = reservation.take(UInt32.self, count: slotCount, name: name)
    mask = slotCount - 1
    self.capacity = capacity
  }

  @inlinable public var count: Int { used }

  @inlinable static func tag(_ hash: UInt32) -> UInt32 { max(1, hash &>> 20) &<< 20 }
  @inlinable static func entry(_ slot: UInt32) -> Int { Int(slot & 0xF_FFFF) }

  /// The first entry of this hash for which `isMatch` answers true; it is asked about few others.
  @inlinable @inline(__always) public func find(hash: UInt32, where isMatch: (Int) -> Bool) -> Int? {
    let tag = HashIndex.tag(hash)
    var position = Int(hash) & mask
    while slots[position] != 0 {
      let slot = slots[position]
      if slot & 0xFFF0_0000 == tag, isMatch(HashIndex.entry(slot)) { return HashIndex.entry(slot) }
      position = (position &+ 1) & mask
    }
    return nil
  }

  /// The table is as large as the slab it serves, so there is always room.
  @inlinable public mutating func insert(_ entry: Int, hash: UInt32) {
    precondition(used < capacity && entry >= 0 && entry < Reservation.entriesMax)
    var position = Int(hash) & mask
    while slots[position] != 0 { position = (position + 1) & mask }
    slots[position] = HashIndex.tag(hash) | UInt32(entry)
    used += 1
  }

  /// Takes out all entries: for a table that is filled anew as a whole.
  public mutating func removeAll() {
    slots.update(repeating: 0, count: mask + 1)
    used = 0
  }

  /// Takes out an entry of `slab`, whose entries `hashOf` knows the hashes of.
  @inlinable public mutating func remove<Element: BitwiseCopyable>(
    _ entry: Int, hash: UInt32, from slab: borrowing Slab<Element>, hashOf: (Element) -> UInt32
  ) {
    var hole = Int(hash) & mask
    while HashIndex.entry(slots[hole]) != entry || slots[hole] == 0 {
      precondition(slots[hole] != 0)
      hole = (hole + 1) & mask
    }
    used -= 1
    // Move back every later entry of this run whose home is at or before the hole.
    var position = (hole + 1) & mask
    while slots[position] != 0 {
      let other = slab.handle(at: HashIndex.entry(slots[position]))!  // every entry is lent
      let home = Int(hashOf(slab[other])) & mask
      if (position - home) & mask >= (position - hole) & mask {
        slots[hole] = slots[position]
        hole = position
      }
      position = (position + 1) & mask
    }
    slots[hole] = 0
  }
}
