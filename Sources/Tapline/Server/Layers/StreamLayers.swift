import Bounded
import Layers
import LinuxIO
import MQTTBroker
import TaplineConfiguration

/// What lies between streams and MQTT: a row for each place of `Streams`, and the bytes that have come before MQTT in part.
/// It does no I/O. Without a listener that needs a layer it takes no memory.
///
///              ┌────────────▶ first ───────────────▶ MQTT: the row is free, and nothing lies between any more
///   arrived ───┤                │  ▲
///              └─▶ proxyHeader ─┼──┘
///                               ▼
///                             head ──▶ webSocket ──▶ closing ──▶ the stream is closed
///                               └────▶ refused ─────────────────────▲
///
/// A stream with TLS keeps its row when it comes to MQTT: its phase is then `plain`.
///
/// Invariant: a row's `piece` is 0 or names a piece whose `place` is the row's. Only a row in `webSocket` or `plain` has a
/// connection.
struct StreamLayers: ~Copyable {
  private let rows: FixedArray<LayerRow>
  private var pieces: OpeningPieces
  /// For a control frame in one piece, and for what is written before payload.
  private let scratch: Scratch
  /// By the listeners' places.
  private var settings: [LayerSettings]
  /// When the first of those that only wait for their peer's close are closed.
  private(set) var nextDeadline = Instant.never
  var counters = LayerCounters()
  var report = LayerReport()

  /// How long a peer has to answer a close, and to read why it was refused.
  private static var closingSeconds: Int64 { 2 }
  private static var scratchByteCount: Int {
    max(WebSocketInput.scratchByteCount, WebSocketOutput.frontByteCountMax, UpgradeRefusal.answerByteCountMax)
  }

  /// - Parameter listeners: those whose connections are accepted, in the order of `Streams`.
  static func make(
    _ listeners: [ListenerSettings], _ limits: Limits, in reservation: inout Reservation
  ) -> StreamLayers {
    var settings: [LayerSettings] = []
    var isNeeded = false
    for listener in listeners where !listener.isSerial {
      settings.append(listener.layers)
      if !listener.layers.isNone { isNeeded = true }
    }
    if isNeeded {
      return StreamLayers(
        settings, rowCount: limits.connectionsMax, pieceCount: limits.pendingConnectionsMax, in: &reservation)
    }
    var nothing = Reservation.counting()
    return StreamLayers(settings, rowCount: 0, pieceCount: 0, in: &nothing)
  }

  private init(_ settings: [LayerSettings], rowCount: Int, pieceCount: Int, in reservation: inout Reservation) {
    self.settings = settings
    rows = FixedArray(count: rowCount, name: "layers of streams", in: &reservation)
    pieces = OpeningPieces(count: pieceCount, in: &reservation)
    scratch = Scratch(byteCount: StreamLayers.scratchByteCount, name: "scratch: layers", in: &reservation)
  }

  var isUsed: Bool { rows.count > 0 }

  /// Other listeners are open. Streams that have not come to MQTT are of those that are as they were.
  mutating func adopt(_ settings: [LayerSettings]) { self.settings = settings }

  // MARK: Rows

  /// Whether connections of this listener have something to say before MQTT.
  func hasLayer(listener: Int) -> Bool { !settings[listener].isNone }

  /// Whether `peer` may say for whom it connects. Whoever opens a socket file whose connections begin with a header may.
  func isProxy(_ peer: PeerAddress, listener: Int) -> Bool {
    if peer.isUnix { return settings[listener].hasProxyHeader }
    for network in settings[listener].proxies where network.contains(peer) { return true }
    return false
  }

  func hasTLS(listener: Int) -> Bool { settings[listener].tls != nil }

  func needsProxyHeader(listener: Int) -> Bool { settings[listener].hasProxyHeader }

  /// A stream has come from a listener that has a layer.
  func arrived(_ place: Int, listener: Int, isProxy: Bool) {
    rows[place] = LayerRow(
      phase: settings[listener].hasProxyHeader ? .proxyHeader : firstPhase(listener), listener: UInt8(listener),
      isProxy: isProxy)
  }

  /// The stream is closed, or nothing lies before MQTT any more. Its connection, if it has one.
  mutating func end(_ place: Int) -> ConnectionID? {
    giveBackPiece(of: place)
    let connection = rows[place].connection
    rows[place] = LayerRow()
    return connection.isNull ? nil : connection
  }

  /// The header of the PROXY protocol is taken off.
  func proxyHeaderTaken(of place: Int) { rows[place].phase = firstPhase(Int(rows[place].listener)) }

