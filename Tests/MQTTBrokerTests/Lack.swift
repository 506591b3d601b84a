import MQTTWire
import Testing

@testable import MQTTBroker

/// What others have filled, so that little room is left for a message that comes next.
enum Lack: String, CaseIterable, Sendable { case nothing, blocks, places, levels, queues, refusingQueue }

extension World {
  /// With two watchers, `v5` and `v311`, that have subscribed to nothing yet.
  convenience init(lacking lack: Lack) {
    var limits = Limits(.board)
    switch lack {
    case .nothing, .blocks, .queues: break
    case .places: limits.retainedMax = 40
    case .levels: limits.topicNodesMax = 127
    case .refusingQueue:
      limits.queueFull = .refuse
      limits.queuedMax = 1
    }
    self.init(limits: limits)
    connect("v5")
    connect("v311", .v311)
  }

  /// Others take all of it that they may.
  func fill(_ lack: Lack) {
    connect("filler")
    switch lack {
    case .nothing: break
    case .blocks, .places, .levels:
      var index = 0
      for byteCount in lack == .blocks ? [60_000, 3000, 1] : [1] {
        let before = broker.counters.publishesRefused
        let payload = String(repeating: "x", count: byteCount)
        while broker.counters.publishesRefused == before {
          send("filler", .publish(topic: "r/\(index)", payload: payload, retain: true))
          index += 1
        }
      }
    case .queues:
      for index in 0..<4 {
        connect("away\(index)", sessionExpiry: 10_000)
        subscribe("away\(index)", "q", qos: 1)
        lose("away\(index)")
      }
      let payload = String(repeating: "x", count: 150)
      for _ in 0..<1000 { send("filler", .publish(topic: "q", payload: payload, qos: 1, packetID: 1)) }
    case .refusingQueue:
      connect("full", sessionExpiry: 10_000)
      subscribe("full", "#", qos: 1)
      lose("full")
      send("filler", .publish(topic: "q", payload: "x", qos: 1, packetID: 1))
    }
    _ = takeAll("filler")
  }
}
