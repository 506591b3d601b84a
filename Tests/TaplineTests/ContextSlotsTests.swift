import Testing

@testable import Tapline

@Suite("Slots for TLS contexts") struct ContextSlotsTests {
  /// One listener: a connection lives through one change of the certificate, and not through two.
  @Test func theOldestGivesWayAtTheSecondChange() {
    var slots = ContextSlots(listenerCount: 1)
    var used: Set<Int> = []
    func change() {
      _ = slots.retire(listener: 0)
      used.insert(slots.put(listener: 0))  // somebody connects
      slots.makeRoom { used.contains($0) }
    }
    change()
    #expect(slots.current(ofListener: 0) == 0 && !slots.hasEnding)
    change()
    #expect(slots.current(ofListener: 0) == 1 && slots[0] == .retired(order: 0) && !slots.hasEnding)
    change()
    #expect(slots.current(ofListener: 0) == 2 && slots[0] == .ending && slots[1] == .retired(order: 1))
    used.remove(0)
    slots.ended()
    #expect(slots[0] == .free && !slots.hasEnding)
  }

  @Test func whatNobodyUsesIsFreeAtOnce() {
    var slots = ContextSlots(listenerCount: 1)
    for round in 0..<20 {
      #expect((slots.retire(listener: 3) == nil) == (round == 0))
      let slot = slots.put(listener: 3)
      slots.makeRoom { _ in false }
      for other in 0..<slots.count where other != slot { #expect(slots[other] == .free) }
    }
  }

  /// A listener that has gone leaves its connections; the listener beside it is not theirs.
  @Test func aListenerThatHasGoneLeavesItsConnections() {
    var slots = ContextSlots(listenerCount: 2)
    #expect(slots.put(listener: 0) == 0)
    #expect(slots.put(listener: 7) == 1)
    #expect(slots.retire(listener: 0) == 0)
    slots.makeRoom { _ in true }
    #expect(slots[0] == .retired(order: 0) && slots[1] == .current(listener: 7))
    #expect(slots.current(ofListener: 0) == nil && slots.retire(listener: 0) == nil)
  }

  /// Whatever happens, in whatever order: at most two for each listener stay, none gives way before that, and what is
  /// current is never taken away.
  @Test(arguments: [1, 2, 3, 16]) func aRunOfReloads(listenerCount: Int) {
    var random = SeededGenerator(seed: UInt64(listenerCount))
    var slots = ContextSlots(listenerCount: listenerCount)
    var connected = [Int](repeating: 0, count: slots.count)
    var open: Set<Int> = []
    for _ in 0..<2000 {
      for _ in 0..<random.below(4) where !open.isEmpty {
        connected[slots.current(ofListener: open.sorted()[random.below(open.count)])!] += 1
      }
      for slot in connected.indices where random.oneIn(8) { connected[slot] = max(0, connected[slot] - 1) }
      for listener in open.sorted() where random.oneIn(4) {
        open.remove(listener)
        #expect(slots.retire(listener: listener) != nil)
      }
      for listener in open.sorted() where random.oneIn(3) {
        _ = slots.retire(listener: listener)
        #expect(connected[slots.put(listener: listener)] == 0)
      }
      while open.count < listenerCount, random.oneIn(2) {
        let listener = random.below(64)
        guard open.insert(listener).inserted else { continue }
        #expect(connected[slots.put(listener: listener)] == 0)
      }
      slots.makeRoom { connected[$0] > 0 }
      var kept = 0
      for slot in 0..<slots.count {
        switch slots[slot] {
        case .free: #expect(connected[slot] == 0)
        case .current: kept += 1
        case .retired:
          kept += 1
          #expect(connected[slot] > 0)
        case .ending: connected[slot] = 0
        }
      }
      #expect(kept <= slots.keptMax)
      if slots.hasEnding { #expect(kept == slots.keptMax) }
      slots.ended()
      for listener in open { #expect(slots.current(ofListener: listener) != nil) }
    }
  }
}
