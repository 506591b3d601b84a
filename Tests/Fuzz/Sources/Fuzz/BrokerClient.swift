import Bounded
import MQTTBroker
import MQTTWire

/// One client as it sees itself: what it sent decides what may come back.
final class BrokerClient {
  enum Awaits { case pubAck, pubRec, pubComp }

  var id: ConnectionID?
  var outgoing: [UInt8] = []
  /// Bytes a write carries; 0: all.
  var cut = 0
  var bytesPerTurn = Int.max
  /// Reads the client's own bytes as the broker will.
  var sent = StreamReader(policy: .disconnect, packetBytesMax: 2)
  var received = StreamReader(policy: .disconnect, packetBytesMax: 2)
  var version = ProtocolVersion.v5
  var hasConnect = false
  var packetBytesMax = Int.max
  var receiveMaximum = 65_535
  var topicAliasMaximum = 0
  var aliases: [UInt16: [UInt8]] = [:]
  var clientID: [UInt8] = []
  var filters: [[UInt8]] = []
  /// Messages with QoS 1 or 2 on this connection that are not acknowledged to the end.
  var outstanding: [UInt16: (awaits: Awaits, order: Int, isMessage: Bool)] = [:]
  var order = 0
  /// It acknowledged what it had not got: its window is not to be reckoned with any more.
  var isWild = false

  var isV5: Bool { version == .v5 }
  var sentWhole: Int { outstanding.values.reduce(0) { $0 + ($1.isMessage ? 1 : 0) } }
}

/// Packets out of a stream, with a buffer of its own.
struct StreamReader {
  private let policy: FramerPolicy
  /// From the end of the last whole packet on.
  private var held: [UInt8] = []

  private let packetBytesMax: Int
  /// The version of what is read; nil: no CONNECT has come yet.
  private var version: ProtocolVersion?

  init(policy: FramerPolicy, packetBytesMax: Int) {
    self.policy = policy
    self.packetBytesMax = packetBytesMax
  }

  /// False: these bytes are no packets.
  mutating func read(_ bytes: [UInt8], _ each: (FixedHeader, Bytes) -> Void) -> Bool {
    held += bytes
    var taken = 0
    var framer = PacketFramer(packetBytesMax: packetBytesMax, policy: policy)
    framer.version = version
    let isGood = held.withUnsafeBytes { all in
      var input = Bytes(all)
      while true {
        switch framer.next(&input) {
        case .packet(let header, let body):
          if header.type == .connect, version == nil {
            version = Connect.answerVersion(body: body)
            framer.version = version
          }
          each(header, body)
          taken = all.count - input.count
        case .part, .assembled, .needsInput:
          return true
        case .failure:
          return false
        }
      }
    }
    held.removeFirst(taken)
    return isGood
  }
}
