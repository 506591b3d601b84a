import Bounded
import LinuxIO
import MQTTBroker
import MQTTWire
import TaplineConfiguration
import Taps

/// Home Assistant's discovery: what the board has is announced before READY; what it has no longer is taken back, in the
/// device's own message and, when Home Assistant says that it is there, by empty ones.
extension Server {
  /// After the status, which the announced entities look at.
  func startDiscovery(at now: Instant) {
    let limits = configuration.limits
    history = DiscoveryHistory(
      entries: stateKeeper?.previousEntries.map { $0.name } ?? [], present: discovery.announced,
      topicBytesMax: limits.topicBytesMax,
      topicLevelsMax: limits.topicLevelsMax)
    // The last taps of the broker, so that all others keep their numbers.
    for topic in history.statusTopics {
      guard let tap = topic.lend({ topic in callBroker { $0.addTap(filter: topic) } }) else {
        log.write(.warning, .taps, "tapline: no room to hear when Home Assistant comes; raise limits: taps")
        continue
      }
      firstBirthTap = min(firstBirthTap, tap.index)
    }
    publishDiscovery(at: now)
  }

  /// Home Assistant's birth message, in the broker's turn.
  func homeAssistantCame(_ message: TapMessage) {
    if message.payload == Bytes("online"), !history.isEmpty { isDiscoveryDue = true }
  }

  /// Once it has come, it hears what is gone, and is told anew what is there: an entity that has moved from one message
  /// to another can be taken from the second only when the first is gone.
  func advanceDiscovery(at now: Instant) {
    guard isDiscoveryDue else { return }
    isDiscoveryDue = false
    for topic in history.topics {
      topic.lend { topic in
        _ = publishOwn(topic: topic, payload: .empty, qos: .atLeastOnce, retain: true, runsTaps: false, at: now)
      }
    }
    // With what is gone for who is here, then without it for who comes later.
    if !history.tombstones.isEmpty { publishDiscovery(at: now) }
    for entry in history.gone { stateKeeper?.forget(entryNamed: entry, at: now) }
    history = DiscoveryHistory()
    publishDiscovery(at: now)
  }

  private func publishDiscovery(at now: Instant) {
    guard let announced = discovery.announced else { return }
    for message in 0..<announced.messageCount {
      var topic = discovery.topic.writer()
      announced.writeTopic(message: message, into: &topic)
      var payload = discovery.payload.writer()
      announced.writePayload(message: message, tombstones: history.tombstones, into: &payload)
      precondition(!topic.overflowed && !payload.overflowed)
      var properties = loop.scratch.writer()
      properties.writeProperty(.payloadFormatIndicator, byte: 1)
      properties.writeProperty(.contentType, bytes: Bytes("application/json"))
      let reason = publishOwn(
        topic: topic.written, payload: payload.written, properties: properties.written, qos: .atLeastOnce, retain: true,
        runsTaps: false, at: now)
      if reason.isError {
        log.write(.error, .taps, "tapline: a discovery message found no room; raise limits: retained or blocks")
      }
    }
  }
}

/// What announces the board, and the memory in which it is written.
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
