import Bounded
import MQTTWire

/// CONNECT, takeover, the life of a session, Wills (§3.1, §4.1).
extension Broker {
  mutating func connectReceived(_ body: Bytes, on id: ConnectionID, at now: Instant) throws(WireError) {
    let connect: Connect
    do throws(WireError) {
      connect = try Connect(body: body, flags: 0)
    } catch {
      refuseUndecoded(body, error.reason, on: id, at: now)
      return
    }
    connections[id].version = connect.version
    connections[id].packetBytesMax = connect.maximumPacketSize
    connections[id].wantsProblemInformation = connect.requestProblemInformation
    if let reason = objection(to: connect, on: id) {
      refuse(id, reason, at: now)
      return
    }

    // Everything that may be missing is reserved before anything is changed.
    let clientID = connect.clientID.isEmpty ? assignClientID() : connect.clientID
    let expirySeconds = min(connect.sessionExpirySeconds, UInt32(limits.sessionExpirySecondsMax))
    let keepAliveSeconds = grantedKeepAlive(connect.keepAliveSeconds, version: connect.version)
    var answer = ConnAck(reason: .success)
    answer.receiveMaximum = UInt16(limits.inflightMax)
    answer.maximumPacketSize = UInt32(limits.packetBytesMax)
    answer.topicAliasMaximum = UInt16(limits.topicAliasMax)
    if limits.retainedMax == 0 { answer.retainAvailable = false }
    if limits.sharedGroupsMax == 0 { answer.sharedAvailable = false }
    if connect.clientID.isEmpty { answer.assignedClientID = clientID }
    if keepAliveSeconds != connect.keepAliveSeconds { answer.serverKeepAlive = keepAliveSeconds }
    if expirySeconds != connect.sessionExpirySeconds { answer.sessionExpirySeconds = expirySeconds }
    guard answer.byteCount(version: connect.version) <= Int(connect.maximumPacketSize) else {
      refuse(id, .packetTooLarge, at: now)  // §3.1.2-24: it could not even be told that it is welcome
      return
    }
    let existing = findSession(clientID)
    if let existing, !mayTakeOver(existing, at: now) {
      refuse(id, .connectionRateExceeded, notice: takeoverNotice(existing), at: now)
      return
    }
    var will = Handle<Message>.null
    if let wanted = connect.will {
      guard let stored = storeWill(wanted) else {
        refuse(id, .quotaExceeded, at: now)
        return
      }
      will = stored
    }
    guard existing != nil || hasSessionRoom(clientID) else {
      if !will.isNull { release(will) }
      refuse(id, .quotaExceeded, at: now)
      return
    }

    var takeovers = Takeovers()
    if let existing { takeovers = sessions[existing].takeovers }
    if let existing, !sessions[existing].connection.isNull {
      fail(sessions[existing].connection, .sessionTakenOver, at: now)  // §3.1.4-3; its Will as for any loss
    }
    if connect.cleanStart, let stale = findSession(clientID) { endSession(stale, at: now) }  // §3.1.2-4
    let resumed = findSession(clientID)
    guard let session = resumed ?? beginSession(clientID, version: connect.version) else {
      if !will.isNull { release(will) }  // cannot be: room was seen above
      refuse(id, .quotaExceeded, at: now)
      return
    }

    if !sessions[session].will.isNull { dropWill(session) }  // its delay has not passed (§3.1.3-9)
    sessions[session].takeovers = takeovers
    sessions[session].connection = id
    sessions[session].version = connect.version
    sessions[session].expirySeconds = expirySeconds
    sessions[session].lostAt = .never
    sessions[session].will = will
    sessions[session].willDelaySeconds = connect.will?.delaySeconds ?? 0
    sessions[session].window = min(Int(connect.receiveMaximum), limits.inflightMax)
    armSession(session)

    endPending(id)
    lendAliases(id, clientMax: connect.topicAliasMaximum)
    if connections[id].aliases.isNull { answer.topicAliasMaximum = nil }
    connections[id].state = .connected
    connections[id].session = session
    connections[id].keepAliveSeconds = keepAliveSeconds
    armConnection(id, at: now)
    counters.connectsAccepted &+= 1
    tellPresence(session, id, .connected, at: now)

    answer.sessionPresent = resumed != nil
    if connect.clientID.isEmpty { answer.assignedClientID = self.clientID(session) }
    sendConnAck(answer, on: id)

    beginRedelivery(session)
    pump(session, at: now)
  }

