import MQTTWire

@testable import Bounded
@testable import MQTTBroker

/// Subscriptions as the model has them, and a matcher of its own.
extension Simulation {
  /// The session's subscriptions as the broker has them.
  func actualFilters(_ model: ModelSession) -> [ModelFilter] {
    var found: [ModelFilter] = []
    var next = broker.sessions[model.handle].subscriptions.first
    while !next.isNull {
      let entry = broker.subscriptions[next]
      let node = broker.subscriptions.node(of: entry, broker.topics)
      let filter = written(most: limits.topicBytesMax) { broker.topics.write(node, into: &$0) }
      var group: [UInt8] = []
      if entry.isShared {
        let name = broker.subscriptions[broker.subscriptions.group(of: entry)].name
        group = written(most: name.byteCount) {
          broker.subscriptions.groupNames.copy(name, from: 0, byteCount: name.byteCount, into: &$0)
        }
      }
      found.append(ModelFilter(filter: filter, group: group, options: entry.options, identifier: entry.identifier))
      next = entry.nextInSession
    }
    return found
  }

  func written(most: Int, _ write: (inout ByteWriter) -> Void) -> [UInt8] {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, most), alignment: 1)
    defer { memory.deallocate() }
    var writer = ByteWriter(memory)
    write(&writer)
    return writer.written.array()
  }

  /// After SUBSCRIBE: what was there is unchanged, what was asked for is there or refused. Answers which are granted.
  func subscribed(_ model: ModelSession, _ wanted: [ModelFilter?]) -> [Bool] {
    let actual = actualFilters(model)
    let asked = wanted.compactMap { $0 }
    for old in model.filters where !asked.contains(where: { $0.isSame(as: old) }) && !actual.contains(old) {
      fail("a SUBSCRIBE changed another subscription")
    }
    for entry in actual where !model.filters.contains(where: { $0.isSame(as: entry) }) && !asked.contains(entry) {
      fail("a subscription that nobody asked for")
    }
    for entry in actual {
      guard let last = asked.last(where: { $0.isSame(as: entry) }) else { continue }
      if last != entry { fail("a subscription has other options than asked for") }
    }
    model.filters = actual
    return wanted.map { entry in entry.map { entry in actual.contains { $0.isSame(as: entry) } } ?? false }
  }

  func unsubscribed(_ model: ModelSession, _ unwanted: [ModelFilter?]) {
    let gone = unwanted.compactMap { $0 }
    let left = model.filters.filter { entry in !gone.contains { $0.isSame(as: entry) } }
    if actualFilters(model) != left { fail("UNSUBSCRIBE left the wrong subscriptions") }
    model.filters = left
  }

  /// A filter as the client wrote it; nil: not a valid one, or over the limits.
  func modelFilter(_ bytes: Bytes, _ options: SubscriptionOptions, _ identifier: UInt32) -> ModelFilter? {
    var filter = bytes.array()
    var group: [UInt8] = []
    if filter.starts(with: Array("$share/".utf8)) {
      let parts = filter.split(separator: UInt8(ascii: "/"), maxSplits: 2, omittingEmptySubsequences: false)
      guard parts.count == 3, !parts[1].isEmpty, !parts[2].isEmpty else { return nil }
      group = Array(parts[1])
      filter = Array(parts[2])
    }
    let levels = filter.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
    for (position, level) in levels.enumerated() where level.contains(35) || level.contains(43) {
      if level.count > 1 || level.first == 35 && position < levels.count - 1 { return nil }
    }
    if filter.count > limits.topicBytesMax || levels.count > limits.topicLevelsMax { return nil }
    return ModelFilter(filter: filter, group: group, options: options, identifier: identifier)
  }

  /// §4.7, by the letter.
  func matches(_ filter: [UInt8], _ topic: [UInt8]) -> Bool {
    let key = filter + [0] + topic
    if let known = matchCache[key] { return known }
    let levels = topic.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
    let wanted = filter.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
    var isMatch = !(topic.first == UInt8(ascii: "$") && (wanted[0].first == 35 || wanted[0].first == 43))
    var position = 0
    while isMatch {
      if position < wanted.count, wanted[position].elementsEqual([35]) { break }
      if position == wanted.count || position == levels.count {
        isMatch = wanted.count == levels.count
        break
      }
      isMatch = wanted[position].elementsEqual([43]) || wanted[position].elementsEqual(levels[position])
      position += 1
    }
    matchCache[key] = isMatch
    return isMatch
  }

  func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
}
