public import Bounded
import LinuxIO
public import MQTTBroker
public import MQTTWire
import TaplineConfiguration
public import Taps

/// Handlers of the embedding program: inline ones run in the PUBLISH's turn, decoupled ones on one thread of their own.
extension Server {
  /// Runs `handler` for each message whose topic matches `pattern` (`sensors/{room}/temperature`): in the turn in
  /// which it came in, after its validation, once per QoS 2 message and before its subscribers get it. The
  /// message and the captures are borrowed. The handler may `publish`, refuse the message with a Reason Code, or
  /// change how it goes on. One that often takes longer than `limits: tap_microseconds` is set aside for a
  /// minute. To be called before `run`.
  /// Throws when the pattern is not one or the table of taps is full.
  public func onMessage(
    _ pattern: StaticString, _ handler: @escaping (TapMessage, Captures) -> TapVerdict
  ) throws(StartError) {
    try addHandler(pattern, .inline(handler))
  }

  /// Runs `handler` on the handlers' thread, where it may block; the broker never waits for it. What a full queue
  /// has no room for is dropped, newest first, and counted. To be called before `run`.
  /// - Parameter handler: topic, payload and captures, borrowed for the call.
  public func onMessageDecoupled(
    _ pattern: StaticString, _ handler: @escaping @Sendable (Bytes, Bytes, Captures) -> Void
  ) throws(StartError) {
    try addHandler(pattern, .decoupled(handler))
  }

  /// Publishes a message of the program's own, from a handler or between turns, on the loop's thread only. From a
  /// handler it is copied and published as soon as the handler's message is through; `false` when the room for
  /// this (`limits: tap_publish_bytes`) is used up or the topic is no topic name.
  public func publish(
    topic: Bytes, payload: Bytes, qos: QoS = .atMostOnce, retain: Bool = false
  ) -> Bool {
    guard Topic.isValidName(topic), topic.count <= configuration.limits.topicBytesMax,
      Topic.levelCount(topic) <= configuration.limits.topicLevelsMax
    else { return false }
    guard isBrokerBusy else {
      let now = Clock.now()
      let reason = publishOwn(topic: topic, payload: payload, qos: qos, retain: retain, at: now)
      settle(at: now)
      return !reason.isError
    }
    return stash.push(
      topic: topic, payload: payload, properties: { _ in }, qos: qos, retain: retain, runsTaps: true)
  }

  private func addHandler(_ pattern: StaticString, _ kind: Handler.Kind) throws(StartError) {
    let compiled: TapPattern
    do throws(TapPatternError) {
      compiled = try TapPattern(pattern)
    } catch {
      throw StartError(text: Text(error.text))
    }
    var writer = loop.scratch.writer()
    compiled.writeFilter(into: &writer)
    let filter = writer.written
    guard !writer.overflowed, callBroker({ $0.addTap(filter: filter) }) != nil else {
      throw StartError(text: Text("no room for another tap; raise limits: taps"))
    }
    handlers.append(Handler(pattern: compiled, kind: kind))
  }

  /// The thread is there only for who needs it.
  func startHandlerLane() throws(LinuxError) {
    var decoupled: [Handler] = []
    for handler in handlers {
      if case .decoupled = handler.kind { decoupled = handlers }
    }
    guard !decoupled.isEmpty else { return }
    let table = HandlerTable(handlers: decoupled)
    handlerLane = try HandlerLane(
      capacity: configuration.loopLimits.tapQueueMax, messageBytesMax: configuration.loopLimits.tapQueueBytesMax
    ) { tag, topic, payload in
      let handler = table.handlers[Int(tag)]
      if case .decoupled(let run) = handler.kind, let captures = handler.pattern.captures(of: topic) {
        run(topic, payload, captures)
      }
    }
  }

  // MARK: Running

