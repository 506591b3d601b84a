/// Finds a slab entry by the hash of its key: open addressing with linear probing; the keys stay with their
/// owner, who says which candidate is the right one.
///
/// Invariant: a power of two of slots, at least twice the capacity, so that a search always meets an empty one.
public struct HashIndex<Element>: ~Copyable {
  @usableFromInline struct Slot: BitwiseCopyable {
    @usableFromInline var hash: UInt32
    @usableFromInline var bits: UInt32  // handle; 0 is an empty slot

    @inlinable init(hash: UInt32, bits: UInt32) {
      self.hash = hash
      self.bits = bits
    }
  }
  @usableFromInline let slots: UnsafeMutablePointer<Slot>
  @usableFromInline let mask: Int
  @usableFromInline let capacity: Int
  @usableFromInline var used = 0

  public init(capacity: Int, name: StaticString, in reservation: inout Reservation) {
    var slotCount = 4
    while slotCount < capacity * 2 { slotCount *= 2 }
    slots = reservation.take(Slot.self, count: slotCount, name: name)
    mask = slotCount - 1
    self.capacity = capacity
  }

  @inlinable public var count: Int { used }

  /// The first entry of this hash for which `isMatch` answers true.
  @inlinable public func find(hash: UInt32, where isMatch: (Handle<Element>) -> Bool) -> Handle<Element>? {
    var position = Int(hash) & mask
    while slots[position].bits != 0 {
      if slots[position].hash == hash {
        let handle = Handle<Element>(bits: slots[position].bits)
        if isMatch(handle) { return handle }
      }
      position = (position + 1) & mask
    }
    return nil
  }

  /// The table is as large as the slab it serves, so there is always room.
  @inlinable public mutating func insert(_ handle: Handle<Element>, hash: UInt32) {
    precondition(used < capacity)
    precondition(!handle.isNull)
    var position = Int(hash) & mask
    while slots[position].bits != 0 { position = (position + 1) & mask }
    slots[position] = Slot(hash: hash, bits: handle.bits)
    used += 1
  }

  @inlinable public mutating func remove(_ handle: Handle<Element>, hash: UInt32) {
    precondition(!handle.isNull)
    var hole = Int(hash) & mask
    while slots[hole].bits != handle.bits {
      precondition(slots[hole].bits != 0)
      hole = (hole + 1) & mask
    }
    used -= 1
    // Move back every later entry of this run whose home is at or before the hole.
    var position = (hole + 1) & mask
    while slots[position].bits != 0 {
      let home = Int(slots[position].hash) & mask
      if (position - home) & mask >= (position - hole) & mask {
        slots[hole] = slots[position]
        hole = position
      }
      position = (position + 1) & mask
    }
    slots[hole] = Slot(hash: 0, bits: 0)
  }
}
