import Bounded
import COpenSSL
import Testing

@testable import TLS

/// The suites that use OpenSSL, which has one arena in a process: one test at a time and all on one
/// thread, or its figures say nothing.
@Suite(.serialized, OneThread()) struct LibraryTests {
  static let library: TLSLibrary = {
    let arena = UnsafeMutableRawBufferPointer.allocate(byteCount: 16 << 20, alignment: 64)
    do throws(TLSLoadError) { return try TLSLibrary(arena: arena) } catch {
      fatalError("\(written { error.write(into: &$0) })")
    }
  }()

  static var used: Int { library.gauge.used }

  /// What is lent when this thread keeps nothing.
  static var usedAtRest: Int {
    library.stopThread()
    return used
  }
}

extension TLSSettings {
  /// The listener's.
  static func server(_ change: (inout TLSSettings) -> Void = { _ in }) -> TLSSettings {
    make { settings in
      settings.certificates = kept(Family.shared.server)
      settings.key = kept(Family.shared.serverKey.pem)
      change(&settings)
    }
  }

  static func client(_ change: (inout TLSSettings) -> Void = { _ in }) -> TLSSettings {
    make { settings in
      settings.isClient = true
      settings.authorities = kept(Family.shared.authority)
      change(&settings)
    }
  }

  private static func make(_ change: (inout TLSSettings) -> Void) -> TLSSettings {
    var settings = TLSSettings()
    change(&settings)
    return settings
  }

  mutating func own(_ certificates: [UInt8], _ key: Key) {
    self.certificates = kept(certificates)
    self.key = kept(key.pem)
  }

  /// Client certificates by the family's authority.
  mutating func asks(_ how: TLSClientCertificate) {
    clientCertificate = how
    authorities = kept(Family.shared.authority)
  }

  func context() -> TLSContext {
    do throws(TLSContextError) { return try TLSContext(self, LibraryTests.library) } catch {
      fatalError("\(error.file) \(error.problem) \(text(error.reason))")
    }
  }
}

/// Bytes that stay where they are for as long as the tests run.
func kept(_ bytes: some Collection<UInt8>) -> Bytes {
  let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(bytes.count, 1), alignment: 16)
  memory.copyBytes(from: bytes)
  return Bytes(UnsafeRawBufferPointer(memory)).first(bytes.count)
}

func text(_ bytes: Bytes) -> String { String(decoding: bytes.array(), as: UTF8.self) }

/// What `body` writes.
func written(_ body: (inout ByteWriter) -> Void) -> String {
  withUnsafeTemporaryAllocation(byteCount: 1024, alignment: 8) { buffer in
    var writer = ByteWriter(buffer)
    body(&writer)
    return text(writer.written)
  }
}

/// One end: a connection, what the network has for it, and what it has made of that.
struct End {
  var connection: TLSConnection
  var inbox: [UInt8] = []
  var received: [UInt8] = []
  var fault: TLSFault?
  var hasEnded = false
  /// What each call gets; `receive` of an open connection gets room for a record at least.
  var plaintextRoom = 4096
  var outputRoom = TLSConnection.handshakeOutputBytes

  init(_ connection: TLSConnection) { self.connection = connection }

  var isOpen: Bool { connection.state == .open }

  /// Takes what has come, and gives what is to be sent.
  mutating func take() -> [UInt8] {
    var sent: [UInt8] = []
    while fault == nil, !hasEnded {
      let step = receive()
      sent += step.output
      switch step.event {
      case .opened, .needsOutput, .plaintextFull: continue
      case .needsBytes, .done: return sent
      case .ended: hasEnded = true
      case .failed(let found): fault = found
      }
    }
    return sent
  }

  /// One call.
  mutating func receive() -> (event: TLSStep.Event, output: [UInt8]) {
    var plaintext = [UInt8](repeating: 0, count: plaintextRoom)
    let room = connection.state == .handshaking ? outputRoom : max(outputRoom, TLSConnection.recordOverhead)
    var output = [UInt8](repeating: 0, count: room)
    let bytes = inbox
    let step = bytes.withUnsafeBytes { bytes in
      plaintext.withUnsafeMutableBytes { plaintext in
        output.withUnsafeMutableBytes { connection.receive(Bytes(bytes), plaintext: plaintext, output: $0) }
      }
    }
    inbox.removeFirst(step.taken)
    received += plaintext.prefix(step.plaintext)
    return (step.event, Array(output.prefix(step.produced)))
  }

  /// Records of these bytes, whatever their number.
  mutating func send(_ bytes: [UInt8]) -> [UInt8] {
    var rest = bytes[...]
    var sent: [UInt8] = []
    while !rest.isEmpty {
      var output = [UInt8](repeating: 0, count: outputRoom)
      let step = rest.withUnsafeBytes { rest in
        output.withUnsafeMutableBytes { connection.send(Bytes(rest), output: $0) }
      }
      sent += output.prefix(step.produced)
      rest = rest.dropFirst(step.plaintext)
      if case .failed(let found) = step.event {
        fault = found
        return sent
      }
    }
    return sent
  }

  mutating func close() -> [UInt8] { made { $0.close(output: $1) } }
  mutating func begin() -> [UInt8] { made { $0.begin(output: $1) } }
  mutating func updateKeys() -> [UInt8] { made { $0.updateKeys(output: $1) } }

  private mutating func made(_ body: (inout TLSConnection, UnsafeMutableRawBufferPointer) -> TLSStep) -> [UInt8] {
    var output = [UInt8](repeating: 0, count: outputRoom)
    let step = output.withUnsafeMutableBytes { body(&connection, $0) }
    if case .failed(let found) = step.event { fault = found }
    return Array(output.prefix(step.produced))
  }
}

/// A client and a server, and the network between them.
struct Pair {
  var server: End
  var client: End

  /// Both connections; the client has begun. nil when the arena is full.
  init?(_ server: TLSContext, _ client: TLSContext, isBounded: Bool = false) {
    guard let one = TLSConnection(client) else { return nil }
    guard let other = TLSConnection(server, isBounded: isBounded) else {
      one.free()
      return nil
    }
    self.client = End(one)
    self.server = End(other)
    self.server.inbox = self.client.begin()
  }

  /// Carries bytes until nothing moves.
  mutating func run() {
    var moved = true
    while moved {
      let answer = server.take()
      client.inbox += answer
      let more = client.take()
      server.inbox += more
      moved = !answer.isEmpty || !more.isEmpty
    }
  }

  /// Runs a new pair, hands it to `body`, and frees it.
  static func with<Result>(
    _ server: TLSSettings = .server(), _ client: TLSSettings = .client(), _ body: (inout Pair) -> Result
  ) -> Result {
    let contexts = (server.context(), client.context())
    defer {
      contexts.0.free()
      contexts.1.free()
    }
    var pair = Pair(contexts.0, contexts.1)!
    pair.run()
    defer { pair.free() }
    return body(&pair)
  }

  func free() {
    server.connection.free()
    client.connection.free()
  }
}

/// The records of a byte stream.
func records(_ bytes: [UInt8]) -> [[UInt8]] {
  var found: [[UInt8]] = []
  var rest = bytes[...]
  while rest.count >= 5 {
    let start = rest.startIndex
    let count = 5 + Int(rest[start + 3]) << 8 + Int(rest[start + 4])
    found.append(Array(rest.prefix(count)))
    rest = rest.dropFirst(count)
  }
  return found
}

func record(_ type: UInt8, _ content: [UInt8]) -> [UInt8] {
  [type, 3, 3, UInt8(content.count >> 8), UInt8(content.count & 255)] + content
}
