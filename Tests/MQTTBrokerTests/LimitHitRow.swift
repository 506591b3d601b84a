import MQTTBroker
import Testing

extension LimitHitTests {
  /// Who met the limit, as the log can name it.
  enum Who: Equatable, Sendable {
    case client(String)
    case address
    case connection
  }

  struct Row: CustomTestStringConvertible, Sendable {
    let limit: Limit
    let value: Int
    let kind: Notice.Kind
    let outcome: Notice.Outcome
    let size: Int
    let who: Who
    let change: @Sendable (inout Limits) -> Void
    let meet: @Sendable (World) -> Void
    var testDescription: String { "\(limit) \(outcome) \(who)" }

    /// - Parameter value: the limit's number, which `change` has set or the tests' defaults have.
    init(
      _ limit: Limit, _ value: Int, _ who: Who, _ outcome: Notice.Outcome = .refused, size: Int = 0,
      kind: Notice.Kind = .limitHit, limits change: @escaping @Sendable (inout Limits) -> Void = { _ in },
      meet: @escaping @Sendable (World) -> Void
    ) {
      self.limit = limit
      self.value = value
      self.outcome = outcome
      self.size = size
      self.kind = kind
      self.who = who
      self.change = change
      self.meet = meet
    }
  }
}
