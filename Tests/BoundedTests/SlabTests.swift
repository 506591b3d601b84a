import Bounded
import Testing

struct SlabTests {
  /// The model: what is lent, by handle, and some handles that were given back.
  @Test(arguments: modelCapacities) func behavesLikeADictionary(capacity: Int) {
    var generator = SeededGenerator(seed: UInt64(capacity))
    withReservation { reservation in
      var slab = Slab<UInt64>(capacity: capacity, name: "slab", in: &reservation)
      var model: [(handle: Handle<UInt64>, value: UInt64)] = []
      var stale: [Handle<UInt64>] = []
      var refused: UInt64 = 0
      var peak = 0
      for step in 0..<4000 {
        let value = generator.next()
        // Long phases of filling and of emptying, so that both ends are reached.
        if generator.below(4) < (step / 200 % 2 == 0 ? 3 : 1) {
          if let handle = slab.lend(value) {
            check(model.count < capacity)
            check(!handle.isNull && handle.index < capacity)
            check(!model.contains { $0.handle == handle })
            model.append((handle, value))
          } else {
            check(model.count == capacity)
            refused += 1
          }
        } else if !model.isEmpty {
          let entry = model.remove(at: generator.below(model.count))
          slab.giveBack(entry.handle)
          stale.append(entry.handle)
          if stale.count > 50 { stale.removeFirst() }
        }
        if !model.isEmpty {
          let changed = generator.below(model.count)
          slab[model[changed].handle] &+= value
          model[changed].value &+= value
        }
        peak = max(peak, model.count)
        check(slab.count == model.count && slab.gauge.used == model.count && slab.gauge.peak == peak)
        check(slab.hasRoom == (model.count < capacity))
        check(slab.gauge.refused == refused)
        for entry in model { check(slab.isLent(entry.handle) && slab[entry.handle] == entry.value) }
        for handle in stale { check(!slab.isLent(handle)) }
        let walked = (0..<capacity).compactMap { slab.handle(at: $0) }
        check(walked.count == model.count)
        check(walked.allSatisfy { handle in model.contains { $0.handle == handle } })
      }
      check(refused > 0 && peak == capacity)
    }
  }

  @Test func noCapacityRefuses() {
    withReservation { reservation in
      var slab = Slab<UInt32>(capacity: 0, name: "slab", in: &reservation)
      #expect(slab.lend(1) == nil)
      #expect(slab.isLent(.null) == false)
      #expect(slab.gauge.refused == 1)
    }
  }

  /// 4095 generations: a stale handle is noticed until its entry has been lent 4095 times more.
  @Test func generationsWrap() {
    withReservation { reservation in
      var slab = Slab<UInt32>(capacity: 1, name: "slab", in: &reservation)
      let first = slab.lend(1)!
      slab.giveBack(first)
      for _ in 1..<4095 {
        let handle = slab.lend(2)!
        check(!handle.isNull && handle != first && handle.index == 0)
        check(slab.isLent(handle) && !slab.isLent(first))
        slab.giveBack(handle)
        check(!slab.isLent(handle))
      }
      let again = slab.lend(3)!
      #expect(again == first)
    }
  }

  @Test func foreignHandlesAreNotLent() {
    withReservation { reservation in
      var slab = Slab<UInt32>(capacity: 2, name: "slab", in: &reservation)
      let handle = slab.lend(1)!
      #expect(slab.isLent(.null) == false)
      #expect(slab.isLent(Handle(bits: .max)) == false)
      #expect(slab.isLent(Handle(bits: handle.bits + 1)) == false)  // the entry never lent
      #expect(slab.isLent(Handle(bits: handle.bits)) == true)
      #expect(slab.isLent(Handle(bits: 0xFFFFF)) == false)
    }
  }

  @Test func staleHandleTraps() async {
    await #expect(processExitsWith: .failure) {
      withReservation { reservation in
        var slab = Slab<UInt32>(capacity: 1, name: "slab", in: &reservation)
        let handle = slab.lend(1)!
        slab.giveBack(handle)
        slab.giveBack(handle)
      }
    }
    await #expect(processExitsWith: .failure) {
      withReservation { reservation in
        var slab = Slab<UInt32>(capacity: 1, name: "slab", in: &reservation)
        let handle = slab.lend(1)!
        slab.giveBack(handle)
        _ = slab.lend(2)
        slab[handle] = 3
      }
    }
  }
}

struct RingTests {
  @Test(arguments: modelCapacities) func behavesLikeAnArray(capacity: Int) {
    var generator = SeededGenerator(seed: UInt64(capacity))
    withReservation { reservation in
      var ring = Ring<UInt64>(capacity: capacity, name: "ring", in: &reservation)
      var model: [UInt64] = []
      var refused: UInt64 = 0
      for step in 0..<6000 {
        if generator.below(4) < (step / 300 % 2 == 0 ? 3 : 1) {
          let value = generator.next()
          let pushed = ring.push(value)
          check(pushed == (model.count < capacity))
          if pushed { model.append(value) } else { refused += 1 }
        } else {
          check(ring.pop() == (model.isEmpty ? nil : model.removeFirst()))
        }
        if !model.isEmpty {
          let position = generator.below(model.count)
          ring[position] ^= 1
          model[position] ^= 1
        }
        check(ring.count == model.count && ring.isEmpty == model.isEmpty && ring.gauge.refused == refused)
        for position in model.indices { check(ring[position] == model[position]) }
      }
      check(refused > 0 && ring.gauge.peak == capacity)
    }
  }

  @Test func noCapacityRefuses() {
    withReservation { reservation in
      var ring = Ring<UInt8>(capacity: 0, name: "ring", in: &reservation)
      #expect(ring.push(1) == false)
      #expect(ring.pop() == nil)
    }
  }

  @Test func accessOutsideTraps() async {
    await #expect(processExitsWith: .failure) {
      withReservation { reservation in
        var ring = Ring<UInt8>(capacity: 2, name: "ring", in: &reservation)
        _ = ring.push(1)
        _ = ring[1]
      }
    }
  }

  /// An entry that was given back can be looked at until its place is lent again, but for its first four bytes.
  @Test func whatWasGivenBackIsKnownUntilItsPlaceIsTaken() {
    withReservation { reservation in
      var slab = Slab<UInt64>(capacity: 2, name: "slab", in: &reservation)
      let first = slab.lend(7 << 32 | 1)!
      #expect(slab.latest(first) == 7 << 32 | 1)
      #expect(slab.latest(Handle(bits: 1 << 20 | 1)) == nil)  // never lent
      #expect(slab.latest(.null) == nil)
      slab.giveBack(first)
      #expect(slab.latest(first).map { $0 >> 32 } == 7)
      let second = slab.lend(8 << 32)!
      #expect(second.index == first.index)
      #expect(slab.latest(first) == nil && slab.latest(second) == 8 << 32)
    }
  }
}
