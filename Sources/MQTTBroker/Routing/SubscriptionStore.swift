import Bounded
import MQTTWire

/// One client's subscription to one filter (§3.8.3). Linked in its node's (or shared group's) list and in its
/// session's.
struct Subscription: BitwiseCopyable {
  let session: Handle<Session>
  /// Where it is listed: the topic node, or for a shared one its group, which knows its node.
  let place: TopicPlace
  private var identifierBits: UInt32  // 28 bits; the highest bit: shared; the next: its group is of its holder's floor
  fileprivate(set) var nextInNode: Handle<Subscription> = .null
  fileprivate(set) var previousInNode: Handle<Subscription> = .null
  fileprivate(set) var nextInSession: Handle<Subscription> = .null
  fileprivate(set) var previousInSession: Handle<Subscription> = .null
  /// For `Receivers`.
  var match = SubscriptionMatch()
  private var replayBits: UInt32  // the slot in the upper 24 bits, the options in the lower 8
  /// The last of the retained messages still to be sent, by age.
  fileprivate(set) var replayAge: UInt32 = 0

  static var replayDone: UInt32 { 0xFF_FFFF }
  private static var sharedBit: UInt32 { 1 << 31 }
  private static var sureGroupBit: UInt32 { 1 << 30 }

  fileprivate init(
    session: Handle<Session>, place: TopicPlace, isShared: Bool, options: SubscriptionOptions, identifier: UInt32,
    groupIsSure: Bool
  ) {
    self.session = session
    self.place = place
    identifierBits =
      identifier | (isShared ? Subscription.sharedBit : 0) | (groupIsSure ? Subscription.sureGroupBit : 0)
    replayBits = Subscription.replayDone << 8 | UInt32(options.byte)
  }

  fileprivate func isOf(_ session: Handle<Session>, _ placeIndex: Int, isShared: Bool) -> Bool {
    self.session == session && place.index == placeIndex && self.isShared == isShared
  }

  var isShared: Bool { identifierBits & Subscription.sharedBit != 0 }

  fileprivate(set) var options: SubscriptionOptions {
    @inline(__always) get { SubscriptionOptions(byte: UInt8(truncatingIfNeeded: replayBits)) }
    set { replayBits = replayBits & ~0xFF | UInt32(newValue.byte) }
  }
  /// Its group's name lies within its holder's floor; else in common.
  var groupIsSure: Bool { identifierBits & Subscription.sureGroupBit != 0 }
  /// 0: none.
  fileprivate(set) var identifier: UInt32 {
    @inline(__always) get { identifierBits & (Subscription.sureGroupBit - 1) }
    set { identifierBits = identifierBits & ~(Subscription.sureGroupBit - 1) | newValue }
  }
  /// Retained messages still to be sent: the slot to look at next.
  fileprivate(set) var replaySlot: UInt32 {
    get { replayBits >> 8 }
    set { replayBits = newValue << 8 | replayBits & 0xFF }
  }
  var isReplaying: Bool { replaySlot != Subscription.replayDone }
}

/// `$share/{name}/{filter}` (§4.8.2): each message goes to one of its members.
struct SharedGroup: BitwiseCopyable {
  let node: Handle<TopicNode>
  fileprivate let hash: UInt32
  let name: Body
  /// Members that have it in common.
  fileprivate(set) var commonCount: UInt32 = 0
  fileprivate(set) var members: Handle<Subscription> = .null
  /// The member whose turn is next.
  fileprivate(set) var turn: Handle<Subscription> = .null
  fileprivate(set) var next: Handle<SharedGroup> = .null
  fileprivate(set) var previous: Handle<SharedGroup> = .null
}

/// A session's part of `SubscriptionStore`: its subscriptions, and how many of them are replaying retained messages.
struct SubscriptionList: BitwiseCopyable {
  fileprivate(set) var first: Handle<Subscription> = .null
  private var storedCount: UInt32 = 0
  private var storedReplayCount: UInt32 = 0

  fileprivate(set) var count: Int {
    get { Int(storedCount) }
    set { storedCount = UInt32(newValue) }
  }
  fileprivate(set) var replayCount: Int {
    @inline(__always) get { Int(storedReplayCount) }
    set { storedReplayCount = UInt32(newValue) }
  }
}

/// Of a session and the node or group that it subscribes to. The factors are secret and odd, so that nobody outside can make
/// many of one hash.
private struct PlaceHash {
  let sessionFactor: UInt64
  let placeFactor: UInt64

