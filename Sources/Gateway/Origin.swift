public import Bounded

/// Who a message is from.
public enum Origin: BitwiseCopyable {
  /// A client, by its identifier.
  case client(Bytes)
  /// The board itself.
  case board
  /// A rule or a link: its `by` (`rule:NAME`), and how many rules came before what it does, itself included.
  case rule(by: Bytes, depth: Int)

  /// The user property `by` of what it causes; empty for the board.
  public var by: Bytes {
    switch self {
    case .client(let identifier): identifier
    case .board: .empty
    case .rule(let by, _): by
    }
  }

  /// Rules before what it does.
  var ruleDepth: Int {
    if case .rule(_, let depth) = self { depth } else { 0 }
  }
}
