import Bounded
import Foundation
import LinuxIO
import MQTTBroker
import MQTTWire
import TaplineConfiguration
import Taps
import Testing

@testable import Tapline

/// A server whose listeners, all of them unix sockets in a folder, are changed in its file.
private final class Hall {
  let folder: URL
  let server: Server

  /// - Parameter listeners: YAML, in which FOLDER is the folder's path.
  init(_ listeners: String..., more: String = "") throws {
    folder = FileManager.default.temporaryDirectory.appendingPathComponent("tapline-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    try Hall.write(folder, listeners, more)
    let configuration = try Configuration(
      file: [UInt8](folder.appendingPathComponent("t.yaml").path.utf8),
      boards: [UInt8](repository.appendingPathComponent("board/profiles").path.utf8))
    server = try Server(configuration)
    server.start()
  }

  deinit {
    server.stop()
    try? FileManager.default.removeItem(at: folder)
  }

  private static func write(_ folder: URL, _ listeners: [String], _ more: String) throws {
    let list = listeners.map { "  - \($0)\n" }.joined().replacing("FOLDER", with: folder.path)
    let yaml = "board: simulated\nlog: {level: error, server: error}\nlisteners:\n\(list)\(more)\n"
    try Data(yaml.utf8).write(to: folder.appendingPathComponent("t.yaml"))
  }

  func run(until what: String, _ condition: () -> Bool) {
    let deadline = Clock.now().adding(seconds: 60)
    while !condition() {
      guard Clock.now() < deadline else {
        Issue.record("never: \(what)")
        return
      }
      _ = server.turn(from: Clock.now())
    }
  }

  /// Writes the file anew, with SIGHUP and all that follows from it. What is wrong with it, without the file's path.
  @discardableResult func reload(_ listeners: String..., more: String = "") throws -> [String] {
    try Hall.write(folder, listeners, more)
    server.reloadWanted(at: Clock.now())
    run(until: "reloaded") {
      server.reload.lane.underway == 0 && server.reload.isDone && !server.reload.isWanted
    }
    return server.reload.desk.outcome.problems.map {
      String(decoding: $0.bytes, as: UTF8.self).replacing(folder.path, with: "FOLDER")
    }
  }

  var needRestart: [String] {
    server.reload.desk.outcome.needRestart.map {
      String(decoding: $0.bytes, as: UTF8.self).replacing(folder.path, with: "FOLDER")
    }
  }

  var lines: [String] {
    (server.reload.desk.outcome.listeners?.lines ?? []).map {
      String(decoding: $0.bytes, as: UTF8.self).replacing(folder.path, with: "FOLDER")
    }
  }

  func path(_ name: String) -> String { folder.appendingPathComponent(name).path }
  func has(_ name: String) -> Bool { FileManager.default.fileExists(atPath: path(name)) }

  func mode(of name: String) throws -> Int {
    try #require(FileManager.default.attributesOfItem(atPath: path(name))[.posixPermissions] as? Int)
  }

  /// A client that is served.
  func connect(_ name: String, as id: String) throws -> ServerClient {
    let client = try ServerClient(path(name))
    client.send(.connect(ConnectFields(clientID: id)))
    run(until: "CONNACK for \(id)") { client.received { if case .connAck = $0 { true } else { false } } != nil }
    return client
  }

  func ping(_ client: ServerClient) {
    func answers() -> Int {
      _ = client.received { _ in false }
      return client.packets.count { if case .pingResp = $0 { true } else { false } }
    }
    let before = answers()
    client.send(.pingReq)
    run(until: "PINGRESP") { answers() > before }
  }
}

@Suite("Listeners that SIGHUP adds, changes and removes") struct ListenerReloadTests {
  private static let one = "{unix: FOLDER/one}"
  private static let two = "{unix: FOLDER/two}"

  @Test func oneIsAddedAndOneGoes() throws {
    let hall = try Hall(Self.one)
    let first = try hall.connect("one", as: "first")
    #expect(try hall.reload(Self.one, Self.two) == [])
    #expect(hall.lines == ["listening on FOLDER/two"])
    let second = try hall.connect("two", as: "second")
    #expect(try hall.reload(Self.two) == [])
    #expect(hall.lines == ["no longer listening on FOLDER/one"])
    #expect(!hall.has("one"))
    for client in [first, second, try hall.connect("two", as: "third")] { hall.ping(client) }
    #expect(try hall.reload(Self.one) == [])  // both at once, in other places
    _ = try hall.connect("one", as: "fourth")
    #expect(!hall.has("two"))
    hall.ping(first)
  }

  /// The file is read, and nothing of the listeners is touched: not their sockets, nor what they are.
  @Test func whatHasNotChangedIsLeftAlone() throws {
    let hall = try Hall(Self.one, Self.two)
    let table = ObjectIdentifier(hall.server.listeners)
    let descriptors = (0..<2).map { hall.server.streams.listener(at: $0)?.fd }
    #expect(try hall.reload(Self.two, "{unix: FOLDER/one, mode: 660}  # in another line") == [])
    #expect(hall.lines == [])
    #expect(ObjectIdentifier(hall.server.listeners) == table)
    #expect((0..<2).map { hall.server.streams.listener(at: $0)?.fd } == descriptors)
  }

  @Test func hundredReloadsTakeNoPlace() throws {
    let hall = try Hall(Self.one)
    for round in 0..<100 {
      let problems = try round % 2 == 0 ? hall.reload(Self.one, Self.two) : hall.reload(Self.one)
      #expect(problems == [])
      #expect(hall.server.streams.listenerCount == 2 - round % 2)
      #expect(hall.server.listeners.rows.count <= 3)
    }
  }

