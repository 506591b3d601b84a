import Bounded
import MQTTBroker
import TaplineConfiguration
import Taps

/// Who may connect, and which rules are whose. There are two: the tables in force, which the loop reads, and spare ones,
/// which a reload fills on its thread. Then they change places. A user's role is the place of its name in `roleNames` and 1.
///
/// The thread that has it changes it: the loop, or the lane of the reload from its request to its answer.
final class UserTables: @unchecked Sendable {
  private struct UnixRow: BitwiseCopyable {
    var uid: UInt32
    /// In `unixNames`.
    var name: UInt32
  }

  private(set) var passwords: PasswordTable
  private var roleNames: NameTable
  private let unixRows: FixedArray<UnixRow>
  private var unixCount = 0
  private var unixNames: NameTable

  init(_ sizes: UserSizes, in reservation: inout Reservation) {
    let nameBytes = max(1, sizes.nameBytes)
    passwords = PasswordTable(capacity: sizes.users, nameBytesMax: nameBytes, in: &reservation)
    roleNames = NameTable(capacity: sizes.roles, byteCountMax: nameBytes, name: "users with rules", in: &reservation)
    unixRows = FixedArray(count: sizes.unixUsers, name: "users of this machine", in: &reservation)
    unixNames = NameTable(capacity: sizes.unixUsers, byteCountMax: nameBytes, name: "  lengths", in: &reservation)
  }

  // MARK: Looking up

  /// The name on unix sockets of this machine's user; empty when there is none.
  func name(ofUser uid: UInt32) -> Bytes {
    for place in 0..<unixCount where unixRows[place].uid == uid { return unixNames[Int(unixRows[place].name)] }
    return .empty
  }

  /// What a password of this user is compared with: for one who is not there, what no password matches.
  func entry(of name: Bytes) -> PasswordEntry { passwords.find(name) ?? passwords.decoy }

  /// 0: the user has no rules of their own.
  func role(of name: Bytes) -> Role { roleNames.find(name).map { Role($0 + 1) } ?? 0 }

  /// Whether whoever was let in as `name` by the last tables would be let in by these: nobody has taken the name away, or
  /// changed its password.
  func keeps(_ name: Bytes, of last: UserTables) -> Bool {
    if name.isEmpty { return true }
    switch (last.passwords.find(name), passwords.find(name)) {
    case (let old?, let new?): guard new.isSame(as: old) else { return false }
    case (_?, nil): return false
    case (nil, _): break
    }
    return last.unixNames.find(name) == nil || unixNames.find(name) != nil
  }

  // MARK: Filling

  /// Fills the tables and `rules` with what the configuration says. Throws what there is no room for; the tables are not to
  /// be used then.
  func fill(_ users: UserSettings, _ rules: inout AccessRules) throws(UserProblem) {
    try fillPasswords(users.passwords)
    try fillUnixUsers(users.unixUsers)
    try fillRoles(users.rules)
    rules.clear()
    guard !users.hasRules || rules.sizes.rules > 0 else {
      throw UserProblem(Text("there are rules where none were at the start; restart"))
    }
    rules.isInForce = users.hasRules
    for rule in users.rules {
      let filter = rule.filter
      let subject = subject(rule.subject)
      do throws(RuleProblem) {
        try filter.lend { filter throws(RuleProblem) in try rules.add(subject, rule.access, filter: filter) }
      } catch {
        throw UserProblem(error, filter: filter, rules.sizes)
      }
    }
  }

  private func subject(_ subject: UserRule.Subject) -> RuleSubject {
    switch subject {
    case .anonymous: .anonymous
    case .everybody: .everybody
    case .user(let name): .role(name.lend { role(of: $0) })
    }
  }

  private func fillPasswords(_ file: [UInt8]) throws(UserProblem) {
    var problem: PasswordFileError?
    let isGood = file.lend { file in
      passwords.fill(from: file) { if problem == nil { problem = $0 } }
    }
    if isGood { return }
    if case .tooManyUsers = problem?.problem { throw UserProblem(lacks: "users", passwords.capacity) }
    throw UserProblem(problem?.text ?? Text("the password file is wrong"))
  }

  private func fillUnixUsers(_ users: [UnixUser]) throws(UserProblem) {
    unixNames.removeAll()
    unixCount = 0
    for user in users {
      guard unixCount < unixRows.count, let name = try place(of: user.name, in: &unixNames) else {
        throw UserProblem(Text("there are more users under 'unix' than there was room for at the start; restart"))
      }
      unixRows[unixCount] = UnixRow(uid: user.uid, name: UInt32(name))
      unixCount += 1
    }
  }

  private func fillRoles(_ rules: [UserRule]) throws(UserProblem) {
    roleNames.removeAll()
    for rule in rules {
      guard case .user(let name) = rule.subject else { continue }
      guard try place(of: name, in: &roleNames) != nil else {
        throw UserProblem(Text("more users have rules than there was room for at the start; restart"))
      }
    }
  }

  private func place(of name: [UInt8], in table: inout NameTable) throws(UserProblem) -> Int? {
    guard name.count <= table.byteCountMax else { throw UserProblem(lacks: "user_name_bytes", table.byteCountMax) }
    return name.lend { table.put($0) }
  }
}

/// Why users cannot be taken over, in words for the log.
struct UserProblem: Error {
  let text: Text

  init(_ text: Text) { self.text = text }

  /// `limits: acl_rules (64) is too little; raise it and restart`.
  init(lacks limit: StaticString, _ value: Int) {
    var text = Text("limits: ")
    text.add(limit)
    text.add(" (")
    text.add(value)
    text.add(") is too little for what is in the file; raise it and restart")
    self.text = text
  }

  init(_ problem: RuleProblem, filter: [UInt8], _ sizes: AccessSizes) {
    switch problem {
    case .noRoom(of: .rules): self.init(lacks: "acl_rules", sizes.rules)
    case .noRoom(of: .levels): self.init(lacks: "acl_levels", sizes.levels)
    case .noRoom(of: .nameBytes): self.init(lacks: "acl_name_bytes", sizes.nameBytes)
    case .badFilter:
      var text = Text()
      text.add(quoted: filter)
      text.add(" is no topic filter")
      self.init(text)
    }
  }
}
