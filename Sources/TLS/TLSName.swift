import Bounded
import COpenSSL

/// Where a certificate has the name of its owner.
public enum TLSName: UInt8, BitwiseCopyable, Sendable {
  /// The common name of the subject, of which there must be one.
  case commonName
  /// The first dNSName of the subjectAltName.
  case dnsName
}

/// Why a certificate names nobody. A name goes into topics and access rules, so none is cut, mended or guessed.
public enum TLSNameError: UInt8, Error, BitwiseCopyable, Sendable {
  /// The peer has shown no certificate.
  case noCertificate
  /// The certificate has no such name, or an empty one.
  case none
  /// Two common names: which is meant?
  case several
  /// Over `TLSConnection.nameBytesMax`.
  case tooLong
  /// A NUL or another control character, or `#`, `+` or `/`, which mean something in topics.
  case forbidden
  /// Not UTF-8, or a string of neither UTF-8 nor ASCII, such as a BMPString.
  case encoding
  case noMemory
}

extension TLSConnection {
  /// Common names have 64 characters at most (RFC 5280, appendix A.1), and DNS names 253 bytes.
  public static var nameBytesMax: Int { 256 }

  /// Writes the name, or nothing.
  func copyName(_ kind: TLSName, of pointer: OpaquePointer, into writer: inout ByteWriter) throws(TLSNameError) {
    var name = InlineArray<256, UInt8>(repeating: 0)
    var span = name.mutableSpan
    let which = Int32(kind == .commonName ? COPENSSL_COMMON_NAME : COPENSSL_DNS_NAME)
    let count = span.withUnsafeMutableBytes { bytes in
      let place = bytes.baseAddress!.assumingMemoryBound(to: CChar.self)
      let count = copenssl_peer_name(pointer, which, place, Int32(bytes.count))
      if count > 0 { writer.write(Bytes(place, count: Int(count))) }
      return count
    }
    switch Int(count) {
    case 1...: return
    case COPENSSL_NAME_NO_CERTIFICATE: throw .noCertificate
    case COPENSSL_NAME_NONE: throw .none
    case COPENSSL_NAME_SEVERAL: throw .several
    case COPENSSL_NAME_TOO_LONG: throw .tooLong
    case COPENSSL_NAME_FORBIDDEN: throw .forbidden
    case COPENSSL_NAME_ENCODING: throw .encoding
    default: throw .noMemory
    }
  }
}
