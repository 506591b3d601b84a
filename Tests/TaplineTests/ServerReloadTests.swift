import Bounded
import Foundation
import LinuxIO
import MQTTBroker
import MQTTWire
import TaplineConfiguration
import Taps
import Testing

@testable import Tapline

/// A server whose configuration is a file, with users, and clients on a unix socket that are nobody's of this machine.
private final class House {
  let folder: URL
  let server: Server
  let socketPath: String

  init(users: String, files: [String: String], more: String = "") throws {
    folder = FileManager.default.temporaryDirectory.appendingPathComponent("tapline-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    socketPath = folder.appendingPathComponent("s").path
    for (name, text) in files { try House.write(folder, name, text) }
    try House.write(folder, "t.yaml", House.yaml(folder, users, more))
    let configuration = try Configuration(
      file: [UInt8](folder.appendingPathComponent("t.yaml").path.utf8), boards: [UInt8](profilesPath.utf8))
    server = try Server(configuration)
    server.start()
  }

  deinit { try? FileManager.default.removeItem(at: folder) }

  static func write(_ folder: URL, _ name: String, _ text: String) throws {
    try Data(text.utf8).write(to: folder.appendingPathComponent(name))
  }

  static func yaml(_ folder: URL, _ users: String, _ more: String = "") -> String {
    """
    board: simulated
    listeners: [{unix: \(folder.path)/s}]
    \(users.isEmpty ? "" : "users: {\(users)}".replacing("FOLDER", with: folder.path))
    log: {level: error}
    \(more)
    """
  }

  func write(_ name: String, _ text: String) throws { try House.write(folder, name, text) }
  func rewrite(users: String, more: String = "") throws { try write("t.yaml", House.yaml(folder, users, more)) }

  func turn() { _ = server.turn(from: Clock.now()) }

  func run(until what: String, _ condition: () -> Bool) {
    let deadline = Clock.now().adding(seconds: 60)
    while !condition() {
      guard Clock.now() < deadline else {
        Issue.record("never: \(what)")
        return
      }
      turn()
    }
  }

  /// The CONNACK's Reason Code.
  func connect(
    _ client: ServerClient, _ id: String, user: String? = nil, password: String? = nil, expiry: UInt32 = 0
  ) -> ReasonCode? {
    client.send(
      .connect(ConnectFields(clientID: id, properties: [.sessionExpiry(expiry)], userName: user, password: password)))
    var reason: ReasonCode?
    run(until: "CONNACK for \(id)") {
      guard case .connAck(let answer, _, _)? = client.received({ if case .connAck = $0 { true } else { false } }) else {
        return false
      }
      reason = answer
      return true
    }
    return reason
  }

  /// CONNACK's Reason Code for a client that comes and goes.
  func login(_ user: String?, _ password: String? = nil, as id: String = "x") throws -> ReasonCode? {
    connect(try ServerClient(socketPath), id, user: user, password: password)
  }

  /// SIGHUP, and all that follows from it.
  func reload() {
    server.reloadWanted(at: Clock.now())
    run(until: "reloaded") {
      server.reload.lane.underway == 0 && server.reload.judgedCount == nil && !server.reload.isWanted
    }
  }
}

private var profilesPath: String { repository.appendingPathComponent("board/profiles").path }

private func passwords(_ users: (String, String)...) -> String {
  var file = Text()
  for (name, password) in users {
    file.add([UInt8]("\(name):".utf8))
    lent(password) { PasswordEntry(password: $0, salt: Bytes("salt"), iterations: 101) }.write(into: &file)
    file.endLine()
  }
  return String(decoding: file.bytes, as: UTF8.self)
}

@Suite("Users of a running server, and what SIGHUP changes of them")
struct ServerReloadTests {
  private static let files = ["passwd": passwords(("ha", "secret"), ("pump", "x")), "acl": "user ha\ntopic home/#\n"]
  private static let users = "password_file: FOLDER/passwd, acl_file: FOLDER/acl"

