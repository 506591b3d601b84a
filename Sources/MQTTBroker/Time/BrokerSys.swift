public import Bounded
import MQTTWire

/// $SYS: what the broker says about itself.
extension Broker {
  /// The figures, and then the clients, some a turn, and no more when the outboxes fill or the turn has had its steps. Answers
  /// when it goes on.
  @_optimize(size) mutating func publishSys(at now: Instant) -> Instant {
    if sys.next == 0 { sys.dueAt = now.adding(seconds: Int64(max(1, limits.sysIntervalSeconds))) }
    let count = Broker.figureCount + Loads.count + Broker.poolCount + limits.sessionsMax
    let end = min(sys.next + SysRound.topicsPerTurn, count)
    repeat {
      publishPart(sys.next, at: now)
      work.did(Work.filterSteps)
      sys.next += 1
    } while sys.next < end && !outboxesFill && !work.isOver
    if sys.next < count { return now.adding(milliseconds: 1) }
    sys.next = 0
    return max(sys.dueAt, now.adding(milliseconds: 1))
  }

  /// What one topic tells: figures, then loads, pools and clients.
  @_optimize(size) private mutating func publishPart(_ index: Int, at now: Instant) {
    let load = index - Broker.figureCount
    let pool = load - Loads.count
    if load < 0 {
      let (topic, value) = figure(index, at: now)
      publishFigure(topic, value, at: now)
    } else if pool < 0 {
      if load == 0 { loads.update(counters, at: now) }
      publishLoad(load, at: now)
    } else if pool < Broker.poolCount {
      publishPool(pool, at: now)
    } else if let session = sessions.handle(at: pool - Broker.poolCount) {
      publishClient(session, at: now)
    }
  }

  private var refusedCount: UInt64 {
    counters.connectsRefused &+ connections.gauge.refused &+ counters.rateRefused &+ counters.pendingRefused
      &+ counters.perAddressRefused
  }

  public static var figureCount: Int { 36 }

  /// Topic and value of each of the broker's own numbers, 0..<figureCount. mosquitto's names where it has the
  /// number, so that what reads them there reads them here.
  @_optimize(size) public func figure(_ index: Int, at now: Instant) -> (topic: StaticString, value: UInt64) {
    let connected = UInt64(connections.count - pendingCount)
    return switch index {
    case 0: ("$SYS/broker/uptime", UInt64(max(0, now.since(startedAt)) / 1_000_000_000))
    case 1: ("$SYS/broker/clients/connected", connected)
    case 2: ("$SYS/broker/clients/disconnected", UInt64(max(0, sessions.gauge.used - Int(connected))))
    case 3: ("$SYS/broker/clients/total", UInt64(sessions.gauge.used))
    case 4: ("$SYS/broker/clients/maximum", UInt64(connectionGauge.peak))
    case 5: ("$SYS/broker/messages/received", counters.packetsReceived)
    case 6: ("$SYS/broker/messages/sent", counters.packetsSent)
    case 7: ("$SYS/broker/messages/stored", UInt64(messages.gauge.used))
    case 8: ("$SYS/broker/publish/messages/received", counters.publishesReceived)
    case 9: ("$SYS/broker/publish/messages/sent", counters.publishesSent)
    case 10: ("$SYS/broker/publish/messages/dropped", counters.qos0Dropped &+ counters.queuedDropped)
    case 11: ("$SYS/broker/bytes/received", counters.bytesReceived)
    case 12: ("$SYS/broker/bytes/sent", counters.bytesSent)
    case 13: ("$SYS/broker/subscriptions/count", UInt64(subscriptions.gauge.used))
    case 14: ("$SYS/broker/retained messages/count", UInt64(retained.gauge.used))
    case 15: ("$SYS/tapline/publish/refused", counters.publishesRefused)
    case 16: ("$SYS/tapline/publish/queue_refused", counters.queueRefusals)
    case 17: ("$SYS/tapline/publish/expired", counters.expired)
    case 18: ("$SYS/tapline/publish/oversize", counters.oversizeDropped)
    case 19: ("$SYS/tapline/clients/refused", refusedCount)
    case 20: ("$SYS/tapline/clients/refused_rate", counters.rateRefused)
    case 21: ("$SYS/tapline/clients/refused_pending", counters.pendingRefused)
    case 22: ("$SYS/tapline/clients/takeovers", counters.takeovers)
    case 23: ("$SYS/tapline/clients/refused_takeover", counters.takeoversRefused)
    case 24: ("$SYS/tapline/clients/given_way", counters.sessionsGivenWay)
    case 25: ("$SYS/tapline/publish/given_way", counters.gaveWay)
    case 26: ("$SYS/tapline/publish/repeats_ignored", counters.repeatsIgnored)
    case 27: ("$SYS/tapline/closed/malformed", counters.malformedClosed)
    case 28: ("$SYS/tapline/closed/protocol_error", counters.protocolErrorClosed)
    case 29: ("$SYS/tapline/closed/packet_too_large", counters.tooLargeClosed)
    case 30: ("$SYS/tapline/closed/quota", counters.quotaClosed)
    case 31: ("$SYS/tapline/closed/timeout", counters.keepAliveClosed)
    case 32: ("$SYS/tapline/clients/refused_per_address", counters.perAddressRefused)
    case 33: ("$SYS/tapline/publish/denied", counters.publishesDenied)
    case 34: ("$SYS/tapline/deliveries/denied", counters.deliveriesDenied)
    default: ("$SYS/tapline/subscriptions/denied", counters.subscriptionsDenied)
    }
  }

