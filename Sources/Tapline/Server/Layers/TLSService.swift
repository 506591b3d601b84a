import Bounded
import LinuxIO
import TLS
import TaplineConfiguration
import Taps

/// OpenSSL, a context for each listener that has TLS, and the thread that shakes hands. Made before READY.
final class TLSService {
  let library: TLSLibrary
  /// By listener; nil: it has no TLS.
  let contexts: [TLSContext?]
  /// Where the name of a client is in its certificate, by listener.
  let names: [TLSName]
  let lane: ErrandLane

  /// - Parameters:
  ///   - listeners: those whose connections are accepted, in the order of `Streams`.
  ///   - arena: OpenSSL's memory.
  init(
    _ listeners: [ListenerSettings], _ arena: UnsafeMutableRawBufferPointer, _ handshakes: borrowing Handshakes,
    log: Log
  ) throws(Server.StartError) {
    let library: TLSLibrary
    do throws(TLSLoadError) {
      library = try TLSLibrary(arena: arena)
    } catch {
      throw Server.StartError(text: TLSService.text { error.write(into: &$0) })
    }
    var contexts: [TLSContext?] = []
    var names: [TLSName] = []
    var contextCount = 0
    for listener in listeners {
      names.append(listener.layers.tls?.identity ?? .commonName)
      guard let settings = listener.layers.tls else {
        contexts.append(nil)
        continue
      }
      contexts.append(try TLSService.context(settings, listener, library, log: log))
      contextCount += 1
    }
    self.library = library
    self.contexts = contexts
    self.names = names
    if !library.isWithinPlan(contexts: contextCount) {
      log.line(.warning, .server) { line in
        line.write("tapline: OpenSSL ")
        line.write(library.version)
        line.write(" takes more memory than is planned for it; fewer TLS connections than limits: connections may fit")
      }
    }
    do throws(LinuxError) {
      lane = try ErrandLane(
        name: "handshakes", stackBytes: Handshakes.stackBytes, requestsMax: Handshakes.countMax,
        run: handshakes.laneBody())
    } catch {
      throw Server.StartError(text: Server.text("the thread for TLS cannot be started: ", error))
    }
  }

  private static func context(
    _ settings: TLSListenerSettings, _ listener: ListenerSettings, _ library: TLSLibrary, log: Log
  ) throws(Server.StartError) -> TLSContext {
    let certificate = try read(settings.certificate)
    let key = try read(settings.key)
    var authorities: [UInt8]?
    if let path = settings.ca { authorities = try read(path) }
    var revocations: [UInt8]?
    if let path = settings.crl { revocations = try read(path) }
    var result: Result<TLSContext, Server.StartError>!
    certificate.lend { certificate in
      key.lend { key in
        (authorities ?? []).lend { ca in
          (revocations ?? []).lend { crl in
            var own = TLSSettings()
            own.certificates = certificate
            own.key = key
            own.authorities = authorities == nil ? nil : ca
            own.revocations = revocations == nil ? nil : crl
            own.minimumVersion = settings.minimum
            own.clientCertificate = settings.clientCertificate
            result = make(own, settings, library)
          }
        }
      }
    }
    switch result! {
    case .failure(let error): throw error
    case .success(let context):
      warn(context.warnings, settings, log: log)
      return context
    }
  }

  private static func make(
    _ own: TLSSettings, _ settings: TLSListenerSettings, _ library: TLSLibrary
  ) -> Result<TLSContext, Server.StartError> {
    let context: TLSContext
    do throws(TLSContextError) {
      context = try TLSContext(own, library)
    } catch {
      var text = Text("tls: ")
      text.add(settings.path(of: error.file))
      text.add(" ")
      text.add(words { error.write(into: &$0) })
      return .failure(Server.StartError(text: text))
    }
    do throws(TLSRehearsalError) {
      try context.rehearse(own, library)
    } catch {
      var text = Text("tls: a handshake with itself fails with ")
      text.add(settings.certificate)
      text.add(": ")
      text.add(TLSService.text { $0.write(error.fault.text) })
      if !error.reason.isEmpty {
        text.add(" (")
        text.add(error.reason)
        text.add(")")
      }
      return .failure(Server.StartError(text: text))
    }
    return .success(context)
  }

  private static func read(_ path: [UInt8]) throws(Server.StartError) -> [UInt8] {
    do throws(LinuxError) {
      return try path.lend { path throws(LinuxError) in try Files.read(path, bytesMax: 1 << 20) }
    } catch {
      var text = Text("tls: ")
      text.add(path)
      text.add(" cannot be read: ")
      text.add(error.text)
      throw Server.StartError(text: text)
    }
  }

  private static func warn(_ warnings: TLSWarnings, _ settings: TLSListenerSettings, log: Log) {
    func tell(_ path: [UInt8], _ what: StaticString) {
      log.line(.warning, .server) { line in
        line.write("tapline: tls: ")
        path.lend { line.write($0) }
        line.write(what)
      }
    }
    if warnings.contains(.certificateExpired) { tell(settings.certificate, " has expired: clients will refuse it") }
    if warnings.contains(.certificateEarly) {
      tell(settings.certificate, " is not valid yet, or the clock is not set: clients will refuse it")
    }
    guard let ca = settings.ca else { return }
    if warnings.contains(.authorityExpired) { tell(ca, " has an authority that has expired") }
    if warnings.contains(.authorityEarly) { tell(ca, " has an authority that is not valid yet") }
    if warnings.contains(.revocationsExpired), let crl = settings.crl {
      tell(crl, " has expired: clients with certificates are refused until there is a newer one")
    }
  }

  private static func words(_ write: (inout ByteWriter) -> Void) -> [UInt8] { text(write).bytes }

  private static func text(_ write: (inout ByteWriter) -> Void) -> Text {
    var text = Text()
    withUnsafeTemporaryAllocation(byteCount: 512, alignment: 1) { memory in
      var writer = ByteWriter(memory)
      write(&writer)
      text.add(writer.written)
    }
    return text
  }
}

extension TLSListenerSettings {
  func path(of file: TLSFile) -> [UInt8] {
    switch file {
    case .settings, .certificates: certificate
    case .key: key
    case .authorities: ca ?? Text("ca").bytes
    case .revocations: crl ?? Text("crl").bytes
    }
  }
}

extension TLSFault {
  /// What the log says of a connection that has failed.
  var text: StaticString {
    switch self {
    case .notTLS: "it does not speak TLS"
    case .badRecord, .recordTooLong: "it sent a broken TLS record"
    case .handshakeTooLong: "its TLS handshake is too long"
    case .renegotiation: "it wanted another TLS handshake"
    case .flood: "it sent too many empty TLS records"
    case .violation: "the TLS handshake failed"
    case .alert: "it ended TLS with an alert"
    case .certificate: "its certificate was refused"
    case .noMemory: "the memory for TLS is full"
    }
  }
}
