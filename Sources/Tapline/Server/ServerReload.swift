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

  /// Not while the last one is under way: until all sessions are judged, the old tables are needed.
  private func startReload(at now: Instant) {
    guard reload.isWanted, reload.judgedCount == nil, !isStopping, reload.lane.underway == 0 else { return }
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
    if reload.judgedCount == nil { endReload(at: now) }
  }

  private func takeOver(_ outcome: ReloadOutcome, at now: Instant) {
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

  /// Ends some of the sessions whose users are gone, or have another password; the others have their roles already.
  func judgeSessions(at now: Instant) {
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
    endReload(at: now)
  }

  private static var sessionsJudgedMax: Int { 256 }

  /// In the turn after the one that is under way, as long as there are some.
  var judgingDeadline: Instant { reload.judgedCount == nil ? .never : Instant(nanoseconds: 0) }

  private func endReload(at now: Instant) {
    if reload.isWanted { return startReload(at: now) }
    reload.isToldBegun = false
    service.ready()
  }

  // MARK: The log

  /// `reloaded: log levels, 12 users, 34 rules`, and what it takes a restart for.
  private func tell(_ outcome: ReloadOutcome) {
    log.line(.notice, .server) { line in
      line.write("tapline: reloaded: log levels")
      guard let users = outcome.users else { return }
      line.write(", ")
      line.writeDecimal(UInt64(users.passwordCount))
      line.write(users.passwordCount == 1 ? " user, " : " users, ")
      line.writeDecimal(UInt64(users.ruleCount))
      line.write(users.ruleCount == 1 ? " rule" : " rules")
    }
    if outcome.users?.isPasswordFileOpenToOthers ?? false { warnOfOpenPasswordFile() }
    guard !outcome.needRestart.isEmpty else { return }
    log.line(.warning, .server) { line in
      line.write("tapline: changed in the file, and not before a restart: ")
      for index in 0..<outcome.needRestart.count {
        if index > 0 { line.write(", ") }
        outcome.needRestart[index].lend { line.write($0) }
      }
    }
  }

  func warnOfOpenPasswordFile() {
    log.write(
      .warning, .server, "tapline: every user of this machine may read the password file; expected chmod 640 or less")
  }

  private func tell(_ problems: [Text]) {
    for index in 0..<problems.count {
      log.line(.error, .server) { line in
        line.write("tapline: not reloaded: ")
        problems[index].bytes.lend { line.write($0.first(min($0.count, line.free))) }
      }
    }
    log.write(.error, .server, "tapline: passwords, rights and log levels stay as they were")
  }
}

/// A reload, from a signal to the last session that is judged.
struct Reload {
  let desk: ReloadDesk
  let lane: ErrandLane
  /// A signal has come that no reading has answered yet.
  var isWanted = false
  /// The service manager knows that one is under way.
  var isToldBegun = false
  /// Places of sessions that were judged by the new tables; nil: all of them.
  var judgedCount: Int?

  init(_ desk: ReloadDesk) throws(LinuxError) {
    self.desk = desk
    lane = try ErrandLane(name: "reload", stackBytes: ReloadDesk.stackBytes, requestsMax: 1) { _ in
      desk.read()
      return 0
    }
  }
}
