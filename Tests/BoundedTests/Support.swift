import Bounded
import Testing

/// SplitMix64: the same seed gives the same run on every machine.
struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var value = state
    value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
    value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
    return value ^ (value >> 31)
  }

  mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }

  /// True once in `count` times.
  mutating func oneIn(_ count: Int) -> Bool { below(count) == 0 }

  mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }
}

/// The capacities at which every container is compared with its model.
let modelCapacities = [1, 2, 3, 64]

/// Lends a mapped, zeroed region for the length of `body`.
func withReservation(_ byteCount: Int = 1 << 18, _ body: (inout Reservation) throws -> Void) rethrows {
  let region = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCount, alignment: Reservation.alignment)
  defer { region.deallocate() }
  region.initializeMemory(as: UInt8.self, repeating: 0)
  var reservation = Reservation(region: region)
  try body(&reservation)
}

/// Lends a view of an array's bytes.
@discardableResult func withBytes<Answer>(_ array: [UInt8], _ body: (Bytes) throws -> Answer) rethrows -> Answer {
  try array.withUnsafeBytes { try body(Bytes($0)) }
}

/// Like `#expect`, but costs nothing when it holds: for the inner loop of a seeded run.
func check(
  _ condition: Bool, _ comment: @autoclosure () -> String = "", sourceLocation: SourceLocation = #_sourceLocation
) {
  if !condition { Issue.record(Comment(rawValue: comment()), sourceLocation: sourceLocation) }
}