  @Test func passwordsAreCheckedOnTheLane() throws {
    let house = try House(users: Self.users, files: Self.files)
    #expect(try house.login(nil, as: "a") == .notAuthorized)
    #expect(try house.login("ha", "wrong", as: "b") == .badUserNameOrPassword)
    #expect(try house.login("nobody", "secret", as: "c") == .badUserNameOrPassword)
    #expect(try house.login("ha", as: "d") == .badUserNameOrPassword)
    let client = try ServerClient(house.socketPath)
    #expect(house.connect(client, "e", user: "ha", password: "secret") == .success)
    client.send(.publish(topic: "home/x", payload: "1", qos: 1, packetID: 1))
    client.send(.publish(topic: "other", payload: "1", qos: 1, packetID: 2))
    house.run(until: "PUBACKs") { client.received { $0.packetID == 2 } != nil }
    #expect(client.received { if case .pubAck(1, .noMatchingSubscribers, _) = $0 { true } else { false } } != nil)
    #expect(client.received { if case .pubAck(2, .notAuthorized, _) = $0 { true } else { false } } != nil)
    #expect(house.server.admission.pendingCount == 0)
    house.server.stop()
  }

  /// What comes behind a CONNECT waits for the verdict, and is served after it.
  @Test func packetsBehindACONNECTWait() throws {
    let house = try House(users: Self.users, files: Self.files)
    let client = try ServerClient(house.socketPath)
    let connect = Packet.connect(ConnectFields(clientID: "c", userName: "ha", password: "secret"))
    client.send(
      connect.bytes(.v5) + Packet.subscribe(7, [Filter("home/#")]).bytes(.v5)
        + Packet.publish(topic: "home/y", payload: "hello").bytes(.v5))
    house.run(until: "its own message") { client.payloads(on: "home/y") == ["hello"] }
    house.server.stop()
  }

  /// A connection that ends while its password waits is nobody's; the next one in its place has its own verdict.
  @Test func whoHasGoneIsNotServed() throws {
    let house = try House(users: Self.users, files: Self.files)
    for round in 0..<8 {
      let gone = try ServerClient(house.socketPath)
      gone.send(.connect(ConnectFields(clientID: "gone", userName: "ha", password: "secret")))
      if round % 2 == 0 { house.run(until: "it waits") { house.server.users!.queue.count > 0 } }
      gone.close()
      #expect(try house.login("ha", "wrong", as: "next") == .badUserNameOrPassword)
    }
    house.run(until: "nobody is connected") { house.server.streams.gauge.used == 0 }
    #expect(house.server.users!.queue.count == 0)
    house.server.stop()
  }

  @Test func aReloadEndsWhoIsGoneOrHasAnotherPassword() throws {
    let house = try House(users: Self.users, files: Self.files)
    let ha = try ServerClient(house.socketPath)
    let pump = try ServerClient(house.socketPath)
    #expect(house.connect(ha, "ha", user: "ha", password: "secret", expiry: 600) == .success)
    #expect(house.connect(pump, "pump", user: "pump", password: "x", expiry: 600) == .success)
    try house.write("passwd", passwords(("eve", "e"), ("pump", "x")))
    house.reload()
    house.run(until: "ha is gone") { ha.isEnded }
    #expect(
      ha.received { if case .disconnect(let reason, _) = $0 { reason == .administrativeAction } else { false } } != nil)
    #expect(!pump.isEnded)
    #expect(try house.login("ha", "secret", as: "x") == .badUserNameOrPassword)
    #expect(try house.login("eve", "e", as: "y") == .success)
    try house.write("passwd", passwords(("eve", "e"), ("pump", "new")))
    house.reload()
    house.run(until: "pump is gone") { pump.isEnded }
    #expect(try house.login("pump", "new", as: "pump") == .success)
    house.server.stop()
  }

  @Test func aReloadChangesRights() throws {
    let house = try House(users: Self.users, files: Self.files)
    let client = try ServerClient(house.socketPath)
    #expect(house.connect(client, "c", user: "pump", password: "x") == .success)
    func publish(_ packetID: UInt16) -> ReasonCode? {
      client.send(.publish(topic: "pump/x", payload: "1", qos: 1, packetID: packetID))
      var reason: ReasonCode?
      house.run(until: "PUBACK") {
        guard case .pubAck(packetID, let answer, _)? = client.received({ $0.packetID == packetID }) else {
          return false
        }
        reason = answer
        return true
      }
      return reason
    }
    #expect(publish(1) == .notAuthorized)
    try house.write("acl", "user ha\ntopic home/#\nuser pump\ntopic pump/#\n")
    house.reload()
    #expect(publish(2) == .noMatchingSubscribers)  // nobody subscribes, but it was taken
    try house.write("acl", "")
    house.reload()
    #expect(publish(3) == .notAuthorized)
    house.server.stop()
  }

