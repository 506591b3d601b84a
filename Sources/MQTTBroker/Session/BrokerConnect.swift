public import Bounded
import MQTTWire

/// CONNECT, takeover, the life of a session, Wills (§3.1, §4.1).
extension Broker {
  /// Decodes, asks for a verdict, and decides: at once when there is one (`answered` otherwise).
  @inline(never) @_optimize(size) mutating func connectReceived(
    _ header: FixedHeader, _ body: Bytes, on id: ConnectionID, at now: Instant
  ) {
    guard let connect = decodeConnect(body, isShortest: header.isShortest, on: id, at: now) else { return }
    guard let verdict = ask(connect, on: id, at: now) else {
      park(body, on: id, at: now)
      return
    }
    decide(connect, verdict, on: id, at: now)
  }

  /// `nil`: it is refused, as it cannot be read, or whoever sends it.
  @_optimize(size) mutating func decodeConnect(
    _ body: Bytes, isShortest: Bool = true, on id: ConnectionID, at now: Instant
  ) -> Connect? {
    let connect: Connect
    do throws(WireError) {
      connect = try Connect(body: body, isShortest: isShortest)
    } catch {
      refuseUndecoded(body, error.reason, on: id, at: now)
      return nil
    }
    connections[id].connectReceived(
      version: connect.version, isBridge: connect.isBridge, packetBytesMax: connect.maximumPacketSize,
      wantsProblemInformation: connect.requestProblemInformation)
    if let reason = objection(to: connect) {
      if connect.clientID.count > limits.clientIDBytesMax {
        limitHit(.clientIDBytes, on: id, size: connect.clientID.count)
      }
      refuse(id, reason, at: now)
      return nil
    }
    return connect
  }

  /// Everything that may be missing is reserved before anything is changed.
  @_optimize(size) mutating func decide(_ connect: Connect, _ verdict: Verdict, on id: ConnectionID, at now: Instant) {
    let identity: Identity
    switch verdict {
    case .accept(let known) where known.userName.count <= sessions.userNameBytes: identity = known
    case .accept: return refuse(id, .notAuthorized, at: now)
    case .refuse(let reason): return refuse(id, reason, at: now)
    }
    var assigned = topicScratch.writer()
    if connect.clientID.isEmpty { sessions.assignClientID(into: &assigned) }
    var clientID = connect.clientID.isEmpty ? assigned.written : connect.clientID
    let existing = sessions.find(clientID)
    // Before anything else is said or done: a client learns nothing of another's session, and touches nothing of it.
    if let existing, !sessions.isOf(identity, existing) { return refuse(id, .notAuthorized, at: now) }
    if let will = connect.will, let reason = objection(to: will, of: identity, clientID: clientID) {
      if reason == .topicNameInvalid, let (limit, size) = excess(of: will.topic) { limitHit(limit, on: id, size: size) }
      return refuse(id, reason, at: now)
    }
    let answer = answer(to: connect, clientID)
    guard answer.byteCount(version: connect.version) <= Int(connect.maximumPacketSize) else {
      refuse(id, .packetTooLarge, at: now)  // §3.1.2-24: it could not even be told that it is welcome
      return
    }
    if let existing, !mayTakeOver(existing, at: now) {
      refuse(id, .connectionRateExceeded, notice: takeoverNotice(existing), at: now)
      return
    }
    var will = Handle<Message>.null
    if let wanted = connect.will {
      guard let stored = storeWill(wanted, at: now) else {
        limitHit(messages.hasRoom ? .blocks : .messages, on: id)
        refuse(id, .quotaExceeded, at: now)
        return
      }
      will = stored
    }
    if existing == nil, !sessions.hasPlace(for: clientID.count), wouldHavePlace(for: clientID.count) {
      limitHit(sessions.gauge.free == 0 ? .sessions : .clientIDCells, on: id, .gaveWay)
      makeRoom(forClientIDBytes: clientID.count, at: now)
      if connect.clientID.isEmpty {  // its bytes lay where the sessions that have ended wrote theirs
        assigned = topicScratch.writer()
        sessions.assignClientID(into: &assigned)
        clientID = assigned.written
      }
    }
    guard existing != nil || sessions.hasRoom(for: clientID) else {
      limitHit(sessions.gauge.free == 0 ? .sessions : .clientIDCells, on: id)
      if !will.isNull { messages.release(will) }
      refuse(id, .quotaExceeded, at: now)
      return
    }

    var takeovers = Takeovers()
    if let existing { takeovers = sessions[existing].takeovers }
    if let existing, !sessions[existing].connection.isNull {
      fail(sessions[existing].connection, .sessionTakenOver, at: now)  // §3.1.4-3; its Will as for any loss
    }
    if connect.cleanStart, let stale = sessions.find(clientID) { endSession(stale, at: now) }  // §3.1.2-4
    let resumed = sessions.find(clientID)
    guard let session = resumed ?? sessions.begin(clientID, version: connect.version) else {
      if !will.isNull { messages.release(will) }  // cannot be: room was seen above
      refuse(id, .quotaExceeded, at: now)
      return
    }
    sessions.setIdentity(session, identity)
    dropWill(session)  // its delay has not passed (§3.1.3-9)
    sessions[session].takeovers = takeovers
    welcome(connect, to: session, isResumed: resumed != nil, will, answer, on: id, at: now)
  }

