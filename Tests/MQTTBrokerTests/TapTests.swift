import Bounded
import MQTTBroker
import MQTTWire
import Testing

/// Taps, and the messages that the broker itself publishes, $SYS among them.
@Suite struct TapTests {
  /// What a tap saw.
  final class Seen {
    var lines: [String] = []
    func take() -> [String] {
      defer { lines = [] }
      return lines
    }
  }

  private func listen(_ world: World, _ verdict: @escaping (TapMessage) -> TapVerdict = { _ in .accept }) -> Seen {
    let seen = Seen()
    world.broker.onTap = { tap, message in
      let flags = "\(message.qos.rawValue)\(message.retain ? "r" : "")"
      seen.lines.append(
        "\(tap.index) \(plainText(message.clientID)) \(plainText(message.topic)) \(plainText(message.payload)) \(flags)"
      )
      return verdict(message)
    }
    return seen
  }

  @Test func seesWhatMatchesInTheSameTurn() {
    let world = World()
    #expect(world.addTap("set/+") == TapID(index: 0))
    #expect(world.addTap("set/relay") == TapID(index: 1))
    #expect(world.addTap("a/#/b") == nil)
    let seen = listen(world)
    world.connect("pub")
    world.send("pub", .publish(topic: "set/relay", payload: "1"))
    #expect(seen.take().sorted() == ["0 pub set/relay 1 0", "1 pub set/relay 1 0"])
    world.send("pub", .publish(topic: "set/lamp", payload: "2", qos: 1, packetID: 1, retain: true))
    #expect(seen.take() == ["0 pub set/lamp 2 1r"])
    world.expect("pub", .pubAck(1))
    world.send("pub", .publish(topic: "other", qos: 1, packetID: 2))
    #expect(seen.take() == [])
    world.expect("pub", .pubAck(2, .noMatchingSubscribers))
    world.finish()
  }

  @Test func tapIsAReceiver() {  // no 0x10 where a pin was switched
    let world = World()
    _ = world.addTap("set")
    _ = listen(world)
    world.connect("pub")
    world.send("pub", .publish(topic: "set", qos: 1, packetID: 1), .publish(topic: "set", qos: 2, packetID: 2))
    world.expect("pub", .pubAck(1), .pubRec(2))
    world.finish()
  }

  @Test func qos2RunsOnce() {
    let world = World()
    _ = world.addTap("set")
    let seen = listen(world)
    world.connect("pub")
    world.send(
      "pub", .publish(topic: "set", payload: "x", qos: 2, packetID: 1),
      .publish(topic: "set", payload: "x", qos: 2, packetID: 1, dup: true), .pubRel(1), .pubRel(1))
    #expect(seen.take() == ["0 pub set x 2"])
    #expect(world.broker.counters.tapsRun == 1)
    world.finish()
  }

  @Test func refusalGoesToThePublisherOnly() {  // 0x99 and a Reason String (§3.4.2.2.2)
    let world = World()
    _ = world.addTap("set")
    let seen = listen(world) { _ in TapVerdict(reason: .payloadFormatInvalid, reasonString: Bytes("not on or off")) }
    world.connect("pub")
    world.connect("sub")
    world.subscribe("sub", "#")
    world.send(
      "pub", .publish(topic: "set", payload: "x", qos: 1, packetID: 1, retain: true),
      .publish(topic: "set", payload: "y", qos: 2, packetID: 2), .publish(topic: "set", payload: "z"))
    world.expect(
      "pub", .pubAck(1, .payloadFormatInvalid, text: "not on or off"),
      .pubRec(2, .payloadFormatInvalid, text: "not on or off"))
    world.expectNothing("pub", "sub")
    #expect(seen.take().count == 3)
    #expect(world.pool("retained").used == 0)
    #expect(world.broker.counters.tapRefusals == 3)
    // The id is free: a second try is a new message.
    world.send("pub", .publish(topic: "set", payload: "y", qos: 2, packetID: 2))
    #expect(seen.take().count == 1)
    world.finish()
  }

