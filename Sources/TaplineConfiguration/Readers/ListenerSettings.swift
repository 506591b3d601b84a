import Bounded
public import LinuxIO
public import MQTTWire
import TLS

/// Where clients come in.
public struct ListenerSettings: Sendable, Equatable {
  public enum Endpoint: Sendable, Equatable {
    /// A numeric IPv4 or IPv6 address as text, and a port from 1 to 65535.
    case tcp(address: [UInt8], port: UInt16)
    /// A path of at most 107 bytes and the permission bits of the socket file, or `@` and an abstract name, which has none.
    case unix(path: [UInt8], mode: UInt32)
    /// The path of a serial device, with one client at the line's far end.
    case serial(path: [UInt8], SerialSettings)
  }

  public var endpoint: Endpoint
  /// Clients without a user name are let in.
  public var isAnonymousAllowed = true
  public var framerPolicy = FramerPolicy.disconnect
  public var layers = LayerSettings()

  package var noted = NotedPlace()

  package var isSerial: Bool { if case .serial = endpoint { true } else { false } }

  /// What a configuration without listeners gets: this machine only.
  public static var `default`: ListenerSettings {
    ListenerSettings(endpoint: .tcp(address: Text("127.0.0.1").bytes, port: 1883))
  }
}

extension ListenerSettings {
  static var keys: [StaticString] {
    ["address", "port", "unix", "mode", "anonymous", "framing", "serial", "baud", "parity", "flow"] + LayerSettings.keys
  }
  static var countMax: Int { 16 }

  /// `listeners:` as a whole.
  /// - Parameters:
  ///   - hasPasswordFile: from then on nobody is anonymous unless a listener says so.
  ///   - hasUnixUsers: unix sockets know users by themselves.
  static func readList(_ top: Section, hasPasswordFile: Bool, hasUnixUsers: Bool) -> [ListenerSettings] {
    let users = Users(hasPasswordFile: hasPasswordFile, hasUnixUsers: hasUnixUsers)
    let nodes = top.items("listeners", "a list of listeners such as '- {address: 127.0.0.1, port: 1883}'")
    if nodes.count > countMax { top.errors.add(nodes[countMax].place, "more than 16 listeners") }
    var listeners: [ListenerSettings] = []
    var places: [Place] = []
    for node in nodes {
      guard var listener = read(Section(node, "a listener", keys: keys, errors: top.errors), users) else { continue }
      listener.noted.place = node.place
      for (index, other) in listeners.enumerated() where other.isSamePlace(as: listener) {
        var text = Text("a second listener on the same address; the first is at line ")
        text.add(places[index].line)
        top.errors.add(node.place, text)
      }
      listeners.append(listener)
      places.append(node.place)
    }
    guard nodes.isEmpty else { return listeners }
    var listener = ListenerSettings.default
    listener.isAnonymousAllowed = !hasPasswordFile
    return [listener]
  }

  /// By what clients may be known.
  private struct Users {
    let hasPasswordFile: Bool
    let hasUnixUsers: Bool
  }

  private static func read(_ section: Section, _ users: Users) -> ListenerSettings? {
    let anonymous = section.boolean("anonymous")
    let isAnonymousAllowed = anonymous ?? !users.hasPasswordFile
    if anonymous == false, !users.hasPasswordFile, !users.hasUnixUsers || !section.has("unix") {
      section.errors.add(
        section.place(of: "anonymous"),
        "'anonymous: false' would let nobody in; expected 'users: {password_file: FILE}' in the file, or no such listener"
      )
    }
    if section.has("serial") {
      guard let endpoint = serial(section) else { return nil }
      let framing = section.choice("framing", [Choice("resync", FramerPolicy.resync)], default: .resync)
      return ListenerSettings(endpoint: endpoint, isAnonymousAllowed: isAnonymousAllowed, framerPolicy: framing)
    }
    for key: StaticString in ["baud", "parity", "flow"] where section.has(key) {
      var text = Text()
      text.add(quoted: key)
      text.add(" goes with 'serial' only: it is the line's")
      section.errors.add(section.place(of: key), text)
    }
    let framing = section.choice(
      "framing", [Choice("disconnect", FramerPolicy.disconnect), Choice("resync", .resync)], default: .disconnect)
    let layers = LayerSettings.read(section)
    let isOpen = anonymous == true || users.hasPasswordFile || layers.tls?.clientCertificate == .required
    guard let endpoint = endpoint(section, isOpen: isOpen) else { return nil }
    return ListenerSettings(
      endpoint: endpoint, isAnonymousAllowed: isAnonymousAllowed, framerPolicy: framing, layers: layers)
  }

  private static func serial(_ section: Section) -> Endpoint? {
    for key: StaticString in ["address", "port", "unix", "mode"] where section.has(key) {
      var text = Text()
      text.add(quoted: key)
      text.add(" does not go with 'serial'; a listener has an address, a socket file or a serial device")
      section.errors.add(section.place(of: key), text)
    }
    for key in LayerSettings.keys where section.has(key) {
      var text = Text()
      text.add(quoted: key)
      text.add(" does not go with 'serial': a serial line speaks MQTT alone")
      section.errors.add(section.place(of: key), text)
    }
    let baud = section.choice("baud", bauds, "a rate such as 9600, 57600 or 115200", default: 115_200)
    let parity = section.choice(
      "parity", [Choice("none", SerialSettings.Parity.none), Choice("even", .even), Choice("odd", .odd)], default: .none
    )
    let flow = section.choice(
      "flow", [Choice("none", SerialSettings.Flow.none), Choice("rtscts", .rtscts)], default: .none)
    guard let path = section.path("serial") else { return nil }
    return .serial(path: path, SerialSettings(baud: baud, parity: parity, flow: flow))
  }

