import MQTTBroker
import MQTTWire
import Taps

@testable import Bounded
@testable import Gateway

/// A client that keeps to the standard, reads what it is sent, acknowledges it, and stays within its share.
///
/// It has more than twenty properties: who the client is, what it is owed, what it has lost, and what it has under way.
/// The checks compare the four with each other.
final class Resident {
  enum Role: CaseIterable {
    /// As Home Assistant: it sees everything, and commands.
    case home
    case sensor, meter
    /// Publishes with QoS 2, a few messages at a time.
    case exact
    /// Gets those with QoS 2.
    case watch
    /// Comes and goes, with Clean Start.
    case phone
    /// Comes and goes, and finds what came meanwhile.
    case tablet
  }
  struct Promise {
    let text: String
    /// What a session is charged for it.
    let units: Int
    /// Its packet is longer than one chunk of an outbox.
    let isLarge: Bool
  }
  struct Interest {
    let filter: String
    let qos: UInt8
    /// What its topics begin with.
    let prefix: String
  }

  let role: Role
  let name: String
  let version: ProtocolVersion
  let source: SourceAddress
  let interests: [Interest]
  let will: WillFields?
  var client: World.Client?
  var keepsSession: Bool { role == .tablet }
  var keepAliveSeconds: Int64 = 60
  var lastSpoke = Instant(nanoseconds: 0)
  var isAway = false
  var isSubscribed = false
  /// Its command may find a line that has failed.
  var mayBeRefused = false

  // What it is owed.
  /// With QoS 1 and 2, in order.
  var promises: [Promise] = []
  /// With QoS 0, of this step.
  var loose: [Promise] = []
  /// What it has lost, and what the broker had counted before.
  var lostCount = 0
  var droppedBefore = 0
  var looseLostCount = 0
  var looseDroppedBefore: UInt64 = 0
  /// More waited for it than its share: the oldest may be lost.
  var isOverShare = false
  var leftAt = 0
  /// Since when a message waits for it though it is here; never: none does.
  var waitsSince = Instant.never
  /// The board's states as it has seen them.
  var view: [String: String] = [:]

  // What it has under way.
  var sequence = 0
  var lastPacketID: UInt16 = 0
  /// What each packet id waits for.
  var awaiting: [UInt16: PacketType] = [:]
  /// Received with PUBREC, and not released yet.
  var unreleased: [UInt16] = []
  /// The second half of a packet, and what it promises.
  var rest: (bytes: [UInt8], then: () -> Void)?
  /// What it has had retained, with an acknowledgement.
  var retained: [String: String] = [:]

  init(_ role: Role, _ version: ProtocolVersion, hasWill: Bool) {
    self.role = role
    name = "\(role)"
    self.version = version
    source = SourceAddress(ipv4: 0x0A00_0001 + UInt32(Role.allCases.firstIndex(of: role)!))
    interests =
      switch role {
      case .home:
        [
          Interest(filter: "b/#", qos: 0, prefix: "b/"), Interest(filter: "house/#", qos: 1, prefix: "house/"),
          Interest(filter: "homeassistant/#", qos: 0, prefix: "homeassistant/"),
        ]
      case .sensor, .meter, .exact: []
      case .watch: [Interest(filter: "house/exact/#", qos: 2, prefix: "house/exact/")]
      case .phone: [Interest(filter: "house/sensor/+", qos: 1, prefix: "house/sensor/")]
      case .tablet: [Interest(filter: "house/meter/#", qos: 1, prefix: "house/meter/")]
      }
    will = hasWill ? WillFields(topic: "house/\(role)/will", payload: "gone", qos: 1) : nil
  }

  static func all(_ random: inout SeededGenerator) -> [Resident] {
    Role.allCases.map { role in Resident(role, random.oneIn(2) ? .v5 : .v311, hasWill: random.oneIn(3)) }
  }

  func interest(in topic: String) -> Interest? { interests.first { topic.hasPrefix($0.prefix) } }

