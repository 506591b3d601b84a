/// Which TLS contexts there are, by number, and what each is for. A connection keeps its context in memory until it ends, so
/// the contexts that connections keep are bounded: beyond `keptMax`, connections of the oldest one give way.
///
///   free ─▶ current ─▶ retired ─▶ ending ─▶ free
///                         └──────────────────▲ when nobody has a connection of it any more
///
/// Invariant: while a reload is prepared no slot is ending, and at most `keptMax` are not free. A listener has one current
/// slot at most.
struct ContextSlots {
  enum State: Equatable {
    case free
    /// New connections of the listener in this place are made of it.
    case current(listener: Int)
    /// Only connections that are there have it. The lower the order, the older it is.
    case retired(order: UInt32)
    /// Its connections are being ended.
    case ending
  }

  private var states: [State]
  private var nextOrder: UInt32 = 0
  /// Contexts, beside those of which connections are being ended.
  let keptMax: Int

  /// - Parameter listenerCount: listeners with TLS at one time.
  init(listenerCount: Int) {
    keptMax = 2 * listenerCount
    states = [State](repeating: .free, count: keptMax + listenerCount)
  }

  var count: Int { states.count }
  subscript(slot: Int) -> State { states[slot] }

  func current(ofListener listener: Int) -> Int? { states.firstIndex(of: .current(listener: listener)) }

  /// A slot for the listener's next context; its last one, if there is one, is to be retired before.
  mutating func put(listener: Int) -> Int {
    precondition(current(ofListener: listener) == nil)
    let slot = states.firstIndex(of: .free)!
    states[slot] = .current(listener: listener)
    return slot
  }

  /// The slot of the listener's context, which takes no more connections; nil: it has none.
  mutating func retire(listener: Int) -> Int? {
    guard let slot = current(ofListener: listener) else { return nil }
    states[slot] = .retired(order: nextOrder)
    nextOrder += 1
    return slot
  }

  /// After a change of contexts: those that nobody uses are free, and of the others, as many as there are too many give way.
  /// - Parameter isUsed: whether a connection has the context in this slot.
  mutating func makeRoom(isUsed: (Int) -> Bool) {
    var keptCount = 0
    for slot in 0..<states.count {
      if case .retired = states[slot], !isUsed(slot) { states[slot] = .free }
      if states[slot] != .free { keptCount += 1 }
    }
    while keptCount > keptMax, let slot = oldest {
      states[slot] = .ending
      keptCount -= 1
    }
  }

  private var oldest: Int? {
    var found: (slot: Int, order: UInt32)?
    for slot in 0..<states.count {
      guard case .retired(let order) = states[slot] else { continue }
      if let older = found?.order, older < order { continue }
      found = (slot, order)
    }
    return found?.slot
  }

  var hasEnding: Bool { states.contains(.ending) }

  /// Nobody has a connection of the contexts that were ending.
  mutating func ended() {
    for slot in 0..<states.count where states[slot] == .ending { states[slot] = .free }
  }
}
