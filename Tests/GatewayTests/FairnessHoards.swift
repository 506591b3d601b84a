import MQTTBroker
import MQTTWire

@testable import Bounded
@testable import Gateway

/// What intruders fill, and what they ask of the board.
extension FairnessDay {
  // MARK: Before the first step

  /// The intruders of the day come, and fill what each of them fills.
  func moveIn() {
    for kind in Intruder.Kind.allCases where !random.oneIn(4) {
      let most =
        switch kind {
        case .absent: 12
        case .cautious: 30
        case .stuck: 10
        case .sitter: 1
        case .idler: 4
        case .mute, .aliaser, .unreleased: 4
        default: 2
        }
      for number in 0...random.below(most) {
        let intruder = Intruder(kind, number, random.oneIn(2) ? .v5 : .v311)
        intruders.append(intruder)
        intrudersByID[intruder.clientID] = intruder
      }
    }
    // A flooder fills the queues of those that are away.
    if !intruders.contains(where: { $0.kind == .flooder }) { intruders.append(Intruder(.flooder, 0, .v311)) }
    // Sessions before what fills them.
    for intruder in intruders where intruder.kind != .flooder && intruder.kind != .retainer { prepare(intruder) }
    for intruder in intruders where intruder.kind == .retainer { fillRetained(intruder) }
    let rounds = [0, 10, 60][random.below(3)]
    for intruder in intruders where intruder.kind == .flooder {
      for _ in 0..<rounds {
        flood(intruder, intruder.isOpen ? intruder.client : nil, count: 50)
        if failure != nil { return }
      }
    }
  }

  private func prepare(_ intruder: Intruder) {
    switch intruder.kind {
    case .cautious: hold(intruder)
    case .unreleased, .aliaser, .subscriber:
      for _ in 0..<(random.oneIn(2) ? 40 : 2) { act(intruder) }
    case .churner:
      for _ in 0..<random.below(250) { act(intruder) }
    case .idler, .sitter:
      for _ in 0..<20 { act(intruder) }
    default: act(intruder)
    }
    passBriefly()
  }

  private func passBriefly() {
    world.board.now = world.now.adding(milliseconds: 1)
    world.turn()
    react()
    takePresence()
  }

  /// A session that is away with what it may hold, on a topic of its own.
  private func hold(_ intruder: Intruder) {
    guard enter(intruder, clean: false, keeps: true, reading: .discards) else { return }
    let topic = "q/\(intruder.name)"
    subscribe(intruder, [topic], qos: 1)
    go(intruder)
    guard enter(intruder, clean: false, keeps: true, reading: .discards) else { return }
    go(intruder)
    let writer = Intruder(.flooder, 100 + intruders.count, .v5)
    guard enter(writer, reading: .discards) else { return }
    // As few messages as bytes, or as many.
    let messages = random.oneIn(2) ? 1 : share.messageCount
    let units = share.unitCount / messages
    let byteCount = max(1, units * 32 - limits.blockBytes - topic.utf8.count)
    var bytes: [UInt8] = []
    for _ in 0..<messages {
      bytes += publishBytes(topic, byteCount: byteCount, qos: 1, retain: false, by: writer)
    }
    writer.client!.outgoing += bytes
    world.send(writer.client!, [])
    go(writer)
    intrudersByID[writer.clientID] = nil
  }

  private func fillRetained(_ intruder: Intruder) {
    guard random.oneIn(2) else { return }
    let isLarge = random.oneIn(3)
    for _ in 0..<(limits.retainedMax / 64) {
      retain(intruder, intruder.isOpen ? intruder.client : nil, count: 64, byteCount: isLarge ? 4000 : 250)
      if failure != nil { return }
    }
    passBriefly()
  }

  // MARK: Floods and hoards

  /// A PUBLISH without properties.
  func publishBytes(_ topic: String, byteCount: Int, qos: UInt8, retain: Bool, by intruder: Intruder) -> [UInt8] {
    let topicBytes = [UInt8](topic.utf8)
    let propertyCount = intruder.version == .v5 ? 1 : 0
    let count = 2 + topicBytes.count + (qos > 0 ? 2 : 0) + propertyCount + byteCount
    var bytes: [UInt8] = [0x30 | qos << 1 | (retain ? 1 : 0)]
    bytes.reserveCapacity(count + 5)
    bytes += vbi(count)
    bytes += u16(topicBytes.count)
    bytes += topicBytes
    if qos > 0 { bytes += u16(Int(intruder.nextPacketID())) }
    if propertyCount > 0 { bytes.append(0) }
    bytes += [UInt8](repeating: 0x78, count: byteCount)
    return bytes
  }

