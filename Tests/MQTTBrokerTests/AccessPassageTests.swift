import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

/// Every message of a client passes `mayWrite`, and every message to a client passes `mayRead` (53): they count, and so do
/// the broker's own numbers. The compiler keeps the first half: an `Inbound` needs an `Author`.
@Suite struct AccessPassageTests {
  private final class Passage {
    let access = AccessWorld("pattern readwrite #")
    var world: World { access.world }

    /// - Parameters:
    ///   - written: messages of clients that the step brings, Wills at their CONNECT and when they fire among them.
    ///   - sent: PUBLISH packets to clients.
    func step(
      written: UInt64, sent: UInt64, sourceLocation: SourceLocation = #_sourceLocation, _ body: (World) -> Void
    ) {
      let (writes, reads) = (world.broker.rights.writesJudged, world.broker.rights.readsJudged)
      let before = world.broker.counters.publishesSent
      body(world)
      #expect(world.broker.rights.writesJudged == writes + written, sourceLocation: sourceLocation)
      #expect(world.broker.counters.publishesSent == before + sent, sourceLocation: sourceLocation)
      let judged = world.broker.rights.readsJudged - reads
      #expect(judged >= sent && (sent > 0 || judged == 0), sourceLocation: sourceLocation)
    }
  }

  @Test(arguments: Path.all) func nothingPassesBeside(path: Path) {
    let passage = Passage()
    let world = passage.world
    let expiry: UInt32? = path.version == .v5 ? 100 : nil
    func back(_ name: String) {
      world.connect(name, path.version, userName: name, cleanStart: false, sessionExpiry: expiry)
    }
    func publish(_ topic: String, _ id: UInt16, retain: Bool = false, alias: UInt32? = nil) -> Packet {
      .publish(
        topic: topic, payload: "p", qos: path.qos, packetID: path.qos == 0 ? 0 : id, retain: retain,
        properties: alias.map { [.alias($0)] } ?? [])
    }
    passage.step(written: 0, sent: 0) { _ in
      back("ann")
      back("bob")
      world.subscribe("bob", "a/#", qos: 2)
    }
    passage.step(written: 1, sent: 1) { $0.send("ann", publish("a/1", 1)) }
    passage.step(written: 1, sent: 0) { $0.send("ann", publish("nobody", 2)) }
    if path.version == .v5 {
      passage.step(written: 2, sent: 2) { $0.send("ann", publish("a/2", 3, alias: 1), publish("", 4, alias: 1)) }
    }
    passage.step(written: 1, sent: 1) { $0.send("ann", publish("a/r", 5, retain: true)) }
    // What the board says itself has its own right; who reads it has not.
    passage.step(written: 0, sent: 1) { $0.publish(topic: "a/board", payload: "p") }
    _ = passage.access.received("bob")
    // A retained message, live and by replay.
    passage.step(written: 0, sent: 1) { _ in _ = passage.access.subscribe("bob", Filter("+/r", qos: path.qos)) }
    if path.qos == 0 { #expect(passage.access.received("bob") == ["a/r=p"]) }
    // In flight, queued, and sent again.
    if path.qos > 0 {
      passage.step(written: 1, sent: 1) { $0.send("ann", publish("a/3", 6)) }
      passage.step(written: 0, sent: 0) { $0.lose("bob") }
      let queued = passage.access.world.broker.rights.readsJudged
      world.send("ann", publish("a/4", 7))
      #expect(world.broker.rights.readsJudged == queued + 1)
      // The replayed one was not acknowledged.
      passage.step(written: 0, sent: 3) { _ in back("bob") }
      _ = passage.access.received("bob")
    }
    // A shared subscription.
    passage.step(written: 0, sent: 0) { _ in world.subscribe("bob", "$share/g/s", qos: 2) }
    passage.step(written: 1, sent: 1) { $0.send("ann", publish("s", 8)) }
    _ = passage.access.received("bob")
    // A Will: at CONNECT, and when it fires.
    passage.step(written: 1, sent: 0) {
      $0.connect(
        "eve", path.version, userName: "eve", will: WillFields(topic: "a/will", qos: path.qos, retain: true))
    }
    passage.step(written: 1, sent: 1) { $0.lose("eve") }
    _ = passage.access.received("bob")
    world.finish()
  }

  /// Without an ACL nothing is asked.
  @Test func withoutAnACLNobodyIsAsked() {
    let access = AccessWorld(nil)
    let world = access.world
    world.connect("ann", userName: "ann", will: WillFields(topic: "a"))
    world.connect("bob", userName: "bob")
    world.subscribe("bob", "#", qos: 1)
    world.send("ann", .publish(topic: "a", payload: "1", qos: 1, packetID: 1, retain: true))
    world.lose("ann")
    #expect(access.received("bob") == ["a=1", "a=gone"])
    #expect(world.broker.rights.writesJudged == 0 && world.broker.rights.readsJudged == 0)
    #expect(access.denied == [0, 0, 0])
    world.finish()
  }
}
