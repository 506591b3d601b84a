import Bounded

/// What the lines of a head have said so far.
struct UpgradeHead {
  /// The first thing that is wrong though well-formed.
  private var problem: UpgradeRefusal?
  private var hasHost = false
  private var asksForWebSocket = false
  private var asksForUpgrade = false
  private var hasVersion13 = false
  private var hasVersion = false
  private var offersMQTT = false
  private var offersMQTTV31 = false
  private var key: Bytes?
  private var origin: Bytes?
  private var forwardedFor: Bytes?

  init() {}

  /// `GET /mqtt?query HTTP/1.1`. False: it is malformed.
  @_optimize(size) mutating func readRequestLine(_ line: Bytes, path: Bytes) -> Bool {
    guard let first = line.firstIndex(of: 0x20), let second = line.firstIndex(of: 0x20, from: first + 1) else {
      return false
    }
    let method = line.first(first)
    let target = line[first + 1..<second]
    let version = line.from(second + 1)
    guard method.isToken, target.isVisible else { return false }
    guard version.count == 8, version.hasPrefix(Bytes("HTTP/")), version[6] == 0x2E else { return false }
    guard UpgradeHead.isDigit(version[5]), UpgradeHead.isDigit(version[7]) else { return false }
    if method != Bytes("GET") { note(.method) }
    if version != Bytes("HTTP/1.1") { note(.httpVersion) }
    if target.first(target.firstIndex(of: 0x3F) ?? target.count) != path { note(.path) }
    return true
  }

  /// `Name: value`. False: it is malformed.
  @_optimize(size) mutating func readHeaderLine(_ line: Bytes) -> Bool {
    guard let colon = line.firstIndex(of: 0x3A) else { return false }
    let name = line.first(colon)
    guard name.isToken else { return false }  // a folded line, or a blank before the colon, too
    read(name, line.from(colon + 1).trimmed)
    return true
  }

  @_optimize(size) private mutating func read(_ name: Bytes, _ value: Bytes) {
    if name.equalsIgnoringCase("host") {
      if hasHost || !value.isVisible { note(.host) }
      hasHost = true
    } else if name.equalsIgnoringCase("upgrade") {
      if value.lists("websocket") { asksForWebSocket = true }
    } else if name.equalsIgnoringCase("connection") {
      if value.lists("upgrade") { asksForUpgrade = true }
    } else if name.equalsIgnoringCase("sec-websocket-version") {
      hasVersion13 = !hasVersion && value == Bytes("13")
      hasVersion = true
    } else if name.equalsIgnoringCase("sec-websocket-key") {
      if key != nil { note(.key) }
      key = value
    } else if name.equalsIgnoringCase("sec-websocket-protocol") {
      readOffers(value)
    } else if name.equalsIgnoringCase("origin") {
      if origin != nil { note(.severalOrigins) }
      origin = value
    } else if name.equalsIgnoringCase("x-forwarded-for") {
      var elements = ListReader(value)
      while let element = elements.next() { forwardedFor = element }
    } else if name.equalsIgnoringCase("transfer-encoding") {
      note(.body)
    } else if name.equalsIgnoringCase("content-length") {
      if value.isEmpty || value.count(of: 0x30) != value.count { note(.body) }
    }
  }

  private mutating func readOffers(_ value: Bytes) {
    var elements = ListReader(value)
    while let element = elements.next() {
      if element == Bytes(MQTTSubprotocol.mqtt.name) { offersMQTT = true }
      if element == Bytes(MQTTSubprotocol.mqttV31.name) { offersMQTTV31 = true }
    }
  }

  private mutating func note(_ found: UpgradeRefusal) {
    if problem == nil { problem = found }
  }

  /// The empty line: what is missing is noted behind what is wrong.
  @_optimize(size) mutating func end(headByteCount: Int, origins: OriginList) -> UpgradeRequest.Outcome {
    if !asksForWebSocket { note(.notUpgrade) }
    if !hasHost { note(.host) }
    if !asksForUpgrade { note(.connection) }
    if !hasVersion13 { note(.webSocketVersion) }
    if key.map({ Base64.isOf16Bytes($0) }) != true { note(.key) }
    if !offersMQTT, !offersMQTTV31 { note(.subprotocol) }
    if let origin, origin.count > UpgradeRequest.originByteCountMax || !origins.contains(origin) { note(.origin) }
    if let problem { return .refused(problem) }
    return .complete(
      UpgradeRequest(
        headByteCount: headByteCount, subprotocol: offersMQTT ? .mqtt : .mqttV31, origin: origin,
        forwardedFor: forwardedFor, key: key!))
  }

  private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }
}
