import Bounded
import LinuxIO
import MQTTBroker
import TaplineConfiguration
import Taps

/// Memory for users, in both tables of them, and for logins; nothing without users.
struct DoorRooms {
  let users: Authenticator?
  let desk: ReloadDesk

  init(_ configuration: Configuration, key: HashKey, in reservation: inout Reservation) {
    users = configuration.users.map { Authenticator($0, key: key, in: &reservation) }
    desk = ReloadDesk(configuration, in: &reservation)
  }
}

/// Who may connect, and what is read again on SIGHUP: the parts of the server that have to do with users.
final class Doors {
  /// nil: the configuration has no users, and listeners alone decide.
  let users: Authenticator?
  /// Only with a password file.
  let passwordLane: ErrandLane?
  var reload: Reload

  /// Starts the threads.
  init(_ rooms: DoorRooms, _ configuration: Configuration) throws(LinuxError) {
    users = rooms.users
    reload = try Reload(rooms.desk)
    guard let users = rooms.users, users.hasPasswords else {
      passwordLane = nil
      return
    }
    let queue = users.queue
    passwordLane = try ErrandLane(name: "passwords", stackBytes: passwordStackBytes, requestsMax: 1) { place in
      queue.check(Int(place)) ? 1 : 0
    }
  }

  static func stackBytes(_ configuration: Configuration) -> Int {
    ReloadDesk.stackBytes + (configuration.users?.passwordFile == nil ? 0 : passwordStackBytes)
  }
}

private var passwordStackBytes: Int { 64 * 1024 }

extension Server {
  var users: Authenticator? { doors.users }
  var passwordLane: ErrandLane? { doors.passwordLane }
  var reload: Reload {
    _read { yield doors.reload }
    _modify { yield &doors.reload }
  }

  /// Puts the configuration's users and rules in force. Without users it does nothing.
  func admitUsers() throws(StartError) {
    guard let users, let settings = configuration.users, let tables = reload.desk.spare else { return }
    memory.keepOutOfDumps()
    do throws(UserProblem) {
      try tables.fill(settings, &reload.desk.rules)
    } catch {
      throw StartError(text: error.text)
    }
    if settings.isPasswordFileOpenToOthers { warnOfOpenPasswordFile() }
    reload.desk.spare = users.tables
    users.tables = tables
    callBroker { broker in
      broker.replaceRules(&reload.desk.rules) { _ in 0 }  // there are no sessions yet
      broker.onCredentials = { [unowned(unsafe) self] in self.judge($0, users) }
    }
  }
}