  /// Those that termios(3) has a name for.
  private static var bauds: [Choice<Int>] {
    [
      Choice("1200", 1200), Choice("2400", 2400), Choice("4800", 4800), Choice("9600", 9600), Choice("19200", 19_200),
      Choice("38400", 38_400), Choice("57600", 57_600), Choice("115200", 115_200), Choice("230400", 230_400),
      Choice("460800", 460_800), Choice("500000", 500_000), Choice("576000", 576_000), Choice("921600", 921_600),
      Choice("1000000", 1_000_000), Choice("1152000", 1_152_000), Choice("1500000", 1_500_000),
      Choice("2000000", 2_000_000), Choice("2500000", 2_500_000), Choice("3000000", 3_000_000),
      Choice("3500000", 3_500_000), Choice("4000000", 4_000_000),
    ]
  }

  /// Whether the kernel would refuse to open both listeners, since they name the same place.
  package func isSamePlace(as other: ListenerSettings) -> Bool {
    switch (endpoint, other.endpoint) {
    case (.serial(let path, _), .serial(let otherPath, _)), (.unix(let path, _), .unix(let otherPath, _)):
      return path == otherPath
    case (.tcp(let address, let port), .tcp(let otherAddress, let otherPort)):
      guard port == otherPort, let address = IPAddress(address), let otherAddress = IPAddress(otherAddress) else {
        return false
      }
      return address.overlaps(otherAddress)
    case (.tcp, _), (.unix, _), (.serial, _):
      return false
    }
  }

  private static func endpoint(_ section: Section, isOpen: Bool) -> Endpoint? {
    let port = section.integer("port", 1...65_535, default: 1883)
    if section.has("unix") {
      for key: StaticString in ["address", "port"] where section.has(key) {
        var text = Text()
        text.add(quoted: key)
        text.add(" does not go with 'unix'; a listener has either an address or a socket file")
        section.errors.add(section.place(of: key), text)
      }
      return unix(section)
    }
    if section.has("mode") {
      section.errors.add(section.place(of: "mode"), "'mode' goes with 'unix' only: it is the socket file's permissions")
    }
    guard section.has("address") else {
      section.errors.add(
        section.place,
        "a listener without an address; expected 'address: 127.0.0.1', 'unix: /run/...' or 'serial: /dev/...'")
      return nil
    }
    let expected: StaticString = "a numeric address such as 127.0.0.1, 0.0.0.0 or ::1"
    guard let text = section.word("address", expected, byteCountMax: 64) else { return nil }
    guard let address = IPAddress(text) else {
      section.complain("address", text.contains(UInt8(ascii: "%")) ? withoutZone : expected)
      return nil
    }
    guard !address.isLinkLocalIPv6 else {
      section.complain("address", withoutZone)
      return nil
    }
    guard !address.isOfMany else {
      section.complain("address", "an address of one machine; nobody connects to one of many (multicast, broadcast)")
      return nil
    }
    if let mapped = address.mapped {
      var problem = Text("an IPv6 listener takes no IPv4 clients, so nobody reaches ")
      problem.add(text)
      problem.add("; expected ")
      problem.add(mapped)
      section.errors.add(section.place(of: "address"), problem)
      return nil
    }
    if !address.isLoopback && !isOpen && section.boolean("anonymous") != false {
      var problem = Text("a listener on ")
      problem.add(text)
      problem.add(" lets everyone on the network in; expected 'users: {password_file: FILE}' in the file, ")
      problem.add("'anonymous: true' beside it if that is wanted, or address 127.0.0.1")
      section.errors.add(section.place(of: "address"), problem)
    }
    return .tcp(address: text, port: UInt16(port))
  }

  private static var withoutZone: StaticString {
    "an address that this machine has once; link-local ones, fe80::/10, are reached through ::"
  }

  /// A socket file or an abstract name; `unix` is there.
  private static func unix(_ section: Section) -> Endpoint? {
    let mode = section.octal("mode", 0...0o777, default: 0o660)
    let expected: StaticString = "a path that begins with /, or @NAME, of at most 107 bytes"
    guard let path = section.word("unix", expected, byteCountMax: 107) else { return nil }
    if path[0] == UInt8(ascii: "@"), path.count > 1 {
      if section.has("mode") {
        section.errors.add(
          section.place(of: "mode"),
          "'mode' goes with a socket file: a name that begins with @ has no permissions, any program may connect")
      }
      return .unix(path: path, mode: UInt32(mode))
    }
    guard path[0] == UInt8(ascii: "/"), path.last != UInt8(ascii: "/") else {
      section.complain("unix", path[0] == UInt8(ascii: "/") ? "the path of a file, not of a directory" : expected)
      return nil
    }
    return .unix(path: path, mode: UInt32(mode))
  }
}

extension IPAddress {
  init?(_ text: [UInt8]) {
    guard let address = text.lend({ IPAddress($0) }) else { return nil }
    self = address
  }
}

extension Text {
  mutating func add(_ address: IPAddress) {
    withUnsafeTemporaryAllocation(byteCount: 48, alignment: 1) { place in
      var writer = ByteWriter(place)
      address.write(to: &writer)
      add(writer.written)
    }
  }
}
