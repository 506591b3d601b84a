public import Bounded
import MQTTWire

/// Who comes too often: one address with many connections, two clients with one client identifier.
extension Broker {
  // MARK: Addresses

  /// The address's place in `sources`; nil, counted and told once, when it may not connect now.
  mutating func admit(_ source: SourceAddress, at now: Instant) -> Int? {
    let isNew: Bool
    switch sources.admit(source, at: now) {
    case .admitted(let place): return place
    case .tooFast(let isNews):
      counters.rateRefused &+= 1
      isNew = isNews
    case .tooManyPending(let isNews):
      counters.pendingRefused &+= 1
      isNew = isNews
    }
    if isNew { note(Notice(kind: .sourceRefused, reason: .connectionRateExceeded, source: source)) }
    return nil
  }

  /// The connection awaits its CONNECT no more.
  mutating func endPending(_ id: ConnectionID) {
    pendingCount -= 1
    if connections[id].source > 0 { sources.leave(Int(connections[id].source) - 1) }
    connections[id].source = 0
  }

  // MARK: Takeovers

  /// Whether a CONNECT may end the connection that this session has, if it has one. Two clients that both come back at
  /// once would else do nothing but that; so after some takeovers the one that is there stays.
  mutating func mayTakeOver(_ session: Handle<Session>, at now: Instant) -> Bool {
    guard !sessions[session].connection.isNull else { return true }
    if sessions[session].takeovers.windowEnds <= now {
      sessions[session].takeovers = Takeovers(windowEnds: now.adding(seconds: Int64(limits.takeoverSeconds)))
    }
    guard sessions[session].takeovers.count < limits.takeoversMax else {
      counters.takeoversRefused &+= 1
      return false
    }
    sessions[session].takeovers.count += 1
    counters.takeovers &+= 1
    return true
  }

  /// The first refusal of a window.
  mutating func takeoverNotice(_ session: Handle<Session>) -> Notice? {
    guard !sessions[session].takeovers.isTold else { return nil }
    sessions[session].takeovers.isTold = true
    return Notice(kind: .takeoverRefused, reason: .connectionRateExceeded, session: session)
  }

  /// A notice's client identifier; empty when its session has ended, or never began.
  public func clientID(of notice: Notice) -> Bytes {
    sessions.isLent(notice.session) ? clientID(notice.session) : .empty
  }
}
