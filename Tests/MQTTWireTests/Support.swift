import Bounded
import MQTTWire

/// Bytes in memory of exactly their size, lent for the rest of the test run.
func lent(_ array: [UInt8]) -> Bytes {
  guard !array.isEmpty else { return .empty }
  let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: array.count, alignment: 1)
  copy.copyBytes(from: array)
  return Bytes(UnsafeRawBufferPointer(copy))
}

func lent(_ text: String) -> Bytes { lent([UInt8](text.utf8)) }

/// As `lent`, for the length of a call: what thousands of iterations use.
func withLent<Result>(_ array: [UInt8], _ use: (Bytes) -> Result) -> Result {
  let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: max(array.count, 1), alignment: 1)
  defer { copy.deallocate() }
  copy.copyBytes(from: array)
  return use(Bytes(UnsafeRawBufferPointer(rebasing: copy[..<array.count])))
}

/// What `write` writes into room for `capacity` bytes; nil if it did not fit.
func written(capacity: Int = 70_000, _ write: (inout ByteWriter) -> Void) -> [UInt8]? {
  let room = UnsafeMutableRawBufferPointer.allocate(byteCount: max(capacity, 1), alignment: 1)
  defer { room.deallocate() }
  var writer = ByteWriter(UnsafeMutableRawBufferPointer(rebasing: room[..<capacity]))
  write(&writer)
  return writer.overflowed ? nil : writer.written.array()
}

// MARK: - Fields by hand

func string(_ text: String) -> [UInt8] { binary([UInt8](text.utf8)) }
func binary(_ bytes: [UInt8]) -> [UInt8] { u16(bytes.count) + bytes }
func u16(_ value: Int) -> [UInt8] { [UInt8(value >> 8), UInt8(value & 0xFF)] }
func u32(_ value: Int) -> [UInt8] { u16(value >> 16) + u16(value & 0xFFFF) }

func vbi(_ value: Int) -> [UInt8] {
  value < 128 ? [UInt8(value)] : [UInt8(value % 128) | 0x80] + vbi(value / 128)
}

/// A property block with its length.
func block(_ properties: [UInt8]...) -> [UInt8] {
  let all = properties.flatMap { $0 }
  return vbi(all.count) + all
}

func user(_ key: String, _ value: String) -> [UInt8] { [0x26] + string(key) + string(value) }

func packet(_ first: UInt8, _ body: [UInt8]...) -> [UInt8] {
  let all = body.flatMap { $0 }
  return [first] + vbi(all.count) + all
}

extension [UInt8] {
  var hex: String {
    map { byte in
      let digits = String(byte, radix: 16)
      return digits.count == 1 ? "0" + digits : digits
    }.joined(separator: " ")
  }
}
