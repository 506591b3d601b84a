public import Bounded
import COpenSSL

public enum TLSVersion: UInt8, BitwiseCopyable, Sendable {
  case tls12
  case tls13

  var number: Int32 { self == .tls12 ? Int32(COPENSSL_TLS_1_2) : Int32(COPENSSL_TLS_1_3) }
}

/// Whether clients show a certificate.
public enum TLSClientCertificate: UInt8, BitwiseCopyable, Sendable {
  /// None is asked for.
  case none
  /// One is asked for. A client without any is let in, and is nobody; one with a wrong certificate is not.
  case optional
  case required
}

/// What a context is made of. The files' bytes are PEM and needed only while it is made.
public struct TLSSettings {
  /// The own certificate, then those that lead to its authority.
  public var certificates = Bytes.empty
  public var key = Bytes.empty
  /// The authorities that sign the other side's certificates; nil: there is no such file.
  public var authorities: Bytes?
  /// What the authorities have revoked. The peer's own certificate is looked for, not its authorities'.
  public var revocations: Bytes?
  public var minimumVersion = TLSVersion.tls12
  /// nil: the newest.
  public var maximumVersion: TLSVersion?
  public var clientCertificate = TLSClientCertificate.none
  /// For the side that begins: its own certificate may be missing, and the server's is verified if there are authorities.
  public var isClient = false

  public init() {}
}

/// Which file of a context is meant.
public enum TLSFile: UInt8, BitwiseCopyable, Sendable {
  /// None of them: the settings.
  case settings
  case certificates
  case key
  case authorities
  case revocations
}

/// Why a context could not be made.
public struct TLSContextError: Error, BitwiseCopyable, Sendable {
  public enum Problem: UInt8, BitwiseCopyable, Sendable {
    /// The arena is full.
    case noMemory
    /// It is no PEM, or what is in it is broken.
    case unreadable
    /// The file has nothing of its kind in it.
    case empty
    /// The key needs a passphrase, and nobody is there to type it.
    case encrypted
    /// The key is not that of the first certificate.
    case mismatch
    /// OpenSSL does not take it, such as a key that is too short.
    case refused
    /// Client certificates or a revocation list without authorities.
    case missing
  }

  public var file: TLSFile
  public var problem: Problem
  /// OpenSSL's words, in static memory; may be empty.
  public var reason: Bytes

  /// A clause that follows the file's name: `is not the key of the certificate`.
  public func write(into writer: inout ByteWriter) {
    switch problem {
    case .noMemory: writer.write("does not fit the memory that is reserved for TLS")
    case .unreadable: writer.write("is not readable as PEM")
    case .empty: writer.write(emptyClause)
    case .encrypted: writer.write("is encrypted: remove the passphrase, since nobody can type it at start")
    case .mismatch: writer.write("is not the key of the certificate")
    case .refused: writer.write("is refused by OpenSSL")
    case .missing: writer.write("is missing: client certificates and revocations need it")
    }
    guard !reason.isEmpty else { return }
    writer.write(" (")
    writer.write(reason)
    writer.write(")")
  }

  private var emptyClause: StaticString {
    switch file {
    case .settings, .certificates, .authorities: return "has no certificate in it"
    case .key: return "has no private key in it"
    case .revocations: return "has no revocation list in it"
    }
  }
}

/// What is wrong with files that are used all the same, by the wall clock at the time of reading.
public struct TLSWarnings: OptionSet, BitwiseCopyable, Sendable {
  public let rawValue: UInt32

  public init(rawValue: UInt32) { self.rawValue = rawValue }

  public static var certificateExpired: TLSWarnings { TLSWarnings(rawValue: UInt32(COPENSSL_CERTIFICATE_EXPIRED)) }
  /// The certificate is not valid yet; a clock that was not set says so as well.
  public static var certificateEarly: TLSWarnings { TLSWarnings(rawValue: UInt32(COPENSSL_CERTIFICATE_EARLY)) }
  public static var authorityExpired: TLSWarnings { TLSWarnings(rawValue: UInt32(COPENSSL_AUTHORITY_EXPIRED)) }
  public static var authorityEarly: TLSWarnings { TLSWarnings(rawValue: UInt32(COPENSSL_AUTHORITY_EARLY)) }
  /// Every client certificate is refused until there is a newer list.
  public static var revocationsExpired: TLSWarnings { TLSWarnings(rawValue: UInt32(COPENSSL_REVOCATIONS_EXPIRED)) }
}

