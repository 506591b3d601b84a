public import Bounded
import COpenSSL

/// A private key, for commands that make certificates. Allocates outside the arena, too.
///
/// Invariant: `pointer` is OpenSSL's key until the last reference goes.
public final class TLSKey {
  let pointer: OpaquePointer

  /// A new key of ECDSA with P-256; nil when there is no memory, or no random number.
  public init?(_ library: TLSLibrary) {
    guard let made = copenssl_key_make() else { return nil }
    pointer = made
  }

  /// The key of a PEM file.
  public init(pem: Bytes, _ library: TLSLibrary) throws(TLSContextError) {
    var verdict = copenssl_verdict()
    guard let read = copenssl_key_read(file(pem), &verdict) else { throw TLSContextError(verdict) }
    pointer = read
  }

  deinit { copenssl_key_free(pointer) }

  /// PKCS #8 without a passphrase, in PEM; nil when there is no memory.
  public var pem: [UInt8]? { TLSCertificate.text { copenssl_key_write(pointer, $0, $1) } }
}

/// What a certificate is good for.
public enum TLSCertificateUse: BitwiseCopyable, Sendable {
  /// To sign the two others.
  case authority
  case server
  case client

  var number: Int32 {
    switch self {
    case .authority: Int32(COPENSSL_AUTHORITY)
    case .server: Int32(COPENSSL_SERVER)
    case .client: Int32(COPENSSL_CLIENT)
    }
  }
}

/// A name by which clients find a server.
public struct TLSServerName: Equatable, Sendable {
  /// ASCII, or the 4 or 16 bytes of an address, most significant first.
  public let bytes: [UInt8]
  public let isAddress: Bool

  public init(dnsName: [UInt8]) {
    bytes = dnsName
    isAddress = false
  }

  /// - Parameter address: 4 or 16 bytes.
  public init(address: [UInt8]) {
    precondition(address.count == 4 || address.count == 16)
    bytes = address
    isAddress = true
  }
}

/// What a certificate is to say.
public struct TLSCertificateOrder: Sendable {
  public var use: TLSCertificateUse
  /// UTF-8, 1 to 64 characters.
  public var commonName: [UInt8]
  public var names: [TLSServerName] = []
  /// Seconds since 1970: the first and the last in which it is valid.
  public var from: Int64
  public var until: Int64

  public init(_ use: TLSCertificateUse, commonName: [UInt8], from: Int64, until: Int64) {
    self.use = use
    self.commonName = commonName
    self.from = from
    self.until = until
  }
}

/// A certificate, for commands that make some. Allocates outside the arena, too.
///
/// Invariant: `pointer` is OpenSSL's certificate until the last reference goes.
public final class TLSCertificate {
  /// OpenSSL does not make the certificate; its reason, in static memory.
  public struct Refusal: Error {
    public let reason: Bytes
  }

  let pointer: OpaquePointer

  /// The first certificate of a PEM file.
  public init(pem: Bytes, _ library: TLSLibrary) throws(TLSContextError) {
    var verdict = copenssl_verdict()
    guard let read = copenssl_certificate_read(file(pem), &verdict) else { throw TLSContextError(verdict) }
    pointer = read
  }

  /// A certificate for the holder of `key`.
  /// - Parameters:
  ///   - authority: who signs; nil for an authority that signs its own certificate.
  ///   - authorityKey: the authority's.
  public init(
    _ order: TLSCertificateOrder, key: TLSKey, authority: TLSCertificate?, authorityKey: TLSKey, _ library: TLSLibrary
  ) throws(Refusal) {
    precondition((order.use == .authority) == (authority == nil))
    var from = copenssl_order()
    from.use = order.use.number
    from.from = order.from
    from.until = order.until
    var names: [copenssl_name] = []
    var bytes: [UInt8] = []
    for name in order.names {
      let start = Int32(bytes.count)
      names.append(copenssl_name(start: start, count: Int32(name.bytes.count), is_address: name.isAddress ? 1 : 0))
      bytes += name.bytes
    }
    var reason: UnsafePointer<CChar>?
    let made = names.withUnsafeBufferPointer { names in
      bytes.withUnsafeBytes { bytes in
        order.commonName.withUnsafeBytes { commonName in
          from.names = names.baseAddress
          from.name_count = Int32(names.count)
          from.name_bytes = bytes.baseAddress
          from.common_name = commonName.baseAddress
          from.common_name_count = Int32(commonName.count)
          return copenssl_certificate_make(&from, key.pointer, authority?.pointer, authorityKey.pointer, &reason)
        }
      }
    }
    guard let made else { throw Refusal(reason: words(reason)) }
    pointer = made
  }

  deinit { copenssl_certificate_free(pointer) }

  /// PEM; nil when there is no memory.
  public var pem: [UInt8]? { TLSCertificate.text { copenssl_certificate_write(pointer, $0, $1) } }

  /// Whether `key` is its key.
  public func fits(_ key: TLSKey) -> Bool { copenssl_certificate_fits(pointer, key.pointer) == 1 }

  /// Why somebody who trusts `authority` does not take this certificate, in OpenSSL's words; nil when nothing speaks against it.
  /// - Parameters:
  ///   - seconds: the time, since 1970.
  ///   - strictly: by all rules of RFC 5280 that OpenSSL checks, which certificates from elsewhere need not keep.
  public func problem(
    of use: TLSCertificateUse, by authority: TLSCertificate, at seconds: Int64, strictly: Bool
  ) -> Bytes? {
    let problem = copenssl_certificate_verify(pointer, authority.pointer, use.number, seconds, strictly ? 1 : 0)
    return problem.map { words($0) }
  }

  /// The last second in which it is valid, since 1970; nil when it says none.
  public var until: Int64? {
    let seconds = copenssl_certificate_until(pointer)
    return seconds < 0 ? nil : seconds
  }

  /// The DNS names and addresses of its subjectAltName.
  public var names: [TLSServerName] {
    var names: [TLSServerName] = []
    var isAddress: Int32 = 0
    while true {
      var bytes = [UInt8](repeating: 0, count: 256)
      let index = Int32(names.count)
      let count = bytes.withUnsafeMutableBytes {
        copenssl_certificate_name(pointer, index, $0.baseAddress, Int32($0.count), &isAddress)
      }
      guard count >= 0, isAddress == 0 || count == 4 || count == 16 else { return names }
      bytes.removeLast(bytes.count - Int(count))
      names.append(isAddress == 0 ? TLSServerName(dnsName: bytes) : TLSServerName(address: bytes))
    }
  }

  /// Whether a client that looks for `name` takes this certificate for that server's.
  public func has(_ name: TLSServerName) -> Bool {
    name.bytes.withUnsafeBytes {
      copenssl_certificate_has_name(pointer, $0.baseAddress, Int32($0.count), name.isAddress ? 1 : 0) == 1
    }
  }

  /// What `write` puts into the memory that it is given, whose size it is told; nil when it fails.
  fileprivate static func text(_ write: (UnsafeMutableRawPointer?, Int32) -> Int32) -> [UInt8]? {
    var text = [UInt8](repeating: 0, count: 16 << 10)
    let count = text.withUnsafeMutableBytes { write($0.baseAddress, Int32($0.count)) }
    guard count > 0 else { return nil }
    text.removeLast(text.count - Int(count))
    return text
  }
}
