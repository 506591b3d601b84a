import Bounded
import MQTTWire

/// Admission of connections by their address.
extension Broker {
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
}