  /// Publishes a number under $SYS, retained, if it is not there yet or another one is.
  /// - Parameter omitsZero: a number that has never been anything but 0 is not published.
  @inline(never) @_optimize(size) public mutating func publishFigure(
    _ topic: StaticString, _ value: UInt64, omitsZero: Bool = false, at now: Instant
  ) {
    if omitsZero, value == 0, topics.find(Bytes(topic)).map({ topics[$0].retained.isNull }) ?? true { return }
    var writer = headScratch.writer()
    writer.writeDecimal(value)
    let text = InlineText(writer.written)
    text.withBytes { publishIfChanged(Bytes(topic), $0, at: now) }
  }

  @_optimize(size) private mutating func publishLoad(_ index: Int, at now: Instant) {
    var writer = headScratch.writer()
    loads.write(index, into: &writer)
    let text = InlineText(writer.written)
    text.withBytes { publishIfChanged(Bytes(Loads.topic(index)), $0, at: now) }
  }

  /// `{"connected":true,"subscriptions":2,"queued":0,"queued_bytes":0,"inflight":1,"dropped":0}` on
  /// `$SYS/tapline/clients/by_id/CLIENTID`.
  @_optimize(size) private mutating func publishClient(_ session: Handle<Session>, at now: Instant) {
    guard let topic = clientTopic(session) else { return }
    let entry = sessions[session]
    var writer = headScratch.writer()
    writer.write(entry.connection.isNull ? "{\"connected\":false" : "{\"connected\":true")
    writer.write(",\"subscriptions\":")
    writer.writeDecimal(UInt64(entry.subscriptions.count))
    writer.write(",\"queued\":")
    writer.writeDecimal(UInt64(entry.outgoing.queued.count))
    writer.write(",\"queued_bytes\":")
    writer.writeDecimal(UInt64(entry.outgoing.queuedByteCount))
    writer.write(",\"inflight\":")
    writer.writeDecimal(UInt64(entry.outgoing.inflight.count))
    writer.write(",\"dropped\":")
    writer.writeDecimal(UInt64(entry.droppedCount))
    writer.write("}")
    let text = InlineText(writer.written)
    topic.withBytes { topic in text.withBytes { publishIfChanged(topic, $0, at: now) } }
  }

  /// A session that ends takes its figures along.
  @_optimize(size) mutating func forgetClient(_ session: Handle<Session>, at now: Instant) {
    guard let topic = clientTopic(session) else { return }
    topic.withBytes { topic in
      if let node = topics.find(topic), !topics[node].retained.isNull {
        _ = publish(topic: topic, payload: .empty, retain: true, at: now)
      }
    }
  }

  /// In the identifier `/`, `+`, `#`, `%` and control characters are percent-encoded (RFC 3986 §2.1), so that each costs one
  /// level and none is that of another. nil for one that is too long for a topic name.
  @_optimize(size) private func clientTopic(_ session: Handle<Session>) -> InlineText? {
    var topic = topicScratch.writer()
    topic.write("$SYS/tapline/clients/by_id/")
    let clientID = sessions.clientID(session)
    var position = 0
    while position < clientID.count {
      let byte = clientID[position]
      switch byte {
      case 0...0x1F, 0x7F, UInt8(ascii: "/"), UInt8(ascii: "+"), UInt8(ascii: "#"), UInt8(ascii: "%"):
        topic.write("%")
        topic.write(Broker.hexDigit(byte >> 4))
        topic.write(Broker.hexDigit(byte & 15))
      default:
        topic.write(byte)
      }
      position += 1
    }
    guard !topic.overflowed, topic.count <= 256, Topic.isValidName(topic.written),
      Topic.levelCount(topic.written) <= limits.topicLevelsMax
    else { return nil }
    return InlineText(topic.written)
  }

