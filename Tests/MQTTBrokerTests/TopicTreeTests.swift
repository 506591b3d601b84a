import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

struct TopicTreeTests {
  private static let words = ["a", "b", "", "+", "#", "a level's name of over twenty bytes", "twenty bytes exactly"]

  private func draw(_ generator: inout SeededGenerator, wildcards: Bool) -> String {
    var levels: [String] = []
    for _ in 0...generator.below(4) {
      let word = TopicTreeTests.words[generator.below(TopicTreeTests.words.count)]
      if word == "+" || word == "#", !wildcards { continue }
      levels.append(word)
      if word == "#" { break }
    }
    let text = levels.joined(separator: "/")
    return text.isEmpty ? "/" : text
  }

  private let key = HashKey(low: 1, high: 2)

  private func withTree(limits: Limits = Limits(), _ body: (inout TopicTree) -> Void) {
    var counting = Reservation.counting()
    _ = TopicTree(limits: limits, key: key, in: &counting)
    let region = UnsafeMutableRawBufferPointer.zeroed(counting.byteCount)
    defer { region.deallocate() }
    var reservation = Reservation(region: region)
    var tree = TopicTree(limits: limits, key: key, in: &reservation)
    body(&tree)
  }

  /// Peers know a node's place and its name: neither says where the index has it.
  @Test func oneNameBeneathManyParentsHasManyHashes() {
    withTree { tree in
      var hashes: Set<UInt32> = []
      for parent in 0..<500 {
        let node = Array("p\(parent)/state".utf8).withUnsafeBytes { tree.intern(Bytes($0)) }!
        tree.hangTap(1, on: node)
        hashes.insert(tree[node].hash)
        hashes.insert(tree[tree.parent(of: node)].hash)
      }
      #expect(hashes.count == 1000)
    }
  }

  private func matches(_ topic: String, _ tree: inout TopicTree) -> Set<String> {
    var found: Set<String> = []
    Array(topic.utf8).withUnsafeBytes { tree.match(Bytes($0)) }
    for position in 0..<tree.foundCount {
      let node = tree.found(position)
      guard tree[node].taps != 0 else { continue }
      withUnsafeTemporaryAllocation(byteCount: 512, alignment: 1) { place in
        var writer = ByteWriter(place)
        tree.write(node, into: &writer)
        found.insert(String(decoding: writer.written.array(), as: UTF8.self))
      }
    }
    return found
  }

  /// Filters come and go while a few topics are matched again and again, most of them from memory.
  @Test(arguments: 1...8) func matchesAsTheStandardSays(seed: Int) {
    var generator = SeededGenerator(seed: UInt64(seed))
    withTree { tree in
      var filters: [String: Handle<TopicNode>] = [:]
      for step in 0..<3000 {
        let filter = draw(&generator, wildcards: true)
        if generator.below(8) == 0 {
          if let node = filters.removeValue(forKey: filter) {
            tree.hangTap(0, on: node)
            tree.prune(node)
          } else {
            let node = Array(filter.utf8).withUnsafeBytes { tree.intern(Bytes($0)) }!
            tree.hangTap(1, on: node)
            filters[filter] = node
          }
        }
        let topic = draw(&generator, wildcards: false)
        let expected = filters.keys.filter { filter in
          Array(filter.utf8).withUnsafeBytes { filter in
            Array(topic.utf8).withUnsafeBytes { Topic.matches(filter: Bytes(filter), name: Bytes($0)) }
          }
        }
        let found = matches(topic, &tree)
        if found != Set(expected) { Issue.record("step \(step): '\(topic)' finds \(found), not \(expected)") }
      }
      for (_, node) in filters {
        tree.hangTap(0, on: node)
        tree.prune(node)
      }
      #expect(tree.gauge.used == 1)  // the root
      #expect(tree.namesGauge.used == 0)
    }
  }

  /// Rows of an edition long ago are not taken for today's when the number comes round.
  @Test func anEditionComesRound() {
    withTree { tree in
      #expect(matches("a", &tree).isEmpty)  // kept in the first edition
      tree.recent.edition = .max - 1  // the node is added, and then something is hung on it
      let node = Array("a".utf8).withUnsafeBytes { tree.intern(Bytes($0)) }!
      tree.hangTap(1, on: node)
      #expect(tree.recent.edition == 1)
      #expect(matches("a", &tree) == ["a"])
    }
  }

  private func intern(_ filter: String, _ tree: inout TopicTree) -> Handle<TopicNode> {
    Array(filter.utf8).withUnsafeBytes { tree.intern(Bytes($0)) }!
  }

  /// What is hung on a node that only led to others is found, though the topic was matched before.
  @Test(arguments: ["a", "+", "a/b", "+/b", "a/+", "+/+", "a/b/c"]) func aNodeOnTheWayIsFoundLater(filter: String) {
    withTree { tree in
      let deeper = intern(filter + "/x", &tree)
      tree.hangTap(1, on: deeper)
      let topic = filter.split(separator: "/").enumerated().map { $1 == "+" ? ["a", "b"][$0] : String($1) }
        .joined(separator: "/")
      for _ in 0..<2 {
        #expect(matches(topic, &tree).isEmpty)
        #expect(tree.foundCount == 0)
      }
      let node = intern(filter, &tree)
      tree.hangTap(2, on: node)
      #expect(matches(topic, &tree) == [filter])
      tree.hangTap(0, on: node)
      #expect(matches(topic, &tree).isEmpty)
      tree.own(node)
      #expect(matches(topic, &tree).isEmpty && tree.foundCount == 1)
    }
  }

  /// There is room for as many found nodes as can have a subscription or a tap, and the topic's own; others take none.
  @Test func asManyAreFoundAsCanHaveSomething() {
    var limits = Limits()
    limits.subscriptionsMax = 2
    limits.tapsMax = 1
    withTree(limits: limits) { tree in
      for filter in ["a/b/x", "+/b/x", "a/+/x", "+/+/x"] { tree.hangTap(1, on: intern(filter, &tree)) }
      #expect(matches("a/b", &tree).isEmpty)
      for filter in ["#", "a/#", "a/+", "a/b"] { tree.hangTap(1, on: intern(filter, &tree)) }
      #expect(matches("a/b", &tree) == ["#", "a/#", "a/+", "a/b"])
    }
  }

  /// A topic's level is there for a deeper filter, and a message of the topic was matched, before anybody wants it.
  @Test(arguments: [("a/b", "a"), ("+/b", "+"), ("a/b", "$share/g/a"), ("a/+/c", "a/+")])
  func aSubscriptionOnTheWayGetsItsMessages(deeper: String, filter: String) {
    let topic = filter.hasSuffix("a/+") ? "a/b" : "a"
    let world = World(clients: ["pub", "a", "b"])
    world.subscribe("a", deeper)
    world.send("pub", .publish(topic: topic), .publish(topic: topic))
    world.expectNothing("a", "b")
    world.subscribe("b", filter)
    world.send("pub", .publish(topic: topic))
    world.expect("b", .publish(topic: topic))
    world.unsubscribe("b", filter)
    world.send("pub", .publish(topic: topic))
    world.expectNothing("a", "b")
    world.finish()
  }
}
