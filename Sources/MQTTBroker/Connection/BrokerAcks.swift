import Bounded
import MQTTWire

/// Acknowledgements that go out, at once or when the journal has what they promise.
extension Broker {
  /// Says that all changes until now are in the journal up to `position`, which never falls. Acknowledgements of them
  /// wait until `stored(upTo:)` has come as far. Without a call there is no journal, and nothing waits.
  public mutating func journaled(upTo position: UInt64) { acks.advance(written: position) }

  /// The medium has the journal up to `position`: the acknowledgements up to there go out, in order. Those of
  /// connections that have ended are dropped.
  ///
  /// Then `nextReady` names the connections that may be read again; call `receive` without input for one that
  /// `holdsInput`.
  public mutating func stored(upTo position: UInt64) {
    let wasFull = acks.isFull
    acks.advance(stored: position)
    while let ack = acks.next() {
      guard let id = link(ack.serial), connections[id].state == .connected else { continue }
      acks.release(&connections[id].acks)
      send(Ack(packetID: ack.packetID, reason: ack.reason), ack.type, on: id)
    }
    guard wasFull, !acks.isFull else { return }
    for index in 0..<limits.connectionsMax {
      if let id = connections.handle(at: index), connections[id].state == .connected { outboxes.markReady(id) }
    }
  }

  /// Whether the connection has to wait for the journal before its next packet is looked at.
  @inline(__always) func acksFill(_ id: ConnectionID) -> Bool { acks.isFull(for: connections[id].acks) }

  /// - Parameter text: for the client, where there is room for it and nothing to wait for.
  mutating func sendAck(
    _ type: PacketType, _ packetID: UInt16, _ reason: ReasonCode, _ text: Bytes = .empty, after position: UInt64,
    on id: ConnectionID
  ) {
    guard acks.isOpen(position, for: connections[id].acks) else {
      acks.park(
        type, packetID, reason, of: connections[id].serial, position: position, &connections[id].acks)
      return
    }
    var ack = Ack(packetID: packetID, reason: reason)
    if !text.isEmpty, connections[id].wantsProblemInformation {
      ack.reasonString = text.first(min(text.count, 200))
      let byteCount = ack.byteCount(version: connections[id].version)
      // §3.4.2-2, and a text is worth no more than the room there is
      if byteCount > Int(connections[id].packetBytesMax)
        || !outboxes.hasRoom(connections[id].outbox, for: byteCount, use: .control)
      {
        ack.reasonString = nil
      }
    }
    send(ack, type, on: id)
  }

  private mutating func send(_ ack: Ack, _ type: PacketType, on id: ConnectionID) {
    let version = connections[id].version
    sendControl(on: id) { writer in ack.encode(type: type, into: &writer, version: version) }
  }
}
