import Bounded
import MQTTWire

/// One retained message a topic (§3.3.1.3): kept, replaced, removed, and swept when its time is over.
extension Broker {
  /// A slot for the topic's retained message; null when the message removes it; nil when there is no room.
  mutating func prepareRetained(_ message: Inbound) -> Handle<Retained>? {
    if message.payload.isEmpty {  // §3.3.1.3: an empty payload removes it
      if let node = topics.find(message.topic), !topics[node].retained.isNull { removeRetained(topics[node].retained) }
      return .null
    }
    guard let node = topics.intern(message.topic) else { return nil }
    if !topics[node].retained.isNull { return topics[node].retained }
    guard let slot = retained.lend(Retained(node: node, message: .null, age: 0)) else {
      topics.prune(node)
      return nil
    }
    topics[node].retained = slot
    return slot
  }

  /// A retained message can always be replaced: when the pool of messages is full, the old one is released first.
  mutating func giveWay(_ slot: Handle<Retained>, to message: Inbound) {
    let old = retained[slot].message
    guard !messages.hasRoom, !old.isNull, messages[old].owners == 1 else { return }
    guard bodies.hasRoom(for: message.byteCount, keepingFree: 0) else { return }
    release(old)
    retained[slot].message = .null
  }

  mutating func abandonRetained(_ slot: Handle<Retained>) {
    if retained[slot].message.isNull { removeRetained(slot) }
  }

  mutating func commitRetained(_ slot: Handle<Retained>, _ message: Handle<Message>, at now: Instant) {
    if !retained[slot].message.isNull { release(retained[slot].message) }
    messages[message].owners += 1
    retained[slot].message = message
    if retainedAge == .max { beginAgesAnew() }
    retainedAge += 1
    retained[slot].age = retainedAge
    expectSweep(messages[message].expiresAt, at: now)
  }

  /// A replay that is under way may send one twice then: that it came live, too.
  private mutating func beginAgesAnew() {
    retained.visit { $0.pointee.age = 0 }
    retainedAge = 0
  }

  mutating func removeRetained(_ slot: Handle<Retained>) {
    let node = retained[slot].node
    if !retained[slot].message.isNull { release(retained[slot].message) }
    topics[node].retained = .null
    retained.giveBack(slot)
    topics.prune(node)
  }

  // MARK: Expiry

  /// The sweep is due when the first of them expires, but at most once a second.
  private mutating func expectSweep(_ expiresAt: Instant, at now: Instant) {
    guard expiresAt < sweep.nextExpiry else { return }
    sweep.nextExpiry = expiresAt
    if sweep.position == 0 { timers.arm(sweepTimer, at: max(expiresAt, sweep.notBefore)) }
  }

  /// Removes retained messages that have expired, so that they do not keep their place from others; some a turn.
  mutating func sweepRetained(at now: Instant) {
    if sweep.position == 0 { sweep.nextExpiry = .never }
    let end = min(sweep.position + RetainedSweep.slotsPerTurn, limits.retainedMax)
    while sweep.position < end {
      if let slot = retained.handle(at: sweep.position) {
        let expiresAt = messages[retained[slot].message].expiresAt
        if expiresAt <= now {
          removeRetained(slot)
          counters.expired &+= 1
        } else {
          sweep.nextExpiry = min(sweep.nextExpiry, expiresAt)
        }
      }
      sweep.position += 1
    }
    if end < limits.retainedMax {
      timers.arm(sweepTimer, at: now.adding(milliseconds: 1))
      return
    }
    sweep.position = 0
    sweep.notBefore = now.adding(seconds: 1)
    timers.arm(sweepTimer, at: max(sweep.nextExpiry, sweep.notBefore))
  }

  /// The last of the timers.
  var sweepTimer: Int { limits.connectionsMax + limits.sessionsMax + 1 }
}

/// A walk over all retained messages for those that have expired.
struct RetainedSweep: BitwiseCopyable {
  static var slotsPerTurn: Int { 256 }
  /// The next slot of the walk that is under way; 0: there is none.
  var position = 0
  /// The earliest expiry of those that the walk under way does not look at any more, or of all.
  var nextExpiry = Instant.never
  var notBefore = Instant(nanoseconds: 0)
}
