import Bounded
import LinuxIO
import TLS
import TaplineConfiguration

/// The two files of one name, NAME.crt and NAME.key. What is there is checked, and never replaced unless `replace` says so.
struct CertificateFiles {
  /// Far more than a chain of certificates.
  private static var byteCountMax: Int { 256 << 10 }

  let certificatePath: [UInt8]
  let keyPath: [UInt8]
  /// Nil when the file is not there.
  private(set) var certificate: TLSCertificate?
  private(set) var key: TLSKey?
  private var certificateStatus: FileStatus?
  private var keyStatus: FileStatus?

  /// Reads those that there are, and refuses a key that is not the certificate's.
  init(_ name: [UInt8], in folder: [UInt8], _ library: TLSLibrary) throws(CertificateTool.Problem) {
    let start = folder.equals("/") ? folder : folder + [UInt8(ascii: "/")]
    certificatePath = start + name + [UInt8](ascii: ".crt")
    keyPath = start + name + [UInt8](ascii: ".key")
    if let (bytes, status) = try CertificateFiles.read(certificatePath) {
      certificateStatus = status
      certificate = try CertificateFiles.parsed(certificatePath) { () throws(TLSContextError) in
        try bytes.lend { bytes throws(TLSContextError) in try TLSCertificate(pem: bytes, library) }
      }
    }
    if let (bytes, status) = try CertificateFiles.read(keyPath) {
      keyStatus = status
      key = try CertificateFiles.parsed(keyPath) { () throws(TLSContextError) in
        try bytes.lend { bytes throws(TLSContextError) in try TLSKey(pem: bytes, library) }
      }
    }
    guard let certificate, let key, !certificate.fits(key) else { return }
    var text = Text("this is not the key of ")
    text.add(certificatePath)
    text.add("; bring the right one back, or remove both files to have them made anew")
    throw CertificateTool.problem(keyPath, text)
  }

  /// Whether any user of this machine may read the key.
  var isKeyOpen: Bool { keyStatus?.isOpenToOthers ?? false }

  /// Whether the key's group may read it.
  var isKeyShared: Bool { (keyStatus?.permissions ?? 0) & 0o040 != 0 }

  /// The key that is there, or a new one, which is on the disk when this returns. So a certificate never lacks its key,
  /// whenever the power goes.
  /// - Returns: the key, and whether it is new.
  mutating func makeKey(_ library: TLSLibrary) throws(CertificateTool.Problem) -> (key: TLSKey, isNew: Bool) {
    if let key { return (key, false) }
    guard let made = TLSKey(library), let pem = made.pem else {
      throw CertificateTool.problem(keyPath, Text("OpenSSL makes no key"))
    }
    try CertificateFiles.write(keyPath) { path throws(LinuxError) in
      try pem.lend { pem throws(LinuxError) in try Files.createPrivate(path, with: pem) }
    }
    key = made
    return (made, true)
  }

  /// Writes the certificate in place of the one that may be there, whose owner and permissions it gets.
  mutating func replace(_ made: TLSCertificate) throws(CertificateTool.Problem) {
    guard !certificatePath.lend({ Files.isLink($0) }) else {
      throw CertificateTool.problem(
        certificatePath, Text("this is a symbolic link, which stays as it is; remove it first"))
    }
    guard let pem = made.pem else {
      throw CertificateTool.problem(certificatePath, Text("OpenSSL has no memory for the certificate"))
    }
    let status = certificateStatus
    try CertificateFiles.write(certificatePath) { path throws(LinuxError) in
      try pem.lend { pem throws(LinuxError) in
        if let status {
          try Files.replace(path, with: pem, keeping: status)
        } else {
          try Files.createPublic(path, with: pem)
        }
      }
    }
    certificate = made
  }

  /// Lets a group read the key.
  func shareKey(withGroup group: UInt32) throws(CertificateTool.Problem) {
    try CertificateFiles.write(keyPath) { path throws(LinuxError) in try Files.share(path, withGroup: group) }
  }

  /// Nil when there is no such file.
  private static func read(
    _ path: [UInt8]
  ) throws(CertificateTool.Problem) -> (bytes: [UInt8], status: FileStatus)? {
    var place = [UInt8](repeating: 0, count: byteCountMax)
    do throws(LinuxError) {
      let (byteCount, status) = try path.lend { path throws(LinuxError) in
        try place.withUnsafeMutableBufferPointer { place throws(LinuxError) in
          try Files.read(path, into: UnsafeMutableRawBufferPointer(place))
        }
      }
      place.removeLast(place.count - byteCount)
      return (place, status)
    } catch {
      switch error {
      case .noEntry:
        guard path.lend({ Files.isLink($0) }) else { return nil }
        throw CertificateTool.problem(path, Text("this is a symbolic link that leads nowhere; remove it, or mend it"))
      case .isDirectory:
        throw CertificateTool.problem(path, Text("this is a directory; expected a file in PEM, or nothing"))
      case .invalid:
        throw CertificateTool.problem(path, Text("this is no regular file; expected a file in PEM, or nothing"))
      case .fileTooLarge:
        throw CertificateTool.problem(path, Text("the file is larger than 256 KiB; expected a file in PEM"))
      default: throw CertificateTool.problem(path, "the file cannot be read: ", error)
      }
    }
  }

  private static func write(
    _ path: [UInt8], _ body: (Bytes) throws(LinuxError) -> Void
  ) throws(CertificateTool.Problem) {
    do throws(LinuxError) {
      try path.lend(body)
    } catch {
      throw CertificateTool.problem(path, "the file cannot be written: ", error)
    }
  }

  /// `FILE: the file is not readable as PEM; ...`
  private static func parsed<Value>(
    _ path: [UInt8], _ body: () throws(TLSContextError) -> Value
  ) throws(CertificateTool.Problem) -> Value {
    do throws(TLSContextError) {
      return try body()
    } catch {
      var text = Text("the file ")
      text.add(CertificateReport.written { error.write(into: &$0) })
      text.add("; bring the right one back, or remove it to have it made anew")
      throw CertificateTool.problem(path, text)
    }
  }
}
