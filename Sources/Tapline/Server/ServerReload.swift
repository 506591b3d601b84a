import Bounded
import Gateway
import LinuxIO
import MQTTBroker
import TaplineConfiguration
import Taps

/// SIGHUP: what can be changed without a restart is read again on a thread of its own, and taken over in one turn. However
/// many signals come meanwhile, one more reading follows.
extension Server {
  func reloadWanted(at now: Instant) {
    reload.isWanted = true
    startReload(at: now)
  }

  /// Not while the last one is under way: until all sessions are judged, the old tables are needed, and until the connections
  /// of old certificates have ended, their memory.
  private func startReload(at now: Instant) {
    guard reload.isWanted, reload.isDone, !isStopping, reload.lane.underway == 0 else { return }
    reload.isWanted = false
    if !reload.isToldBegun { service.reloading(monotonicMicroseconds: Clock.monotonicNanoseconds() / 1000) }
    reload.isToldBegun = true
    _ = reload.lane.submit(0)
  }

  /// The files have been read.
  @inline(never) func takeReload(at now: Instant) {
    guard reload.lane.takeAnswer() != nil else { return }
    let outcome = reload.desk.outcome
    if outcome.problems.isEmpty {
      takeOver(outcome, at: now)
    } else {
      tell(outcome.problems)
    }
    if reload.isDone { endReload(at: now) }
  }

  private func takeOver(_ outcome: ReloadOutcome, at now: Instant) {
    if let change = outcome.listeners, !takeOver(change, at: now) {
      log.write(.error, .server, "tapline: not reloaded: the kernel does not poll a new listener; see max_user_watches")
      return tellNothingChanged()
    }
    log.adopt(outcome.log)
    if outcome.users != nil, let users, let next = reload.desk.spare {
      let last = users.tables
      callBroker { broker in
        broker.replaceRules(&reload.desk.rules) { name in next.keeps(name, of: last) ? next.role(of: name) : nil }
      }
      reload.desk.spare = last
      users.tables = next
      users.tablesChanged()
      users.isPaused = true
      reload.judgedCount = 0
    }
    tell(outcome)
  }

  /// What a reload leaves to the turns after it, some in each.
  func goOnWithReload(at now: Instant) {
    judgeSessions(at: now)
    endOldConnections(at: now)
    if reload.isDone { endReload(at: now) }
  }

  /// Ends some of the sessions whose users are gone, or have another password; the others have their roles already.
  private func judgeSessions(at now: Instant) {
    guard let from = reload.judgedCount, let users, let last = reload.desk.spare else { return }
    let tables = users.tables
    let next = brokerTurn(at: now) {
      $0.judgeSessions(from: from, count: Server.sessionsJudgedMax, at: now) { name in
        tables.keeps(name, of: last) ? tables.role(of: name) : nil
      }
    }
    reload.judgedCount = next
    guard next == nil else { return }
    users.isPaused = false
    checkNext(users)
  }

  private static var sessionsJudgedMax: Int { 256 }

  /// In the turn after the one that is under way, as long as there are some.
  var reloadDeadline: Instant { reload.isDone ? .never : Instant(nanoseconds: 0) }

  private func endReload(at now: Instant) {
    if reload.isWanted { return startReload(at: now) }
    reload.isToldBegun = false
    service.ready()
  }

  // MARK: The log

  /// `reloaded: log levels, 12 users, 34 rules, listeners`, each change of a listener, and what it takes a restart for.
  private func tell(_ outcome: ReloadOutcome) {
    if let change = outcome.listeners { tell(change.lines, .notice, "tapline: ") }
    log.line(.notice, .server) { line in
      line.write("tapline: reloaded: log levels")
      if let users = outcome.users {
        line.write(", ")
        line.writeDecimal(UInt64(users.passwordCount))
        line.write(users.passwordCount == 1 ? " user, " : " users, ")
        line.writeDecimal(UInt64(users.ruleCount))
        line.write(users.ruleCount == 1 ? " rule" : " rules")
      }
      if let change = outcome.listeners, !change.isNothing { line.write(", listeners") }
    }
    if outcome.users?.isPasswordFileOpenToOthers ?? false { warnOfOpenPasswordFile() }
    tell(outcome.warnings, .warning, "tapline: ")
    guard !outcome.needRestart.isEmpty else { return }
    log.line(.warning, .server) { line in
      line.write("tapline: changed in the file, and not before a restart: ")
      for index in 0..<outcome.needRestart.count {
        if index > 0 { line.write(", ") }
        outcome.needRestart[index].bytes.lend { line.write($0.first(min($0.count, line.free))) }
      }
    }
  }

  func warnOfOpenPasswordFile() {
    log.write(
      .warning, .server, "tapline: every user of this machine may read the password file; expected chmod 640 or less")
  }

  private func tell(_ problems: [Text]) {
    tell(problems, .error, "tapline: not reloaded: ")
    tellNothingChanged()
  }

  private func tellNothingChanged() {
    log.write(.error, .server, "tapline: passwords, rights, listeners, certificates and log levels stay as they were")
  }

  func tell(_ texts: [Text], _ priority: Log.Priority, _ start: StaticString) {
    for index in 0..<texts.count {
      log.line(priority, .server) { line in
        line.write(start)
        texts[index].bytes.lend { line.write($0.first(min($0.count, line.free))) }
      }
    }
  }
}

/// A reload, from a signal to the last session that is judged and the last connection that is ended.
struct Reload {
  let desk: ReloadDesk
  let lane: ErrandLane
  /// A signal has come that no reading has answered yet.
  var isWanted = false
  /// The service manager knows that one is under way.
  var isToldBegun = false
  /// Places of sessions that were judged by the new tables; nil: all of them.
  var judgedCount: Int?
  /// Places of streams that were looked at for contexts of TLS that give way; nil: all of them, or no context does.
  var endedCount: Int?
  /// Connections that were ended for that, so far.
  var endedConnectionCount = 0

  init(_ desk: ReloadDesk) throws(LinuxError) {
    self.desk = desk
    lane = try ErrandLane(name: "reload", stackBytes: ReloadDesk.stackBytes, requestsMax: 1) { _ in
      desk.read()
      return 0
    }
  }

  /// What was read is in force, and nothing of it is left to be done.
  var isDone: Bool { judgedCount == nil && endedCount == nil }
}
