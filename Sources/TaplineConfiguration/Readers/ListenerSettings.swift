import Bounded
public import MQTTWire

/// Where clients come in.
public struct ListenerSettings: Sendable {
  public enum Endpoint: Sendable, Equatable {
    /// A numeric IPv4 or IPv6 address as text, and a port from 1 to 65535.
    case tcp(address: [UInt8], port: UInt16)
    /// A path of at most 107 bytes, or `@` and an abstract name; permission bits of the socket file.
    case unix(path: [UInt8], mode: UInt32)
  }

  public var endpoint: Endpoint
  /// Clients without a user name are let in.
  public var isAnonymousAllowed = true
  public var framerPolicy = FramerPolicy.disconnect

  /// What a configuration without listeners gets: this machine only.
  public static var `default`: ListenerSettings {
    ListenerSettings(endpoint: .tcp(address: Text("127.0.0.1").bytes, port: 1883))
  }
}

extension ListenerSettings {
  static var keys: [StaticString] { ["address", "port", "unix", "mode", "anonymous", "framing"] }
  static var countMax: Int { 16 }

  /// `listeners:` as a whole.
  static func readList(_ top: Section) -> [ListenerSettings] {
    let nodes = top.items("listeners", "a list of listeners such as '- {address: 127.0.0.1, port: 1883}'")
    if nodes.count > countMax { top.errors.add(nodes[countMax].place, "more than 16 listeners") }
    var listeners: [ListenerSettings] = []
    var places: [Place] = []
    for node in nodes {
      guard let listener = read(Section(node, "a listener", keys: keys, errors: top.errors)) else { continue }
      for (index, other) in listeners.enumerated() where other.endpoint == listener.endpoint {
        var text = Text("a second listener on the same address; the first is at line ")
        text.add(places[index].line)
        top.errors.add(node.place, text)
      }
      listeners.append(listener)
      places.append(node.place)
    }
    return nodes.isEmpty ? [.default] : listeners
  }

  private static func read(_ section: Section) -> ListenerSettings? {
    let anonymous = section.boolean("anonymous")
    if anonymous == false {
      section.errors.add(
        section.place(of: "anonymous"),
        "'anonymous: false' would let nobody in: this version has no password files yet; leave the listener out")
    }
    let framing = section.choice(
      "framing", [Choice("disconnect", FramerPolicy.disconnect), Choice("resync", .resync)], default: .disconnect)
    guard let endpoint = endpoint(section, isOpen: anonymous == true) else { return nil }
    return ListenerSettings(endpoint: endpoint, isAnonymousAllowed: true, framerPolicy: framing)
  }

  private static func endpoint(_ section: Section, isOpen: Bool) -> Endpoint? {
    let port = section.integer("port", 1...65_535, default: 1883)
    let mode = section.octal("mode", 0...0o777, default: 0o660)
    if section.has("unix") {
      for key: StaticString in ["address", "port"] where section.has(key) {
        var text = Text()
        text.add(quoted: key)
        text.add(" does not go with 'unix'; a listener has either an address or a socket file")
        section.errors.add(section.place(of: key), text)
      }
      guard
        let path = section.word("unix", "a path that begins with /, or @NAME, of at most 107 bytes", byteCountMax: 107)
      else { return nil }
      if path[0] != UInt8(ascii: "/") && (path[0] != UInt8(ascii: "@") || path.count == 1) {
        section.complain("unix", "a path that begins with /, or @NAME, of at most 107 bytes")
        return nil
      }
      return .unix(path: path, mode: UInt32(mode))
    }
    if section.has("mode") {
      section.errors.add(section.place(of: "mode"), "'mode' goes with 'unix' only: it is the socket file's permissions")
    }
    guard section.has("address") else {
      section.errors.add(
        section.place, "a listener without an address; expected 'address: 127.0.0.1' or 'unix: /run/...'")
      return nil
    }
    let expected: StaticString = "a numeric address such as 127.0.0.1, 0.0.0.0 or ::1"
    guard let text = section.word("address", expected, byteCountMax: 64) else { return nil }
    guard let address = IPAddress(text) else {
      section.complain("address", expected)
      return nil
    }
    if !address.isLoopback && !isOpen && section.boolean("anonymous") != false {
      var problem = Text("a listener on ")
      problem.add(text)
      problem.add(" lets everyone on the network in, as this version has no password files yet; ")
      problem.add("expected 'anonymous: true' beside it if that is wanted, or address 127.0.0.1")
      section.errors.add(section.place(of: "address"), problem)
    }
    return .tcp(address: text, port: UInt16(port))
  }
}

/// A numeric address, IPv4 or IPv6 without a scope, most significant byte first.
struct IPAddress {
  /// 4 or 16.
  let bytes: [UInt8]

  init?(_ text: [UInt8]) {
    guard let bytes = text.contains(UInt8(ascii: ":")) ? IPAddress.version6(text) : IPAddress.version4(text) else {
      return nil
    }
    self.bytes = bytes
  }

  /// 127.0.0.0/8, ::1 or ::ffff:127.0.0.0/104.
  var isLoopback: Bool {
    guard bytes.count == 16 else { return bytes[0] == 127 }
    guard bytes[..<10].allSatisfy({ $0 == 0 }) else { return false }
    if bytes[10] == 0xFF && bytes[11] == 0xFF { return bytes[12] == 127 }
    return bytes[10..<15].allSatisfy { $0 == 0 } && bytes[15] == 1
  }

  private static func version4(_ text: [UInt8]) -> [UInt8]? {
    var bytes: [UInt8] = []
    for part in text.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false) {
      guard part.count <= 3, part.count == 1 || part.first != 48, let value = Values.integer([UInt8](part)),
        value >= 0, value <= 255
      else { return nil }
      bytes.append(UInt8(value))
    }
    return bytes.count == 4 ? bytes : nil
  }

  /// Eight groups of up to four hexadecimal digits; `::` once for as many zero groups as are missing, at least one;
  /// the last two groups may be an IPv4 address.
  private static func version6(_ text: [UInt8]) -> [UInt8]? {
    var bytes: [UInt8] = []
    var gap: Int?
    var index = 0
    if text.count >= 2, text[0] == colon, text[1] == colon {
      gap = 0
      index = 2
    }
    while index < text.count {
      let end = text[index...].firstIndex(of: colon) ?? text.count
      let group = [UInt8](text[index..<end])
      if end == text.count, let last = version4(group) {
        bytes.append(contentsOf: last)
        index = end
        continue
      }
      guard let value = hexadecimal(group) else { return nil }
      bytes.append(UInt8(value >> 8))
      bytes.append(UInt8(value & 0xFF))
      index = end
      guard index < text.count else { continue }
      index += 1  // the colon
      if index < text.count, text[index] == colon {
        guard gap == nil else { return nil }
        gap = bytes.count
        index += 1
      } else if index == text.count {
        return nil
      }
    }
    guard let gap else { return bytes.count == 16 ? bytes : nil }
    guard bytes.count <= 14 else { return nil }
    bytes.insert(contentsOf: [UInt8](repeating: 0, count: 16 - bytes.count), at: gap)
    return bytes
  }

  private static func hexadecimal(_ digits: [UInt8]) -> Int? {
    guard !digits.isEmpty, digits.count <= 4 else { return nil }
    var value = 0
    for byte in digits {
      switch byte {
      case 48...57: value = value << 4 | Int(byte - 48)
      case 65...70: value = value << 4 | Int(byte - 55)
      case 97...102: value = value << 4 | Int(byte - 87)
      default: return nil
      }
    }
    return value
  }

  private static var colon: UInt8 { UInt8(ascii: ":") }
}