  private static func hexDigit(_ value: UInt8) -> UInt8 { value < 10 ? 48 + value : 55 + value }

  /// A pool's gauge, on `$SYS/tapline/pools/NAME` (docs/limits.md).
  @_optimize(size) private mutating func publishPool(_ index: Int, at now: Instant) {
    let (name, gauge) = pool(index)
    var topic = topicScratch.writer()
    topic.write("$SYS/tapline/pools/")
    topic.write(name)
    var writer = headScratch.writer()
    gauge.write(into: &writer)
    let topicText = InlineText(topic.written)
    let text = InlineText(writer.written)
    topicText.withBytes { topic in text.withBytes { publishIfChanged(topic, $0, at: now) } }
  }

  @_optimize(size) private mutating func publishIfChanged(_ topic: Bytes, _ payload: Bytes, at now: Instant) {
    if let node = topics.find(topic), !topics[node].retained.isNull {
      let entry = messages[retained[topics[node].retained].message]
      if entry.payloadByteCount == payload.count {
        var writer = messageScratch.writer()
        messages.bodies.copy(entry.body, from: entry.payloadStart, byteCount: payload.count, into: &writer)
        if writer.written == payload { return }
      }
    }
    _ = publish(topic: topic, payload: payload, retain: true, at: now)
  }

  /// The gauge of the streams that carry connections, with the connections that were refused before they had a stream.
  private var connectionGauge: Gauge {
    guard var gauge = transports else { return connections.gauge }
    gauge.refused = connections.gauge.refused
    return gauge
  }

  /// How many rows `pool` has.
  public static var poolCount: Int { 17 }

  /// Name and gauge of each pool, 0..<poolCount. A row that is missing stops the program in its first round of $SYS.
  @_optimize(size) public func pool(_ index: Int) -> (name: StaticString, gauge: Gauge) {
    switch index {
    case 0: return ("connections", connectionGauge)
    case 1: return ("sessions", sessions.gauge)
    case 2: return ("subscriptions", subscriptions.gauge)
    case 3: return ("shared_groups", subscriptions.groupsGauge)
    case 4: return ("topic_nodes", topics.gauge)
    case 5: return ("topic_name_cells", topics.namesGauge)
    case 6: return ("messages", messages.gauge)
    case 7: return ("message_blocks", messages.bodies.gauge)
    case 8: return ("retained", retained.gauge)
    case 9: return ("deliveries", deliveries.gauge)
    case 10: return ("client_id_cells", sessions.clientIDs.gauge)
    case 11: return ("subscription_id_cells", deliveries.identifiers.gauge)
    case 12: return ("outbox_chunks", outboxes.chunks.gauge)
    case 13: return ("partial_blocks", partials.gauge)
    case 14: return ("topic_alias_clients", outboxes.aliases.gauge)
    case 15: return ("topic_alias_cells", outboxes.aliases.cellsGauge)
    case 16: return ("notices", notices.gauge)
    default: preconditionFailure()
    }
  }
}

/// One publication of $SYS, which takes several turns where there are many sessions.
struct SysRound: BitwiseCopyable {
  /// The index of the topic that is published next; 0: a round begins.
  var next = 0
  /// When the next round is due.
  var dueAt = Instant(nanoseconds: 0)
  static var topicsPerTurn: Int { 128 }
}

/// Up to 256 bytes of text on the stack, for what must outlive a scratch memory.
private struct InlineText {
  private var storage = InlineArray<256, UInt8>(repeating: 0)
  private let count: Int

  init(_ text: Bytes) {
    precondition(text.count <= 256)
    count = text.count
    var position = 0
    while position < text.count {
      storage[position] = text[position]
      position += 1
    }
  }

  func withBytes(_ use: (Bytes) -> Void) {
    withUnsafeBytes(of: storage) { use(Bytes($0).first(count)) }
  }
}
