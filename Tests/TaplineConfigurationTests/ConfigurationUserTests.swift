import Bounded
import Foundation
import MQTTBroker
import Taps
import Testing

@testable import TaplineConfiguration

@Suite("`users`: who may connect and who may do what")
struct ConfigurationUserTests {
  /// A folder with files, removed with it.
  final class Folder {
    let url: URL

    init(_ files: [String: String]) throws {
      url = FileManager.default.temporaryDirectory.appendingPathComponent("tapline-\(UUID().uuidString)")
      try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
      for (name, text) in files { try Data(text.utf8).write(to: url.appendingPathComponent(name)) }
    }

    deinit { try? FileManager.default.removeItem(at: url) }
    func path(_ name: String) -> String { url.appendingPathComponent(name).path }
  }

  static func line(_ name: String, _ password: String) -> String {
    let entry = withLent([UInt8](password.utf8)) { PasswordEntry(password: $0, salt: Bytes("salt"), iterations: 101) }
    var text = Text([UInt8]("\(name):".utf8))
    entry.write(into: &text)
    return string(text.bytes) + "\n"
  }

  static func withLent<Answer>(_ bytes: [UInt8], _ body: (Bytes) -> Answer) -> Answer {
    bytes.withUnsafeBytes { body(Bytes($0)) }
  }

  @Test func withoutUsersNothingIsReserved() throws {
    #expect(try readConfiguration("").users == nil)
    #expect(try readConfiguration("listeners: [{unix: /s}]").listeners[0].isAnonymousAllowed)
  }

  @Test func filesAreRead() throws {
    let folder = try Folder([
      "passwd": Self.line("ha", "secret") + "# nobody\n" + Self.line("pump", "x"),
      "acl": "topic read status\nuser ha\ntopic home/#\npattern write %u/#\n",
    ])
    let configuration = try readConfiguration(
      "users: {password_file: \(folder.path("passwd")), acl_file: \(folder.path("acl")), unix: {0: admin, root2: x}}"
        .replacing(", root2: x", with: ""))
    let users = try #require(configuration.users)
    #expect(users.passwordCount == 2 && users.hasRules && users.roleCount == 1)
    #expect(users.rules.map(AccessFileTests.words) == ["- read status", "ha readWrite home/#", "* write %u/#"])
    #expect(users.unixUsers == [UnixUser(uid: 0, name: [UInt8]("admin".utf8))])
    #expect(!configuration.listeners[0].isAnonymousAllowed)
    #expect(users.sizes.users == 64 && users.sizes.nameBytes == 64 && users.sizes.logins == 16)
    #expect(users.sizes.access == AccessSizes(rules: 64, levels: 256, nameBytes: 1024, userNameBytes: 64))
  }

