import Bounded
import Testing

struct FixedArrayTests {
  @Test(arguments: modelCapacities) func behavesLikeAnArray(capacity: Int) {
    var generator = SeededGenerator(seed: UInt64(capacity))
    withReservation { reservation in
      let array = FixedArray<UInt64>(count: capacity, name: "array", in: &reservation)
      var model = [UInt64](repeating: 0, count: capacity)
      for _ in 0..<500 {
        for index in 0..<capacity { check(array[index] == model[index]) }
        let index = generator.below(capacity)
        let value = generator.next()
        array[index] = value
        array[index] &+= 1
        model[index] = value &+ 1
      }
      check(array.count == capacity)
    }
  }

  @Test func accessOutsideTraps() async {
    await #expect(processExitsWith: .failure) {
      withReservation { reservation in
        let array = FixedArray<UInt8>(count: 2, name: "array", in: &reservation)
        array[2] = 1
      }
    }
    await #expect(processExitsWith: .failure) {
      withReservation { reservation in
        let array = FixedArray<UInt8>(count: 2, name: "array", in: &reservation)
        _ = array[-1]
      }
    }
  }
}

struct ScratchTests {
  @Test func writesFromTheStart() {
    withReservation { reservation in
      let scratch = Scratch(byteCount: 4, name: "scratch", in: &reservation)
      for text: StaticString in ["abc", "x"] {
        var writer = scratch.writer()
        writer.write(text)
        #expect(writer.written == Bytes(text))
        #expect(writer.free == 4 - text.utf8CodeUnitCount)
      }
      #expect(scratch.capacity == 4)
    }
  }
}
