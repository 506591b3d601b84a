public import Bounded

/// The origins whose pages may open a connection, since a browser lets any page try (RFC 6455 §10.2). One blank separates
/// two: `https://a.example http://board.local:8080`. `*` alone allows every origin, an empty list none. The text is lent.
public struct OriginList: BitwiseCopyable {
  private let text: Bytes

  public init(_ text: Bytes) { self.text = text }

  /// Whether `origin` is in the list. Case does not count, as scheme and host have none (RFC 6454 §4). A port that is left
  /// out counts as a difference.
  @_optimize(size) public func contains(_ origin: Bytes) -> Bool {
    guard origin.isVisible else { return false }
    if text == Bytes("*") { return true }
    var rest = text
    while !rest.isEmpty {
      let blank = rest.firstIndex(of: 0x20)
      if rest.first(blank ?? rest.count).equalsIgnoringCase(origin) { return true }
      rest = rest.from(blank.map { $0 + 1 } ?? rest.count)
    }
    return false
  }
}
