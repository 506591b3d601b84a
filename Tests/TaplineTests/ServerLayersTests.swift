import Bounded
import Foundation
import LinuxIO
import MQTTBroker
import MQTTWire
import Testing

@testable import Tapline

@Suite("Connections that are something before they are MQTT")
struct ServerLayersTests {
  private static let taps = "  outputs: {r2: {pin: GPIO2}}\n"
  private static let both = "protocols: [mqtt, websocket]"
  private static let text = [UInt8]("PROXY TCP4 192.0.2.7 198.51.100.1 56324 1883\r\n".utf8)
  private static let binary: [UInt8] =
    [UInt8]("\r\n\r\n\0\r\nQUIT\n".utf8) + [0x21, 0x11, 0, 12, 192, 0, 2, 7, 198, 51, 100, 1, 0xDC, 0x04, 7, 0x5B]

  private func isConnAck(_ packet: Packet) -> Bool { if case .connAck = packet { true } else { false } }

  private func connect(_ clientID: String) -> [UInt8] {
    Packet.connect(ConnectFields(clientID: clientID)).bytes(.v5)
  }

  private func openWebSocket(_ world: ServerWorld, _ clientID: String = "ws") throws -> ServerClient {
    let client = try world.open()
    client.webSocket = WebSocketAnswers()
    client.send(upgradeRequest() + clientFrame(2, connect(clientID)))
    world.run(until: "CONNACK") { client.received(isConnAck) != nil }
    return client
  }

  private func waitForEnd(_ world: ServerWorld, _ client: ServerClient) {
    world.run(until: "it is closed") { client.isEnded }
    #expect(world.server.streams.gauge.used == 0)
    #expect(!world.hasConnections)
    #expect(world.server.admission.pendingCount == 0)
  }

  /// A client says all that it has to say in two pieces, cut at each place, and byte by byte.
  @Test(arguments: [[], text, binary], [false, true])
  func everySplit(header: [UInt8], isWebSocket: Bool) throws {
    let proxy = header.isEmpty ? "" : ", proxy_protocol: true"
    let world = try ServerWorld(
      taps: Self.taps, limits: "connects_per_second: 1000, connect_burst: 1000", listener: Self.both + proxy)
    let connect = connect("c")
    let frames =
      clientFrame(2, Array(connect[..<3]), isFinal: false) + clientFrame(9, [1, 2])
      + clientFrame(0, Array(connect[3...]))
    let said = header + (isWebSocket ? upgradeRequest() + frames : connect)
    for cut in 0...said.count {
      let client = try world.open()
      if isWebSocket { client.webSocket = WebSocketAnswers() }
      if cut > 0 {
        client.send(Array(said[..<cut]))
        _ = world.server.turn(from: Clock.now())
        _ = world.server.turn(from: Clock.now())
      }
      if cut < said.count { client.send(Array(said[cut...])) }
      world.run(until: "CONNACK, cut at \(cut)") { client.received(isConnAck) != nil || client.isEnded }
      #expect(client.received(isConnAck) != nil, "cut at \(cut)")
      if isWebSocket {
        #expect(client.webSocket?.problem == nil)
        #expect(client.webSocket?.head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n") == true)
        #expect(client.webSocket?.controlFrames.map { $0.payload } == [[1, 2]])
      }
      client.close()
      world.run(until: "it is gone") { world.server.streams.gauge.used == 0 }
    }
    let slow = try world.open()
    if isWebSocket { slow.webSocket = WebSocketAnswers() }
    for byte in said {
      slow.send([byte])
      _ = world.server.turn(from: Clock.now())
    }
    world.run(until: "CONNACK") { slow.received(isConnAck) != nil }
    if !header.isEmpty {
      let stream = world.server.streams.stream(at: 0)
      let peer = stream.flatMap { world.server.streams.peer(of: $0) }
      #expect(peer?.isUnix == false && peer?.port == 56_324)
      #expect(world.server.admission.countsOfAddresses.all == 1)
    }
    world.server.stop()
  }

