public import Bounded
import MQTTWire

/// Streams that were refused, or closed, before they were connections.
extension Broker {
  /// Counts a stream that admission control has refused, and tells of its address once, or of the limit for all.
  @_optimize(size) public mutating func streamRefused(_ refusal: Admission.Refusal, from source: SourceAddress) {
    switch refusal {
    case .full(let limit):
      connections.gauge.refused &+= 1
      limitHit(limit, from: source)
    case .ofAddress(.tooFast, let isNews):
      counters.rateRefused &+= 1
      if isNews { noteRefused(source, .connectsPerSecond, .connectionRateExceeded) }
    case .ofAddress(.tooMany, let isNews):
      counters.perAddressRefused &+= 1
      if isNews { noteRefused(source, .connectionsPerAddress, .quotaExceeded) }
    case .ofAddress(.tooManyPending, let isNews):
      counters.pendingRefused &+= 1
      if isNews { noteRefused(source, .pendingPerAddress, .connectionRateExceeded) }
    }
  }

  private mutating func noteRefused(_ source: SourceAddress, _ limit: Limit, _ reason: ReasonCode) {
    note(Notice(kind: .sourceRefused, reason: reason, limit: limit, source: source))
  }

  /// Counts a stream from `source` that was closed, before its CONNECT, for a newcomer that found all places of `limit`
  /// taken.
  @_optimize(size) public mutating func streamGaveWay(_ limit: Limit, from source: SourceAddress) {
    counters.countClosed(.quotaExceeded)
    limitHit(limit, from: source, .gaveWay)
  }

  /// Counts a stream that was closed because it said nothing for `connectSeconds`.
  @_optimize(size) public mutating func streamStayedSilent(_ transport: UInt32) {
    counters.countClosed(.keepAliveTimeout)
    limitHit(.connectSeconds, from: .local, transport: transport, .disconnected)
    note(Notice(kind: .connectionFailed, reason: .keepAliveTimeout, transport: transport))
  }
}
