import Testing

@testable import Bounded

struct ByteQueueTests {
  private static let chunkBytes = 64  // the smallest, so that borders are met often

  /// A pool of queues beside its model: the bytes each queue still owes, and which of them are control.
  private struct Pair: ~Copyable {
    var pool: ByteQueuePool
    var bodies: BlockPool
    var queues: [ByteQueue]
    var bytes: [[UInt8]]
    var isControl: [[Bool]]
    var refused: UInt64 = 0
    /// Where lent bytes lie: it gets others as soon as nobody should refer to it.
    let arena = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 1)
    var arenaUsed = 0

    deinit { arena.deallocate() }

    init(queueCount: Int, sharedChunkCount: Int, chunksPerQueueMax: Int, in reservation: inout Reservation) {
      pool = ByteQueuePool(
        queueCount: queueCount, sharedChunkCount: sharedChunkCount, chunkBytes: ByteQueueTests.chunkBytes,
        chunksPerQueueMax: chunksPerQueueMax, name: "queues", in: &reservation)
      bodies = BlockPool(blockCount: 64, blockBytes: 64, name: "bodies", in: &reservation)
      queues = Array(repeating: ByteQueue(), count: queueCount)
      bytes = Array(repeating: [], count: queueCount)
      isControl = Array(repeating: [], count: queueCount)
    }

    mutating func append(
      _ part: [UInt8], to index: Int, use: ByteQueuePool.Use, isPromised: Bool = false
    ) -> Bool {
      let hasRoom = isPromised || pool.hasRoom(queues[index], for: part.count, use: use)
      let done = withBytes(part) { pool.append($0, to: &queues[index], use: use, isPromised: isPromised) }
      check(done == hasRoom)
      guard done else {
        refused += 1
        return false
      }
      bytes[index] += part
      isControl[index] += Array(repeating: use == .control, count: part.count)
      return true
    }

    /// Lends a body, appends it from `position` on and gives up the own share.
    mutating func appendBody(
      _ part: [UInt8], from position: Int, to index: Int, isPromised: Bool = false
    ) -> Bool {
      let body = bodies.lend(byteCount: part.count, keepingFree: 0)!
      var cursor = bodies.cursor(body)
      withBytes(part) { bodies.write($0, at: &cursor) }
      let hasRoom = isPromised || pool.hasRoom(queues[index], for: 0, references: 1, use: .data)
      let done = pool.append(body, from: position, to: &queues[index], isPromised: isPromised, bodies: &bodies)
      check(done == (hasRoom || position == part.count))
      bodies.release(body)
      guard done else {
        refused += 1
        return false
      }
      bytes[index] += part[position...]
      isControl[index] += Array(repeating: false, count: part.count - position)
      return true
    }

    mutating func lend(_ part: [UInt8], to index: Int, isApart: Bool) {
      if !queues.contains(where: \.holdsLent) {
        for place in arena.indices { arena[place] = 0xEE }
        arenaUsed = 0
      }
      if isApart { arenaUsed += 1 }
      guard arenaUsed + part.count <= arena.count else { return }
      let place = UnsafeMutableRawBufferPointer(rebasing: arena[arenaUsed..<(arenaUsed + part.count)])
      place.copyBytes(from: part)
      guard pool.lend(Bytes(UnsafeRawBufferPointer(place)), to: &queues[index]) else { return }
      arenaUsed += part.count
      bytes[index] += part
      isControl[index] += Array(repeating: false, count: part.count)
      lentCount += 1
    }
    var lentCount = 0

    func gather(_ index: Int, partCount: Int) -> [UInt8] {
      withUnsafeTemporaryAllocation(of: Bytes.self, capacity: partCount) { parts in
        let count = pool.gather(queues[index], bodies: bodies, into: parts)
        check(count <= partCount)
        check(count > 0 || queues[index].isEmpty || partCount == 0)
        check(parts.prefix(count).allSatisfy { !$0.isEmpty })
        return parts.prefix(count).flatMap { $0.array() }
      }
    }

    /// The first bytes are the model's; forgets `byteCount` of them.
    mutating func consume(_ byteCount: Int, from index: Int) {
      pool.consume(byteCount, from: &queues[index], bodies: &bodies)
      bytes[index].removeFirst(byteCount)
      isControl[index].removeFirst(byteCount)
    }

