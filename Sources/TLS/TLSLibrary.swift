// TLS 1.2 and 1.3 for byte streams: records in, plaintext out, and back.
//
// This module owns what OpenSSL makes: contexts (`TLSContext`) and connections (`TLSConnection`), each until it is freed. It
// does no I/O: whoever owns the socket hands over the bytes that arrived and sends those that a call has produced. It knows no
// MQTT and no configuration file, and reads no clock but through OpenSSL, which compares certificates with the wall clock.
// OpenSSL is loaded only when a `TLSLibrary` is made, and all its memory is the arena that is handed over then. A full arena
// fails one handshake, never the program. A connection is used by one thread at a time, and by another one later: handshakes
// may run beside the loop. Nothing here allocates outside the arena once contexts are made, but for keys and certificates
// (`TLSKey`, `TLSCertificate`), which commands make and the daemon does not.

public import Bounded
import COpenSSL

/// Why there is no TLS on this machine.
public enum TLSLoadError: Error, Sendable {
  /// No libssl.so.3; the dynamic linker's sentence.
  case absent(Bytes)
  /// An OpenSSL without a function that is needed; its name.
  case lacks(Bytes)
  /// This process has used OpenSSL before, with memory that is not the arena's.
  case taken
  /// The static binary cannot load a library.
  case staticBinary
  /// The arena is too small, or OpenSSL refuses to start; its reason, which may be empty.
  case broken(Bytes)

  /// A sentence that says what to do.
  public func write(into writer: inout ByteWriter) {
    switch self {
    case .absent(let reason):
      writer.write("TLS needs OpenSSL 3: install the package libssl3 (Debian 12) or libssl3t64 (Debian 13) (")
      writer.write(reason)
      writer.write(")")
    case .lacks(let name):
      writer.write("TLS needs OpenSSL 3: the installed library lacks ")
      writer.write(name)
    case .taken:
      writer.write("TLS needs OpenSSL for itself: this process has used it before")
    case .staticBinary:
      writer.write("the static binary has no TLS, since it cannot load OpenSSL: use the Debian package")
    case .broken(let reason):
      writer.write("OpenSSL does not start")
      if !reason.isEmpty { writer.write(": ") }
      writer.write(reason)
    }
  }
}

/// What an arena is to serve, beside OpenSSL itself.
public struct TLSPlan: BitwiseCopyable, Sendable {
  /// Those with TLS, 1 or more.
  public var listeners: Int
  public var connections: Int
  /// Under way at once.
  public var handshakes: Int
  /// Whether a listener asks for client certificates. Any of the connections may be that listener's.
  public var verifiesClients: Bool

  public init(listeners: Int, connections: Int, handshakes: Int, verifiesClients: Bool) {
    self.listeners = listeners
    self.connections = connections
    self.handshakes = handshakes
    self.verifiesClients = verifiesClients
  }

  /// Contexts of all listeners beside the first one, and the rehearsal of a reload.
  public var contextBytes: Int {
    (TLSLibrary.contextsPerListener * listeners - 1) * TLSLibrary.contextBytes + TLSLibrary.rehearsalBytes
  }

  public var connectionBytes: Int { connections * TLSLibrary.connectionBytes(verifiesClients: verifiesClients) }
  public var handshakeBytes: Int { handshakes * TLSLibrary.handshakeBytes }
  public var arenaBytes: Int { TLSLibrary.restBytes + contextBytes + connectionBytes + handshakeBytes }
}

/// OpenSSL in this process, and its memory. Whoever has one can make contexts.
///
/// Invariant: OpenSSL is loaded and takes its memory from the arena.
public struct TLSLibrary: BitwiseCopyable, Sendable {
  /// What OpenSSL takes with one listener before the first connection: 397,000 bytes were measured with 3.0, 637,000 with
  /// 3.5. `isWithinPlan` compares.
  public static var restBytes: Int { 768 << 10 }
  /// What a connection takes beside that while it shakes hands: 81,000 bytes were measured with one certificate on each side,
  /// and each further one of a peer's chain takes some 4,000.
  public static var handshakeBytes: Int { 80 << 10 }
  /// A context beside the first one, with a certificate, an authority and a short list of revocations.
  public static var contextBytes: Int { 34 << 10 }
  /// A handshake of a new context with itself, while clients are served.
  public static var rehearsalBytes: Int { 192 << 10 }
  /// Contexts of each listener: the one in use, the one before it while its connections last, and the next one while it is
  /// made.
  public static var contextsPerListener: Int { 3 }

  /// An open connection: 14,300 bytes with OpenSSL 3.0 and 22,000 with 3.5; some 5,000 more with a short client certificate,
  /// which is kept.
  public static func connectionBytes(verifiesClients: Bool) -> Int { (verifiesClients ? 36 : 24) << 10 }

  /// Loads OpenSSL, once in a process, before other threads begin. Allocates outside the arena, as it opens files.
  /// - Parameter arena: aligned to 16 bytes, and never given back.
  public init(arena: UnsafeMutableRawBufferPointer) throws(TLSLoadError) {
    var detail: UnsafePointer<CChar>?
    switch Int(copenssl_load(arena.baseAddress, Int64(arena.count), &detail)) {
    case COPENSSL_LOADED: return
    case COPENSSL_ABSENT: throw .absent(words(detail))
    case COPENSSL_LACKS: throw .lacks(words(detail))
    case COPENSSL_TAKEN: throw .taken
    case COPENSSL_STATIC: throw .staticBinary
    default: throw .broken(words(detail))
    }
  }

  /// OpenSSL's version, such as 3.0.19.
  public var version: Bytes { words(copenssl_version()) }

  /// The arena's bytes: lent now, at most, and how many requests were refused.
  public var gauge: Gauge {
    let figures = copenssl_arena_figures(copenssl_arena())
    var gauge = Gauge(capacity: Int(figures.capacity))
    gauge.lent(Int(figures.peak))
    gauge.givenBack(Int(figures.peak - figures.used))
    gauge.refused = figures.refused
    return gauge
  }

  /// Whether what OpenSSL has taken so far, with `contexts` made and no connection, is what `restBytes` says. If not, the
  /// installed version needs more than is planned for it.
  public func isWithinPlan(contexts: Int) -> Bool {
    gauge.used <= TLSLibrary.restBytes + (contexts - 1) * TLSLibrary.contextBytes
  }

  /// Gives back what OpenSSL keeps for the calling thread. A thread that has shaken hands calls it before it ends.
  public func stopThread() { copenssl_thread_stop() }
}

/// A C string in static memory, without its NUL.
func words(_ text: UnsafePointer<CChar>?) -> Bytes {
  guard let text else { return .empty }
  var count = 0
  while text[count] != 0 { count += 1 }
  return Bytes(UnsafeRawPointer(text), count: count)
}
