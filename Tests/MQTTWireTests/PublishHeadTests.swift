import Bounded
import MQTTWire
import Testing

/// A packet put together from its parts reads as if it had been written whole.
@Suite struct PublishHeadTests {
  @Test(arguments: [ProtocolVersion.v311, .v5], [QoS.atMostOnce, .atLeastOnce, .exactlyOnce])
  func headAndPartsMakeThePacket(_ version: ProtocolVersion, _ qos: QoS) throws {
    for payloadByteCount in [0, 1, 100, 127, 128, 20_000] {
      for identifiers in [[], [1], [1, 268_435_455]] as [[UInt32]] {
        for expirySeconds in [nil, 7] as [UInt32?] {
          let payload = [UInt8](repeating: 0x55, count: payloadByteCount)
          let forwarded = version == .v5 ? [0x01, 1] + user("a", "b") : []
          var head = PublishHead(
            version: version, qos: qos, retain: true, forwardedByteCount: forwarded.count,
            payloadByteCount: payloadByteCount)
          head.isDuplicate = qos != .atMostOnce
          head.packetID = 9
          if version == .v5 {
            head.expirySeconds = expirySeconds
            head.identifiersByteCount = identifiers.reduce(0) { $0 + PublishHead.identifierByteCount($1) }
          }
          let bytes = written {
            head.write(topic: Bytes("a/b"), into: &$0)
            if version == .v5 { for identifier in identifiers { PublishHead.writeIdentifier(identifier, into: &$0) } }
            $0.write(lent(forwarded))
            $0.write(lent(payload))
          }!
          #expect(bytes.count == head.packetByteCount(topicByteCount: 3))
          let parts = split(bytes)
          #expect(bytes == packet(bytes[0], parts.body))
          let publish = try Publish(body: lent(parts.body), flags: parts.flags, version: version, from: .server)
          #expect(publish.topic == Bytes("a/b") && publish.payload.array() == payload)
          #expect(publish.qos == qos && publish.retain && publish.dup == (qos != .atMostOnce))
          #expect(publish.packetID == (qos == .atMostOnce ? 0 : 9))
          guard version == .v5 else { continue }
          #expect(publish.messageExpirySeconds == expirySeconds)
          #expect(written { Publish.writeForwardable(publish.properties, into: &$0) } == forwarded)
          var reader = publish.properties.makeReader()
          var found: [UInt32] = []
          while let property = reader.next() {
            if property.id == .subscriptionIdentifier { found.append(property.uint32) }
          }
          #expect(found == identifiers)
        }
      }
    }
  }
}
