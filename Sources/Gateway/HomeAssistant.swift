public import Bounded
import MQTTBroker
import MQTTWire
import Taps

/// Home Assistant's discovery: what the board has is announced before READY; what it has no longer is taken back, in the
/// device's own message and, when Home Assistant says that it is there, by empty ones.
extension Gateway {
  /// Announces the board. After its status, which the announced entities look at, and after all handlers were added.
  /// - Parameter previous: what earlier configurations announced, by the names that the board keeps of it.
  public func startDiscovery(previous: [[UInt8]], at now: Instant) {
    history = DiscoveryHistory(
      entries: previous, present: discovery.announced, topicBytesMax: limits.topicBytesMax,
      topicLevelsMax: limits.topicLevelsMax)
    for topic in history.statusTopics where !topic.withUnsafeBytes({ addTap(Bytes($0), .follow) }) {
      board.tell(.homeAssistantUnheard)
    }
    announce(at: now)
  }

  /// Home Assistant's birth message, in the broker's call.
  func homeAssistantCame(_ message: TapMessage) {
    if message.payload == Bytes("online"), !history.isEmpty { isDiscoveryDue = true }
  }

  /// Once it has come, it hears what is gone, and is told anew what is there: an entity that has moved from one message
  /// to another can be taken from the second only when the first is gone.
  func advanceHomeAssistant(at now: Instant) {
    guard isDiscoveryDue else { return }
    isDiscoveryDue = false
    for topic in history.topics {
      topic.withUnsafeBytes { topic in
        _ = publishOwn(topic: Bytes(topic), payload: .empty, qos: .atLeastOnce, retain: true, runsTaps: false, at: now)
      }
    }
    // With what is gone for who is here, then without it for who comes later.
    if !history.tombstones.isEmpty { announce(at: now) }
    for entry in history.gone { board.forget(announced: entry, at: now) }
    history = DiscoveryHistory()
    announce(at: now)
  }

  private func announce(at now: Instant) {
    guard let announced = discovery.announced else { return }
    for message in 0..<announced.messageCount {
      var topic = discovery.topic.writer()
      announced.writeTopic(message: message, into: &topic)
      var payload = discovery.payload.writer()
      announced.writePayload(message: message, tombstones: history.tombstones, into: &payload)
      precondition(!topic.overflowed && !payload.overflowed)
      var properties = scratch.writer()
      properties.writeProperty(.payloadFormatIndicator, byte: 1)
      properties.writeProperty(.contentType, bytes: Bytes("application/json"))
      let reason = publishOwn(
        topic: topic.written, payload: payload.written, properties: properties.written, qos: .atLeastOnce, retain: true,
        runsTaps: false, at: now)
      if reason.isError { board.tell(.discoveryLost) }
    }
  }
}

/// The board's discovery messages, and the memory in which they are written.
struct DiscoveryRoom: ~Copyable {
  let announced: Discovery?
  let topic: Scratch
  let payload: Scratch

  init(_ settings: TapSettings, in reservation: inout Reservation) {
    announced = Discovery(settings)
    let byteCounts = announced?.byteCounts ?? (topic: 0, payload: 0)
    topic = Scratch(byteCount: byteCounts.topic, name: "discovery: topic", in: &reservation)
    payload = Scratch(byteCount: byteCounts.payload, name: "  message", in: &reservation)
  }
}
