import MQTTWire

@testable import Bounded
@testable import MQTTBroker

/// What each packet of a client is to do, and what answers it.
extension Simulation {
  /// `part`: the bytes of `packet` that the broker does not have yet.
  func packetEnds(_ packet: [UInt8], _ part: [UInt8], on line: Line) {
    packetCount += 1
    packet.withUnsafeBytes { all in
      let headerBytes = 1 + (packet.dropFirst().firstIndex { $0 < 0x80 } ?? 1)
      let body = Bytes(all).from(headerBytes)
      guard !broker.isClosing(line.id), let type = PacketType(rawValue: packet[0] >> 4) else {
        receive(part, on: line, .other)
        return
      }
      let header = FixedHeader(
        type: type, flags: packet[0] & 15, remainingLength: body.count, headerByteCount: headerBytes)
      do throws(WireError) {
        if let session = line.session {
          try packetEnds(header, body, part, on: line, session)
        } else if type == .connect {
          try connect(header, body, part, on: line)
        } else {
          throw .protocolError
        }
      } catch {
        let isAlive = receive(part, on: line, .other)
        if isAlive { fail("a bad \(type) is taken") }
      }
    }
  }

  private func connect(_ header: FixedHeader, _ body: Bytes, _ part: [UInt8], on line: Line) throws(WireError) {
    guard header.flags == 0 else { throw .malformedPacket }
    let connect = try Connect(body: body)
    let isAlive = receive(
      part, on: line,
      .connect(
        clientID: connect.clientID.array(), cleanStart: connect.cleanStart,
        expirySeconds: min(connect.sessionExpirySeconds, UInt32(limits.sessionExpirySecondsMax)),
        isTrusted: line.client.isHonest))
    guard isAlive else { return }
    if broker.connections[line.id].state == .awaitingVerdict {
      guard waiting.hasLateVerdicts else { return fail("a CONNECT waits, but nobody was asked") }
      waiting.park(line, connect, limits)
      return
    }
    welcome(line)
  }

  /// The CONNECT was accepted; CONNACK is to come.
  func welcome(_ line: Line) {
    answer(line, .connAck, 0)
    guard broker.connections[line.id].state == .connected else {
      fail("a CONNECT is neither taken nor refused")
      return
    }
    line.session = sessions[broker.connections[line.id].session.index]
  }

  private func packetEnds(
    _ header: FixedHeader, _ body: Bytes, _ part: [UInt8], on line: Line, _ session: ModelSession
  ) throws(WireError) {
    switch header.type {
    case .publish:
      let packet = try Publish(body: body, flags: header.flags, version: line.version, from: .client)
      publish(packet, part, on: line, session)
    case .pubAck, .pubRec, .pubRel, .pubComp:
      let ack = try Ack(type: header.type, body: body, flags: header.flags, version: line.version)
      let isAlive = receive(part, on: line, .ack(header.type, ack.packetID, isError: ack.reason.isError, session))
      if !isAlive { fail("\(header.type) closed its connection") }
      guard header.type == .pubRel else { return }
      session.incoming.remove(ack.packetID)
      answer(line, .pubComp, ack.packetID)
    case .subscribe:
      let packet = try Subscribe(body: body, flags: header.flags, version: line.version)
      var wanted: [ModelFilter?] = []
      var filters = packet.filters
      while let entry = filters.next() {
        // Bridges get No Local and Retain As Published, whatever they ask for.
        let options = SubscriptionOptions(byte: entry.options.byte | (line.client.isBridge ? 0x0C : 0))
        wanted.append(modelFilter(entry.filter, options, packet.subscriptionID))
      }
      guard receive(part, on: line, .other) else { return }
      answer(line, .subAck, packet.packetID, subscribed(session, wanted))
    case .unsubscribe:
      let packet = try Unsubscribe(body: body, flags: header.flags, version: line.version)
      var unwanted: [ModelFilter?] = []
      var filters = packet.filters
      while let filter = filters.next() { unwanted.append(modelFilter(filter, SubscriptionOptions(byte: 0), 0)) }
      guard receive(part, on: line, .other) else { return }
      unsubscribed(session, unwanted)
      answer(line, .unsubAck, packet.packetID)
    case .pingReq:
      guard body.isEmpty, header.flags == 0 else { throw .malformedPacket }
      receive(part, on: line, .other)
      answer(line, .pingResp, 0)
    case .disconnect:
      let packet = try Disconnect(body: body, flags: header.flags, version: line.version)
      if let seconds = packet.sessionExpirySeconds {
        guard seconds == 0 || session.expirySeconds != 0 else { throw .protocolError }
        session.expirySeconds = min(seconds, UInt32(limits.sessionExpirySecondsMax))
      }
      if receive(part, on: line, .other) { fail("DISCONNECT did not disconnect") }
    case .connect, .connAck, .subAck, .unsubAck, .pingResp, .auth: throw .protocolError
    }
  }

  private func publish(_ packet: Publish, _ part: [UInt8], on line: Line, _ session: ModelSession) {
    var topic = packet.topic.array()
    if let alias = packet.topicAlias {
      if topic.isEmpty {
        topic = line.aliases[alias] ?? []
      } else if Int(alias) <= limits.topicAliasMax, topic.count <= limits.topicBytesMax {
        line.aliases[alias] = topic
      }
    }
    let isRepeated = packet.qos == .exactlyOnce && session.incoming.contains(packet.packetID)
    let (serial, publisher) = readSerial(packet.payload.first(min(12, packet.payload.count)).array())
    // A byte that a hostile client's packet had changed may name an honest one: no order of that one's.
    if !line.client.isHonest, SimulatedClient.honestMarks.contains(publisher) { repeated.insert(serial) }
    let refusedBefore = broker.counters.publishesRefused
    let isAlive = receive(
      part, on: line,
      isRepeated
        ? .other
        : .publish(
          Publication(
            topic: topic, qos: packet.qos, retain: packet.retain, serial: serial, isEmpty: packet.payload.isEmpty,
            publisher: session)))
    guard isAlive, packet.qos != .atMostOnce else { return }
    let isRefused = broker.counters.publishesRefused != refusedBefore
    if packet.qos == .exactlyOnce, !isRefused || line.version != .v5 { session.incoming.insert(packet.packetID) }
    if session.incoming.count > limits.inflightMax { fail("more QoS 2 packet ids than the limit") }
    // MQTT 3.1.1 has no way to refuse.
    answer(
      line, packet.qos == .atLeastOnce ? .pubAck : .pubRec, packet.packetID, [!isRefused || line.version != .v5])
  }

  private func answer(_ line: Line, _ type: PacketType, _ id: UInt16, _ isGranted: [Bool] = []) {
    line.answers.append(Line.Answer(type: type, id: id, isGranted: isGranted))
  }
}
