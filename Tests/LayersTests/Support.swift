import Bounded
import Testing

/// Lends bytes in memory of exactly their size.
@discardableResult func withLent<Answer>(_ array: [UInt8], _ use: (Bytes) throws -> Answer) rethrows -> Answer {
  let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: max(array.count, 1), alignment: 1)
  defer { copy.deallocate() }
  copy.copyBytes(from: array)
  return try use(Bytes(UnsafeRawBufferPointer(rebasing: copy[..<array.count])))
}

@discardableResult func withLent<Answer>(_ text: String, _ use: (Bytes) throws -> Answer) rethrows -> Answer {
  try withLent([UInt8](text.utf8), use)
}

/// What `write` writes into room for `capacity` bytes; nil if it did not fit.
func written(capacity: Int = 1_000, _ write: (inout ByteWriter) -> Void) -> [UInt8]? {
  let room = UnsafeMutableRawBufferPointer.allocate(byteCount: max(capacity, 1), alignment: 1)
  defer { room.deallocate() }
  var writer = ByteWriter(UnsafeMutableRawBufferPointer(rebasing: room[..<capacity]))
  write(&writer)
  return writer.overflowed ? nil : writer.written.array()
}

func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

/// Like `#expect`, but costs nothing when it holds: for the inner loop of a seeded run.
func check(
  _ condition: Bool, _ comment: @autoclosure () -> String = "", sourceLocation: SourceLocation = #_sourceLocation
) {
  if !condition { Issue.record(Comment(rawValue: comment()), sourceLocation: sourceLocation) }
}
