import MQTTWire

@testable import Bounded
@testable import MQTTBroker

/// One network connection: bytes both ways, cut anywhere, taken as fast as its reader takes them.
final class Line {
  /// What a client owes the broker for a packet that came.
  struct Reply {
    let type: PacketType
    let id: UInt16
  }
  /// What the broker owes the client: control packets come in the order of what they answer (§4.6).
  struct Answer {
    let type: PacketType
    let id: UInt16
    /// One each for what may be refused.
    let isGranted: [Bool]
  }

  let id: ConnectionID
  let client: SimulatedClient
  let version: ProtocolVersion
  var session: ModelSession?
  var isOpen = true
  /// Bytes its reader takes in one step; 0: it is stuck.
  var bytesPerStep = Int.max
  var budget = Int.max
  var isReady = false  // CONNACK has come
  /// Its client has a newer connection and reads this one no more.
  var isAbandoned = false

  var outgoing: [UInt8] = []
  var outgoingStart = 0
  /// Of the packet under way what the broker has.
  var packet: [UInt8] = []
  var aliases: [UInt16: [UInt8]] = [:]
  var incoming: [UInt8] = []
  var incomingAliases: [UInt16: [UInt8]] = [:]
  var answers: [Answer] = []
  var answersStart = 0
  var replies: [Reply] = []

  init(id: ConnectionID, client: SimulatedClient, version: ProtocolVersion) {
    self.id = id
    self.client = client
    self.version = version
  }
}

extension Simulation {
  // MARK: The loop

  /// As the real loop: what can be read is given to the broker, then every ready connection is flushed.
  func settle() {
    for line in lines { line.budget = line.bytesPerStep }
    var isMoving = true
    while isMoving, failure == nil {
      isMoving = false
      broker.beginTurn()
      if broker.outboxes.restingCount > 0 {
        event(.other) { broker.advance(to: now) }
        isMoving = true
      }
      for line in lines where give(line) { isMoving = true }
      while let id = broker.nextReady() {
        if !writable.contains(id) { writable.append(id) }
      }
      let ready = writable
      writable.removeAll(keepingCapacity: true)
      for id in ready {
        if let line = lines.first(where: { $0.id == id }), flush(line) { isMoving = true }
      }
    }
    checkNothingIsStuck()
  }

  func detach(_ line: Line) {
    event(.other) { broker.detach(line.id, at: now) }
    line.isOpen = false
    lines.removeAll { $0 === line }
  }

  // MARK: To the broker

  private func give(_ line: Line) -> Bool {
    var hasMoved = false
    while line.isOpen, line.outgoingStart < line.outgoing.count, broker.wantsInput(line.id), failure == nil {
      hasMoved = true
      let left = line.outgoing.count - line.outgoingStart
      let end = packetByteCount(line)
      var count = end.map { min(left, $0 - line.packet.count) } ?? left
      if cutsOften, random.oneIn(3) { count = 1 + random.below(count) }
      let part = Array(line.outgoing[line.outgoingStart..<(line.outgoingStart + count)])
      line.outgoingStart += count
      line.packet += part
      if end == line.packet.count {
        let packet = line.packet
        line.packet.removeAll(keepingCapacity: true)
        packetEnds(packet, part, on: line)
      } else {
        receive(part, on: line, .other)
      }
    }
    if line.outgoingStart == line.outgoing.count || broker.isClosing(line.id) {
      line.outgoing.removeAll(keepingCapacity: true)
      line.outgoingStart = 0
    }
    return hasMoved
  }

  /// Length of the packet under way; nil: not known yet, or no packet at all.
  private func packetByteCount(_ line: Line) -> Int? {
    func byte(_ index: Int) -> UInt8? {
      if index < line.packet.count { return line.packet[index] }
      let place = line.outgoingStart + index - line.packet.count
      return place < line.outgoing.count ? line.outgoing[place] : nil
    }
    var length = 0
    for index in 1...4 {
      guard let part = byte(index) else { return nil }
      length |= Int(part & 0x7F) << ((index - 1) * 7)
      if part < 0x80 { return 1 + index + length }
    }
    return nil
  }

  @discardableResult func receive(_ bytes: [UInt8], on line: Line, _ cause: Cause) -> Bool {
    bytes.withUnsafeBytes { all in
      var input = Bytes(all)
      return event(cause, isAccepted: { $0 }) {
        repeat { _ = broker.receive(&input, on: line.id, lends: true, at: now) } while !input.isEmpty
        broker.settle()
        return !broker.isClosing(line.id)
      }
    }
  }

