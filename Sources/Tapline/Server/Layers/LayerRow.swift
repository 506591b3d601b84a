import Bounded
import Layers
import LinuxIO
import MQTTBroker
import TLS

/// What one stream's layer knows. All zeros, but for `endsAt`, is a free row.
struct LayerRow: BitwiseCopyable {
  enum Phase: UInt8, BitwiseCopyable {
    case free = 0
    /// A header of the PROXY protocol must come first.
    case proxyHeader
    /// The first bytes say what is spoken.
    case first
    /// The head of a request.
    case head
    /// MQTT and nothing before it.
    case mqtt
    /// The same, in TLS.
    case plain
    case webSocket
    /// A close is on its way, and the peer's is awaited.
    case closing
    /// A request was refused; the answer is on its way.
    case refused
  }

  var phase = Phase.free
  var listener: UInt8 = 0
  /// The stream comes from a proxy that is believed.
  var isProxy = false
  /// The peer's close has come.
  var isPeerClosed = false
  /// Its place in `OpeningPieces` + 1; 0: none.
  var piece: UInt16 = 0
  var connection = ConnectionID.null
  /// When the stream is closed whatever its peer does.
  var endsAt = Instant.never
  var input = WebSocketInput()
  var output = WebSocketOutput()

  /// Whether MQTT is spoken.
  var isOpen: Bool { phase == .webSocket || phase == .plain }

  init() {}

  init(phase: Phase, listener: UInt8, isProxy: Bool) {
    self.phase = phase
    self.listener = listener
    self.isProxy = isProxy
  }
}

/// Why a connection is closed before MQTT.
enum LayerRefusal: BitwiseCopyable {
  /// From an address that is no proxy's, where all connections are proxies'.
  case stranger
  case proxyHeader
  /// Nothing that the listener speaks begins so.
  case firstBytes
  case upgrade(UpgradeRefusal)
  /// With OpenSSL's words, which may be empty.
  case tls(TLSFault, Bytes)
}

/// What comes next of a stream's input.
enum LayerStep {
  case needsInput
  /// No piece is free for what has come in part: close this place's stream, and call again.
  case needsRoom(oldest: Int)
  /// A proxy has said whose connection it passes on.
  case client(PeerAddress)
  /// Nothing lies before MQTT any more: `end` the row, and hand on the rest of the input.
  case mqtt
  /// A WebSocket, perhaps of a client that a proxy has named; the answer is to be written.
  case opened(PeerAddress?)
  case frames(WebSocketArrival)
  /// To be closed, after what is to be written.
  case refused(LayerRefusal)
}

/// What `$SYS/tapline/layers` tells.
struct LayerCounters: BitwiseCopyable, Equatable {
  var webSocketsOpened: UInt64 = 0
  var upgradesRefused: UInt64 = 0
  /// Broken frames.
  var webSocketsFailed: UInt64 = 0
  /// Headers that are wrong, and connections that are no proxy's where all must be.
  var proxiesRefused: UInt64 = 0
  /// First bytes of nothing that the listener speaks.
  var othersRefused: UInt64 = 0
  /// Closed for the room of what had come in part.
  var gaveWay: UInt64 = 0

  mutating func count(_ refusal: LayerRefusal) {
    switch refusal {
    case .stranger, .proxyHeader: proxiesRefused &+= 1
    case .firstBytes: othersRefused &+= 1
    case .upgrade: upgradesRefused &+= 1
    case .tls: break  // `TLSCounters`
    }
  }

  /// Topic and value of each.
  func visit(_ visit: (StaticString, UInt64) -> Void) {
    visit("$SYS/tapline/layers/websocket/opened", webSocketsOpened)
    visit("$SYS/tapline/layers/websocket/refused", upgradesRefused)
    visit("$SYS/tapline/layers/websocket/failed", webSocketsFailed)
    visit("$SYS/tapline/layers/proxy/refused", proxiesRefused)
    visit("$SYS/tapline/layers/other/refused", othersRefused)
    visit("$SYS/tapline/layers/gave_way", gaveWay)
  }
}
