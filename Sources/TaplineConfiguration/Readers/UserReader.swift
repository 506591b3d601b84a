import Bounded
import MQTTBroker
import MQTTWire
import Taps

/// `users:`: the password file, the rights from a file or from `rules`, and users of this machine.
struct UserReader {
  static var keys: [StaticString] { ["password_file", "acl_file", "rules", "unix"] }
  static var userRuleKeys: [StaticString] { ["user", "anonymous", "everybody"] + accessKeys }
  private static var accessKeys: [StaticString] { ["read", "write", "readwrite", "deny"] }

  private let section: Section?
  private let errors: ErrorList
  private let nameBytesMax: Int
  private var settings: UserSettings?
  /// Everything that is wrong with the files that are named, a list for each of them.
  private(set) var fileErrors: [ErrorList] = []

  /// Reads what stands in the configuration itself.
  init(_ top: Section, nameBytesMax: Int) {
    errors = top.errors
    self.nameBytesMax = nameBytesMax
    guard let entry = top.entry("users") else {
      section = nil
      return
    }
    let section = Section(entry.value, "'users'", keys: UserReader.keys, errors: top.errors)
    self.section = section
    var settings = UserSettings()
    settings.passwordFile = section.path("password_file")
    settings.aclFile = section.path("acl_file")
    settings.hasRules = section.has("acl_file") || section.has("rules")
    if section.has("acl_file"), section.has("rules") {
      errors.add(section.place(of: "rules"), "'rules' beside 'acl_file'; expected one of the two")
    }
    if !UserReader.keys.contains(where: { section.has($0) }) {
      errors.add(entry.place, "'users' is empty; expected a 'password_file', or users of this machine under 'unix'")
    }
    self.settings = settings
    readRules(section)
    readUnixUsers(section)
  }

  var hasPasswordFile: Bool { section?.has("password_file") ?? false }
  var hasUnixUsers: Bool { section?.has("unix") ?? false }

  /// The settings, with what the files say. nil: the configuration has no users.
  mutating func finish(_ limits: UserLimits, _ limitReader: LimitReader, readsFiles: Bool) -> UserSettings? {
    guard var settings, let section else { return nil }
    if readsFiles {
      if let file = settings.passwordFile,
        let (bytes, isOpenToOthers) = UserFiles.read(
          file, namedAt: section.place(of: "password_file"), errors: errors)
      {
        settings.passwords = bytes
        settings.isPasswordFileOpenToOthers = isOpenToOthers
        settings.passwordCount = UserFiles.checkPasswords(bytes, nameBytesMax: nameBytesMax, errors: list(of: file))
      }
      if let file = settings.aclFile,
        let (bytes, _) = UserFiles.read(file, namedAt: section.place(of: "acl_file"), errors: errors)
      {
        take(AccessFile.read(bytes, nameBytesMax: nameBytesMax, errors: list(of: file)), into: &settings)
      }
    }
    for lack in settings.fit(limits) { limitReader.complain(lack.name, lack.text) }
    return settings
  }

  private mutating func list(of file: [UInt8]) -> ErrorList {
    let list = ErrorList(file: file)
    fileErrors.append(list)
    return list
  }

  private func take(_ list: UserRuleList, into settings: inout UserSettings) {
    settings.rules = list.rules
    settings.roleCount = list.roleNames.count
  }

  // MARK: Rules

  private mutating func readRules(_ section: Section) {
    var list = UserRuleList()
    var isFull = false
    for item in section.items("rules", "a list of rules such as '- {user: ha, readwrite: home/#}'") {
      let rule = Section(item, "a rule", keys: UserReader.userRuleKeys, errors: errors)
      guard let subject = subject(of: rule) else { continue }
      if item.kind == .mapping, !UserReader.accessKeys.contains(where: { rule.has($0) }) {
        errors.add(rule.place, "a rule without an access; expected read, write, readwrite or deny, and topic filters")
      }
      for (key, access) in UserReader.accesses {
        for filter in filters(rule, key) {
          guard !list.add(UserRule(subject, access, filter)), !isFull else { continue }
          isFull = true
          errors.add(rule.place, UserRuleList.tooManyRoles)
        }
      }
    }
    guard var settings else { return }
    take(list, into: &settings)
    self.settings = settings
  }

  private static var accesses: [(StaticString, Access)] {
    [("read", .read), ("write", .write), ("readwrite", .readWrite), ("deny", .deny)]
  }

  private func subject(of rule: Section) -> UserRule.Subject? {
    let isAnonymous = rule.has("anonymous")
    let isEverybody = rule.has("everybody")
    guard (rule.has("user") ? 1 : 0) + (isAnonymous ? 1 : 0) + (isEverybody ? 1 : 0) == 1 else {
      errors.add(rule.place, "a rule is for one; expected 'user: NAME', 'anonymous: true' or 'everybody: true'")
      return nil
    }
    if rule.has("user") {
      return userName(rule, "user").map { .user($0) }
    }
    let key: StaticString = isAnonymous ? "anonymous" : "everybody"
    guard let isOn = rule.boolean(key) else { return nil }
    guard isOn else {
      rule.complain(key, "true: a rule without it is another's")
      return nil
    }
    return isAnonymous ? .anonymous : .everybody
  }

  private func userName(_ section: Section, _ key: StaticString) -> [UInt8]? {
    guard let entry = section.entry(key) else { return nil }
    return userName(entry.value)
  }

  private func userName(_ node: Node) -> [UInt8]? {
    guard node.kind == .scalar, !node.text.isEmpty, node.text.count <= nameBytesMax else {
      var text = Text("expected a user's name of 1 to ")
      text.add(nameBytesMax, of: "byte")
      errors.add(node.place, text)
      return nil
    }
    return node.text
  }

  /// One filter, or a list of them.
  private func filters(_ rule: Section, _ key: StaticString) -> [[UInt8]] {
    guard let node = rule.entry(key)?.value else { return [] }
    var filters: [[UInt8]] = []
    for item in node.kind == .sequence ? node.items : [node] {
      if item.kind == .scalar, item.text.lend({ Topic.isValidFilter($0) }) {
        filters.append(item.text)
      } else if item.kind == .scalar {
        errors.add(item.place, AccessFile.complaint(aboutFilter: item.text))
      } else {
        errors.add(item.place, "expected a topic filter such as 'home/#', or a list of them")
      }
    }
    return filters
  }

  // MARK: Users of this machine

  private mutating func readUnixUsers(_ section: Section) {
    let entries = section.members(
      "unix", "users of this machine and their names, such as '{0: admin, homeassistant: ha}'")
    guard !entries.isEmpty, var settings else { return }
    let machineUsers = UserFiles.machineUsers
    for entry in entries {
      guard let name = userName(entry.value) else { continue }
      guard let uid = uid(entry.key, machineUsers), uid != .max else {
        var text = Text()
        text.add(quoted: entry.key)
        text.add(" is no user of this machine; expected a name of /etc/passwd, or a number")
        errors.add(entry.place, text)
        continue
      }
      guard !settings.unixUsers.contains(where: { $0.uid == uid }) else {
        var text = Text()
        text.add(quoted: entry.key)
        text.add(" is named twice; expected one name for the user ")
        text.add(Int(uid))
        errors.add(entry.place, text)
        continue
      }
      settings.unixUsers.append(UnixUser(uid: uid, name: name))
    }
    self.settings = settings
  }

  private func uid(_ key: [UInt8], _ machineUsers: [UInt8]) -> UInt32? {
    if let number = Values.integer(key) { return UInt32(exactly: number) }
    return UserFiles.uid(ofUserNamed: key, in: machineUsers)
  }
}
