import Bounded
import LinuxIO
import TLS
import TaplineConfiguration

/// The PEM files of a listener's `tls`, as they were read, and the context that is made of them. The start, a reload and
/// `tapline check` take them by this, so all three say the same of them.
struct TLSFiles {
  private let settings: TLSListenerSettings
  private var certificate: [UInt8] = []
  private var key: [UInt8] = []
  private var authorities: [UInt8] = []
  private var revocations: [UInt8] = []

  private static var byteCountMax: Int { 1 << 20 }

  /// nil: one of them cannot be read, and `report` has why.
  init?(_ settings: TLSListenerSettings, _ report: inout FileReport) {
    self.settings = settings
    let places = settings.places
    let certificate = TLSFiles.read(.certificates, settings.certificate, places.certificate, &report)
    let key = TLSFiles.read(.key, settings.key, places.key, &report)
    var authorities: [UInt8]? = []
    if let path = settings.ca { authorities = TLSFiles.read(.authorities, path, places.ca, &report) }
    var revocations: [UInt8]? = []
    if let path = settings.crl { revocations = TLSFiles.read(.revocations, path, places.crl, &report) }
    guard let certificate, let key, let authorities, let revocations else { return nil }
    self.certificate = certificate
    self.key = key
    self.authorities = authorities
    self.revocations = revocations
  }

  /// Two contexts with the same number are the same: bytes of the files, and what is asked of clients.
  var digest: UInt64 {
    let hash = HashKey(low: 0x7461_706C, high: 0x696E_6521)
    var digest: UInt64 = settings.clientCertificate == .none ? 1 : settings.clientCertificate == .optional ? 2 : 3
    if settings.minimum == .tls13 { digest += 4 }
    for file in [certificate, key, authorities, revocations] {
      digest = hash.random(digest ^ file.lend { hash.hash($0) })
    }
    return digest
  }

  private static func read(
    _ file: TLSFile, _ path: [UInt8], _ place: NotedPlace, _ report: inout FileReport
  ) -> [UInt8]? {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCountMax, alignment: 16)
    defer { memory.deallocate() }
    do throws(LinuxError) {
      let (byteCount, status) = try path.lend { path throws(LinuxError) in try Files.read(path, into: memory) }
      if file == .key, status.isOpenToOthers {
        var text = subject(file, path)
        text.add(" is open to every user of this machine; expected chmod 640 or less")
        report.warn(place, text)
      }
      return [UInt8](UnsafeRawBufferPointer(rebasing: memory[..<byteCount]))
    } catch {
      var text = subject(file, path)
      switch error {
      case .noEntry: text.add(" is not there")
      case .isDirectory: text.add(" is a directory")
      case .invalid: text.add(" is no regular file")
      case .fileTooLarge: text.add(" is larger than 1 MiB")
      default:
        text.add(" cannot be read: ")
        text.add(error.text)
      }
      text.add(error == .accessDenied ? "; expected a file that the daemon's user may read" : "; expected a PEM file")
      report.add(place, text)
      return nil
    }
  }

  /// `key '/etc/tapline/server.key'`.
  /// All of it, however long: its end is what tells files apart.
  private static func add(_ path: [UInt8], to text: inout Text) {
    text.add("'")
    text.add(Text(path))
    text.add("'")
  }

  private static func subject(_ file: TLSFile, _ path: [UInt8]) -> Text {
    var text = Text()
    switch file {
    case .settings, .certificates: text.add("certificate ")
    case .key: text.add("key ")
    case .authorities: text.add("ca ")
    case .revocations: text.add("crl ")
    }
    TLSFiles.add(path, to: &text)
    return text
  }

  // MARK: The context

  /// A context that has shaken hands with itself; nil: `report` has why there is none. The caller's to be freed.
  func context(_ library: TLSLibrary, _ report: inout FileReport) -> TLSContext? {
    certificate.lend { certificate in
      key.lend { key in
        authorities.lend { authorities in
          revocations.lend { revocations in
            var own = TLSSettings()
            own.certificates = certificate
            own.key = key
            own.authorities = settings.ca == nil ? nil : authorities
            own.revocations = settings.crl == nil ? nil : revocations
            own.minimumVersion = settings.minimum
            own.clientCertificate = settings.clientCertificate
            return make(own, library, &report)
          }
        }
      }
    }
  }

  private func make(_ own: TLSSettings, _ library: TLSLibrary, _ report: inout FileReport) -> TLSContext? {
    let context: TLSContext
    do throws(TLSContextError) {
      context = try TLSContext(own, library)
    } catch {
      let (path, place) = named(error.file)
      var text = TLSFiles.subject(error.file, path)
      text.add(" ")
      text.add(TLSFiles.text { error.write(into: &$0) })
      text.add(remedy(for: error))
      report.add(place, text)
      return nil
    }
    warn(context.warnings, &report)
    do throws(TLSRehearsalError) {
      try context.rehearse(own, library)
      return context
    } catch {
      context.free()
      var text = TLSFiles.subject(.certificates, settings.certificate)
      text.add(" does not stand a handshake: ")
      text.add(TLSFiles.text { $0.write(error.fault.text) })
      if !error.reason.isEmpty {
        text.add(" (")
        text.add(error.reason)
        text.add(")")
      }
      text.add("; expected a server's certificate with a short chain")
      report.add(settings.places.certificate, text)
      return nil
    }
  }

  /// Where the configuration names a file.
  private func named(_ file: TLSFile) -> ([UInt8], NotedPlace) {
    switch file {
    case .settings, .certificates: (settings.certificate, settings.places.certificate)
    case .key: (settings.key, settings.places.key)
    case .authorities: (settings.ca ?? [], settings.places.ca)
    case .revocations: (settings.crl ?? [], settings.places.crl)
    }
  }

  private func remedy(for error: TLSContextError) -> Text {
    var text = Text("; expected ")
    switch error.problem {
    case .noMemory: text.add("fewer entries in it, or a restart with more of 'limits: connections'")
    case .unreadable, .empty: text.add("a whole PEM file")
    case .encrypted: text.add("a key without one")
    case .mismatch:
      text.add("the key of ")
      TLSFiles.add(settings.certificate, to: &text)
    case .refused: text.add("RSA with 2048 bits or more, or an elliptic curve")
    case .missing: text.add("a PEM file")
    }
    return text
  }

  private func warn(_ warnings: TLSWarnings, _ report: inout FileReport) {
    func add(_ warning: TLSWarnings, _ file: TLSFile, _ what: StaticString) {
      guard warnings.contains(warning) else { return }
      let (path, place) = named(file)
      var text = TLSFiles.subject(file, path)
      text.add(what)
      report.warn(place, text)
    }
    add(.certificateExpired, .certificates, " has expired, so clients refuse it; expected one that is valid today")
    add(
      .certificateEarly, .certificates,
      " is not valid yet, so clients refuse it; expected one that is valid today, and a clock that is set")
    add(.authorityExpired, .authorities, " has an authority that has expired; expected its successor")
    add(.authorityEarly, .authorities, " has an authority that is not valid yet; expected a clock that is set")
    add(
      .revocationsExpired, .revocations,
      " has expired, so clients with certificates are refused; expected a newer list of the authority")
  }

  /// What `write` writes, 512 bytes at most.
  static func text(_ write: (inout ByteWriter) -> Void) -> Text {
    var text = Text()
    withUnsafeTemporaryAllocation(byteCount: 512, alignment: 1) { memory in
      var writer = ByteWriter(memory)
      write(&writer)
      text.add(writer.written)
    }
    return text
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