  // MARK: Refusals

  private func objection(to connect: Connect, on id: ConnectionID) -> ReasonCode? {
    if connect.authenticationMethod != nil { return .badAuthenticationMethod }  // §4.12: none is supported
    if connect.clientID.count > limits.clientIDBytesMax { return .clientIdentifierNotValid }
    // 3.1.1 §3.1.3-8: without an identifier there is nothing to resume.
    if connect.clientID.isEmpty, connect.version == .v311, !connect.cleanStart { return .clientIdentifierNotValid }
    if !connections[id].allowsAnonymous { return .notAuthorized }
    if let will = connect.will {
      if let reason = objection(to: will.topic) { return reason }
      if will.retain, limits.retainedMax == 0 { return .retainNotSupported }  // §3.2.2-13
    }
    return nil
  }

  private mutating func refuse(_ id: ConnectionID, _ reason: ReasonCode, at now: Instant) {
    refuse(id, reason, notice: Notice(kind: .connectRefused, reason: reason, connection: id), at: now)
  }

  private mutating func refuse(_ id: ConnectionID, _ reason: ReasonCode, notice: Notice?, at now: Instant) {
    counters.connectsRefused &+= 1
    if let notice { note(notice) }
    sendConnAck(ConnAck(sessionPresent: false, reason: reason), on: id)
    end(id, .closed(reason), publishesWill: false, at: now)
  }

  /// A CONNECT that cannot be read, or is of a version that is not spoken here.
  private mutating func refuseUndecoded(_ body: Bytes, _ reason: ReasonCode, on id: ConnectionID, at now: Instant) {
    let version = Connect.answerVersion(body: body)
    let hasReturnCode = reason == .unsupportedProtocolVersion || reason == .clientIdentifierNotValid
    // 3.1.1 knows no return code for a malformed CONNECT; it is just closed (§3.1.4-1 there).
    guard version == .v5 || hasReturnCode else {
      fail(id, reason, at: now)
      return
    }
    connections[id].version = version
    counters.countClosed(reason)
    refuse(id, reason, at: now)
  }

  private mutating func sendConnAck(_ answer: ConnAck, on id: ConnectionID) {
    let version = connections[id].version
    sendControl(on: id) { writer in answer.encode(into: &writer, version: version) }
  }

  private func grantedKeepAlive(_ asked: UInt16, version: ProtocolVersion) -> UInt16 {
    // A 3.1.1 client cannot be told another value (MQTT 5 §3.2.2.3.14).
    guard version == .v5 else { return asked }
    let most = UInt16(min(limits.keepAliveSecondsMax, 65_535))
    return asked == 0 || asked > most ? most : asked
  }

  /// `tapline-` and 16 hexadecimal digits; valid until `topicScratch` is used again.
  private mutating func assignClientID() -> Bytes {
    var writer = topicScratch.writer()
    repeat {
      assignedCount += 1
      var value = seed &+ assignedCount &* 0x9E37_79B9_7F4A_7C15
      value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
      value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
      value ^= value >> 31
      writer.truncate(to: 0)
      writer.write("tapline-")
      var shift: UInt64 = 64
      while shift > 0 {
        shift -= 4
        let digit = UInt8((value >> shift) & 15)
        writer.write(digit < 10 ? 48 + digit : 87 + digit)
      }
    } while findSession(writer.written) != nil
    return writer.written
  }

  // MARK: Sessions

  func findSession(_ clientID: Bytes) -> Handle<Session>? {
    sessionIndex.find(hash: clientID.hash(seed: seed)) { index in
      sessions.handle(at: index).map { clientIDs.isEqual(sessions[$0].clientID, to: clientID) } ?? false
    }.flatMap { sessions.handle(at: $0) }
  }

  private mutating func beginSession(_ clientID: Bytes, version: ProtocolVersion) -> Handle<Session>? {
    let hash = clientID.hash(seed: seed)
    guard sessions.hasRoom, let body = clientIDs.lend(byteCount: clientID.count, keepingFree: sessions.gauge.free - 1)
    else { return nil }
    var cursor = clientIDs.cursor(body)
    clientIDs.write(clientID, at: &cursor)
    let handle = sessions.lend(Session(hash: hash, clientID: body, version: version))!  // the room was seen above
    sessionIndex.insert(handle.index, hash: hash)
    return handle
  }

