import Bounded
public import MQTTBroker

/// One right as a file or `users: rules` names it.
public struct UserRule: Sendable, Equatable {
  public enum Subject: Sendable, Equatable {
    /// Clients without a user name.
    case anonymous
    case user([UInt8])
    /// All clients; `%u` and `%c` in the filter are the client's user name and identifier.
    case everybody
  }

  public var subject: Subject
  public var access: Access
  public var filter: [UInt8]

  public init(_ subject: Subject, _ access: Access, _ filter: [UInt8]) {
    self.subject = subject
    self.access = access
    self.filter = filter
  }
}

/// Rights as they are read: how many, and whether one more user may have some of their own.
struct UserRuleList {
  /// Roles are numbered from 1 to 255.
  static var rolesMax: Int { 255 }

  private(set) var rules: [UserRule] = []
  private(set) var roleNames: [[UInt8]] = []

  /// false: too many users have rights of their own.
  mutating func add(_ rule: UserRule) -> Bool {
    if case .user(let name) = rule.subject, !roleNames.contains(name) {
      guard roleNames.count < UserRuleList.rolesMax else { return false }
      roleNames.append(name)
    }
    rules.append(rule)
    return true
  }

  static var tooManyRoles: StaticString {
    "more than 255 users have rules of their own; expected rules for everybody, with %u for the user's name"
  }
}
