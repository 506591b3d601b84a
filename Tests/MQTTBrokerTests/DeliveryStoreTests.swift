import MQTTWire
import Testing

@testable import Bounded
@testable import MQTTBroker

/// Queues, what is in flight, and the lists of subscriptions, by seeded random operations against plain models.
@Suite struct DeliveryStoreTests {
  private struct ModelDelivery: Equatable {
    let message: Handle<Message>
    var packetID: UInt16 = 0
  }

  @Test(arguments: 1...6) func queuesAndFlights(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let stores = Stores { $0.deliveriesMax = 40 }
    let session = stores.begin("c")!
    stores.sessions[session].outgoing = Outgoing(lastPacketID: 65_530)
    stores.subscribe(session, "a", identifier: 7)
    let receiver = stores.collect("a")[0]
    var queued: [ModelDelivery] = []
    var inflight: [ModelDelivery] = []
    for _ in 0..<4000 {
      switch random.below(5) {
      case 0, 1:
        guard stores.deliveries.hasRoom(for: 1, identifierCells: 0), let message = stores.store("a", "x") else { break }
        stores.queue(message, for: receiver, qos: random.oneIn(2) ? .atLeastOnce : .exactlyOnce)
        stores.messages.release(message)  // the delivery owns it now
        queued.append(ModelDelivery(message: message))
      case 2:
        guard !queued.isEmpty, inflight.count < 9 else { break }
        stores.deliveries.assignPacketID(session, stores.sessions)
        let id = stores.deliveries[stores.sessions[session].outgoing.queued.head].packetID
        #expect(id != 0 && !inflight.contains { $0.packetID == id })
        stores.deliveries.sent(session, stores.sessions, stores.messages)
        inflight.append(ModelDelivery(message: queued.removeFirst().message, packetID: id))
      case 3:
        guard !inflight.isEmpty else { break }
        let entry = inflight.remove(at: random.below(inflight.count))
        let delivery = stores.deliveries.find(entry.packetID, of: session, stores.sessions)!
        if stores.deliveries[delivery].state == .awaitingPubRec {
          stores.deliveries.received(delivery, of: session, stores.sessions, &stores.messages)
          #expect(stores.messages.isLent(entry.message) == false)
          #expect(stores.deliveries[delivery].state == .awaitingPubComp)
          // A second PUBREC releases nothing.
          stores.deliveries.received(delivery, of: session, stores.sessions, &stores.messages)
        }
        stores.deliveries.finish(delivery, of: session, stores.sessions, &stores.messages)
        #expect(stores.deliveries.find(entry.packetID, of: session, stores.sessions) == nil)
      default:
        guard random.oneIn(4), !queued.isEmpty else { break }
        stores.deliveries.dropQueued(session, stores.sessions, &stores.messages)
        queued.removeFirst()
      }
      #expect(stores.list(stores.sessions[session].outgoing.queued) == queued.map(\.message))
      #expect(stores.list(stores.sessions[session].outgoing.inflight) == inflight.map(\.message))
      #expect(stores.deliveries.gauge.used == queued.count + inflight.count)
      #expect(stores.messages.gauge.used == queued.count + inflight.count)
    }
    stores.deliveries.drop(session, stores.sessions, &stores.messages)
    #expect(stores.messages.gauge.used == 0 && stores.deliveries.gauge.used == 0)
  }

  /// §4.4: everything in flight, once more and in order; what ends meanwhile is passed over.
  @Test func redeliveryPassesOverWhatHasEnded() {
    let stores = Stores()
    let session = stores.begin("c")!
    stores.subscribe(session, "a", identifier: 0)
    let receiver = stores.collect("a")[0]
    for payload in ["1", "2", "3"] {
      let message = stores.store("a", payload)!
      stores.queue(message, for: receiver, qos: .atLeastOnce)
      stores.messages.release(message)
      stores.deliveries.assignPacketID(session, stores.sessions)
      stores.deliveries.sent(session, stores.sessions, stores.messages)
    }
    #expect(stores.deliveries.sentHereCount(session, stores.sessions) == 3)
    stores.deliveries.beginRedelivery(session, stores.sessions, &stores.messages)
    #expect(stores.deliveries.sentHereCount(session, stores.sessions) == 0)
    var sent: [UInt16] = []
    while !stores.sessions[session].outgoing.redelivery.isNull {
      let delivery = stores.sessions[session].outgoing.redelivery
      sent.append(stores.deliveries[delivery].packetID)
      stores.deliveries.markDuplicate(delivery)
      stores.deliveries.markSentHere(delivery)
      #expect(stores.deliveries[delivery].isDuplicate && stores.deliveries[delivery].qos == .atLeastOnce)
      stores.deliveries.advanceRedelivery(session, stores.sessions)
      guard sent == [1] else { continue }
      let second = stores.deliveries.find(2, of: session, stores.sessions)!
      stores.deliveries.finish(second, of: session, stores.sessions, &stores.messages)
    }
    #expect(sent == [1, 3])
  }

