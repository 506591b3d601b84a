import Bounded
import MQTTWire
import Testing

/// §2.2.2.2, Table 2-4, by hand: identifier, a good value, where it is allowed, bad values.
struct PropertyRow: CustomTestStringConvertible, Sendable {
  let id: PropertyID
  let value: [UInt8]
  let scopes: Set<PropertyScope>
  var bad: [[UInt8]] = []
  var repeats: Set<PropertyScope> = []

  var testDescription: String { "\(id)" }

  static let every: Set<PropertyScope> = [
    .will, .connect, .connAck, .publish, .pubAck, .pubRec, .pubRel, .pubComp, .subscribe, .subAck, .unsubscribe,
    .unsubAck, .disconnect, .auth,
  ]
  private static let answers: Set<PropertyScope> = [
    .connAck, .pubAck, .pubRec, .pubRel, .pubComp, .subAck, .unsubAck, .disconnect, .auth,
  ]
  private static let notText = binary([0xFF])

  static let table = [
    PropertyRow(id: .payloadFormatIndicator, value: [1], scopes: [.publish, .will], bad: [[2], [0xFF]]),
    PropertyRow(id: .messageExpiryInterval, value: u32(0), scopes: [.publish, .will]),
    PropertyRow(id: .contentType, value: string("a"), scopes: [.publish, .will], bad: [notText]),
    PropertyRow(id: .responseTopic, value: string("a"), scopes: [.publish, .will], bad: [notText, string("+")]),
    PropertyRow(id: .correlationData, value: binary([0, 0xFF]), scopes: [.publish, .will]),
    PropertyRow(
      id: .subscriptionIdentifier, value: [1], scopes: [.publish, .subscribe], bad: [[0], [0x80, 0]],
      repeats: [.publish]),
    PropertyRow(id: .sessionExpiryInterval, value: u32(1), scopes: [.connect, .connAck, .disconnect]),
    PropertyRow(id: .assignedClientIdentifier, value: string("a"), scopes: [.connAck], bad: [notText]),
    PropertyRow(id: .serverKeepAlive, value: u16(0), scopes: [.connAck]),
    PropertyRow(
      id: .authenticationMethod, value: string("a"), scopes: [.connect, .connAck, .auth], bad: [notText]),
    PropertyRow(id: .authenticationData, value: binary([0]), scopes: [.connect, .connAck, .auth]),
    PropertyRow(id: .requestProblemInformation, value: [0], scopes: [.connect], bad: [[2]]),
    PropertyRow(id: .willDelayInterval, value: u32(9), scopes: [.will]),
    PropertyRow(id: .requestResponseInformation, value: [1], scopes: [.connect], bad: [[2]]),
    PropertyRow(id: .responseInformation, value: string("a"), scopes: [.connAck], bad: [notText]),
    PropertyRow(id: .serverReference, value: string("a"), scopes: [.connAck, .disconnect], bad: [notText]),
    PropertyRow(id: .reasonString, value: string("a"), scopes: answers, bad: [notText]),
    PropertyRow(id: .receiveMaximum, value: u16(1), scopes: [.connect, .connAck], bad: [u16(0)]),
    PropertyRow(id: .topicAliasMaximum, value: u16(0), scopes: [.connect, .connAck]),
    PropertyRow(id: .topicAlias, value: u16(1), scopes: [.publish], bad: [u16(0)]),
    PropertyRow(id: .maximumQoS, value: [1], scopes: [.connAck], bad: [[2]]),
    PropertyRow(id: .retainAvailable, value: [0], scopes: [.connAck], bad: [[2]]),
    PropertyRow(
      id: .userProperty, value: string("a") + string(""), scopes: every,
      bad: [notText + string(""), string("") + notText], repeats: every),
    PropertyRow(id: .maximumPacketSize, value: u32(1), scopes: [.connect, .connAck], bad: [u32(0)]),
    PropertyRow(id: .wildcardSubscriptionAvailable, value: [1], scopes: [.connAck], bad: [[2]]),
    PropertyRow(id: .subscriptionIdentifierAvailable, value: [1], scopes: [.connAck], bad: [[2]]),
    PropertyRow(id: .sharedSubscriptionAvailable, value: [1], scopes: [.connAck], bad: [[2]]),
  ]
}

