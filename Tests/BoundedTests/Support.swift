import Bounded
import Testing

/// The capacities at which every container is compared with its model.
let modelCapacities = [1, 2, 3, 64]

/// Lends a mapped, zeroed region for the length of `body`.
func withReservation(_ byteCount: Int = 1 << 18, _ body: (inout Reservation) throws -> Void) rethrows {
  let region = UnsafeMutableRawBufferPointer.zeroed(byteCount)
  defer { region.deallocate() }
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
