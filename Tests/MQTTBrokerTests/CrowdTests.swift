import Bounded
import MQTTBroker
import MQTTWire
import Testing

/// Who comes too often: many connections of one address, two clients with one client identifier.
@Suite struct CrowdTests {
  private let here = SourceAddress(ipv4: 0xC000_0201)
  private let there = SourceAddress(ipv6Prefix: 0x2001_0DB8_0000_0001)

  private func limits(_ change: (inout Limits) -> Void) -> Limits {
    var limits = Limits.forTests
    change(&limits)
    return limits
  }

  /// What the log is told.
  private func notices(_ world: World) -> [Notice.Kind] {
    var kinds: [Notice.Kind] = []
    while let notice = world.broker.nextNotice() { kinds.append(notice.kind) }
    return kinds
  }

  // MARK: Addresses

  @Test func anAddressConnectsSoOften() {
    let world = World(
      limits: limits {
        $0.connectBurst = 3
        $0.connectsPerSecond = 1
      })
    func comeAndGo(_ name: String, from source: SourceAddress) -> Bool {
      guard world.attach(name, from: source) else { return false }
      world.send(name, .connect(ConnectFields(clientID: name)))
      world.lose(name)
      return true
    }
    for round in 0..<3 { #expect(comeAndGo("a\(round)", from: here)) }
    for _ in 0..<20 { #expect(!comeAndGo("a", from: here)) }
    #expect(world.broker.counters.rateRefused == 20)
    #expect(notices(world) == [.sourceRefused])  // once
    for round in 0..<3 { #expect(comeAndGo("b\(round)", from: there)) }
    for round in 0..<20 { #expect(comeAndGo("c\(round)", from: .local)) }
    world.advance(seconds: 1)
    #expect(comeAndGo("a", from: here))
    #expect(!comeAndGo("a", from: here))
    #expect(notices(world).isEmpty)
    world.advance(seconds: 60)  // quiet again
    for round in 0..<4 { #expect(comeAndGo("a\(round)", from: here) == (round < 3)) }
    #expect(notices(world) == [.sourceRefused])
    world.finish()
  }

  @Test func anAddressHasSoManyThatAwaitConnect() {  // limits: pending_per_address, whatever way they leave
    let world = World(limits: limits { $0.pendingPerAddressMax = 2 })
    for round in 0..<4 {
      #expect(world.attach("a\(round)", from: here))
      #expect(world.attach("b\(round)", from: here))
      #expect(!world.attach("c\(round)", from: here))
      #expect(world.attach("d\(round)", from: there))
      #expect(world.attach("e\(round)", from: .local))
      switch round {
      case 0: for name in ["a0", "b0", "d0", "e0"] { world.lose(name) }
      case 1: world.advance(seconds: 11)
      case 2: for name in ["a2", "b2", "d2", "e2"] { world.send(name, .pingReq) }
      default: for name in ["a3", "b3", "d3", "e3"] { world.send(name, .connect(ConnectFields(clientID: name))) }
      }
    }
    #expect(world.attach("f", from: here))
    #expect(world.broker.counters.pendingRefused == 4)
    #expect(world.pool("connections").refused == 0)
    world.finish()
  }

  /// Whole lives count, of loopback addresses too, and not the rate of these; who has no address is not limited.
  @Test func anAddressHasSoManyConnections() {
    let world = World(
      limits: limits {
        $0.connectionsPerAddressMax = 3
        $0.connectBurst = 1
        $0.connectsPerSecond = 1
      })
    let board = [SourceAddress(ipv4: 0x7F00_0001), SourceAddress(ipv4: 0x7F00_0002), SourceAddress(ipv6: 0, 1)]
    for (index, source) in board.enumerated() {
      for round in 0..<4 {
        let name = "\(index) \(round)"
        #expect(world.attach(name, from: source) == (round < 3))
        if round < 3 { world.send(name, .connect(ConnectFields(clientID: name))) }
      }
    }
    #expect(world.broker.counters.perAddressRefused == 3)
    #expect(notices(world) == [.sourceRefused, .sourceRefused, .sourceRefused])
    for round in 0..<5 { world.connect("local \(round)") }
    world.lose("1 0")
    #expect(!world.attach("2 4", from: board[2]))
    #expect(world.attach("1 4", from: board[1]))
    world.finish()
  }

  /// A host that fills all places with clients leaves those without an address theirs; one that fills them with silence
  /// goes, its oldest first.
  @Test func silentOnesGiveWayAndClientsDoNot() {
    let world = World(
      limits: limits {
        $0.pendingConnectionsMax = 4
        $0.connectionsPerAddressMax = 16
        $0.pendingPerAddressMax = 16
      })
    for index in 0..<12 {
      #expect(world.attach("c\(index)", from: here))
      world.send("c\(index)", .connect(ConnectFields(clientID: "c\(index)")))
    }
    for index in 0..<2 { #expect(world.attach("s\(index)", from: here)) }
    #expect(world.attach("d0", from: there))  // 14 have an address
    #expect(!world.isOpen("s0") && world.isOpen("s1"))
    world.send("d0", .connect(ConnectFields(clientID: "d0")))
    #expect(world.attach("d1", from: there))
    #expect(!world.isOpen("s1"))
    world.send("d1", .connect(ConnectFields(clientID: "d1")))
    #expect(!world.attach("d2", from: there))
    for index in 0..<2 { world.connect("local \(index)") }
    #expect(!world.attach("local 2"))
    #expect((0..<12).allSatisfy { world.isOpen("c\($0)") })
    #expect(world.broker.counters.quotaClosed == 2)
    #expect(world.pool("connections").refused == 2)
    world.finish()
  }

  // MARK: Takeovers

  @Test(arguments: [false, true]) func pingPongComesToRest(cleanStart: Bool) {
    let world = World(
      clients: ["pub"],
      limits: limits {
        $0.takeoversMax = 3
        $0.takeoverSeconds = 60
      })
    let expiry: UInt32? = cleanStart ? nil : 100
    world.connect("0", clientID: "x", cleanStart: cleanStart, sessionExpiry: expiry)
    for round in 1...3 {
      world.advance(seconds: 1)
      world.connect("\(round)", clientID: "x", cleanStart: cleanStart, sessionExpiry: expiry)
      world.expectClosed("\(round - 1)", .disconnect(.sessionTakenOver))
    }
    world.subscribe("3", "t")
    #expect(notices(world) == [.connectionFailed, .connectionFailed, .connectionFailed])
    for round in 0..<20 {
      world.connect("new\(round)", clientID: "x", cleanStart: cleanStart, reason: .connectionRateExceeded)
      world.expectClosed("new\(round)")
    }
    world.connect("old", .v311, clientID: "x", cleanStart: cleanStart, reason: .serverUnavailable)
    world.expectClosed("old")
    #expect(world.broker.counters.takeovers == 3)
    #expect(world.broker.counters.takeoversRefused == 21)
    #expect(notices(world) == [.takeoverRefused])  // once
    world.send("pub", .publish(topic: "t"))
    world.expect("3", .publish(topic: "t"))  // it stays
    world.connect("y", clientID: "y")  // others are let in
    world.advance(seconds: 58)
    world.connect("4", clientID: "x", cleanStart: cleanStart, sessionExpiry: expiry)
    world.expectClosed("3", .disconnect(.sessionTakenOver))
    world.finish()
  }

  @Test func whoComesBackTakesNothingOver() {
    let world = World(limits: limits { $0.takeoversMax = 1 })
    for round in 0..<20 {
      world.connect("\(round)", clientID: "x", cleanStart: false, sessionExpiry: 100)
      world.lose("\(round)")
    }
    #expect(world.broker.counters.takeovers == 0)
    world.connect("a", clientID: "x", cleanStart: false, sessionExpiry: 100)
    world.connect("b", clientID: "x", cleanStart: false, sessionExpiry: 100)
    world.connect("c", clientID: "x", reason: .connectionRateExceeded)
    world.lose("b")  // it has gone by itself: there is a place
    world.connect("c", clientID: "x", cleanStart: false, sessionExpiry: 100)
    world.finish()
  }

  /// Deliveries of every state are in flight; each newcomer reads a little and loses its connection to the next.
  @Test func takeoverStormWithDeliveriesInFlight() {
    let world = World(clients: ["pub"], limits: limits { $0.takeoversMax = 100_000 })
    world.connect("first", clientID: "x", cleanStart: false, sessionExpiry: 100)
    world.subscribe("first", "t", qos: 2)
    var random = SeededGenerator(seed: 9)
    var name = "first"
    for round in 1...100 {
      for id in UInt16(1)...3 {
        world.send("pub", .publish(topic: "t", payload: String(repeating: "x", count: 900), qos: 2, packetID: id))
        world.send("pub", .pubRel(id))
      }
      for packet in world.takeAll(name) {
        guard case .publish(_, _, _, let id, _, _, _) = packet, random.oneIn(2) else { continue }
        world.send(name, .pubRec(id))
        if random.oneIn(2) { world.send(name, .pubComp(id)) }
      }
      let next = "\(round)"
      world.attach(next)
      world.client(next).bytesPerFlush = [0, 1, 700, .max][random.below(4)]
      world.send(
        next,
        .connect(ConnectFields(clientID: "x", cleanStart: random.oneIn(20), properties: [.sessionExpiry(100)])),
        .subscribe(1, [Filter("t", qos: 2)]))
      #expect(!world.isOpen(name) || world.isClosing(name))
      if world.isOpen(name) { world.lose(name) }
      name = next
    }
    _ = world.takeAll("pub")
    #expect(world.broker.counters.takeovers == 100)
    world.finish()
  }

  @Test func sysTellsOfThem() {
    // At the end the world waits for as long as a session may live, and $SYS is published all the while.
    let world = World(clients: ["a"], limits: limits { $0.sessionExpirySecondsMax = 100 })
    world.broker.startSys(at: world.now)
    world.advance(seconds: 1)
    world.subscribe("a", "$SYS/tapline/clients/+")
    let topics = Set(world.takeAll("a").compactMap(\.topic))
    for name in ["refused", "refused_rate", "refused_pending", "refused_per_address", "refused_takeover", "takeovers"] {
      #expect(topics.contains("$SYS/tapline/clients/" + name))
    }
    world.finish()
  }

  /// Each costs one level, and none is a counter or another's.
  @Test(arguments: [
    ("refused", "refused"), ("takeovers", "takeovers"), ("a/b/c", "a%2Fb%2Fc"), ("+", "%2B"), ("#", "%23"),
    ("by_id/x", "by_id%2Fx"), ("100%", "100%25"), ("a%2Fb", "a%252Fb"), ("tab\there", "tab%09here"), ("é ü", "é ü"),
    ("$SYS", "$SYS"), (String(repeating: "/", count: 60), String(repeating: "%2F", count: 60)),
  ])
  func everyIdentifierHasOneLevelOfItsOwn(clientID: String, level: String) {
    let world = World(clients: ["watch"], limits: limits { $0.sessionExpirySecondsMax = 100 })
    world.broker.startSys(at: world.now)
    world.advance(seconds: 1)
    world.connect("c", clientID: clientID, sessionExpiry: 60)
    let nodes = world.broker.pool(4).gauge.used
    world.advance(seconds: 11)
    #expect(world.broker.pool(4).gauge.used == nodes + 1)
    world.subscribe("watch", "$SYS/tapline/clients/#")
    let told = world.takeAll("watch")
    let topic = "$SYS/tapline/clients/by_id/" + level
    #expect(told.filter { $0.topic == topic }.count == 1)
    #expect(told.first { $0.topic == topic }?.payload?.hasPrefix("{\"connected\":true,\"subscriptions\":0") == true)
    for name in ["refused", "refused_rate", "refused_pending", "refused_takeover", "takeovers"] {
      #expect(told.first { $0.topic == "$SYS/tapline/clients/" + name }?.payload == "0")
    }
    // The end of a session takes its figures along and nothing else.
    world.lose("c")
    world.connect("c", clientID: clientID)
    let gone = world.takeAll("watch")
    #expect(gone.map(\.topic) == [topic] && gone[0].payload == "")
    world.finish()
  }
}
