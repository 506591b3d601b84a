import Bounded
import LinuxIO
import MQTTBroker
import MQTTWire
import TaplineConfiguration
import Taps

/// Rules and links: looked at in the turn of the message, whoever published it, and carried out when the broker is free,
/// before anything else is read.
extension Server {
  /// Backwards: of the taps of one filter the last one added runs first, and rules are to run in the file's order.
  func addRuleTaps() throws(StartError) {
    ruleTapStart = commandTapCount + (getTap == nil ? 0 : 1)
    for index in 0..<rules.count {
      try addCommandTap(rules.filter(of: rules.count - 1 - index), ruleTapStart + index)
    }
    handlerTapStart = ruleTapStart + rules.count
  }

  /// Inside the broker's turn, which publishes what fired rules want only later.
  func ruleMatched(_ tap: Int, _ message: TapMessage) {
    guard !isStopping else { return }  // what is safe stays so
    let rule = rules.count - 1 - (tap - ruleTapStart)
    let isFirstCut = rules.messageReceived(
      rule: rule, message.payload, depth: ruleDepth, isOwn: message.clientID.isEmpty, at: message.now)
    guard isFirstCut else { return }
    log.line(.warning, .taps) { line in
      line.write("tapline: ")
      line.write(rules.by(rule))
      line.write(" is in a loop of rules, which was cut; see $SYS/tapline/rules/cut")
    }
  }

  /// Carries out what has fired, and what fires because of that, until nothing does. Called by `settle`.
  func runRules(at now: Instant) {
    guard !rulesMustWait else { return }
    while let fired = rules.takeFired() {
      ruleDepth = fired.depth + 1
      ruleBy = rules.by(fired.rule)
      for index in 0..<rules.actionCount(of: fired.rule) { carryOut(rules.action(index, of: fired.rule), at: now) }
      if let message = rules.message(of: fired) {
        let reason = publishOwn(
          topic: message.topic, payload: message.payload, qos: message.qos, retain: message.retain, at: now)
        if reason.isError { rules.counters.refused &+= 1 }
      }
      tellTaps(at: now)  // what follows from this rule is of its depth
    }
    ruleDepth = 0
    ruleBy = .empty
  }

  private func carryOut(_ action: RuleAction, at now: Instant) {
    var isDone = false
    // The line may have changed since the turn began, by the rule before in the chain.
    switch action {
    case .output(let index, let command):
      switch taps.perform(command, output: index, by: ruleBy, at: Clock.now()) {
      case .refuse: break
      case .set(let sets): isDone = carryOut(sets, at: now, inBrokersTurn: false) == nil
      }
    case .level(let index, let command):
      isDone = carryOut(command, level: index, by: ruleBy, at: now)
    }
    if !isDone { rules.counters.refused &+= 1 }
  }

  /// Publishes a message of the board's own: its subscribers see it and, with `runsTaps`, its taps and rules; handlers
  /// do not. What taps want because of it waits for `settle`.
  func publishOwn(
    topic: Bytes, payload: Bytes, properties: Bytes = .empty, qos: QoS = .atMostOnce, retain: Bool,
    expirySeconds: UInt32? = nil, runsTaps: Bool = true, at now: Instant
  ) -> ReasonCode {
    callBroker {
      $0.publish(
        topic: topic, payload: payload, properties: properties, qos: qos, retain: retain, expirySeconds: expirySeconds,
        runsTaps: runsTaps, at: now)
    }
  }

  /// Who a command is from: a client, or the rule that published it.
  func author(of message: TapMessage) -> Bytes { message.clientID.isEmpty ? ruleBy : message.clientID }

  /// An empty retained message deletes a retained one: no command.
  func refusesRetained(_ message: TapMessage) -> Bool {
    message.retain && !message.payload.isEmpty && configuration.taps.retainedSet == .reject
  }

  /// `$SYS/tapline/rules/...`, where they have changed.
  func publishRuleCounters(at now: Instant) {
    let (new, old) = (rules.counters, publishedRuleCounters)
    publishCounter("$SYS/tapline/rules/fired", new.fired, old.fired, at: now)
    publishCounter("$SYS/tapline/rules/cut", new.cut, old.cut, at: now)
    publishCounter("$SYS/tapline/rules/refused", new.refused, old.refused, at: now)
    publishCounter("$SYS/tapline/rules/dropped", new.dropped, old.dropped, at: now)
    publishCounter("$SYS/tapline/rules/not_comparable", new.notComparable, old.notComparable, at: now)
    publishedRuleCounters = new
  }

  /// The broker's first taps are those of commands.
  var commandTapCount: Int { taps.outputTopicCount + taps.counters.count + taps.levels.count }

  // MARK: Questions

  /// `<base>/+/get`, or what it is in another layout: one tap for all lines.
  func addGetTap() throws(StartError) {
    guard taps.outputs.count + taps.inputs.count > 0 else { return }
    let index = commandTapCount
    let (layout, base) = (configuration.taps.layout, configuration.taps.base)
    let filter =
      layout == .mqttIO
      ? base + [UInt8](ascii: "/+/+/get") : layout.topic(.input, .state, base: base, name: [UInt8](ascii: "+/get"))
    let added = filter.lend { filter in callBroker { $0.addTap(filter: filter) } }
    guard let added, added.index == index else { throw Server.noRoomForTaps }
    getTap = index
  }

  /// Answers on the question's Response Topic with what the line has now.
  func questionReceived(_ message: TapMessage) -> TapVerdict {
    var verdict = TapVerdict(retain: false)
    guard let line = taps.line(ofQuestion: message.topic) else { return verdict }
    if let active = requests[line]?.get() {
      answer(message, verdict) { OutputAnswer.write(state: active, into: &$0) }
    } else {
      let fault =
        switch taps.owner(ofLine: line) {
        case .output(let output): taps.outputs[output].faultText
        case .input(let input): taps.inputs[input].faultText
        case .counter: Bytes.empty
        }
      verdict.reason = .implementationSpecificError
      verdict.reasonString = fault.isEmpty ? Bytes("line does not answer") : fault
      answer(message, verdict) { _ in }
    }
    return verdict
  }
}
