import Bounded
import MQTTWire

/// A connection's part of `Outboxes`: the bytes on their way to its client, and its topic aliases.
struct Outbox: BitwiseCopyable {
  fileprivate(set) var queue = ByteQueue()
  /// Null: it has none, in neither direction.
  fileprivate(set) var aliases: Handle<SharedTexts.Owner> = .null
  /// The smaller of the client's Topic Alias Maximum and ours.
  fileprivate(set) var sentAliasMax: UInt16 = 0
  /// Rows of `aliases` in use for what the client was sent.
  fileprivate var sentAliasCount: UInt16 = 0

  @inline(__always) var byteCount: Int { queue.byteCount }
  @inline(__always) var isEmpty: Bool { queue.isEmpty }
}

/// Bytes on their way out: the chunks of all outboxes, who has some to write, who waits for room, and the topic aliases
/// that shorten what is written (§3.3.2.3.4). A set of aliases is lent to a client for as long as it is connected. The
/// first topics that it is sent get one, as many as both sides allow, and keep it.
///
/// Invariant: a place is in `ready` and in `starved` at most once. Only the outbox of `lentTo` may end with lent bytes. An
/// outbox that uses aliases has a set of them.
struct Outboxes: ~Copyable {
  private(set) var chunks: ByteQueuePool
  private(set) var aliases: SharedTexts  // for a client `topicAliasMax` that it set, and as many that it was sent
  /// Places of connections that have bytes to write or are to be closed; each at most once.
  private var ready: IndexQueue
  /// Places of connections whose messages lack room that others hold, with nothing of their own under way.
  private var starved: IndexQueue
  /// Places of connections whose replay of retained messages goes on in another turn.
  private var resting: IndexQueue
  /// The packet being taken, if its bytes may be lent to an outbox, and the connection whose outbox has some.
  var lendable = Bytes.empty
  private(set) var lentTo = ConnectionID.null
  private let aliasScratch: Scratch  // the topic that an alias stands for
  private let aliasMax: Int
  private let aliasBytesMax: Int
  private let topicBytesMax: Int
  private let blocksKeptForRetained: Int

  @_optimize(size) init(limits: Limits, in reservation: inout Reservation) {
    aliases = SharedTexts(
      ownerCount: limits.topicAliasSets, sureRows: limits.topicAliasMax, optionalRows: limits.topicAliasMax,
      sharedCells: limits.topicAliasCellsMax, name: "topic aliases", in: &reservation)
    chunks = ByteQueuePool(
      queueCount: limits.connectionsMax, sharedChunkCount: limits.outboxChunksShared,
      chunkBytes: limits.outboxChunkBytes, chunksPerQueueMax: limits.outboxChunksPerConnection,
      name: "outbox chunks", in: &reservation)
    ready = IndexQueue(count: limits.connectionsMax, name: "ready connections", in: &reservation)
    starved = IndexQueue(count: limits.connectionsMax, name: "starved connections", in: &reservation)
    resting = IndexQueue(count: limits.connectionsMax, name: "resting replays", in: &reservation)
    aliasScratch = Scratch(byteCount: limits.topicBytesMax + 1, name: "scratch: alias", in: &reservation)
    aliasMax = limits.topicAliasMax
    aliasBytesMax = limits.topicAliasBytesMax
    topicBytesMax = limits.topicBytesMax
    blocksKeptForRetained = limits.blocksKeptForRetained
  }

  // MARK: Room

  /// Whether so many copied bytes and bodies fit; after `true`, appending them does not fail.
  @inline(__always) func hasRoom(
    _ outbox: Outbox, for byteCount: Int, references: Int = 0, use: ByteQueuePool.Use
  ) -> Bool {
    chunks.hasRoom(outbox.queue, for: byteCount, references: references, use: use)
  }

  /// Whether so many bytes of control packets, at most a chunk, will fit whatever data any outbox takes before they come.
  @inline(__always) func promisesControl(_ outbox: Outbox, _ byteCount: Int) -> Bool {
    chunks.promisesControl(outbox.queue, byteCount)
  }

