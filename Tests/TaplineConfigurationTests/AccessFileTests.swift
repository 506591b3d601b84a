import Bounded
import MQTTBroker
import MQTTWire
import Taps
import Testing

@testable import TaplineConfiguration

@Suite("ACL files are read as mosquitto reads them")
struct AccessFileTests {
  struct Row: Sendable, CustomTestStringConvertible {
    let file: String
    let rules: [String]
    let errors: [String]

    init(_ file: String, rules: [String] = [], errors: [String] = []) {
      self.file = file
      self.rules = rules
      self.errors = errors
    }
    var testDescription: String { file.debugDescription }
  }

  /// A rule as `who access filter`.
  static func words(_ rule: UserRule) -> String {
    let who =
      switch rule.subject {
      case .anonymous: "-"
      case .everybody: "*"
      case .user(let name): string(name)
      }
    return "\(who) \(rule.access) \(string(rule.filter))"
  }

  static func read(_ bytes: [UInt8], nameBytesMax: Int = 64) -> (rules: [String], errors: [String]) {
    let errors = ErrorList(file: [UInt8]("acl".utf8))
    let rules = AccessFile.read(bytes, nameBytesMax: nameBytesMax, errors: errors).rules.map(words)
    do throws(ConfigurationErrors) {
      try errors.check()
      return (rules, [])
    } catch {
      return (rules, lines(of: error))
    }
  }

  static let rows = [
    Row(""),
    Row("\n\n  \n\t\n"),
    Row("# a comment\n#topic x\n"),
    Row("topic a/b\n", rules: ["- readWrite a/b"]),
    Row("topic a/b", rules: ["- readWrite a/b"]),  // no last newline
    Row("topic a/b\r\ntopic read c\r\n", rules: ["- readWrite a/b", "- read c"]),
    Row(
      "topic read a\ntopic write b\ntopic readwrite c\ntopic deny d\n",
      rules: [
        "- read a", "- write b", "- readWrite c", "- deny d",
      ]),
    Row("   topic    read    a  \n", rules: ["- read a"]),
    Row("topic read a b  c \t\n", rules: ["- read a b  c"]),
    Row("topic read \t a\n", rules: ["- read a"]),
    Row("topic a\t\n", rules: ["- readWrite a"]),
    Row("topic read\n", rules: ["- readWrite read"]),  // as mosquitto: one word is the filter
    Row(
      "topic #\ntopic +/x/#\ntopic $SYS/#\ntopic /\n",
      rules: [
        "- readWrite #", "- readWrite +/x/#", "- readWrite $SYS/#", "- readWrite /",
      ]),
    Row(
      "user ha\ntopic a\nuser a b  c  \ntopic read b\nuser ha\ntopic c\n",
      rules: [
        "ha readWrite a", "a b  c read b", "ha readWrite c",
      ]),
    Row("user  \t x\ntopic a\n", rules: ["x readWrite a"]),
    Row("user topic\ntopic user\n", rules: ["topic readWrite user"]),
    Row("user ü\ntopic read ä/ö\n", rules: ["ü read ä/ö"]),
    Row(
      "user ha\npattern write %u/x/%c\npattern read a b\ntopic t",
      rules: [
        "* write %u/x/%c", "* read a b", "ha readWrite t",
      ]),
    Row(
      "topics a\n",
      errors: [
        "acl:1:1: unknown word 'topics'; expected user, topic or pattern; did you mean 'topic'?"
      ]),
    Row(" # no comment\n", errors: ["acl:1:2: unknown word '#'; expected user, topic or pattern"]),
    Row("topic\tread\ta\n", errors: ["acl:1:1: unknown word 'topic?read?a'; expected user, topic or pattern"]),
    Row(
      "Topic a\n",
      errors: [
        "acl:1:1: unknown word 'Topic'; expected user, topic or pattern; did you mean 'topic'?"
      ]),
    Row(
      "topic\n",
      errors: [
        "acl:1:1: a filter is missing; expected such as 'topic read home/#' or 'topic home/#'"
      ]),
    Row(
      "\npattern  \n",
      errors: [
        "acl:2:1: a filter is missing; expected such as 'topic read home/#' or 'topic home/#'"
      ]),
    Row("user\ntopic a\n", rules: [" readWrite a"], errors: ["acl:1:1: 'user' without a name; expected 'user NAME'"]),
    Row(
      "topic raed a\n",
      errors: [
        "acl:1:7: 'raed' is no access; expected read, write, readwrite or deny; did you mean 'read'?"
      ]),
    Row("topic a b\n", errors: ["acl:1:7: 'a' is no access; expected read, write, readwrite or deny"]),
    Row(
      "topic a/#/b\ntopic read a+\ntopic x#\n",
      errors: [
        "acl:1:7: 'a/#/b' is no topic filter; expected 1 to 65535 bytes, '+' alone in its level and '#' alone in the last one",
        "acl:2:12: 'a+' is no topic filter; expected 1 to 65535 bytes, '+' alone in its level and '#' alone in the last one",
        "acl:3:7: 'x#' is no topic filter; expected 1 to 65535 bytes, '+' alone in its level and '#' alone in the last one",
      ]),
    Row(
      "topic a\ntopic b\0c\ntopic d\n", rules: ["- readWrite a", "- readWrite d"],
      errors: [
        "acl:2:8: a NUL byte; expected text"
      ]),
    Row("user \(String(repeating: "x", count: 64))\n"),
    Row(
      "user \(String(repeating: "x", count: 65))\n",
      errors: [
        "acl:1:6: the user's name has 65 bytes; expected at most 64; see limits: user_name_bytes"
      ]),
    Row(
      "topic \(String(repeating: "x", count: 65_535))\n",
      rules: [
        "- readWrite \(String(repeating: "x", count: 65_535))"
      ]),
    Row(
      "topic \(String(repeating: "x", count: 65_536))\n",
      errors: [
        "acl:1:7: '\(String(repeating: "x", count: 64))...' is no topic filter; "
          + "expected 1 to 65535 bytes, '+' alone in its level and '#' alone in the last one"
      ]),
  ]

