import Bounded
public import LinuxIO

/// What lies between a listener's connections and MQTT.
public struct LayerSettings: Sendable, Equatable {
  /// What may be spoken on a listener, told apart by the first bytes.
  public struct Protocols: OptionSet, Sendable {
    public let rawValue: UInt8

    public init(rawValue: UInt8) { self.rawValue = rawValue }

    public static var mqtt: Protocols { Protocols(rawValue: 1) }
    public static var webSocket: Protocols { Protocols(rawValue: 2) }
  }

  public var protocols = Protocols.mqtt
  /// Of WebSocket requests.
  public var path = [UInt8](ascii: "/mqtt")
  /// The pages that browsers may connect from, with a blank between two; `*` for all, empty for none.
  public var origins: [UInt8] = []
  /// Who is believed when it says for whom it connects.
  public var proxies: [IPNetwork] = []
  /// Every connection is a proxy's, and begins with a header of the PROXY protocol.
  public var hasProxyHeader = false

  /// nil: bytes go over the network as they are.
  public var tls: TLSListenerSettings?

  public init() {}

  /// MQTT and nothing else.
  public var isNone: Bool { protocols == .mqtt && proxies.isEmpty && !hasProxyHeader && tls == nil }
}

extension LayerSettings {
  static var keys: [StaticString] { ["protocols", "path", "origins", "proxies", "proxy_protocol", "tls"] }
  private static var countMax: Int { 16 }
  private static var originBytesMax: Int { 255 }

  /// The listener's layers. A serial line has none.
  static func read(_ section: Section) -> LayerSettings {
    var settings = LayerSettings()
    settings.readProtocols(section)
    settings.readWebSocket(section)
    settings.readProxies(section)
    settings.tls = TLSListenerSettings.read(section)
    return settings
  }

  private mutating func readProtocols(_ section: Section) {
    guard section.has("protocols") else { return }
    let expected: StaticString = "a list of mqtt and websocket, such as [mqtt, websocket]"
    let nodes = section.items("protocols", expected)
    protocols = []
    for node in nodes {
      if node.text.equals("mqtt") {
        protocols.insert(.mqtt)
      } else if node.text.equals("websocket") {
        protocols.insert(.webSocket)
      } else {
        var text = Text("a protocol is ")
        text.add(described: node)
        text.add("; expected mqtt or websocket")
        if node.text.equals("ws") { text.add("; did you mean 'websocket'?") }
        section.errors.add(node.place, text)
        protocols.insert(.mqtt)
      }
    }
    guard protocols.isEmpty else { return }
    if section.entry("protocols")?.value.kind == .sequence { section.complain("protocols", expected) }
    protocols = .mqtt
  }

  private mutating func readWebSocket(_ section: Section) {
    guard protocols.contains(.webSocket) else {
      for key: StaticString in ["path", "origins"] where section.has(key) {
        var text = Text()
        text.add(quoted: key)
        text.add(" goes with WebSocket only; expected 'protocols: [mqtt, websocket]' beside it")
        section.errors.add(section.place(of: key), text)
      }
      return
    }
    let expected: StaticString = "a path that begins with /, without blanks, ? and #, such as /mqtt"
    if let text = section.word("path", expected) {
      if text[0] == UInt8(ascii: "/"), text.allSatisfy({ (0x21...0x7E).contains($0) && $0 != 0x3F && $0 != 0x23 }) {
        path = text
      } else {
        section.complain("path", expected)
      }
    }
    let nodes = section.items("origins", "a list of origins such as [\"https://ha.example\"]")
    if nodes.count > LayerSettings.countMax {
      section.errors.add(nodes[LayerSettings.countMax].place, "more than 16 origins")
    }
    for node in nodes {
      guard LayerSettings.isOrigin(node.text, isAlone: nodes.count == 1) else {
        var text = Text("an origin is ")
        text.add(described: node)
        text.add("; expected scheme, host and perhaps port, such as https://ha.example, or '*' alone for every page")
        section.errors.add(node.place, text)
        continue
      }
      if !origins.isEmpty { origins.append(UInt8(ascii: " ")) }
      origins += node.text
    }
  }

  /// `https://ha.example:8123`: what a browser sends has no path and no slash at its end (RFC 6454 §6.1).
  private static func isOrigin(_ text: [UInt8], isAlone: Bool) -> Bool {
    if text.equals("*") { return isAlone }
    guard text.count <= originBytesMax, text.allSatisfy({ (0x21...0x7E).contains($0) }) else { return false }
    return text.lend { text in
      guard let colon = text.firstIndex(of: UInt8(ascii: ":")), colon > 0 else { return false }
      let rest = text.from(colon + 1)
      guard rest.hasPrefix(Bytes("//")), rest.count > 2 else { return false }
      return rest.from(2).firstIndex(of: UInt8(ascii: "/")) == nil
    }
  }

  private mutating func readProxies(_ section: Section) {
    hasProxyHeader = section.boolean("proxy_protocol") ?? false
    let isUnix = section.has("unix")
    let nodes = section.items("proxies", "a list of addresses and networks such as [127.0.0.1, 10.0.0.0/8]")
    if nodes.count > LayerSettings.countMax {
      section.errors.add(nodes[LayerSettings.countMax].place, "more than 16 proxies")
    }
    for node in nodes {
      guard let network = node.text.lend({ IPNetwork($0) }) else {
        var text = Text("a proxy is ")
        text.add(described: node)
        text.add("; expected an address such as 10.1.2.3 or ::1, or a network such as 10.0.0.0/8, ")
        text.add("without bits behind its prefix")
        section.errors.add(node.place, text)
        continue
      }
      proxies.append(network)
    }
    if isUnix, section.has("proxies") {
      section.errors.add(
        section.place(of: "proxies"),
        "'proxies' does not go with 'unix', which has no addresses: 'proxy_protocol' alone believes who may open the file"
      )
    } else if hasProxyHeader, !isUnix, nodes.isEmpty {
      section.errors.add(
        section.place(of: "proxy_protocol"),
        "'proxy_protocol' without 'proxies' lets anybody name any address; expected 'proxies: [10.0.0.1]' beside it"
      )
    } else if !proxies.isEmpty, !hasProxyHeader, !protocols.contains(.webSocket) {
      section.errors.add(
        section.place(of: "proxies"),
        "'proxies' without WebSocket has nothing to believe; expected 'proxy_protocol: true' beside it")
    }
  }
}
