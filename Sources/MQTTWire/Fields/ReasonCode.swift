/// Reason Codes by the standard's names (§2.4). 0x80 and above say that something failed.
public enum ReasonCode: UInt8, BitwiseCopyable, Sendable {
  case success = 0x00
  case grantedQoS1 = 0x01
  case grantedQoS2 = 0x02
  case disconnectWithWill = 0x04
  case noMatchingSubscribers = 0x10
  case noSubscriptionExisted = 0x11
  case continueAuthentication = 0x18
  case reauthenticate = 0x19
  case unspecifiedError = 0x80
  case malformedPacket = 0x81
  case protocolError = 0x82
  case implementationSpecificError = 0x83
  case unsupportedProtocolVersion = 0x84
  case clientIdentifierNotValid = 0x85
  case badUserNameOrPassword = 0x86
  case notAuthorized = 0x87
  case serverUnavailable = 0x88
  case serverBusy = 0x89
  case banned = 0x8A
  case serverShuttingDown = 0x8B
  case badAuthenticationMethod = 0x8C
  case keepAliveTimeout = 0x8D
  case sessionTakenOver = 0x8E
  case topicFilterInvalid = 0x8F
  case topicNameInvalid = 0x90
  case packetIdentifierInUse = 0x91
  case packetIdentifierNotFound = 0x92
  case receiveMaximumExceeded = 0x93
  case topicAliasInvalid = 0x94
  case packetTooLarge = 0x95
  case messageRateTooHigh = 0x96
  case quotaExceeded = 0x97
  case administrativeAction = 0x98
  case payloadFormatInvalid = 0x99
  case retainNotSupported = 0x9A
  case qosNotSupported = 0x9B
  case useAnotherServer = 0x9C
  case serverMoved = 0x9D
  case sharedSubscriptionsNotSupported = 0x9E
  case connectionRateExceeded = 0x9F
  case maximumConnectTime = 0xA0
  case subscriptionIdentifiersNotSupported = 0xA1
  case wildcardSubscriptionsNotSupported = 0xA2

  /// 0x00 in DISCONNECT (§3.14.2.1).
  @inlinable public static var normalDisconnection: ReasonCode { .success }
  /// 0x00 in SUBACK (§3.9.3).
  @inlinable public static var grantedQoS0: ReasonCode { .success }

  @inlinable public var isError: Bool { rawValue >= 0x80 }

  /// What SUBACK answers for a granted subscription (§3.9.3).
  @inlinable public init(granted qos: QoS) {
    switch qos {
    case .atMostOnce: self = .success
    case .atLeastOnce: self = .grantedQoS1
    case .exactlyOnce: self = .grantedQoS2
    }
  }
}

// MARK: - Where a code may stand

extension ReasonCode {
  /// Whether `sender` may put this code in a packet of `type` (§2.4, Table 2-6; DISCONNECT by sender §3.14.2.1,
  /// AUTH by sender §3.15.2.1). Packets without a Reason Code allow none.
  public func isAllowed(in type: PacketType, from sender: Sender) -> Bool {
    switch type {
    case .connAck: return sender == .server && isAllowedInConnAck
    case .pubAck, .pubRec: return isAllowedInPubAck
    case .pubRel, .pubComp: return self == .success || self == .packetIdentifierNotFound
    case .subAck: return sender == .server && isAllowedInSubAck
    case .unsubAck: return sender == .server && isAllowedInUnsubAck
    case .disconnect: return sender == .client ? isAllowedInClientDisconnect : isAllowedInServerDisconnect
    case .auth: return isAllowedInAuth(from: sender)
    case .connect, .publish, .subscribe, .unsubscribe, .pingReq, .pingResp: return false
    }
  }

  /// §3.2.2.2, Table 3-1.
  private var isAllowedInConnAck: Bool {
    switch self {
    case .success, .unspecifiedError, .malformedPacket, .protocolError, .implementationSpecificError,
      .unsupportedProtocolVersion, .clientIdentifierNotValid, .badUserNameOrPassword, .notAuthorized,
      .serverUnavailable, .serverBusy, .banned, .badAuthenticationMethod, .topicNameInvalid, .packetTooLarge,
      .quotaExceeded, .payloadFormatInvalid, .retainNotSupported, .qosNotSupported, .useAnotherServer,
      .serverMoved, .connectionRateExceeded:
      return true
    default:
      return false
    }
  }

  /// §3.4.2.1 and §3.5.2.1, whose tables are the same.
  private var isAllowedInPubAck: Bool {
    switch self {
    case .success, .noMatchingSubscribers, .unspecifiedError, .implementationSpecificError, .notAuthorized,
      .topicNameInvalid, .packetIdentifierInUse, .quotaExceeded, .payloadFormatInvalid:
      return true
    default:
      return false
    }
  }

  /// §3.9.3.
  private var isAllowedInSubAck: Bool {
    switch self {
    case .success, .grantedQoS1, .grantedQoS2, .unspecifiedError, .implementationSpecificError, .notAuthorized,
      .topicFilterInvalid, .packetIdentifierInUse, .quotaExceeded, .sharedSubscriptionsNotSupported,
      .subscriptionIdentifiersNotSupported, .wildcardSubscriptionsNotSupported:
      return true
    default:
      return false
    }
  }

