import Bounded
import Testing

struct BlockPoolTests {
  private struct Owned {
    let body: Body
    let bytes: [UInt8]
    var references: Int
    var isLent = true
  }

  private func read(_ pool: borrowing BlockPool, _ body: Body, at position: Int, most: () -> Int) -> [UInt8] {
    var answer: [UInt8] = []
    var cursor = pool.cursor(body, at: position)
    while cursor.remaining > 0 {
      let part = pool.read(&cursor, most: most())
      check(!part.isEmpty)
      answer += part.array()
      check(position + answer.count + cursor.remaining == body.byteCount)
    }
    check(pool.read(&cursor, most: .max).isEmpty)
    return answer
  }

  /// The model: an array of bodies with their bytes and owners.
  @Test(arguments: modelCapacities) func behavesLikeAnArray(capacity: Int) {
    var generator = SeededGenerator(seed: UInt64(capacity))
    withReservation { reservation in
      var pool = BlockPool(blockCount: capacity, blockBytes: 64, name: "blocks", in: &reservation)
      var model: [Owned] = []
      var refused: UInt64 = 0
      for step in 0..<3000 {
        switch generator.below(6) {
        case 0, 1, 2:
          let bytes = generator.bytes(1 + generator.below(min(capacity, 5) * 64 + 10))
          let keepingFree = generator.below(3)
          let needed = (bytes.count + 63) / 64
          check(pool.blockCount(for: bytes.count) == needed)
          let fits = needed <= pool.gauge.free - keepingFree
          check(pool.hasRoom(for: bytes.count, keepingFree: keepingFree) == fits)
          let body = pool.lend(byteCount: bytes.count, keepingFree: keepingFree)
          check((body != nil) == fits)
          guard let body else {
            refused += 1
            break
          }
          check(!body.isNull && body.byteCount == bytes.count)
          var cursor = pool.cursor(body)
          var rest = bytes[...]
          while !rest.isEmpty {
            let part = Array(rest.prefix(1 + generator.below(100)))
            withBytes(part) { pool.write($0, at: &cursor) }
            rest = rest.dropFirst(part.count)
            check(cursor.remaining == rest.count)
          }
          model.append(Owned(body: body, bytes: bytes, references: 0))
        case 3 where !model.isEmpty:
          let index = generator.below(model.count)
          let referenced = model.reduce(0) { $0 + ($1.references > 0 ? ($1.bytes.count + 63) / 64 : 0) }
          check(pool.referencedCount == referenced)
          check(pool.isReferenced(model[index].body) == (model[index].references > 0))
          pool.refer(to: model[index].body)
          model[index].references += 1
        default:
          if model.isEmpty || step / 150 % 2 == 0 && generator.oneIn(2) { break }
          let index = generator.below(model.count)
          if model[index].isLent, model[index].references == 0 || generator.oneIn(2) {
            pool.release(model[index].body)
            model[index].isLent = false
          } else {
            pool.unrefer(model[index].body)
            model[index].references -= 1
          }
          if model[index].references == 0, !model[index].isLent { model.remove(at: index) }
        }
        check(pool.gauge.refused == refused)
        check(pool.gauge.used == model.reduce(0) { $0 + ($1.bytes.count + 63) / 64 })
        for owned in model {
          let position = generator.below(owned.bytes.count + 1)
          let most = 1 + generator.below(150)
          check(read(pool, owned.body, at: position, most: { most }) == Array(owned.bytes[position...]))
        }
      }
      for owned in model {
        for _ in 0..<owned.references { pool.unrefer(owned.body) }
        if owned.isLent { pool.release(owned.body) }
      }
      check(pool.gauge.used == 0 && pool.referencedCount == 0 && refused > 0)
    }
  }

  /// Bodies of every length up to three blocks and a byte, read from every position, written in two parts.
  @Test func everyLengthAroundTheBlockBorders() {
    withReservation { reservation in
      var pool = BlockPool(blockCount: 8, blockBytes: 64, name: "blocks", in: &reservation)
      let bytes = (0..<193).map { UInt8($0) }
      for length in 1...193 {
        let body = pool.lend(byteCount: length, keepingFree: 0)!
        check(pool.gauge.used == (length + 63) / 64)
        for split in [0, 1, 63, 64, 65, 127, 128, 129, length - 1, length] where (0...length).contains(split) {
          var cursor = pool.cursor(body)
          withBytes(bytes) {
            pool.write($0.first(split), at: &cursor)
            pool.write($0[split..<length], at: &cursor)
          }
          check(cursor.remaining == 0)
          check(read(pool, body, at: 0, most: { .max }) == Array(bytes.prefix(length)))
        }
        for position in 0...length {
          check(read(pool, body, at: position, most: { 64 }) == Array(bytes[position..<length]))
        }
        pool.release(body)
      }
      #expect(pool.gauge.used == 0)
    }
  }