  /// From here on nothing fails.
  @_optimize(size) private mutating func welcome(
    _ connect: Connect, to session: Handle<Session>, isResumed: Bool, _ will: Handle<Message>, _ answer: ConnAck,
    on id: ConnectionID, at now: Instant
  ) {
    shares.come(
      session,
      free: [subscriptions.gauge.free, retained.gauge.free, limits.retainedBlocksMax - retained.blockCount],
      inCommon: [topics.gauge.free, topics.namesGauge.free, subscriptions.groupNames.gauge.free], sessions)
    sessions.connect(
      session, on: id, version: connect.version,
      expirySeconds: min(connect.sessionExpirySeconds, UInt32(limits.sessionExpirySecondsMax)),
      window: min(Int(connect.receiveMaximum), limits.inflightMax), will: will,
      willDelaySeconds: connect.will?.delaySeconds ?? 0)
    armSession(session)

    pendingCount -= 1
    var answer = answer
    if connect.version == .v5 {
      outboxes.lendAliases(to: &connections[id].outbox, clientMax: connect.topicAliasMaximum)
    }
    if connections[id].outbox.aliases.isNull { answer.topicAliasMaximum = nil }
    connections[id].connected(to: session, keepAliveSeconds: answer.serverKeepAlive ?? connect.keepAliveSeconds)
    armConnection(id, at: now)
    counters.connectsAccepted &+= 1
    if tapCount > 0 { repeated.connected(sessions.clientID(session), at: now) }
    tellPresence(session, id, .connected, at: now)

    answer.sessionPresent = isResumed
    if connect.clientID.isEmpty { answer.assignedClientID = sessions.clientID(session) }
    sendConnAck(answer, on: id)

    deliveries.beginRedelivery(session, sessions, &messages)
    pump(session, at: now)
  }

  @_optimize(size) private func answer(to connect: Connect, _ clientID: Bytes) -> ConnAck {
    let expirySeconds = min(connect.sessionExpirySeconds, UInt32(limits.sessionExpirySecondsMax))
    let keepAliveSeconds = grantedKeepAlive(connect, clientID)
    var answer = ConnAck(reason: .success)
    answer.receiveMaximum = UInt16(limits.inflightMax)
    answer.maximumPacketSize = UInt32(limits.packetBytesMax)
    answer.topicAliasMaximum = UInt16(limits.topicAliasMax)
    if limits.retainedMax == 0 { answer.retainAvailable = false }
    if limits.sharedGroupsMax == 0 { answer.sharedAvailable = false }
    if connect.clientID.isEmpty { answer.assignedClientID = clientID }
    if keepAliveSeconds != connect.keepAliveSeconds { answer.serverKeepAlive = keepAliveSeconds }
    if expirySeconds != connect.sessionExpirySeconds { answer.sessionExpirySeconds = expirySeconds }
    return answer
  }