  @Test func messagesGoBothWays() throws {
    let world = try ServerWorld(taps: Self.taps, listener: Self.both)
    let web = try openWebSocket(world)
    let plain = try world.connect("plain")
    web.send(clientFrame(2, Packet.subscribe(1, [Filter("t")]).bytes(.v5)))
    plain.send(.subscribe(1, [Filter("u")]))
    world.run(until: "SUBACKs") {
      [web, plain].allSatisfy { $0.received { if case .subAck = $0 { true } else { false } } != nil }
    }
    for count in [0, 1, 120, 130, 1000, 60_000] {
      let payload = String(repeating: "x", count: count)
      plain.send(.publish(topic: "t", payload: payload))
      world.run(until: "\(count) bytes to the WebSocket") { web.payloads(on: "t").last == payload }
      web.send(clientFrame(2, Packet.publish(topic: "u", payload: payload).bytes(.v5)))
      world.run(until: "\(count) bytes from the WebSocket") { plain.payloads(on: "u").last == payload }
    }
    #expect(web.webSocket?.problem == nil)
    world.server.stop()
  }

  /// A reader that takes nothing for a while: what the kernel does not take goes on later, at the same place of its frame.
  @Test func aSlowReaderGetsWholeFrames() throws {
    let world = try ServerWorld(taps: Self.taps, listener: Self.both)
    let web = try openWebSocket(world)
    web.send(clientFrame(2, Packet.subscribe(1, [Filter("t", qos: 1)]).bytes(.v5)))
    let plain = try world.connect("plain")
    world.run(until: "SUBACK") { web.received { if case .subAck = $0 { true } else { false } } != nil }
    for number in 0..<7 {  // more than the kernel takes, and less than a session may have
      let payload = String(repeating: "\(number % 10)", count: 40_000)
      plain.send(.publish(topic: "t", payload: payload, qos: 1, packetID: UInt16(number + 1)))
      world.run(until: "PUBACK \(number)") { plain.received { $0.packetID == UInt16(number + 1) } != nil }
      web.send(clientFrame(9, [UInt8(number)]))
    }
    world.run(until: "all messages") {
      web.send(clientFrame(2, []))
      return web.payloads(on: "t").count == 7
    }
    #expect(web.payloads(on: "t").map { $0.first! } == Array("0123456"))
    #expect(web.webSocket?.problem == nil)
    #expect(web.webSocket?.controlFrames.last?.payload == [6])
    world.server.stop()
  }

  @Test func theClientCloses() throws {
    let world = try ServerWorld(taps: Self.taps, listener: Self.both)
    let web = try openWebSocket(world)
    web.send(clientFrame(8, [3, 0xE8, 0x41]))
    waitForEnd(world, web)
    #expect(web.webSocket?.controlFrames.map { $0.opcode } == [8])
    #expect(web.webSocket?.controlFrames.first?.payload == [3, 0xE8])
    world.server.stop()
  }

  /// DISCONNECT is answered by a close; the stream stays for the peer's.
  @Test(arguments: [false, true]) func theClientDisconnects(closesAtOnce: Bool) throws {
    let world = try ServerWorld(taps: Self.taps, listener: Self.both)
    let web = try openWebSocket(world)
    let disconnect = clientFrame(2, Packet.disconnect().bytes(.v5))
    web.send(disconnect + (closesAtOnce ? clientFrame(8, []) : []))
    world.run(until: "close") {
      _ = web.isEnded
      return web.webSocket?.controlFrames.count == 1
    }
    #expect(!world.hasConnections)
    if !closesAtOnce {
      #expect(!web.isEnded)
      web.send(clientFrame(9, [1]) + clientFrame(8, [3, 0xE8]))
    }
    waitForEnd(world, web)
    #expect(web.webSocket?.controlFrames.first?.payload == [3, 0xE8])
    world.server.stop()
  }

