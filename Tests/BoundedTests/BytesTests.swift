import Bounded
import Testing

struct BytesTests {
  @Test func views() {
    let bytes = Bytes("sensor/1")
    #expect(bytes.count == 8)
    #expect(bytes[0] == UInt8(ascii: "s"))
    #expect(bytes[7] == UInt8(ascii: "1"))
    #expect(bytes[7..<8].array() == [UInt8(ascii: "1")])
    #expect(bytes.from(7) == Bytes("1"))
    #expect(bytes.from(8) == .empty)
    #expect(bytes.first(6) == Bytes("sensor"))
    #expect(bytes.first(0).isEmpty)
    #expect(Bytes(UnsafeRawBufferPointer(start: nil, count: 0)) == .empty)
  }

  /// Every length around the eight bytes that are compared at once, every byte changed.
  @Test func comparesEveryByte() {
    for count in 0...20 {
      let array = (0..<count).map { UInt8($0) }
      withBytes(array) { bytes in
        for changed in 0..<count {
          var other = array
          other[changed] ^= 0x80
          withBytes(other) { other in
            check(bytes != other, "count \(count) byte \(changed)")
            check(!bytes.hasPrefix(other.first(changed + 1)))
            check(bytes.hasPrefix(other.first(changed)))
          }
        }
        withBytes(array) { check(bytes == $0) }
        withBytes(array + [0]) {
          check(bytes != $0)
          check(!bytes.hasPrefix($0))
          check($0.hasPrefix(bytes))
        }
        for byte in UInt8(0)...21 { check(bytes.firstIndex(of: byte) == array.firstIndex(of: byte)) }
        check(bytes.contains(0) == array.contains(0))
      }
    }
  }

  /// Every length around the eight bytes that are looked at at once; bytes that differ in one bit, and 0.
  @Test(arguments: [0, 1, 0x2F, 0x7F, 0x80, 0xFF] as [UInt8]) func countsAByte(byte: UInt8) {
    var random = SeededGenerator(seed: UInt64(byte))
    for count in 0...40 {
      for _ in 0..<50 {
        let array = (0..<count).map { _ in
          random.oneIn(2) ? byte : random.oneIn(2) ? byte ^ 1 << UInt8(random.below(8)) : UInt8(random.below(256))
        }
        withBytes(array) { check($0.count(of: byte) == array.count { $0 == byte }, "\(array)") }
      }
    }
  }

  @Test func quickHashDependsOnEveryByteAndTheSeed() {
    var seen: Set<UInt32> = []
    var made = 0
    for count in 0...20 {
      for changed in 0...count {
        var array = [UInt8](repeating: 7, count: count)
        if changed < count { array[changed] = 8 }
        for seed in [UInt64(1), 2] {
          withBytes(array) { seen.insert($0.quickHash(seed: seed)) }
          made += 1
        }
        withBytes(array) { first in withBytes(array) { check(first.quickHash(seed: 3) == $0.quickHash(seed: 3)) } }
      }
    }
    #expect(seen.count == made)
  }

  /// A table of 1024 slots with 1024 keys that differ in their number only.
  @Test func quickHashSpreads() {
    var load = [Int](repeating: 0, count: 1024)
    for number in 0..<1024 {
      withBytes(Array("plant/line-\(number)/temperature".utf8)) { load[Int($0.quickHash(seed: 42)) & 1023] += 1 }
    }
    #expect(load.max()! < 10)
  }

  @Test func accessOutsideTraps() async {
    await #expect(processExitsWith: .failure) { _ = Bytes("abc")[3] }
    await #expect(processExitsWith: .failure) { _ = Bytes("abc")[-1] }
    await #expect(processExitsWith: .failure) { _ = Bytes("abc").from(4) }
    await #expect(processExitsWith: .failure) { _ = Bytes("abc").first(4) }
  }
}