  @Test(arguments: rows) func isRead(_ row: Row) {
    let (rules, errors) = Self.read([UInt8](row.file.utf8))
    #expect(rules == row.rules)
    #expect(errors == row.errors)
  }

  @Test func whatIsNotUTF8IsTold() {
    #expect(Self.read([UInt8]("topic a\ntopic ".utf8) + [0xC3, 0x28, 10]).errors == ["acl:2:1: not UTF-8 text"])
  }

  @Test func only255UsersHaveRoles() {
    func file(_ count: Int) -> [UInt8] { [UInt8]((0..<count).map { "user u\($0)\ntopic a\n" }.joined().utf8) }
    #expect(Self.read(file(255)).errors == [])
    #expect(
      Self.read(file(257)).errors == [
        "acl:512:1: more than 255 users have rules of their own; expected rules for everybody, with %u for the user's name"
      ])
  }

  /// What a file says, in the words of strtok(3) and isspace(3), by another way than the reader's.
  static func model(_ file: String) -> (rules: [String], wrongLines: [Int]) {
    var rules: [String] = []
    var wrong: [Int] = []
    var who = "-"
    for (index, line) in file.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      var rest = Substring(line)
      while let last = rest.unicodeScalars.last, " \t\u{B}\u{C}\r".unicodeScalars.contains(last) {
        rest.unicodeScalars.removeLast()
      }
      if rest.isEmpty || rest.hasPrefix("#") { continue }
      let words = rest.split(separator: " ", maxSplits: 1).map(String.init)
      let keyword = words[0]
      let arguments = words.count > 1 ? words[1].drop { $0 == " " } : ""
      func trimmed(_ text: Substring) -> String { String(text.drop { " \t\u{B}\u{C}\r".contains($0) }) }
      guard ["user", "topic", "pattern"].contains(keyword), !arguments.isEmpty else {
        if keyword == "user" { who = "" }
        wrong.append(index + 1)
        continue
      }
      if keyword == "user" {
        who = trimmed(arguments)
        continue
      }
      var filter = String(arguments)
      var access = "readWrite"
      if let space = arguments.firstIndex(of: " ") {
        let names = ["read": "read", "write": "write", "readwrite": "readWrite", "deny": "deny"]
        guard let named = names[String(arguments[..<space])] else {
          wrong.append(index + 1)
          continue
        }
        access = named
        filter = trimmed(arguments[space...])
      }
      let levels = filter.split(separator: "/", omittingEmptySubsequences: false)
      let isFilter = levels.enumerated().allSatisfy { place, level in
        level == "+" || level == "#" && place == levels.count - 1 || !level.contains("+") && !level.contains("#")
      }
      guard isFilter else {
        wrong.append(index + 1)
        continue
      }
      rules.append("\(keyword == "pattern" ? "*" : who) \(access) \(filter)")
    }
    return (rules, wrong)
  }

  @Test(arguments: 0..<20) func seededFilesAreReadAsTheModelDoes(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let pieces = [
      "topic", "topic ", "pattern ", "user ", "read ", "write ", "readwrite ", "deny ", "a", "b/c", "/", "+", "#", "%u",
      " ", "  ", "\t", "\n", "\n", "\n", "# ", "x y", "user",
    ]
    for _ in 0..<500 {
      var file = ""
      for _ in 0..<random.below(30) { file += pieces[random.below(pieces.count)] }
      let (rules, errors) = Self.read([UInt8](file.utf8), nameBytesMax: 4096)
      let model = Self.model(file)
      #expect(rules == model.rules, "\(file.debugDescription)")
      let lines = errors.filter { !$0.contains("more error") }.map { Int($0.split(separator: ":")[1])! }
      #expect(lines == Array(model.wrongLines.prefix(20)), "\(file.debugDescription)")
    }
  }

  @Test(arguments: 0..<4) func changedBytesAreToldOrRead(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let file = [UInt8](
      "# house\ntopic read status\nuser home assistant\ntopic readwrite home/#\r\npattern write %u/%c/x y\n".utf8)
    for _ in 0..<2000 {
      var changed = file
      for _ in 0...random.below(3) { changed[random.below(changed.count)] = random.byte() }
      if random.oneIn(3) { changed.removeLast(random.below(changed.count)) }
      let (rules, errors) = Self.read(changed)
      let lineCount = changed.count { $0 == 10 } + 1
      #expect(rules.count <= lineCount && errors.count <= lineCount)
      // A rule is a valid filter, whatever the file was.
      let list = ErrorList(file: [])
      for rule in AccessFile.read(changed, nameBytesMax: 64, errors: list).rules {
        #expect(rule.filter.lend { Topic.isValidFilter($0) })
      }
    }
  }
}