  @Test func reasonStringOnlyForWhoWantsIt() {  // §3.1.2.11.7, §3.4.2-2
    let world = World()
    _ = world.addTap("set")
    _ = listen(world) { _ in TapVerdict(reason: .payloadFormatInvalid, reasonString: Bytes("0123456789")) }
    world.connect("plain", properties: [.number(.requestProblemInformation, 0)])
    world.connect("small", keepAliveSeconds: 60, maximumPacketSize: 18)
    world.connect("fits", keepAliveSeconds: 60, maximumPacketSize: 19)
    world.connect("old", .v311)
    for name in ["plain", "small", "fits", "old"] { world.send(name, .publish(topic: "set", qos: 1, packetID: 1)) }
    world.expect("plain", .pubAck(1, .payloadFormatInvalid))
    world.expect("small", .pubAck(1, .payloadFormatInvalid))
    world.expect("fits", .pubAck(1, .payloadFormatInvalid, text: "0123456789"))  // 2 + 2 + 1 + 1 + 13 bytes
    world.expect("old", .pubAck(1))
    world.send("old", .publish(topic: "set", qos: 2, packetID: 2), .pubRel(2))
    world.expect("old", .pubRec(2), .pubComp(2))
    world.finish()
  }

  @Test func commandsAreNotKept() {
    let world = World()
    _ = world.addTap("set/#")
    _ = listen(world) { _ in TapVerdict(retain: false) }
    world.connect("pub")
    world.connect("sub")
    world.subscribe("sub", "#", retainAsPublished: true)
    world.send("pub", .publish(topic: "set/a", payload: "on", qos: 1, packetID: 1, retain: true))
    world.expect("pub", .pubAck(1))
    world.expect("sub", .publish(topic: "set/a", payload: "on"))
    #expect(world.pool("retained").used == 0)
    world.send("pub", .publish(topic: "state", payload: "on", retain: true))
    #expect(world.pool("retained").used == 1)
    world.finish()
  }

  @Test func tapMayChangeHowItGoesOn() {  // the acknowledgement is for the QoS that came
    let world = World()
    _ = world.addTap("set")
    _ = listen(world) { _ in TapVerdict(qos: .atLeastOnce, retain: true, expirySeconds: 9) }
    world.connect("pub")
    world.connect("sub")
    world.subscribe("sub", "#", qos: 2, retainAsPublished: true)
    world.send("pub", .publish(topic: "set", payload: "x", qos: 2, packetID: 1, properties: [.expiry(100)]), .pubRel(1))
    world.expect("pub", .pubRec(1), .pubComp(1))
    world.expect(
      "sub", .publish(topic: "set", payload: "x", qos: 1, packetID: 1, retain: true, properties: [.expiry(9)]))
    #expect(world.pool("retained").used == 1)
    world.send("pub", .publish(topic: "set", payload: "y"))
    world.expect(
      "sub", .publish(topic: "set", payload: "y", qos: 1, packetID: 2, retain: true, properties: [.expiry(9)]))
    world.publish(topic: "set", retain: true)
    world.finish()
  }

  @Test func willsRunTaps() {
    let world = World()
    _ = world.addTap("set")
    let seen = listen(world)
    world.connect("dev", will: WillFields(topic: "set", payload: "off"))
    world.lose("dev")
    #expect(seen.take() == ["0 dev set off 0"])
    world.finish()
  }

  @Test func invalidPublishNeverReachesATap() {  // known fault of an earlier design
    let world = World()
    _ = world.addTap("#")
    let seen = listen(world)
    for (round, packet) in [
      Packet.publish(topic: "a/+", payload: "x"), .raw([0x30, 5, 0, 1, 0x61, 1, 1]),
      .publish(topic: "a", properties: [.alias(99)]),
    ].enumerated() {
      world.connect("p\(round)")
      world.send("p\(round)", packet)
      #expect(!world.isOpen("p\(round)"))
    }
    #expect(seen.take() == [])
    world.finish()
  }

