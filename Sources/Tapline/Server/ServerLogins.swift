import Bounded
import Gateway
import LinuxIO
import MQTTBroker
import MQTTWire
import TaplineConfiguration

/// Who clients are, where the configuration has users: CONNECTs are judged here, and passwords are checked on a lane, one
/// at a time. A connection whose password is checked is not read.
extension Server {
  /// Runs in the broker's call.
  func judge(_ credentials: Credentials, _ authenticator: Authenticator) -> Verdict? {
    let stream = StreamID(bits: credentials.transport)
    let peer = streams.peer(of: stream)
    let decision = authenticator.judge(
      credentials, certificateName: certificateName(of: stream), uid: peer?.uid,
      from: peer.map { SourceAddress($0) } ?? .local, isOpen: { isOpen(transport: $0) })
    switch decision {
    case .verdict(let verdict):
      return verdict
    case .refused(let reason, let cause):
      tellRefusedLogin(credentials.userName, credentials.transport, cause, authenticator, at: credentials.now)
      return .refuse(reason)
    case .later:
      checkNext(authenticator)
      return nil
    }
  }

  private func isOpen(transport: UInt32) -> Bool { streams.isOpen(StreamID(bits: transport)) }

  /// Has the lane check the next password, if it has none to check.
  func checkNext(_ authenticator: Authenticator) {
    guard let lane = passwordLane, lane.underway == 0,
      let place = authenticator.nextCheck(isOpen: { isOpen(transport: $0) })
    else { return }
    _ = lane.submit(UInt32(place))
  }

  /// A password was checked.
  @inline(never) func takeCheckedPassword(at now: Instant) {
    guard let users, let checked = passwordLane?.takeAnswer() else { return }
    let place = Int(checked.number)
    let login = users.queue[place]
    if let verdict = users.checked(place, isRight: checked.answer != 0, at: now) {
      if checked.answer == 0, isOpen(transport: login.transport) {
        tellRefusedLogin(users.queue.name(at: place), login.transport, .badPassword, users, at: now)
      }
      brokerTurn(at: now) { $0.answered(login.serial, verdict, at: now) }  // a takeover's Will may run taps
      users.queue.end(place)
      goOn(afterVerdictOn: StreamID(bits: login.transport), at: now)
    }
    checkNext(users)
  }

  /// Refuses logins that have given their places to other addresses. Once in a turn, since the broker may not be called
  /// while it asks for a verdict.
  @inline(never) func refuseGivenWay(_ authenticator: Authenticator, at now: Instant) {
    while let login = authenticator.nextGivenWay() {
      tellRefusedLogin(nil, login.transport, .addressNoRoom, authenticator, at: now)
      brokerTurn(at: now) { $0.answered(login.serial, .refuse(.quotaExceeded), at: now) }
      goOn(afterVerdictOn: StreamID(bits: login.transport), at: now)
    }
  }

  /// The stream is read again, and what came behind the CONNECT is taken.
  private func goOn(afterVerdictOn stream: StreamID, at now: Instant) {
    guard streams.isOpen(stream) else { return }
    let connection: ConnectionID?
    switch Speaker(bits: streams.owner(of: stream)) {
    case .mqtt(let id): connection = id
    case .layer: connection = layers.connection(of: stream.index)
    case .port(let index): connection = ports[index].connection
    case .none: connection = nil
    }
    guard let connection else { return }
    if !broker.awaitsConnect(connection) { admission.leave(stream.bits) }
    goOn(with: connection, at: now)
  }

  // MARK: The log

  /// `login refused: user 'ha' from 192.0.2.7 to 192.0.2.10:1883: wrong password, or no such user`.
  @inline(never) private func tellRefusedLogin(
    _ name: Bytes?, _ transport: UInt32, _ cause: Authenticator.Cause, _ authenticator: Authenticator, at now: Instant
  ) {
    switch cause {
    case .noRoom, .addressNoRoom: return tellLackOfLogins(name, transport, cause, authenticator, at: now)
    case .noPassword, .badName, .badPassword, .tooOften: break
    }
    let stream = StreamID(bits: transport)
    log.line(.notice, .mqtt) { line in
      line.write("tapline: login refused: ")
      writeUser(name, from: stream, into: &line)
      switch cause {
      case .noPassword: line.write("no password, or none is known here")
      case .badName: line.write("no user name, or one that nobody can have")
      case .badPassword: line.write("wrong password, or no such user")
      case .tooOften: line.write("wrong passwords too often; wait a minute")
      case .noRoom, .addressNoRoom: break
      }
    }
  }

  private func writeUser(_ name: Bytes?, from stream: StreamID, into line: inout ByteWriter) {
    if let name {
      line.write("user ")
      line.write(quoted: name)
      line.write(" ")
    }
    line.write("from ")
    streams.peer(of: stream)?.write(to: &line, withPort: false)
    if let local = streams.localAddress(of: stream) {
      line.write(" to ")
      local.write(to: &line)
    }
    line.write(": ")
  }

  /// `logins (16) are all in use; user 'ha' from 192.0.2.7 was refused, and 3 others before; see limits: logins`, once a
  /// minute.
  private func tellLackOfLogins(
    _ name: Bytes?, _ transport: UInt32, _ cause: Authenticator.Cause, _ authenticator: Authenticator, at now: Instant
  ) {
    guard let count = authenticator.takeRefused(at: now) else { return }
    let sizes = authenticator.sizes
    log.line(.notice, .mqtt) { line in
      line.write("tapline: ")
      switch cause {
      case .addressNoRoom:
        line.write("logins_per_address (")
        line.writeDecimal(UInt64(sizes.loginsPerAddress))
      case .noRoom, .noPassword, .badName, .badPassword, .tooOften:
        line.write("logins (")
        line.writeDecimal(UInt64(sizes.logins))
      }
      line.write(") are all in use; ")
      writeUser(name, from: StreamID(bits: transport), into: &line)
      line.write("refused")
      if count > 1 {
        line.write(", and ")
        line.writeDecimal(count - 1)
        line.write(count == 2 ? " other before" : " others before")
      }
      line.write("; see limits: logins")
    }
  }
}