  /// For a session and its client identifier; `false` is counted.
  private mutating func hasSessionRoom(_ clientID: Bytes) -> Bool {
    guard sessions.hasRoom else {
      sessions.gauge.refused &+= 1
      return false
    }
    // Each session that is not there yet is sure of a cell.
    guard clientIDs.hasRoom(for: clientID.count, keepingFree: sessions.gauge.free - 1) else {
      clientIDs.gauge.refused &+= 1
      return false
    }
    return true
  }

  /// A session's client identifier; valid until another one is asked for.
  func clientID(_ session: Handle<Session>) -> Bytes {
    let body = sessions[session].clientID
    var cursor = clientIDs.cursor(body)
    let first = clientIDs.read(&cursor, most: .max)
    guard cursor.remaining > 0 else { return first }
    var writer = clientIDScratch.writer()
    clientIDs.copy(body, from: 0, byteCount: body.byteCount, into: &writer)
    return writer.written
  }

  func tellPresence(_ session: Handle<Session>, _ id: ConnectionID, _ change: Presence.Change, at now: Instant) {
    onPresence(
      Presence(
        clientID: clientID(session), connection: id, version: connections[id].version, change: change, now: now))
  }

  /// The session's connection is gone: the Will is due now, later or never; the session waits or ends.
  mutating func connectionLost(_ session: Handle<Session>, publishesWill: Bool, at now: Instant) {
    sessions[session].connection = .null
    sessions[session].window = 0
    if !publishesWill { dropWill(session) }
    let expirySeconds = sessions[session].expirySeconds
    guard expirySeconds > 0 else {
      endSession(session, at: now)
      return
    }
    sessions[session].lostAt = now
    if !sessions[session].will.isNull, sessions[session].willDelaySeconds == 0 { publishWill(session, at: now) }
    armSession(session)
  }

  /// Forgets a session; a Will that still waits is due at the session's end (§3.1.3-9).
  mutating func endSession(_ session: Handle<Session>, at now: Instant) {
    while !sessions[session].subscriptions.isNull { removeSubscription(sessions[session].subscriptions) }
    dropDeliveries(session)
    dropIncoming(session)
    if !sessions[session].will.isNull { publishWill(session, at: now) }
    forgetClient(session, at: now)
    timers.cancel(limits.connectionsMax + session.index)
    sessionIndex.remove(session.index, hash: sessions[session].hash, from: sessions) { $0.hash }
    clientIDs.release(sessions[session].clientID)
    sessions.giveBack(session)
  }

  mutating func disconnectReceived(_ disconnect: Disconnect, on id: ConnectionID, at now: Instant) throws(WireError) {
    let session = connections[id].session
    if let expirySeconds = disconnect.sessionExpirySeconds {
      // §3.14.2.2.2: what was 0 in CONNECT stays 0.
      guard expirySeconds == 0 || sessions[session].expirySeconds != 0 else { throw .protocolError }
      sessions[session].expirySeconds = min(expirySeconds, UInt32(limits.sessionExpirySecondsMax))
    }
    end(id, .disconnected(disconnect.reason), publishesWill: disconnect.reason != .success, at: now)
  }

  // MARK: Wills

  /// Keeps a Will with its own properties that travel with it (§3.1.3.2).
  private mutating func storeWill(_ will: Will) -> Handle<Message>? {
    var writer = messageScratch.writer()
    Publish.writeForwardable(will.properties, into: &writer)
    var expiresAt = Instant.never
    // Until it is published this holds the interval itself (§3.1.3.2.4).
    if let seconds = will.messageExpirySeconds { expiresAt = Instant(nanoseconds: 0).adding(seconds: Int64(seconds)) }
    return storeMessage(
      Inbound(
        topic: will.topic, forwarded: writer.written, payload: will.payload, qos: will.qos, retain: will.retain,
        expiresAt: expiresAt, publisher: .null),
      keepingFree: limits.blocksKeptForQoS + limits.blocksKeptForRetained)
  }

  private mutating func dropWill(_ session: Handle<Session>) {
    guard !sessions[session].will.isNull else { return }
    release(sessions[session].will)
    sessions[session].will = .null
  }

  mutating func publishWill(_ session: Handle<Session>, at now: Instant) {
    let will = sessions[session].will
    sessions[session].will = .null
    var message = inbound(from: will)
    if message.expiresAt != .never { message.expiresAt = now.adding(nanoseconds: message.expiresAt.nanoseconds) }
    message.publisher = session
    if publish(message, at: now).reason.isError { counters.internalDropped &+= 1 }
    release(will)
  }
}
