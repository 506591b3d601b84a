import Bounded
public import LinuxIO
public import TaplineConfiguration

/// `tapline passwd`: one user of a password file is added, changed or removed; the other lines stay as they are.
public struct PasswordTool {
  /// Rounds of PBKDF2 that a new password takes: 30 ms of a PC's processor, for the board and for whoever has stolen the
  /// file and guesses.
  public static var iterationsDefault: Int { 20_000 }
  /// mosquitto's own salts have this length.
  private static var saltBytes: Int { 12 }

  /// What went wrong, for people: holds no password and no hash.
  public struct Problem: Error {
    public let text: Text

    public init(text: Text) { self.text = text }
  }

  private let path: [UInt8]
  private let name: [UInt8]
  /// Nil when the file does not exist yet.
  private let status: FileStatus?
  private let content: [UInt8]

  /// Checks the file and the name, before anybody types a password.
  /// - Parameter creates: the file must not exist; otherwise it must.
  public init(path: [UInt8], name: [UInt8], creates: Bool) throws(Problem) {
    self.path = path
    self.name = name
    let problem = name.lend { UserName.problem($0, byteCountMax: UserName.byteCountMax) }
    if let problem { throw Problem(text: UserName.text(problem)) }
    // The new file would take the link's place, not that of the file behind it.
    guard !path.lend({ Files.isLink($0) }) else {
      throw PasswordTool.problem(path, "this is a symbolic link; name the file that it leads to")
    }
    do throws(PasswordFileError) {
      (content, status) = try PasswordTool.read(path)
    } catch {
      guard creates, error.problem == .absent else { throw PasswordTool.problem(path, error.text) }
      content = []
      status = nil
      return
    }
    guard !creates else {
      throw PasswordTool.problem(path, "the file is there already; without -c the user is added to it")
    }
    if let line = content.lend({ PasswordFile.foreignLine(in: $0) }) {
      var text = Text("line ")
      text.add(line)
      text.add(" is neither USER:HASH nor a comment; this is no password file, and stays as it is")
      throw PasswordTool.problem(path, text)
    }
  }

  /// One line that warns of the file's permissions; nil when they are right.
  public var warning: Text? {
    guard let status, status.isOpenToOthers else { return nil }
    var text = Text(path)
    text.add(": any user of this machine may read the file; chmod o= ends that\n")
    return text
  }

  /// Adds the user, or gives the user another password.
  public func set(_ password: Secret, iterations: Int) throws(Problem) {
    guard password.count > 0 else { throw Problem(text: Text("the password is empty")) }
    var salt = [UInt8](repeating: 0, count: PasswordTool.saltBytes)
    do throws(LinuxError) {
      try Process.fillRandom(&salt)
    } catch {
      throw PasswordTool.problem(Text("no random bytes").bytes, Text(error.text.array()))
    }
    let entry = salt.lend { PasswordEntry(password: password.bytes, salt: $0, iterations: UInt32(iterations)) }
    try write(name.lend { name in content.lend { PasswordFile.setting(name, to: entry, in: $0) } })
  }

  public func delete() throws(Problem) {
    guard let rest = name.lend({ name in content.lend { PasswordFile.removing(name, from: $0) } }) else {
      var text = Text("there is no user ")
      text.add(quoted: name)
      throw PasswordTool.problem(path, text)
    }
    try write(rest)
  }

  private func write(_ bytes: [UInt8]) throws(Problem) {
    do throws(LinuxError) {
      try path.lend { path throws(LinuxError) in
        try bytes.lend { bytes throws(LinuxError) in
          if let status {
            try Files.replace(path, with: bytes, keeping: status)
          } else {
            try Files.createPrivate(path, with: bytes)
          }
        }
      }
    } catch {
      var text = Text("the file cannot be written: ")
      text.add(error.text)
      throw PasswordTool.problem(path, text)
    }
  }

  private static func read(_ path: [UInt8]) throws(PasswordFileError) -> ([UInt8], FileStatus?) {
    var place = [UInt8](repeating: 0, count: PasswordFile.byteCountMax)
    let (byteCount, status) = try path.lend { path throws(PasswordFileError) in
      try place.withUnsafeMutableBufferPointer { place throws(PasswordFileError) in
        try PasswordFile.read(path, into: UnsafeMutableRawBufferPointer(place))
      }
    }
    place.removeLast(place.count - byteCount)
    return (place, status)
  }

  @inline(never) private static func problem(_ path: [UInt8], _ words: StaticString) -> Problem {
    problem(path, Text(words))
  }

  /// `FILE: what is wrong`.
  private static func problem(_ path: [UInt8], _ words: Text) -> Problem {
    var text = Text(path)
    text.add(": ")
    text.add(words)
    return Problem(text: text)
  }
}
