import MQTTWire

@testable import Bounded
@testable import MQTTBroker

/// The stores of a broker without the broker.
final class Stores {
  let limits: Limits
  var sessions: SessionStore
  var packetIDs: PacketIDStore
  var topics: TopicTree
  var subscriptions: SubscriptionStore
  var receivers: Receivers
  var rights: Rights
  var messages: MessageStore
  var retained: RetainedStore
  var deliveries: DeliveryStore
  var shares: Shares
  var outboxes: Outboxes
  private let region: UnsafeMutableRawBufferPointer

  init(_ change: (inout Limits) -> Void = { _ in }) {
    var limits = Limits.forTests
    change(&limits)
    if let problem = limits.problem { preconditionFailure("\(problem)") }
    self.limits = limits
    let keys = BrokerKeys(repeatable: 1)
    var plan = Reservation.counting()
    _ = Broker(limits: limits, keys: keys, in: &plan)
    region = .zeroed(plan.byteCount)
    var reservation = Reservation(region: region)
    sessions = SessionStore(limits: limits, keys: keys, in: &reservation)
    packetIDs = PacketIDStore(limits: limits, in: &reservation)
    topics = TopicTree(limits: limits, key: keys.names, in: &reservation)
    subscriptions = SubscriptionStore(limits: limits, key: keys.names, in: &reservation)
    receivers = Receivers(limits: limits, in: &reservation)
    rights = Rights(limits: limits, sizes: .none, in: &reservation)
    messages = MessageStore(limits: limits, in: &reservation)
    retained = RetainedStore(limits: limits, in: &reservation)
    deliveries = DeliveryStore(limits: limits, in: &reservation)
    outboxes = Outboxes(limits: limits, in: &reservation)
    var withoutFloors = limits
    withoutFloors.subscriptionsMax = 0
    withoutFloors.retainedMax = 0
    withoutFloors.blockCount = withoutFloors.blocksKeptForQoS
    shares = Shares(limits: withoutFloors)
    var alone = limits
    alone.sessionsMax = 1 << 20
    shares.joint = JointShares(limits: alone)
  }

  deinit { region.deallocate() }

  static func link(_ role: Link.Role = .server) -> Link {
    var link = Link(
      role: role, allowsAnonymous: true, framer: PacketFramer(packetBytesMax: 1024, policy: .disconnect),
      lastReceived: Instant(nanoseconds: 0))
    link.begin(LinkSerial(count: 1, place: 0))
    return link
  }

  // MARK: Sessions

  func begin(_ name: String) -> Handle<Session>? { lent(name) { sessions.begin($0, version: .v5) } }
  func find(_ name: String) -> Handle<Session>? { lent(name) { sessions.find($0) } }
  func hasRoom(_ name: String) -> Bool { lent(name) { sessions.hasRoom(for: $0) } }

  // MARK: Messages

  func store(_ topic: String, _ payload: String, keepingFree: Int = 0) -> Handle<Message>? {
    withInbound(topic, payload) { messages.store($0, keepingFree: keepingFree) }
  }

  func retain(_ topic: String, _ payload: String, expiresAt: Instant = .never) -> Handle<Retained> {
    withInbound(topic, payload, expiresAt: expiresAt) { message in
      let slot = try! retained.prepare(message, &topics, messages, &shares, sessions)
      let stored = messages.store(message, keepingFree: 0)!
      _ = retained.commit(slot, stored, by: .null, &messages, &shares, sessions)
      messages.release(stored)
      return slot
    }
  }

  // MARK: Subscriptions

  @discardableResult func subscribe(
    _ session: Handle<Session>, _ filter: String, identifier: UInt32, group: String = ""
  ) -> Bool {
    lent(filter) { filter in
      lent(group) { group in
        guard let node = topics.intern(filter) else { return false }
        let made = try? subscriptions.add(
          session, node, group, SubscriptionOptions(byte: 1), identifier: identifier, use: .common, &topics, sessions,
          &shares)
        if made == nil { topics.prune(node) }
        return made != nil
      }
    }
  }

  func find(_ session: Handle<Session>, _ filter: String, _ group: String) -> Handle<Subscription>? {
    lent(filter) { filter in lent(group) { subscriptions.find(session, filter, $0, topics) } }
  }

  /// Who gets a message of this topic.
  func collect(_ topic: String) -> [Receiver] {
    lent(topic) { topics.match($0) }
    receivers.collect(publisher: .null, topics, subscriptions, sessions, &rights)
    return (0..<receivers.count).map { receivers[$0] }
  }

  // MARK: Deliveries

  func queue(_ message: Handle<Message>, for receiver: Receiver, qos: QoS) {
    deliveries.queue(message, for: receiver, qos: qos, retain: false, subscriptions, sessions, &messages)
  }

  /// The messages of a list, which must be as long as it says.
  func list(_ list: DeliveryList) -> [Handle<Message>] {
    var found: [Handle<Message>] = []
    var next = list.head
    while !next.isNull, found.count <= list.count {
      found.append(deliveries[next].message)
      next = deliveries[next].next
    }
    return found.count == list.count ? found : []
  }
}

func withInbound<Answer>(
  _ topic: String, _ payload: String, expiresAt: Instant = .never, _ body: (Inbound) -> Answer
) -> Answer {
  lent(topic) { topic in
    lent(payload) { payload in
      body(
        Inbound(
          topic: topic, forwarded: .empty, payload: payload, qos: .atLeastOnce, retain: false, expiresAt: expiresAt,
          author: .board))
    }
  }
}

private func lent<Answer>(_ text: String, _ body: (Bytes) -> Answer) -> Answer {
  Array(text.utf8).withUnsafeBytes { body(Bytes($0)) }
}
