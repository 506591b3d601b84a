import Bounded
import LinuxIO
import TLS
import TaplineConfiguration

/// The names by which clients find a server, each once, as its certificate lists them.
struct CertificateNames {
  /// Far more than a machine has; the certificate stays a few kilobytes long.
  static var countMax: Int { 64 }

  private(set) var all: [TLSServerName] = []

  init(_ names: [TLSServerName]) { all = names }

  /// What this machine is called: its host name, the first part of it alone and as mDNS has it, `localhost`, and its
  /// addresses. IPv6 addresses of one link only are left out, because a client names the link with them.
  init(hostName: [UInt8], addresses: [IPAddress]) {
    let name = hostName.map(CertificateNames.lowercase)
    if CertificateNames.isDNSName(name, mayBeWildcard: false) {
      let first = [UInt8](name.prefix { $0 != UInt8(ascii: ".") })
      _ = add(TLSServerName(dnsName: name))
      _ = add(TLSServerName(dnsName: first))
      if !first.equals("localhost") { _ = add(TLSServerName(dnsName: first + [UInt8](ascii: ".local"))) }
    }
    _ = add(TLSServerName(dnsName: [UInt8](ascii: "localhost")))
    for address in addresses where !address.isLinkLocalIPv6 && !address.isUnspecified && !address.isOfMany {
      _ = add(TLSServerName(address: address.octets))
    }
  }

  /// False when there are too many. A name that is there already is not added again.
  mutating func add(_ name: TLSServerName) -> Bool {
    if all.contains(name) { return true }
    guard all.count < CertificateNames.countMax else { return false }
    all.append(name)
    return true
  }

  /// A name that clients find by mDNS if there is one, or else the first.
  var best: TLSServerName? {
    let suffix = [UInt8](ascii: ".local")
    for name in all where !name.isAddress && name.bytes.count > suffix.count {
      if [UInt8](name.bytes.suffix(suffix.count)) == suffix { return name }
    }
    return all.first
  }

  /// A DNS name or an address that somebody has typed; nil when it is neither.
  static func name(_ text: [UInt8]) -> TLSServerName? {
    if let address = text.lend({ IPAddress($0) }) {
      guard !address.isLinkLocalIPv6, !address.isUnspecified, !address.isOfMany else { return nil }
      return TLSServerName(address: address.octets)
    }
    let name = text.map(lowercase)
    return isDNSName(name, mayBeWildcard: true) ? TLSServerName(dnsName: name) : nil
  }

  static func text(_ name: TLSServerName) -> Text {
    guard name.isAddress, let address = IPAddress(octets: name.bytes) else { return Text(name.bytes) }
    return CertificateReport.written { address.write(to: &$0) }
  }

  /// `a, b, c`.
  static func list(_ names: [TLSServerName]) -> Text {
    var list = Text()
    for name in names {
      if list.count > 0 { list.add(", ") }
      list.add(text(name))
    }
    return list
  }

  /// Labels of letters, digits, hyphens and underscores (RFC 1123 §2.1, and what homes use), 253 bytes at most. The last one
  /// is no number: what looks like an address is none.
  /// - Parameter mayBeWildcard: the first label may be `*` where two others follow, the least that clients accept.
  static func isDNSName(_ name: [UInt8], mayBeWildcard: Bool) -> Bool {
    guard !name.isEmpty, name.count <= 253 else { return false }
    var labelCount = 0
    var hasWildcard = false
    var isNumber = false
    for label in name.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false) {
      labelCount += 1
      if labelCount == 1, mayBeWildcard, label.count == 1, label.first == UInt8(ascii: "*") {
        hasWildcard = true
        continue
      }
      guard !label.isEmpty, label.count <= 63, label.first != UInt8(ascii: "-"), label.last != UInt8(ascii: "-") else {
        return false
      }
      isNumber = true
      for byte in label {
        let isDigit = byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
        let isLetter = lowercase(byte) >= UInt8(ascii: "a") && lowercase(byte) <= UInt8(ascii: "z")
        guard isDigit || isLetter || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_") else { return false }
        if !isDigit { isNumber = false }
      }
    }
    return !isNumber && (!hasWildcard || labelCount >= 3)
  }

  private static func lowercase(_ byte: UInt8) -> UInt8 {
    byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z") ? byte + 32 : byte
  }
}

/// What a client's certificate may call it: a user name, of which the names of its files are made.
enum ClientName {
  /// X.520 allows no more in a common name.
  private static var charactersMax: Int { 64 }
  /// Leaves a file's name room for `.crt.new`.
  private static var byteCountMax: Int { 200 }

  /// What is wrong with `name`; nil when nothing is.
  static func problem(_ name: [UInt8]) -> Text? {
    if let problem = name.lend({ UserName.problem($0, byteCountMax: byteCountMax) }) { return UserName.text(problem) }
    var characterCount = 0
    for byte in name {
      if byte & 0xC0 != 0x80 { characterCount += 1 }
      if byte == UInt8(ascii: "/") || byte == UInt8(ascii: "+") || byte == UInt8(ascii: "#") {
        return Text("the user name has a /, + or #, which mean something in topics")
      }
    }
    guard characterCount <= charactersMax else {
      return Text("the user name is longer than 64 characters, the most that a certificate has")
    }
    guard name.first != UInt8(ascii: ".") else {
      return Text("the user name begins with a full stop, which hides its files")
    }
    let lower = name.map { $0 >= UInt8(ascii: "A") && $0 <= UInt8(ascii: "Z") ? $0 + 32 : $0 }
    guard !lower.equals("ca"), !lower.equals("server") else {
      return Text("ca and server are the names of the other files; expected another user name")
    }
    return nil
  }
}
