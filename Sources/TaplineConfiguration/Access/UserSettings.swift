import Bounded
public import MQTTBroker

/// A user of this machine who is an MQTT user on unix sockets.
public struct UnixUser: Sendable, Equatable {
  public var uid: UInt32
  public var name: [UInt8]

  public init(uid: UInt32, name: [UInt8]) {
    self.uid = uid
    self.name = name
  }
}

/// `users:`: who may connect, and what each may do. The files have been read already.
public struct UserSettings: Sendable, Equatable {
  public var passwordFile: [UInt8]?
  /// The password file's bytes; every line of them is right.
  public var passwords: [UInt8] = []
  public var passwordCount = 0
  /// Every user of the machine may read the password file.
  public var isPasswordFileOpenToOthers = false
  public var aclFile: [UInt8]?
  /// Rights are given, if only none: what they do not allow is refused.
  public var hasRules = false
  public var rules: [UserRule] = []
  /// Users with rules of their own.
  public var roleCount = 0
  public var unixUsers: [UnixUser] = []
  public var sizes = UserSizes()

  public init() {}
}

/// What a table of users may hold: at the start, and after a reload.
public struct UserSizes: BitwiseCopyable, Equatable, Sendable {
  /// Users of the password file.
  public var users = 0
  /// Bytes of a user's name.
  public var nameBytes = 0
  /// Users with rules of their own.
  public var roles = 0
  /// Users of this machine.
  public var unixUsers = 0
  /// CONNECTs whose password waits to be checked: of all, and of one address.
  public var logins = 0
  public var loginsPerAddress = 0
  public var access = AccessSizes.none

  public init() {}
}

/// What stands under `limits:` for users. 0: twice what the files have at the start, and 64 at least.
public struct UserLimits: BitwiseCopyable, Equatable, Sendable {
  public var usersMax = 0
  public var userNameBytesMax = 64
  public var aclRulesMax = 0
  public var aclLevelsMax = 0
  public var aclNameBytesMax = 0
  public var loginsMax = 16
  public var loginsPerAddressMax = 4

  public init() {}

  /// What a limit that the file does not name follows to.
  static func room(for count: Int, least: Int = 64) -> Int { max(least, 2 * count) }
}

extension UserSettings {
  /// A limit that is less than the files need.
  struct Lack {
    let name: StaticString
    let value: Int
    let needed: Int
    let reason: StaticString

    /// `limits: users is 3; expected at least 5: as many as the password file has`.
    var text: Text {
      var text = Text("limits: ")
      text.add(name)
      text.add(" is ")
      text.add(value)
      text.add("; expected at least ")
      text.add(needed)
      text.add(": ")
      text.add(reason)
      return text
    }
  }

  /// Fixes `sizes`, and answers which limits are less than the files need.
  mutating func fit(_ limits: UserLimits) -> [Lack] {
    var lacks: [Lack] = []
    func size(_ name: StaticString, _ limit: Int, _ count: Int, _ reason: StaticString, least: Int = 64) -> Int {
      if limit > 0, limit < count { lacks.append(Lack(name: name, value: limit, needed: count, reason: reason)) }
      return limit > 0 ? max(limit, count) : UserLimits.room(for: count, least: least)
    }
    let reason: StaticString = "as the rules have"
    sizes = UserSizes()
    sizes.nameBytes = limits.userNameBytesMax
    sizes.unixUsers = unixUsers.isEmpty ? 0 : UserLimits.room(for: unixUsers.count, least: 8)
    if passwordFile != nil {
      sizes.users = size("users", limits.usersMax, passwordCount, "as many as the password file has")
      sizes.logins = limits.loginsMax
      sizes.loginsPerAddress = min(limits.loginsPerAddressMax, limits.loginsMax)
    }
    sizes.access.userNameBytes = limits.userNameBytesMax
    guard hasRules else { return lacks }
    sizes.roles = min(UserRuleList.rolesMax, UserLimits.room(for: roleCount, least: 16))
    let need = AccessSizes(for: rules)
    sizes.access.rules = size("acl_rules", limits.aclRulesMax, need.rules, reason)
    sizes.access.levels = size("acl_levels", limits.aclLevelsMax, need.levels, reason, least: 256)
    sizes.access.nameBytes = size("acl_name_bytes", limits.aclNameBytesMax, need.nameBytes, reason, least: 1024)
    return lacks
  }
}

extension UserSettings {
  /// Fixes `sizes` as the rules want them, with no limit named.
  public mutating func fitToRules() { _ = fit(UserLimits()) }
}

extension AccessSizes {
  /// What these rules take at most.
  fileprivate init(for rules: [UserRule]) {
    self = .none
    for rule in rules {
      self.rules += 1
      levels += 1 + rule.filter.count { $0 == UInt8(ascii: "/") }
      nameBytes += rule.filter.count
    }
  }
}
