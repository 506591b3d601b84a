public import Bounded
import MQTTWire

/// Whose a message is: the board's, or that of a client that may write to the message's topic. `Broker` makes the latter in
/// one place, here, and an `Inbound` cannot be made without one: no message of a client passes beside its right to write.
struct Author: BitwiseCopyable {
  /// Null: the board itself.
  let session: Handle<Session>

  static var board: Author { Author(.null) }

  @inline(__always) fileprivate init(_ session: Handle<Session>) { self.session = session }
}

/// Where rights are judged: by the rules in force at that moment, whenever a client's message comes in and whenever a message
/// is about to go out. What the board says by itself ($SYS, states, rules, discovery) has the board's right.
extension Broker {
  // MARK: Writing

  /// Nil, and counted: the client may not write to the topic.
  @inline(__always) mutating func author(_ session: Handle<Session>, of topic: Bytes) -> Author? {
    guard rights.isInForce else { return Author(session) }  // as good as always
    return mayWrite(session, topic) ? Author(session) : nil
  }

  @inline(never) @_optimize(size) private mutating func mayWrite(_ session: Handle<Session>, _ topic: Bytes) -> Bool {
    rights.match(topic)
    let isAllowed = rights.mayWrite(session, sessions)
    if !isAllowed { counters.publishesDenied &+= 1 }
    work.did(rights.takeLookedCount())
    return isAllowed
  }

  /// Whether a client that is about to connect may write to its Will's topic.
  @_optimize(size) mutating func mayWrite(_ identity: Identity, clientID: Bytes, will topic: Bytes) -> Bool {
    guard rights.isInForce else { return true }
    rights.match(topic)
    let isAllowed = rights.mayWrite(identity, clientID: clientID)
    if !isAllowed { counters.publishesDenied &+= 1 }
    work.did(rights.takeLookedCount())
    return isAllowed
  }

  /// Whether an answer may go to a topic that a client has named: where the client may write itself.
  @_optimize(size) mutating func mayAnswer(_ asker: Handle<Session>, on topic: Bytes) -> Bool {
    guard rights.isInForce, !asker.isNull else { return true }
    return sessions.isLent(asker) && mayWrite(asker, topic)
  }

  // MARK: Reading

  /// Whether a client may read a stored message that is about to be sent to it: one that waited in its queue, is sent again,
  /// or was retained. `false` is counted.
  @inline(__always) mutating func mayRead(_ session: Handle<Session>, _ message: Handle<Message>) -> Bool {
    guard rights.isInForce else { return true }
    return judgeReading(session, message)
  }

  @inline(never) @_optimize(size) private mutating func judgeReading(
    _ session: Handle<Session>, _ message: Handle<Message>
  ) -> Bool {
    var writer = topicScratch.writer()
    messages.copy(message, from: 0, byteCount: Int(messages[message].topicByteCount), into: &writer)
    rights.match(writer.written)
    let isAllowed = rights.mayRead(session, sessions)
    if !isAllowed { counters.deliveriesDenied &+= 1 }
    work.did(rights.takeLookedCount())
    return isAllowed
  }

  /// Whether a client may subscribe to a filter, that of a shared subscription without its prefix. `false` is counted.
  @_optimize(size) mutating func maySubscribe(_ session: Handle<Session>, to filter: Bytes) -> Bool {
    guard rights.isInForce else { return true }
    let isAllowed = rights.maySubscribe(session, to: filter, sessions)
    if !isAllowed { counters.subscriptionsDenied &+= 1 }
    work.did(rights.takeLookedCount())
    return isAllowed
  }

  // MARK: Rules and users

  /// Whether an ACL is in force.
  public var hasRules: Bool { rights.isInForce }

  /// From here on the rules of `next` are in force, of which the sizes are those of these; `next` has the old ones then. All
  /// in one call, so no client is ever judged by one user's role and another list's rules.
  /// - Parameter role: the role that a user has by the new rules. It is asked for each session; empty: anonymous. Nil: the
  ///   user is gone, and its session has no right until `judgeSessions` has ended it. It must not call the broker.
  @_optimize(size) public mutating func replaceRules(
    _ next: inout AccessRules, role: (_ userName: Bytes) -> Role?
  ) {
    rights.replace(&next)
    var place = 0
    while place < limits.sessionsMax {
      if let session = sessions.handle(at: place) { sessions.setRole(session, role(sessions.userName(session))) }
      place += 1
    }
    work.did(limits.sessionsMax)
  }

  /// Looks at some sessions after the users have changed, and ends those whose user is gone: their clients are disconnected
  /// with 0x98, Administrative action. Call it turn after turn, and do after each call what taps want: a Will may run some.
  /// - Parameters:
  ///   - index: of the place for sessions to begin at, 0 or what the last call has answered.
  ///   - count: places to look at, at most.
  ///   - judge: a user's role; nil: the user is gone. Empty: anonymous. It must not call the broker.
  /// - Returns: where to go on; nil: all have been looked at.
  @_optimize(size) public mutating func judgeSessions(
    from index: Int, count: Int, at now: Instant, _ judge: (_ userName: Bytes) -> Role?
  ) -> Int? {
    work.allow(Work.deadlineSteps)
    let ran = counters.tapsRun
    var place = index
    var remaining = count
    while place < limits.sessionsMax {
      guard remaining > 0, !work.isOver, counters.tapsRun == ran else { return place }
      remaining -= 1
      work.did(Work.filterSteps)
      if let session = sessions.handle(at: place) {
        let role = judge(sessions.userName(session))
        sessions.setRole(session, role)
        if role == nil { endRevoked(session, at: now) }
      }
      place += 1
    }
    return nil
  }

  @_optimize(size) private mutating func endRevoked(_ session: Handle<Session>, at now: Instant) {
    let id = sessions[session].connection
    if !id.isNull { fail(id, .administrativeAction, at: now) }
    if sessions.isLent(session) { endSession(session, at: now) }
  }
}