  /// Sessions whose clients are away give way to a client that is here: those that have been away longest.
  @_optimize(size) private mutating func makeRoom(forClientIDBytes byteCount: Int, at now: Instant) {
    while !sessions.hasPlace(for: byteCount), let session = longestAway(for: byteCount) {
      counters.sessionsGivenWay &+= 1
      endSession(session, at: now)
    }
  }

  /// All sessions are looked at.
  @_optimize(size) private mutating func longestAway(for clientIDByteCount: Int) -> Handle<Session>? {
    work.did(limits.sessionsMax / 8)
    return sessions.longestAway(for: clientIDByteCount)
  }

  @_optimize(size) private mutating func wouldHavePlace(for clientIDByteCount: Int) -> Bool {
    work.did(limits.sessionsMax / 8)
    return sessions.wouldHavePlace(for: clientIDByteCount)
  }

  // MARK: Refusals

  /// Before anybody is asked.
  @_optimize(size) private func objection(to connect: Connect) -> ReasonCode? {
    if connect.authenticationMethod != nil { return .badAuthenticationMethod }  // §4.12: none is supported
    return connect.clientID.count > limits.clientIDBytesMax ? .clientIdentifierNotValid : nil
  }

  /// Only a client that may connect is told about its Will.
  @_optimize(size) private mutating func objection(
    to will: Will, of identity: Identity, clientID: Bytes
  ) -> ReasonCode? {
    if let reason = objection(to: will.topic) { return reason }
    guard mayWrite(identity, clientID: clientID, will: will.topic) else { return .notAuthorized }
    return will.retain && limits.retainedMax == 0 ? .retainNotSupported : nil  // §3.2.2-13
  }

  @_optimize(size) mutating func refuse(_ id: ConnectionID, _ reason: ReasonCode, at now: Instant) {
    refuse(
      id, reason, notice: Notice(kind: .connectRefused, reason: reason, transport: connections[id].transport), at: now)
  }

  @_optimize(size) private mutating func refuse(
    _ id: ConnectionID, _ reason: ReasonCode, notice: Notice?, at now: Instant
  ) {
    counters.connectsRefused &+= 1
    if let notice { note(notice) }
    sendConnAck(ConnAck(sessionPresent: false, reason: reason), on: id)
    end(id, .closed(reason), publishesWill: false, at: now)
  }

  /// A CONNECT that cannot be read, or is of a version that is not spoken here.
  @_optimize(size) private mutating func refuseUndecoded(
    _ body: Bytes, _ reason: ReasonCode, on id: ConnectionID, at now: Instant
  ) {
    let version = Connect.answerVersion(body: body)
    let hasReturnCode = reason == .unsupportedProtocolVersion || reason == .clientIdentifierNotValid
    // Before MQTT 5 there is no return code for a malformed CONNECT; it is just closed (3.1.1 §3.1.4-1).
    guard version == .v5 || hasReturnCode else {
      fail(id, reason, at: now)
      return
    }
    connections[id].connectReceived(
      version: version, isBridge: false, packetBytesMax: .max, wantsProblemInformation: true)
    counters.countClosed(reason)
    refuse(id, reason, at: now)
  }

  @_optimize(size) private mutating func sendConnAck(_ answer: ConnAck, on id: ConnectionID) {
    let version = connections[id].version
    sendControl(on: id) { writer in answer.encode(into: &writer, version: version) }
  }

  @_optimize(size) private func grantedKeepAlive(_ connect: Connect, _ clientID: Bytes) -> UInt16 {
    let asked = connect.keepAliveSeconds
    // A 3.1.1 client cannot be told another value (MQTT 5 §3.2.2.3.14).
    guard connect.version == .v5 else { return asked }
    let most = min(UInt16(min(limits.keepAliveSecondsMax, 65_535)), longestKeepAlive(clientID))
    return asked == 0 || asked > most ? most : asked
  }

