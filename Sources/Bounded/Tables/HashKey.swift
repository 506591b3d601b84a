/// A secret of 128 bits, and SipHash, which it keys (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012).
/// Without the key, names of one hash can be found by trying only, and from hashes that are told neither the key nor another
/// hash follows.
public struct HashKey: BitwiseCopyable, Sendable {
  private let low: UInt64
  private let high: UInt64

  public init(low: UInt64, high: UInt64) {
    self.low = low
    self.high = high
  }

  /// SipHash-1-3: for tables whose keys peers choose.
  public func hash(_ bytes: Bytes) -> UInt64 {
    var state = SipState(low, high)
    var index = 0
    while index &+ 8 <= bytes.count {
      let word = UInt64(littleEndian: bytes.word(at: index))
      state.v3 ^= word
      state.mix()
      state.v0 ^= word
      index &+= 8
    }
    let last = UInt64(truncatingIfNeeded: bytes.count) &<< 56 | HashKey.rest(of: bytes)
    state.v3 ^= last
    state.mix()
    state.v0 ^= last
    state.v2 ^= 0xFF
    state.mix()
    state.mix()
    state.mix()
    return state.value
  }

  /// SipHash-2-4 of the number's eight bytes, least significant first: numbers that others may see, of which each says
  /// nothing of the next. Different numbers may have the same one.
  public func random(_ number: UInt64) -> UInt64 {
    var state = SipState(low, high)
    state.v3 ^= number
    state.mix()
    state.mix()
    state.v0 ^= number
    let last = UInt64(8) &<< 56  // no byte more, and how many there were
    state.v3 ^= last
    state.mix()
    state.mix()
    state.v0 ^= last
    state.v2 ^= 0xFF
    state.mix()
    state.mix()
    state.mix()
    state.mix()
    return state.value
  }

  /// The 0...7 bytes behind the last whole word as a number, the first of them least significant, in at most three loads.
  @inline(__always) private static func rest(of bytes: Bytes) -> UInt64 {
    let count = bytes.count
    let length = count & 7
    guard length > 0 else { return 0 }
    if count >= 8 {
      // Its end is the end of a word that is all there.
      return UInt64(littleEndian: bytes.word(at: count &- 8)) &>> UInt64(8 &* (8 &- length))
    }
    if length >= 4 {
      let first = UInt32(littleEndian: bytes.base.loadUnaligned(as: UInt32.self))
      let last = UInt32(littleEndian: bytes.base.loadUnaligned(fromByteOffset: length &- 4, as: UInt32.self))
      return UInt64(first) | UInt64(last) &<< UInt64(8 &* (length &- 4))
    }
    let middle = length &>> 1
    return UInt64(bytes[0]) | UInt64(bytes[middle]) &<< UInt64(8 &* middle)
      | UInt64(bytes[length &- 1]) &<< UInt64(8 &* (length &- 1))
  }
}

/// The four words of SipHash.
private struct SipState {
  var v0: UInt64
  var v1: UInt64
  var v2: UInt64
  var v3: UInt64

  /// "somepseudorandomlygeneratedbytes".
  @inline(__always) init(_ low: UInt64, _ high: UInt64) {
    v0 = low ^ 0x736F_6D65_7073_6575
    v1 = high ^ 0x646F_7261_6E64_6F6D
    v2 = low ^ 0x6C79_6765_6E65_7261
    v3 = high ^ 0x7465_6462_7974_6573
  }

  /// SipRound.
  @inline(__always) mutating func mix() {
    v0 &+= v1
    v2 &+= v3
    v1 = rotated(v1, 13) ^ v0
    v3 = rotated(v3, 16) ^ v2
    v0 = rotated(v0, 32)
    v2 &+= v1
    v0 &+= v3
    v1 = rotated(v1, 17) ^ v2
    v3 = rotated(v3, 21) ^ v0
    v2 = rotated(v2, 32)
  }

  @inline(__always) private func rotated(_ word: UInt64, _ count: UInt64) -> UInt64 {
    word &<< count | word &>> (64 &- count)
  }

  var value: UInt64 { v0 ^ v1 ^ v2 ^ v3 }
}
