/// Finds the heaviest of a fixed number of entries whose weights change all the time. Nothing is kept in order: the entries
/// stand in about √n groups, and each group has an upper bound of its weights, which a search makes true again. So a
/// weight that grows costs one comparison, one that falls costs nothing, and a search looks at about 2√n numbers.
///
/// Invariant: no entry is heavier than its group's bound, if every weight that has grown was told by `raise`.
public struct HeaviestFinder: ~Copyable {
  private let bounds: FixedArray<UInt32>
  private let entryCount: Int
  private let shift: Int

  /// For entries 0..<count, which weigh nothing.
  public init(count: Int, name: StaticString, in reservation: inout Reservation) {
    precondition(count > 0)
    entryCount = count
    shift = (Int.bitWidth - (count - 1).leadingZeroBitCount + 1) / 2
    bounds = FixedArray(count: (count - 1) >> shift + 1, name: name, in: &reservation)
  }

  /// An entry's weight is now this, or less.
  @inline(__always) public func raise(_ entry: Int, to weight: UInt32) {
    let group = entry >> shift
    if bounds[group] < weight { bounds[group] = weight }
  }

  /// The heaviest entry, or one of several that weigh the same; nil: all weigh nothing.
  public func heaviest(_ weight: (Int) -> UInt32) -> Int? {
    while true {
      var group = 0
      for other in 1..<max(1, bounds.count) where bounds[other] > bounds[group] { group = other }
      guard bounds[group] > 0 else { return nil }
      var heaviest = group << shift
      var most: UInt32 = 0
      for entry in (group << shift)..<min((group + 1) << shift, entryCount) {
        let now = weight(entry)
        if now > most {
          most = now
          heaviest = entry
        }
      }
      let isTrue = most == bounds[group]
      bounds[group] = most
      if isTrue { return heaviest }
    }
  }
}
