import Bounded
import LinuxIO
import MQTTBroker
import TaplineConfiguration
import Taps

/// A reload: the configuration and its files are read again on a thread of their own, into spare tables. Nothing that is in
/// force is touched there; the loop takes over what was read, or logs what is wrong.
///
/// The lane has it from a request to its answer, the loop at all other times.
final class ReloadDesk: @unchecked Sendable {
  /// What was read last.
  private(set) var outcome = ReloadOutcome()
  /// Of the next rules; nil without users. In the loop's hands they are those that were in force before.
  var spare: UserTables?
  var rules: AccessRules

  private let file: [UInt8]
  private let boardsOption: [UInt8]?
  private let start: StartedWith

  /// What a reload cannot change.
  private struct StartedWith {
    let configuration: Configuration
    var users: UserSettings? { configuration.users }
  }

  init(_ configuration: Configuration, in reservation: inout Reservation) {
    file = configuration.file
    boardsOption = configuration.boardsOption
    start = StartedWith(configuration: configuration)
    spare = configuration.users.map { UserTables($0.sizes, in: &reservation) }
    rules = AccessRules(sizes: configuration.accessSizes, in: &reservation)
  }

  static var stackBytes: Int { 256 * 1024 }

  /// Reads everything. Runs on the lane, and may take as long as it likes.
  func read() {
    outcome = ReloadOutcome()
    do throws(ConfigurationErrors) {
      let configuration = try Configuration(file: file, boards: boardsOption)
      take(configuration)
    } catch {
      outcome.problems = error.lines
    }
    MappedMemory.trim()
  }

  private func take(_ configuration: Configuration) {
    outcome.log = configuration.log
    for key in configuration.changedKeys(from: start.configuration)
    where !key.equals("log") && !(key.equals("users") && hasSameDoors(configuration.users)) {
      outcome.needRestart.append(key)
    }
    guard let users = configuration.users, hasSameDoors(users), let spare else { return }
    do throws(UserProblem) {
      try spare.fill(users, &rules)
      outcome.users = ReloadOutcome.Users(
        passwordCount: users.passwordCount, ruleCount: users.rules.count,
        isPasswordFileOpenToOthers: users.isPasswordFileOpenToOthers)
    } catch {
      outcome.problems = [error.text]
    }
  }

  /// Whether the listeners let in whom they let in at the start: with a password file nobody is anonymous.
  private func hasSameDoors(_ users: UserSettings?) -> Bool {
    (users == nil) == (start.users == nil) && (users?.passwordFile == nil) == (start.users?.passwordFile == nil)
  }
}

extension Configuration {
  /// Of rules and of names; nothing without users.
  var accessSizes: AccessSizes { users?.sizes.access ?? .none }
}

/// What a reload has read.
struct ReloadOutcome {
  struct Users {
    var passwordCount: Int
    var ruleCount: Int
    var isPasswordFileOpenToOthers: Bool
  }

  /// What is wrong, a line each. Unless it is empty nothing is taken over.
  var problems: [Text] = []
  var log = LogSettings()
  /// The spare tables are filled.
  var users: Users?
  /// Keys at the top of the file that are not as they were at the start, and that a reload does not change.
  var needRestart: [[UInt8]] = []
}
