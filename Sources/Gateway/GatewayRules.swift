import Bounded
import MQTTBroker
import MQTTWire
import Taps

/// Rules and links: looked at in the turn of the message, whoever published it, and carried out when the broker is free,
/// before anything else is read.
extension Gateway {
  /// Inside the broker's call: what fired rules want comes later.
  func ruleMatched(_ rule: Int, _ message: TapMessage) {
    guard !isStopping else { return }  // what is safe stays so
    let isOwn = message.isBoards
    let isFirstCut = rules.messageReceived(
      rule: rule, message.payload, depth: isOwn ? ownOrigin.ruleDepth : 0, isOwn: isOwn, at: message.now)
    if isFirstCut { board.tell(.ruleLoop(by: rules.by(rule))) }
  }

  /// Carries out what has fired, and what fires because of that, until nothing does. Called by `settle`.
  func runRules(at now: Instant) {
    guard !rulesMustWait else { return }
    while let fired = rules.takeFired() {
      if isStopping { continue }  // it fired before the end began
      ownOrigin = .rule(by: rules.by(fired.rule), depth: fired.depth + 1)
      for index in 0..<rules.actionCount(of: fired.rule) {
        if !carryOut(rules.action(index, of: fired.rule), at: now) { rules.counters.refused &+= 1 }
        tellTaps(at: now)  // what follows from this rule is of its depth
      }
      if let message = rules.message(of: fired) {
        let reason = publishOwn(
          topic: message.topic, payload: message.payload, qos: message.qos, retain: message.retain, at: now)
        if reason.isError { rules.counters.refused &+= 1 }
      }
      tellTaps(at: now)
    }
    ownOrigin = .board
  }

  private func carryOut(_ action: RuleAction, at now: Instant) -> Bool {
    let by = ownOrigin.by
    switch action {
    case .output(let index, let command):
      // The line may have changed since the turn began, by the rule before in the chain.
      guard case .set(let sets) = taps.perform(command, output: index, by: by, at: board.moment.at) else {
        return false
      }
      return set(sets, at: now) == nil
    case .level(let index, let command):
      guard case .write(let set) = taps.levels[index].perform(command, at: now) else { return false }
      return write(set, level: index, by: by, at: now)
    }
  }
}
