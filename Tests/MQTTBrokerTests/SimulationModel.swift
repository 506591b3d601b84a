import MQTTWire

@testable import Bounded
@testable import MQTTBroker

/// A subscription as its client made it.
struct ModelFilter: Equatable {
  let filter: [UInt8]
  let group: [UInt8]  // empty: not shared
  let options: SubscriptionOptions
  let identifier: UInt32

  func isSame(as other: ModelFilter) -> Bool { filter == other.filter && group == other.group }
}

/// What the simulation knows of one session, from what was said on the wire.
final class ModelSession {
  struct Held {
    let delivery: Handle<Delivery>
    let serial: Int
    let qos: QoS
    var packetID: UInt16
    var state: Delivery.State
    /// Its client has got it.
    var isReceived = false
    /// Its message was given up for others' while it was in flight.
    var hasGivenWay = false
  }
  struct OrderKey: Hashable {
    let topic: [UInt8]
    let publisher: UInt8
    let qos: UInt8
  }

  let handle: Handle<Session>
  let clientID: [UInt8]
  /// Its client keeps to the standard: what it acknowledges it has got.
  let isTrusted: Bool
  var connection: ConnectionID
  var expirySeconds: UInt32
  var expiresAt = Instant.never
  var filters: [ModelFilter] = []
  /// In flight, then waiting: as the broker has it, after every event.
  var held: [Held] = []
  /// QoS 2 packet ids from the client, not released.
  var incoming: Set<UInt16> = []

  // The client's side.
  var seen: Set<Int> = []
  var newest: [OrderKey: Int] = [:]
  /// QoS 2 packet ids from the broker, not released, and what they brought.
  var unreleased: [UInt16: Int] = [:]

  init(
    handle: Handle<Session>, connection: ConnectionID, clientID: [UInt8], isTrusted: Bool, expirySeconds: UInt32
  ) {
    self.handle = handle
    self.connection = connection
    self.clientID = clientID
    self.isTrusted = isTrusted
    self.expirySeconds = expirySeconds
  }

  /// The delivery in flight that a PUBLISH with this packet id is.
  func inflightIndex(_ packetID: UInt16) -> Int? {
    held.firstIndex { $0.state != .queued && $0.packetID == packetID }
  }
}

/// A message that the broker was handed.
struct Publication {
  let topic: [UInt8]
  let qos: QoS
  let retain: Bool
  let serial: Int
  let isEmpty: Bool
  let publisher: ModelSession?
}

/// What may have changed something: the broker is called once for each.
enum Cause {
  case other
  case connect(clientID: [UInt8], cleanStart: Bool, expirySeconds: UInt32, isTrusted: Bool)
  case publish(Publication)
  case ack(PacketType, UInt16, isError: Bool, ModelSession)
}

extension Counters {
  /// Connections that the broker ended because of what the peer did or did not do.
  fileprivate var failedCount: UInt64 {
    malformedClosed + protocolErrorClosed + tooLargeClosed + quotaClosed + keepAliveClosed + otherClosed
  }
}

/// Payloads begin with a serial number and who said it: `17a-xxxx`. What has none is 0.
func readSerial(_ payload: [UInt8]) -> (number: Int, publisher: UInt8) {
  var number = 0
  for byte in payload {
    guard byte >= 48, byte <= 57 else { return (number, byte) }
    number = number * 10 + Int(byte - 48)
  }
  return (number, 0)
}