  /// Whether the outbox lacks room because it has as much as one may have, and not for what the others have.
  func isBoundByItself(_ outbox: Outbox) -> Bool { chunks.isBoundByItself(outbox.queue) }

  // MARK: Bytes in

  /// All or nothing.
  @inline(__always) mutating func append(
    _ bytes: Bytes, to outbox: inout Outbox, use: ByteQueuePool.Use, isPromised: Bool = false
  ) -> Bool {
    chunks.append(bytes, to: &outbox.queue, use: use, isPromised: isPromised)
  }

  /// Whether the outbox may refer to the body in place of a copy.
  func mayRefer(
    _ outbox: Outbox, to body: Body, _ messages: borrowing MessageStore, _ retained: borrowing RetainedStore
  ) -> Bool {
    chunks.mayRefer(
      outbox.queue, to: body, in: messages.bodies,
      ofBlocks: max(0, messages.bodies.gauge.capacity - retained.blockCount - blocksKeptForRetained))
  }

  /// Refers to a body from `position` on instead of copying it.
  mutating func append(
    _ body: Body, from position: Int, to outbox: inout Outbox, _ messages: inout MessageStore
  ) -> Bool {
    messages.append(body, from: position, to: &outbox.queue, of: &chunks)
  }

  /// Refers to `lendable` where it lies, for one connection until `settle`. `false`: copy it.
  mutating func lend(to outbox: inout Outbox, of id: ConnectionID) -> Bool {
    guard lentTo.isNull || lentTo == id, chunks.lend(lendable, to: &outbox.queue) else { return false }
    lentTo = id
    return true
  }

  /// From here on no outbox refers to lent bytes.
  mutating func settle(_ links: borrowing Slab<Link>) {
    guard !lentTo.isNull else { return }
    if links.isLent(lentTo) { chunks.settle(&links[lentTo].outbox.queue) }
    lentTo = .null
  }

  // MARK: Bytes out

  func gather(
    _ outbox: Outbox, _ messages: borrowing MessageStore, into parts: UnsafeMutableBufferPointer<Bytes>
  ) -> Int {
    chunks.gather(outbox.queue, bodies: messages.bodies, into: parts)
  }

  /// The transport took its first bytes.
  mutating func consume(_ byteCount: Int, from outbox: inout Outbox, _ messages: inout MessageStore) {
    messages.consume(byteCount, from: &outbox.queue, of: &chunks)
  }

  mutating func clear(_ outbox: inout Outbox, _ messages: inout MessageStore) {
    messages.clear(&outbox.queue, of: &chunks)
  }

  // MARK: Whose turn it is

  var hasReady: Bool { !ready.isEmpty }
  /// Whether so few chunks are free that outboxes are to be flushed before more is put in (`ByteQueuePool.isTight`).
  var isTight: Bool { chunks.isTight }

  /// The connection has bytes to write, or is to be closed.
  @inline(__always) mutating func markReady(_ id: ConnectionID) { ready.push(id.index) }

  mutating func nextReady() -> Int? { ready.pop() }

  /// The connection's next message finds no room. One with bytes under way tries again when they are `sent`.
  mutating func waitForRoom(_ id: ConnectionID, _ outbox: Outbox) {
    if outbox.isEmpty { starved.push(id.index) }
  }

  /// The connection's replay has had its steps of this turn.
  mutating func rest(_ id: ConnectionID) { resting.push(id.index) }

  var restingCount: Int { resting.count }
  mutating func nextResting() -> Int? { resting.pop() }

  var starvedCount: Int { starved.count }
  func isStarved(_ index: Int) -> Bool { starved.contains(index) }
  mutating func nextStarved() -> Int? { starved.pop() }

  // MARK: Aliases

  /// Only MQTT 5 has them. A client for which no set is left has none.
  /// - Parameter clientMax: its Topic Alias Maximum.
  mutating func lendAliases(to outbox: inout Outbox, clientMax: UInt16) {
    guard aliasMax > 0, let set = aliases.lend() else { return }
    outbox.aliases = set
    outbox.sentAliasMax = min(clientMax, UInt16(aliasMax))
  }

