import MQTTWire

@testable import Bounded
@testable import Gateway
@testable import MQTTBroker

/// What residents are owed: messages of residents in their order, and the answers to what they send.
extension FairnessDay {
  /// Residents' messages are told from others by this.
  static let mark = "~"

  /// A resident publishes this now: it is promised to each resident with a subscription.
  func promise(_ topic: String, _ text: String, qos: UInt8) {
    for resident in residents {
      guard resident.isSubscribed, let interest = resident.interest(in: topic) else { continue }
      let byteCount = topic.utf8.count + text.utf8.count
      let promise = Resident.Promise(
        text: text, units: share.units(byteCount), isLarge: byteCount + 12 > share.sureBytes)
      guard min(qos, interest.qos) > 0 else {
        if resident.client != nil {
          promiseCount += 1
          resident.loose.append(promise)
        }
        continue
      }
      guard resident.client != nil || resident.keepsSession else { continue }
      promiseCount += 1
      resident.promises.append(promise)
      watchShare(of: resident)
    }
  }

  /// Whether all that waits for somebody who is away is sure. Of blocks it is a share of what retained messages leave, and what
  /// is kept for those and for the board.
  private func watchShare(of resident: Resident) {
    guard resident.client == nil else { return }
    let ofBoard = world.gateway.broker.shares.messagesKeptForBoard * RetainedStore.blocksPerOwn
    let kept = max(limits.blocksKeptForRetained, min(limits.blockCount / 4, ofBoard))
    let left = max(0, limits.blockCount - world.gateway.broker.retained.blockCount - kept)
    let unitCount = min(share.unitCount, share.unitCount * left / limits.blockCount)
    if resident.promises.count > share.messageCount || resident.promises.reduce(0, { $0 + $1.units }) > unitCount {
      resident.isOverShare = true
    }
  }

  /// Residents take what they were sent and answer it, until nothing moves any more.
  func react() {
    var rounds = 0
    var isMoving = true
    while isMoving, failure == nil {
      isMoving = false
      rounds += 1
      if rounds > 10_000 { fail("residents never come to rest") }
      for resident in residents {
        guard let client = resident.client else { continue }
        if !client.packets.isEmpty {
          isMoving = true
          let packets = client.packets
          client.packets.removeAll(keepingCapacity: true)
          var answers: [Packet] = []
          for packet in packets { take(packet, resident, &answers) }
          if !answers.isEmpty { say(resident, client, answers) }
        }
        if !client.isOpen { return fail("\(resident.name) was disconnected") }
      }
    }
  }

  private func take(_ packet: Packet, _ resident: Resident, _ answers: inout [Packet]) {
    switch packet {
    case .publish(let topic, let payload, let qos, let id, let retain, let dup, _):
      if qos == 1 { answers.append(.pubAck(id)) }
      if qos == 2 { answers.append(.pubRec(id)) }
      if topic.hasPrefix("b/") { resident.view[topic] = payload }
      if payload.hasPrefix(FairnessDay.mark), !retain { got(payload, qos: qos, dup: dup, resident) }
    case .pubRel(let id, _): answers.append(.pubComp(id))
    case .pubAck(let id, let reason, let text): answered(.pubAck, id, reason, text, resident)
    case .pubRec(let id, let reason, let text):
      answered(.pubRec, id, reason, text, resident)
      resident.unreleased.append(id)
    case .pubComp(let id, let reason): answered(.pubComp, id, reason, nil, resident)
    case .subAck(let id, let codes):
      answered(.subAck, id, .success, nil, resident)
      resident.isSubscribed = true
      if codes.map(\.rawValue) != resident.interests.map(\.qos) { fail("\(resident.name) was granted \(codes)") }
    case .pingResp: break
    default: fail("\(resident.name) got \(packet)")
    }
  }