  // MARK: From the broker

  private func flush(_ line: Line) -> Bool {
    var hasMoved = false
    while line.budget > 0, broker.pendingByteCount(line.id) > 0 {
      let count = broker.gather(line.id, into: parts)
      guard count > 0 else {
        fail("bytes are pending, but there is nothing to write")
        return false
      }
      var taken = 0
      for part in parts[..<count] {
        let piece = part.first(min(part.count, line.budget))
        line.incoming += piece.buffer
        taken += piece.count
        if line.budget != .max { line.budget -= piece.count }
      }
      event(.other) { broker.sent(taken, on: line.id, at: now) }
      hasMoved = true
    }
    if hasMoved { readPackets(line) }
    if broker.isFinished(line.id) {
      detach(line)
      return true
    }
    if broker.pendingByteCount(line.id) > 0, !writable.contains(line.id) { writable.append(line.id) }
    return hasMoved
  }

  private func readPackets(_ line: Line) {
    if line.isAbandoned {
      line.incoming.removeAll()
      return
    }
    var framer = PacketFramer(packetBytesMax: 268_435_460, policy: .disconnect)
    var taken = 0
    let bytes = line.incoming
    bytes.withUnsafeBytes { all in
      var input = Bytes(all)
      reading: while failure == nil {
        switch framer.next(&input) {
        case .packet(let header, let body):
          taken = all.count - input.count
          do throws(WireError) {
            try packetCame(header, body, on: line)
          } catch {
            fail("the broker sent a bad \(header.type)")
          }
        case .part, .assembled, .needsInput: break reading
        case .failure: fail("the broker sent what is no packet")
        }
      }
    }
    line.incoming.removeFirst(taken)
  }

  private func packetCame(_ header: FixedHeader, _ body: Bytes, on line: Line) throws(WireError) {
    switch header.type {
    case .publish:
      messageCame(try Publish(body: body, flags: header.flags, version: line.version, from: .server), on: line)
    case .connAck:
      let answer = try ConnAck(body: body, flags: header.flags, version: line.version)
      if answer.reason == .success {
        expect(line, .connAck, 0, [])
        line.client.isWelcome(on: line, sessionPresent: answer.sessionPresent)
      } else if !broker.isClosing(line.id) {
        fail("CONNACK refuses, but the connection lives")
      }
    case .pubAck, .pubRec, .pubComp:
      let ack = try Ack(type: header.type, body: body, flags: header.flags, version: line.version)
      expect(line, header.type, ack.packetID, header.type == .pubComp ? [] : [!ack.reason.isError])
      line.client.isAnswered(header.type, ack, on: line)
    case .pubRel:
      let ack = try Ack(type: header.type, body: body, flags: header.flags, version: line.version)
      line.session?.unreleased[ack.packetID] = nil
      line.replies.append(Line.Reply(type: .pubComp, id: ack.packetID))
    case .subAck:
      let answer = try SubAck(type: .subAck, body: body, flags: header.flags, version: line.version)
      expect(line, .subAck, answer.packetID, answer.reasonCodes.array().map { $0 < 0x80 })
    case .unsubAck:
      let answer = try SubAck(type: .unsubAck, body: body, flags: header.flags, version: line.version)
      expect(line, .unsubAck, answer.packetID, [])
    case .pingResp: expect(line, .pingResp, 0, [])
    case .disconnect: if !broker.isClosing(line.id) { fail("DISCONNECT, but the connection lives") }
    case .connect, .subscribe, .unsubscribe, .pingReq, .auth: fail("\(header.type) is not a server's")
    }
  }

  private func expect(_ line: Line, _ type: PacketType, _ id: UInt16, _ isGranted: [Bool]) {
    guard line.answersStart < line.answers.count else {
      fail("\(type) \(id) answers nothing")
      return
    }
    // What acknowledges nothing may overtake acknowledgements that wait for the journal.
    if waiting.keepsJournal { line.bringForward(type) }
    let expected = line.answers[line.answersStart]
    line.answersStart += 1
    if line.answersStart == line.answers.count {
      line.answers.removeAll(keepingCapacity: true)
      line.answersStart = 0
    }
    if expected.type != type || expected.id != id { fail("\(type) \(id) came for \(expected.type) \(expected.id)") }
    if expected.isGranted != isGranted { fail("\(type) \(id) says \(isGranted), not \(expected.isGranted)") }
  }

