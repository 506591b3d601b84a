import Bounded

/// How often a password may be wrong: of each user name from each address ten times at once, and once in six seconds in the
/// long run. A user who is guessed at from one address logs in from another as before.
///
/// Invariant: a place whose `wholeAt` is past says nothing; it is the next one's.
struct LoginRates: ~Copyable {
  static var burst: Int64 { 10 }
  static var nanosecondsPerTry: Int64 { 6_000_000_000 }
  static var places: Int { 64 }

  private struct Place: BitwiseCopyable {
    var key: UInt64
    /// When nothing is held against it any more.
    var wholeAt: Instant
  }

  private let entries: FixedArray<Place>
  private let key: HashKey

  /// - Parameter isUsed: without passwords there is nothing to count.
  init(isUsed: Bool, key: HashKey, in reservation: inout Reservation) {
    entries = FixedArray(count: isUsed ? LoginRates.places : 0, name: "wrong passwords", in: &reservation)
    self.key = key
  }

  /// Whether this name may be tried from there.
  func allows(_ name: Bytes, from source: SourceAddress, at now: Instant) -> Bool {
    guard let place = find(sum(name, source)) else { return true }
    return entries[place].wholeAt.since(now) <= (LoginRates.burst - 1) * LoginRates.nanosecondsPerTry
  }

  /// The password was wrong.
  mutating func failed(_ name: Bytes, from source: SourceAddress, at now: Instant) {
    let sum = sum(name, source)
    guard entries.count > 0 else { return }
    // Where all are taken, the one that is forgiven soonest makes room.
    var place = 0
    if let found = find(sum) {
      place = found
    } else {
      for index in 1..<entries.count where entries[index].wholeAt < entries[place].wholeAt { place = index }
      entries[place] = Place(key: sum, wholeAt: now)
    }
    entries[place].wholeAt = max(entries[place].wholeAt, now).adding(nanoseconds: LoginRates.nanosecondsPerTry)
  }

  private func find(_ sum: UInt64) -> Int? {
    for place in 0..<entries.count where entries[place].key == sum { return place }
    return nil
  }

  /// 0 is what an unused place has; that a name has it is as unlikely as that two names have the same.
  private func sum(_ name: Bytes, _ source: SourceAddress) -> UInt64 {
    withUnsafeTemporaryAllocation(byteCount: 320, alignment: 8) { memory in
      var writer = ByteWriter(memory)
      writer.write(name)
      writer.write(0)
      source.write(into: &writer)
      return key.hash(writer.written)
    }
  }
}
