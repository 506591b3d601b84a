import Bounded
import MQTTWire
import Testing

private func good(_ name: String, _ version: ProtocolVersion) -> Bytes {
  lent(split(Good.all.first { $0.name == name && $0.version == version }!.bytes).body)
}

/// What the good packets say, field by field.
@Suite struct FieldTests {
  @Test func connect311() throws {
    let connect = try Connect(body: good("CONNECT all", .v311))
    #expect(connect.version == .v311)
    #expect(!connect.cleanStart)
    #expect(connect.keepAliveSeconds == 0xABCD)
    #expect(connect.clientID == Bytes("client"))
    #expect(connect.userName! == Bytes("user"))
    #expect(connect.password!.array() == [0xFF, 0])
    #expect(connect.will!.topic == Bytes("will/topic"))
    #expect(connect.will!.payload.array() == [0, 1, 2])
    #expect(connect.will!.qos == .atLeastOnce)
    #expect(connect.will!.retain)
    #expect(connect.sessionExpirySeconds == .max)  // a 3.1.1 session without Clean Session has no end
    let clean = try Connect(body: good("CONNECT shortest", .v311))
    #expect(clean.cleanStart)
    #expect(clean.sessionExpirySeconds == 0)
    #expect(clean.will == nil && clean.userName == nil && clean.password == nil)
  }

  @Test func connect5() throws {
    let connect = try Connect(body: good("CONNECT all", .v5))
    #expect(connect.version == .v5)
    #expect(connect.cleanStart)
    #expect(connect.sessionExpirySeconds == 3600)
    #expect(connect.receiveMaximum == 10)
    #expect(connect.maximumPacketSize == 65_536)
    #expect(connect.topicAliasMaximum == 7)
    #expect(connect.requestResponseInformation)
    #expect(!connect.requestProblemInformation)
    #expect(connect.authenticationMethod! == Bytes("SCRAM"))
    #expect(connect.authenticationData!.array() == [9, 8])
    let will = connect.will!
    #expect(will.qos == .exactlyOnce)
    #expect(will.retain)
    #expect(will.delaySeconds == 5)
    #expect(will.messageExpirySeconds == 120)
    #expect(will.properties.first(.contentType)!.bytes == Bytes("text/plain"))
    #expect(will.payload.isEmpty)
  }

  @Test func connect5Defaults() throws {
    let connect = try Connect(body: good("CONNECT shortest", .v5))
    #expect(connect.sessionExpirySeconds == 0)
    #expect(connect.receiveMaximum == 65_535)
    #expect(connect.maximumPacketSize == .max)
    #expect(connect.topicAliasMaximum == 0)
    #expect(!connect.requestResponseInformation)
    #expect(connect.requestProblemInformation)
    #expect(connect.authenticationMethod == nil && connect.authenticationData == nil)
  }

  @Test func connAck5() throws {
    let connAck = try ConnAck(body: good("CONNACK all", .v5), version: .v5)
    #expect(connAck.sessionPresent)
    #expect(connAck.reason == .success)
    #expect(connAck.sessionExpirySeconds == 1)
    #expect(connAck.receiveMaximum == 2)
    #expect(connAck.maximumQoS == .atLeastOnce)
    #expect(connAck.retainAvailable == false)
    #expect(connAck.maximumPacketSize == 3)
    #expect(connAck.assignedClientID! == Bytes("auto-1"))
    #expect(connAck.topicAliasMaximum == 4)
    #expect(connAck.reasonString! == Bytes("why"))
    #expect(connAck.wildcardAvailable == true)
    #expect(connAck.subscriptionIdentifiersAvailable == false)
    #expect(connAck.sharedAvailable == true)
    #expect(connAck.serverKeepAlive == 5)
    #expect(connAck.responseInformation! == Bytes("resp/"))
    #expect(connAck.serverReference! == Bytes("other:1883"))
    let encoded = written { connAck.encode(into: &$0, version: .v5) }
    #expect(connAck.byteCount(version: .v5) == encoded?.count)
  }

  @Test func publish5() throws {
    let publish = try Publish(body: good("PUBLISH all from client", .v5), flags: 0x3, version: .v5, from: .client)
    #expect(!publish.dup && publish.retain && publish.qos == .atLeastOnce)
    #expect(publish.topic == lent("sensor/κλίμα"))
    #expect(publish.packetID == 9)
    #expect(publish.topicAlias == 3)
    #expect(publish.messageExpirySeconds == 60)
    #expect(publish.responseTopic! == Bytes("re/ply"))
    #expect(publish.payloadFormat == 1)
    #expect(publish.payload == Bytes("{}"))
    let forwarded = written { Publish.writeForwardable(publish.properties, into: &$0) }
    let expected =
      [0x01, 1] + [0x08] + string("re/ply") + [0x03] + string("json") + [0x09] + binary([0xDE, 0xAD])
      + user("z", "1") + user("y", "2") + user("z", "3")
    #expect(forwarded == expected)
    #expect(publish.byteCount(version: .v5) == written { publish.encode(into: &$0, version: .v5) }?.count)
  }

