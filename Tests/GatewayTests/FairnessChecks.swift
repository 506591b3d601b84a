import MQTTBroker
import MQTTWire

@testable import Bounded
@testable import Gateway

/// What holds after every step.
extension FairnessDay {
  /// The first thing that does not hold.
  func problem() -> String? {
    if !world.isAtRest { return "the gateway is not at rest" }
    let changes = world.board.takeChanges()
    movementCount += changes.count
    if let problem = movements.problem(changes) { return problem }
    if let lie = truth.lie(world) { return lie }
    for resident in residents {
      if let problem = missing(resident) { return problem }
      if let problem = unanswered(resident) { return problem }
    }
    let home = residents[0]
    let mayWait = intruders.contains { $0.holdsOutbox }
    if home.client != nil, let belief = truth.belief(home.view, mayWait: mayWait, world) {
      return "home believes that \(belief)"
    }
    return unkept(pick(residents))
  }

  private func unanswered(_ resident: Resident) -> String? {
    guard resident.rest == nil, resident.client != nil, let first = resident.awaiting.first else { return nil }
    return "\(resident.name) has no \(first.value) for \(first.key)"
  }

  /// What it had retained, with an acknowledgement, is kept.
  private func unkept(_ resident: Resident) -> String? {
    for (topic, text) in resident.retained where world.retainedMessage(utf8(topic))?.payload != text {
      return "\(topic) is not what \(resident.name) had retained"
    }
    return nil
  }

  /// Connections that have ended: Wills are due, and sessions wait for their clients.
  func takePresence() {
    for presence in world.presence where presence.hasPrefix("-") {
      departureCount += 1
      guard let intruder = intrudersByID[String(presence.dropFirst())] else { continue }
      if !intruder.saidGoodbye {
        if let output = intruder.willOutput { movements.will(intruder.clientID, output) }
        if intruder.willsLevel { movements.willLevel() }
      }
      intruder.willOutput = nil
      intruder.willsLevel = false
    }
    world.presence.removeAll(keepingCapacity: true)
  }
}