  func nextPacketID() -> UInt16 {
    lastPacketID = lastPacketID % 65_535 + 1
    return lastPacketID
  }
}

/// What residents do.
extension FairnessDay {
  // MARK: Coming and going

  /// CONNECT, and its answer.
  func arrive(_ resident: Resident) {
    guard let stream = door.admit(from: resident.source, world) else {
      return fail("\(resident.name) is not let in")
    }
    door.heard(stream)
    guard let client = world.open(resident.name, resident.version, transport: stream) else {
      return fail("\(resident.name) finds no place")
    }
    var fields = ConnectFields(
      version: resident.version, clientID: resident.name, cleanStart: !resident.keepsSession, keepAliveSeconds: 60,
      will: resident.will)
    if resident.keepsSession, resident.version == .v5 { fields.properties.append(.sessionExpiry(3600)) }
    resident.client = client
    resident.lastSpoke = world.now
    world.send(client, [.connect(fields)])
    door.known(stream)
    guard case .connAck(.success, let isPresent, let properties)? = client.packets.first else {
      return fail("\(resident.name) got \(client.packets) for CONNECT")
    }
    client.packets.removeFirst()
    for case .number(.serverKeepAlive, let value) in properties { resident.keepAliveSeconds = Int64(value) }
    let wasAway = resident.isAway
    resident.isAway = false
    guard resident.keepsSession else {
      resident.droppedBefore = droppedCount(resident)
      return
    }
    if wasAway, !isPresent {
      // Others' sessions that ended since then took the place of the one that had been away longest.
      if departureCount < limits.sessionsMax - limits.connectionsMax { fail("\(resident.name) has lost its session") }
      resident.promises = []
      resident.isSubscribed = false
    }
    if !isPresent {
      resident.droppedBefore = 0
      settleIn(resident)
    }
    react()
  }

  /// SUBSCRIBE, and the first messages that it has retained.
  func settleIn(_ resident: Resident) {
    guard failure == nil, let client = resident.client else { return }
    resident.view = [:]
    if !resident.interests.isEmpty {
      let id = resident.nextPacketID()
      resident.awaiting[id] = .subAck
      say(resident, client, [.subscribe(id, resident.interests.map { Filter($0.filter, qos: $0.qos) })])
      react()
    }
    if resident.role == .sensor || resident.role == .meter, resident.retained.isEmpty {
      for place in 0..<3 { publish(resident, place: place, qos: 1, retain: true, isLarge: false) }
    }
    react()
  }

  private func leave(_ resident: Resident) {
    guard let client = resident.client else { return }
    if random.oneIn(2) {
      world.send(client, [.disconnect()])
      if client.isOpen { world.lose(client) }
    } else {
      world.lose(client)
    }
    resident.client = nil
    resident.isAway = true
    resident.awaiting = [:]
    resident.unreleased = []
    resident.rest = nil
    resident.loose = []
    if !resident.keepsSession {
      resident.promises = []
      resident.isSubscribed = false
    }
    resident.isOverShare = false
    guard resident.keepsSession else { return }
    resident.leftAt = stepCount
    departureCount = 0
  }

  func keepAlive() {
    for resident in residents {
      guard let client = resident.client else { continue }
      let silence = world.now.since(resident.lastSpoke)
      if resident.rest != nil, silence > 4_000_000_000 { say(resident, client, []) }
      if silence > resident.keepAliveSeconds * 400_000_000 { say(resident, client, [.pingReq]) }
    }
  }

  func say(_ resident: Resident, _ client: World.Client, _ packets: [Packet]) {
    resident.lastSpoke = world.now
    if let rest = resident.rest {
      resident.rest = nil
      rest.then()
      client.outgoing += rest.bytes
    }
    world.send(client, packets)
  }

  // MARK: A step