  /// Nothing lies before MQTT any more, but TLS around it.
  func stay(_ place: Int) {
    precondition(rows[place].phase == .mqtt)
    rows[place].phase = .plain
  }

  /// Whether MQTT is spoken: bytes may come, and go.
  func isOpen(_ place: Int) -> Bool { rows[place].isOpen }

  func listener(of place: Int) -> Int { Int(rows[place].listener) }
  func phase(of place: Int) -> LayerRow.Phase { rows[place].phase }
  func isProxy(_ place: Int) -> Bool { rows[place].isProxy }

  /// The broker's connection; nil: there is none yet, or none any more.
  func connection(of place: Int) -> ConnectionID? {
    let connection = rows[place].connection
    return connection.isNull ? nil : connection
  }

  func setConnection(_ id: ConnectionID, of place: Int) {
    precondition(rows[place].isOpen && rows[place].connection.isNull)
    rows[place].connection = id
  }

  /// MQTT without a request can only be told from others by its first byte where others may be spoken.
  private func firstPhase(_ listener: Int) -> LayerRow.Phase {
    settings[listener].protocols == .mqtt ? .mqtt : .first
  }

  // MARK: Bytes in

  /// What comes next of the stream's input, of which what is consumed is taken off. After `needsInput`, `frames` and
  /// `refused` nothing of it is left.
  mutating func next(_ input: inout MutableBytes, of place: Int) -> LayerStep {
    switch rows[place].phase {
    case .proxyHeader: return nextProxyHeader(&input, place)
    case .first: return nextFirst(&input, place)
    case .head: return nextHead(&input, place)
    case .mqtt: return .mqtt
    case .plain:
      let all = input.bytes
      input = input.from(input.count)
      return .frames(WebSocketArrival(payload: all))
    case .webSocket, .closing:
      let all = input
      input = input.from(input.count)
      return .frames(takeFrames(all, place))
    case .refused, .free:
      input = input.from(input.count)
      return .needsInput
    }
  }

  private mutating func nextProxyHeader(_ input: inout MutableBytes, _ place: Int) -> LayerStep {
    if input.isEmpty { return .needsInput }
    let (bytes, keptCount) = look(input.bytes, place)
    switch ProxyHeader.parse(bytes) {
    case .incomplete:
      return keep(&input, place)
    case .refused:
      return refuse(&input, .proxyHeader)
    case .complete(let header):
      input = input.from(header.byteCount - keptCount)
      giveBackPiece(of: place)
      rows[place].phase = firstPhase(Int(rows[place].listener))
      guard let source = header.source else { return next(&input, of: place) }
      return .client(PeerAddress(ip: source.bytes, isIPv6: source.isIPv6, port: header.sourcePort))
    }
  }

  private mutating func nextFirst(_ input: inout MutableBytes, _ place: Int) -> LayerStep {
    if input.isEmpty { return .needsInput }
    let (bytes, _) = look(input.bytes, place)
    let protocols = settings[Int(rows[place].listener)].protocols
    switch FirstBytes.judge(bytes) {
    case nil:
      return keep(&input, place)
    case .mqtt where protocols.contains(.mqtt):  // known by its first byte, so none is kept
      rows[place].phase = .mqtt
      return .mqtt
    case .http where protocols.contains(.webSocket):
      rows[place].phase = .head
      return nextHead(&input, place)
    case .mqtt, .http, .tls, .proxyV1, .proxyV2, .other:
      return refuse(&input, .firstBytes)
    }
  }

  private mutating func nextHead(_ input: inout MutableBytes, _ place: Int) -> LayerStep {
    let (bytes, keptCount) = look(input.bytes, place)
    let listener = Int(rows[place].listener)
    let outcome = settings[listener].path.lend { path in
      settings[listener].origins.lend { UpgradeRequest.parse(bytes, path: path, origins: OriginList($0)) }
    }
    var writer = scratch.writer()
    switch outcome {
    case .incomplete:
      return keep(&input, place)
    case .refused(let refusal):
      refusal.write(to: &writer)
      rows[place].output.answer(writer.written)
      rows[place].phase = .refused
      giveBackPiece(of: place)
      return refuse(&input, .upgrade(refusal))
    case .complete(let request):
      request.writeAnswer(to: &writer)
      rows[place].output.answer(writer.written)
      rows[place].phase = .webSocket
      let client = settings[listener].hasProxyHeader || !rows[place].isProxy ? nil : forwardedFor(request)
      input = input.from(request.headByteCount - keptCount)
      giveBackPiece(of: place)
      counters.webSocketsOpened &+= 1
      return .opened(client)
    }
  }

