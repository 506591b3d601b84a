import Bounded

/// How many packet ids of incoming QoS 2 messages a session has in `PacketIDStore`.
struct IncomingIDs: BitwiseCopyable {
  private var storedCount: UInt16 = 0

  fileprivate(set) var count: Int {
    @inline(__always) get { Int(storedCount) }
    @inline(__always) set { storedCount = UInt16(newValue) }
  }
}

/// QoS 2 packet ids that a client has sent and not yet released (§4.3.3): a stack, as their order means nothing. Each
/// session has places for `inflight` of them, so that nobody lacks one for what others have under way.
///
/// Invariant: a session's ids differ.
struct PacketIDStore: ~Copyable {
  private let ids: FixedArray<UInt16>
  /// Of one session.
  private let capacity: Int

  @_optimize(size) init(limits: Limits, in reservation: inout Reservation) {
    capacity = limits.inflightMax
    ids = FixedArray(count: limits.sessionsMax * capacity, name: "packet ids", in: &reservation)
  }

  /// The id at a position, 0 ..< count.
  subscript(session: Handle<Session>, position: Int) -> UInt16 { ids[session.index * capacity + position] }

  func contains(_ packetID: UInt16, of session: Handle<Session>, _ sessions: borrowing SessionStore) -> Bool {
    place(packetID, of: session, sessions) != nil
  }

  func hasRoom(_ session: Handle<Session>, _ sessions: borrowing SessionStore) -> Bool {
    sessions[session].incoming.count < capacity
  }

  /// A message with this id has been taken. The room was seen before.
  func take(_ packetID: UInt16, of session: Handle<Session>, _ sessions: borrowing SessionStore) {
    precondition(hasRoom(session, sessions))
    ids[session.index * capacity + sessions[session].incoming.count] = packetID
    sessions[session].incoming.count += 1
  }

  /// PUBREL: the id may be used for another message. `false`: it was not taken.
  func release(_ packetID: UInt16, of session: Handle<Session>, _ sessions: borrowing SessionStore) -> Bool {
    guard let place = place(packetID, of: session, sessions) else { return false }
    sessions[session].incoming.count -= 1
    ids[place] = ids[session.index * capacity + sessions[session].incoming.count]
    return true
  }

  /// The session ends.
  func drop(_ session: Handle<Session>, _ sessions: borrowing SessionStore) { sessions[session].incoming.count = 0 }

  private func place(
    _ packetID: UInt16, of session: Handle<Session>, _ sessions: borrowing SessionStore
  ) -> Int? {
    let first = session.index * capacity
    var place = first + sessions[session].incoming.count
    while place > first {
      place -= 1
      if ids[place] == packetID { return place }
    }
    return nil
  }
}
