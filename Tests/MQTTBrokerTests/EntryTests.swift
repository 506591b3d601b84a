import MQTTWire
import Testing

@testable import Bounded
@testable import MQTTBroker

/// The entries of which a broker has the most: how large they are, and that what shares a word with others does not disturb
/// them.
@Suite struct EntryTests {
  /// The limits' defaults and docs/speed.md count on these.
  @Test func entriesAreSmall() {
    #expect(MemoryLayout<Message>.stride == 24)
    #expect(MemoryLayout<Retained>.stride == 20)
    #expect(MemoryLayout<TopicNode>.stride == 48)
    #expect(MemoryLayout<Subscription>.stride == 40)
  }

  // MARK: Messages

  static let instants = [
    Instant(nanoseconds: 0), Instant(nanoseconds: 1), Instant(milliseconds: 1).adding(nanoseconds: 1),
    Instant(nanoseconds: 0).adding(seconds: Int64(UInt32.max)), Instant(nanoseconds: .max - 1), .never,
  ]

  @Test(arguments: instants) func aMessageIsReadAsItWasStored(expiresAt: Instant) {
    let stores = Stores {
      $0.packetBytesMax = 200_000
      $0.partialBlockCount = 1024
      $0.blockCount = 8192
      $0.outboxChunksPerConnection = 1600
      $0.outboxChunksShared = 4000
      $0.topicBytesMax = 65_535
    }
    let scratch = EntryTests.scratch(300_000)
    for topicByteCount in [1, 65_535] {
      for propertyByteCount in [0, 1, 65_535, 65_536, 100_000] {
        for payloadByteCount in [0, 1, 65_536] {
          for qos in [QoS.atMostOnce, .atLeastOnce, .exactlyOnce] {
            for retain in [false, true] {
              let bytes = [UInt8](repeating: UInt8(ascii: "x"), count: 100_000)
              bytes.withUnsafeBytes { bytes in
                let message = Inbound(
                  topic: Bytes(bytes).first(topicByteCount), forwarded: Bytes(bytes).first(propertyByteCount),
                  payload: Bytes(bytes).first(payloadByteCount), qos: qos, retain: retain, expiresAt: expiresAt,
                  author: .board)
                let stored = stores.messages.store(message, keepingFree: 0)!
                isSame(message, stores.messages.inbound(from: stored, in: scratch))
                #expect(stores.messages[stored].owners == 1)
                stores.messages.retain(stored)
                #expect(stores.messages[stored].owners == 2)
                isSame(message, stores.messages.inbound(from: stored, in: scratch))
                stores.messages.release(stored)
                stores.messages.release(stored)
              }
            }
          }
        }
      }
    }
    #expect(stores.messages.bodies.gauge.used == 0)
  }

  /// The largest packet there is may be properties for the most part (§2.1.4): 1, 134 million and 268 million bytes of them.
  @Test(arguments: [1, 1 << 27 - 1, 1 << 27, 1 << 27 + 1, 1 << 28 - 2]) func propertiesOfAnyLengthAreCounted(
    byteCount: Int
  ) {
    let place = UnsafeRawPointer(bitPattern: 1 << 32)!  // it is not read
    let message = Inbound(
      topic: Bytes(UnsafeRawBufferPointer(start: place, count: 1)),
      forwarded: Bytes(UnsafeRawBufferPointer(start: place, count: byteCount)), payload: .empty, qos: .exactlyOnce,
      retain: true, expiresAt: .never, author: .board)
    let body = Body(head: .max, length: UInt32(1 + byteCount))
    let entry = Message(message, body: body)
    #expect(entry.propertyByteCount == byteCount && entry.topicByteCount == 1 && entry.payloadByteCount == 0)
    #expect(entry.body == body && entry.qos == .exactlyOnce && entry.retain && entry.owners == 1)
  }

  private func isSame(_ message: Inbound, _ other: Inbound) {
    #expect(message.topic.count == other.topic.count && message.forwarded.count == other.forwarded.count)
    #expect(message.payload.count == other.payload.count)
    #expect(message.qos == other.qos && message.retain == other.retain && message.expiresAt == other.expiresAt)
  }

  private static func scratch(_ byteCount: Int) -> Scratch {
    var counting = Reservation.counting()
    _ = Scratch(byteCount: byteCount, name: "test", in: &counting)
    var reservation = Reservation(region: .zeroed(counting.byteCount))  // small, and for one test: it is not freed
    return Scratch(byteCount: byteCount, name: "test", in: &reservation)
  }