  private func forwardedFor(_ request: UpgradeRequest) -> PeerAddress? {
    guard let text = request.forwardedFor, let address = NumericAddress(text) else { return nil }
    return PeerAddress(ip: address.bytes, isIPv6: address.isIPv6, port: 0)
  }

  private func refuse(_ input: inout MutableBytes, _ refusal: LayerRefusal) -> LayerStep {
    input = input.from(input.count)
    return .refused(refusal)
  }

  private func takeFrames(_ input: MutableBytes, _ place: Int) -> WebSocketArrival {
    let memory = MutableBytes(scratch.buffer)
    return rows[place].input.take(input, scratch: memory) { rows[place].output.pong($0) }
  }

  // MARK: Bytes before MQTT that have come in part

  /// Those that were kept and `input` behind them in one piece, and how many were kept.
  private func look(_ input: Bytes, _ place: Int) -> (Bytes, Int) {
    let piece = Int(rows[place].piece)
    return piece == 0 ? (input, 0) : pieces.join(piece - 1, input)
  }

  private mutating func keep(_ input: inout MutableBytes, _ place: Int) -> LayerStep {
    if rows[place].piece == 0 {
      guard let piece = pieces.lend(to: place) else { return .needsRoom(oldest: pieces.oldestPlace) }
      rows[place].piece = UInt16(piece + 1)
    }
    pieces.append(input.bytes, to: Int(rows[place].piece) - 1)
    input = input.from(input.count)
    return .needsInput
  }

  private mutating func giveBackPiece(of place: Int) {
    let piece = Int(rows[place].piece)
    if piece > 0 { pieces.giveBack(piece - 1) }
    rows[place].piece = 0
  }

  // MARK: Bytes out

  /// What is written before payload, and how many bytes of payload go with it.
  func front(of place: Int, payloadByteCount: Int) -> (Bytes, Int) {
    if rows[place].phase == .plain { return (.empty, payloadByteCount) }
    var writer = scratch.writer()
    let count = rows[place].output.front(payloadByteCount: payloadByteCount, into: &writer)
    return (writer.written, count)
  }

  /// The bytes of payload among those that the transport took.
  func sent(_ byteCount: Int, of place: Int, payloadByteCount: Int) -> Int {
    rows[place].phase == .plain ? byteCount : rows[place].output.sent(byteCount, payloadByteCount: payloadByteCount)
  }

  // MARK: The end

  /// The connection, if there was one, is the caller's to detach, and a close is on its way. `false`: a frame is under way
  /// and cannot be finished, so the stream is to be closed.
  mutating func beginClose(
    _ code: WebSocketCloseCode?, of place: Int, isAnswer: Bool, at now: Instant
  ) -> (connection: ConnectionID?, isPossible: Bool) {
    let connection = rows[place].connection
    rows[place].connection = .null
    rows[place].phase = .closing
    if isAnswer { rows[place].isPeerClosed = true }
    let isPossible = rows[place].output.isAtBorder
    if isPossible { rows[place].output.close(code) }
    awaitPeer(of: place, at: now)
    return (connection.isNull ? nil : connection, isPossible)
  }

  /// The peer has a moment to take what is written.
  mutating func awaitPeer(of place: Int, at now: Instant) {
    guard rows[place].endsAt == .never else { return }
    rows[place].endsAt = now.adding(seconds: StreamLayers.closingSeconds)
    nextDeadline = min(nextDeadline, rows[place].endsAt)
  }

  /// Whether all is written and nothing is awaited, so the stream is to be closed.
  /// - Parameter hasUnread: bytes of the peer wait in the kernel. Closing would then take back what was written.
  func isOver(_ place: Int, hasUnread: Bool) -> Bool {
    guard rows[place].output.isEmpty else { return false }
    switch rows[place].phase {
    case .closing: return rows[place].isPeerClosed
    case .refused: return !hasUnread
    case .free, .proxyHeader, .first, .head, .mqtt, .plain, .webSocket: return false
    }
  }

  /// A place whose time for the close is over; call until nil.
  mutating func popOverdue(at now: Instant) -> Int? {
    guard nextDeadline <= now else { return nil }
    nextDeadline = .never
    for place in 0..<rows.count where rows[place].phase != .free {
      if rows[place].endsAt <= now {
        nextDeadline = now
        return place
      }
      nextDeadline = min(nextDeadline, rows[place].endsAt)
    }
    return nil
  }
}
