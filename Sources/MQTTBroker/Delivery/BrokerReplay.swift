import Bounded
import MQTTWire

/// Retained messages to a new subscription (§3.3.1.3, §3.8.4): by a cursor in the subscription, so that they take no
/// memory however many match.
extension Broker {
  /// Goes on where the last call stopped: constant memory, whatever the number of retained messages, and some steps at a
  /// time.
  @_optimize(size) mutating func replay(_ session: Handle<Session>, on id: ConnectionID, at now: Instant) {
    if work.isOver { return outboxes.rest(id) }
    replayEnd = work.steps &+ Work.replaySteps
    var subscription = sessions[session].subscriptions.first
    while sessions[session].subscriptions.replayCount > 0, !subscription.isNull {
      if subscriptions[subscription].isReplaying {
        guard replay(subscription, session, on: id, at: now) else { return }
        subscriptions.endReplay(subscription, sessions)
      }
      subscription = subscriptions[subscription].nextInSession
    }
  }

  /// `false`: there is no room now.
  @_optimize(size) private mutating func replay(
    _ subscription: Handle<Subscription>, _ session: Handle<Session>, on id: ConnectionID, at now: Instant
  ) -> Bool {
    let node = subscriptions.node(of: subscriptions[subscription], topics)
    var writer = filterScratch.writer()
    topics.write(node, into: &writer)
    let filterByteCount = writer.count
    let filter = writer.written
    guard filter.contains(UInt8(ascii: "+")) || filter.contains(UInt8(ascii: "#")) else {
      let slot = topics[node].retained
      guard !slot.isNull, retained[slot].age <= subscriptions[subscription].replayAge else { return true }
      return replay(slot, subscription, session, on: id, at: now)
    }
    while let (slot, wordCount) = retained.next(from: Int(subscriptions[subscription].replaySlot)) {
      if work.steps >= replayEnd {
        outboxes.rest(id)
        return false
      }
      work.did(wordCount)
      subscriptions.advanceReplay(subscription, to: slot.index)
      if retained[slot].age <= subscriptions[subscription].replayAge {
        writer.truncate(to: filterByteCount)
        let message = messages[retained[slot].message]
        messages.bodies.copy(message.body, from: 0, byteCount: message.topicByteCount, into: &writer)
        if Topic.matches(filter: filter, name: writer.written.from(filterByteCount)) {
          guard replay(slot, subscription, session, on: id, at: now) else { return false }
        }
      }
      subscriptions.advanceReplay(subscription, to: slot.index + 1)
    }
    return true
  }

  /// Replays that have had their steps go on, each once, and one of them in any case.
  @_optimize(size) mutating func resumeReplays(at now: Instant) {
    work.allow(Work.replaySteps)
    var remaining = outboxes.restingCount
    while remaining > 0, !work.isOver, let index = outboxes.nextResting() {
      remaining -= 1
      guard let id = connections.handle(at: index), connections[id].state == .connected else { continue }
      pump(connections[id].session, at: now)
    }
  }

  @_optimize(size) private mutating func replay(
    _ slot: Handle<Retained>, _ subscription: Handle<Subscription>, _ session: Handle<Session>, on id: ConnectionID,
    at now: Instant
  ) -> Bool {
    work.did(Work.filterSteps)
    let message = retained[slot].message
    guard !messages.hasExpired(message, at: now) else {
      retained.remove(slot, &topics, &messages, &shares, sessions)
      counters.expired &+= 1
      return true
    }
    guard mayRead(session, message) else { return true }
    let receiver = Receivers.single(subscription, subscriptions)
    let qos = min(receiver.qos, messages[message].qos)
    if qos != .atMostOnce {
      // One at a time through the queue: the next follows when this one has left it.
      guard sessions.readiness(session) == 3 else { return false }
      if !deliveries.hasRoom { makeRoom(forDeliveries: 1, identifierCells: 0, at: now) }
      guard deliveries.hasRoom else { return waitForRoom(id) }
      enqueue(receiver, message, qos: qos, retain: true)
      _ = sendQueued(session, on: id, at: now)  // queued is as good as sent
      return true
    }
    var head = head(of: message, qos: .atMostOnce, retain: true, on: id, at: now)
    let identifier = subscriptions[subscription].identifier
    if head.version == .v5, identifier != 0 {
      head.identifiersByteCount = PublishHead.identifierByteCount(identifier)
    }
    let outcome = send(head, message, on: id, identifier: identifier, more: .null)
    if outcome == .tooLarge { counters.oversizeDropped &+= 1 }
    return outcome == .noRoom ? waitForRoom(id) : true
  }
}
