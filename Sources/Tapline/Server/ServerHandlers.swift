public import Bounded
import Gateway
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
  /// change how it goes on. It runs before an output moves or a rule acts because of the message, so they do not
  /// when it refuses; and it runs before an output may refuse a command, so what it publishes is published then, too.
  /// One that often takes longer than `limits: tap_microseconds` is set aside for a minute. To be called before `run`.
  /// Throws when the pattern is not one or the table of taps is full.
  public func onMessage(
    _ pattern: StaticString, _ handler: @escaping (TapMessage, Captures) -> TapVerdict
  ) throws(StartError) {
    try addHandler(pattern, handler)
    decoupled.append(nil)
  }

  /// Runs `handler` on the handlers' thread, where it may block; the broker never waits for it. It gets messages that
  /// were accepted. What a full queue has no room for is dropped, newest first, and counted. To be called before
  /// `run`.
  /// - Parameter handler: topic, payload and captures, borrowed for the call.
  public func onMessageDecoupled(
    _ pattern: StaticString, _ handler: @escaping @Sendable (Bytes, Bytes, Captures) -> Void
  ) throws(StartError) {
    decoupled.append(DecoupledHandler(pattern: try addHandler(pattern, nil), run: handler))
  }

  /// Publishes a message of the program's own, from a handler or between turns, on the loop's thread only. From a
  /// handler it is copied and published as soon as the handler's message is through; `false` when the room for
  /// this (`limits: tap_publish_bytes`) is used up or the topic is no topic name.
  public func publish(
    topic: Bytes, payload: Bytes, qos: QoS = .atMostOnce, retain: Bool = false
  ) -> Bool {
    gateway.publish(topic: topic, payload: payload, qos: qos, retain: retain)
  }

  @discardableResult private func addHandler(
    _ pattern: StaticString, _ run: ((TapMessage, Captures) -> TapVerdict)?
  ) throws(StartError) -> TapPattern {
    let compiled: TapPattern
    do throws(TapPatternError) {
      compiled = try TapPattern(pattern)
    } catch {
      throw StartError(text: Text(error.text))
    }
    guard gateway.addHandler(compiled, run) else {
      throw StartError(text: Text("no room for another tap; raise limits: taps"))
    }
    return compiled
  }

  /// The thread is there only for who needs it.
  func startHandlerLane() throws(LinuxError) {
    guard decoupled.contains(where: { $0 != nil }) else { return }
    let table = HandlerTable(handlers: decoupled)
    board.handlerLane = try HandlerLane(
      capacity: configuration.loopLimits.tapQueueMax, messageBytesMax: configuration.loopLimits.tapQueueBytesMax
    ) { tag, topic, payload in
      if let handler = table.handlers[Int(tag)], let captures = handler.pattern.captures(of: topic) {
        handler.run(topic, payload, captures)
      }
    }
  }
}

/// A handler that runs on the handlers' thread.
struct DecoupledHandler: Sendable {
  let pattern: TapPattern
  let run: @Sendable (Bytes, Bytes, Captures) -> Void
}

/// The handlers as their thread sees them; nothing of it changes after start.
private final class HandlerTable: @unchecked Sendable {
  let handlers: [DecoupledHandler?]
  init(handlers: [DecoupledHandler?]) { self.handlers = handlers }
}
