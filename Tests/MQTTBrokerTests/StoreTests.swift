import MQTTWire
import Testing

@testable import Bounded
@testable import MQTTBroker

/// The stores by themselves, each against what its invariant says.
@Suite struct StoreTests {
  // MARK: Messages

  @Test func aMessageLivesAsLongAsItHasOwners() {
    let stores = Stores()
    let message = stores.store("a", "payload")!
    #expect(stores.messages.gauge.used == 1)
    stores.messages.retain(message)
    stores.messages.release(message)
    #expect(stores.messages.isLent(message) == true)
    stores.messages.release(message)
    #expect(stores.messages.isLent(message) == false)
    #expect(stores.messages.bodies.gauge.used == 0)
  }

  /// An outbox that refers to a body keeps its blocks, not its message.
  @Test func anOutboxOwnsTheBody() {
    let stores = Stores()
    let message = stores.store("a", String(repeating: "x", count: 500))!
    let blocks = stores.messages.bodies.gauge.used
    var outbox = Outbox()
    let body = stores.messages[message].body
    #expect(stores.outboxes.append(body, from: 1, to: &outbox, &stores.messages) == true)
    stores.messages.release(message)
    #expect(stores.messages.gauge.used == 0)
    #expect(stores.messages.bodies.gauge.used == blocks)
    stores.outboxes.consume(500, from: &outbox, &stores.messages)
    #expect(stores.messages.bodies.gauge.used == 0)
  }

  @Test func withoutRoomNothingIsStored() {
    let stores = Stores {
      $0.messagesMax = 2
      $0.retainedMax = 2
    }
    #expect(stores.store("a", "1") != nil)
    #expect(stores.store("a", "2", keepingFree: stores.limits.blockCount) == nil)  // blocks for a higher class
    #expect(stores.messages.gauge.used == 1)
    #expect(stores.store("a", "2") != nil)
    let blocks = stores.messages.bodies.gauge.used
    #expect(stores.store("a", "3") == nil)
    #expect(stores.messages.bodies.gauge.used == blocks)
    #expect(stores.messages.gauge.refused == 1)
  }

  // MARK: Retained messages

  @Test func whatIsPreparedAndAbandonedLeavesNothing() {
    let stores = Stores()
    let slot = withInbound("a/b", "x") {
      try! stores.retained.prepare($0, &stores.topics, stores.messages, &stores.shares, stores.sessions)
    }
    #expect(stores.topics.gauge.used == 3)
    stores.retained.abandon(slot, &stores.topics, &stores.messages, &stores.shares, stores.sessions)
    #expect(stores.retained.gauge.used == 0)
    #expect(stores.topics.gauge.used == 1)  // the root
  }

  @Test func oneTopicHasOneRetainedMessage() {
    let stores = Stores()
    let first = stores.retain("a", "1")
    let second = stores.retain("a", "2")
    #expect(first == second)
    #expect(stores.messages.gauge.used == 1)
    #expect(stores.retained[first].age == 2)
    stores.retained.remove(first, &stores.topics, &stores.messages, &stores.shares, stores.sessions)
    #expect(stores.messages.gauge.used == 0)
    #expect(stores.topics.gauge.used == 1)
  }

