import Bounded

/// Further QoS 2 packet ids of a session.
struct PacketIDCell: BitwiseCopyable {
  /// What a session has itself, and what a cell has.
  static var countInSession: Int { 4 }
  static var capacity: Int { 6 }
  fileprivate(set) var ids = InlineArray<6, UInt16>(repeating: 0)
  let next: Handle<PacketIDCell>
}

/// What a session has of the store: the first of its ids, and a list of cells, of which all but its head are full.
struct IncomingIDs: BitwiseCopyable {
  fileprivate(set) var more: Handle<PacketIDCell> = .null
  fileprivate(set) var first = InlineArray<4, UInt16>(repeating: 0)
  private var storedCount: UInt16 = 0

  fileprivate(set) var count: Int {
    @inline(__always) get { Int(storedCount) }
    @inline(__always) set { storedCount = UInt16(newValue) }
  }
}

/// QoS 2 packet ids that a client has sent and not yet released (§4.3.3): a stack, as their order means nothing. A
/// session is sure of the first few; few clients ever have more under way, so the others lie in cells that all share.
///
/// Invariant: a session's ids differ; it holds exactly the cells that those beyond the first four need.
struct PacketIDStore: ~Copyable {
  private var cells: Slab<PacketIDCell>

  init(limits: Limits, in reservation: inout Reservation) {
    cells = Slab(capacity: limits.packetIDCellsMax, name: "packet id cells", in: &reservation)
  }

  subscript(cell: Handle<PacketIDCell>) -> PacketIDCell {
    unsafeAddress { UnsafePointer(cells.address(cell)) }
  }

  var gauge: Gauge { cells.gauge }

  func contains(_ packetID: UInt16, of session: Handle<Session>, _ sessions: borrowing SessionStore) -> Bool {
    place(packetID, sessions[session].incoming) != nil
  }

  /// Whether one more can be taken; `false` is counted.
  mutating func hasRoom(_ session: Handle<Session>, _ sessions: borrowing SessionStore) -> Bool {
    guard PacketIDStore.cellPosition(sessions[session].incoming.count) == 0, !cells.hasRoom else { return true }
    cells.gauge.refused &+= 1
    return false
  }

  /// A message with this id has been taken. The room was seen before.
  mutating func take(_ packetID: UInt16, of session: Handle<Session>, _ sessions: borrowing SessionStore) {
    let entry = sessions.address(session)
    let count = entry.pointee.incoming.count
    if let position = PacketIDStore.cellPosition(count) {
      if position == 0 {
        entry.pointee.incoming.more = cells.lend(PacketIDCell(next: entry.pointee.incoming.more))!
      }
      cells[entry.pointee.incoming.more].ids[position] = packetID
    } else {
      entry.pointee.incoming.first[count] = packetID
    }
    entry.pointee.incoming.count += 1
  }

  /// PUBREL: the id may be used for another message. `false`: it was not taken.
  mutating func release(
    _ packetID: UInt16, of session: Handle<Session>, _ sessions: borrowing SessionStore
  ) -> Bool {
    guard let place = place(packetID, sessions[session].incoming) else { return false }
    let last = pop(&sessions[session].incoming)
    guard last != packetID else { return true }
    if place.cell.isNull {
      sessions[session].incoming.first[place.position] = last
    } else {
      cells[place.cell].ids[place.position] = last
    }
    return true
  }

  /// The session ends.
  mutating func drop(_ session: Handle<Session>, _ sessions: borrowing SessionStore) {
    while sessions[session].incoming.count > 0 { _ = pop(&sessions[session].incoming) }
  }

  private mutating func pop(_ incoming: inout IncomingIDs) -> UInt16 {
    incoming.count -= 1
    guard let position = PacketIDStore.cellPosition(incoming.count) else { return incoming.first[incoming.count] }
    let cell = incoming.more
    let last = cells[cell].ids[position]
    if position == 0 {
      incoming.more = cells[cell].next
      cells.giveBack(cell)
    }
    return last
  }

  /// A null cell: in the session itself.
  private func place(
    _ packetID: UInt16, _ incoming: borrowing IncomingIDs
  ) -> (cell: Handle<PacketIDCell>, position: Int)? {
    var position = min(incoming.count, PacketIDCell.countInSession)
    while position > 0 {
      position -= 1
      if incoming.first[position] == packetID { return (.null, position) }
    }
    var cell = incoming.more
    position = PacketIDStore.cellPosition(incoming.count - 1).map { $0 + 1 } ?? 0
    while !cell.isNull {
      while position > 0 {
        position -= 1
        if cells[cell].ids[position] == packetID { return (cell, position) }
      }
      cell = cells[cell].next
      position = PacketIDCell.capacity
    }
    return nil
  }

  /// The place in its cell of the id after `count` others; nil: it is one of the first, in the session itself.
  private static func cellPosition(_ count: Int) -> Int? {
    count < PacketIDCell.countInSession ? nil : (count - PacketIDCell.countInSession) % PacketIDCell.capacity
  }
}
