import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

@Suite("Each client is sure of a floor in what nobody is made to give back, and no client can take a whole pool")
struct SharesTests {
  enum Hoard: String, CaseIterable, Sendable {
    case subscriptions, sharedGroups, topicNodes, topicNameCells, retained, retainedBlocks

    func floor(_ shares: Shares) -> Int {
      switch self {
      case .subscriptions: shares.floor(.subscriptions)
      case .sharedGroups: shares.joint.floor(.sharedGroups)
      case .topicNodes: shares.joint.floor(.topicNodes)
      case .topicNameCells: shares.joint.floor(.topicNameCells)
      case .retained: shares.floor(.retained)
      case .retainedBlocks: shares.floor(.retainedBlocks)
      }
    }

    /// Only this pool runs short.
    var limits: Limits {
      var limits = Limits()
      if self != .subscriptions { limits.subscriptionsMax = 20_000 }
      if self != .sharedGroups { limits.sharedGroupsMax = 20_000 }
      if self != .topicNodes { limits.topicNodesMax = 40_000 }
      if self != .topicNameCells { limits.topicNameCellsMax = 20_000 }
      if self != .retained { limits.retainedMax = 10_000 }
      if self != .retainedBlocks { limits.blockCount = 60_000 }
      limits.messagesMax = 12_000
      return limits
    }

    /// One more entry for `name`: whether it was granted.
    /// - Parameter maker: whose name it bears; nil: its own.
    func takes(_ world: World, _ name: String, _ index: Int, of maker: String? = nil) -> Bool {
      let owner = maker ?? name
      let version = world.client(name).version
      switch self {
      case .subscriptions: return subscribes(world, name, "s\(index)")
      case .sharedGroups: return subscribes(world, name, "$share/\(owner)\(index)/t")
      case .topicNodes: return subscribes(world, name, "\(owner)x\(index)")
      case .topicNameCells: return subscribes(world, name, "\(owner)-\(index)-a-name-of-over-twenty-bytes")
      case .retained, .retainedBlocks:
        let payload = String(repeating: "x", count: self == .retained ? 1 : 300)
        world.send(name, .publish(topic: "\(name)/\(index)", payload: payload, qos: 1, packetID: 1, retain: true))
        if version == .v5 { return world.takeFirst(name)?.reason?.isError == false }
        guard world.isOpen(name) else { return false }
        return world.takeFirst(name) == .pubAck(1)
      }
    }

    private func subscribes(_ world: World, _ name: String, _ filter: String) -> Bool {
      world.send(name, .subscribe(1, [Filter(filter)]))
      return world.takeFirst(name) == .subAck(1, [.success])
    }
  }

