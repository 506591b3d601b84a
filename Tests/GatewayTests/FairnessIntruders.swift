import MQTTBroker
import MQTTWire

@testable import Bounded
@testable import Gateway

/// A client that is hostile, careless or broken. It keeps to the standard where that makes it a worse neighbour.
final class Intruder {
  enum Kind: CaseIterable {
    /// Was here once, with a persistent session on `#`.
    case absent
    /// Was here once, and holds what it may.
    case cautious
    /// Subscribes to `#` and reads nothing, or a little now and then.
    case stuck
    /// Subscribes to `#` with QoS 1 or 2 and acknowledges nothing.
    case mute
    /// Has messages retained, many or large.
    case retainer
    /// Subscribes again and again: deep filters, long names, groups.
    case subscriber
    /// Sets topic aliases for long topics.
    case aliaser
    /// Publishes with QoS 2 and releases nothing.
    case unreleased
    /// Publishes as fast as it can.
    case flooder
    /// Comes with another identifier each time, for a session that it never comes back to.
    case churner
    /// Two clients with one identifier.
    case fighter
    /// Connects again and again, and stays.
    case sitter
    /// Sends the beginnings of packets.
    case partial
    /// Opens sockets and says nothing.
    case idler
    /// Leaves Wills: on command topics, on the board's topics.
    case testator
    /// Publishes on the board's own topics.
    case impostor
    /// Sends its commands again with DUP.
    case repeater
    /// Sends what is no MQTT.
    case garbler
    /// Commands, with every QoS.
    case commander
  }

  /// Places of connections that intruders leave: nothing bounds how many addresses they have.
  static let placesLeft = 12

  let kind: Kind
  let name: String
  var clientID: String
  let version: ProtocolVersion
  let source: SourceAddress
  var client: World.Client?
  /// A session of its own waits for it.
  var hasSession = false
  var count = 0
  /// Topics and filters that it has made up.
  var hoardCount = 0
  var since = Instant(nanoseconds: 0)
  /// The output that its Will toggles; nil: none.
  var willOutput: Int?
  /// Its Will toggles the level.
  var willsLevel = false
  var saidGoodbye = false
  var silent: [UInt32] = []

  init(_ kind: Kind, _ number: Int, _ version: ProtocolVersion) {
    self.kind = kind
    name = "\(kind)\(number)"
    clientID = name
    self.version = version
    // Those that come and go in masses have one address for all.
    let isMany = kind == .churner || kind == .fighter
    source = SourceAddress(
      ipv4: isMany ? 0x0B00_0001 : 0x0C00_0000 + UInt32(Kind.allCases.firstIndex(of: kind)! * 256 + number))
  }

  var holdsOutbox: Bool { kind == .stuck && client?.isOpen == true }
  var isOpen: Bool { client?.isOpen == true }
  func nextPacketID() -> UInt16 {
    count += 1
    return UInt16(count % 65_535 + 1)
  }
}

/// What intruders do.
extension FairnessDay {
  /// Connects an intruder, if it is let in. The places of connections have no share: a few are left.
  @discardableResult func enter(
    _ intruder: Intruder, clean: Bool = true, keeps: Bool = false, will: WillFields? = nil,
    reading: World.Client.Reading = .all, properties: [Prop] = []
  ) -> Bool {
    guard world.connections.count + door.silentCount < limits.connectionsMax - Intruder.placesLeft,
      let stream = door.admit(from: intruder.source, world)
    else { return false }
    door.heard(stream)
    guard let client = world.open(intruder.clientID, intruder.version, transport: stream) else { return false }
    client.reading = reading == .nothing ? .all : reading
    var fields = ConnectFields(
      version: intruder.version, clientID: intruder.clientID, cleanStart: clean, properties: [], will: will)
    if intruder.version == .v5 {
      fields.properties = properties
      if keeps { fields.properties.append(.sessionExpiry(.max)) }
    } else {
      fields.cleanStart = !keeps
    }
    intruder.saidGoodbye = false
    intrudersByID[intruder.clientID] = intruder
    world.send(client, [.connect(fields)])
    door.known(stream)
    intruder.client = client
    intruder.since = world.now
    if client.reading == .all { client.packets.removeAll(keepingCapacity: true) }
    if reading == .nothing { client.reading = .nothing }
    return client.isOpen
  }

  func go(_ intruder: Intruder, politely: Bool = false) {
    guard let client = intruder.client, client.isOpen else { return }
    if politely {
      intruder.saidGoodbye = true
      world.send(client, [.disconnect()])
    }
    if client.isOpen { world.lose(client) }
    intruder.client = nil
  }

  /// A peer that takes no bytes for a minute is given up (`dead_peer_seconds`).
  func giveUpStuck() {
    for intruder in intruders where intruder.kind == .stuck && intruder.isOpen {
      if world.now.since(intruder.since) > 60_000_000_000 { go(intruder) }
    }
  }

