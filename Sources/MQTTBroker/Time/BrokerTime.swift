public import Bounded
import MQTTWire

/// Deadlines of connections, sessions and retained messages.
extension Broker {
  /// When `advance` has something to do next; nil: nothing is due. Long past while input or a replay waits for the next
  /// turn.
  public var nextDeadline: Instant? {
    outboxes.restingCount > 0 || !paused.isNull ? Instant(nanoseconds: 0) : timers.nextDeadline
  }

  /// Does what has become due: late CONNECTs and packets, keep alive, Wills, session expiry, $SYS.
  /// - Parameter heard: bytes that had come by then have been received, of each connection at least their beginning; nil: by
  ///   now. Deadlines are judged by it, so that nobody is given up whose bytes wait in the kernel. What is due between it and
  ///   now stays in `nextDeadline`. So does what is due after a Will that has run a tap: what the tap wants published comes
  ///   first, so that each finds the room for that which the one before had. And so does what is due when the turn has had
  ///   its steps.
  public mutating func advance(to now: Instant, heardUntil heard: Instant? = nil) {
    let heard = min(heard ?? now, now)
    let ran = counters.tapsRun
    work.allow(Work.deadlineSteps)
    while counters.tapsRun == ran, !work.isOver, let timer = timers.popExpired(at: heard) {
      work.did(Work.filterSteps)
      if timer < limits.connectionsMax {
        if let id = connections.handle(at: timer) { connectionDue(id, heard, at: now) }
      } else if timer < sysTimer {
        if let session = sessions.handle(at: timer - limits.connectionsMax) { sessionDue(session, heard, at: now) }
      } else if timer == sweepTimer {
        sweepRetained(at: now)
      } else if timer == queueSweepTimer {
        sweepQueues(at: now)
      } else {
        timers.arm(timer, at: publishSys(at: now))
      }
    }
    pumpStarved(at: now)
    if outboxes.restingCount > 0 { resumeReplays(at: now) }
  }

  /// Begins the publication of $SYS.
  public mutating func startSys(at now: Instant) {
    startedAt = now
    // $SYS has room of its own, in the half of each pool that may be kept: its figures, and a topic for each client.
    let topics = Broker.figureCount + Loads.count + Broker.poolCount + limits.sessionsMax
    shares.keepForBoard(.retained, min(topics, max(0, limits.retainedMax / 2 - shares.kept(.retained))))
    shares.joint.keepForBoard(.topicNodes, min(limits.sessionsMax, limits.topicNodesMax / 8))
    shares.joint.keepForBoard(.topicNameCells, min(limits.sessionsMax, limits.topicNameCellsMax / 4))
    timers.arm(sysTimer, at: now)
  }

  // MARK: Connections

  /// The earliest of the deadlines that a connection has. Keep alive is looked at when it may have passed,
  /// not moved with every packet.
  mutating func armConnection(_ id: ConnectionID, at now: Instant) {
    guard connections[id].state == .connected else { return }  // the deadline for CONNECT stays
    var deadline = connections[id].packetDeadline
    if connections[id].keepAliveNanoseconds > 0 {
      deadline = min(deadline, connections[id].lastReceived.adding(nanoseconds: connections[id].keepAliveNanoseconds))
    }
    timers.arm(id.index, at: deadline)
  }

  @_optimize(size) private mutating func connectionDue(_ id: ConnectionID, _ heard: Instant, at now: Instant) {
    switch connections[id].state {
    case .awaitingConnect, .awaitingVerdict, .awaitingConnAck:
      limitHit(.connectSeconds, on: id, .disconnected)
      fail(id, .keepAliveTimeout, at: now)
    case .closing:
      // Its last bytes were not taken in time.
      outboxes.clear(&connections[id].outbox, &messages)
      outboxes.markReady(id)
    case .connected:
      if connections[id].heldByteCount > 0 || acksFill(id) {
        waitFor(id, at: now)
      } else if connections[id].packetDeadline <= heard {
        limitHit(.packetSeconds, on: id, .disconnected)
        fail(id, .keepAliveTimeout, at: now)
      } else if connections[id].keepAliveNanoseconds > 0,
        connections[id].lastReceived.adding(nanoseconds: connections[id].keepAliveNanoseconds) <= heard
      {
        fail(id, .keepAliveTimeout, at: now)  // §3.1.2-22
      } else {
        armConnection(id, at: now)
      }
    }
  }

  /// The client can say nothing while its input waits: its deadlines begin again.
  private mutating func waitFor(_ id: ConnectionID, at now: Instant) {
    connections[id].lastReceived = now
    if connections[id].packetDeadline != .never {
      connections[id].packetDeadline = now.adding(seconds: Int64(limits.packetSeconds))
    }
    armConnection(id, at: now)
  }

  // MARK: Sessions

  mutating func armSession(_ session: Handle<Session>) {
    timers.arm(
      limits.connectionsMax + session.index, at: min(sessions[session].expiresAt, sessions[session].willAt))
  }

  @_optimize(size) private mutating func sessionDue(_ session: Handle<Session>, _ heard: Instant, at now: Instant) {
    if sessions[session].expiresAt <= heard {
      endSession(session, at: now)
      return
    }
    if !sessions[session].will.isNull, sessions[session].willAt <= heard { publishWill(session, at: now) }
    armSession(session)
  }

  // MARK: Expired messages

  private mutating func sweepRetained(at now: Instant) {
    let (removed, next) = retained.sweepExpired(&topics, &messages, &shares, sessions, at: now)
    counters.expired &+= UInt64(removed)
    work.did(ExpirySweep.stepsPerTurn &+ removed &* Work.filterSteps)
    timers.arm(sweepTimer, at: next)
  }

  /// Removes expired messages from queues, so that those of clients that are away do not keep their room from others.
  mutating func sweepQueues(at now: Instant) {
    let (dropped, steps, next) = deliveries.sweepExpired(sessions, &messages, at: now)
    counters.expired &+= UInt64(dropped)
    work.did(steps)
    timers.arm(queueSweepTimer, at: next)
  }

  /// The timers behind those of connections and sessions.
  var sysTimer: Int { limits.connectionsMax + limits.sessionsMax }
  var sweepTimer: Int { sysTimer + 1 }
  var queueSweepTimer: Int { sysTimer + 2 }
}
