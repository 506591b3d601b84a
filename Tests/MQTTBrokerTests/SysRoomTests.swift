import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

@Suite("$SYS has room of its own, whatever clients have retained or subscribed to")
struct SysRoomTests {
  @Test(arguments: ["retained", "nodes", "blocks", "subscriptions"]) func everyClientIsToldOf(full: String) {
    let world = World(limits: Limits())
    world.broker.ownFigure("$SYS/tapline/later")
    world.broker.startSys(at: world.now)
    world.advance(seconds: 1)
    for hoarder in 0..<10 {
      let name = "h\(hoarder)"
      world.connect(name)
      for index in 0..<400 {
        switch full {
        case "subscriptions": world.send(name, .subscribe(1, [Filter("\(name)/\(index)/a/b")]))
        default:
          let topic = full == "nodes" ? "\(name)/\(index)/a/b/c/d/e/f" : "\(name)\(index)"
          let payload = String(repeating: "x", count: full == "blocks" ? 1000 : 1)
          world.send(name, .publish(topic: topic, payload: payload, qos: 1, packetID: 1, retain: true))
        }
      }
      _ = world.takeAll(name)
    }
    for client in 10..<60 { world.connect("a-client-of-a-long-name-\(client)") }
    world.advance(seconds: 11)
    world.broker.publishFigure("$SYS/tapline/later", 7, omitsZero: true, at: world.now)
    world.connect("late")
    world.subscribe("late", "$SYS/tapline/#")
    let topics = Set(world.takeAll("late").compactMap(\.topic))
    #expect(topics.contains("$SYS/tapline/later"))
    for client in 10..<60 { #expect(topics.contains("$SYS/tapline/clients/by_id/a-client-of-a-long-name-\(client)")) }
    #expect(world.broker.counters.internalDropped == 0)
    world.audit()
  }
}
