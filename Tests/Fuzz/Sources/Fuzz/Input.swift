/// The bytes that libFuzzer hands over, taken from the front; at the end everything is 0.
struct Input {
  private let bytes: UnsafeBufferPointer<UInt8>
  private var offset = 0

  init(_ bytes: UnsafeBufferPointer<UInt8>) { self.bytes = bytes }

  var isAtEnd: Bool { offset == bytes.count }

  mutating func byte() -> UInt8 {
    guard offset < bytes.count else { return 0 }
    offset += 1
    return bytes[offset - 1]
  }

  mutating func below(_ bound: Int) -> Int { Int(byte()) % bound }
  mutating func uint16() -> Int { Int(byte()) << 8 | Int(byte()) }

  /// At most `count` bytes.
  mutating func take(_ count: Int) -> [UInt8] {
    let end = min(bytes.count, offset + count)
    defer { offset = end }
    return [UInt8](bytes[offset..<end])
  }

  mutating func rest() -> [UInt8] { take(bytes.count) }
}

func run(_ target: (inout Input) -> Void, _ bytes: UnsafePointer<UInt8>?, _ count: UInt) -> Int32 {
  var input = Input(UnsafeBufferPointer(start: bytes, count: Int(count)))
  target(&input)
  return 0
}

/// What must hold; libFuzzer keeps the input for which it does not.
func check(_ holds: Bool, _ text: @autoclosure () -> String, file: StaticString = #fileID, line: UInt = #line) {
  if !holds { fatalError(text(), file: file, line: line) }
}