  init(_ key: HashKey) {
    sessionFactor = key.random(2) | 1
    placeFactor = key.random(3) | 1
  }

  func hash(_ session: Handle<Session>, _ placeIndex: Int) -> UInt32 {
    UInt32(truncatingIfNeeded: (UInt64(session.bits) &* sessionFactor &+ UInt64(placeIndex) &* placeFactor) &>> 32)
  }

  func hash(of entry: Subscription) -> UInt32 { hash(entry.session, entry.place.index) }
}

/// Subscriptions and shared groups (§3.8, §4.8). The topic tree says on which node they hang.
///
/// Invariant: a subscription is in the list of its session and in that of its node or of its group, once each; a group
/// has members, is in its node's list and owns its name; a group's turn is null or one of its members; a session's
/// `replayCount` is its subscriptions that are replaying; a subscription is in the index under its session and place, a group
/// under its node and name. So finding or removing one looks at few others, however many there are.
struct SubscriptionStore: ~Copyable {
  private var subscriptions: Slab<Subscription>
  private(set) var index: HashIndex
  private var groups: Slab<SharedGroup>
  private(set) var groupIndex: HashIndex
  private(set) var groupNames: BlockPool
  private let key: HashKey
  private let places: PlaceHash

  @_optimize(size) init(limits: Limits, key: HashKey, in reservation: inout Reservation) {
    subscriptions = Slab(capacity: limits.subscriptionsMax, name: "subscriptions", in: &reservation)
    index = HashIndex(capacity: limits.subscriptionsMax, name: "  index", in: &reservation)
    groups = Slab(capacity: limits.sharedGroupsMax, name: "shared groups", in: &reservation)
    groupIndex = HashIndex(capacity: limits.sharedGroupsMax, name: "  index", in: &reservation)
    self.key = key
    places = PlaceHash(key)
    groupNames = BlockPool(
      blockCount: limits.sharedGroupsMax, blockBytes: 64, name: "shared group names", in: &reservation)
  }

  /// Changed from outside only in `match`, by `Receivers`.
  subscript(handle: Handle<Subscription>) -> Subscription {
    @inline(__always) unsafeAddress { UnsafePointer(subscriptions.address(handle)) }
    @inline(__always) nonmutating unsafeMutableAddress { subscriptions.address(handle) }
  }

  subscript(group: Handle<SharedGroup>) -> SharedGroup {
    @inline(__always) unsafeAddress { UnsafePointer(groups.address(group)) }
  }

  @inline(__always) func address(_ handle: Handle<Subscription>) -> UnsafeMutablePointer<Subscription> {
    subscriptions.address(handle)
  }

  var gauge: Gauge { subscriptions.gauge }
  var groupsGauge: Gauge { groups.gauge }

  // MARK: Finding

  /// The node at which its filter ends.
  func node(of subscription: Subscription, _ topics: borrowing TopicTree) -> Handle<TopicNode> {
    subscription.isShared ? groups[group(of: subscription)].node : topics.handle(at: subscription.place.index)!
  }

  /// Null: not shared.
  func group(of subscription: Subscription) -> Handle<SharedGroup> {
    subscription.isShared ? groups.handle(at: subscription.place.index)! : .null
  }

  /// - Parameter groupName: empty: not shared.
  func find(
    _ session: Handle<Session>, _ filter: Bytes, _ groupName: Bytes, _ topics: borrowing TopicTree
  ) -> Handle<Subscription>? {
    guard let node = topics.find(filter) else { return nil }
    var group = Handle<SharedGroup>.null
    if !groupName.isEmpty {
      guard let found = findGroup(node, groupName) else { return nil }
      group = found
    }
    let placeIndex = group.isNull ? node.index : group.index
    return index.find(hash: places.hash(session, placeIndex)) { index in
      subscriptions.handle(at: index).map {
        subscriptions[$0].isOf(session, placeIndex, isShared: !group.isNull)
      } ?? false
    }.flatMap { subscriptions.handle(at: $0) }
  }

  private func hash(_ node: Handle<TopicNode>, _ groupName: Bytes) -> UInt32 {
    UInt32(truncatingIfNeeded: (key.hash(groupName) &+ UInt64(node.bits) &* places.placeFactor) &>> 32)
  }

