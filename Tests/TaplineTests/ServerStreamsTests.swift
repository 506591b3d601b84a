import Bounded
import Foundation
import LinuxIO
import MQTTBroker
import MQTTWire
import Taps
import Testing

@testable import Tapline

@Suite("Streams and who speaks on them")
struct ServerStreamsTests {
  private static let taps = "  outputs: {r2: {pin: GPIO2}}\n"

  private func isConnAck(_ packet: Packet) -> Bool { if case .connAck = packet { true } else { false } }

  /// A stream that has said nothing is pending and has a place, and the broker knows no connection.
  @Test func aStreamIsAConnectionFromItsFirstByteOn() throws {
    let world = try ServerWorld(taps: Self.taps)
    let client = try world.open()
    world.run(until: "it has arrived") { world.server.streams.gauge.used == 1 }
    #expect(world.server.admission.pendingCount == 1)
    #expect(!world.hasConnections)
    let connect = Packet.connect(ConnectFields(clientID: "c")).bytes(.v5)
    client.send([connect[0]])
    world.run(until: "its first byte") { world.hasConnections }
    #expect(world.server.admission.pendingCount == 1)
    client.send(Array(connect.dropFirst()))
    world.run(until: "CONNACK") { client.received(isConnAck) != nil }
    #expect(world.server.admission.pendingCount == 0)
    client.close()
    world.run(until: "it is gone") { world.server.streams.gauge.used == 0 }
    #expect(!world.hasConnections)
    world.server.stop()
  }

  /// Whatever way they go, nothing is pending afterwards; who is over the limit makes the oldest go, which is counted.
  @Test func pendingStreamsAreCounted() throws {
    let world = try ServerWorld(taps: Self.taps, limits: "pending_connections: 2, connections: 8, sessions: 8")
    let silent = [try world.open(), try world.open()]
    world.run(until: "they have arrived") { world.server.admission.pendingCount == 2 }
    let third = try world.open()
    world.run(until: "the first is closed") { silent[0].isEnded }
    #expect(!silent[1].isEnded && !third.isEnded)
    #expect(world.server.broker.counters.quotaClosed == 1)
    #expect(world.server.broker.pool(0).gauge.refused == 0)
    #expect(world.server.streams.gauge.used == 2)
    third.close()
    silent[1].send([UInt8](repeating: 0xFF, count: 10))
    world.run(until: "both are gone") { world.server.admission.pendingCount == 0 }
    _ = try world.connect("c")
    #expect(world.server.admission.pendingCount == 0)
    world.server.stop()
  }

  /// `connect_seconds` count from the arrival, for who says nothing and for who says too little.
  @Test func whoSendsNoConnectIsClosed() throws {
    let world = try ServerWorld(taps: Self.taps, limits: "connect_seconds: 1")
    let silent = try world.open()
    let slow = try world.open()
    slow.send([0x10])
    world.run(until: "both have arrived") { world.server.admission.pendingCount == 2 }
    world.run(until: "both are closed") { silent.isEnded && slow.isEnded }
    #expect(world.server.broker.counters.keepAliveClosed == 2)
    #expect(world.server.admission.pendingCount == 0 && world.server.streams.gauge.used == 0)
    world.server.stop()
  }

  /// One end of a pair of sockets, given before the first turn, between turns, and from a handler.
  @Test func aConnectionThatTheProgramBringsIsServed() throws {
    let pairs = try (0..<3).map { _ in try Transport.pair() }
    let world = try ServerWorld(taps: Self.taps) { server in
      #expect(server.serve(connection: pairs[0].0))
      try server.onMessage("more") { _, _ in
        #expect(server.serve(connection: pairs[2].0))
        return .accept
      }
    }
    let clients = pairs.map { ServerClient(fd: $0.1) }
    for (index, client) in clients.enumerated() {
      if index == 1 { #expect(world.server.serve(connection: pairs[1].0)) }
      if index == 2 { clients[0].send(.publish(topic: "more", payload: "")) }
      client.send(.connect(ConnectFields(clientID: "c\(index)")))
      world.run(until: "CONNACK \(index)") { client.received(isConnAck) != nil }
    }
    clients[2].send(.subscribe(1, [Filter("t")]))
    clients[1].send(.publish(topic: "t", payload: "hello"))
    world.run(until: "message") { clients[2].payloads(on: "t") == ["hello"] }
    #expect(world.server.broker.pool(0).gauge.used == 3)
    world.server.stop()
  }

  @Test func aConnectionWithoutAPlaceIsClosedAndCounted() throws {
    let world = try ServerWorld(taps: Self.taps, limits: "connections: 1, sessions: 1, pending_connections: 1")
    let first = try Transport.pair()
    let second = try Transport.pair()
    #expect(world.server.serve(connection: first.0))
    let client = ServerClient(fd: first.1)
    client.send(.connect(ConnectFields(clientID: "c")))
    world.run(until: "CONNACK") { client.received(isConnAck) != nil }
    #expect(!world.server.serve(connection: second.0))
    let refused = ServerClient(fd: second.1)
    #expect(refused.isEnded)
    world.run(until: "it is counted") { world.server.broker.pool(0).gauge.refused == 1 }
    client.close()
    world.server.stop()
  }
}
