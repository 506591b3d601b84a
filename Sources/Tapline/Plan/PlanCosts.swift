import Bounded
import MQTTBroker
import TaplineConfiguration

/// The memory of the loop that one more of something takes. It is the difference of two plans divided by the difference
/// of their numbers, since indexes double and pools are rounded up.
public struct PlanCost {
  public let name: StaticString
  let jsonName: StaticString
  /// Rounded up; nil where the limits leave no room for enough more.
  public let byteCount: Int?

  /// The bytes of a message with a payload of 64, a topic of up to 32 and no properties.
  private static var messageBytes: Int { 64 + 32 }

  static func list(_ limits: Limits) -> [PlanCost] {
    let blocks = (messageBytes + limits.blockBytes - 1) / limits.blockBytes
    return [
      PlanCost("idle connection", "connection", limits) { $0.connectionsMax = $1 },
      PlanCost("session", "session", limits) { $0.sessionsMax = 65_536 + $1 },
      PlanCost("subscription, on a level of its own", "subscription", limits) {
        $0.subscriptionsMax = $1
        $0.topicNodesMax = $1 - 1
      },
      PlanCost("retained message, 64 bytes", "retained_message", limits) {
        $0.retainedMax = $1
        $0.messagesMax = $1
        $0.blockCount += $1 * blocks
        $0.topicNodesMax = $1 - 1
      },
      PlanCost("queued message, 64 bytes", "queued_message", limits) {
        $0.deliveriesMax = $1
        $0.messagesMax = 65_536 + $1
        $0.blockCount += $1 * blocks
      },
    ]
  }

  @inline(never) private init(
    _ name: StaticString, _ jsonName: StaticString, _ limits: Limits, _ set: (inout Limits, Int) -> Void
  ) {
    self.name = name
    self.jsonName = jsonName
    var count = 16_384
    while count >= 64 {
      if let less = PlanCost.byteCount(limits, count, set), let more = PlanCost.byteCount(limits, 2 * count, set) {
        byteCount = (more - less + count - 1) / count
        return
      }
      count /= 2
    }
    byteCount = nil
  }

  private static func byteCount(_ limits: Limits, _ count: Int, _ set: (inout Limits, Int) -> Void) -> Int? {
    var limits = limits
    // Room beside what is compared.
    limits.sessionsMax = 65_536
    limits.messagesMax = 65_536
    limits.pendingConnectionsMax = 1
    limits.retainedMax = 1
    // A match has room for as many nodes as there are subscriptions, or nodes if these are fewer. With one subscription a
    // further node takes the same whatever the file says.
    limits.subscriptionsMax = 1
    set(&limits, count)
    // Room beside limits that are near the most that handles can name.
    guard limits.blockCount <= Limits.entriesMax else { return nil }
    return limits.problem == nil ? Server.loopByteCount(limits) : nil
  }
}

extension Plan {
  func addCosts(to text: inout Text) {
    guard !costs.isEmpty else { return }
    text.endLine()
    text.add("ONE MORE", width: 41)
    text.add("                           BYTES\n")
    for cost in costs {
      text.add(cost.name, width: 41)
      if let byteCount = cost.byteCount {
        text.add(byteCount, width: 32)
      } else {
        text.add("                               -")
      }
      text.endLine()
    }
  }

  func addCosts(json text: inout Text) {
    text.add(",\"one_more\":{")
    for (index, cost) in costs.enumerated() {
      text.add(index == 0 ? "\"" : ",\"")
      text.add(cost.jsonName)
      text.add("\":")
      if let byteCount = cost.byteCount { text.add(byteCount) } else { text.add("null") }
    }
    text.add("}")
  }
}
