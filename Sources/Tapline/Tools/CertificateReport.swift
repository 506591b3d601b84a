import Bounded
import TLS
import TaplineConfiguration
import Taps

/// What `tapline cert` has done, and what comes next, for people.
struct CertificateReport {
  private(set) var text = Text()

  /// `made FILE: ...` or `kept FILE: ...`
  mutating func add(isMade: Bool, _ path: [UInt8], _ words: Text) {
    text.add(isMade ? "made " : "kept ")
    text.add(path)
    if words.count > 0 {
      text.add(": ")
      text.add(words)
    }
    text.endLine()
  }

  /// Something about the file of the line before.
  mutating func note(_ words: Text) {
    text.add("     ")
    text.add(words)
    text.endLine()
  }

  /// A listener, and a command that tries it.
  /// - Parameter client: whose certificate is tried; nil: none, but a password.
  mutating func addNextSteps(
    authority: CertificateFiles, server: CertificateFiles, client: CertificateFiles?, best: TLSServerName?
  ) {
    text.add(
      "\nA listener for the configuration, in addition to those that it has:\n\nlisteners:\n  - address: 0.0.0.0\n")
    text.add("    port: 8883\n    tls:\n      certificate: ")
    text.add(CertificateReport.yaml(server.certificatePath))
    text.add("\n      key: ")
    text.add(CertificateReport.yaml(server.keyPath))
    text.endLine()
    if client != nil {
      text.add("      ca: ")
      text.add(CertificateReport.yaml(authority.certificatePath))
      text.add("\n      client_certificate: required\n\nA client without a certificate is let in, with a password,")
      text.add(" where it says optional.\n")
    } else {
      text.add(
        "\nIts clients have passwords (users: password_file, and tapline passwd), or, with --client, certificates.\n")
    }
    text.add(
      "\nTo try it on this machine, once the service is restarted:\n\nmosquitto_pub -h localhost -p 8883 --cafile ")
    text.add(CertificateReport.shell(authority.certificatePath))
    if let client {
      text.add(" --cert ")
      text.add(CertificateReport.shell(client.certificatePath))
      text.add(" --key ")
      text.add(CertificateReport.shell(client.keyPath))
    } else {
      text.add(" -u USER -P PASSWORD")
    }
    text.add(" -q 1 -t test -m hello\n\nOn another machine: with copies of ")
    text.add(client == nil ? "the file after --cafile, and " : "these files, and ")
    text.add(best.map { CertificateNames.text($0) } ?? Text("this machine's name"))
    text.add(" in place of localhost.\n")
  }

  /// `2026-11-30`, in UTC.
  static func date(_ seconds: Int64) -> Text {
    let inRange = min(max(seconds, -9_000_000_000), 9_000_000_000)  // year 2255: nanoseconds are counted in 64 bits
    let whole = written { RFC3339.write(wallNanoseconds: inRange * 1_000_000_000, into: &$0) }
    return Text([UInt8](whole.bytes.prefix(10)))
  }

  /// What `body` writes.
  static func written(_ body: (inout ByteWriter) -> Void) -> Text {
    withUnsafeTemporaryAllocation(byteCount: 512, alignment: 8) { place in
      var writer = ByteWriter(place)
      body(&writer)
      return Text(writer.written.array())
    }
  }

  /// A path as a scalar of YAML.
  static func yaml(_ path: [UInt8]) -> Text {
    if isPlain(path) { return Text(path) }
    var text = Text("\"")
    for byte in path {
      if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { text.add(byte: UInt8(ascii: "\\")) }
      text.add(byte: byte)
    }
    text.add("\"")
    return text
  }

  /// A path as one word of a shell.
  static func shell(_ path: [UInt8]) -> Text {
    if isPlain(path) { return Text(path) }
    var text = Text("'")
    for byte in path {
      if byte == UInt8(ascii: "'") { text.add("'\\'") }
      text.add(byte: byte)
    }
    text.add("'")
    return text
  }

  private static func isPlain(_ path: [UInt8]) -> Bool {
    for byte in path {
      let isDigit = byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
      let isLetter = byte | 0x20 >= UInt8(ascii: "a") && byte | 0x20 <= UInt8(ascii: "z")
      let isOther = byte == UInt8(ascii: "/") || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "-")
      guard isDigit || isLetter || isOther || byte == UInt8(ascii: "_") else { return false }
    }
    return true
  }
}
