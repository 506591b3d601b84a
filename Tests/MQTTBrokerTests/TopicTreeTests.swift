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

  private func withTree(_ body: (inout TopicTree) -> Void) {
    let limits = Limits()
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
        hashes.insert(tree[tree[node].parent].hash)
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
      tree.recent.edition = .max
      let node = Array("a".utf8).withUnsafeBytes { tree.intern(Bytes($0)) }!
      tree.hangTap(1, on: node)
      #expect(tree.recent.edition == 1)
      #expect(matches("a", &tree) == ["a"])
    }
  }
}