/// The broker against the model: after each call, sessions and deliveries have changed by what the call was for,
/// by a policy that counted it, or not at all.
extension Simulation {
  @discardableResult func event<Answer>(
    _ cause: Cause, isAccepted: (Answer) -> Bool = { _ in true }, _ body: () -> Answer
  ) -> Answer {
    let before = broker.counters
    let answer = body()
    eventCount += 1
    givenWay = Int(broker.counters.sessionsGivenWay - before.sessionsGivenWay)
    reconcileSessions(cause)
    let changes = reconcileDeliveries(cause)
    let after = broker.counters
    let dropped = Int(
      after.queuedDropped - before.queuedDropped + after.oversizeDropped - before.oversizeDropped + after.expired
        - before.expired)
    // A connection that is ended takes its DISCONNECT only if there is room; nothing else is ever dropped.
    if after.controlPacketsDropped - before.controlPacketsDropped > after.failedCount - before.failedCount {
      fail("a control packet was dropped")
    }
    if changes.vanished > dropped { fail("\(changes.vanished) deliveries vanished, \(dropped) were counted") }
    if case .publish(let publication) = cause {
      // A repeat of what taps have run for is acknowledged, and goes no further.
      let isRepeated = after.repeatsIgnored != before.repeatsIgnored
      let isTaken = isAccepted(answer) && after.publishesRefused == before.publishesRefused && !isRepeated
      // What a tap has taken and changed is not refused: for lack of room its receivers, all of them, lose it.
      let isLost = after.tapsRun != before.tapsRun && after.internalDropped != before.internalDropped
      checkReceivers(publication, isTaken: isTaken, changes, dropped: isLost ? .max : dropped - changes.vanished)
      if isTaken, publication.retain, after.tapsRun == before.tapsRun { checkRetained(publication) }
    }
    return answer
  }

  // MARK: Sessions

  private func reconcileSessions(_ cause: Cause) {
    for index in sessions.indices {
      let handle = broker.sessions.handle(at: index)
      if let model = sessions[index], model.handle != handle {
        if !mayEnd(model, cause) { fail("session \(text(model.clientID)) ended before its time") }
        sessions[index] = nil
      }
      guard let handle else { continue }
      let connection = broker.sessions[handle].connection
      guard let model = sessions[index] else {
        guard case .connect(_, _, let expirySeconds, let isTrusted) = cause else {
          fail("a session began without a CONNECT")
          continue
        }
        sessions[index] = ModelSession(
          handle: handle, connection: connection, clientID: broker.sessions.clientID(handle).array(),
          isTrusted: isTrusted,
          expirySeconds: expirySeconds)
        continue
      }
      if connection != model.connection {
        if connection.isNull {
          model.expiresAt = now.adding(seconds: Int64(model.expirySeconds))
        } else if case .connect(let clientID, _, let expirySeconds, _) = cause, clientID == model.clientID {
          model.expirySeconds = expirySeconds
          model.expiresAt = .never
        } else {
          fail("session \(text(model.clientID)) has a connection without a CONNECT")
        }
        model.connection = connection
      }
      if broker.sessions[handle].expiresAt != model.expiresAt { fail("session \(text(model.clientID)): expiry") }
    }
  }

  private func mayEnd(_ model: ModelSession, _ cause: Cause) -> Bool {
    if case .connect(let clientID, true, _, _) = cause, clientID == model.clientID { return true }
    // An absent session gives way to a client that is here.
    if case .connect = cause, model.connection.isNull, givenWay > 0 {
      givenWay -= 1
      return true
    }
    // Connected until now: there is nothing to keep for a moment (§3.1.2.11.2).
    return model.connection.isNull ? model.expiresAt <= now : model.expirySeconds == 0
  }

  // MARK: Deliveries

  struct Changes {
    var vanished = 0
    /// Copies of the message that the event is about, and of which QoS, by session.
    var copies: [Int: [(qos: QoS, retain: Bool)]] = [:]
  }

  private func reconcileDeliveries(_ cause: Cause) -> Changes {
    var changes = Changes()
    for index in sessions.indices {
      guard let model = sessions[index] else { continue }
      reconcile(model, index, cause, &changes)
    }
    return changes
  }