  func retain(_ intruder: Intruder, _ client: World.Client?, count: Int, byteCount: Int? = nil) {
    guard let client = client ?? (enter(intruder, reading: .discards) ? intruder.client : nil) else { return }
    for _ in 0..<count {
      intruder.hoardCount += 1
      let place = intruder.hoardCount
      let size = byteCount ?? (random.oneIn(20) ? 8000 : random.below(700))
      // Some have levels of their own, as Home Assistant's discovery.
      let topic =
        intruder.version == .v5
        ? "hoard/\(intruder.name)/\(place)" : "homeassistant/sensor/\(intruder.name)-\(place)/temperature/config"
      client.outgoing += publishBytes(
        topic, byteCount: size, qos: UInt8(random.below(2)), retain: true, by: intruder)
    }
    world.send(client, [])
  }

  func flood(_ intruder: Intruder, _ client: World.Client?, count: Int) {
    guard let client = client ?? (enter(intruder, reading: .discards) ? intruder.client : nil) else { return }
    let qos = UInt8(random.below(2))
    let byteCount = random.oneIn(12) ? min(20_000, limits.packetBytesMax / 4) : random.below(600)
    for index in 0..<(byteCount > 1000 ? min(count, 4) : count) {
      client.outgoing += publishBytes(
        "noise/\(intruder.name)/\(index % 7)", byteCount: byteCount, qos: qos, retain: false, by: intruder)
    }
    world.send(client, [])
  }

  func subscribeMore(_ intruder: Intruder, _ client: World.Client?) {
    guard
      let client = client ?? (enter(intruder, clean: false, keeps: true, reading: .discards) ? intruder.client : nil)
    else { return }
    let filters = (0..<8).map { _ -> String in
      intruder.hoardCount += 1
      let place = "s/\(intruder.name)/\(intruder.hoardCount)"
      return switch random.below(4) {
      case 0: place + "/a/b/c/d/e/f/+"
      case 1: place + "/" + String(repeating: "n", count: 60)
      case 2: "$share/g\(intruder.hoardCount)/" + place
      default: place + "/#"
      }
    }
    world.send(client, [.subscribe(intruder.nextPacketID(), filters.map { Filter($0, qos: 1) })])
  }

  func setAliases(_ intruder: Intruder, _ client: World.Client?) {
    guard intruder.version == .v5 else {
      if client == nil { enter(intruder, reading: .discards) }
      return
    }
    guard let client = client ?? (enter(intruder, reading: .discards) ? intruder.client : nil) else { return }
    intruder.hoardCount += 1
    let alias = UInt32(intruder.hoardCount % limits.topicAliasMax + 1)
    world.send(
      client,
      [
        .publish(
          topic: "a/" + String(repeating: "l", count: 400 + random.below(100)), payload: "x",
          properties: [.alias(alias)])
      ])
  }

  func publishUnreleased(_ intruder: Intruder, _ client: World.Client?) {
    guard
      let client = client ?? (enter(intruder, clean: false, keeps: true, reading: .discards) ? intruder.client : nil)
    else { return }
    client.outgoing += publishBytes("noise/u", byteCount: 10, qos: 2, retain: false, by: intruder)
    world.send(client, [])
  }

  // MARK: The board

  /// A Will, and the end without a word.
  func testify(_ intruder: Intruder, _ client: World.Client?) {
    if client != nil { return go(intruder, politely: random.oneIn(5)) }
    var will = WillFields(
      topic: pick(truth.topics), payload: "OFF", qos: UInt8(random.below(3)), retain: random.oneIn(2))
    var output: Int?
    var isOfLevel = false
    switch random.below(4) {
    case 0:
      output = random.below(FairnessHouse.plain.count)
      will = WillFields(topic: FairnessHouse.command(output!), payload: "TOGGLE", qos: 1, retain: random.oneIn(3))
    case 1: will = WillFields(topic: "noise/w", payload: String(repeating: "w", count: random.below(3000)), qos: 1)
    case 2:
      will = WillFields(topic: "b/l0/set", payload: "TOGGLE", qos: 0)
      isOfLevel = true
    default: break
    }
    if random.oneIn(4) { will.properties = [.number(.willDelayInterval, UInt32(random.below(3)))] }
    guard enter(intruder, clean: true, keeps: random.oneIn(2), will: will, reading: .discards) else { return }
    intruder.willOutput = output
    intruder.willsLevel = isOfLevel
  }

