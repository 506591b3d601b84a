import MQTTWire

@testable import Bounded
@testable import MQTTBroker

/// Admission control in front of a broker, as the server has it. Each stream is named by a number, and speaks at once.
final class Arrivals {
  private var admission: Admission
  private var streamCount: UInt32 = 0
  /// Connections that await their CONNECT, by their stream.
  private var pending: [UInt32: (id: ConnectionID, isDistant: Bool)] = [:]

  init(_ limits: Limits, in reservation: inout Reservation) { admission = Admission(limits, in: &reservation) }

  /// nil: refused, and counted by the broker.
  func attach(
    to broker: inout Broker, allowsAnonymous: Bool = true, from source: SourceAddress = .local, at now: Instant
  ) -> ConnectionID? {
    settle(broker)
    let hasRoom = broker.pool(0).gauge.free > 0
    streamCount += 1
    if let refusal = admission.admit(from: source, at: now, open: { hasRoom ? streamCount : nil }) {
      broker.streamRefused(refusal, from: source)
      return nil
    }
    let deadline = admission.heard(streamCount)
    let id = broker.attach(
      allowsAnonymous: allowsAnonymous, transport: streamCount, connectBy: deadline, at: now)!
    pending[streamCount] = (id, !source.isLocal)
    return id
  }

  /// Those that await their CONNECT no more leave.
  func settle(_ broker: borrowing Broker) {
    for (stream, entry) in pending where !broker.isAttached(entry.id) || !broker.awaitsConnect(entry.id) {
      admission.leave(stream)
      pending[stream] = nil
    }
  }

  /// As many are pending here as await their CONNECT there.
  func agrees(with broker: borrowing Broker) -> Bool {
    settle(broker)
    return admission.pendingCount == broker.pendingCount
      && admission.distantCount == pending.values.filter(\.isDistant).count
  }
}
