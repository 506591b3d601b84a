public import Bounded

/// The secrets of one start. Nothing that the broker sends tells of them.
public struct BrokerKeys: Sendable {
  /// The key of the tables whose entries are named by peers: topics and client identifiers.
  public let names: HashKey
  /// The key of Assigned Client Identifiers (§3.2.2.3.7), which others see.
  public let identifiers: HashKey

  /// Two keys that have nothing to do with each other.
  public init(names: HashKey, identifiers: HashKey) {
    self.names = names
    self.identifiers = identifiers
  }

  /// Keys that follow from a number: for counts of memory, and for runs that are to be the same again.
  public init(repeatable number: UInt64) {
    let origin = HashKey(low: number, high: 0)
    names = HashKey(low: origin.random(0), high: origin.random(1))
    identifiers = HashKey(low: origin.random(2), high: origin.random(3))
  }
}