  @Test func afterEveryTapTheCallerMayPublish() {  // `receive` stops behind the packet
    let world = World()
    _ = world.addTap("set")
    _ = listen(world)
    world.connect("pub")
    let bytes = (0..<3).flatMap { _ in Packet.publish(topic: "set").bytes(.v5) } + Packet.pingReq.bytes(.v5)
    var receipts: [String] = []
    bytes.withUnsafeBytes { all in
      var input = Bytes(all)
      repeat {
        switch world.broker.receive(&input, on: world.client("pub").id, at: world.now) {
        case .done: receipts.append("done")
        case .needsFlush: receipts.append("needs flush")
        case .outboxesFill: receipts.append("outboxes fill")
        case .tapsRan: receipts.append("taps ran, \(input.count) left")
        }
      } while !input.isEmpty
    }
    #expect(receipts == ["taps ran, 18 left", "taps ran, 10 left", "taps ran, 2 left", "done"])
    #expect(world.broker.counters.bytesReceived >= UInt64(bytes.count))
    world.settle()
    world.expect("pub", .pingResp)
    world.finish()
  }

  // MARK: Phases

  private final class Phases {
    var refuser: TapPhase?
    var ran: [TapPhase] = []
  }
  private static let orders: [[TapPhase]] = [
    [.judge, .command, .follow], [.judge, .follow, .command], [.command, .judge, .follow], [.command, .follow, .judge],
    [.follow, .judge, .command], [.follow, .command, .judge],
  ]

  /// Whatever nodes their filters end at, and in whatever order they were added.
  @Test(arguments: orders) func whoMayRefuseRunsBeforeWhoActs(order: [TapPhase]) {
    let filters = ["b/relay/set", "b/+/set", "#"]
    for choice in 0..<27 {
      let world = World()
      for phase in order {
        let divisor = [TapPhase.judge: 1, .command: 3, .follow: 9][phase]!
        #expect(world.addTap(filters[choice / divisor % 3], phase) != nil)
      }
      let phases = Phases()
      world.broker.onTap = { tap, _ in
        phases.ran.append(order[tap.index])
        return phases.refuser == order[tap.index] ? TapVerdict(reason: .notAuthorized) : .accept
      }
      for name in ["v5", "sub"] { world.connect(name) }
      world.connect("old", .v311)
      world.subscribe("sub", "#")
      for refuser in [nil, TapPhase.judge, .command] {
        phases.refuser = refuser
        let expected: [TapPhase] =
          refuser == nil ? [.judge, .command, .follow] : refuser == .judge ? [.judge] : [.judge, .command]
        for name in ["v5", "old"] {
          let reason: ReasonCode = refuser == nil || name == "old" ? .success : .notAuthorized
          for qos in UInt8(0)...2 {
            phases.ran = []
            world.send(name, .publish(topic: "b/relay/set", payload: "x", qos: qos, packetID: 1))
            #expect(phases.ran == expected, "\(order) \(choice)")
            switch qos {
            case 0: world.expectNothing(name)
            case 1: world.expect(name, .pubAck(1, reason))
            default:
              world.expect(name, .pubRec(1, reason))
              if reason == .success {
                world.send(name, .pubRel(1))
                world.expect(name, .pubComp(1))
              }
            }
            if refuser == nil { world.expect("sub", .publish(topic: "b/relay/set", payload: "x")) }
            world.expectNothing("sub")
          }
        }
      }
      world.finish()
    }
  }

  /// Of changes the last one counts, and a command is asked after those who judge: it is not kept, whatever they want.
  @Test(arguments: [["set", "#"], ["#", "set"], ["+", "set"], ["set", "set"]]) func aCommandHasTheLastWord(
    filters: [String]
  ) {
    let world = World()
    #expect(world.addTap(filters[0], .command) == TapID(index: 0))
    #expect(world.addTap(filters[1], .judge) == TapID(index: 1))
    #expect(world.addTap(filters[1], .judge) == TapID(index: 2))
    var ran: [Int] = []
    world.broker.onTap = { tap, _ in
      ran.append(tap.index)
      return TapVerdict(retain: tap.index > 0)
    }
    world.connect("pub")
    world.send("pub", .publish(topic: "set", payload: "x", qos: 1, packetID: 1))
    world.expect("pub", .pubAck(1))
    #expect(ran == [2, 1, 0])  // on one node the one that was added last is first
    #expect(world.pool("retained").used == 0)
    world.finish()
  }

