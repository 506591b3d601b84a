/// What is wrong with a peer's bytes, as the Reason Code that answers it (§4.13). In MQTT 3.1.1 the connection is
/// closed without a word.
public struct WireError: Error, Equatable, BitwiseCopyable {
  public let reason: ReasonCode

  @inlinable public init(_ reason: ReasonCode) { self.reason = reason }

  @inlinable public static var malformedPacket: WireError { WireError(.malformedPacket) }
  @inlinable public static var protocolError: WireError { WireError(.protocolError) }
  @inlinable public static var unsupportedProtocolVersion: WireError { WireError(.unsupportedProtocolVersion) }
  @inlinable public static var clientIdentifierNotValid: WireError { WireError(.clientIdentifierNotValid) }
  @inlinable public static var notAuthorized: WireError { WireError(.notAuthorized) }
  @inlinable public static var topicFilterInvalid: WireError { WireError(.topicFilterInvalid) }
  @inlinable public static var topicNameInvalid: WireError { WireError(.topicNameInvalid) }
  @inlinable public static var receiveMaximumExceeded: WireError { WireError(.receiveMaximumExceeded) }
  @inlinable public static var topicAliasInvalid: WireError { WireError(.topicAliasInvalid) }
  @inlinable public static var packetTooLarge: WireError { WireError(.packetTooLarge) }
  @inlinable public static var quotaExceeded: WireError { WireError(.quotaExceeded) }
  @inlinable public static var payloadFormatInvalid: WireError { WireError(.payloadFormatInvalid) }
}