  /// Ten clients take whatever they get; then everybody else who can connect gets a whole floor.
  @Test(arguments: Hoard.allCases, [ProtocolVersion.v5, .v311])
  func hoardersLeaveTheFloors(hoard: Hoard, version: ProtocolVersion) {
    let world = World(limits: hoard.limits)
    let floor = hoard.floor(world.broker.shares)
    let perEntry = hoard == .retainedBlocks ? 4 : 1
    #expect(floor >= perEntry)
    for hoarder in 0..<10 {
      world.connect("h\(hoarder)", version, cleanStart: true)
      var index = 0
      while hoard.takes(world, "h\(hoarder)", index) { index += 1 }
      #expect(index >= floor / perEntry && index < 4000)
    }
    for client in 10..<world.broker.limits.connectionsMax {
      world.connect("c\(client)", version, cleanStart: true)
      for index in 0..<floor / perEntry { #expect(hoard.takes(world, "c\(client)", index), "client \(client)") }
    }
    world.audit()
    world.finish()
  }

  /// What many use at once stays when who brought it goes: that takes nothing from the floors of the others, nor of those that
  /// come after it.
  @Test(arguments: [Hoard.topicNodes, .topicNameCells, .sharedGroups], [ProtocolVersion.v5, .v311])
  func whatGuestsKeepIsOfNobodysFloor(hoard: Hoard, version: ProtocolVersion) {
    var limits = hoard.limits
    limits.connectionsMax = 24
    limits.pendingConnectionsMax = 24
    limits.sessionsMax = 32
    let world = World(limits: limits)
    let floor = hoard.floor(world.broker.shares)
    world.connect("guest", version, cleanStart: true)
    world.connect("hoarder", version, cleanStart: true)
    for round in 0..<40 {
      // What it has brought, the guest uses too.
      let maker = "m\(round)"
      world.connect(maker, version, cleanStart: true)
      for index in 0..<floor {
        #expect(hoard.takes(world, maker, index), "round \(round)")
        _ = hoard.takes(world, "guest", index, of: maker)
      }
      world.lose(maker)
      if round == 10 {
        var index = 0
        while hoard.takes(world, "hoarder", index) { index += 1 }
      }
      if round % 10 == 0 { world.audit() }
    }
    for client in 2..<limits.connectionsMax {
      world.connect("c\(client)", version, cleanStart: true)
      for index in 0..<floor { #expect(hoard.takes(world, "c\(client)", index), "client \(client)") }
    }
    world.audit()
    world.finish()
  }

  /// Of many that come, take their floor and go, what is retained stays: who is here keeps the room of its floor.
  @Test func churnLeavesTheFloorsOfThoseWhoAreHere() {
    let world = World(limits: Limits())
    world.connect("home")
    for round in 0..<1000 {
      let name = "r\(round)"
      world.connect(name)
      for index in 0..<world.broker.shares.floor(.retained) { _ = Hoard.retained.takes(world, name, index) }
      world.lose(name)
    }
    #expect(world.pool("retained").refused > 0)
    // Others that come now have no room left, and take none of what was promised before.
    for index in 0..<20 {
      world.connect("late\(index)")
      #expect(!Hoard.retained.takes(world, "late\(index)", 0))
    }
    for index in 0..<world.broker.shares.floor(.retained) { #expect(Hoard.retained.takes(world, "home", index)) }
    world.audit()
  }

  /// What is let go of is there again, for its holder and for others.
  @Test(arguments: Hoard.allCases) func whatIsGivenBackIsThereAgain(hoard: Hoard) {
    let world = World(limits: hoard.limits)
    var counts: [Int] = []
    for _ in 0..<2 {
      world.connect("h", cleanStart: true)
      var index = 0
      while hoard.takes(world, "h", index) { index += 1 }
      counts.append(index)
      if hoard == .retained || hoard == .retainedBlocks {
        for gone in 0..<index { world.send("h", .publish(topic: "h/\(gone)", qos: 0, retain: true)) }
        #expect(world.pool("retained").used == 0)
      }
      world.lose("h")
      world.audit()
    }
    #expect(Set(counts).count == 1)
    world.finish()
  }

  /// Whoever writes there: a message takes room of its publisher's share, and its topic's place stays its maker's.
  @Test func writingOnOthersTopics() {
    let world = World(limits: Hoard.retainedBlocks.limits)
    world.connect("a")
    world.connect("b")
    for index in 0..<2 { #expect(Hoard.retained.takes(world, "a", index)) }
    var topic = 0
    let large = String(repeating: "x", count: 60_000)
    for round in 0..<200 {
      topic = round % 2
      world.send("b", .publish(topic: "a/\(topic)", payload: large, qos: 1, packetID: 1, retain: true))
      #expect(world.takeFirst("b")?.reason?.isError == false)
      world.send("a", .publish(topic: "a/\(topic)", payload: "y", qos: 1, packetID: 1, retain: true))
      #expect(world.takeFirst("a")?.reason?.isError == false)
    }
    world.send("b", .publish(topic: "a/0", retain: true))
    world.audit()
    world.lose("a")
    world.audit()
    world.finish()
  }

  /// A client with a small Will is let in, whatever others have stored.
  @Test(arguments: [ProtocolVersion.v5, .v311]) func willsFindRoom(version: ProtocolVersion) {
    let world = World(limits: Limits())
    for index in 0..<10 {
      world.connect("away\(index)", sessionExpiry: 1000)
      world.subscribe("away\(index)", "#", qos: 1)
      world.lose("away\(index)")
    }
    world.connect("flood")
    for index in 0..<3000 {
      world.send(
        "flood", .publish(topic: "t", payload: String(repeating: "x", count: index % 300), qos: 1, packetID: 1))
    }
    let large = String(repeating: "w", count: 60_000)
    for index in 0..<10 {
      world.attach("h\(index)", version)
      world.send(
        "h\(index)",
        .connect(ConnectFields(version: version, clientID: "h\(index)", will: WillFields(topic: "h", payload: large))))
    }
    for index in 0..<40 {
      world.connect("c\(index)", version, will: WillFields(topic: "c\(index)/status", payload: "offline", retain: true))
    }
    world.audit()
  }
}
