public import Bounded
public import MQTTWire

/// Counts what the broker has done since it started. Published under $SYS.
///
/// It has more than twenty properties: one for each thing that is counted, named where it is counted.
public struct Counters: BitwiseCopyable, Sendable {
  public internal(set) var connectionsAccepted: UInt64 = 0
  public internal(set) var connectsAccepted: UInt64 = 0
  public internal(set) var connectsRefused: UInt64 = 0
  /// Connections closed before their CONNECT, as their address connects too fast or has too many that await it.
  public internal(set) var rateRefused: UInt64 = 0
  public internal(set) var pendingRefused: UInt64 = 0
  public internal(set) var perAddressRefused: UInt64 = 0
  /// Connections that another one with the same client identifier ended, and those that were not let do so.
  public internal(set) var takeovers: UInt64 = 0
  public internal(set) var takeoversRefused: UInt64 = 0
  /// Sessions of absent clients that ended to make room for a client that was here.
  public internal(set) var sessionsGivenWay: UInt64 = 0
  public internal(set) var bytesReceived: UInt64 = 0
  public internal(set) var bytesSent: UInt64 = 0
  public internal(set) var packetsReceived: UInt64 = 0
  public internal(set) var packetsSent: UInt64 = 0
  public internal(set) var publishesReceived: UInt64 = 0
  public internal(set) var publishesSent: UInt64 = 0
  /// PUBLISH packets that were answered with an error, or not at all because of their QoS; Wills that were refused, or
  /// that could not be retained.
  public internal(set) var publishesRefused: UInt64 = 0
  /// Messages and Wills of clients that had no right to write to their topics, and answers to topics for which their askers
  /// had none.
  public internal(set) var publishesDenied: UInt64 = 0
  /// Messages that a filter or a queue had for a client without the right to read them.
  public internal(set) var deliveriesDenied: UInt64 = 0
  /// Filters that were refused to clients for lack of a right.
  public internal(set) var subscriptionsDenied: UInt64 = 0
  /// QoS 0 messages that a receiver's full outbox had no room for.
  public internal(set) var qos0Dropped: UInt64 = 0
  /// Messages refused because a receiving session's queue is full.
  public internal(set) var queueRefusals: UInt64 = 0
  /// Messages that a session's full queue lost: the oldest, or the new one, by `limits.queueFull`.
  public internal(set) var queuedDropped: UInt64 = 0
  /// Those of them that were given up as a pool had no room left for others' messages.
  public internal(set) var gaveWay: UInt64 = 0
  /// Messages over a client's Maximum Packet Size (§3.1.2.11.4).
  public internal(set) var oversizeDropped: UInt64 = 0
  public internal(set) var expired: UInt64 = 0
  /// Own publications, and messages that a tap has taken and changed, that found no room.
  public internal(set) var internalDropped: UInt64 = 0
  public internal(set) var tapsRun: UInt64 = 0
  /// Messages that a client has sent again and that taps have run for already: acknowledged, and no more.
  public internal(set) var repeatsIgnored: UInt64 = 0
  public internal(set) var tapRefusals: UInt64 = 0
  public internal(set) var controlPacketsDropped: UInt64 = 0
  public internal(set) var malformedClosed: UInt64 = 0
  public internal(set) var protocolErrorClosed: UInt64 = 0
  public internal(set) var tooLargeClosed: UInt64 = 0
  public internal(set) var quotaClosed: UInt64 = 0
  public internal(set) var keepAliveClosed: UInt64 = 0
  public internal(set) var otherClosed: UInt64 = 0

  mutating func countClosed(_ reason: ReasonCode) {
    if reason == .malformedPacket {
      malformedClosed &+= 1
    } else if reason == .protocolError {
      protocolErrorClosed &+= 1
    } else if reason == .packetTooLarge {
      tooLargeClosed &+= 1
    } else if reason == .quotaExceeded || reason == .receiveMaximumExceeded {
      quotaClosed &+= 1
    } else if reason == .keepAliveTimeout {
      keepAliveClosed &+= 1
    } else {
      otherClosed &+= 1
    }
  }
}

/// Something the operator may want to read in the log; the caller writes it, at a bounded rate.
public struct Notice: BitwiseCopyable {
  public enum Kind: UInt8, BitwiseCopyable, Sendable {
    case connectionFailed  // with the Reason Code
    case connectRefused  // with the Reason Code
    case sourceRefused  // of an address; once until it is quiet again, with the limit
    case takeoverRefused  // of a session; once in a window, with the limit
    case limitHit  // with the limit; ask `Broker.takeHits` whether it is to be told
  }
  /// The consequence for the client that met a limit.
  public enum Outcome: UInt8, BitwiseCopyable, Sendable {
    case refused, refusedSender, lostMessage, disconnected, gaveWay
  }

  public let source: SourceAddress
  public let kind: Kind
  public let reason: ReasonCode
  public let limit: Limit
  public let outcome: Outcome
  /// Whether `source` is the one who met the limit.
  public let isOfSource: Bool
  public let session: Handle<Session>
  /// The stream that carries the connection, which may have ended since; 0: there is none.
  public let transport: UInt32
  private let storedSize: UInt32

  /// How large or how many: the bytes of what was too large, or how much one client had of a pool. 0: not known.
  public var size: Int { Int(storedSize) }

  init(
    kind: Kind, reason: ReasonCode = .quotaExceeded, limit: Limit = .connections, outcome: Outcome = .refused,
    session: Handle<Session> = .null, source: SourceAddress? = nil, transport: UInt32 = 0, size: Int = 0
  ) {
    self.source = source ?? .local
    isOfSource = source != nil
    self.kind = kind
    self.reason = reason
    self.limit = limit
    self.outcome = outcome
    self.session = session
    self.transport = transport
    storedSize = UInt32(clamping: size)
  }

  /// The same was told as a `Presence`, with the client's identifier.
  public var isOfClient: Bool { kind == .connectionFailed && !session.isNull }
}

/// A client's connection begins or ends; borrowed for the call.
public struct Presence {
  public enum Change: BitwiseCopyable {
    case connected
    /// The client said so.
    case disconnected(ReasonCode)
    /// It is gone, or its transport was closed, without a DISCONNECT.
    case lost
    /// By the broker.
    case closed(ReasonCode)
  }
  public let clientID: Bytes
  /// Empty: anonymous.
  public let userName: Bytes
  /// The stream that carries the connection, as given to `Broker.attach`.
  public let transport: UInt32
  public let version: ProtocolVersion
  /// Whether it connected as another broker's bridge.
  public let isBridge: Bool
  /// In force for the connection; 0: none.
  public let keepAliveSeconds: UInt16
  public let change: Change
  public let now: Instant

  public var isHere: Bool {
    switch change {
    case .connected: true
    case .disconnected, .lost, .closed: false
    }
  }
}
