import Bounded
import MQTTWire

/// Routing of messages that are not refused any more: a Will, which was accepted with its CONNECT, and a message that a tap
/// has taken and changed.
extension Broker {
  /// Routes a message that is stored already and was matched last, and takes over its only owner's part. It needs no
  /// second room: a receiver that lacks room loses its own oldest message, or this one.
  @_optimize(size) mutating func routeStored(_ message: Inbound, _ stored: Handle<Message>, at now: Instant) {
    _ = collectReceivers(of: message, mayRefuse: false, at: now)
    commitAccepted(message, Reserved(stored: stored), at: now)
  }

  /// Routes a message that a tap has taken and changed, to the receivers that were collected for it as it came, so that a
  /// shared subscription gives it one turn. The room that was reserved for it as it came serves for it as it is now.
  @inline(never) @_optimize(size) mutating func commitChanged(
    _ changed: Inbound, _ reserved: Reserved, at now: Instant
  ) {
    var message = changed
    var reserved = reserved
    if !reserved.slot.isNull, !message.retain {
      retained.abandon(reserved.slot, &topics, &messages, &shares, sessions)
      reserved.slot = .null
    }
    let promisedCount = makeRoom(forDeliveriesOf: message, mayRefuse: false, at: now)!  // nothing refuses it
    if !reserved.stored.isNull {
      messages.change(reserved.stored, as: message)
    } else if reserved.slot.isNull {
      guard let room = reserveLate(&message, isPromised: promisedCount > 0, at: now) else { return }
      reserved = room
    }
    commitAccepted(message, reserved, at: now)
  }

  /// The room for a message for which nothing is stored yet. What is not there is counted: without a place to be retained
  /// in, the message goes to its receivers only; `nil`: without room for its bytes it goes to nobody.
  /// - Parameter isPromised: a receiver gets it with QoS 1 or 2.
  private mutating func reserveLate(_ message: inout Inbound, isPromised: Bool, at now: Instant) -> Reserved? {
    if message.retain, !message.payload.isEmpty {
      if let room = reserveBody(message, isPromised: isPromised, keepsRetained: true, at: now) { return room }
      counters.internalDropped &+= 1
      message.retain = false
    }
    guard isPromised else { return Reserved() }
    let room = reserveBody(message, isPromised: true, keepsRetained: false, at: now)
    if room == nil { counters.internalDropped &+= 1 }
    return room
  }

  /// Where the message may not be retained its receivers get it all the same, and that is counted.
  private mutating func commitAccepted(_ message: Inbound, _ accepted: Reserved, at now: Instant) {
    var reserved = accepted
    var mayKeep = message.retain
    if message.retain, !message.payload.isEmpty, reserved.slot.isNull {
      do throws(Limit) {
        reserved.slot = try retained.prepare(message, &topics, messages, &shares, sessions)
      } catch {
        limitHit(error, by: message.publisher)
        counters.publishesRefused &+= 1
        mayKeep = false
      }
    }
    commit(message, reserved, keeps: mayKeep, at: now)
  }
}