  @Test func settingsOfAListenerChange() throws {
    let hall = try Hall(Self.one)
    let descriptor = hall.server.streams.listener(at: 0)?.fd
    #expect(try hall.mode(of: "one") == 0o660)
    #expect(try hall.reload("{unix: FOLDER/one, mode: 600, framing: resync}") == [])
    #expect(hall.lines == ["changed what is listened to on FOLDER/one"])
    #expect(try hall.mode(of: "one") == 0o600)
    #expect(hall.server.streams.listener(at: 0)?.fd == descriptor)
    #expect(hall.server.listeners[0].framerPolicy == .resync)
    _ = try hall.connect("one", as: "x")
  }

  /// An address in use, after one that could be opened: nothing is changed, and nothing is left open.
  @Test func whatCannotBeOpenedChangesNothing() throws {
    let hall = try Hall(Self.one)
    try Data().write(to: hall.folder.appendingPathComponent("file"))
    let said = try hall.reload(Self.two, "{unix: FOLDER/file}", "{unix: FOLDER/none/s}")
    #expect(
      said == [
        "FOLDER/t.yaml:5:5: cannot listen on FOLDER/file: Address already in use; another broker is running, or what is there is "
          + "no socket file",
        "FOLDER/t.yaml:6:5: cannot listen on FOLDER/none/s: No such file or directory; its directory is missing",
      ])
    #expect(hall.server.streams.listenerCount == 1 && hall.has("one") && !hall.has("two"))
    _ = try hall.connect("one", as: "x")
    #expect(try hall.reload(Self.two) == [])
    _ = try hall.connect("two", as: "y")
  }

  @Test func wrongYAMLOpensNothing() throws {
    let hall = try Hall(Self.one)
    #expect(try !hall.reload(Self.two, more: "nonsense: 1").isEmpty)
    #expect(!hall.has("two") && hall.has("one"))
  }

  /// The others of the file are taken over.
  @Test func whatWasNotReservedNeedsARestart() throws {
    let hall = try Hall(Self.one)
    let problems = try hall.reload(
      "{unix: FOLDER/one, protocols: [mqtt, websocket]}", "{unix: FOLDER/ws, protocols: [websocket]}",
      "{unix: FOLDER/tls, tls: {certificate: /c, key: /k}}", Self.two, "{serial: /dev/none}")
    #expect(problems == [])
    #expect(
      hall.needRestart == [
        "serial lines of listeners",
        "listener FOLDER/one (no listener had WebSocket, a proxy or TLS at the start)",
        "listener FOLDER/ws (no listener had WebSocket, a proxy or TLS at the start)",
        "listener FOLDER/tls (no listener had TLS at the start)",
      ])
    #expect(hall.lines == ["listening on FOLDER/two"])
    #expect(hall.server.listeners[0].layers.isNone && !hall.has("ws") && !hall.has("tls"))
    for name in ["one", "two"] { _ = try hall.connect(name, as: name) }
  }

  /// With room for layers from the start: who is before CONNECT is closed, who has a session stays.
  @Test func whoHasNotComeToCONNECTAtAChangedListenerIsClosed() throws {
    let both = "{unix: FOLDER/one, protocols: [mqtt, websocket]}"
    let hall = try Hall(both, Self.two)
    let served = try hall.connect("one", as: "served")
    let early = try ServerClient(hall.path("one"))
    early.send([UInt8]("GET /mqtt HT".utf8))
    let elsewhere = try ServerClient(hall.path("two"))
    hall.run(until: "both are there") { hall.server.streams.gauge.used == 3 }
    #expect(try hall.reload("{unix: FOLDER/one, protocols: [mqtt, websocket], path: /other}", Self.two) == [])
    hall.run(until: "closed") { early.isEnded }
    #expect(!elsewhere.isEnded)
    hall.ping(served)
    // A listener that takes the place of another one has nothing to do with its streams.
    #expect(try hall.reload(Self.two) == [])
    hall.ping(served)
    #expect(try hall.reload(Self.two, "{unix: FOLDER/three, protocols: [websocket]}") == [])
    hall.ping(served)
  }

  /// Without the users who would be asked for then, a listener is not opened for everybody.
  @Test func listenersWaitForTheUsersThatGoWithThem() throws {
    let hall = try Hall(Self.one)
    #expect(try hall.reload(Self.two, more: "users: {unix: {0: admin}}") == [])
    #expect(hall.needRestart == ["listeners", "users"])
    #expect(hall.has("one") && !hall.has("two"))
  }

  @Test func anonymousIsJudgedByTheListenersOfTheDay() throws {
    let hall = try Hall(Self.one, more: "users: {unix: {4294967290: nobody}}")
    _ = try hall.connect("one", as: "a")
    #expect(try hall.reload("{unix: FOLDER/one, anonymous: false}", more: "users: {unix: {4294967290: nobody}}") == [])
    #expect(!hall.server.listeners[0].isAnonymousAllowed)
    let client = try ServerClient(hall.path("one"))
    client.send(.connect(ConnectFields(clientID: "b")))
    var reason: ReasonCode?
    hall.run(until: "CONNACK") {
      guard case .connAck(let answer, _, _)? = client.received({ if case .connAck = $0 { true } else { false } }) else {
        return false
      }
      reason = answer
      return true
    }
    #expect(reason == .notAuthorized)
  }
}
