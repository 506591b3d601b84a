import Bounded
import MQTTWire

/// One session that gets the message being routed, once, whatever the number of its matching filters.
struct Receiver: BitwiseCopyable {
  let session: Handle<Session>
  /// First of the matching subscriptions, linked by `match.next` unless it stands alone.
  fileprivate(set) var matched: Handle<Subscription>
  /// A shared subscription, or one whose retained messages are replayed: a session's other subscriptions have no part
  /// in it, whatever is linked for the message being routed.
  fileprivate let isAlone: Bool
  fileprivate(set) var qos: QoS
  fileprivate(set) var retainAsPublished: Bool
  fileprivate(set) var hasIdentifier: Bool

  /// The only maker of receivers: whoever gets a message, live or retained, by a filter of its own or a shared one, was
  /// let through by `Receivers`.
  @inline(__always) fileprivate init(_ subscription: Handle<Subscription>, _ entry: Subscription, isAlone: Bool) {
    session = entry.session
    self.isAlone = isAlone
    matched = subscription
    qos = entry.options.qos
    retainAsPublished = entry.options.retainAsPublished
    hasIdentifier = entry.identifier != 0
  }
}

/// A session's part of `Receivers`.
struct SessionMatch: BitwiseCopyable {
  /// The routing in which the session was collected, and its place in the list.
  fileprivate var serial: UInt32 = 0
  fileprivate var place: UInt32 = 0
}

/// A subscription's part of `Receivers`.
struct SubscriptionMatch: BitwiseCopyable {
  /// The next of the same session's subscriptions that matched the message being routed.
  fileprivate(set) var next: Handle<Subscription> = .null
}

/// Who gets the message being routed; valid until the next one is collected.
///
/// Invariant: a session is in the list once for all its own filters, and once for each of its shared ones; serials of
/// sessions are at most `serial`.
struct Receivers: ~Copyable {
  private let list: FixedArray<Receiver>
  private(set) var count = 0
  /// Subscriptions that the last collection has looked at.
  private(set) var lookedCount = 0
  /// Receivers that the last collection has left out for lack of the right to read.
  private(set) var deniedCount = 0
  private var serial: UInt32 = 0

  init(limits: Limits, in reservation: inout Reservation) {
    list = FixedArray(
      count: limits.sessionsMax + limits.sharedGroupsMax, name: "route: receivers", in: &reservation)
  }

  @inline(__always) subscript(position: Int) -> Receiver {
    precondition(position < count)
    return list[position]
  }

  /// Collects those that the nodes found by the last match lead to.
  /// - Parameter publisher: its own subscriptions with No Local are left out (§3.8.3.1-3).
  mutating func collect(
    publisher: Handle<Session>, _ topics: borrowing TopicTree, _ subscriptions: borrowing SubscriptionStore,
    _ sessions: borrowing SessionStore, _ rights: inout Rights
  ) {
    collect(judges: false, publisher: publisher, topics, subscriptions, sessions, &rights)
  }

  /// The same, without those that may not read the topic that `rights` have matched last.
  @inline(never) @_optimize(size) mutating func collectJudged(
    publisher: Handle<Session>, _ topics: borrowing TopicTree, _ subscriptions: borrowing SubscriptionStore,
    _ sessions: borrowing SessionStore, _ rights: inout Rights
  ) {
    deniedCount = 0
    collect(judges: true, publisher: publisher, topics, subscriptions, sessions, &rights)
  }

  /// The compiler makes two of it, so that where nothing is judged nobody asks whether to.
  @inline(__always) private mutating func collect(
    judges: Bool, publisher: Handle<Session>, _ topics: borrowing TopicTree,
    _ subscriptions: borrowing SubscriptionStore, _ sessions: borrowing SessionStore, _ rights: inout Rights
  ) {
    count = 0
    lookedCount = 0
    serial &+= 1
    if serial == 0 { beginSerials(at: 1, sessions) }
    var position = 0
    while position < topics.foundCount {
      let node = topics.found(position)
      var subscription = topics[node].subscriptions
      while !subscription.isNull {
        lookedCount &+= 1
        add(judges: judges, subscription, publisher: publisher, subscriptions, sessions, &rights)
        subscription = subscriptions[subscription].nextInNode
      }
      var group = topics[node].groups
      while !group.isNull {
        addMember(judges: judges, of: group, subscriptions, sessions, &rights)
        group = subscriptions[group].next
      }
      position += 1
    }
  }

  /// Sessions forget in which routing they were collected.
  mutating func beginSerials(at first: UInt32, _ sessions: borrowing SessionStore) {
    sessions.visit { $0.pointee.match.serial = 0 }
    serial = first
  }