  /// What a tap changes of a message leaves its body and its other flags.
  @Test func aMessageIsChanged() {
    let stores = Stores()
    let scratch = EntryTests.scratch(1000)
    let stored = stores.store("a", "payload")!
    let body = stores.messages[stored].body
    for qos in [QoS.exactlyOnce, .atMostOnce, .atLeastOnce] {
      for retain in [true, false] {
        for expiresAt in EntryTests.instants {
          var message = stores.messages.inbound(from: stored, in: scratch)
          message.qos = qos
          message.retain = retain
          message.expiresAt = expiresAt
          stores.messages.change(stored, as: message)
          isSame(message, stores.messages.inbound(from: stored, in: scratch))
          #expect(stores.messages[stored].body == body && stores.messages[stored].owners == 1)
        }
      }
    }
    stores.messages.release(stored)
    #expect(stores.messages.gauge.used == 0)
  }

  /// As many as all deliveries, its retained place, its Will and the call that routes it.
  @Test func aMessageHasAsManyOwnersAsThereCanBe() {
    let stores = Stores()
    let stored = stores.store("a", "payload")!
    let body = stores.messages[stored].body
    for _ in 0..<Limits.entriesMax + 2 { stores.messages.retain(stored) }
    #expect(stores.messages[stored].owners == Limits.entriesMax + 3)
    #expect(stores.messages[stored].body == body)
    #expect(stores.messages[stored].topicByteCount == 1 && stores.messages[stored].propertyByteCount == 0)
    for _ in 0..<Limits.entriesMax + 2 { stores.messages.release(stored) }
    #expect(stores.messages.isLent(stored) == true)
    stores.messages.release(stored)
    #expect(stores.messages.gauge.used == 0)
  }

  @Test func aBodyIsANumberToo() {
    for (head, length) in [(1, 1), (1 << 20, 128 << 20), (UInt32.max, UInt32.max), (0, 0)] as [(UInt32, UInt32)] {
      let body = Body(head: head, length: length)
      #expect(Body(bits: body.bits) == body)
    }
    #expect(Body.null.bits == 0)
  }

  // MARK: Places in the topic tree

  @Test(arguments: [0, 1, (1 << 20) - 1], [0, 1, 8, 4095]) func aPlaceHasItsIndexAndItsUse(index: Int, levelCount: Int)
  {
    let place = TopicPlace(index: index, use: TopicUse(levelCount: levelCount))
    #expect(place.index == index)
    #expect(place.use.levelCount == levelCount)
  }

  @Test func aPlaceHasNoMore() async {
    await #expect(processExitsWith: .failure) { _ = TopicPlace(index: 1 << 20, use: .common) }
    await #expect(processExitsWith: .failure) { _ = TopicPlace(index: -1, use: .common) }
    await #expect(processExitsWith: .failure) { _ = TopicPlace(index: 0, use: TopicUse(levelCount: 4096)) }
  }

  /// The sum of a way's name cells is that of its deepest levels.
  @Test func cellsAreThoseOfTheDeepestLevels() {
    let stores = Stores()
    let long = String(repeating: "n", count: 13 + 64)  // one byte more than a node and a cell hold
    let node = Array("a/\(long)/b/\(long)".utf8).withUnsafeBytes { stores.topics.intern(Bytes($0)) }!
    let cells = (0...4).map { stores.topics.cellCount(of: TopicUse(levelCount: $0), at: node) }
    #expect(cells == [0, 2, 2, 4, 4])
    stores.topics.prune(node)
    #expect(stores.topics.namesGauge.used == 0)
  }

  /// A node's count of what it has in common, its parent and its name's length lie in one word.
  @Test(arguments: [0, 1, 19, 20, 21, 300]) func aNodeCountsBesideItsNameAndItsParent(nameByteCount: Int) {
    let stores = Stores { $0.topicBytesMax = 1000 }
    let name = String(repeating: "n", count: nameByteCount)
    let node = Array("a/b/\(name)".utf8).withUnsafeBytes { stores.topics.intern(Bytes($0)) }!
    let parent = stores.topics.parent(of: node)
    var count = 0
    for change in [1, 65_534, 1, 1, -2, 1, 1 << 22, -(1 << 21), 1 << 21] {
      count += change
      #expect(stores.topics.countCommon(node, change) == count)
      #expect(stores.topics.parent(of: node) == parent)
      #expect(stores.topics[node].nameByteCount == nameByteCount)
      #expect(Array(name.utf8).withUnsafeBytes { stores.topics.isNamed(node, Bytes($0)) } == true)
    }
    #expect(stores.topics.countCommon(node, -count) == 0)
    stores.topics.prune(node)
    #expect(stores.topics.gauge.used == 1)
  }

  @Test func aNodeCountsNoMore() async {
    await #expect(processExitsWith: .failure) {
      let stores = Stores()
      let node = [UInt8(ascii: "a")].withUnsafeBytes { stores.topics.intern(Bytes($0)) }!
      _ = stores.topics.countCommon(node, 1 << 23)
    }
    await #expect(processExitsWith: .failure) {
      let stores = Stores()
      let node = [UInt8(ascii: "a")].withUnsafeBytes { stores.topics.intern(Bytes($0)) }!
      _ = stores.topics.countCommon(node, -1)
    }
  }
}