  /// A peer that does not answer our close is closed after a moment.
  @Test func aPeerThatAnswersNoCloseIsClosed() throws {
    let world = try ServerWorld(taps: Self.taps, listener: Self.both)
    let web = try openWebSocket(world)
    web.send(clientFrame(2, Packet.disconnect().bytes(.v5)))
    waitForEnd(world, web)
    world.server.stop()
  }

  @Test(
    arguments: [
      (clientFrame(1, [0x41]), 1003), ([0x82, 0x01, 0x41], 1002), ([0xC2], 1002), (clientFrame(0, [1]), 1002),
    ] as [([UInt8], UInt16)])
  func brokenFramesAreClosedWithACode(_ bytes: [UInt8], _ code: UInt16) throws {
    let world = try ServerWorld(taps: Self.taps, listener: Self.both)
    let will = try world.connect("watcher")
    will.send(.subscribe(1, [Filter("will")]))
    let web = try world.open()
    web.webSocket = WebSocketAnswers()
    let fields = ConnectFields(clientID: "ws", will: WillFields(topic: "will"))
    web.send(upgradeRequest() + clientFrame(2, Packet.connect(fields).bytes(.v5)))
    world.run(until: "CONNACK") { web.received(isConnAck) != nil }
    web.send(bytes)
    world.run(until: "it is closed") { web.isEnded }
    world.run(until: "Will") { will.payloads(on: "will") == ["gone"] }
    #expect(web.webSocket?.controlFrames.last?.payload == [UInt8(code >> 8), UInt8(code & 0xFF)])
    #expect(world.server.layers.counters.webSocketsFailed == 1)
    world.server.stop()
  }

  @Test(
    arguments: [
      (upgradeRequest(path: "/other"), "404"), (upgradeRequest(subprotocol: "chat"), "400"),
      (upgradeRequest("Origin: https://evil.example\r\n"), "403"),
      ([UInt8]("GET / HTTP/1.1\r\nHost: board\r\n\r\n".utf8), "404"),
      ([UInt8]("GET /mqtt HTTP/1.1\r\nHost: board\r\n\r\n".utf8), "426"),
      ([UInt8]("GET /mqtt HTTP/1.1\n\n".utf8), "400"),
      ([UInt8]("GET /mqtt HTTP/1.1\r\n".utf8) + [UInt8](repeating: 0x41, count: 3000), "431"),
    ] as [([UInt8], String)])
  func otherRequestsAreRefused(_ request: [UInt8], _ status: String) throws {
    let world = try ServerWorld(taps: Self.taps, listener: Self.both + ", origins: ['https://ha.example']")
    for cut in [request.count, 5, request.count - 1] {
      let client = try world.open()
      client.webSocket = WebSocketAnswers()
      client.send(Array(request[..<cut]))
      _ = world.server.turn(from: Clock.now())
      _ = world.server.turn(from: Clock.now())
      if cut < request.count { client.sendSome(Array(request[cut...])) }
      waitForEnd(world, client)
      #expect(client.webSocket?.head.hasPrefix("HTTP/1.1 \(status) ") == true)
    }
    #expect(world.server.layers.counters.upgradesRefused == 3)
    let page = try world.open()
    page.webSocket = WebSocketAnswers()
    page.send(upgradeRequest("Origin: https://ha.example\r\n", subprotocol: "mqttv3.1"))
    world.run(until: "101") {
      _ = page.isEnded
      return page.webSocket?.head.isEmpty == false
    }
    #expect(page.webSocket?.head.contains("Sec-WebSocket-Protocol: mqttv3.1\r\n") == true)
    world.server.stop()
  }

  @Test(
    arguments: [
      ("protocols: [websocket]", Packet.pingReq.bytes(.v5)), ("protocols: [websocket]", [0x10]), (both, [0x16, 3, 1]),
      (both, [0xC0]), (both, [UInt8]("POST".utf8)), ("proxy_protocol: true", [0x10, 1]),
      ("proxy_protocol: true", [UInt8]("PROXY TCP5 ".utf8) + [0x0D, 0x0A]),
    ] as [(String, [UInt8])])
  func otherFirstBytesAreClosed(_ listener: String, _ bytes: [UInt8]) throws {
    let world = try ServerWorld(taps: Self.taps, listener: listener)
    let client = try world.open()
    client.send(bytes)
    waitForEnd(world, client)
    let counters = world.server.layers.counters
    #expect(counters.othersRefused + counters.proxiesRefused == 1)
    world.server.stop()
  }

