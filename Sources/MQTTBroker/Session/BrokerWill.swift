import Bounded
import MQTTWire

/// Wills (§3.1.2.5, §3.1.3.2): stored with CONNECT, published or dropped when the session's connection has ended.
extension Broker {
  /// Keeps a Will with its own properties that travel with it (§3.1.3.2). A small one has room made for it, as a message
  /// with QoS 1 has; for a larger one only those give way that hold more than their share. `nil`: there is no room.
  @_optimize(size) mutating func storeWill(_ will: Will, at now: Instant) -> Handle<Message>? {
    var writer = messageScratch.writer()
    Publish.writeForwardable(will.properties, into: &writer)
    var expiresAt = Instant.never
    // Until it is published this holds the interval itself (§3.1.3.2.4).
    if let seconds = will.messageExpirySeconds { expiresAt = Instant(nanoseconds: 0).adding(seconds: Int64(seconds)) }
    let message = Inbound(
      topic: will.topic, forwarded: writer.written, payload: will.payload, qos: will.qos, retain: will.retain,
      expiresAt: expiresAt, author: .board)  // until it is published
    // Wills lie there for as long as their clients are connected, so most of what is kept for QoS stays free of them.
    let isSmall = message.byteCount <= 2 * limits.blockBytes
    let keepingFree = limits.blocksKeptForRetained + (isSmall ? limits.blocksKeptForQoS / 8 : limits.blocksKeptForQoS)
    let keepingMessages = shares.messagesKeptForBoard
    if !messages.hasRoom(for: message, keepingFree: keepingFree, keepingMessages: keepingMessages) {
      makeRoom(
        for: message, keepingFree: keepingFree, keepingMessages: keepingMessages, sparesShares: !isSmall, at: now)
    }
    return messages.store(message, keepingFree: keepingFree, keepingMessages: keepingMessages)
  }

  mutating func dropWill(_ session: Handle<Session>) {
    let will = sessions.takeWill(session)
    if !will.isNull { messages.release(will) }
  }

  /// It goes on as it is stored, so what others have filled since its CONNECT keeps it from nobody. Nobody can be told of a
  /// Will that is refused, by a tap, for a right or as the topic is the board's: it is counted.
  @_optimize(size) mutating func publishWill(_ session: Handle<Session>, at now: Instant) {
    let will = sessions.takeWill(session)
    var message = messages.inbound(from: will, in: messageScratch)
    if message.expiresAt != .never { message.expiresAt = now.adding(nanoseconds: message.expiresAt.nanoseconds) }
    topics.match(message.topic)
    var verdict = TapVerdict(reason: .notAuthorized)
    if let author = author(session, of: message.topic) {  // its client may have lost the right since CONNECT
      message.author = author
      if !isForeignWrite(message) { verdict = runTaps(message, at: now) }
    }
    guard !verdict.reason.isError else {
      counters.publishesRefused &+= 1
      messages.release(will)
      return
    }
    message.change(by: verdict, at: now)
    messages.change(will, as: message)
    routeStored(message, will, at: now)
  }
}