  /// Whatever is wrong, everything stays as it was.
  @Test(arguments: [
    ("acl", "user ha\ntopics x\n"), ("acl", "topic a/#/b"), ("passwd", "ha:plain\n"), ("passwd", "ha:$7$101$c2Fsd"),
    ("t.yaml", "users: ["), ("t.yaml", "nonsense: 1"),
  ]) func aWrongFileChangesNothing(file: String, text: String) throws {
    let house = try House(users: Self.users, files: Self.files)
    let client = try ServerClient(house.socketPath)
    #expect(house.connect(client, "c", user: "ha", password: "secret") == .success)
    try house.write(file, text)
    if file != "t.yaml" { try house.write(file == "acl" ? "passwd" : "acl", "") }
    house.reload()
    #expect(!house.server.reload.desk.outcome.problems.isEmpty)
    #expect(!client.isEnded)
    #expect(try house.login("pump", "x", as: "d") == .success)
    house.server.stop()
  }

  /// A file that goes, as by a rename under way, changes nothing either; once it is back, it holds.
  @Test func aMissingFileChangesNothing() throws {
    let house = try House(users: Self.users, files: Self.files)
    try FileManager.default.removeItem(at: house.folder.appendingPathComponent("passwd"))
    house.reload()
    #expect(try house.login("ha", "secret", as: "a") == .success)
    try house.write("passwd", passwords(("new", "n")))
    house.reload()
    #expect(try house.login("new", "n", as: "b") == .success)
    house.server.stop()
  }

  @Test func moreThanThereIsRoomForIsRefusedWhole() throws {
    let house = try House(users: Self.users, files: Self.files, more: "limits: {users: 2, acl_rules: 2}")
    try house.write("passwd", passwords(("ha", "new"), ("b", "x"), ("c", "x")))
    house.reload()
    // The file itself names the limit, as it is read in the configuration first.
    #expect(!house.server.reload.desk.outcome.problems.isEmpty)
    #expect(try house.login("ha", "secret", as: "a") == .success)
    house.server.stop()
  }

  @Test func levelsOfTheLogAreTakenOverAndOtherKeysAreNamed() throws {
    let house = try House(users: "", files: [:])
    #expect(!house.server.log.shows(.warning, .mqtt))
    try house.write(
      "t.yaml",
      """
      board: simulated
      listeners: [{unix: \(house.folder.path)/s, mode: 600}]
      log: {level: error, mqtt: warning}
      taps: {base: b}
      users: {unix: {0: admin}}
      """)
    house.reload()
    #expect(house.server.log.shows(.warning, .mqtt) && !house.server.log.shows(.warning, .server))
    let named = house.server.reload.desk.outcome.needRestart.map { String(decoding: $0.bytes, as: UTF8.self) }
    #expect(named == ["listeners", "taps", "users"])
    #expect(house.server.users == nil)
    house.server.stop()
  }

  /// A thousand signals are a few readings, the last of which begins after the last signal.
  @Test func signalsThatComeTogetherAreOneReload() throws {
    let house = try House(users: Self.users, files: Self.files)
    var readings = 0
    var wasUnderway = false
    for round in 0..<1000 {
      if round == 999 { try house.write("passwd", passwords(("last", "l"))) }
      house.server.reloadWanted(at: Clock.now())
      if house.server.reload.lane.underway > 0, !wasUnderway { readings += 1 }
      wasUnderway = house.server.reload.lane.underway > 0
      if round % 100 == 0 { house.turn() }
    }
    house.reload()
    #expect(readings < 100)
    #expect(try house.login("last", "l", as: "a") == .success)
    house.server.stop()
  }
}
