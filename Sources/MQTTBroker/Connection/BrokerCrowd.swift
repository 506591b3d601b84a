public import Bounded
import MQTTWire

/// Streams that were refused, or closed, before they were connections.
extension Broker {
  /// Counts a stream that admission control has refused, and tells of its address once.
  public mutating func streamRefused(_ refusal: Admission.Refusal, from source: SourceAddress) {
    let isNew: Bool
    switch refusal {
    case .full:
      connections.gauge.refused &+= 1
      return
    case .tooFast(let isNews):
      counters.rateRefused &+= 1
      isNew = isNews
    case .tooManyPending(let isNews):
      counters.pendingRefused &+= 1
      isNew = isNews
    }
    if isNew { note(Notice(kind: .sourceRefused, reason: .connectionRateExceeded, source: source)) }
  }

  /// Counts a stream that was closed because it said nothing for `connectSeconds`.
  public mutating func streamStayedSilent(_ transport: UInt32) {
    counters.countClosed(.keepAliveTimeout)
    note(Notice(kind: .connectionFailed, reason: .keepAliveTimeout, transport: transport))
  }
}
