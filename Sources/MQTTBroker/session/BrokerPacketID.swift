import Bounded
import MQTTWire

/// QoS 2 packet ids that a client has sent and not yet released (§4.3.3): a stack, as their order means nothing. A
/// session is sure of the first few; few clients ever have more under way, so the others lie in cells that all share.
extension Broker {
  func hasIncoming(_ session: Handle<Session>, _ packetID: UInt16) -> Bool {
    incomingPlace(session, packetID) != nil
  }

  /// Whether one more can be added; `false` is counted.
  mutating func hasIncomingRoom(_ session: Handle<Session>) -> Bool {
    guard Broker.cellPosition(Int(sessions[session].incomingCount)) == 0, !packetIDCells.hasRoom else { return true }
    packetIDCells.gauge.refused &+= 1
    return false
  }

  /// The room was seen before.
  mutating func addIncoming(_ session: Handle<Session>, _ packetID: UInt16) {
    let entry = sessions.address(session)
    let count = Int(entry.pointee.incomingCount)
    if let position = Broker.cellPosition(count) {
      if position == 0 {
        entry.pointee.moreIncoming = packetIDCells.lend(PacketIDCell(next: entry.pointee.moreIncoming))!
      }
      packetIDCells[entry.pointee.moreIncoming].ids[position] = packetID
    } else {
      entry.pointee.firstIncoming[count] = packetID
    }
    entry.pointee.incomingCount += 1
  }

  mutating func removeIncoming(_ session: Handle<Session>, _ packetID: UInt16) -> Bool {
    guard let place = incomingPlace(session, packetID) else { return false }
    let last = popIncoming(session)
    guard last != packetID else { return true }
    if place.cell.isNull {
      sessions[session].firstIncoming[place.position] = last
    } else {
      packetIDCells[place.cell].ids[place.position] = last
    }
    return true
  }

  mutating func dropIncoming(_ session: Handle<Session>) {
    while sessions[session].incomingCount > 0 { _ = popIncoming(session) }
  }

  private mutating func popIncoming(_ session: Handle<Session>) -> UInt16 {
    let entry = sessions.address(session)
    entry.pointee.incomingCount -= 1
    let count = Int(entry.pointee.incomingCount)
    guard let position = Broker.cellPosition(count) else { return entry.pointee.firstIncoming[count] }
    let cell = entry.pointee.moreIncoming
    let last = packetIDCells[cell].ids[position]
    if position == 0 {
      entry.pointee.moreIncoming = packetIDCells[cell].next
      packetIDCells.giveBack(cell)
    }
    return last
  }

  /// A null cell: in the session itself.
  private func incomingPlace(
    _ session: Handle<Session>, _ packetID: UInt16
  ) -> (cell: Handle<PacketIDCell>, position: Int)? {
    let entry = sessions.address(session)
    let count = Int(entry.pointee.incomingCount)
    var position = min(count, PacketIDCell.countInSession)
    while position > 0 {
      position -= 1
      if entry.pointee.firstIncoming[position] == packetID { return (.null, position) }
    }
    var cell = entry.pointee.moreIncoming
    position = Broker.cellPosition(count - 1).map { $0 + 1 } ?? 0
    while !cell.isNull {
      while position > 0 {
        position -= 1
        if packetIDCells[cell].ids[position] == packetID { return (cell, position) }
      }
      cell = packetIDCells[cell].next
      position = PacketIDCell.capacity
    }
    return nil
  }

  /// The place in its cell of the id after `count` others; nil: it is one of the first, in the session itself.
  private static func cellPosition(_ count: Int) -> Int? {
    count < PacketIDCell.countInSession ? nil : (count - PacketIDCell.countInSession) % PacketIDCell.capacity
  }
}