  private func messageCame(_ message: Publish, on line: Line) {
    guard let session = line.session else {
      fail("a PUBLISH without a session")
      return
    }
    messageCount += 1
    var topic = message.topic.array()
    if let alias = message.topicAlias {
      if topic.isEmpty { topic = line.incomingAliases[alias] ?? [] } else { line.incomingAliases[alias] = topic }
    }
    if topic.isEmpty { fail("a PUBLISH with an unknown alias") }
    let (serial, publisher) = readSerial(message.payload.first(min(12, message.payload.count)).array())
    if message.qos != .atMostOnce {
      line.replies.append(Line.Reply(type: message.qos == .atLeastOnce ? .pubAck : .pubRec, id: message.packetID))
      // The last bytes of a session or a connection that has ended are not followed.
      let isCurrent = sessions[session.handle.index] === session && session.connection == line.id
      if session.isTrusted, isCurrent { checkIsOwed(message, serial, session) }
    }
    checkOrder(message, topic, serial, publisher, session)
    session.seen.insert(serial)
  }

  /// §4.3: QoS 1 comes until it is acknowledged, QoS 2 once: repeats are marked, and of QoS 2 only those whose packet
  /// id the client still has.
  private func checkIsOwed(_ message: Publish, _ serial: Int, _ session: ModelSession) {
    guard let index = session.inflightIndex(message.packetID), session.held[index].serial == serial,
      session.held[index].qos == message.qos, session.held[index].state != .awaitingPubComp
    else {
      fail("\(serial) came with packet id \(message.packetID), but that is not in flight")
      return
    }
    if session.held[index].isReceived, !message.dup { fail("\(serial) came twice, the second time without DUP") }
    if message.qos == .exactlyOnce {
      let earlier = session.unreleased.updateValue(serial, forKey: message.packetID)
      if earlier != (session.held[index].isReceived ? serial : nil) { fail("\(serial) came twice with QoS 2") }
    }
    session.held[index].isReceived = true
  }

  /// §4.6: one publisher's messages of one topic and QoS come in the order in which it sent them.
  private func checkOrder(
    _ message: Publish, _ topic: [UInt8], _ serial: Int, _ publisher: UInt8, _ session: ModelSession
  ) {
    guard SimulatedClient.honestMarks.contains(publisher), !message.retain, !repeated.contains(serial) else {
      return
    }
    let key = ModelSession.OrderKey(topic: topic, publisher: publisher, qos: message.qos.rawValue)
    let newest = session.newest[key] ?? 0
    if serial < newest, !session.seen.contains(serial) { fail("\(serial) came after \(newest)") }
    session.newest[key] = max(newest, serial)
  }

  // MARK: Nothing waits for nothing

  /// Once nothing moves: what waits, waits for a reader, a window, an acknowledgement, or is on the starved list.
  private func checkNothingIsStuck() {
    for line in lines where failure == nil {
      let pending = broker.pendingByteCount(line.id)
      if pending > 0, line.budget > 0 { fail("\(pending) bytes are pending and nobody was told") }
      guard pending == 0, !broker.isClosing(line.id) else { continue }
      let mayWait = mayWait(line)
      if !mayWait, line.outgoingStart < line.outgoing.count { fail("a connection with an empty outbox is not read") }
      if !mayWait, !line.answers.isEmpty, !line.isAbandoned {
        fail("\(line.answers[line.answersStart].type) never came")
      }
      guard let session = line.session, broker.isAttached(line.id) else { continue }
      let entry = broker.sessions[session.handle]
      let isStarved = broker.outboxes.isStarved(line.id.index)
      let outgoing = entry.outgoing
      let hasWindow = outgoing.inflight.count < entry.window
      if outgoing.queued.count > 0, hasWindow, outgoing.redelivery.isNull, !isStarved { fail("a queue stands still") }
      let isIdle = outgoing.inflight.count == 0 && outgoing.queued.count == 0
      if entry.subscriptions.replayCount > 0, isIdle, !isStarved { fail("retained messages stand still") }
      let isBlocked = entry.isRedeliveryBlocked(broker)
      if !outgoing.redelivery.isNull, !isBlocked, !isStarved { fail("redelivery stands still") }
    }
  }
}

extension Session {
  /// Whether what is sent already on this connection fills the window.
  fileprivate func isRedeliveryBlocked(_ broker: borrowing Broker) -> Bool {
    var sent = 0
    var next = outgoing.inflight.head
    while !next.isNull {
      if broker.deliveries[next].isSentHere { sent += 1 }
      next = broker.deliveries[next].next
    }
    return sent >= window
  }
}