  /// With no room for a second message the old one goes first, unless others own it too.
  @Test(arguments: [false, true]) func aRetainedMessageCanBeReplaced(isOwnedTwice: Bool) {
    let stores = Stores {
      $0.messagesMax = 1
      $0.retainedMax = 1
    }
    let slot = stores.retain("a", "1")
    if isOwnedTwice { stores.messages.retain(stores.retained[slot].message) }
    withInbound("a", "2") { message in
      #expect(
        try! stores.retained.prepare(message, &stores.topics, stores.messages, &stores.shares, stores.sessions) == slot)
      #expect(stores.retained.canReplace(slot, with: message, stores.messages) != isOwnedTwice)
      if !isOwnedTwice { stores.retained.giveWay(slot, &stores.messages, &stores.shares, stores.sessions) }
    }
    #expect(stores.retained.blockCount == (isOwnedTwice ? 1 : 0))
    #expect(stores.messages.hasRoom != isOwnedTwice)
  }

  /// A sweep looks at some slots a turn, goes on where it stopped, and is due again with the next expiry.
  @Test func theSweepGoesOnWhereItStopped() {
    let stores = Stores {
      $0.retainedMax = 600
      $0.messagesMax = 600
      $0.topicNodesMax = 700
      $0.blockCount = 3000
    }
    let now = Instant(milliseconds: 10_000)
    for index in 0..<600 {
      let expiry = index == 599 ? now.adding(seconds: 50) : index % 2 == 0 ? now : .never
      _ = stores.retain("t\(index)", "x", expiresAt: expiry)
    }
    var removed = 0
    var next = now
    var turns = 0
    repeat {
      let answer = stores.retained.sweepExpired(
        &stores.topics, &stores.messages, &stores.shares, stores.sessions, at: next)
      removed += answer.removed
      next = answer.next
      turns += 1
    } while turns < 3
    #expect(removed == 300)
    #expect(stores.retained.sweep.position == 0)
    #expect(next == now.adding(seconds: 50))
  }

  // MARK: Sessions

  @Test func asManySessionsAsThereArePlaces() {
    let stores = Stores {
      $0.connectionsMax = 3
      $0.pendingConnectionsMax = 3
      $0.sessionsMax = 3
      $0.clientIDCellsMax = 1
    }
    // Two cells more than it is sure of: there is one.
    let long = String(repeating: "n", count: 64)
    #expect(stores.hasRoom(long))
    #expect(stores.begin(long) != nil)
    let other = String(repeating: "o", count: 64)
    #expect(!stores.hasRoom(other))
    #expect(stores.begin(other) == nil)
    let sessions = ["a", "b"].map { stores.begin($0)! }
    #expect(!stores.hasRoom("c"))
    for (name, session) in zip(["a", "b"], sessions) {
      #expect(stores.find(name) == session)
      stores.sessions.end(session)
      #expect(stores.find(name) == nil)
    }
    #expect(stores.find(long) != nil)
    #expect(stores.sessions.clientIDs.gauge.free >= stores.sessions.gauge.free)
  }

  @Test func anAssignedIdentifierIsNobodys() {
    let stores = Stores()
    var seen: Set<String> = []
    for _ in 0..<20 {
      let storage = UnsafeMutableRawPointer.allocate(byteCount: 64, alignment: 1)
      var writer = ByteWriter(storage, capacity: 64)
      stores.sessions.assignClientID(into: &writer)
      let name = String(decoding: writer.written.array(), as: UTF8.self)
      #expect(name.hasPrefix("tapline-") && name.utf8.count == 24)
      #expect(seen.insert(name).inserted)
      #expect(stores.begin(name) != nil)
      storage.deallocate()
    }
  }

  @Test func aSessionThatOwnsSomethingDoesNotEnd() async {
    await #expect(processExitsWith: .failure) {
      let stores = Stores()
      let session = stores.begin("c")!
      stores.packetIDs.take(1, of: session, stores.sessions)
      stores.sessions.end(session)
    }
  }

  // MARK: QoS 2 packet ids

  @Test(arguments: 1...4) func packetIDsAreASet(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let stores = Stores {
      $0.inflightMax = 20
    }
    let sessions = ["a", "b"].map { stores.begin($0)! }
    var models: [Set<UInt16>] = [[], []]
    for _ in 0..<3000 {
      let which = random.below(2)
      let session = sessions[which]
      let id = UInt16(1 + random.below(30))
      #expect(stores.packetIDs.contains(id, of: session, stores.sessions) == models[which].contains(id))
      switch random.below(3) {
      case 0:
        let wasTaken = models[which].remove(id) != nil
        #expect(stores.packetIDs.release(id, of: session, stores.sessions) == wasTaken)
      default:
        guard !models[which].contains(id), stores.packetIDs.hasRoom(session, stores.sessions) else { continue }
        stores.packetIDs.take(id, of: session, stores.sessions)
        models[which].insert(id)
      }
      #expect(stores.sessions[session].incoming.count == models[which].count)
    }
    for session in sessions {
      stores.packetIDs.drop(session, stores.sessions)
      stores.sessions.end(session)
    }
  }

  // MARK: Links

  @Test func aLinkGoesItsWay() {
    var link = Stores.link()
    #expect(link.isPending && link.isReading)
    link.park()
    #expect(link.isPending && !link.isReading)
    link.hold(7)
    link.connected(to: Handle(index: 1, generation: 1), keepAliveSeconds: 10)
    #expect(!link.isPending && link.isReading)
    #expect(link.takeHeld() == 7)
    #expect(link.takeHeld() == 0)
    #expect(link.close() == Handle(index: 1, generation: 1))
    #expect(!link.isPending && !link.isReading && link.session.isNull)
  }

  @Test func aLinkRefusesOtherWays() async {
    await #expect(processExitsWith: .failure) {  // twice
      var link = Stores.link()
      link.park()
      link.park()
    }
    await #expect(processExitsWith: .failure) {  // after the end
      var link = Stores.link()
      _ = link.close()
      link.connected(to: .null, keepAliveSeconds: 0)
    }
    await #expect(processExitsWith: .failure) {  // a second end
      var link = Stores.link()
      _ = link.close()
      _ = link.close()
    }
    await #expect(processExitsWith: .failure) {  // a client's link has no CONNECT to park
      var link = Stores.link(.client)
      link.park()
    }
    await #expect(processExitsWith: .failure) {  // a name of its own, once
      var link = Stores.link()
      link.begin(LinkSerial(count: 2, place: 0))
    }
  }

  // MARK: Outboxes

  @Test func eachIsReadyOnce() {
    let stores = Stores()
    for index in [2, 1, 2, 2] { stores.outboxes.markReady(Handle(index: index, generation: 1)) }
    #expect(stores.outboxes.nextReady() == 2)
    #expect(stores.outboxes.nextReady() == 1)
    #expect(stores.outboxes.nextReady() == nil)
  }

  @Test func onlyAnEmptyOutboxStarves() {
    let stores = Stores()
    let id = ConnectionID(index: 3, generation: 1)
    var outbox = Outbox()
    withBytes([1, 2, 3]) { #expect(stores.outboxes.append($0, to: &outbox, use: .data) == true) }
    stores.outboxes.waitForRoom(id, outbox)
    #expect(stores.outboxes.isStarved(3) == false)  // it is tried again when they are sent
    stores.outboxes.consume(3, from: &outbox, &stores.messages)
    stores.outboxes.waitForRoom(id, outbox)
    #expect(stores.outboxes.isStarved(3) == true)
    #expect(stores.outboxes.nextStarved() == 3)
  }

  // MARK: Acknowledgements

  @Test func positionsDoNotFall() {
    var reservation = Reservation.counting()
    _ = AckGate(capacity: 3, chunkBytes: 128, in: &reservation)
    let region = UnsafeMutableRawBufferPointer.zeroed(reservation.byteCount)
    defer { region.deallocate() }
    reservation = Reservation(region: region)
    var gate = AckGate(capacity: 3, chunkBytes: 128, in: &reservation)
    var acks = LinkAcks()
    #expect(gate.isOpen(0, for: acks) == true)
    gate.advance(written: 9)
    #expect(gate.isOpen(9, for: acks) == false)
    let serial = LinkSerial(count: 1, place: 0)
    gate.park(.pubAck, 1, .success, of: serial, position: 5, &acks)
    gate.park(.pubAck, 2, .quotaExceeded, of: serial, position: 0, &acks)
    gate.park(.pubAck, 3, .success, of: serial, position: 9, &acks)
    #expect(gate.isFull && acks.count == 3 && acks.byteCount == 15)
    #expect((0..<3).map { gate[$0].position } == [5, 5, 9])
    gate.advance(stored: 4)
    #expect(gate.next() == nil)
    gate.advance(stored: 6)
    #expect(gate.next()?.packetID == 1)
    #expect(gate.next()?.packetID == 2)
    #expect(gate.next() == nil)
    gate.advance(stored: 5)  // late news
    #expect(gate.stored == 6)
  }
}