  @Test func subscribe5() throws {
    let subscribe = try Subscribe(body: good("SUBSCRIBE all", .v5), version: .v5)
    #expect(subscribe.packetID == 0xFFFF)
    #expect(subscribe.subscriptionID == 128)
    #expect(subscribe.filterCount == 2)
    var filters = subscribe.filters
    let first = filters.next()!
    #expect(first.filter == Bytes("$share/g/a"))
    #expect(first.options == SubscriptionOptions(qos: .atLeastOnce, retainAsPublished: true, retainHandling: 1))
    #expect(!first.options.noLocal)
    let second = filters.next()!
    #expect(second.filter == Bytes("$SYS/#"))
    #expect(second.options.byte == 0)
    #expect(filters.next() == nil)
  }

  @Test func unsubscribe5() throws {
    let unsubscribe = try Unsubscribe(body: good("UNSUBSCRIBE all", .v5), version: .v5)
    #expect(unsubscribe.filterCount == 1)
    var filters = unsubscribe.filters
    #expect(filters.next()! == Bytes("a/+"))
    #expect(filters.next() == nil)
  }

  @Test func disconnectAndAuth() throws {
    let disconnect = try Disconnect(body: good("DISCONNECT all from client", .v5), version: .v5)
    #expect(disconnect.reason == .receiveMaximumExceeded)
    #expect(disconnect.sessionExpirySeconds == 0)
    #expect(disconnect.reasonString! == Bytes("why"))
    let auth = try Auth(body: good("AUTH from client", .v5))
    #expect(auth.reason == .continueAuthentication)
    #expect(auth.method! == Bytes("M"))
    #expect(auth.data!.array() == [1, 2])
  }

  @Test func subAck311KnowsOneFailure() {
    let subAck = SubAck(packetID: 1, reasonCodes: lent([0, 1, 2, 0x87, 0x8F]))
    #expect(
      written { subAck.encode(type: .subAck, into: &$0, version: .v311) } == [0x90, 7, 0, 1, 0, 1, 2, 0x80, 0x80])
    let unsubAck = SubAck(packetID: 1, reasonCodes: lent([0, 0x11]))
    #expect(written { unsubAck.encode(type: .unsubAck, into: &$0, version: .v311) } == [0xB0, 2, 0, 1])
  }

  /// Written code by code it is the packet that `encode` writes.
  @Test(arguments: [ProtocolVersion.v31, .v311, .v5], [PacketType.subAck, .unsubAck])
  func subAckCodeByCode(version: ProtocolVersion, type: PacketType) {
    let reasons: [ReasonCode] = [.success, .grantedQoS1, .grantedQoS2, .notAuthorized, .quotaExceeded]
    for count in [1, 5, 119, 120, 124, 125, 126, 20_000] {
      let codes = (0..<count).map { reasons[$0 % 5] }
      let whole = written {
        SubAck(packetID: 0x1234, reasonCodes: lent(codes.map(\.rawValue))).encode(
          type: type, into: &$0, version: version)
      }
      let pieces = written { writer in
        SubAck.begin(type, packetID: 0x1234, codeCount: count, into: &writer, version: version)
        for code in codes { SubAck.write(code, of: type, into: &writer, version: version) }
      }
      #expect(pieces == whole)
      #expect(SubAck.byteCount(type, codeCount: count, version: version) == whole?.count)
    }
  }

  /// 3.1 §2.1: what is sent again has DUP. 3.1.1 and 5 reserve the bit.
  @Test func repeatsHaveDupInMQTT31() {
    let rows: [(PacketType, body: (ProtocolVersion) -> [UInt8])] = [
      (.pubRel, { _ in [0, 1] }), (.subscribe, { [0, 1] + ($0 == .v5 ? [0] : []) + string("a") + [1] }),
      (.unsubscribe, { [0, 1] + ($0 == .v5 ? [0] : []) + string("a") }),
    ]
    for (type, body) in rows {
      for version in [ProtocolVersion.v31, .v311, .v5] {
        for flags in UInt8(0)...15 {
          let isGood = withLent(body(version)) { body in
            (try? AnyPacket(type, flags: flags, body: body, version: version, from: .client)) != nil
          }
          #expect(isGood == (flags == 2 || flags == 10 && version == .v31), "\(type) \(version) \(flags)")
        }
      }
    }
  }

  /// The answer to a CONNECT that does not decode is written in the nearest version.
  @Test func versionOfARefusal() {
    let rows: [(name: String, level: UInt8, ProtocolVersion)] = [
      ("MQTT", 0, .v311), ("MQTT", 3, .v311), ("MQTT", 4, .v311), ("MQTT", 5, .v5), ("MQTT", 6, .v5),
      ("MQTT", 0x7F, .v5),
      ("MQTT", 0x80, .v311), ("MQTT", 0x83, .v311), ("MQTT", 0x84, .v311), ("MQTT", 0x85, .v5), ("MQTT", 0x86, .v311),
      ("MQTT", 0xFF, .v311), ("MQIsdp", 3, .v31), ("MQIsdp", 0x83, .v31), ("MQIsdp", 4, .v311), ("MQIsdp", 5, .v311),
      ("MQIsdp", 0x85, .v311), ("MQTX", 4, .v311), ("MQTX", 5, .v5), ("MQTX", 0x85, .v311),
    ]
    for (name, level, version) in rows {
      #expect(Connect.answerVersion(body: lent(string(name) + [level])) == version, "\(name) \(level)")
    }
    #expect(Connect.answerVersion(body: lent([0, 9])) == .v311)
  }
}