  // MARK: Subscriptions

  @Test(arguments: 1...6) func subscriptionsAndGroups(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let stores = Stores {
      $0.subscriptionsMax = 12
      $0.sharedGroupsMax = 3
    }
    let sessions = ["a", "b", "c"].map { stores.begin($0)! }
    struct Key: Hashable {
      let session: Int
      let filter: String
      let group: String
    }
    var model: [Key: UInt32] = [:]
    for step in 0..<3000 {
      let key = Key(
        session: random.below(3), filter: ["x", "x/y", "#", "+"][random.below(4)],
        group: ["", "", "g", "h"][random.below(4)])
      let identifier = UInt32(1 + step)
      if let existing = stores.find(sessions[key.session], key.filter, key.group) {
        #expect(stores.subscriptions[existing].identifier == model[key])
        if random.oneIn(2) {
          stores.subscriptions.remove(existing, &stores.topics, stores.sessions, &stores.shares)
          model[key] = nil
        } else {
          stores.subscriptions.change(existing, SubscriptionOptions(byte: 1), identifier: identifier)
          model[key] = identifier
        }
      } else {
        #expect(model[key] == nil)
        if stores.subscribe(sessions[key.session], key.filter, identifier: identifier, group: key.group) {
          model[key] = identifier
        }
      }
      for (index, session) in sessions.enumerated() {
        #expect(stores.sessions[session].subscriptions.count == model.keys.count { $0.session == index })
      }
      #expect(stores.subscriptions.gauge.used == model.count)
      let groups = Set(model.keys.filter { !$0.group.isEmpty }.map { "\($0.group) \($0.filter)" })
      #expect(stores.subscriptions.groupsGauge.used == groups.count)
      // Whoever matches is collected: a session for its own filters once, and one member of each group.
      let own = Set(model.keys.filter { $0.group.isEmpty && $0.filter != "x/y" }.map(\.session))
      let shared = groups.filter { !$0.hasSuffix("x/y") }
      #expect(stores.collect("x").count == own.count + shared.count)
    }
    for session in sessions {
      while !stores.sessions[session].subscriptions.first.isNull {
        stores.subscriptions.remove(
          stores.sessions[session].subscriptions.first, &stores.topics, stores.sessions, &stores.shares)
      }
    }
    #expect(stores.topics.gauge.used == 1)
    #expect(stores.subscriptions.groupNames.gauge.used == 0)
  }

  @Test func aReplayIsCountedOnce() {
    let stores = Stores()
    let session = stores.begin("c")!
    stores.subscribe(session, "a", identifier: 0)
    let subscription = stores.sessions[session].subscriptions.first
    for _ in 0..<2 {
      stores.subscriptions.beginReplay(subscription, upTo: 4, stores.sessions)
      #expect(stores.sessions[session].subscriptions.replayCount == 1)
    }
    stores.subscriptions.advanceReplay(subscription, to: 1)
    #expect(stores.subscriptions[subscription].replaySlot == 1 && stores.subscriptions[subscription].isReplaying)
    for _ in 0..<2 {
      stores.subscriptions.endReplay(subscription, stores.sessions)
      #expect(stores.sessions[session].subscriptions.replayCount == 0)
    }
    stores.subscriptions.beginReplay(subscription, upTo: 4, stores.sessions)
    stores.subscriptions.remove(subscription, &stores.topics, stores.sessions, &stores.shares)
    #expect(stores.sessions[session].subscriptions.replayCount == 0)
  }

  /// §4.8.2: the members of a group take turns.
  @Test func membersTakeTurns() {
    let stores = Stores()
    let sessions = ["a", "b", "c"].map { stores.begin($0)! }
    for session in sessions { stores.subscribe(session, "t", identifier: 0, group: "g") }
    var counts = [0, 0, 0]
    for _ in 0..<30 {
      let receivers = stores.collect("t")
      #expect(receivers.count == 1)
      counts[sessions.firstIndex(of: receivers[0].session)!] += 1
    }
    #expect(counts == [10, 10, 10])
  }
}
