import Bounded
import Testing

@Suite struct MutableBytesTests {
  @Test func views() {
    var array = [UInt8]("sensor/1".utf8)
    array.withUnsafeMutableBytes { memory in
      let bytes = MutableBytes(memory)
      #expect(bytes.count == 8)
      #expect(!bytes.isEmpty)
      #expect(bytes.first(6).bytes == Bytes("sensor"))
      #expect(bytes.from(7).bytes == Bytes("1"))
      #expect(bytes.from(8).isEmpty)
      bytes[2..<4][1] = UInt8(ascii: "S")
      #expect(bytes[3] == UInt8(ascii: "S"))
    }
    #expect(array == [UInt8]("senSor/1".utf8))
  }

  /// Every part to every place of ten bytes, whether the two overlap or not.
  @Test func movesParts() {
    for from in 0...10 {
      for count in 0...10 - from {
        for to in 0...10 - count {
          var array = [UInt8](0..<10)
          var expected = array
          expected.replaceSubrange(to..<to + count, with: array[from..<from + count])
          array.withUnsafeMutableBytes { MutableBytes($0).move(from..<from + count, to: to) }
          check(array == expected, "\(count) bytes from \(from) to \(to)")
        }
      }
    }
  }

  @Test func takesCopies() {
    var array = [UInt8]("sensor/1".utf8)
    array.withUnsafeMutableBytes { memory in
      MutableBytes(memory).copy(Bytes("in"), to: 6)
      MutableBytes(memory).copy(.empty, to: 8)
    }
    #expect(array == [UInt8]("sensorin".utf8))
  }

  /// Every length around the eight bytes that are masked at once, at every alignment; the neighbours stay.
  @Test(arguments: [0x0403_0201, 0xFF00_0080, 0] as [UInt32]) func masksEachByteWithItsOwn(key: UInt32) {
    let keyBytes = (0..<4).map { UInt8(truncatingIfNeeded: key >> UInt32(8 * $0)) }
    let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 96, alignment: 16)
    defer { room.deallocate() }
    for start in 8..<24 {
      for count in 0...70 {
        let before = (0..<96).map { UInt8($0) &* 7 }
        room.copyBytes(from: before)
        let bytes = MutableBytes(room)[start..<(start + count)]
        bytes.mask(with: key)
        for index in 0..<96 {
          let isMasked = index >= start && index < start + count
          let expected = isMasked ? before[index] ^ keyBytes[(index - start) % 4] : before[index]
          check(room[index] == expected, "start \(start) count \(count) index \(index)")
        }
        bytes.mask(with: key)
        check(Array(room) == before, "start \(start) count \(count)")
      }
    }
  }
}
