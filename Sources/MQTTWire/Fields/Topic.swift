public import Bounded

/// Topic Names and Topic Filters (§4.7), as bytes of UTF-8.
public enum Topic {
  /// 1...65 535 bytes of UTF-8 without U+0000, `+` and `#` (§4.7.1, §4.7.3).
  public static func isValidName(_ name: Bytes) -> Bool {
    name.count >= 1 && name.count <= 65_535 && UTF8Check.isValidWithoutWildcards(name)
  }

  /// 1...65 535 bytes of UTF-8 without U+0000; `+` alone in its level; `#` alone in its level, the last one
  /// (§4.7.1). Says nothing about shared subscriptions: see `SharedFilter`.
  public static func isValidFilter(_ filter: Bytes) -> Bool {
    guard filter.count >= 1, filter.count <= 65_535, UTF8Check.isValid(filter) else { return false }
    var previous = slash
    var index = 0
    while index < filter.count {
      let byte = filter[index]
      let isLast = index &+ 1 == filter.count
      if byte == hash {
        guard previous == slash, isLast else { return false }
      } else if byte == plus {
        guard previous == slash, isLast || filter[index &+ 1] == slash else { return false }
      }
      previous = byte
      index &+= 1
    }
    return true
  }

  /// Whether SUBSCRIBE and UNSUBSCRIBE may name it: a valid filter, or a shared subscription of which the ShareName and
  /// the filter are valid (§4.7.3-1, §4.8.2-1, §4.8.2-2).
  public static func isValidSubscription(_ bytes: Bytes) -> Bool {
    SharedFilter.isShare(bytes) ? SharedFilter(bytes) != nil : isValidFilter(bytes)
  }

  /// Levels of a name or a filter: one more than it has slashes.
  public static func levelCount(_ topic: Bytes) -> Int {
    1 + topic.count(of: slash)
  }

  /// Whether a topic is `$SYS` or stands under it.
  public static func isSys(_ topic: Bytes) -> Bool {
    guard !topic.isEmpty, topic[0] == dollar else { return false }  // as good as always
    return topic.hasPrefix(Bytes("$SYS")) && (topic.count == 4 || topic[4] == slash)
  }

  /// Whether a valid filter matches a valid name (§4.7.1), byte by byte and without going back. A wildcard at
  /// the start matches no name that starts with `$` (§4.7.2).
  public static func matches(filter: Bytes, name: Bytes) -> Bool {
    guard !filter.isEmpty, !name.isEmpty else { return false }
    if name[0] == dollar, filter[0] == plus || filter[0] == hash { return false }
    var at = 0
    var index = 0
    while at < filter.count {
      let byte = filter[at]
      if byte == hash { return true }
      if byte == plus {
        while index < name.count, name[index] != slash { index &+= 1 }
      } else if index < name.count, name[index] == byte {
        index &+= 1
      } else {
        // "sport/#" matches its parent "sport" too (§4.7.1.2).
        return index == name.count && byte == slash && at &+ 2 == filter.count && filter[at &+ 1] == hash
      }
      at &+= 1
    }
    return index == name.count
  }

  @inlinable static var slash: UInt8 { 0x2F }
  @inlinable static var plus: UInt8 { 0x2B }
  @inlinable static var hash: UInt8 { 0x23 }
  @inlinable static var dollar: UInt8 { 0x24 }
}

/// The levels of a name or a filter from left to right: "a//b" gives "a", "", "b".
///
/// Invariant: start <= topic.count, or start == topic.count + 1 once the last level was given.
public struct LevelReader: BitwiseCopyable {
  @usableFromInline let topic: Bytes
  @usableFromInline var start = 0

  @inlinable public init(_ topic: Bytes) { self.topic = topic }

  @inlinable public mutating func next() -> Bytes? {
    guard start <= topic.count else { return nil }
    let end = topic.firstIndex(of: 0x2F, from: start) ?? topic.count
    let level = topic[start..<end]
    start = end &+ 1
    return level
  }
}

/// Shared subscription (§4.8.2)  ┌────────┬───┬───────────┬───┬──────────────┐ ShareName: at least one character,
///                               │ $share │ / │ ShareName │ / │ Topic Filter │ none of / + #
///                               └────────┴───┴───────────┴───┴──────────────┘
public struct SharedFilter: BitwiseCopyable {
  public let group: Bytes
  public let filter: Bytes

  /// Whether the bytes claim to be a shared subscription; if they do and `init` gives nil, they are not a
  /// valid filter at all. So they are in every version: before MQTT 5 nothing else is served under this name, either.
  public static func isShare(_ bytes: Bytes) -> Bool { bytes.hasPrefix(Bytes("$share/")) }

  public init?(_ bytes: Bytes) {
    guard SharedFilter.isShare(bytes), bytes.count <= 65_535 else { return nil }
    let rest = bytes.from(7)
    guard let slash = rest.firstIndex(of: Topic.slash) else { return nil }
    let group = rest.first(slash)
    let filter = rest.from(slash + 1)
    guard Topic.isValidName(group), Topic.isValidFilter(filter) else { return nil }
    self.group = group
    self.filter = filter
  }
}
