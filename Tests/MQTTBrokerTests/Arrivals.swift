import MQTTWire

@testable import Bounded
@testable import MQTTBroker

/// Admission control in front of a broker, as the server has it. Each stream is named by a place and how many had it
/// before, and speaks at once.
final class Arrivals {
  private struct Entry {
    let id: ConnectionID
    let source: SourceAddress
    var isPending = true
  }
  private var admission: Admission
  private var generation: UInt32 = 0
  private let placeCount: Int
  /// Open connections, by their stream.
  private var entries: [UInt32: Entry] = [:]

  init(_ limits: Limits, in reservation: inout Reservation) {
    admission = Admission(limits, in: &reservation)
    placeCount = limits.connectionsMax
  }

  /// Who must go before a stream from `source` is let in: the caller detaches it, then tells `Broker.streamGaveWay`.
  func givesWay(
    to source: SourceAddress, of broker: borrowing Broker, at now: Instant
  ) -> (id: ConnectionID, limit: Limit, source: SourceAddress)? {
    settle(broker)
    let found = admission.givesWay(to: source, hasPlace: broker.pool(0).gauge.free > 0, at: now)
    guard let (stream, limit) = found, let entry = entries[stream] else { return nil }
    return (entry.id, limit, entry.source)
  }

  /// nil: refused, and counted by the broker.
  func attach(
    to broker: inout Broker, allowsAnonymous: Bool = true, from source: SourceAddress = .local, at now: Instant
  ) -> ConnectionID? {
    settle(broker)
    let taken = Set(entries.keys.map { Int($0 & 0xF_FFFF) })
    generation = generation % 4095 + 1
    let stream = (0..<placeCount).first { !taken.contains($0) }.map { generation << 20 | UInt32($0) }
    if let refusal = admission.admit(from: source, at: now, open: { stream }) {
      broker.streamRefused(refusal, from: source)
      return nil
    }
    let deadline = admission.heard(stream!)
    let id = broker.attach(allowsAnonymous: allowsAnonymous, transport: stream!, connectBy: deadline, at: now)!
    entries[stream!] = Entry(id: id, source: source)
    return id
  }

  /// Those that await their CONNECT no more leave; those that are gone end.
  func settle(_ broker: borrowing Broker) {
    for (stream, entry) in entries {
      if !broker.isAttached(entry.id) {
        admission.end(stream)
        entries[stream] = nil
      } else if entry.isPending, !broker.awaitsConnect(entry.id) {
        admission.leave(stream)
        entries[stream]!.isPending = false
      }
    }
  }

  /// As many are here as there, and as many of them pending.
  func agrees(with broker: borrowing Broker) -> Bool {
    settle(broker)
    let distant = entries.values.filter { !$0.source.isLocal }
    return admission.pendingCount == broker.pendingCount && entries.count == broker.pool(0).gauge.used
      && admission.distantCount == distant.count
      && admission.countsOfAddresses == (distant.count, distant.filter(\.isPending).count)
  }
}
