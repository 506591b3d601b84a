import Bounded
import MQTTWire

/// Topic Aliases towards a client (§3.3.2.3.4): the first topics that a connection is sent get them, as many as
/// both sides allow, and keep them as long as it lasts.
extension Broker {
  /// Gives `head` the alias of `topic`, if there is one or can be one. Answers the Topic Name to write: empty when
  /// the client knows the alias already.
  func useAlias(for topic: Bytes, in head: inout PublishHead, on id: ConnectionID) -> Bytes {
    let most = connections[id].sentAliasMax
    // An alias takes three bytes itself.
    guard most > 0, topic.count > 3, topic.count <= limits.topicAliasBytesMax else { return topic }
    let count = connections[id].sentAliasCount
    var alias: UInt16 = 1
    while alias <= count {
      if aliases.isEqual(row(of: alias), of: id.index, to: topic) {
        head.topicAlias = alias
        return .empty
      }
      alias += 1
    }
    guard count < most, aliases.hasRoom(for: topic.count, row(of: alias), of: id.index) else { return topic }
    head.topicAlias = alias
    // A message is not lost for the bytes of its alias.
    if head.packetByteCount(topicByteCount: topic.count) > Int(connections[id].packetBytesMax) { head.topicAlias = 0 }
    return topic
  }

  /// The packet that `useAlias` was asked for is on its way.
  mutating func keepAlias(of topic: Bytes, _ head: PublishHead, on id: ConnectionID) {
    guard head.topicAlias > connections[id].sentAliasCount else { return }
    let isKept = aliases.set(row(of: head.topicAlias), of: id.index, to: topic)
    precondition(isKept)  // the room was seen in `useAlias`
    connections[id].sentAliasCount = head.topicAlias
  }

  private func row(of alias: UInt16) -> Int { limits.topicAliasMax + Int(alias) - 1 }
}