  /// What a client says on the board's own topics is refused, and changes nothing.
  func pretend(_ intruder: Intruder, _ client: World.Client?) {
    guard let client = client ?? (enter(intruder) ? intruder.client : nil) else { return }
    let topic = pick(truth.topics + ["$SYS/broker/uptime", "$SYS/x"])
    let id = intruder.nextPacketID()
    let payload = pick(["ON", "OFF", "", "offline", "100"])
    world.send(
      client, [.publish(topic: topic, payload: payload, qos: 1, packetID: id, retain: !random.oneIn(3))])
    if intruder.version == .v5, case let reason? = client.packets.last?.reason, reason != .notAuthorized {
      fail("\(intruder.name) wrote \(topic): \(reason)")
    }
    client.packets.removeAll(keepingCapacity: true)
  }

  /// One command, sent again and again.
  func repeatCommand(_ intruder: Intruder, _ client: World.Client?) {
    guard let client = client ?? (enter(intruder, clean: false, keeps: true) ? intruder.client : nil) else { return }
    let output = random.below(FairnessHouse.plain.count)
    let qos = UInt8(1 + random.below(2))
    let id = intruder.nextPacketID()
    for repeats in 0..<3 {
      world.send(
        client,
        [
          .publish(
            topic: FairnessHouse.command(output), payload: "TOGGLE", qos: qos, packetID: id, dup: repeats > 0)
        ])
      if repeats == 0 { count(intruder, client, id, output) }
    }
    if qos == 2, client.isOpen { world.send(client, [.pubRel(id)]) }
    client.packets.removeAll(keepingCapacity: true)
  }

  func giveCommand(_ intruder: Intruder, _ client: World.Client?) {
    guard let client = client ?? (enter(intruder) ? intruder.client : nil) else { return }
    let qos = UInt8(random.below(3))
    let id = intruder.nextPacketID()
    let output: Int
    let packet: Packet
    switch random.below(5) {
    case 0:
      output = FairnessHouse.ruled
      packet = .publish(topic: "x/go", payload: "go", qos: qos, packetID: id, retain: false)
    case 1:
      movements.allowLevel()
      world.send(
        client, [.publish(topic: "b/l0/set", payload: pick(["40", "0", "TOGGLE", "x"]), qos: qos, packetID: id)])
      if qos == 2, client.isOpen { world.send(client, [.pubRel(id)]) }
      return client.packets.removeAll(keepingCapacity: true)
    default:
      output = random.below(FairnessHouse.breaking)
      let answer = pick(["house/answer", "b/status", "homeassistant/device/id/config", ""])
      let properties: [Prop] = intruder.version == .v5 && !answer.isEmpty ? [.text(.responseTopic, answer)] : []
      packet = .publish(
        topic: FairnessHouse.command(output), payload: "TOGGLE", qos: qos, packetID: id, retain: random.oneIn(4),
        properties: properties)
    }
    world.send(client, [packet])
    commandCount += 1
    if qos == 0 {
      movements.allow(output == FairnessHouse.ruled ? "rule:r" : intruder.clientID, output)
    } else {
      count(intruder, client, id, output)
    }
    if qos == 2, client.isOpen { world.send(client, [.pubRel(id)]) }
    client.packets.removeAll(keepingCapacity: true)
  }

  /// An acknowledgement with success is a promise that the line has moved.
  private func count(_ intruder: Intruder, _ client: World.Client, _ id: UInt16, _ output: Int) {
    let answer = client.packets.last { $0.packetID == id && $0.reason != nil }
    guard let reason = answer?.reason, !reason.isError else { return }
    movements.owe(output == FairnessHouse.ruled ? "rule:r" : intruder.clientID, output)
  }
}