@Suite struct PropertyTests {
  @Test func theTableIsComplete() {
    #expect(Set(PropertyRow.table.map(\.id)).count == 27)
    #expect((0...255).filter { PropertyID(rawValue: $0) != nil }.count == 27)
  }

  @Test(arguments: PropertyRow.table) func allowedWhereTheTableSays(_ row: PropertyRow) throws {
    let one = [row.id.rawValue] + row.value
    for scope in PropertyRow.every {
      guard row.scopes.contains(scope) else {
        #expect(throws: WireError.malformedPacket) { try Properties(lent(one), in: scope) }
        continue
      }
      var reader = try Properties(lent(one), in: scope).makeReader()
      let next = reader.next()
      let property = try #require(next)
      #expect(property.id == row.id)
      #expect(property.encoded.array() == one)
      #expect(reader.next() == nil)
      if row.repeats.contains(scope) {
        _ = try Properties(lent(one + one), in: scope)
      } else {
        #expect(throws: WireError.protocolError) { try Properties(lent(one + one), in: scope) }
      }
      for cut in 1..<one.count {
        #expect(throws: WireError.malformedPacket) { try Properties(lent(Array(one[..<cut])), in: scope) }
      }
      for bad in row.bad {
        #expect(throws: WireError.self) { try Properties(lent([row.id.rawValue] + bad), in: scope) }
      }
    }
  }

  @Test func unknownIdentifiersAreMalformed() {
    for id in UInt8(0)...255 where PropertyID(rawValue: id) == nil {
      for scope in PropertyRow.every {
        #expect(throws: WireError.malformedPacket) { try Properties(lent([id] + [0, 0, 0, 0, 0]), in: scope) }
      }
    }
  }

  @Test func writersAndReadersAgree() throws {
    let bytes = written {
      $0.writeProperty(.payloadFormatIndicator, byte: 1)
      $0.writeProperty(.messageExpiryInterval, uint32: 0x0102_0304)
      $0.writeProperty(.topicAlias, uint16: 0x0506)
      $0.writeProperty(.subscriptionIdentifier, variableByteInteger: 300)
      $0.writeProperty(.correlationData, bytes: Bytes("data"))
      $0.writeProperty(.userProperty, key: Bytes("key"), value: Bytes("value"))
    }!
    var reader = try Properties(lent(bytes), in: .publish).makeReader()
    #expect(reader.next()?.byte == 1)
    #expect(reader.next()?.uint32 == 0x0102_0304)
    #expect(reader.next()?.uint16 == 0x0506)
    #expect(reader.next()?.uint32 == 300)
    #expect(reader.next()!.bytes == Bytes("data"))
    let user = reader.next()!
    #expect(user.key == Bytes("key"))
    #expect(user.value == Bytes("value"))
    #expect(reader.next() == nil)
  }

  @Test func randomBlocksNeverTrap() {
    var random = SeededGenerator(seed: 222)
    let scopes = PropertyRow.every.sorted { $0.rawValue < $1.rawValue }
    for iteration in 0..<100_000 {
      var bytes: [UInt8] = []
      if iteration % 2 == 0 {
        bytes = random.bytes(random.below(24))
      } else {
        for _ in 0..<random.below(5) {
          let row = PropertyRow.table[random.below(27)]
          bytes += [row.id.rawValue] + row.value
        }
        if !bytes.isEmpty, random.below(2) == 0 { bytes[random.below(bytes.count)] = random.byte() }
      }
      withLent(bytes) { bytes in
        guard let properties = try? Properties(bytes, in: scopes[random.below(scopes.count)]) else { return }
        var reader = properties.makeReader()
        var byteCount = 0
        while let property = reader.next() { byteCount += property.encoded.count }
        if byteCount != bytes.count { Issue.record("\(bytes.array().hex)") }
      }
    }
  }
}