  private func findGroup(_ node: Handle<TopicNode>, _ name: Bytes) -> Handle<SharedGroup>? {
    groupIndex.find(hash: hash(node, name)) { index in
      groups.handle(at: index).map {
        groups[$0].node == node && groupNames.isEqual(groups[$0].name, to: name)
      } ?? false
    }.flatMap { groups.handle(at: $0) }
  }

  // MARK: Changing

  /// A further subscription of the session. Throws, and counts, what there is no room of, or not within its share; a node
  /// that was interned for it is to be pruned then.
  /// - Parameter use: what it was interned with.
  @_optimize(size) mutating func add(
    _ session: Handle<Session>, _ node: Handle<TopicNode>, _ groupName: Bytes, _ options: SubscriptionOptions,
    identifier: UInt32, use: TopicUse, _ topics: inout TopicTree, _ sessions: borrowing SessionStore,
    _ shares: inout Shares
  ) throws(Limit) -> Handle<Subscription> {
    let holder = Holder.session(session)
    guard shares.mayTake(.subscriptions, 1, by: holder, free: subscriptions.gauge.free, sessions) else {
      subscriptions.gauge.refused &+= 1
      throw .subscriptions
    }
    var group = Handle<SharedGroup>.null
    var groupIsSure = false
    if !groupName.isEmpty {
      (group, groupIsSure) = try join(node, groupName, by: holder, &topics, sessions, &shares.joint)
    }
    let place = TopicPlace(index: group.isNull ? node.index : group.index, use: use)
    let entry = Subscription(
      session: session, place: place, isShared: !group.isNull, options: options, identifier: identifier,
      groupIsSure: groupIsSure)
    let made = subscriptions.lend(entry)!  // the room was seen above
    shares.take(.subscriptions, 1, by: holder, sessions)
    topics.take(node, use, by: holder, &shares.joint, sessions)
    let head = group.isNull ? topics[node].subscriptions : groups[group].members
    subscriptions[made].nextInNode = head
    if !head.isNull { subscriptions[head].previousInNode = made }
    index.insert(made.index, hash: places.hash(of: subscriptions[made]))
    if group.isNull { topics.hang(made, on: node) } else { groups[group].members = made }

    let first = sessions[session].subscriptions.first
    subscriptions[made].nextInSession = first
    if !first.isNull { subscriptions[first].previousInSession = made }
    sessions[session].subscriptions.first = made
    sessions[session].subscriptions.count += 1
    return made
  }

  /// The session has subscribed to the same filter again (§3.8.3-3).
  func change(_ subscription: Handle<Subscription>, _ options: SubscriptionOptions, identifier: UInt32) {
    subscriptions[subscription].options = options
    subscriptions[subscription].identifier = identifier
  }

  @_optimize(size) mutating func remove(
    _ subscription: Handle<Subscription>, _ topics: inout TopicTree, _ sessions: borrowing SessionStore,
    _ shares: inout Shares
  ) {
    endReplay(subscription, sessions)
    let entry = subscriptions[subscription]
    let holder = Holder.session(entry.session)
    shares.giveBack(.subscriptions, 1, by: holder, sessions)
    let group = group(of: entry)
    let node = node(of: entry, topics)
    if entry.isShared { leave(group, entry, &shares.joint, sessions) }
    topics.giveBack(node, entry.place.use, by: holder, &shares.joint, sessions)
    if entry.isShared, groups[group].turn == subscription { groups[group].turn = entry.nextInNode }
    if !entry.nextInNode.isNull { subscriptions[entry.nextInNode].previousInNode = entry.previousInNode }
    if !entry.previousInNode.isNull {
      subscriptions[entry.previousInNode].nextInNode = entry.nextInNode
    } else if entry.isShared {
      groups[group].members = entry.nextInNode
    } else {
      topics.hang(entry.nextInNode, on: node)
    }
    if !entry.nextInSession.isNull { subscriptions[entry.nextInSession].previousInSession = entry.previousInSession }
    if !entry.previousInSession.isNull {
      subscriptions[entry.previousInSession].nextInSession = entry.nextInSession
    } else {
      sessions[entry.session].subscriptions.first = entry.nextInSession
    }
    sessions[entry.session].subscriptions.count -= 1
    let places = places
    index.remove(subscription.index, hash: places.hash(of: entry), from: subscriptions) { places.hash(of: $0) }
    subscriptions.giveBack(subscription)
    if entry.isShared, groups[group].members.isNull { removeGroup(group, &topics) }
    topics.prune(node)
  }

