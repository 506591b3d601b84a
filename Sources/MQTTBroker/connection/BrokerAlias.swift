import Bounded
import MQTTWire

/// Topic Aliases (§3.3.2.3.4): a set of them is lent to a client for as long as it is connected. Towards it the first
/// topics that it is sent get them, as many as both sides allow, and keep them.
extension Broker {
  /// Only MQTT 5 has them. A client for which no set is left has none.
  /// - Parameter clientMax: its Topic Alias Maximum.
  mutating func lendAliases(_ id: ConnectionID, clientMax: UInt16) {
    guard connections[id].version == .v5, limits.topicAliasMax > 0, let set = aliases.lend() else { return }
    connections[id].aliases = set
    connections[id].sentAliasMax = min(clientMax, UInt16(limits.topicAliasMax))
  }

  mutating func giveBackAliases(_ id: ConnectionID) {
    guard !connections[id].aliases.isNull else { return }
    aliases.giveBack(connections[id].aliases)
    connections[id].aliases = .null
    connections[id].sentAliasMax = 0
  }

  /// Gives `head` the alias of `topic`, if there is one or can be one. Answers the Topic Name to write: empty when
  /// the client knows the alias already.
  func useAlias(for topic: Bytes, in head: inout PublishHead, on id: ConnectionID) -> Bytes {
    let most = connections[id].sentAliasMax
    // An alias takes three bytes itself.
    guard most > 0, topic.count > 3, topic.count <= limits.topicAliasBytesMax else { return topic }
    let count = connections[id].sentAliasCount
    var alias: UInt16 = 1
    while alias <= count {
      if aliases.isEqual(row(of: alias), of: connections[id].aliases, to: topic) {
        head.topicAlias = alias
        return .empty
      }
      alias += 1
    }
    guard count < most, aliases.hasRoom(for: topic.count, row(of: alias), of: connections[id].aliases) else {
      return topic
    }
    head.topicAlias = alias
    // A message is not lost for the bytes of its alias.
    if head.packetByteCount(topicByteCount: topic.count) > Int(connections[id].packetBytesMax) { head.topicAlias = 0 }
    return topic
  }

  /// The packet that `useAlias` was asked for is on its way.
  mutating func keepAlias(of topic: Bytes, _ head: PublishHead, on id: ConnectionID) {
    guard head.topicAlias > connections[id].sentAliasCount else { return }
    let isKept = aliases.set(row(of: head.topicAlias), of: connections[id].aliases, to: topic)
    precondition(isKept)  // the room was seen in `useAlias`
    connections[id].sentAliasCount = head.topicAlias
  }

  private func row(of alias: UInt16) -> Int { limits.topicAliasMax + Int(alias) - 1 }
}