  /// Who sends half of a request is closed when `connect_seconds` are over, and who says nothing after it, too.
  @Test(arguments: [Array(upgradeRequest().dropLast()), upgradeRequest(), upgradeRequest() + clientFrame(9, [])])
  func whoSendsNoConnectIsClosed(_ bytes: [UInt8]) throws {
    let world = try ServerWorld(taps: Self.taps, limits: "connect_seconds: 1", listener: Self.both)
    let client = try world.open()
    client.send(bytes)
    waitForEnd(world, client)
    #expect(world.server.broker.counters.keepAliveClosed == 1)
    world.server.stop()
  }

  /// Nine halves of requests have room for eight: the first one goes.
  @Test func theOldestHalfRequestGivesWay() throws {
    let world = try ServerWorld(
      taps: Self.taps, limits: "pending_connections: 16, connections: 32, sessions: 32", listener: Self.both)
    var clients: [ServerClient] = []
    for index in 0..<9 {
      let client = try world.open()
      clients.append(client)
      client.send([UInt8]("GET /mq".utf8))
      world.run(until: "it is read") {
        world.server.streams.gauge.used == min(index + 1, 8) && !world.server.streams.hasReadable
      }
      _ = world.server.turn(from: Clock.now())
    }
    world.run(until: "the first is closed") { clients[0].isEnded }
    #expect(clients[1...].allSatisfy { !$0.isEnded })
    #expect(world.server.layers.counters.gaveWay == 1)
    clients[1].webSocket = WebSocketAnswers()
    clients[1].send(Array(upgradeRequest().dropFirst(7)) + clientFrame(2, connect("c")))
    world.run(until: "CONNACK") { clients[1].received(isConnAck) != nil }
    world.server.stop()
  }

  /// A flood of pings and of empty frames is read through, and the last ping answered.
  @Test func floodsAreReadThrough() throws {
    let world = try ServerWorld(taps: Self.taps, listener: Self.both)
    let web = try openWebSocket(world)
    let flood = (0..<2000).flatMap {
      clientFrame($0 % 2 == 0 ? 9 : 2, $0 % 2 == 0 ? [UInt8(truncatingIfNeeded: $0)] : [])
    }
    web.send(flood + clientFrame(9, [0xFF]))
    world.run(until: "the last pong") {
      _ = web.isEnded
      return web.webSocket?.controlFrames.last?.payload == [0xFF]
    }
    web.send(clientFrame(2, Packet.pingReq.bytes(.v5)))
    world.run(until: "PINGRESP") { web.received { $0 == .pingResp } != nil }
    world.server.stop()
  }

  @Test func atTheEndWebSocketsAreClosedAsGoingAway() throws {
    let world = try ServerWorld(taps: Self.taps, listener: Self.both)
    let web = try openWebSocket(world)
    let silent = try world.open()
    silent.send([UInt8]("GET".utf8))
    world.run(until: "it is here") { world.server.streams.gauge.used == 2 }
    world.server.stop()
    #expect(web.received { if case .disconnect = $0 { true } else { false } } != nil)
    #expect(web.webSocket?.controlFrames.map { $0.payload } == [[3, 0xE9]])
    #expect(silent.isEnded)
  }

  @Test func withoutALayerThereIsNoMemory() throws {
    func rows(_ listener: String) throws -> [String] {
      let configuration = try readConfiguration("listeners: [{unix: '@a'\(listener)}]")
      return Server.reserved(configuration).rows.map { "\($0.name)" }
    }
    let layered = try rows(", " + Self.both)
    #expect(try rows("").count < layered.count)
    #expect(try !rows("").contains("layers of streams") && layered.contains("layers of streams"))
  }
}
