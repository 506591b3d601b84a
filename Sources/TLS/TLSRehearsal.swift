public import Bounded

/// Why a listener could not shake hands with itself.
public struct TLSRehearsalError: Error, BitwiseCopyable, Sendable {
  public var fault: TLSFault
  /// In static memory; may be empty.
  public var reason: Bytes
}

extension TLSContext {
  /// Shakes hands with itself, before anybody else does. It shows that the listener's certificates and key do, and brings in
  /// what OpenSSL fetches at its first handshake: after it every connection gives back to the arena what it took, to the byte.
  /// Allocates outside the arena.
  /// - Parameter settings: what this context was made of.
  public func rehearse(_ settings: TLSSettings, _ library: TLSLibrary) throws(TLSRehearsalError) {
    if settings.minimumVersion == .tls12 { try rehearse(settings, .tls12, library) }
    if settings.maximumVersion != .tls12 { try rehearse(settings, .tls13, library) }
  }

  private func rehearse(
    _ settings: TLSSettings, _ version: TLSVersion, _ library: TLSLibrary
  ) throws(TLSRehearsalError) {
    precondition(!isClient)
    var own = TLSSettings()
    own.isClient = true
    own.maximumVersion = version
    if settings.clientCertificate != .none {
      own.certificates = settings.certificates
      own.key = settings.key
    }
    let other: TLSContext
    do throws(TLSContextError) { other = try TLSContext(own, library) } catch {
      throw TLSRehearsalError(fault: error.problem == .noMemory ? .noMemory : .violation, reason: error.reason)
    }
    defer { other.free() }
    guard let client = TLSConnection(other) else { throw TLSRehearsalError(fault: .noMemory, reason: .empty) }
    guard let server = TLSConnection(self) else {
      client.free()
      throw TLSRehearsalError(fault: .noMemory, reason: .empty)
    }
    var rehearsal = Rehearsal(server: server, client: client)
    let failed = rehearsal.run(ownCertificateMayFail: settings.clientCertificate != .none)
    rehearsal.free()
    if let failed { throw failed }
  }
}

/// The two ends of a handshake, and the bytes between them.
private struct Rehearsal {
  private var server: TLSConnection
  private var client: TLSConnection
  private let toServer = UnsafeMutableRawBufferPointer.allocate(
    byteCount: TLSConnection.handshakeOutputBytes, alignment: 16)
  private let toClient = UnsafeMutableRawBufferPointer.allocate(
    byteCount: TLSConnection.handshakeOutputBytes, alignment: 16)
  private let plaintext = UnsafeMutableRawBufferPointer.allocate(byteCount: 64, alignment: 16)

  init(server: TLSConnection, client: TLSConnection) {
    self.server = server
    self.client = client
  }

  func free() {
    server.free()
    client.free()
    toServer.deallocate()
    toClient.deallocate()
    plaintext.deallocate()
  }

  /// What went wrong; nil: nothing.
  /// - Parameter ownCertificateMayFail: the listener's certificate need not be one of a client.
  mutating func run(ownCertificateMayFail: Bool) -> TLSRehearsalError? {
    var forServer = client.begin(output: toServer).produced
    var forClient = 0
    var sent = false
    while forServer > 0 {
      if let fault = Rehearsal.give(toServer, &forServer, to: &server, toClient, &forClient, plaintext) {
        return ownCertificateMayFail && fault == .certificate
          ? nil : TLSRehearsalError(fault: fault, reason: server.reason)
      }
      if server.state == .open, !sent {  // one record each way, for what its cipher needs
        sent = true
        let room = UnsafeMutableRawBufferPointer(rebasing: toClient[forClient...])
        forClient += server.send(Bytes("tapline"), output: room).produced
      }
      if let fault = Rehearsal.give(toClient, &forClient, to: &client, toServer, &forServer, plaintext) {
        return TLSRehearsalError(fault: fault, reason: client.reason)
      }
    }
    return server.state == .open && client.state == .open ? nil : TLSRehearsalError(fault: .violation, reason: .empty)
  }

  /// Hands over what waits for one end, and takes its answer.
  private static func give(
    _ bytes: UnsafeMutableRawBufferPointer, _ count: inout Int, to end: inout TLSConnection,
    _ output: UnsafeMutableRawBufferPointer, _ produced: inout Int, _ plaintext: UnsafeMutableRawBufferPointer
  ) -> TLSFault? {
    var rest = Bytes(UnsafeRawBufferPointer(bytes)).first(count)
    count = 0
    while true {
      let room = UnsafeMutableRawBufferPointer(rebasing: output[produced...])
      let step = end.receive(rest, plaintext: plaintext, output: room)
      produced += step.produced
      rest = rest.from(step.taken)
      switch step.event {
      case .opened: continue
      case .failed(let fault): return fault
      case .needsBytes: return rest.isEmpty ? nil : .violation
      case .needsOutput: return .handshakeTooLong  // a chain of certificates that is too long
      case .plaintextFull, .ended, .done: return nil
      }
    }
  }
}