  /// A write at a position changes these bytes and no others.
  @Test func writesInTheMiddle() {
    var generator = SeededGenerator(seed: 7)
    withReservation { reservation in
      var pool = BlockPool(blockCount: 8, blockBytes: 64, name: "blocks", in: &reservation)
      var model = [UInt8](repeating: 0, count: 300)
      let body = pool.lend(byteCount: model.count, keepingFree: 0)!
      var start = pool.cursor(body)
      withBytes(model) { pool.write($0, at: &start) }
      for _ in 0..<1000 {
        let position = generator.below(model.count + 1)
        let part = generator.bytes(generator.below(model.count - position + 1))
        var cursor = pool.cursor(body, at: position)
        withBytes(part) { pool.write($0, at: &cursor) }
        model.replaceSubrange(position..<(position + part.count), with: part)
        check(read(pool, body, at: 0, most: { .max }) == model)
      }
    }
  }

  @Test func copiesAPart() {
    withReservation { reservation in
      var pool = BlockPool(blockCount: 8, blockBytes: 64, name: "blocks", in: &reservation)
      let bytes = (0..<200).map { UInt8($0) }
      let body = pool.lend(byteCount: 200, keepingFree: 0)!
      var cursor = pool.cursor(body)
      withBytes(bytes) { pool.write($0, at: &cursor) }
      var memory = [UInt8](repeating: 0, count: 200)
      memory.withUnsafeMutableBytes {
        for position in 0...200 {
          for byteCount in [0, 1, 64, 65, 200] where position + byteCount <= 200 {
            var writer = ByteWriter($0)
            pool.copy(body, from: position, byteCount: byteCount, into: &writer)
            check(writer.written.array() == Array(bytes[position..<(position + byteCount)]))
          }
        }
      }
    }
  }

  @Test func keepsBlocksFreeForAHigherClass() {
    withReservation { reservation in
      var pool = BlockPool(blockCount: 10, blockBytes: 64, name: "blocks", in: &reservation)
      let low = pool.lend(byteCount: 6 * 64, keepingFree: 4)
      #expect(low != nil)
      #expect(pool.lend(byteCount: 1, keepingFree: 4) == nil)
      #expect(pool.lend(byteCount: 2 * 64 + 1, keepingFree: 2) == nil)
      #expect(pool.lend(byteCount: 2 * 64, keepingFree: 2) != nil)
      #expect(pool.lend(byteCount: 1, keepingFree: 2) == nil)
      #expect(pool.lend(byteCount: 2 * 64, keepingFree: 0) != nil)
      #expect(pool.lend(byteCount: 1, keepingFree: 0) == nil)
      #expect(pool.gauge.refused == 4)
      #expect(pool.gauge.used == 10)
      #expect(pool.gauge.peak == 10)
      #expect(pool.hasRoom(for: 1, keepingFree: 100) == false)
    }
  }

  /// In whatever order they came back.
  @Test(arguments: [32, 96]) func freeBlocksThatFollowEachOtherAreOnePiece(blockBytes: Int) {
    var generator = SeededGenerator(seed: 3)
    withReservation { reservation in
      var pool = BlockPool(blockCount: 200, blockBytes: blockBytes, name: "blocks", in: &reservation)
      for _ in 0..<50 {
        var small = (0..<(1 + generator.below(200))).map { _ in pool.lend(byteCount: 1, keepingFree: 0)! }
        while !small.isEmpty { pool.release(small.remove(at: generator.below(small.count))) }
        let bytes = generator.bytes(200 * blockBytes - generator.below(blockBytes))
        let body = pool.lend(byteCount: bytes.count, keepingFree: 0)!
        var cursor = pool.cursor(body)
        withBytes(bytes) { pool.write($0, at: &cursor) }
        let position = generator.below(bytes.count)
        cursor = pool.cursor(body, at: position)
        check(pool.read(&cursor, most: .max).array() == Array(bytes[position...]) && cursor.remaining == 0)
        pool.release(body)
      }
      check(pool.gauge.used == 0)
    }
  }