  func live(_ resident: Resident) {
    guard let client = resident.client else {
      // The phone comes back at once, the tablet stays away for a while.
      if resident.role == .tablet, stepCount < resident.leftAt + 40, !random.oneIn(40) { return }
      arrive(resident)
      if resident.role != .tablet { settleIn(resident) }
      return
    }
    if resident.rest != nil { return say(resident, client, []) }
    switch resident.role {
    case .home:
      if random.oneIn(40) {
        leave(resident)
        arrive(resident)
        settleIn(resident)
      } else if random.oneIn(2) {
        command(resident, client)
      } else {
        publish(resident, place: random.below(4), qos: UInt8(random.below(2)), retain: false, isLarge: random.oneIn(8))
      }
    case .sensor, .meter:
      let isKept = random.oneIn(3)
      publish(
        resident, place: random.below(3), qos: isKept ? 1 : UInt8(random.below(2)), retain: isKept,
        isLarge: !isKept && random.oneIn(8))
    case .exact:
      if !resident.unreleased.isEmpty, random.oneIn(2) || resident.unreleased.count == 4 {
        let id = resident.unreleased.removeFirst()
        resident.awaiting[id] = .pubComp
        say(resident, client, [.pubRel(id)])
      } else {
        publish(resident, place: random.below(3), qos: 2, retain: false, isLarge: random.oneIn(8))
      }
    case .watch:
      say(resident, client, [.pingReq])
    case .phone:
      if random.oneIn(6) { leave(resident) } else { command(resident, client) }
    case .tablet:
      leave(resident)
    }
  }

  /// A command of its own, which is acknowledged and carried out once, however often it is sent.
  private func command(_ resident: Resident, _ client: World.Client) {
    let output = random.below(FairnessHouse.ruled)
    let payload = pick(["ON", "OFF", "TOGGLE"])
    let id = resident.nextPacketID()
    commandCount += 1
    world.turn()
    let isFaulted = world.taps.outputs[output].state == .faulted
    let before = world.board.lines[output]
    let wanted = payload == "TOGGLE" ? !before : payload == "ON"
    let topic = FairnessHouse.command(output)
    resident.awaiting[id] = .pubAck
    resident.mayBeRefused = output == FairnessHouse.breaking
    if !isFaulted, !world.board.isBroken[output] { movements.owe(resident.name, output) }
    // The acknowledgement is lost now and then.
    for repeats in 0..<(random.oneIn(4) ? 2 : 1) {
      say(
        resident, client,
        [.publish(topic: topic, payload: payload, qos: 1, packetID: id, dup: repeats > 0)])
    }
    react()
    if !isFaulted, !world.board.isBroken[output], world.board.lines[output] != wanted {
      fail("\(resident.name) asked \(topic) for \(payload) and did not get it")
    }
  }

  private func publish(_ resident: Resident, place: Int, qos: UInt8, retain: Bool, isLarge: Bool) {
    guard let client = resident.client else { return }
    resident.sequence += 1
    let topic = "house/\(resident.name)/\(place)"
    var text = "~\(resident.name) \(resident.sequence)"
    // What is retained keeps its size: a message that is not larger can always take the place of the one before.
    let size = isLarge ? qos == 0 ? [300, 900, 1200][random.below(3)] : 300 : retain ? 40 : 20 + random.below(40)
    text += String(repeating: ".", count: max(0, size - text.utf8.count))
    let id = qos > 0 ? resident.nextPacketID() : 0
    if qos > 0 { resident.awaiting[id] = qos == 1 ? .pubAck : .pubRec }
    let packet = Packet.publish(topic: topic, payload: text, qos: qos, packetID: id, retain: retain)
    let bytes = packet.bytes(resident.version)
    if retain { resident.retained[topic] = text }
    if random.oneIn(6) {
      let middle = 1 + random.below(bytes.count - 1)
      client.outgoing += bytes[..<middle]
      resident.rest = (Array(bytes[middle...]), { [unowned self] in promise(topic, text, qos: qos) })
      if retain { resident.retained[topic] = nil }
      return say(resident, client, [])
    }
    promise(topic, text, qos: qos)
    client.outgoing += bytes
    say(resident, client, [])
  }
}
