import MQTTWire
import Testing

@Suite struct ReasonCodeTests {
  /// §2.4, Table 2-6: the packets in which each code stands; those in brackets from one side only.
  struct Row: Sendable {
    let code: ReasonCode
    let value: UInt8
    var types: [PacketType] = []
    var clientOnly: [PacketType] = []
    var serverOnly: [PacketType] = []
  }

  static let table = [
    Row(
      code: .success, value: 0x00, types: [.pubAck, .pubRec, .pubRel, .pubComp, .disconnect],
      serverOnly: [.connAck, .subAck, .unsubAck, .auth]),
    Row(code: .grantedQoS1, value: 0x01, serverOnly: [.subAck]),
    Row(code: .grantedQoS2, value: 0x02, serverOnly: [.subAck]),
    Row(code: .disconnectWithWill, value: 0x04, clientOnly: [.disconnect]),
    Row(code: .noMatchingSubscribers, value: 0x10, types: [.pubAck, .pubRec]),
    Row(code: .noSubscriptionExisted, value: 0x11, serverOnly: [.unsubAck]),
    Row(code: .continueAuthentication, value: 0x18, types: [.auth]),
    Row(code: .reauthenticate, value: 0x19, clientOnly: [.auth]),
    Row(
      code: .unspecifiedError, value: 0x80, types: [.pubAck, .pubRec, .disconnect],
      serverOnly: [.connAck, .subAck, .unsubAck]),
    Row(code: .malformedPacket, value: 0x81, types: [.disconnect], serverOnly: [.connAck]),
    Row(code: .protocolError, value: 0x82, types: [.disconnect], serverOnly: [.connAck]),
    Row(
      code: .implementationSpecificError, value: 0x83, types: [.pubAck, .pubRec, .disconnect],
      serverOnly: [.connAck, .subAck, .unsubAck]),
    Row(code: .unsupportedProtocolVersion, value: 0x84, serverOnly: [.connAck]),
    Row(code: .clientIdentifierNotValid, value: 0x85, serverOnly: [.connAck]),
    Row(code: .badUserNameOrPassword, value: 0x86, serverOnly: [.connAck]),
    Row(
      code: .notAuthorized, value: 0x87, types: [.pubAck, .pubRec],
      serverOnly: [.connAck, .subAck, .unsubAck, .disconnect]),
    Row(code: .serverUnavailable, value: 0x88, serverOnly: [.connAck]),
    Row(code: .serverBusy, value: 0x89, serverOnly: [.connAck, .disconnect]),
    Row(code: .banned, value: 0x8A, serverOnly: [.connAck]),
    Row(code: .serverShuttingDown, value: 0x8B, serverOnly: [.disconnect]),
    Row(code: .badAuthenticationMethod, value: 0x8C, serverOnly: [.connAck]),
    Row(code: .keepAliveTimeout, value: 0x8D, serverOnly: [.disconnect]),
    Row(code: .sessionTakenOver, value: 0x8E, serverOnly: [.disconnect]),
    Row(code: .topicFilterInvalid, value: 0x8F, serverOnly: [.subAck, .unsubAck, .disconnect]),
    Row(code: .topicNameInvalid, value: 0x90, types: [.pubAck, .pubRec, .disconnect], serverOnly: [.connAck]),
    Row(code: .packetIdentifierInUse, value: 0x91, types: [.pubAck, .pubRec], serverOnly: [.subAck, .unsubAck]),
    Row(code: .packetIdentifierNotFound, value: 0x92, types: [.pubRel, .pubComp]),
    Row(code: .receiveMaximumExceeded, value: 0x93, types: [.disconnect]),
    Row(code: .topicAliasInvalid, value: 0x94, types: [.disconnect]),
    Row(code: .packetTooLarge, value: 0x95, types: [.disconnect], serverOnly: [.connAck]),
    Row(code: .messageRateTooHigh, value: 0x96, types: [.disconnect]),
    Row(code: .quotaExceeded, value: 0x97, types: [.pubAck, .pubRec, .disconnect], serverOnly: [.connAck, .subAck]),
    Row(code: .administrativeAction, value: 0x98, types: [.disconnect]),
    Row(code: .payloadFormatInvalid, value: 0x99, types: [.pubAck, .pubRec, .disconnect], serverOnly: [.connAck]),
    Row(code: .retainNotSupported, value: 0x9A, serverOnly: [.connAck, .disconnect]),
    Row(code: .qosNotSupported, value: 0x9B, serverOnly: [.connAck, .disconnect]),
    Row(code: .useAnotherServer, value: 0x9C, serverOnly: [.connAck, .disconnect]),
    Row(code: .serverMoved, value: 0x9D, serverOnly: [.connAck, .disconnect]),
    Row(code: .sharedSubscriptionsNotSupported, value: 0x9E, serverOnly: [.subAck, .disconnect]),
    Row(code: .connectionRateExceeded, value: 0x9F, serverOnly: [.connAck, .disconnect]),
    Row(code: .maximumConnectTime, value: 0xA0, serverOnly: [.disconnect]),
    Row(code: .subscriptionIdentifiersNotSupported, value: 0xA1, serverOnly: [.subAck, .disconnect]),
    Row(code: .wildcardSubscriptionsNotSupported, value: 0xA2, serverOnly: [.subAck, .disconnect]),
  ]

  @Test func theTableIsComplete() {
    #expect(ReasonCodeTests.table.count == 43)
    #expect((0...255).compactMap { ReasonCode(rawValue: $0) } == ReasonCodeTests.table.map(\.code))
  }

  @Test(arguments: table) func allowedWhereTheTableSays(_ row: Row) {
    #expect(row.code.rawValue == row.value)
    #expect(row.code.isError == (row.value >= 0x80))
    for type in (1...15).compactMap({ PacketType(rawValue: $0) }) {
      let both = row.types.contains(type)
      #expect(row.code.isAllowed(in: type, from: .client) == (both || row.clientOnly.contains(type)), "\(type)")
      #expect(row.code.isAllowed(in: type, from: .server) == (both || row.serverOnly.contains(type)), "\(type)")
    }
  }

  @Test func aliases() {
    #expect(ReasonCode.normalDisconnection == .success)
    #expect(ReasonCode.grantedQoS0 == .success)
    #expect(ReasonCode(granted: .exactlyOnce) == .grantedQoS2)
    #expect(min(QoS.atLeastOnce, QoS.exactlyOnce) == .atLeastOnce)
  }

  /// 3.1.1, Table 3.1.
  @Test func connectReturnCodes() {
    for code in UInt8(0)...255 {
      let reason = ReasonCode(connectReturnCode311: code)
      #expect((reason != nil) == (code <= 5))
      if let reason { #expect(reason.connectReturnCode311 == code) }
    }
    for row in ReasonCodeTests.table where row.code.isError { #expect((1...5).contains(row.code.connectReturnCode311)) }
  }
}