  // MARK: Takeovers

  /// Whether a CONNECT may end the connection that this session has, if it has one. After `takeoversMax` takeovers the
  /// connected client keeps the session.
  @_optimize(size) private mutating func mayTakeOver(_ session: Handle<Session>, at now: Instant) -> Bool {
    guard !sessions[session].connection.isNull else { return true }
    let most = limits.takeoversMax
    guard sessions[session].takeovers.count(most: most, windowSeconds: limits.takeoverSeconds, at: now) else {
      counters.takeoversRefused &+= 1
      return false
    }
    counters.takeovers &+= 1
    return true
  }

  /// The first refusal of a window.
  private func takeoverNotice(_ session: Handle<Session>) -> Notice? {
    guard sessions[session].takeovers.tellRefusal() else { return nil }
    return Notice(kind: .takeoverRefused, reason: .connectionRateExceeded, limit: .takeovers, session: session)
  }

  /// A notice's client identifier; empty when its session has ended, or never began.
  public func clientID(of notice: Notice) -> Bytes {
    sessions.isLent(notice.session) ? sessions.clientID(notice.session) : .empty
  }

  // MARK: Sessions

  @_optimize(size) func tellPresence(
    _ session: Handle<Session>, _ id: ConnectionID, _ change: Presence.Change, at now: Instant
  ) {
    onPresence(
      Presence(
        clientID: sessions.clientID(session), userName: sessions.userName(session),
        transport: connections[id].transport, version: connections[id].version,
        isBridge: connections[id].isBridge, keepAliveSeconds: connections[id].keepAliveSeconds, change: change, now: now
      ))
  }

  /// The session's connection is gone: the Will is due now, later or never; the session waits or ends.
  @_optimize(size) mutating func connectionLost(_ session: Handle<Session>, publishesWill: Bool, at now: Instant) {
    shares.go(session, sessions)
    sessions.disconnect(session, at: now)
    holders.grew(session, sessions.address(session))
    if !publishesWill { dropWill(session) }
    guard sessions[session].expirySeconds > 0 else {
      endSession(session, at: now)
      return
    }
    if !sessions[session].will.isNull, sessions[session].willDelaySeconds == 0 { publishWill(session, at: now) }
    armSession(session)
  }

  /// Forgets a session; a Will that still waits is due at the session's end (§3.1.3-9).
  @_optimize(size) mutating func endSession(_ session: Handle<Session>, at now: Instant) {
    let outgoing = sessions[session].outgoing
    work.did(
      Work.filterSteps &* (1 &+ sessions[session].subscriptions.count) &+ outgoing.queued.count
        &+ outgoing.inflight.count &+ Int(outgoing.cellCount))
    while !sessions[session].subscriptions.first.isNull {
      subscriptions.remove(sessions[session].subscriptions.first, &topics, sessions, &shares)
    }
    deliveries.drop(session, sessions, &messages)
    packetIDs.drop(session, sessions)
    if !sessions[session].will.isNull { publishWill(session, at: now) }
    forgetClient(session, at: now)
    timers.cancel(limits.connectionsMax + session.index)
    shares.end(session, sessions)
    sessions.end(session)
  }

  @_optimize(size) mutating func disconnectReceived(_ disconnect: Disconnect, on id: ConnectionID, at now: Instant)
    throws(WireError)
  {
    let session = connections[id].session
    if let expirySeconds = disconnect.sessionExpirySeconds {
      // §3.14.2.2.2: what was 0 in CONNECT stays 0.
      guard expirySeconds == 0 || sessions[session].expirySeconds != 0 else { throw .protocolError }
      sessions.setExpiry(session, seconds: min(expirySeconds, UInt32(limits.sessionExpirySecondsMax)))
    }
    end(id, .disconnected(disconnect.reason), publishesWill: disconnect.reason != .success, at: now)
  }
}
