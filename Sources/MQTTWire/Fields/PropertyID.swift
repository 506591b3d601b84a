/// Property identifiers (§2.2.2.2, Table 2-4).
public enum PropertyID: UInt8, BitwiseCopyable, Sendable {
  case payloadFormatIndicator = 0x01
  case messageExpiryInterval = 0x02
  case contentType = 0x03
  case responseTopic = 0x08
  case correlationData = 0x09
  case subscriptionIdentifier = 0x0B
  case sessionExpiryInterval = 0x11
  case assignedClientIdentifier = 0x12
  case serverKeepAlive = 0x13
  case authenticationMethod = 0x15
  case authenticationData = 0x16
  case requestProblemInformation = 0x17
  case willDelayInterval = 0x18
  case requestResponseInformation = 0x19
  case responseInformation = 0x1A
  case serverReference = 0x1C
  case reasonString = 0x1F
  case receiveMaximum = 0x21
  case topicAliasMaximum = 0x22
  case topicAlias = 0x23
  case maximumQoS = 0x24
  case retainAvailable = 0x25
  case userProperty = 0x26
  case maximumPacketSize = 0x27
  case wildcardSubscriptionAvailable = 0x28
  case subscriptionIdentifierAvailable = 0x29
  case sharedSubscriptionAvailable = 0x2A
}

/// Where a property block stands: the packets by their type's number, and 0 for the Will's block in CONNECT.
public enum PropertyScope: UInt8, BitwiseCopyable, Sendable {
  case will = 0
  case connect = 1
  case connAck
  case publish
  case pubAck
  case pubRec
  case pubRel
  case pubComp
  case subscribe
  case subAck
  case unsubscribe
  case unsubAck
  case disconnect = 14
  case auth
}

/// The forms a property's value has on the wire (§1.5).
enum PropertyForm {
  case byte
  case uint16
  case uint32
  case variableByteInteger
  case string
  case binary
  case stringPair
}

extension PropertyID {
  /// Table 2-4, column "Type".
  var form: PropertyForm {
    switch self {
    case .payloadFormatIndicator, .requestProblemInformation, .requestResponseInformation, .maximumQoS,
      .retainAvailable, .wildcardSubscriptionAvailable, .subscriptionIdentifierAvailable,
      .sharedSubscriptionAvailable:
      return .byte
    case .serverKeepAlive, .receiveMaximum, .topicAliasMaximum, .topicAlias:
      return .uint16
    case .messageExpiryInterval, .sessionExpiryInterval, .willDelayInterval, .maximumPacketSize:
      return .uint32
    case .subscriptionIdentifier:
      return .variableByteInteger
    case .contentType, .responseTopic, .assignedClientIdentifier, .authenticationMethod, .responseInformation,
      .serverReference, .reasonString:
      return .string
    case .correlationData, .authenticationData:
      return .binary
    case .userProperty:
      return .stringPair
    }
  }

  /// Table 2-4, column "Packet / Will Properties".
  func isAllowed(in scope: PropertyScope) -> Bool {
    switch self {
    case .payloadFormatIndicator, .messageExpiryInterval, .contentType, .responseTopic, .correlationData:
      return scope == .publish || scope == .will
    case .subscriptionIdentifier:
      return scope == .publish || scope == .subscribe
    case .sessionExpiryInterval:
      return scope == .connect || scope == .connAck || scope == .disconnect
    case .authenticationMethod, .authenticationData:
      return scope == .connect || scope == .connAck || scope == .auth
    case .requestProblemInformation, .requestResponseInformation:
      return scope == .connect
    case .willDelayInterval:
      return scope == .will
    case .serverReference:
      return scope == .connAck || scope == .disconnect
    case .reasonString:
      switch scope {
      case .connAck, .pubAck, .pubRec, .pubRel, .pubComp, .subAck, .unsubAck, .disconnect, .auth: return true
      case .will, .connect, .publish, .subscribe, .unsubscribe: return false
      }
    case .receiveMaximum, .topicAliasMaximum, .maximumPacketSize:
      return scope == .connect || scope == .connAck
    case .topicAlias:
      return scope == .publish
    case .assignedClientIdentifier, .serverKeepAlive, .responseInformation, .maximumQoS, .retainAvailable,
      .wildcardSubscriptionAvailable, .subscriptionIdentifierAvailable, .sharedSubscriptionAvailable:
      return scope == .connAck
    case .userProperty:
      return true
    }
  }

  /// May stand more than once: User Property everywhere, Subscription Identifier in PUBLISH (§3.3.2.3.8).
  func mayRepeat(in scope: PropertyScope) -> Bool {
    self == .userProperty || (self == .subscriptionIdentifier && scope == .publish)
  }
}

/// A set of property identifiers.
public struct PropertySet: BitwiseCopyable, Equatable, Sendable {
  @usableFromInline var bits: UInt64

  @inlinable init(bits: UInt64) { self.bits = bits }
  @inlinable public init(_ id: PropertyID) { bits = 1 &<< UInt64(id.rawValue) }
  @inlinable public static var none: PropertySet { PropertySet(bits: 0) }
  @inlinable public static var all: PropertySet { PropertySet(bits: ~0) }

  @inlinable public var inverted: PropertySet { PropertySet(bits: ~bits) }

  @inlinable public func contains(_ id: PropertyID) -> Bool { bits & PropertySet(id).bits != 0 }
  @inlinable public func with(_ id: PropertyID) -> PropertySet { PropertySet(bits: bits | PropertySet(id).bits) }
  @inlinable public func without(_ id: PropertyID) -> PropertySet { PropertySet(bits: bits & ~PropertySet(id).bits) }

  /// What a message takes along from its publisher to its receivers: all but what is said anew for each hop
  /// (§3.3.2.3.3, §3.3.2.3.4, §3.3.2.3.8) or is the Will's own (§3.1.3.2.2).
  @inlinable public static var forwardable: PropertySet {
    PropertySet.all.without(.messageExpiryInterval).without(.topicAlias).without(.subscriptionIdentifier)
      .without(.willDelayInterval)
  }
}
