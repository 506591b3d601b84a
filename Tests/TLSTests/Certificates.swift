import Foundation
import Glibc

/// A key made by the command `openssl`, and what it signs.
final class Key: Sendable {
  let file: String
  let pem: [UInt8]
  /// SubjectPublicKeyInfo.
  let publicKey: [UInt8]

  init(_ name: String, in directory: TemporaryDirectory, rsa: Bool = false) {
    file = directory.path + "/" + name
    let kind = rsa ? ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"] : ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    openssl(["genpkey", "-algorithm"] + kind + ["-out", file])
    openssl(["pkey", "-in", file, "-pubout", "-outform", "DER", "-out", file + ".public"])
    pem = contents(file)
    publicKey = contents(file + ".public")
  }

  func encrypted() -> [UInt8] {
    openssl(["pkey", "-in", file, "-aes256", "-passout", "pass:secret", "-out", file + ".encrypted"])
    return contents(file + ".encrypted")
  }

  /// `tbs` with its signature; the key is one of P-256.
  func signed(_ tbs: [UInt8]) -> [UInt8] {
    precondition(FileManager.default.createFile(atPath: file + ".tbs", contents: Data(tbs)))
    openssl(["dgst", "-sha256", "-sign", file, "-out", file + ".signature", file + ".tbs"])
    return DER.sequence(tbs, Key.algorithm, DER.bits(contents(file + ".signature")))
  }

  /// ecdsa-with-SHA256.
  static let algorithm = DER.sequence(DER.object([1, 2, 840, 10045, 4, 3, 2]))
}

/// Who signs.
struct Authority {
  var name: [NameString]
  var key: Key

  /// A certificate for the holder of `key`, in PEM.
  func certificate(_ subject: [NameString], _ key: Key, _ how: Certificate = Certificate()) -> [UInt8] {
    let tbs = DER.sequence(
      DER.explicit(0, DER.number(2)), DER.number(how.serial), Key.algorithm, Authority.name(name),
      DER.sequence(DER.time(how.from), DER.time(how.until)), Authority.name(subject), key.publicKey,
      how.extensions.isEmpty ? [] : DER.explicit(3, DER.value(0x30, how.extensions)))
    return DER.pem("CERTIFICATE", self.key.signed(tbs))
  }

  /// Its own certificate.
  func itself() -> [UInt8] { certificate(name, key, Certificate(extensions: Certificate.authority)) }

  func revocations(_ serials: [UInt32], until: String = "491231235959Z") -> [UInt8] {
    let rows = serials.flatMap { DER.sequence(DER.number($0), DER.time("200101000000Z")) }
    let tbs = DER.sequence(
      DER.number(1), Key.algorithm, Authority.name(name), DER.time("200101000000Z"), DER.time(until),
      rows.isEmpty ? [] : DER.value(0x30, rows))
    return DER.pem("X509 CRL", key.signed(tbs))
  }

  static func name(_ strings: [NameString]) -> [UInt8] { DER.value(0x30, strings.flatMap { $0.der }) }
}

struct Certificate {
  var serial: UInt32 = 100
  var from = "200101000000Z"
  var until = "491231235959Z"
  /// Encoded one after another.
  var extensions: [UInt8] = []

  /// basicConstraints: an authority.
  static var authority: [UInt8] {
    DER.sequence(DER.object([2, 5, 29, 19]), DER.yes, DER.octets(DER.sequence(DER.yes)))
  }
  /// extKeyUsage: 1 is for servers, 2 for clients (RFC 5280, section 4.2.1.12).
  static func usage(_ number: Int) -> [UInt8] {
    DER.sequence(DER.object([2, 5, 29, 37]), DER.octets(DER.sequence(DER.object([1, 3, 6, 1, 5, 5, 7, 3, number]))))
  }
  /// subjectAltName of entries such as (2, "a.example"): 1 is an address of mail, 2 a DNS name, 6 an URI.
  static func alternatives(_ entries: [(UInt8, [UInt8])]) -> [UInt8] {
    let names = entries.flatMap { DER.value(0x80 | $0.0, $0.1) }
    return DER.sequence(DER.object([2, 5, 29, 17]), DER.octets(DER.value(0x30, names)))
  }
  /// An extension that nobody knows, of that many bytes.
  static func ballast(_ byteCount: Int) -> [UInt8] {
    DER.sequence(DER.object([1, 2, 3, 4]), DER.octets([UInt8](repeating: 0, count: byteCount)))
  }
}

/// What the tests are about: an authority, a listener with two kinds of keys, clients. Made once, with the command `openssl`.
struct Family: Sendable {
  let directory = TemporaryDirectory()
  let ownKey: Key, otherKey: Key, serverKey: Key, rsaKey: Key, clientKey: Key
  let authority: [UInt8], server: [UInt8], rsaServer: [UInt8]
  /// By the authority, for `clientKey`: serial 7.
  let client: [UInt8]

  static let shared = Family()

  private init() {
    ownKey = Key("authority", in: directory)
    otherKey = Key("other", in: directory)
    serverKey = Key("server", in: directory)
    rsaKey = Key("rsa", in: directory, rsa: true)
    clientKey = Key("client", in: directory)
    let own = Authority(name: [NameString("Tapline test authority")], key: ownKey)
    authority = own.itself()
    server = own.certificate([NameString("localhost")], serverKey)
    rsaServer = own.certificate([NameString("localhost")], rsaKey)
    client = own.certificate([NameString("boiler")], clientKey, Certificate(serial: 7))
  }

  var own: Authority { Authority(name: [NameString("Tapline test authority")], key: ownKey) }
  /// Not in any file of authorities.
  var stranger: Authority { Authority(name: [NameString("Somebody else")], key: otherKey) }
}

/// A directory that is removed with the last test.
final class TemporaryDirectory: Sendable {
  let path: String

  init() {
    var template = Array((NSTemporaryDirectory() as NSString).appendingPathComponent("tapline-tls-XXXXXX").utf8CString)
    path = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
    let made = path
    removed.withLock { $0 = made }
    atexit { removed.withLock { if let path = $0 { try? FileManager.default.removeItem(atPath: path) } } }
  }
}

private let removed = Lock<String?>(nil)

private final class Lock<Value>: @unchecked Sendable {
  private var value: Value
  private let lock = NSLock()
  init(_ value: Value) { self.value = value }
  func withLock<Result>(_ body: (inout Value) -> Result) -> Result {
    lock.lock()
    defer { lock.unlock() }
    return body(&value)
  }
}

private func openssl(_ arguments: [String]) {
  let process = Process()
  process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
  process.arguments = ["openssl"] + arguments
  process.standardError = FileHandle.nullDevice
  try! process.run()
  process.waitUntilExit()
  precondition(process.terminationStatus == 0, "openssl \(arguments.joined(separator: " "))")
}

private func contents(_ path: String) -> [UInt8] { [UInt8](FileManager.default.contents(atPath: path)!) }
