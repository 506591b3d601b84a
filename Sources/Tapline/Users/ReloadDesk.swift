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
  /// nil: the listeners are not open yet.
  var listeners: ListenerDesk?

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

  /// Reads everything, and prepares what is new. Runs on the lane, and may take as long as it likes.
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
    let doorsStay = hasSameDoors(configuration.users)
    for key in configuration.changedKeys(from: start.configuration)
    where !key.equals("log") && !(doorsStay && (key.equals("users") || key.equals("listeners"))) {
      outcome.needRestart.append(Text(key))
    }
    // Without the users that go with them, other listeners might let in who was kept out.
    guard doorsStay else { return }
    if let users = configuration.users, let spare {
      do throws(UserProblem) {
        try spare.fill(users, &rules)
        outcome.users = ReloadOutcome.Users(
          passwordCount: users.passwordCount, ruleCount: users.rules.count,
          isPasswordFileOpenToOthers: users.isPasswordFileOpenToOthers)
      } catch {
        outcome.problems = [error.text]
        return
      }
    }
    guard let listeners else { return }
    var report = FileReport(file: file)
    let change = listeners.read(configuration.listeners, &report)
    outcome.problems = report.problems
    outcome.warnings = report.warnings
    outcome.needRestart += change.needRestart
    outcome.listeners = change
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
  /// Nothing uses what it holds yet.
  var listeners: ListenerChange?
  /// What is used although something is the matter with it, a line each.
  var warnings: [Text] = []
  /// Keys at the top of the file that are not as they were at the start, and listeners, that a reload does not change.
  var needRestart: [Text] = []
}