/// Certificates, keys and rules for the connections of one listener. Reloading makes a new one and frees the old one, whose
/// connections keep it until they are freed.
///
/// Invariant: `pointer` is OpenSSL's context until `free`, which is called once.
public struct TLSContext: BitwiseCopyable, @unchecked Sendable {
  let pointer: OpaquePointer
  let isClient: Bool
  /// Its own certificates in PEM.
  let certificateByteCount: Int
  let verifiesClients: Bool
  public let warnings: TLSWarnings

  public init(_ settings: TLSSettings, _ library: TLSLibrary) throws(TLSContextError) {
    if let problem = TLSContext.missing(settings) { throw problem }
    var from = copenssl_settings()
    from.certificates = file(settings.certificates)
    from.key = file(settings.key)
    from.authorities = file(settings.authorities ?? .empty)
    from.revocations = file(settings.revocations ?? .empty)
    from.is_client = settings.isClient ? 1 : 0
    from.minimum_version = settings.minimumVersion.number
    from.maximum_version = settings.maximumVersion?.number ?? 0
    from.peer_certificate = TLSContext.peerCertificate(settings)
    from.chacha_first = copenssl_has_aes() == 0 ? 1 : 0
    var verdict = copenssl_verdict()
    guard let made = copenssl_context_new(&from, &verdict) else { throw TLSContextError(verdict) }
    pointer = made
    isClient = settings.isClient
    certificateByteCount = settings.certificates.count
    verifiesClients = settings.clientCertificate != .none
    warnings = TLSWarnings(rawValue: verdict.warnings)
  }

  /// Connections that were made from it keep what they need.
  public func free() { copenssl_context_free(pointer) }

  private static func peerCertificate(_ settings: TLSSettings) -> Int32 {
    if settings.isClient { return Int32(settings.authorities == nil ? COPENSSL_PEER_NONE : COPENSSL_PEER_REQUIRED) }
    switch settings.clientCertificate {
    case .none: return Int32(COPENSSL_PEER_NONE)
    case .optional: return Int32(COPENSSL_PEER_OPTIONAL)
    case .required: return Int32(COPENSSL_PEER_REQUIRED)
    }
  }

  /// What the library is not asked for.
  private static func missing(_ settings: TLSSettings) -> TLSContextError? {
    if settings.certificates.isEmpty && !settings.isClient { return TLSContextError(.certificates, .empty) }
    if let file = settings.authorities, file.isEmpty { return TLSContextError(.authorities, .empty) }
    if let file = settings.revocations, file.isEmpty { return TLSContextError(.revocations, .empty) }
    let verifies = settings.clientCertificate != .none || settings.revocations != nil
    return verifies && settings.authorities == nil ? TLSContextError(.authorities, .missing) : nil
  }
}

func file(_ bytes: Bytes) -> copenssl_file {
  copenssl_file(bytes: bytes.buffer.baseAddress, count: Int64(bytes.count))
}

extension TLSContextError {
  init(_ file: TLSFile, _ problem: Problem) {
    self.file = file
    self.problem = problem
    reason = .empty
  }

  init(_ verdict: copenssl_verdict) {
    switch Int(verdict.file) {
    case COPENSSL_FILE_CERTIFICATES: file = .certificates
    case COPENSSL_FILE_KEY: file = .key
    case COPENSSL_FILE_AUTHORITIES: file = .authorities
    case COPENSSL_FILE_REVOCATIONS: file = .revocations
    default: file = .settings
    }
    switch Int(verdict.problem) {
    case COPENSSL_NO_MEMORY: problem = .noMemory
    case COPENSSL_UNREADABLE: problem = .unreadable
    case COPENSSL_EMPTY: problem = .empty
    case COPENSSL_ENCRYPTED: problem = .encrypted
    case COPENSSL_MISMATCH: problem = .mismatch
    default: problem = .refused
    }
    reason = words(verdict.reason)
  }
}
