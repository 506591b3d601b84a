import MQTTWire
import Testing

@testable import MQTTBroker

/// A tap that has taken a message has acted on it, so the message reaches its subscribers as the tap wants it to go on.
@Suite("A message that a tap has taken and changed reaches whoever it would have reached unchanged")
struct TapChangeTests {
  /// How a tap wants it to go on.
  struct Change: Sendable, CustomTestStringConvertible {
    var qos: QoS?
    var retain: Bool?
    var expirySeconds: UInt32?

    var verdict: TapVerdict { TapVerdict(qos: qos, retain: retain, expirySeconds: expirySeconds) }
    var testDescription: String { "QoS \(qos?.rawValue ?? 9), retain \(retain ?? true), \(expirySeconds ?? 0) s" }
  }
  static let changes = [
    Change(retain: false), Change(expirySeconds: 9), Change(qos: .atLeastOnce, retain: false),
    Change(qos: .atMostOnce, retain: false), Change(retain: true), Change(qos: .exactlyOnce, retain: true),
  ]

  /// The room that was reserved for it as it came serves for it as it goes on, whatever others have filled.
  @Test(arguments: Lack.allCases, changes) func isNotLost(lack: Lack, change: Change) {
    let world = World(lacking: lack)
    #expect(world.addTap("set/#") != nil)
    world.broker.onTap = { _, _ in change.verdict }
    world.connect("dev")
    for name in ["v5", "v311"] { world.subscribe(name, "set/#", qos: 2) }
    world.fill(lack)
    var taken = 0
    for (index, byteCount) in [1, 90, 700, 5000].enumerated() {
      for qos in UInt8(0)...2 {
        let topic = "set/\(index)/\(qos)"
        let payload = String(repeating: "c", count: byteCount)
        let before = world.broker.counters
        world.send("dev", .publish(topic: topic, payload: payload, qos: qos, packetID: 1, retain: true))
        if qos == 2 { world.send("dev", .pubRel(1)) }
        _ = world.takeAll("dev")
        let isTaken = world.broker.counters.tapsRun > before.tapsRun
        if isTaken { taken += 1 }
        for name in ["v5", "v311"] {
          var found = 0
          for packet in world.takeAll(name) {
            guard case .publish(topic, payload, let sentQoS, let id, _, _, _) = packet else { continue }
            found += 1
            #expect(sentQoS == min(2, change.qos?.rawValue ?? qos))
            if sentQoS == 1 { world.send(name, .pubAck(id)) }
            if sentQoS == 2 { world.send(name, .pubRec(id), .pubComp(id)) }
          }
          _ = world.takeAll(name)
          #expect(found == (isTaken ? 1 : 0), "\(name), \(lack), \(topic)")
        }
        #expect(Audit.problems(of: world.broker, at: world.now) == [])
      }
    }
    #expect(taken > 0 || lack == .places || lack == .levels || lack == .refusingQueue)
    world.finish()
  }

  /// One turn of a shared subscription, not one as it came and one as it goes on.
  @Test(arguments: [Change()] + changes) func takesOneTurnOfAGroup(change: Change) {
    let world = World()
    #expect(world.addTap("set") != nil)
    world.broker.onTap = { _, _ in change.verdict }
    world.connect("dev")
    for name in ["a", "b"] {
      world.connect(name)
      world.subscribe(name, "$share/g/set", retainHandling: 2)
    }
    for round in 0..<6 {
      world.send("dev", .publish(topic: "set", payload: "\(round)", retain: round % 2 == 0))
    }
    _ = world.takeAll("dev")
    #expect(world.takeAll("a").count == 3)
    #expect(world.takeAll("b").count == 3)
    world.finish()
  }
}
