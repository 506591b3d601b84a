import Bounded

/// Looking through a session's deliveries.
extension DeliveryStore {
  /// The one in flight with this packet id.
  func find(_ packetID: UInt16, of session: Handle<Session>, _ sessions: borrowing SessionStore) -> Handle<Delivery>? {
    var delivery = sessions[session].outgoing.inflight.head
    while !delivery.isNull {
      if self[delivery].packetID == packetID { return delivery }
      delivery = self[delivery].next
    }
    return nil
  }

  /// Sent as PUBLISH on the present connection and not answered.
  func sentHereCount(_ session: Handle<Session>, _ sessions: borrowing SessionStore) -> Int {
    var count = 0
    var delivery = sessions[session].outgoing.inflight.head
    while !delivery.isNull {
      if self[delivery].isSentHere { count += 1 }
      delivery = self[delivery].next
    }
    return count
  }

  /// Deliveries that wait and, while the client is away, those in flight that still have their message.
  func countToGiveUp(_ session: Handle<Session>, _ sessions: borrowing SessionStore) -> Int {
    var count = sessions[session].outgoing.queued.count
    guard sessions[session].connection.isNull else { return count }
    var delivery = sessions[session].outgoing.inflight.head
    while !delivery.isNull {
      if !self[delivery].message.isNull { count += 1 }
      delivery = self[delivery].next
    }
    return count
  }

  /// Cells of the deliveries that wait.
  /// - Parameter withInflight: and of those in flight that still have their message.
  func cellsToGiveUp(
    _ session: Handle<Session>, _ sessions: borrowing SessionStore, withInflight: Bool
  ) -> Int {
    var count = Int(sessions[session].outgoing.cellCount)
    var delivery = count > 0 ? sessions[session].outgoing.inflight.head : .null
    while !delivery.isNull {
      if !withInflight || self[delivery].message.isNull { count -= identifiers.count(self[delivery].moreIdentifiers) }
      delivery = self[delivery].next
    }
    return count
  }

  /// How many of its `count` cells a session gives up, message by message, until no more than `share` are left.
  func cellsGivenUp(
    _ session: Handle<Session>, _ sessions: borrowing SessionStore, of count: Int, downTo share: Int
  ) -> Int {
    var left = count
    var isInflight = false
    var delivery = sessions[session].outgoing.queued.head
    while left > share {
      if delivery.isNull {
        guard !isInflight else { break }
        isInflight = true
        delivery = sessions[session].outgoing.inflight.head
        continue
      }
      if !self[delivery].message.isNull { left -= identifiers.count(self[delivery].moreIdentifiers) }
      delivery = self[delivery].next
    }
    return count - left
  }
}
