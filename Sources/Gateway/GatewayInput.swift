public import Bounded
public import MQTTBroker
public import MQTTWire

/// Bytes that came in on a connection.
extension Gateway {
  /// Gives the broker what was read from a connection. After each packet that ran a tap, what taps want is done before the
  /// next one. A flush ends a connection that has failed or is over, which may be this one: what is left of its bytes is
  /// nobody's then.
  ///
  /// - Parameters:
  ///   - lends: the bytes stay where they are until the caller has flushed who is ready and called `Broker.settle`.
  ///   - flush: flushes this connection.
  @inlinable @inline(__always)
  public func receive(_ bytes: Bytes, on id: ConnectionID, lends: Bool, at now: Instant, flush: () -> Void) {
    var input = bytes
    repeat {
      let receipt = brokerTurn(at: now) { $0.receive(&input, on: id, lends: lends, at: now) }
      if receipt == .done { return }
      guard broker.isAttached(id) else { return }
      switch receipt {
      case .done, .tapsRan:
        break
      case .outboxesFill:
        onOutboxesFill()
      case .needsFlush:
        let before = broker.pendingByteCount(id)
        flush()
        guard broker.isAttached(id) else { return }
        // It sends on and on and takes no answers: the kernel's buffer and ours are full of them.
        if broker.pendingByteCount(id) == before { brokerTurn(at: now) { $0.close(id, .quotaExceeded, at: now) } }
      }
    } while broker.isAttached(id)
  }
}
