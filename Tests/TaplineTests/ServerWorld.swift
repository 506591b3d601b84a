import Bounded
import Foundation
import LinuxIO
import MQTTBroker
import MQTTWire
import TaplineConfiguration
import Taps
import Testing

@testable import Tapline

/// A server in this process, its lines simulated and its `/sys` a folder of plain files, and clients that speak to it on a unix
/// socket. Its turns are run by the test, one after the other, on the test's thread.
final class ServerWorld {
  let server: Server
  let folder: URL
  private let socketPath: String

  /// - Parameters:
  ///   - taps: YAML under `taps:`, each line indented by two spaces at least.
  ///   - leds: names of LEDs that `/sys` has; each is off.
  ///   - listener: further keys of the socket's listener.
  init(
    taps: String, leds: [String] = [], limits: String = "", listener: String = "",
    prepare: (Server) throws -> Void = { _ in }
  ) throws {
    folder = FileManager.default.temporaryDirectory.appendingPathComponent("tapline-\(UUID().uuidString)")
    for led in leds {
      let led = folder.appendingPathComponent("class/leds/\(led)")
      try FileManager.default.createDirectory(at: led, withIntermediateDirectories: true)
      for (name, text) in ["max_brightness": "100\n", "brightness": "0\n", "trigger": "none [mmc0]\n"] {
        try Data(text.utf8).write(to: led.appendingPathComponent(name))
      }
    }
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    socketPath = folder.appendingPathComponent("mqtt.sock").path
    let configuration = try readConfiguration(
      """
      board: simulated
      sysfs_root: \(folder.path)
      listeners: [{unix: \(socketPath)\(listener.isEmpty ? "" : ", " + listener)}]
      log: {level: error, server: error, mqtt: error, taps: error, sensors: error, state: error}
      limits: {sys_interval_seconds: 1\(limits.isEmpty ? "" : ", " + limits)}
      taps:
        base: b
      \(taps)
      """)
    server = try Server(configuration)
    try prepare(server)
    server.start()
  }

  deinit { try? FileManager.default.removeItem(at: folder) }

  /// Runs turns until `condition` holds. Each waits for an event or a deadline, of which there is one each second.
  func run(until what: String, _ condition: () -> Bool) {
    var turns = 0
    while !condition() {
      turns += 1
      guard turns < 2000 else {
        Issue.record("never: \(what)")
        return
      }
      _ = server.turn(from: Clock.now())
    }
  }

  /// A client whose CONNECT has been answered.
  func connect(_ clientID: String, will: WillFields? = nil, properties: [Prop] = []) throws -> ServerClient {
    let client = try open()
    client.send(.connect(ConnectFields(clientID: clientID, properties: properties, will: will)))
    run(until: "CONNACK for \(clientID)") { client.received { if case .connAck = $0 { true } else { false } } != nil }
    return client
  }

  /// A client that has said nothing.
  func open() throws -> ServerClient { try ServerClient(socketPath) }

  /// Runs turns until the first LED or PWM channel takes commands.
  func openLED() {
    run(until: "the LED is open") {
      if case .driven = server.taps.levels[0].state { true } else { false }
    }
  }

  var hasConnections: Bool {
    (0..<server.configuration.limits.connectionsMax).contains { server.broker.connection(at: $0) != nil }
  }

  func isHigh(_ offset: Int) -> Bool { server.board.chip!.isHigh(offset) }

  func brightness(of led: String) throws -> Int? {
    let file = folder.appendingPathComponent("class/leds/\(led)/brightness")
    return Int(try String(contentsOf: file, encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines))
  }
}

/// The client's end of a unix socket, MQTT 5.
final class ServerClient {
  private let fd: Int32
  private var bytes: [UInt8] = []
  private(set) var packets: [Packet] = []

  init(_ path: String) throws {
    fd = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    try #require(path.utf8.count < MemoryLayout.size(ofValue: address.sun_path))
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let size = socklen_t(MemoryLayout<sockaddr_un>.size)
    let answer = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { Glibc.connect(fd, $0, size) }
    }
    try #require(answer == 0)
  }

  /// One end of a pair of sockets, whose other end the server has.
  init(fd: Int32) { self.fd = fd }

  deinit { close() }

  private var isClosed = false

  /// Without a DISCONNECT: the server publishes the Will.
  func close() {
    if !isClosed { _ = Glibc.close(fd) }
    isClosed = true
  }

  func send(_ packet: Packet) { send(packet.bytes(.v5)) }

  func send(_ bytes: [UInt8]) {
    // The kernel's buffer takes what tests send.
    let sent = bytes.withUnsafeBytes { Glibc.send(fd, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
    #expect(sent == bytes.count)
  }

  /// As much as the kernel's buffer takes at once.
  func sendSome(_ bytes: [UInt8]) {
    let flags = Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)
    _ = bytes.withUnsafeBytes { Glibc.send(fd, $0.baseAddress, $0.count, flags) }
  }

  /// The first packet like this of all that have come so far.
  func received(_ isWanted: (Packet) -> Bool) -> Packet? {
    takeAll()
    return packets.first(where: isWanted)
  }

  /// Payloads on `topic`, in the order of their coming.
  func payloads(on topic: String) -> [String] {
    takeAll()
    return packets.compactMap { $0.topic == topic ? $0.payload : nil }
  }

  /// The server has closed its end.
  var isEnded: Bool {
    takeAll()
    return hasEnded
  }
  private var hasEnded = false

  /// The server's side of a WebSocket; nil: MQTT comes as it is.
  var webSocket: WebSocketAnswers?

  private func take(_ more: ArraySlice<UInt8>) {
    guard var answers = webSocket else {
      bytes += more
      return
    }
    bytes += answers.take(more)
    webSocket = answers
  }

  private func takeAll() {
    guard !isClosed else { return }
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = recv(fd, &buffer, buffer.count, Int32(MSG_DONTWAIT))
      if count == 0 || count < 0 && errno == ECONNRESET { hasEnded = true }
      guard count > 0 else { break }
      take(buffer[..<count])
    }
    while let packet = try? Packet.takeFirst(from: &bytes, .v5) { packets.append(packet) }
  }
}