  /// §3.11.3.
  private var isAllowedInUnsubAck: Bool {
    switch self {
    case .success, .noSubscriptionExisted, .unspecifiedError, .implementationSpecificError, .notAuthorized,
      .topicFilterInvalid, .packetIdentifierInUse:
      return true
    default:
      return false
    }
  }

  private var isAllowedInClientDisconnect: Bool {
    switch self {
    case .success, .disconnectWithWill, .unspecifiedError, .malformedPacket, .protocolError,
      .implementationSpecificError, .topicNameInvalid, .receiveMaximumExceeded, .topicAliasInvalid,
      .packetTooLarge, .messageRateTooHigh, .quotaExceeded, .administrativeAction, .payloadFormatInvalid:
      return true
    default:
      return false
    }
  }

  private var isAllowedInServerDisconnect: Bool {
    switch self {
    case .success, .unspecifiedError, .malformedPacket, .protocolError, .implementationSpecificError,
      .notAuthorized, .serverBusy, .serverShuttingDown, .keepAliveTimeout, .sessionTakenOver,
      .topicFilterInvalid, .topicNameInvalid, .receiveMaximumExceeded, .topicAliasInvalid, .packetTooLarge,
      .messageRateTooHigh, .quotaExceeded, .administrativeAction, .payloadFormatInvalid, .retainNotSupported,
      .qosNotSupported, .useAnotherServer, .serverMoved, .sharedSubscriptionsNotSupported,
      .connectionRateExceeded, .maximumConnectTime, .subscriptionIdentifiersNotSupported,
      .wildcardSubscriptionsNotSupported:
      return true
    default:
      return false
    }
  }

  private func isAllowedInAuth(from sender: Sender) -> Bool {
    switch self {
    case .continueAuthentication: return true
    case .success: return sender == .server
    case .reauthenticate: return sender == .client
    default: return false
    }
  }
}

// MARK: - Other forms

extension ReasonCode {
  /// CONNACK's return code in MQTT 3.1.1, 0...5 (3.1.1 §3.2.2.3, Table 3.1). What the table has no word for is
  /// 3, Server unavailable.
  public var connectReturnCode311: UInt8 {
    switch self {
    case .success: return 0
    case .unsupportedProtocolVersion: return 1
    case .clientIdentifierNotValid: return 2
    case .badUserNameOrPassword, .badAuthenticationMethod: return 4
    case .notAuthorized, .banned: return 5
    default: return 3
    }
  }

  /// The reverse; nil for the return codes 6...255, which are reserved.
  public init?(connectReturnCode311 code: UInt8) {
    switch code {
    case 0: self = .success
    case 1: self = .unsupportedProtocolVersion
    case 2: self = .clientIdentifierNotValid
    case 3: self = .serverUnavailable
    case 4: self = .badUserNameOrPassword
    case 5: self = .notAuthorized
    default: return nil
    }
  }

  /// The standard's name for log lines.
  @_optimize(size) public var text: StaticString {
    switch self {
    case .success: return "Success"
    case .grantedQoS1: return "Granted QoS 1"
    case .grantedQoS2: return "Granted QoS 2"
    case .disconnectWithWill: return "Disconnect with Will Message"
    case .noMatchingSubscribers: return "No matching subscribers"
    case .noSubscriptionExisted: return "No subscription existed"
    case .continueAuthentication: return "Continue authentication"
    case .reauthenticate: return "Re-authenticate"
    case .unspecifiedError: return "Unspecified error"
    case .malformedPacket: return "Malformed Packet"
    case .protocolError: return "Protocol Error"
    case .implementationSpecificError: return "Implementation specific error"
    case .unsupportedProtocolVersion: return "Unsupported Protocol Version"
    case .clientIdentifierNotValid: return "Client Identifier not valid"
    case .badUserNameOrPassword: return "Bad User Name or Password"
    case .notAuthorized: return "Not authorized"
    case .serverUnavailable: return "Server unavailable"
    case .serverBusy: return "Server busy"
    case .banned: return "Banned"
    case .serverShuttingDown: return "Server shutting down"
    case .badAuthenticationMethod: return "Bad authentication method"
    case .keepAliveTimeout: return "Keep Alive timeout"
    case .sessionTakenOver: return "Session taken over"
    case .topicFilterInvalid: return "Topic Filter invalid"
    case .topicNameInvalid: return "Topic Name invalid"
    case .packetIdentifierInUse: return "Packet Identifier in use"
    case .packetIdentifierNotFound: return "Packet Identifier not found"
    case .receiveMaximumExceeded: return "Receive Maximum exceeded"
    case .topicAliasInvalid: return "Topic Alias invalid"
    case .packetTooLarge: return "Packet too large"
    case .messageRateTooHigh: return "Message rate too high"
    case .quotaExceeded: return "Quota exceeded"
    case .administrativeAction: return "Administrative action"
    case .payloadFormatInvalid: return "Payload format invalid"
    case .retainNotSupported: return "Retain not supported"
    case .qosNotSupported: return "QoS not supported"
    case .useAnotherServer: return "Use another server"
    case .serverMoved: return "Server moved"
    case .sharedSubscriptionsNotSupported: return "Shared Subscriptions not supported"
    case .connectionRateExceeded: return "Connection rate exceeded"
    case .maximumConnectTime: return "Maximum connect time"
    case .subscriptionIdentifiersNotSupported: return "Subscription Identifiers not supported"
    case .wildcardSubscriptionsNotSupported: return "Wildcard Subscriptions not supported"
    }
  }
}