  /// Pieces end where a block of another body lies between.
  @Test func piecesGoRoundWhatIsTaken() {
    withReservation { reservation in
      var pool = BlockPool(blockCount: 100, blockBytes: 32, name: "blocks", in: &reservation)
      let small = (0..<100).map { _ in pool.lend(byteCount: 32, keepingFree: 0)! }
      for index in 0..<100 where index % 10 != 0 { pool.release(small[index]) }
      let body = pool.lend(byteCount: 90 * 32, keepingFree: 0)!
      var cursor = pool.cursor(body, at: 32)
      var counts: [Int] = []
      while cursor.remaining > 0 { counts.append(pool.read(&cursor, most: .max).count) }
      #expect(counts == [8 * 32] + Array(repeating: 9 * 32, count: 9))
    }
  }

  @Test func nullBodyIsEmpty() {
    withReservation { reservation in
      let pool = BlockPool(blockCount: 1, blockBytes: 64, name: "blocks", in: &reservation)
      var cursor = pool.cursor(.null)
      #expect(Body.null.isNull && Body.null.byteCount == 0 && cursor.remaining == 0)
      #expect(pool.read(&cursor, most: 1).isEmpty)
    }
  }

  @Test func mistakesTrap() async {
    await #expect(processExitsWith: .failure) {  // released twice
      withReservation { reservation in
        var pool = BlockPool(blockCount: 2, blockBytes: 64, name: "blocks", in: &reservation)
        let body = pool.lend(byteCount: 1, keepingFree: 0)!
        pool.release(body)
        pool.release(body)
      }
    }
    await #expect(processExitsWith: .failure) {  // retained after the last release
      withReservation { reservation in
        var pool = BlockPool(blockCount: 2, blockBytes: 64, name: "blocks", in: &reservation)
        let body = pool.lend(byteCount: 1, keepingFree: 0)!
        pool.release(body)
        pool.refer(to: body)
      }
    }
    await #expect(processExitsWith: .failure) {  // written past its end
      withReservation { reservation in
        var pool = BlockPool(blockCount: 2, blockBytes: 64, name: "blocks", in: &reservation)
        let body = pool.lend(byteCount: 3, keepingFree: 0)!
        var cursor = pool.cursor(body)
        pool.write(Bytes("abcd"), at: &cursor)
      }
    }
    await #expect(processExitsWith: .failure) {
      withReservation { reservation in
        var pool = BlockPool(blockCount: 2, blockBytes: 64, name: "blocks", in: &reservation)
        pool.release(.null)
      }
    }
  }
}

struct BlockChainTests {
  /// The model: some chains that grow and are cleared, of a pool that they share.
  @Test(arguments: modelCapacities) func behavesLikeArraysOfASharedStore(capacity: Int) {
    var generator = SeededGenerator(seed: UInt64(capacity))
    let room = UnsafeMutableRawBufferPointer.allocate(byteCount: capacity * 64, alignment: 1)
    defer { room.deallocate() }
    withReservation { reservation in
      var pool = BlockPool(blockCount: capacity, blockBytes: 64, name: "blocks", in: &reservation)
      var chains = [BlockChain](repeating: BlockChain(), count: 3)
      var model = [[UInt8]](repeating: [], count: 3)
      var refused: UInt64 = 0
      for _ in 0..<3000 {
        let index = generator.below(3)
        if generator.below(10) == 0 {
          pool.clear(&chains[index])
          model[index] = []
        } else {
          let bytes = generator.bytes(generator.below(150))
          let needed = model.enumerated().reduce(0) {
            $0 + ($1.element.count + ($1.offset == index ? bytes.count : 0) + 63) / 64
          }
          let done = withBytes(bytes) { pool.append($0, to: &chains[index]) }
          check(done == (needed <= capacity))
          if done { model[index] += bytes } else { refused += 1 }
        }
        check(pool.gauge.used == model.reduce(0) { $0 + ($1.count + 63) / 64 } && pool.gauge.refused == refused)
        for index in 0..<3 {
          var writer = ByteWriter(room)
          pool.copy(chains[index], into: &writer)
          check(writer.written.array() == model[index] && chains[index].byteCount == model[index].count)
        }
      }
      check(refused > 0 && pool.gauge.peak == capacity)
    }
  }
}
