public import LinuxIO

/// One thing that is wrong with a password file, and what mends it. Holds no byte of the file: a line that is not a user's
/// may be a password.
public struct PasswordFileError: Error, Equatable, BitwiseCopyable, Sendable {
  public enum Problem: Equatable, BitwiseCopyable, Sendable {
    // The file as a whole
    case absent
    case unreadable(LinuxError)
    case directory
    case notRegular
    case tooLarge(byteCountMax: Int)
    // One line
    case noColon
    case name(UserName.Problem)
    case duplicate(firstLine: Int)
    case tooManyUsers(max: Int)
    /// There is nothing behind the colon, or nothing behind the last `$`.
    case noHash
    case plainText
    case argon2
    case unknownScheme
    case wrongFields(PasswordScheme)
    /// Not a number from 1 on.
    case wrongIterations
    case tooManyIterations(max: Int)
    case saltNotBase64
    case saltTooLong
    case hashNotBase64
    case wrongHashLength
  }

  /// From 1; 0 where the file as a whole is meant.
  public let line: Int
  public let problem: Problem

  public init(line: Int, _ problem: Problem) {
    self.line = line
    self.problem = problem
  }

  /// `line 3: the user has no password hash; set one with tapline passwd`, without a line's end.
  public var text: Text {
    var text = Text()
    if line > 0 {
      text.add("line ")
      text.add(line)
      text.add(": ")
    }
    switch problem {
    case .absent: text.add("there is no such file; make it with tapline passwd -c")
    case .unreadable(let error):
      text.add("the file cannot be read: ")
      text.add(error.text)
    case .directory: text.add("this is a directory; expected a password file")
    case .notRegular: text.add("this is no regular file; expected a password file")
    case .tooLarge(let most): text.add("the file is larger than the limit of ", most, " bytes")
    case .noColon: text.add("there is no colon; expected USER:HASH, as tapline passwd writes it")
    case .name(let problem): text.add(UserName.text(problem))
    case .duplicate(let first): text.add("the user has a line already, line ", first, "; remove one of the two")
    case .tooManyUsers(let most):
      text.add("there are more users than the limit of ", most, "; remove some, or raise the limit")
    case .noHash: text.add("the user has no password hash; set a password with tapline passwd")
    case .plainText: text.add("the password is in plain text; replace it with tapline passwd")
    case .argon2:
      text.add("argon2 takes more memory than a board has; set the password with ")
      text.add("tapline passwd or mosquitto_passwd -H sha512-pbkdf2")
    case .unknownScheme:
      text.add("unknown hash scheme; set the password with tapline passwd or mosquitto_passwd -H sha512-pbkdf2")
    case .wrongFields(.pbkdf2): text.add("expected $7$ITERATIONS$SALT$HASH, as tapline passwd writes it")
    case .wrongFields(.saltedSHA512): text.add("expected $6$SALT$HASH, as mosquitto_passwd -H sha512 writes it")
    case .wrongIterations: text.add("the iterations are no number from 1 on; set the password with tapline passwd")
    case .tooManyIterations(let most):
      text.add("there are more iterations than the limit of ", most, "; set the password with tapline passwd -I ")
      text.add(min(most, 20_000))
    case .saltNotBase64: text.add("the salt is not base64; set the password with tapline passwd")
    case .saltTooLong: text.add("the salt is longer than 64 bytes; set the password with tapline passwd")
    case .hashNotBase64:
      text.add("the hash is not base64; $6$ and $7$ are mosquitto's schemes, not those of crypt; ")
      text.add("set the password with tapline passwd")
    case .wrongHashLength: text.add("the hash is not 64 bytes long; set the password with tapline passwd")
    }
    return text
  }
}

extension Text {
  fileprivate mutating func add(_ start: StaticString, _ number: Int, _ end: StaticString) {
    add(start)
    add(number)
    add(end)
  }
}