  /// The broker's call for a message that a tap matches; the broker is in the middle of its turn and must not be
  /// called from here.
  func tapMatched(_ tap: TapID, _ message: TapMessage) -> TapVerdict {
    if tap.index >= firstBirthTap {
      homeAssistantCame(message)
      return .accept
    }
    // Outputs are safe, or are about to be made so: nothing that is asked of them from here on is carried out.
    if tap.index < commandTapCount, isStopping {
      return TapVerdict(
        reason: .implementationSpecificError, reasonString: Bytes("the board is stopping"), retain: false)
    }
    if tap.index < taps.outputTopicCount { return commandReceived(tap.index, message) }
    let counter = tap.index - taps.outputTopicCount
    if counter < taps.counters.count { return commandReceived(counter: counter, message) }
    let level = counter - taps.counters.count
    if level < taps.levels.count { return commandReceived(level: level, message) }
    if tap.index == getTap { return questionReceived(message) }
    if tap.index < handlerTapStart {
      ruleMatched(tap.index, message)
      return .accept
    }
    // What the board says itself is for rules: a handler that publishes what it handles would never end.
    if message.clientID.isEmpty { return .accept }
    let index = tap.index - handlerTapStart
    switch handlers[index].kind {
    case .decoupled:
      if handlerLane?.submit(tag: UInt32(index), topic: message.topic, payload: message.payload) != true {
        tapCounters.decoupledDropped &+= 1
      }
      return .accept
    case .inline(let run):
      guard handlers[index].quarantinedUntil <= message.now else {
        tapCounters.quarantinedSkipped &+= 1
        return .accept
      }
      guard let captures = handlers[index].pattern.captures(of: message.topic) else { return .accept }
      let started = Clock.monotonicNanoseconds()
      let verdict = run(message, captures)
      let took = Clock.monotonicNanoseconds() - started
      if took > Int64(configuration.loopLimits.tapMicroseconds) * 1000 { overran(index, at: message.now) }
      return verdict
    }
  }

  private func overran(_ index: Int, at now: Instant) {
    tapCounters.overruns &+= 1
    // Overruns older than a minute are forgotten.
    if now.since(handlers[index].countedFrom) > Server.quarantineSeconds * 1_000_000_000 {
      handlers[index].countedFrom = now
      handlers[index].overrunCount = 0
    }
    handlers[index].overrunCount += 1
    guard handlers[index].overrunCount >= configuration.loopLimits.tapOverrunsMax else { return }
    handlers[index].overrunCount = 0
    handlers[index].quarantinedUntil = now.adding(seconds: Server.quarantineSeconds)
    tapCounters.quarantines &+= 1
    let pattern = handlers[index].pattern.text
    log.line(.warning, .taps) { line in
      line.write("tapline: handler of ")
      line.write(pattern)
      line.write(" takes too long; set aside for 60 s")
    }
  }

  private static var quarantineSeconds: Int64 { 60 }

  // MARK: Figures

  /// When changed figures are due; they are published once a second at most.
  var tapCountersDeadline: Instant {
    tapCounters == publishedTapCounters && rules.counters == publishedRuleCounters ? .never : tapCountersAt
  }

  /// `$SYS/tapline/taps/...` and `$SYS/tapline/rules/...`, where they have changed.
  func publishTapCounters(at now: Instant) {
    guard tapCountersDeadline <= now else { return }
    tapCountersAt = now.adding(seconds: 1)
    publishCounter("$SYS/tapline/taps/overruns", tapCounters.overruns, publishedTapCounters.overruns, at: now)
    publishCounter("$SYS/tapline/taps/quarantines", tapCounters.quarantines, publishedTapCounters.quarantines, at: now)
    publishCounter(
      "$SYS/tapline/taps/quarantined_skipped", tapCounters.quarantinedSkipped, publishedTapCounters.quarantinedSkipped,
      at: now)
    publishCounter(
      "$SYS/tapline/taps/decoupled_dropped", tapCounters.decoupledDropped, publishedTapCounters.decoupledDropped,
      at: now)
    publishedTapCounters = tapCounters
    publishRuleCounters(at: now)
  }