  private func reconcile(_ model: ModelSession, _ index: Int, _ cause: Cause, _ changes: inout Changes) {
    actual.removeAll(keepingCapacity: true)
    var next = broker.sessions[model.handle].outgoing.inflight.head
    while !next.isNull {
      actual.append(next)
      next = broker.deliveries[next].next
    }
    next = broker.sessions[model.handle].outgoing.queued.head
    while !next.isNull {
      actual.append(next)
      next = broker.deliveries[next].next
    }
    let old = model.held
    if old.isEmpty, actual.isEmpty { return }
    var position = 0
    var held: [ModelSession.Held] = []
    held.reserveCapacity(actual.count)
    var isNew = false
    for delivery in actual {
      let entry = broker.deliveries[delivery]
      var found = position
      while found < old.count, old[found].delivery != delivery { found += 1 }
      if found < old.count {
        if isNew { fail("session \(text(model.clientID)): a new delivery overtook an older one") }
        while position < found {
          gone(old[position], model, cause, &changes)
          position += 1
        }
        position += 1
        held.append(old[found])
        held[held.count - 1].packetID = entry.packetID
        held[held.count - 1].state = entry.state
        if broker.deliveries.hasGivenWay(delivery), !old[found].hasGivenWay {
          held[held.count - 1].hasGivenWay = true
          changes.vanished += 1
        }
        checkState(old[found], entry, model, cause)
      } else {
        isNew = true
        if old.contains(where: { $0.delivery == delivery }) { fail("session \(text(model.clientID)): order changed") }
        let serial = add(entry, model, index, cause, &changes)
        held.append(
          ModelSession.Held(
            delivery: delivery, serial: serial, qos: entry.qos, packetID: entry.packetID, state: entry.state))
      }
    }
    while position < old.count {
      gone(old[position], model, cause, &changes)
      position += 1
    }
    model.held = held
  }

  private func gone(_ old: ModelSession.Held, _ model: ModelSession, _ cause: Cause, _ changes: inout Changes) {
    guard isAnswered(old, model, cause) else {
      if !old.hasGivenWay { changes.vanished += 1 }
      return
    }
    if model.isTrusted, !old.isReceived { fail("\(old.serial) is done with, but its client never got it") }
  }

  /// Whether this is the acknowledgement that ends the delivery.
  private func isAnswered(_ old: ModelSession.Held, _ model: ModelSession, _ cause: Cause) -> Bool {
    guard case .ack(let type, let id, let isError, let from) = cause, from === model, id == old.packetID,
      old.state != .queued
    else { return false }
    switch type {
    case .pubAck: return old.state == .awaitingPubAck
    case .pubComp: return old.state == .awaitingPubComp
    case .pubRec: return isError && old.qos == .exactlyOnce
    default: return false
    }
  }

  private func checkState(_ old: ModelSession.Held, _ entry: Delivery, _ model: ModelSession, _ cause: Cause) {
    if isAnswered(old, model, cause) { fail("\(old.serial) was acknowledged and is still held") }
    var isReceived = false
    if case .ack(.pubRec, let id, false, let from) = cause, from === model, id == old.packetID { isReceived = true }
    switch (old.state, entry.state) {
    case (.queued, _): break
    case (.awaitingPubRec, .awaitingPubComp): if !isReceived { fail("\(old.serial) is given up without PUBREC") }
    case (.awaitingPubRec, .awaitingPubRec): if isReceived { fail("PUBREC of \(old.serial) changed nothing") }
    case (let before, let after): if before != after { fail("\(old.serial): \(before) became \(after)") }
    }
    if old.state != .queued, old.packetID != entry.packetID { fail("\(old.serial): its packet id changed") }
  }

  private func add(
    _ entry: Delivery, _ model: ModelSession, _ index: Int, _ cause: Cause, _ changes: inout Changes
  ) -> Int {
    guard !entry.message.isNull else {
      fail("a new delivery without a message")
      return 0
    }
    let (serial, publisher) = serial(ofMessage: entry.message)
    if case .publish(let publication) = cause, publication.serial == serial,
      topicBytes(of: entry.message) == publication.topic
    {
      changes.copies[index, default: []].append((entry.qos, entry.retain))
      return serial
    }
    let isReplay = entry.retain && isRetained(entry.message)
    if !isReplay, publisher != Simulation.willMark { fail("a delivery of \(serial) out of nowhere") }
    return serial
  }