  private func answered(_ type: PacketType, _ id: UInt16, _ reason: ReasonCode, _ text: String?, _ resident: Resident) {
    guard let expected = resident.awaiting[id] else {
      // A command that was sent twice is answered twice.
      if type != .pubAck { fail("\(resident.name) got \(type) \(id) for nothing") }
      return
    }
    if expected != type { fail("\(resident.name) got \(type) \(id) in place of \(expected)") }
    resident.awaiting[id] = nil
    if reason.isError, !(resident.mayBeRefused && reason == .implementationSpecificError) {
      fail("\(resident.name) was refused: \(type) \(reason), \(text ?? "")")
    }
  }

  /// In order, and nothing is missing but what may be.
  private func got(_ text: String, qos: UInt8, dup: Bool, _ resident: Resident) {
    if qos == 0 {
      guard let place = resident.loose.firstIndex(where: { $0.text == text }) else {
        return fail("\(resident.name) got \(text.prefix(20)) out of order, or twice")
      }
      resident.looseLostCount += place
      resident.loose.removeFirst(place + 1)
      return
    }
    guard let place = resident.promises.firstIndex(where: { $0.text == text }) else {
      return fail("\(resident.name) got \(text.prefix(20)) out of order, or twice")
    }
    if place > 0, !resident.isOverShare {
      return fail("\(resident.name) lost \(place) messages before \(text.prefix(20))")
    }
    resident.lostCount += place
    resident.promises.removeFirst(place + 1)
    // Only the oldest give way: what follows is all there.
    if place > 0 { resident.isOverShare = false }
  }

  // MARK: After a step

  /// Before a step: what is lost from here on is compared with what is counted from here on.
  func beginCounting() {
    for resident in residents {
      resident.looseDroppedBefore = world.gateway.broker.counters.qos0Dropped
      watchShare(of: resident)
    }
  }

  /// What somebody was promised and has not got.
  func missing(_ resident: Resident) -> String? {
    guard resident.client != nil else { return nil }
    if !resident.loose.isEmpty {
      if let sure = resident.loose.first(where: { !$0.isLarge }) {
        return "\(resident.name) did not get \(sure.text.prefix(20))"
      }
      resident.looseLostCount += resident.loose.count
      resident.loose.removeAll(keepingCapacity: true)
    }
    if !resident.promises.isEmpty, resident.isOverShare, !mayWait(resident) {
      // All that waited has given way.
      resident.lostCount += resident.promises.count
      resident.promises.removeAll(keepingCapacity: true)
      resident.isOverShare = false
    } else if let first = resident.promises.first {
      if !mayWait(resident) { return "\(resident.name) did not get \(first.text.prefix(20))" }
      resident.waitsSince = min(resident.waitsSince, world.now)
      longestWait = max(longestWait, world.now.since(resident.waitsSince) / 1_000_000_000)
    } else {
      resident.waitsSince = .never
      resident.isOverShare = false
    }
    if resident.looseLostCount > 0 {
      let count = world.gateway.broker.counters.qos0Dropped &- resident.looseDroppedBefore
      if count < UInt64(resident.looseLostCount) {
        return "\(resident.name) lost \(resident.looseLostCount) messages with QoS 0 that nobody counted"
      }
      lossCount += resident.looseLostCount
      resident.looseLostCount = 0
    }
    guard resident.lostCount > 0 else { return nil }
    if droppedCount(resident) < resident.droppedBefore + resident.lostCount {
      return "\(resident.name) lost \(resident.lostCount) messages that nobody counted"
    }
    lossCount += resident.lostCount
    resident.droppedBefore += resident.lostCount
    resident.lostCount = 0
    return nil
  }

  /// What is longer than its outbox's floor waits while readers that are stuck hold most of them.
  private func mayWait(_ resident: Resident) -> Bool {
    resident.promises.contains { $0.isLarge } && intruders.contains { $0.holdsOutbox }
  }

  /// Messages that its session has lost, as the broker counts them.
  func droppedCount(_ resident: Resident) -> Int {
    withBytes(resident.name) { name in
      world.gateway.broker.sessions.find(name).map { Int(world.gateway.broker.sessions[$0].droppedCount) } ?? 0
    }
  }
}