  @Test func limitsFollowFromTheFiles() throws {
    let folder = try Folder([
      "passwd": (0..<40).map { Self.line("u\($0)", "x") }.joined(),
      "acl": (0..<100).map { "topic a/b/\($0)\n" }.joined(),
    ])
    let users = "users: {password_file: \(folder.path("passwd")), acl_file: \(folder.path("acl"))}"
    let sizes = try #require(try readConfiguration(users).users).sizes
    #expect(sizes.users == 80)
    #expect(sizes.access == AccessSizes(rules: 200, levels: 600, nameBytes: 1180 + 0, userNameBytes: 64))
    let named = try readConfiguration(
      "\(users)\nlimits: {users: 40, user_name_bytes: 8, acl_rules: 100, logins: 3, logins_per_address: 9}")
    #expect(named.users?.sizes.users == 40 && named.users?.sizes.nameBytes == 8)
    #expect(named.users?.sizes.logins == 3 && named.users?.sizes.loginsPerAddress == 3)
    #expect(named.users?.sizes.access.rules == 100)
    #expect(
      errorLines([UInt8]("\(users)\nlimits: {users: 39, acl_rules: 99, acl_levels: 299}".utf8)) == [
        "t.yaml:2:17: limits: users is 39; expected at least 40: as many as the password file has",
        "t.yaml:2:32: limits: acl_rules is 99; expected at least 100: as the rules have",
        "t.yaml:2:48: limits: acl_levels is 299; expected at least 300: as the rules have",
      ])
  }

  @Test func rulesInTheFileItself() throws {
    let configuration = try readConfiguration(
      """
      users:
        unix: {0: admin}
        rules:
          - {user: admin, readwrite: '#', deny: [a/b, c]}
          - {anonymous: true, read: status}
          - {everybody: true, write: '%u/%c'}
      """)
    #expect(
      configuration.users?.rules.map(AccessFileTests.words) == [
        "admin readWrite #", "admin deny a/b", "admin deny c", "- read status", "* write %u/%c",
      ])
    #expect(configuration.listeners[0].isAnonymousAllowed)  // no password file
    // No rule is a rule: nothing is allowed.
    #expect(try readConfiguration("users: {unix: {0: admin}, rules: []}").users?.hasRules == true)
    #expect(try readConfiguration("users: {unix: {0: admin}}").users?.hasRules == false)
  }

  @Test func aUserOfThisMachineMayBeNamed() throws {
    #expect(try readConfiguration("users: {unix: {root: admin}}").users?.unixUsers.map(\.uid) == [0])
    let file = [UInt8]("a:x:7:7::/:\nab:x:8:8\nbad\nc:x:\nd:x:99999999999:1\n".utf8)
    let found = ["a", "ab", "b", "bad", "c", "d", ""].map { UserFiles.uid(ofUserNamed: [UInt8]($0.utf8), in: file) }
    #expect(found == [7, 8, nil, nil, nil, nil, nil])
  }

  /// With a password file nobody is anonymous unless a listener says so.
  @Test func listenersFollowThePasswordFile() throws {
    let folder = try Folder(["passwd": Self.line("ha", "x")])
    let listeners = """
      listeners:
        - {address: 127.0.0.1}
        - {address: 0.0.0.0, port: 1}
        - {unix: /s}
        - {serial: /dev/x}
        - {unix: /t, anonymous: true}
        - {unix: /u, anonymous: false}
      """
    let users = "users: {password_file: \(folder.path("passwd"))}\n"
    #expect(
      try readConfiguration(users + listeners).listeners.map(\.isAnonymousAllowed)
        == [false, false, false, false, true, false])
    #expect(
      errorLines([UInt8](listeners.utf8)) == [
        "t.yaml:3:15: a listener on 0.0.0.0 lets everyone on the network in; expected 'users: {password_file: FILE}' in "
          + "the file, 'anonymous: true' beside it if that is wanted, or address 127.0.0.1",
        "t.yaml:7:27: 'anonymous: false' would let nobody in; expected 'users: {password_file: FILE}' in the file, or no "
          + "such listener",
      ])
    // Users of this machine are known on unix sockets only.
    let unix = try readConfiguration("users: {unix: {0: a}}\nlisteners: [{unix: /u, anonymous: false}, {unix: /v}]")
    #expect(unix.listeners.map(\.isAnonymousAllowed) == [false, true])
    #expect(
      errorLines([UInt8]("users: {unix: {0: a}}\nlisteners: [{address: 127.0.0.1, anonymous: no}]".utf8)).count == 1)
  }

  /// Errors of all files come together.
  @Test func errorsOfAllFilesAreTold() throws {
    let folder = try Folder(["passwd": "ha:secret\n" + Self.line("b", "x") + "c:\n", "acl": "topic a\nuser\ntoipc b\n"])
    let lines = errorLines(
      [UInt8](
        """
        users: {password_file: \(folder.path("passwd")), acl_file: \(folder.path("acl"))}
        log: {level: loud}
        """.utf8))
    #expect(lines.count == 5)
    #expect(lines[0].hasPrefix("t.yaml:2:14: 'level' is 'loud'"))
    #expect(lines[1].hasPrefix("\(folder.path("passwd")):1:1: the password is in plain text"))
    #expect(lines[2].hasPrefix("\(folder.path("passwd")):3:1: the user has no password hash"))
    #expect(lines[3].hasPrefix("\(folder.path("acl")):2:1: 'user' without a name"))
    #expect(lines[4].hasPrefix("\(folder.path("acl")):3:1: unknown word 'toipc'"))
    #expect(!lines.joined().contains("secret"))
  }

  @Test func filesThatCannotBeReadAreTold() throws {
    let folder = try Folder([:])
    let fifo = folder.path("fifo")
    #expect(mkfifo(fifo, 0o600) == 0)
    for (path, told) in [
      (folder.path("none"), "is not there; expected a file, which 'tapline passwd' or an editor makes"),
      (folder.url.path, "is a directory; expected a file"), (fifo, "is no regular file; expected a file"),
      ("/dev/null", "is no regular file; expected a file"),
    ] {
      for (key, column) in [("password_file", 24), ("acl_file", 19)] {
        let lines = errorLines([UInt8]("users: {\(key): \(path)}".utf8))
        #expect(lines.count == 1 && lines[0].hasPrefix("t.yaml:1:\(column): '") && lines[0].hasSuffix(told), "\(lines)")
      }
    }
  }

  static let wrong = [
    WrongCase(
      "users:", "t.yaml:1:1: 'users' is empty; expected a 'password_file', or users of this machine under 'unix'"),
    WrongCase(
      "users: {password_file: passwd}", "t.yaml:1:24: 'password_file' is 'passwd'; expected a path that begins with /"),
    WrongCase(
      "users: {pasword_file: /x}",
      "t.yaml:1:1: 'users' is empty; expected a 'password_file', or users of this machine under 'unix'",
      "t.yaml:1:9: unknown key 'pasword_file' in 'users'; expected password_file, acl_file, rules or unix; did you mean "
        + "'password_file'?"),
    WrongCase(
      "users: {unix: {nobody-of-this-name: x}}",
      "t.yaml:1:16: 'nobody-of-this-name' is no user of this machine; expected a name of /etc/passwd, or a number"),
    WrongCase(
      "users: {unix: {4294967295: x, -1: y, 4294967296: z}}",
      "t.yaml:1:16: '4294967295' is no user of this machine; expected a name of /etc/passwd, or a number",
      "t.yaml:1:31: '-1' is no user of this machine; expected a name of /etc/passwd, or a number",
      "t.yaml:1:38: '4294967296' is no user of this machine; expected a name of /etc/passwd, or a number"),
    WrongCase(
      "users: {unix: {0: a, root: b}}", "t.yaml:1:22: 'root' is named twice; expected one name for the user 0"),
    WrongCase("users: {unix: {0: ''}}", "t.yaml:1:19: expected a user's name of 1 to 64 bytes"),
    WrongCase(
      "users: {unix: {0: a}, rules: [{read: a}]}",
      "t.yaml:1:31: a rule is for one; expected 'user: NAME', 'anonymous: true' or 'everybody: true'"),
    WrongCase(
      "users: {unix: {0: a}, rules: [{user: a, anonymous: true, read: a}]}",
      "t.yaml:1:31: a rule is for one; expected 'user: NAME', 'anonymous: true' or 'everybody: true'"),
    WrongCase(
      "users: {unix: {0: a}, rules: [{everybody: no, read: a}]}",
      "t.yaml:1:43: 'everybody' is 'no'; expected true: a rule without it is another's"),
    WrongCase(
      "users: {unix: {0: a}, rules: [{user: a}]}",
      "t.yaml:1:31: a rule without an access; expected read, write, readwrite or deny, and topic filters"),
    WrongCase(
      "users: {unix: {0: a}, rules: [{user: a, read: [a/#/b, {}]}]}",
      "t.yaml:1:48: 'a/#/b' is no topic filter; expected 1 to 65535 bytes, '+' alone in its level and '#' alone in the last "
        + "one",
      "t.yaml:1:55: expected a topic filter such as 'home/#', or a list of them"),
    WrongCase(
      "users: {acl_file: /nonexistent/acl, rules: []}",
      "t.yaml:1:19: '/nonexistent/acl' is not there; expected a file, which 'tapline passwd' or an editor makes",
      "t.yaml:1:44: 'rules' beside 'acl_file'; expected one of the two"),
  ]

  @Test(arguments: wrong) func wrongOnesAreTold(wrong: WrongCase) {
    #expect(errorLines([UInt8](wrong.yaml.utf8)) == wrong.errors)
  }

  /// What a reload compares.
  @Test func changesAreFoundByKey() throws {
    let first = try readConfiguration("log: {level: info}\nlisteners: [{unix: /s}]  # here\n")
    func changed(_ yaml: String) throws -> [String] {
      try readConfiguration(yaml).changedKeys(from: first).map { string($0) }
    }
    #expect(try changed("# moved\nlisteners:\n  - unix: '/s'\nlog:\n  level: info\n") == [])
    #expect(try changed("log: {level: debug}\nlisteners: [{unix: /s}]") == ["log"])
    #expect(
      try changed("log: {level: info}\nlisteners: [{unix: /s, mode: 600}]\ntaps: {base: b}") == ["listeners", "taps"])
    #expect(try changed("log: {level: info}") == ["listeners"])
    #expect(try changed("") == ["log", "listeners"])
  }
}