  func publishCounter(_ topic: StaticString, _ value: UInt64, _ before: UInt64, at now: Instant) {
    guard value != before else { return }
    publishFigure(topic, value, at: now)
  }
}

/// A handler of the embedding program and how it behaves.
struct Handler {
  enum Kind {
    case inline((TapMessage, Captures) -> TapVerdict)
    case decoupled(@Sendable (Bytes, Bytes, Captures) -> Void)
  }
  let pattern: TapPattern
  let kind: Kind
  var overrunCount = 0
  var countedFrom = Instant(nanoseconds: 0)
  var quarantinedUntil = Instant(nanoseconds: 0)
}

/// The handlers as their thread sees them; nothing of it changes after start.
private final class HandlerTable: @unchecked Sendable {
  let handlers: [Handler]
  init(handlers: [Handler]) { self.handlers = handlers }
}

struct TapCounters: Equatable {
  var overruns: UInt64 = 0
  var quarantines: UInt64 = 0
  /// Messages that a handler did not see because it is set aside.
  var quarantinedSkipped: UInt64 = 0
  var decoupledDropped: UInt64 = 0
}

/// Publications that wait until the broker is free: what taps want published while it is in a turn. Emptied after each
/// packet that ran a tap.
struct PublicationStash: ~Copyable {
  struct Entry: BitwiseCopyable {
    var start: Int
    var topicByteCount: Int
    var propertyByteCount: Int
    var payloadByteCount: Int
    var qos: QoS
    var retain: Bool
    var runsTaps: Bool
  }
  private let entries: FixedArray<Entry>
  private let memory: Scratch
  private var count = 0
  private var taken = 0
  private var byteCount = 0
  private(set) var refused: UInt64 = 0

  init(_ limits: LoopLimits, in reservation: inout Reservation) {
    entries = FixedArray(count: limits.tapPublishesMax, name: "tap publications", in: &reservation)
    memory = Scratch(byteCount: limits.tapPublishBytes, name: "  bytes", in: &reservation)
  }

  var isEmpty: Bool { count == 0 }

  /// Copies a publication; `false`, counted, when there is no room.
  mutating func push(
    topic: Bytes, payload: Bytes, properties: (inout ByteWriter) -> Void, qos: QoS, retain: Bool, runsTaps: Bool
  ) -> Bool {
    let place = UnsafeMutableRawBufferPointer(rebasing: memory.buffer[byteCount...])
    guard count < entries.count, !place.isEmpty else {
      refused &+= 1
      return false
    }
    var writer = ByteWriter(place)
    writer.write(topic)
    let propertyStart = writer.count
    properties(&writer)
    let payloadStart = writer.count
    writer.write(payload)
    guard !writer.overflowed else {
      refused &+= 1
      return false
    }
    entries[count] = Entry(
      start: byteCount, topicByteCount: propertyStart, propertyByteCount: payloadStart - propertyStart,
      payloadByteCount: writer.count - payloadStart, qos: qos, retain: retain, runsTaps: runsTaps)
    byteCount += writer.count
    count += 1
    return true
  }

  /// The next one, first pushed first; its bytes are valid until the next push after the last one was taken.
  mutating func pop() -> (entry: Entry, topic: Bytes, properties: Bytes, payload: Bytes)? {
    guard taken < count else {
      count = 0
      taken = 0
      byteCount = 0
      return nil
    }
    let entry = entries[taken]
    taken += 1
    let byteCount = entry.topicByteCount + entry.propertyByteCount + entry.payloadByteCount
    let bytes = Bytes(UnsafeRawBufferPointer(rebasing: memory.buffer[entry.start..<(entry.start + byteCount)]))
    let propertyEnd = entry.topicByteCount + entry.propertyByteCount
    return (
      entry, bytes.first(entry.topicByteCount), bytes[entry.topicByteCount..<propertyEnd], bytes.from(propertyEnd)
    )
  }
}
