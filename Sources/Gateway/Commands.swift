import Bounded
import MQTTBroker
import MQTTWire
import Taps

/// Messages that taps match: inside a call of the broker, which must not be called from here.
extension Gateway {
  /// Adds the taps of commands, questions and rules to the broker, in the order of `TapRoutes`. Rules see what commands have
  /// accepted.
  func addTaps() -> Bool {
    for index in 0..<taps.outputTopicCount {
      guard addTap(taps.outputTopic(index), .command) else { return false }
      routes.outputCount += 1
    }
    for index in 0..<taps.counters.count {
      guard addTap(taps.counters[index].commandTopic, .command) else { return false }
      routes.counterCount += 1
    }
    for index in 0..<taps.levels.count {
      guard addTap(taps.levels[index].commandTopic, .command) else { return false }
      routes.levelCount += 1
    }
    if taps.outputs.count + taps.inputs.count > 0 {
      guard taps.settings.questionFilter.withUnsafeBytes({ addTap(Bytes($0), .command) }) else { return false }
      routes.questionCount = 1
    }
    for index in 0..<rules.count {
      guard addTap(rules.filter(of: rules.count - 1 - index), .follow) else { return false }
      routes.ruleCount += 1
    }
    return true
  }

  func addTap(_ filter: Bytes, _ phase: TapPhase) -> Bool { callBroker { $0.addTap(filter: filter, phase) } != nil }

  func tapMatched(_ tap: TapID, _ message: TapMessage) -> TapVerdict {
    switch routes[tap] {
    case .output(let place): return isStopping ? stopping : commandReceived(output: place, message)
    case .counter(let index): return isStopping ? stopping : commandReceived(counter: index, message)
    case .level(let index): return isStopping ? stopping : commandReceived(level: index, message)
    case .question: return questionReceived(message)
    case .rule(let index):
      ruleMatched(index, message)
      return .accept
    // What the board says itself is for rules: a handler that publishes what it handles would never end.
    case .handler(let index): return message.isBoards ? .accept : handle(index, message)
    case .homeAssistant:
      homeAssistantCame(message)
      return .accept
    }
  }

  private var stopping: TapVerdict {
    TapVerdict(reason: .implementationSpecificError, reasonString: Bytes("the board is stopping"), retain: false)
  }

  private func origin(of message: TapMessage) -> Origin {
    message.isBoards ? ownOrigin : .client(message.clientID)
  }

  // MARK: Commands

  /// The lines change now, the publications follow when the broker is free, the acknowledgement tells what happened.
  /// - Parameter place: the topic's, see `TapTable.outputTopic`.
  private func commandReceived(output place: Int, _ message: TapMessage) -> TapVerdict {
    var verdict = TapVerdict(retain: false)  // a retained command would switch the pin at every restart
    let by = origin(of: message).by
    let (output, action) = taps.commandReceived(
      place: place, message.payload, isRetained: message.retain, by: by, at: board.moment.at)
    switch action {
    case .refuse(let reason, let text):
      verdict.reason = reason
      verdict.reasonString = text
      board.tell(.refused(output: output, reason: text, by: by))
    case .set(let sets):
      if let failed = set(sets, at: message.now) {
        verdict.reason = .implementationSpecificError
        verdict.reasonString = taps.outputs[failed].faultText
      }
    }
    answer(message, verdict) { writer in
      OutputAnswer.write(state: taps.outputs[output].state == .driven(active: true), into: &writer)
    }
    return verdict
  }

  /// A meter reading on `total/set`.
  private func commandReceived(counter index: Int, _ message: TapMessage) -> TapVerdict {
    var verdict = TapVerdict(retain: false)  // a retained reading would be set at every restart
    // An empty retained message deletes a retained one: no command.
    if message.payload.isEmpty, message.retain { return verdict }
    if let refusal = refusal(ofRetained: message) { return refusal }
    switch taps.counters[index].commandReceived(
      message.payload, wallNanoseconds: board.moment.wallNanoseconds, by: origin(of: message).by)
    {
    case .set(let update):
      taps.tellLater(.counter(index), update)
      board.stateChanged(at: message.now)
    case .refuse(let reason, let text):
      verdict.reason = reason
      verdict.reasonString = text
    }
    return verdict
  }

  private func commandReceived(level index: Int, _ message: TapMessage) -> TapVerdict {
    var verdict = TapVerdict(retain: false)  // a retained command would be carried out at every restart
    if let refusal = refusal(ofRetained: message) {
      answer(message, refusal) { _ in }
      return refusal
    }
    switch taps.levels[index].commandReceived(message.payload, isRetained: message.retain, at: message.now) {
    case .nothing:
      return verdict
    case .refuse(let reason, let text):
      verdict.reason = reason
      verdict.reasonString = text
    case .write(let set):
      if !write(set, level: index, by: origin(of: message).by, at: message.now) {
        verdict.reason = .implementationSpecificError
        verdict.reasonString = taps.levels[index].faultText
      }
    }
    answer(message, verdict) { taps.levels[index].writeAnswer(into: &$0) }
    return verdict
  }

  /// With `retained_set: reject`. An empty retained message deletes a retained one: no command.
  private func refusal(ofRetained message: TapMessage) -> TapVerdict? {
    guard message.retain, !message.payload.isEmpty, taps.settings.retainedSet == .reject else { return nil }
    return TapVerdict(
      reason: .implementationSpecificError, reasonString: Bytes("a retained command"), retain: false)
  }

  // MARK: Questions and answers

  /// Answers on the question's Response Topic with what the line has now.
  private func questionReceived(_ message: TapMessage) -> TapVerdict {
    var verdict = TapVerdict(retain: false)
    guard let line = taps.line(ofQuestion: message.topic) else { return verdict }
    if let active = board.level(ofLine: line) {
      answer(message, verdict) { OutputAnswer.write(state: active, into: &$0) }
      return verdict
    }
    let fault =
      switch taps.owner(ofLine: line) {
      case .output(let output): taps.outputs[output].faultText
      case .input(let input): taps.inputs[input].faultText
      case .counter: Bytes.empty
      }
    verdict.reason = .implementationSpecificError
    verdict.reasonString = fault.isEmpty ? Bytes("line does not answer") : fault
    answer(message, verdict) { _ in }
    return verdict
  }

  /// The answer for who asked for one by Response Topic (§4.10).
  private func answer(_ message: TapMessage, _ verdict: TapVerdict, _ writeState: (inout ByteWriter) -> Void) {
    guard let properties = try? Properties(message.forwardedProperties, in: .publish),
      let topic = properties.first(.responseTopic)?.value, isWithinLimits(topic), topic[0] != UInt8(ascii: "$")
    else { return }
    var writer = scratch.writer()
    if verdict.reason.isError {
      OutputAnswer.write(refusal: verdict.reasonString, into: &writer)
    } else {
      writeState(&writer)
    }
    let isKept = stash.push(
      topic: topic, payload: writer.written,
      properties: { place in
        place.writeProperty(.payloadFormatIndicator, byte: 1)
        if let correlation = properties.first(.correlationData)?.value {
          place.writeProperty(.correlationData, bytes: correlation)
        }
      }, qos: message.qos, retain: false,
      runsTaps: false,  // a topic of the client's choice commands nothing
      asker: message.publisher)
    if !isKept { board.tell(.answerLost) }
  }
}
