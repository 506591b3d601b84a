import MQTTBroker
public import TaplineConfiguration

/// The answer of `tapline plan --budget`: the largest limits for a number of clients that fit.
public enum PlanBudget {
  /// A `limits:` section to be pasted, with a comment before it.
  case fits(Text)
  /// Bytes of the smallest budget for which there is one.
  case needs(Int)

  /// Clients of a board by itself.
  public static var clientsDefault: Int { Limits(.board).connectionsMax }

  /// - Parameters:
  ///   - budget: bytes for all that `plan` adds up.
  ///   - clients: 1 to 65536, connected at the same time.
  ///   - configuration: its limits are not looked at, but what its taps need is.
  public init(_ budget: Int, clients: Int, _ configuration: Configuration) {
    var least = 0
    for size in LimitProposal.sizes.reversed() {
      let proposal = LimitProposal(size: size, clients: clients, needs: configuration.limitNeeds)
      var proposed = configuration
      proposed.limits = proposal.limits
      proposed.loopLimits = LoopLimits()
      let plan = Server.plan(proposed)
      guard plan.totalBytes > budget else {
        self = .fits(PlanBudget.text(budget, clients, plan, proposal))
        return
      }
      least = plan.totalBytes
    }
    self = .needs(least)
  }

  private static func text(_ budget: Int, _ clients: Int, _ plan: Plan, _ proposal: LimitProposal) -> Text {
    var text = Text("# ")
    text.add(clients, of: "client")
    text.add(" in ")
    text.add(mebibytes: budget)
    text.add(": ")
    text.add(mebibytes: plan.totalBytes)
    text.add(", of which the kernel's sockets are ")
    text.add(mebibytes: plan.kernelSocketBytes)
    text.add(" at most\n")
    text.add(proposal.yaml)
    return text
  }

  /// `tapline plan: 1.0 MiB are too little for 64 clients; the smallest that would do is 9876k`.
  public static func complaint(_ budget: Int, clients: Int, needs byteCount: Int) -> Text {
    var text = Text("tapline plan: ")
    text.add(mebibytes: budget)
    text.add(" is too little for ")
    text.add(clients, of: "client")
    text.add("; the smallest that would do is ")
    text.add((byteCount + 1023) / 1024)
    text.add("k\n")
    return text
  }
}