    func checkInvariants() {
      check(pool.gauge.used == queues.reduce(0) { $0 + $1.chunkCount })
      check(pool.gauge.refused == refused)
      let beyondFloors = queues.reduce(0) { sum, queue in
        sum + max(0, queue.chunkCount - (queue.holdsReserve ? 1 : 0) - pool.floor)
      }
      check(pool.openHeld == beyondFloors)
      check(pool.gauge.free >= pool.keptBackCount)
      for index in queues.indices {
        check(queues[index].byteCount == bytes[index].count)
        check(queues[index].isEmpty == bytes[index].isEmpty)
        let holdsAny = queues[index].chunkCount > 0 || queues[index].holdsLent
        check(holdsAny != bytes[index].isEmpty, "an empty queue holds no chunk")
        check(queues[index].chunkCount <= pool.chunksPerQueueMax + 1)
        if !isControl[index].contains(true) {
          check(pool.hasRoom(queues[index], for: pool.chunkCapacity, use: .control), "no room for control")
        }
        check(gather(index, partCount: 200) == bytes[index])
      }
    }
  }

  /// Queues that share many or few chunks; little, much and no draining in turns.
  @Test(arguments: modelCapacities, [0, 1, 5, 40]) func behavesLikeArrays(queueCount: Int, sharedChunkCount: Int) {
    var generator = SeededGenerator(seed: UInt64(queueCount * 100 + sharedChunkCount))
    withReservation { reservation in
      var pair = Pair(
        queueCount: queueCount, sharedChunkCount: sharedChunkCount, chunksPerQueueMax: 12, in: &reservation)
      for step in 0..<(queueCount == 64 ? 600 : 2500) {
        let index = generator.below(queueCount)
        switch generator.below(step / 150 % 2 == 0 ? 6 : 12) {
        case 0, 1:
          let most = generator.oneIn(4) ? 300 : 50
          _ = pair.append(generator.bytes(generator.below(most)), to: index, use: .data)
        case 2:
          _ = pair.append(generator.bytes(generator.below(pair.pool.chunkCapacity + 1)), to: index, use: .control)
        case 3:
          if pair.bodies.gauge.free < 5 { break }
          let part = generator.bytes(1 + generator.below(300))
          _ = pair.appendBody(part, from: generator.below(part.count + 1), to: index)
        case 4 where generator.oneIn(2):
          let part = generator.bytes(generator.below(200))
          pair.lend(part, to: index, isApart: generator.oneIn(4))
        case 5 where generator.oneIn(3):
          pair.pool.settle(&pair.queues[index])
        case 6 where generator.oneIn(20):
          pair.pool.clear(&pair.queues[index], bodies: &pair.bodies)
          pair.bytes[index] = []
          pair.isControl[index] = []
        default:
          // What a transport does: writes some of the first pieces, up to any byte.
          let first = pair.gather(index, partCount: generator.below(5))
          check(pair.bytes[index].starts(with: first))
          pair.consume(generator.oneIn(3) ? first.count : generator.below(first.count + 1), from: index)
        }
        pair.checkInvariants()
      }
      for index in 0..<queueCount { pair.consume(pair.bytes[index].count, from: index) }
      pair.checkInvariants()
      check(pair.pool.gauge.used == 0 && pair.bodies.gauge.used == 0)
      check(pair.refused > 0 && pair.lentCount > 0)
    }
  }

  /// Lent bytes leave from where they lie, in one piece when they follow each other; settled they are the pool's own.
  @Test func lentBytesAreCopiedWhenSettled() {
    withReservation { reservation in
      var pair = Pair(queueCount: 2, sharedChunkCount: 40, chunksPerQueueMax: 20, in: &reservation)
      func parts(_ pair: borrowing Pair) -> [Bytes] {
        withUnsafeTemporaryAllocation(of: Bytes.self, capacity: 8) { place in
          Array(place[..<pair.pool.gather(pair.queues[0], bodies: pair.bodies, into: place)])
        }
      }
      check(pair.append([1, 2, 3], to: 0, use: .data))
      pair.lend(Array(repeating: 7, count: 300), to: 0, isApart: false)
      pair.lend(Array(repeating: 8, count: 100), to: 0, isApart: false)
      #expect(parts(pair).map(\.count) == [3, 400])
      #expect(parts(pair)[1].isWithin(Bytes(UnsafeRawBufferPointer(pair.arena))))
      #expect(pair.pool.gauge.used == 1 && pair.pool.lentChunks == 7)
      pair.lend([9], to: 1, isApart: false)  // one queue at a time
      #expect(pair.queues[1].isEmpty)
      pair.consume(103, from: 0)
      #expect(parts(pair).map(\.count) == [300])
      #expect(pair.pool.gauge.used == 0 && pair.pool.lentChunks == 5)
      pair.pool.settle(&pair.queues[0])
      for place in pair.arena.indices { pair.arena[place] = 0 }
      pair.checkInvariants()
      #expect(pair.pool.gauge.used == 5 && pair.pool.lentChunks == 0)
      #expect(parts(pair).map(\.count) == [300])  // chunks that follow each other are one piece
    }
  }

  /// Data fills all the chunks it can get. Each queue then still takes a chunk of control packets, in pieces of any
  /// size, however much data is offered in between.
  @Test(arguments: [1, 7, 20, 44]) func controlFindsRoomHoweverFullTheDataIs(pieceBytes: Int) {
    withReservation { reservation in
      for (sharedChunkCount, chunksPerQueueMax) in [(0, 4), (2, 4), (30, 4), (5, 1), (40, 100)] {
        var pair = Pair(
          queueCount: 4, sharedChunkCount: sharedChunkCount, chunksPerQueueMax: chunksPerQueueMax, in: &reservation)
        func fill(_ pair: inout Pair) {
          for index in 0..<4 {
            while pair.append([UInt8(index), 1, 2], to: index, use: .data) {}
            while pair.append([UInt8(index)], to: index, use: .data) {}
          }
        }
        fill(&pair)
        pair.checkInvariants()
        for index in 0..<4 {
          var taken = 0
          while taken + pieceBytes <= pair.pool.chunkCapacity {
            let done = pair.append(Array(repeating: 0xC0, count: pieceBytes), to: index, use: .control)
            check(done, "control refused after \(taken) bytes")
            if !done { break }
            taken += pieceBytes
            fill(&pair)
            pair.checkInvariants()
          }
          check(taken > 0)
        }
        // Taking the bytes out gives the reserves back.
        for index in 0..<4 { pair.consume(pair.bytes[index].count, from: index) }
        pair.checkInvariants()
        fill(&pair)
        pair.checkInvariants()
      }
    }
  }

  /// Acknowledgements for a burst of packets are more than one chunk: they share the other chunks.
  @Test func controlSharesFreeChunks() {
    withReservation { reservation in
      var pair = Pair(queueCount: 4, sharedChunkCount: 20, chunksPerQueueMax: 10, in: &reservation)
      var taken = 0
      while pair.append([0x40, 0x02, 0x00, 0x01], to: 0, use: .control) { taken += 4 }
      #expect(taken == 11 * pair.pool.chunkCapacity)  // its ten chunks and the reserved one
      pair.checkInvariants()
      check(pair.append([1], to: 1, use: .data))
    }
  }

  /// After `hasRoom` has said yes, bytes and references may come in any order and in any pieces.
  @Test func hasRoomHoldsForMixedAppends() {
    var generator = SeededGenerator(seed: 11)
    withReservation(1 << 21) { reservation in
      var agreed = 0
      for _ in 0..<3000 {
        let mark = reservation.byteCount
        if mark > 1 << 20 { break }
        var pair = Pair(
          queueCount: 1, sharedChunkCount: generator.below(12), chunksPerQueueMax: 1 + generator.below(12),
          in: &reservation)
        _ = pair.append(generator.bytes(generator.below(100)), to: 0, use: .data)
        pair.consume(generator.below(pair.bytes[0].count + 1), from: 0)
        for _ in 0..<10 {
          let byteCount = generator.below(200)
          let references = generator.below(4)
          guard pair.pool.hasRoom(pair.queues[0], for: byteCount, references: references, use: .data) else { continue }
          agreed += 1
          // Cut the bytes into references + 1 pieces, with the references between them.
          var cuts = (0..<references).map { _ in generator.below(byteCount + 1) }.sorted()
          cuts.append(byteCount)
          var written = 0
          for (number, cut) in cuts.enumerated() {
            check(pair.append(generator.bytes(cut - written), to: 0, use: .data, isPromised: true))
            written = cut
            if number < references { check(pair.appendBody([1, 2, 3], from: 0, to: 0, isPromised: true)) }
          }
          pair.checkInvariants()
          if generator.oneIn(2) { pair.consume(generator.below(pair.bytes[0].count + 1), from: 0) }
        }
      }
      check(agreed > 100, "\(agreed)")
    }
  }

  /// A body lives as long as a queue refers to it, whatever its publisher does.
  @Test func queuesOwnTheirBodies() {
    withReservation { reservation in
      var pair = Pair(queueCount: 2, sharedChunkCount: 4, chunksPerQueueMax: 4, in: &reservation)
      let body = pair.bodies.lend(byteCount: 200, keepingFree: 0)!
      var cursor = pair.bodies.cursor(body)
      let bytes = (0..<200).map { UInt8($0) }
      withBytes(bytes) { pair.bodies.write($0, at: &cursor) }
      for index in 0..<2 {
        let done = pair.pool.append(body, from: index * 65, to: &pair.queues[index], bodies: &pair.bodies)
        #expect(done)
        pair.bytes[index] = Array(bytes[(index * 65)...])
        pair.isControl[index] = Array(repeating: false, count: pair.bytes[index].count)
      }
      pair.bodies.release(body)
      #expect(pair.bodies.gauge.used == 4)
      pair.checkInvariants()
      pair.consume(200, from: 0)
      #expect(pair.bodies.gauge.used == 4)
      pair.consume(134, from: 1)
      #expect(pair.bodies.gauge.used == 4)
      pair.checkInvariants()
      pair.consume(1, from: 1)
      #expect(pair.bodies.gauge.used == 0)
      #expect(pair.pool.gauge.used == 0)
    }
  }

  /// §3.3.3: a payload may be empty; there is then nothing to refer to.
  @Test func nothingLeftOfABodyNeedsNoRoom() {
    withReservation { reservation in
      var pair = Pair(queueCount: 1, sharedChunkCount: 0, chunksPerQueueMax: 1, in: &reservation)
      check(pair.appendBody([1, 2, 3], from: 3, to: 0))
      #expect(pair.queues[0].isEmpty)
      check(pair.append([], to: 0, use: .data))
      check(pair.append([], to: 0, use: .control))
      check(pair.appendBody([1, 2, 3], from: 2, to: 0))  // its first chunk
      check(!pair.appendBody([1, 2, 3], from: 2, to: 0))
      pair.checkInvariants()
    }
  }

  @Test func refusedBytesChangeNothing() {
    withReservation { reservation in
      var pair = Pair(queueCount: 1, sharedChunkCount: 4, chunksPerQueueMax: 2, in: &reservation)
      check(pair.append([1, 2, 3], to: 0, use: .data))
      let capacity = pair.pool.chunkCapacity
      check(!pair.append(Array(repeating: 9, count: 2 * capacity - 2), to: 0, use: .data))
      pair.checkInvariants()
      check(pair.append(Array(repeating: 9, count: 2 * capacity - 3), to: 0, use: .data))
      check(!pair.append([9], to: 0, use: .data))
      check(!pair.append(Array(repeating: 9, count: capacity + 1), to: 0, use: .control))
      check(pair.append(Array(repeating: 9, count: capacity), to: 0, use: .control))
      pair.checkInvariants()
      #expect(pair.pool.gauge.refused == 3)
    }
  }

  /// Stuck readers do not take the chunks that the others need.
  @Test func fullQueuesLeaveRoomForTheOthers() {
    withReservation { reservation in
      var pair = Pair(queueCount: 8, sharedChunkCount: 32, chunksPerQueueMax: 20, in: &reservation)
      for queue in 0..<4 {
        while pair.append([UInt8(queue)], to: queue, use: .data) {}
      }
      pair.checkInvariants()
      check(pair.append([7], to: 7, use: .data))
    }
  }

  /// However many are stuck, whatever was shared: a packet as large as its floor finds room in each queue, again and again.
  @Test(arguments: [0, 1, 2, 7, 32, 24, 200, 1000]) func eachQueueHasItsFloor(sharedChunkCount: Int) {
    withReservation(1 << 20) { reservation in
      var pair = Pair(queueCount: 24, sharedChunkCount: sharedChunkCount, chunksPerQueueMax: 20, in: &reservation)
      #expect(
        pair.pool.floor
          == (sharedChunkCount < 200 ? 1 + max(0, sharedChunkCount - 20) / 24 : sharedChunkCount == 200 ? 5 : 20))
      for queue in 0..<23 {
        while pair.append([UInt8(queue)], to: queue, use: .data) {}
        while pair.append([UInt8(queue)], to: queue, use: .control) {}
      }
      let whole = Array(repeating: UInt8(9), count: pair.pool.floor * pair.pool.chunkCapacity)
      for _ in 0..<5 {
        check(pair.append(whole, to: 23, use: .data))
        pair.checkInvariants()
        pair.consume(whole.count, from: 23)
      }
    }
  }

  /// As much as one queue may hold finds room in one that is empty, as long as the others keep to their floors.
  @Test(arguments: [1, 2, 24], [20, 21, 40, 100]) func theLargestPacketFindsRoom(queueCount: Int, sharedChunkCount: Int)
  {
    withReservation(1 << 20) { reservation in
      var pair = Pair(
        queueCount: queueCount, sharedChunkCount: sharedChunkCount, chunksPerQueueMax: 20, in: &reservation)
      for queue in 0..<queueCount where queue > 0 {
        check(pair.append(Array(repeating: 1, count: pair.pool.floor * pair.pool.chunkCapacity), to: queue, use: .data))
      }
      check(pair.append(Array(repeating: 2, count: 20 * pair.pool.chunkCapacity), to: 0, use: .data))
      pair.checkInvariants()
      pair.consume(pair.bytes[0].count, from: 0)
      check(pair.pool.isTight == false)
    }
  }

  @Test func consumingTooMuchTraps() async {
    await #expect(processExitsWith: .failure) {
      withReservation { reservation in
        var pair = Pair(queueCount: 1, sharedChunkCount: 2, chunksPerQueueMax: 2, in: &reservation)
        _ = pair.append([1, 2, 3], to: 0, use: .data)
        pair.pool.consume(4, from: &pair.queues[0], bodies: &pair.bodies)
      }
    }
  }
}
