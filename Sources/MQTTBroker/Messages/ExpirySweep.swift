import Bounded

/// A walk over places 0..<count for messages that have expired: some a turn, and a new walk once a second at most.
struct ExpirySweep: BitwiseCopyable {
  static var stepsPerTurn: Int { 256 }
  /// The next place of the walk that is under way; 0: there is none.
  var position = 0
  /// The earliest expiry of those that the walk under way does not look at any more, or of all.
  private(set) var nextExpiry = Instant.never
  private var notBefore = Instant(nanoseconds: 0)

  /// One more can expire. Answers when a walk is due; nil: no earlier than before.
  mutating func expect(_ expiresAt: Instant) -> Instant? {
    guard expiresAt < nextExpiry else { return nil }
    nextExpiry = expiresAt
    return position == 0 ? max(expiresAt, notBefore) : nil
  }

  /// A turn of the walk begins.
  mutating func begin() { if position == 0 { nextExpiry = .never } }

  /// One that the walk has looked at expires later.
  mutating func keep(_ expiresAt: Instant) { nextExpiry = min(nextExpiry, expiresAt) }

  /// A turn of the walk has ended. Answers when it goes on, or a new one is due.
  mutating func pause(of count: Int, at now: Instant) -> Instant {
    if position < count { return now.adding(milliseconds: 1) }
    position = 0
    notBefore = now.adding(seconds: 1)
    return max(nextExpiry, notBefore)
  }
}
