import Bounded
import MQTTWire
import Testing

private func decode(_ good: Good, body: Bytes, flags: UInt8? = nil) throws(WireError) -> AnyPacket {
  let parts = split(good.bytes)
  return try AnyPacket(
    parts.type, flags: flags ?? parts.flags, body: body, version: good.version, from: good.sender)
}

/// Whether the packet written again is the same packet; nil if the bytes are no packet.
private func survivesRewriting(
  _ type: PacketType, flags: UInt8, body: Bytes, version: ProtocolVersion, from sender: Sender
) -> Bool? {
  guard let first = try? AnyPacket(type, flags: flags, body: body, version: version, from: sender) else { return nil }
  var again = version
  if case .connect(let connect) = first { again = connect.version }
  guard let bytes = written({ first.encode(into: &$0, version: again) }) else { return false }
  let parts = split(bytes)
  guard parts.type == type else { return false }
  return withLent(parts.body) { body in
    let second = try? AnyPacket(type, flags: parts.flags, body: body, version: again, from: sender)
    return second?.text == first.text
  }
}

@Suite struct PacketTests {
  @Test(arguments: Good.all) func goodPacketsAreReadAndWrittenTheSame(_ good: Good) throws {
    let packet = try decode(good, body: lent(split(good.bytes).body))
    #expect(written { packet.encode(into: &$0, version: good.version) } == good.bytes)
    let again = try decode(good, body: lent(split(good.bytes).body))
    #expect(again.text == packet.text)
  }

  /// A writer with too little room says so, at every capacity.
  @Test(arguments: Good.all) func tooLittleRoomIsSeen(_ good: Good) throws {
    let packet = try decode(good, body: lent(split(good.bytes).body))
    for capacity in 0..<good.bytes.count {
      #expect(written(capacity: capacity) { packet.encode(into: &$0, version: good.version) } == nil)
    }
    #expect(written(capacity: good.bytes.count) { packet.encode(into: &$0, version: good.version) } == good.bytes)
  }

  @Test(arguments: Good.all) func cutShort(_ good: Good) {
    let body = split(good.bytes).body
    for missing in 0...body.count {
      let isGood = withLent(body.dropLast(missing)) { (try? decode(good, body: $0)) != nil }
      #expect(isGood == (missing == 0 || good.shorter.contains(missing)), "\(missing) bytes missing")
    }
  }

  @Test(arguments: Good.all) func oneByteTooMany(_ good: Good) {
    let isGood = withLent(split(good.bytes).body + [0]) { (try? decode(good, body: $0)) != nil }
    #expect(isGood == good.longer)
  }

  @Test(arguments: Good.all) func oneByteChanged(_ good: Good) {
    let parts = split(good.bytes)
    for index in parts.body.indices {
      let old = parts.body[index]
      for new in [0, 1, 2, 3, 0x23, 0x2B, 0x7F, 0x80, 0xC0, 0xED, 0xFF, old ^ 1, old ^ 0x80, old &+ 1, old &- 1] {
        var body = parts.body
        body[index] = new
        let survives = withLent(body) {
          survivesRewriting(parts.type, flags: parts.flags, body: $0, version: good.version, from: good.sender)
        }
        #expect(survives != false, "byte \(index) is \(new): \(body.hex)")
      }
    }
  }

  /// §2.1.3, Table 2-2: the flags of the other types are reserved.
  @Test(arguments: Good.all) func wrongFlagsAreMalformed(_ good: Good) {
    let parts = split(good.bytes)
    guard parts.type != .publish, parts.type != .pingReq, parts.type != .pingResp else { return }
    for flags in UInt8(0)...15 where flags != parts.flags {
      #expect(throws: WireError.malformedPacket) { try decode(good, body: lent(parts.body), flags: flags) }
    }
  }

  static let types = (1...15).compactMap { PacketType(rawValue: $0) }

  /// Random bytes, and good packets with random bytes in them, into every decoder.
  @Test(arguments: types) func randomBytesNeverTrap(_ type: PacketType) {
    var random = SeededGenerator(seed: 0x5EED_0000 + UInt64(type.rawValue))
    let models = Good.all.map { split($0.bytes) }.filter { $0.type == type }
    var decoded = 0
    for iteration in 0..<20_000 {
      var body = random.bytes(random.below(40))
      if iteration % 2 == 1, let model = models.randomElement(using: &random) {
        body = model.body
        for _ in 0..<(1 + random.below(3)) where !body.isEmpty { body[random.below(body.count)] = random.byte() }
        if random.below(4) == 0 { body.insert(random.byte(), at: random.below(body.count + 1)) }
        if random.below(4) == 0, !body.isEmpty { body.remove(at: random.below(body.count)) }
      }
      let flags = models.randomElement(using: &random)?.flags ?? 0
      let version: ProtocolVersion = random.below(2) == 0 ? .v311 : .v5
      let sender: Sender = random.below(2) == 0 ? .client : .server
      let survives = withLent(body) { body in
        // The whole rewriting is dear: once in sixteen, the decoding always.
        iteration % 16 < 2
          ? survivesRewriting(type, flags: flags, body: body, version: version, from: sender)
          : (try? AnyPacket(type, flags: flags, body: body, version: version, from: sender)).map { _ in true }
      }
      if survives == false { Issue.record("\(type) \(version) \(sender): \(body.hex)") }
      if survives == true { decoded += 1 }
    }
    #expect(decoded > 0)
  }
}