  // MARK: Own publications

  @Test func brokerPublishesItsOwn() {
    let world = World()
    _ = world.addTap("#")
    let seen = listen(world)
    #expect(world.publish(topic: "nobody", payload: "x") == .noMatchingSubscribers)
    world.connect("sub", sessionExpiry: 100)
    world.subscribe("sub", "state/#", qos: 1, retainAsPublished: true)
    #expect(
      world.publish(topic: "state/a", payload: "on", qos: .atLeastOnce, retain: true, expirySeconds: 60) == .success)
    world.expect(
      "sub", .publish(topic: "state/a", payload: "on", qos: 1, packetID: 1, retain: true, properties: [.expiry(60)]))
    #expect(seen.take() == [])  // taps do not hear the broker itself
    world.lose("sub")
    world.publish(topic: "state/b", payload: "late", qos: .exactlyOnce)
    world.connect("sub", cleanStart: false)
    #expect(world.takeAll("sub").map(\.payload) == ["on", "late"])
    world.finish()
  }

  @Test func ownPublicationsThatFindNoRoomAreCounted() {
    var limits = Limits.forTests
    limits.retainedMax = 1
    let world = World(limits: limits)
    #expect(world.publish(topic: "a", payload: "x", retain: true) == .success)
    #expect(world.publish(topic: "b", payload: "x", retain: true) == .quotaExceeded)
    #expect(world.broker.counters.internalDropped == 1)
    world.finish()
  }

  // MARK: $SYS

  private func makeSysWorld() -> World {
    var limits = Limits.forTests
    limits.sessionExpirySecondsMax = 60
    let world = World(limits: limits)
    world.broker.startSys(at: world.now)
    world.advance(seconds: 0.1)
    return world
  }

  @Test func sysTellsWhatGoesOn() {
    let world = makeSysWorld()
    world.connect("sub", sessionExpiry: 60)
    world.subscribe("sub", "$SYS/#")
    let first = world.takeAll("sub")
    let topics = Set(first.compactMap(\.topic))
    for topic in [
      "uptime", "clients/connected", "clients/total", "messages/received", "bytes/sent", "subscriptions/count",
      "retained messages/count",
    ] {
      #expect(topics.contains("$SYS/broker/" + topic), "\(topic)")
    }
    for index in 0..<Broker.poolCount {
      #expect(topics.contains("$SYS/tapline/pools/\(world.broker.pool(index).name)"))
    }
    world.connect("other")
    world.advance(seconds: 10)
    let second = world.takeAll("sub")
    #expect(second.contains(.publish(topic: "$SYS/broker/uptime", payload: "10")))
    #expect(second.contains(.publish(topic: "$SYS/broker/clients/connected", payload: "2")))
    #expect(second.contains(.publish(topic: "$SYS/broker/clients/total", payload: "2")))
    #expect(!second.contains { $0.topic == "$SYS/tapline/closed/malformed" })  // it has not changed
    let pool = second.first { $0.topic == "$SYS/tapline/pools/connections" }?.payload
    #expect(pool == #"{"capacity":16,"used":2,"peak":2,"refused":0,"dropped":0}"#)
    world.send("other", bytes: [0x00, 0x00])
    world.lose("sub")
    world.connect("sub", cleanStart: false, sessionExpiry: 60)
    world.advance(seconds: 10)
    let third = world.takeAll("sub")
    #expect(third.contains(.publish(topic: "$SYS/broker/clients/connected", payload: "1")))
    #expect(third.contains(.publish(topic: "$SYS/tapline/closed/malformed", payload: "1")))
    world.finish()
  }

  @Test func sysIsNotUnderTheWildcards() {  // §4.7.2-1
    let world = makeSysWorld()
    world.connect("sub")
    world.send("sub", .subscribe(1, ["#", "+/broker/uptime"]))
    world.advance(seconds: 20)
    world.expect("sub", .subAck(1, [.success, .success]))
    world.expectNothing("sub")
    world.finish()
  }
}
