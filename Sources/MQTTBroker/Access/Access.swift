public import Bounded

/// A role: which rules of its own a user has. 0: none but those for everybody.
public typealias Role = UInt8

/// What a rule allows or forbids.
public enum Access: UInt8, BitwiseCopyable, Sendable { case read, write, readWrite, deny }

/// Whom a rule is for.
public enum RuleSubject: BitwiseCopyable, Sendable {
  /// Clients without a user name.
  case anonymous
  /// 1...255.
  case role(Role)
  /// Every client. In the filter `%c` stands for its client identifier and `%u` for its user name.
  case everybody
}

/// How large an ACL may become. With zeros not a byte is reserved.
public struct AccessSizes: BitwiseCopyable, Equatable, Sendable {
  public var rules: Int
  /// Levels of all filters together; filters that begin alike share levels.
  public var levels: Int
  /// Bytes of all level names together.
  public var nameBytes: Int
  /// Bytes of one user name, 0...255. Each session keeps its user's name. 0: there are no users.
  public var userNameBytes: Int

  public init(rules: Int = 0, levels: Int = 0, nameBytes: Int = 0, userNameBytes: Int = 0) {
    self.rules = rules
    self.levels = levels
    self.nameBytes = nameBytes
    self.userNameBytes = userNameBytes
  }

  public static var none: AccessSizes { AccessSizes() }
}

/// Why a rule cannot be added.
public enum RuleProblem: Error, Equatable {
  public enum Room: UInt8, Sendable { case rules, levels, nameBytes }
  case noRoom(of: Room)
  /// It is no valid Topic Filter (§4.7).
  case badFilter
}

/// Whose a session is. The bytes are borrowed for the call.
public struct Identity: BitwiseCopyable {
  /// Empty: anonymous. All anonymous clients are one identity.
  public var userName: Bytes
  public var role: Role

  public init(userName: Bytes, role: Role) {
    self.userName = userName
    self.role = role
  }

  public static var anonymous: Identity { Identity(userName: .empty, role: 0) }
}

/// What rules go by, of a client: everything but its names.
struct Member: BitwiseCopyable {
  let role: Role
  let isAnonymous: Bool
  /// Its user is gone, and its session is about to end: it has no right at all.
  var isRevoked = false

  /// Anonymous clients have the bit of role 0. A user without a role has no bit.
  @inline(__always) var hasBit: Bool { role != 0 || isAnonymous }
}

/// A set of roles; its bit 0 are the anonymous clients.
struct RoleSet: BitwiseCopyable {
  private var words = InlineArray<4, UInt64>(repeating: 0)

  @inline(__always) func contains(_ role: Role) -> Bool { words[Int(role &>> 6)] &>> UInt64(role & 63) & 1 != 0 }
  mutating func insert(_ role: Role) { words[Int(role &>> 6)] |= 1 &<< UInt64(role & 63) }
}