  // MARK: Receivers

  /// §3.3.4: one copy for each session whose filters match, with the highest QoS; one for each shared group.
  private func checkReceivers(_ publication: Publication, isTaken: Bool, _ changes: Changes, dropped: Int) {
    if !published.insert(publication.serial).inserted { repeated.insert(publication.serial) }
    guard isTaken, publication.qos != .atMostOnce else {
      if !changes.copies.isEmpty { fail("\(publication.serial) was not taken, and is delivered") }
      return
    }
    var missing = 0
    var extra = 0
    var groups: [[UInt8]: Bool] = [:]  // whether each member gets it with QoS 1 or 2
    for index in sessions.indices {
      guard let model = sessions[index] else { continue }
      var best: QoS?
      var retainAsPublished = false
      var shared = 0
      for entry in model.filters where matches(entry.filter, publication.topic) {
        if entry.group.isEmpty {
          if entry.options.noLocal, publication.publisher === model { continue }
          best = max(best ?? .atMostOnce, entry.options.qos)
          if entry.options.retainAsPublished { retainAsPublished = true }
        } else {
          let name = entry.group + [0] + entry.filter
          groups[name] = (groups[name] ?? true) && entry.options.qos != .atMostOnce
          shared += 1
        }
      }
      let copies = changes.copies[index] ?? []
      let isOwed = best != nil && best! != .atMostOnce
      if copies.count > (isOwed ? 1 : 0) + shared { fail("\(publication.serial): \(copies.count) copies") }
      if isOwed, copies.isEmpty { missing += 1 }
      extra += max(0, copies.count - (isOwed ? 1 : 0))
      if shared == 0, let copy = copies.first {
        if copy.qos != min(publication.qos, best!) { fail("\(publication.serial): delivered with QoS \(copy.qos)") }
        if copy.retain, !(retainAsPublished && publication.retain) { fail("\(publication.serial): RETAIN") }
      }
    }
    missing += max(0, groups.count { $0.value } - extra)
    if extra > groups.count { fail("\(publication.serial): more copies than shared groups") }
    if missing > max(0, dropped) {
      fail("\(publication.serial): \(missing) receivers have no copy, \(dropped) counted")
    }
  }

  private func checkRetained(_ publication: Publication) {
    let kept = withBytes(publication.topic) { broker.topics.find($0) }.flatMap { node in
      broker.topics[node].retained.isNull ? nil : broker.retained[broker.topics[node].retained].message
    }
    if publication.isEmpty, kept != nil { fail("a retained message was not removed") }
    if !publication.isEmpty {
      guard let kept, serial(ofMessage: kept).number == publication.serial else {
        return fail("\(publication.serial) is not the retained message")
      }
    }
  }

  private func isRetained(_ message: Handle<Message>) -> Bool {
    for index in 0..<limits.retainedMax {
      if let slot = broker.retained.handle(at: index), broker.retained[slot].message == message { return true }
    }
    return false
  }

  func topicBytes(of message: Handle<Message>) -> [UInt8] {
    let entry = broker.messages[message]
    return bodyBytes(entry, from: 0, most: entry.topicByteCount)
  }

  private func serial(ofMessage message: Handle<Message>) -> (number: Int, publisher: UInt8) {
    let entry = broker.messages[message]
    return readSerial(bodyBytes(entry, from: entry.payloadStart, most: 12))
  }

  private func bodyBytes(_ entry: Message, from start: Int, most: Int) -> [UInt8] {
    var cursor = broker.messages.bodies.cursor(entry.body, at: start)
    var bytes: [UInt8] = []
    while bytes.count < most {
      let part = broker.messages.bodies.read(&cursor, most: most - bytes.count)
      if part.isEmpty { break }
      bytes += part.array()
    }
    return bytes
  }
}