  mutating func giveBackAliases(of outbox: inout Outbox) {
    guard !outbox.aliases.isNull else { return }
    aliases.giveBack(outbox.aliases)
    outbox.aliases = .null
    outbox.sentAliasMax = 0
  }

  /// Gives `head` the alias of `topic`, if there is one or can be one. Answers the Topic Name to write: empty when
  /// the client knows the alias already.
  /// - Parameter packetBytesMax: the client's Maximum Packet Size.
  @inline(__always) func useAlias(
    for topic: Bytes, in head: inout PublishHead, of outbox: Outbox, packetBytesMax: Int
  ) -> Bytes {
    // An alias takes three bytes itself.
    guard outbox.sentAliasMax > 0, topic.count > 3, topic.count <= aliasBytesMax else { return topic }
    return findAlias(for: topic, in: &head, of: outbox, packetBytesMax: packetBytesMax)
  }

  private func findAlias(
    for topic: Bytes, in head: inout PublishHead, of outbox: Outbox, packetBytesMax: Int
  ) -> Bytes {
    let count = outbox.sentAliasCount
    var alias: UInt16 = 1
    while alias <= count {
      if aliases.isEqual(row(of: alias), of: outbox.aliases, to: topic) {
        head.topicAlias = alias
        return .empty
      }
      alias += 1
    }
    guard count < outbox.sentAliasMax, aliases.hasRoom(for: topic.count, row(of: alias), of: outbox.aliases) else {
      return topic
    }
    head.topicAlias = alias
    // A message is not lost for the bytes of its alias.
    if head.packetByteCount(topicByteCount: topic.count) > packetBytesMax { head.topicAlias = 0 }
    return topic
  }

  /// The packet that `useAlias` was asked for is on its way.
  @inline(__always) mutating func keepAlias(of topic: Bytes, _ head: PublishHead, in outbox: inout Outbox) {
    guard head.topicAlias > outbox.sentAliasCount else { return }
    let isKept = aliases.set(row(of: head.topicAlias), of: outbox.aliases, to: topic)
    precondition(isKept)  // the room was seen in `useAlias`
    outbox.sentAliasCount = head.topicAlias
  }

  private func row(of alias: UInt16) -> Int { aliasMax + Int(alias) - 1 }

  /// The alias, which came with a PUBLISH that is refused, is nobody's topic from here on, until it is set again.
  mutating func spoil(_ alias: UInt16, of outbox: Outbox) {
    let row = Int(alias) - 1
    if !aliases.set(row, of: outbox.aliases, to: Outboxes.noTopic) { aliases.clear(row, of: outbox.aliases) }
  }

  /// Whether what `resolve` has answered is no topic, because the PUBLISH that set the alias was refused.
  static func isSpoilt(_ topic: Bytes) -> Bool { topic[0] == 0 }

  /// U+0000, which no topic holds (§4.7.3-2).
  private static var noTopic: Bytes { Bytes("\0") }

  /// The topic that a client's alias stands for. A topic that comes with the alias is stored first.
  mutating func resolve(_ alias: UInt16, _ topic: Bytes, of outbox: Outbox) throws(WireError) -> Bytes {
    let set = outbox.aliases
    guard !set.isNull, Int(alias) <= aliasMax, alias > 0 else { throw .init(.topicAliasInvalid) }
    let row = Int(alias) - 1
    if !topic.isEmpty {
      // One byte more than a topic may have: a topic that is too long is kept as one that is too long.
      let kept = topic.first(min(topic.count, topicBytesMax + 1))
      guard aliases.isEqual(row, of: set, to: kept) || aliases.set(row, of: set, to: kept) else {
        throw .init(.quotaExceeded)
      }
      return topic
    }
    guard aliases.byteCount(row, of: set) > 0 else { throw .protocolError }
    var writer = aliasScratch.writer()
    aliases.copy(row, of: set, into: &writer)
    return writer.written
  }
}