  @inline(__always) private mutating func add(
    judges: Bool, _ subscription: Handle<Subscription>, publisher: Handle<Session>,
    _ subscriptions: borrowing SubscriptionStore, _ sessions: borrowing SessionStore, _ rights: inout Rights
  ) {
    let entry = subscriptions.address(subscription)
    if entry.pointee.options.noLocal, entry.pointee.session == publisher { return }  // §3.8.3.1-3
    let receiver = Receiver(subscription, entry.pointee, isAlone: false)
    let receiving = sessions.address(receiver.session)
    guard receiving.pointee.match.serial == serial else {
      if judges, !rights.mayRead(receiver.session, sessions) {
        receiving.pointee.match.serial = serial
        receiving.pointee.match.place = Receivers.noPlace
        deniedCount &+= 1
        return
      }
      receiving.pointee.match.serial = serial
      receiving.pointee.match.place = UInt32(truncatingIfNeeded: count)
      entry.pointee.match.next = .null
      list[count] = receiver
      count += 1
      return
    }
    if judges, receiving.pointee.match.place == Receivers.noPlace { return }
    // Overlapping filters: one copy with the highest QoS and all identifiers (§3.3.4-2, §3.3.4-3).
    let position = Int(receiving.pointee.match.place)
    entry.pointee.match.next = list[position].matched
    list[position].matched = subscription
    list[position].qos = max(list[position].qos, receiver.qos)
    if receiver.retainAsPublished { list[position].retainAsPublished = true }
    if receiver.hasIdentifier { list[position].hasIdentifier = true }
  }

  /// The place of a session that may not read the message.
  private static var noPlace: UInt32 { .max }

  /// One member of a shared group, in turn: a connected one with an open window, else a connected one, else
  /// one whose session waits (§4.8.2). A member that may not read the message does not take the turn of one that may.
  private mutating func addMember(
    judges: Bool, of group: Handle<SharedGroup>, _ subscriptions: borrowing SubscriptionStore,
    _ sessions: borrowing SessionStore, _ rights: inout Rights
  ) {
    let entry = subscriptions[group]
    var best = Handle<Subscription>.null
    var bestScore = 0
    var isDenied = false
    var member = entry.turn.isNull ? entry.members : entry.turn
    var remaining = 2  // to the end of the list, then from its start
    let first = member
    while remaining > 0 {
      while !member.isNull {
        lookedCount &+= 1
        let score = sessions.readiness(subscriptions[member].session)
        if judges, score > bestScore, !rights.mayRead(subscriptions[member].session, sessions) {
          isDenied = true
        } else if score > bestScore {
          best = member
          bestScore = score
        }
        if bestScore == 3 { break }
        member = subscriptions[member].nextInNode
      }
      if bestScore == 3 || entry.members == first { break }
      member = entry.members
      remaining -= 1
    }
    guard !best.isNull else {
      if isDenied { deniedCount &+= 1 }
      return
    }
    let receiver = Receiver(best, subscriptions[best], isAlone: true)
    subscriptions.passTurn(of: group, behind: best)
    list[count] = receiver
    count += 1
  }

  /// One session that gets a retained message through one subscription; its right to read was judged.
  static func single(_ subscription: Handle<Subscription>, _ subscriptions: borrowing SubscriptionStore) -> Receiver {
    Receiver(subscription, subscriptions[subscription], isAlone: true)
  }
}

/// The subscription identifiers in receivers' packets (§3.3.2.3.8): one for each subscription that matched.
extension SubscriptionStore {
  /// The receiver's subscription that matched besides this one; null: none.
  @inline(__always) func nextMatched(
    _ subscription: Handle<Subscription>, of receiver: Receiver
  ) -> Handle<Subscription> {
    receiver.isAlone ? .null : self[subscription].match.next
  }

  /// Identifiers beyond the first, for which a delivery needs cells.
  func extraIdentifierCount(_ receiver: Receiver) -> Int {
    var count = 0
    var subscription = receiver.matched
    while !subscription.isNull {
      if self[subscription].identifier != 0 { count += 1 }
      subscription = nextMatched(subscription, of: receiver)
    }
    return max(0, count - 1)
  }

  func identifiersByteCount(_ receiver: Receiver) -> Int {
    var byteCount = 0
    var subscription = receiver.matched
    while !subscription.isNull {
      let identifier = self[subscription].identifier
      if identifier != 0 { byteCount += PublishHead.identifierByteCount(identifier) }
      subscription = nextMatched(subscription, of: receiver)
    }
    return byteCount
  }

  func writeIdentifiers(_ receiver: Receiver, into writer: inout ByteWriter) {
    var subscription = receiver.matched
    while !subscription.isNull {
      let identifier = self[subscription].identifier
      if identifier != 0 { PublishHead.writeIdentifier(identifier, into: &writer) }
      subscription = nextMatched(subscription, of: receiver)
    }
  }
}
