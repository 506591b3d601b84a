import Bounded
public import MQTTBroker
import MQTTWire
public import Taps

/// How much handlers of the embedding program may take.
public struct HandlerLimits: Sendable {
  /// Publications that taps may hand over while one message is routed, and their bytes.
  public var publicationsMax = 16
  public var publicationBytes = 8192
  /// Microseconds an inline handler should take, and overruns in a minute after which it is set aside.
  public var microseconds = 1000
  public var overrunsMax = 10

  public init() {}
}

/// What handlers have done since start.
public struct HandlerCounters: BitwiseCopyable, Equatable, Sendable {
  public var overruns: UInt64 = 0
  public var quarantines: UInt64 = 0
  /// Messages that a handler did not see because it is set aside.
  public var quarantinedSkipped: UInt64 = 0
  public var decoupledDropped: UInt64 = 0

  public init() {}
}

/// A handler of the embedding program and how it behaves.
struct Handler {
  let pattern: TapPattern
  /// nil: it is decoupled, and the board runs it.
  let run: ((TapMessage, Captures) -> TapVerdict)?
  var overrunCount = 0
  var countedFrom = Instant(nanoseconds: 0)
  var quarantinedUntil = Instant(nanoseconds: 0)
}

/// Handlers of the embedding program: inline ones run in the PUBLISH's turn, before commands, and may refuse the message;
/// decoupled ones run on a thread of the board's, and get what was accepted.
extension Gateway {
  /// Adds a handler, before the first connection; false when the broker's table of taps is full.
  /// - Parameter run: nil: a decoupled one, whose messages go to `Board.submit`.
  public func addHandler(_ pattern: TapPattern, _ run: ((TapMessage, Captures) -> TapVerdict)?) -> Bool {
    var writer = scratch.writer()
    pattern.writeFilter(into: &writer)
    guard !writer.overflowed, addTap(writer.written, run == nil ? .follow : .judge) else { return false }
    routes.handlerCount += 1
    handlers.append(Handler(pattern: pattern, run: run))
    return true
  }

  func handle(_ index: Int, _ message: TapMessage) -> TapVerdict {
    guard let run = handlers[index].run else {
      if !board.submit(handler: index, topic: message.topic, payload: message.payload) {
        handlerCounters.decoupledDropped &+= 1
      }
      return .accept
    }
    guard handlers[index].quarantinedUntil <= message.now else {
      handlerCounters.quarantinedSkipped &+= 1
      return .accept
    }
    guard let captures = handlers[index].pattern.captures(of: message.topic) else { return .accept }
    let started = board.monotonicNanoseconds
    let verdict = run(message, captures)
    if board.monotonicNanoseconds - started > Int64(handlerLimits.microseconds) * 1000 {
      overran(index, at: message.now)
    }
    return verdict
  }

  private func overran(_ index: Int, at now: Instant) {
    handlerCounters.overruns &+= 1
    // Overruns older than a minute are forgotten.
    if now.since(handlers[index].countedFrom) > 60_000_000_000 {
      handlers[index].countedFrom = now
      handlers[index].overrunCount = 0
    }
    handlers[index].overrunCount += 1
    guard handlers[index].overrunCount >= handlerLimits.overrunsMax else { return }
    handlers[index].overrunCount = 0
    handlers[index].quarantinedUntil = now.adding(seconds: 60)
    handlerCounters.quarantines &+= 1
    board.tell(.handlerSetAside(pattern: handlers[index].pattern.text))
  }
}