  /// The group of this name, made where it is missing, for one more member, and whether the member has it of its floor. A
  /// group counts by the blocks of its name, of which there are as many as groups.
  @_optimize(size) private mutating func join(
    _ node: Handle<TopicNode>, _ name: Bytes, by holder: Holder, _ topics: inout TopicTree,
    _ sessions: borrowing SessionStore, _ shares: inout JointShares
  ) throws(Limit) -> (group: Handle<SharedGroup>, isSure: Bool) {
    let known = findGroup(node, name) ?? .null
    let blockCount = groupNames.blockCount(for: name.count)
    let isInCommon = !known.isNull && groups[known].commonCount > 0
    let isCommon = shares.mayBeCommon(.sharedGroups, isInCommon ? 0 : blockCount, by: holder, sessions)
    let free = groupNames.gauge.free - (known.isNull ? blockCount : 0)
    guard isCommon || shares.isSure(.sharedGroups, blockCount, by: holder, free: free, sessions),
      let group = known.isNull ? addGroup(node, name, &topics) : known
    else {
      groups.gauge.refused &+= 1
      throw .sharedGroups
    }
    if isCommon {
      groups[group].commonCount += 1
      if !isInCommon { shares.addCommon(.sharedGroups, blockCount) }
    } else {
      shares.change(.sharedGroups, by: blockCount, of: holder, sessions)
    }
    return (group, !isCommon)
  }

  /// What `join` has counted for a member.
  @_optimize(size) private mutating func leave(
    _ group: Handle<SharedGroup>, _ member: Subscription, _ shares: inout JointShares,
    _ sessions: borrowing SessionStore
  ) {
    let blockCount = groupNames.blockCount(for: groups[group].name.byteCount)
    guard !member.groupIsSure else {
      return shares.change(.sharedGroups, by: -blockCount, of: .session(member.session), sessions)
    }
    groups[group].commonCount -= 1
    if groups[group].commonCount == 0 { shares.addCommon(.sharedGroups, -blockCount) }
  }

  @_optimize(size) private mutating func addGroup(
    _ node: Handle<TopicNode>, _ name: Bytes, _ topics: inout TopicTree
  ) -> Handle<SharedGroup>? {
    guard let body = groupNames.lend(byteCount: name.count, keepingFree: 0) else { return nil }
    var cursor = groupNames.cursor(body)
    groupNames.write(name, at: &cursor)
    let head = topics[node].groups
    guard let group = groups.lend(SharedGroup(node: node, hash: hash(node, name), name: body, next: head)) else {
      groupNames.release(body)
      return nil
    }
    if !head.isNull { groups[head].previous = group }
    groupIndex.insert(group.index, hash: groups[group].hash)
    topics.hang(group, on: node)
    return group
  }

  @_optimize(size) private mutating func removeGroup(_ group: Handle<SharedGroup>, _ topics: inout TopicTree) {
    let entry = groups[group]
    if !entry.next.isNull { groups[entry.next].previous = entry.previous }
    if entry.previous.isNull {
      topics.hang(entry.next, on: entry.node)
    } else {
      groups[entry.previous].next = entry.next
    }
    groupIndex.remove(group.index, hash: entry.hash, from: groups) { $0.hash }
    groupNames.release(groups[group].name)
    groups.giveBack(group)
  }

  /// The member behind `subscription` is the next in turn.
  func passTurn(of group: Handle<SharedGroup>, behind subscription: Handle<Subscription>) {
    groups[group].turn = subscriptions[subscription].nextInNode
  }

  // MARK: Replay of retained messages

  /// From now on the retained messages that match are to be sent, up to the one of this age (§3.8.4).
  func beginReplay(_ subscription: Handle<Subscription>, upTo age: UInt32, _ sessions: borrowing SessionStore) {
    if !subscriptions[subscription].isReplaying {
      sessions[subscriptions[subscription].session].subscriptions.replayCount += 1
    }
    subscriptions[subscription].replaySlot = 0
    subscriptions[subscription].replayAge = age
  }

  /// The slot to look at has been looked at.
  func advanceReplay(_ subscription: Handle<Subscription>, to slot: Int) {
    subscriptions[subscription].replaySlot = UInt32(slot)
  }

  func endReplay(_ subscription: Handle<Subscription>, _ sessions: borrowing SessionStore) {
    guard subscriptions[subscription].isReplaying else { return }
    subscriptions[subscription].replaySlot = Subscription.replayDone
    sessions[subscriptions[subscription].session].subscriptions.replayCount -= 1
  }
}