struct ByteWriterTests {
  /// Runs `body` on a writer of `capacity` bytes between guard bytes.
  private func write(_ capacity: Int, _ body: (inout ByteWriter) -> Void) -> (bytes: [UInt8], overflowed: Bool) {
    var memory = [UInt8](repeating: 0xEE, count: capacity + 16)
    var answer: (bytes: [UInt8], overflowed: Bool) = ([], false)
    memory.withUnsafeMutableBytes { buffer in
      var writer = ByteWriter(buffer.baseAddress! + 8, capacity: capacity)
      body(&writer)
      answer = (writer.written.array(), writer.overflowed)
      check(writer.count + writer.free == capacity)
    }
    check(memory.prefix(8).allSatisfy { $0 == 0xEE } && memory.suffix(8).allSatisfy { $0 == 0xEE })
    check(memory[8..<(8 + answer.bytes.count)].elementsEqual(answer.bytes))
    check(memory[(8 + answer.bytes.count)...].allSatisfy { $0 == 0xEE }, "bytes beyond what was written")
    return answer
  }

  @Test func writesMostSignificantByteFirst() {  // §1.5.2, §1.5.3
    let (bytes, overflowed) = write(13) {
      $0.write(0x01)
      $0.writeUInt16(0x0203)
      $0.writeUInt32(0x0405_0607)
      $0.write(Bytes("abc"))
      $0.write("xyz")
    }
    #expect(bytes == [1, 2, 3, 4, 5, 6, 7] + Array("abcxyz".utf8))
    #expect(!overflowed)
  }

  static let decimals: [(Int64, String)] = [
    (0, "0"), (9, "9"), (10, "10"), (-1, "-1"), (-10, "-10"), (.max, "\(Int64.max)"), (.min, "\(Int64.min)"),
  ]
  @Test(arguments: decimals) func writesDecimals(value: Int64, text: String) {
    #expect(write(20) { $0.writeDecimal(value) }.bytes == Array(text.utf8))
    for capacity in 0..<text.utf8.count {
      let cut = write(capacity) { $0.writeDecimal(value) }
      #expect(cut.bytes.isEmpty && cut.overflowed)
    }
  }

  @Test func writesTheLargestDecimal() {
    #expect(write(20) { $0.writeDecimal(UInt64.max) }.bytes == Array("\(UInt64.max)".utf8))
  }

  /// Each kind of write at each capacity: all of it or nothing, and nothing after an overflow.
  @Test func doesNotFitWritesNothing() {
    let writes: [(Int, (inout ByteWriter) -> Void)] = [
      (1, { $0.write(1) }), (2, { $0.writeUInt16(1) }), (4, { $0.writeUInt32(1) }), (5, { $0.write("abcde") }),
      (3, { $0.write(Bytes("abc")) }), (0, { $0.write(.empty) }), (3, { $0.writeDecimal(UInt64(123)) }),
    ]
    for (byteCount, body) in writes {
      for capacity in 0...8 {
        let (bytes, overflowed) = write(capacity) {
          body(&$0)
          if $0.overflowed { $0.write(9) }
        }
        #expect(bytes.count == (byteCount <= capacity ? byteCount : 0))
        #expect(overflowed == (byteCount > capacity))
      }
    }
  }

  @Test func truncateForgetsAnOverflow() {
    let (bytes, overflowed) = write(4) {
      $0.write("abc")
      $0.write("de")
      #expect($0.overflowed && $0.count == 3)
      $0.truncate(to: 1)
      #expect(!$0.overflowed && $0.free == 3)
      $0.write("xyz")
    }
    // The guard check sees that nothing beyond the four bytes changed.
    #expect(bytes == Array("axyz".utf8) && !overflowed)
  }

  @Test func truncateForwardTraps() async {
    await #expect(processExitsWith: .failure) {
      withUnsafeTemporaryAllocation(byteCount: 4, alignment: 1) {
        var writer = ByteWriter($0)
        writer.truncate(to: 1)
      }
    }
  }
}
