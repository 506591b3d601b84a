public import Bounded
import CDigest

/// How a password becomes a hash.
public enum PasswordScheme: UInt8, BitwiseCopyable, Sendable {
  /// `$6$`: one SHA-512 of password and salt.
  case saltedSHA512
  /// `$7$`: PBKDF2 with HMAC-SHA-512.
  case pbkdf2
}

/// The hash that a password is compared with. A value with no reference to anything, so any thread may have a copy.
public struct PasswordEntry: BitwiseCopyable, Sendable {
  public static var saltBytesMax: Int { 64 }
  static var hashBytes: Int { 64 }
  /// Iterations of `$7$` that are allowed where nothing else is said: about 1.5 s of a fast processor.
  public static var iterationsMaxDefault: Int { 1_000_000 }
  /// Iterations of the decoy where no user has a password: mosquitto's default.
  static var iterationsOfNobody: Int { 101 }

  public let scheme: PasswordScheme
  private let isDecoy: Bool
  private let saltByteCount: UInt8
  /// 1 for `$6$`.
  public let iterations: UInt32
  private let salt: InlineArray<64, UInt8>
  private var hash: InlineArray<64, UInt8>

  init(
    scheme: PasswordScheme, iterations: UInt32, salt: InlineArray<64, UInt8>, saltByteCount: Int,
    hash: InlineArray<64, UInt8>, isDecoy: Bool = false
  ) {
    precondition(iterations >= 1)
    precondition(saltByteCount >= 0 && saltByteCount <= PasswordEntry.saltBytesMax)
    self.scheme = scheme
    self.isDecoy = isDecoy
    self.saltByteCount = UInt8(saltByteCount)
    self.iterations = iterations
    self.salt = salt
    self.hash = hash
  }

  /// Makes the entry of a new password, in the scheme `$7$`.
  /// - Parameter salt: 1 to 64 random bytes.
  public init(password: Bytes, salt: Bytes, iterations: UInt32) {
    precondition(salt.count >= 1 && salt.count <= PasswordEntry.saltBytesMax)
    var ownSalt = InlineArray<64, UInt8>(repeating: 0)
    for index in 0..<salt.count { ownSalt[index] = salt[index] }
    self.init(
      scheme: .pbkdf2, iterations: iterations, salt: ownSalt, saltByteCount: salt.count,
      hash: InlineArray(repeating: 0))
    hash = self.digest(of: password)
  }

  /// Makes an entry that no password matches. A comparison with it takes as long as with a real one.
  public static func decoy(_ scheme: PasswordScheme, iterations: UInt32) -> PasswordEntry {
    PasswordEntry(
      scheme: scheme, iterations: iterations, salt: InlineArray(repeating: 0), saltByteCount: 12,
      hash: InlineArray(repeating: 0), isDecoy: true)
  }

  /// Whether `password` is the user's. Takes as long as the entry's iterations do: about 1.5 microseconds each on a fast
  /// processor, so it belongs on a lane. The comparison takes the same time for all passwords of one length. One that ends
  /// in a zero byte is nobody's: PBKDF2 fills a password up with zeros (RFC 2104, §2), so it would be as good as without.
  public func matches(_ password: Bytes) -> Bool {
    let digest = self.digest(of: password)
    let isEqual = digest.span.withUnsafeBytes { digest in
      hash.span.withUnsafeBytes { cdigest_equal(digest.baseAddress!, $0.baseAddress!, PasswordEntry.hashBytes) }
    }
    let endsInZero = !password.isEmpty && password[password.count - 1] == 0
    return isEqual == 1 && !isDecoy && !endsInZero
  }

  /// Whether both stand for the same password, as far as a file says: scheme, iterations, salt and hash are the same.
  public func isSame(as other: PasswordEntry) -> Bool {
    guard scheme == other.scheme, iterations == other.iterations, saltByteCount == other.saltByteCount,
      isDecoy == other.isDecoy
    else { return false }
    for index in 0..<64 where salt[index] != other.salt[index] || hash[index] != other.hash[index] { return false }
    return true
  }

  /// Whether a wrong password costs more here than at `other`.
  func costsMore(than other: PasswordEntry) -> Bool {
    scheme == other.scheme ? iterations > other.iterations : scheme == .pbkdf2
  }

  private func digest(of password: Bytes) -> InlineArray<64, UInt8> {
    var digest = InlineArray<64, UInt8>(repeating: 0)
    var span = digest.mutableSpan
    span.withUnsafeMutableBytes { digest in
      let output = digest.baseAddress!.assumingMemoryBound(to: UInt8.self)
      salt.span.withUnsafeBytes { salt in
        let secret = password.buffer
        switch scheme {
        case .saltedSHA512:
          cdigest_sha512_salted(secret.baseAddress, secret.count, salt.baseAddress!, Int(saltByteCount), output)
        case .pbkdf2:
          cdigest_pbkdf2_sha512(
            secret.baseAddress, secret.count, salt.baseAddress!, Int(saltByteCount), iterations, output)
        }
      }
    }
    return digest
  }

  /// `$7$ITERATIONS$SALT$HASH` or `$6$SALT$HASH`.
  public func write(into text: inout Text) {
    switch scheme {
    case .saltedSHA512: text.add("$6$")
    case .pbkdf2:
      text.add("$7$")
      text.add(Int(iterations))
      text.add("$")
    }
    salt.span.withUnsafeBytes {
      Base64.encode(Bytes(UnsafeRawBufferPointer(rebasing: $0[..<Int(saltByteCount)])), into: &text)
    }
    text.add("$")
    hash.span.withUnsafeBytes { Base64.encode(Bytes($0), into: &text) }
  }
}