  func act(_ intruder: Intruder) {
    let client = intruder.isOpen ? intruder.client! : nil
    switch intruder.kind {
    case .absent, .mute: linger(intruder, client)
    case .cautious: break
    case .stuck:
      if client == nil {
        guard enter(intruder) else { return }
        subscribe(intruder, ["#"], qos: UInt8(random.below(2)))
        if intruder.isOpen { intruder.client!.reading = .nothing }
      } else if random.oneIn(20) {
        world.read(client!, .discards)
        client!.reading = .nothing
        intruder.since = world.now
      } else {
        world.send(client!, [.pingReq])
      }
    case .retainer: retain(intruder, client, count: 20)
    case .subscriber: subscribeMore(intruder, client)
    case .aliaser: setAliases(intruder, client)
    case .unreleased: publishUnreleased(intruder, client)
    case .flooder: flood(intruder, client, count: 10 + random.below(30))
    case .churner: churn(intruder)
    case .fighter:
      enter(intruder, clean: false, keeps: true, reading: .discards)
    case .partial: sendPart(intruder, client)
    case .sitter: sit(intruder)
    case .idler: wait(intruder)
    case .testator: testify(intruder, client)
    case .impostor: pretend(intruder, client)
    case .repeater: repeatCommand(intruder, client)
    case .garbler: garble(intruder, client)
    case .commander: giveCommand(intruder, client)
    }
  }

  func subscribe(_ intruder: Intruder, _ filters: [String], qos: UInt8) {
    guard let client = intruder.client else { return }
    let handling: UInt8 = intruder.version == .v5 ? UInt8(random.below(3)) : 0
    world.send(
      client,
      [.subscribe(intruder.nextPacketID(), filters.map { Filter($0, qos: qos, retainHandling: handling) })])
    if client.reading == .all { client.packets.removeAll(keepingCapacity: true) }
  }

  /// Here now and then; what waits for it is read and not acknowledged, or not read.
  private func linger(_ intruder: Intruder, _ client: World.Client?) {
    if client != nil {
      if intruder.kind == .absent || random.oneIn(20) { go(intruder, politely: random.oneIn(2)) }
      return
    }
    if intruder.kind == .absent, intruder.hasSession, !random.oneIn(30) { return }
    guard enter(intruder, clean: false, keeps: true, reading: .discards) else { return }
    subscribe(intruder, [pick(["#", "#", "noise/#", "+/+/+"])], qos: UInt8(1 + random.below(2)))
    intruder.hasSession = true
    if intruder.kind == .absent { go(intruder) }
  }

  /// A persistent session of a client that nobody knows, and that never comes back.
  private func churn(_ intruder: Intruder) {
    intruder.clientID =
      "churn-\(random.next() % 100_000_000)" + (random.oneIn(3) ? String(repeating: "x", count: 40) : "")
    guard enter(intruder, clean: false, keeps: true, reading: .discards) else { return }
    if random.oneIn(2) { subscribe(intruder, ["noise/#"], qos: 1) }
    go(intruder)
    intrudersByID[intruder.clientID] = nil
  }

  /// One more connection, of another client each time.
  private func sit(_ intruder: Intruder) {
    intruder.hoardCount = (intruder.hoardCount + 1) % 8
    intruder.clientID = "\(intruder.name)-\(intruder.hoardCount)"
    enter(intruder, reading: .discards)
  }

  /// A few sockets more that say nothing, or one less.
  private func wait(_ intruder: Intruder) {
    if random.oneIn(4), let stream = intruder.silent.popLast() { return door.leave(stream) }
    for _ in 0..<4 where world.connections.count + door.silentCount < limits.connectionsMax - Intruder.placesLeft {
      guard let stream = door.admit(from: intruder.source, world) else { return }
      intruder.silent.append(stream)
    }
  }

  private func sendPart(_ intruder: Intruder, _ client: World.Client?) {
    guard let client else {
      enter(intruder, reading: .discards)
      return
    }
    // The beginning of a large packet, or more of it.
    let size = min(limits.packetBytesMax - 10, 60_000)
    if intruder.count == 0 || random.oneIn(30) {
      go(intruder)
      guard enter(intruder, reading: .discards) else { return }
      intruder.client!.outgoing += [0x30] + vbi(size) + string("noise/part")
      intruder.count = 1
      world.send(intruder.client!, [])
    } else {
      client.outgoing += [UInt8](repeating: 0x61, count: min(1 + random.below(8000), 59_000 / 12))
      intruder.count += 1
      if intruder.count > 10 {
        intruder.count = 0
        go(intruder)
      } else {
        world.send(client, [])
      }
    }
  }

  private func garble(_ intruder: Intruder, _ client: World.Client?) {
    guard let client else {
      enter(intruder)
      return
    }
    let bytes: [UInt8] =
      switch random.below(6) {
      case 0: random.bytes(1 + random.below(40))
      case 1: [0x36, 4, 0, 1, 0x61, 0]
      case 2: [0x82, 5, 0, 0, 0, 0, 0]
      case 3: [0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]
      case 4: Packet.publish(topic: "b/+/set", payload: "ON", qos: 1, packetID: 1).bytes(intruder.version)
      default: Packet.publish(topic: String(repeating: "l/", count: 60), payload: "x").bytes(intruder.version)
      }
    client.outgoing += bytes
    world.send(client, [])
    client.packets.removeAll(keepingCapacity: true)
    if random.oneIn(3) { go(intruder) }
  }
}
