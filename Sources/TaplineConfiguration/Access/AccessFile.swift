import Bounded
import LinuxIO
import MQTTBroker
import MQTTWire
import Taps

/// An ACL file in mosquitto's format, which is read as mosquitto 2 reads it:
///
/// ```
/// # a comment: the first character of its line
/// topic [read|write|readwrite|deny] FILTER      before the first user: clients without a user name
/// user NAME                                     the topics that follow are this user's
/// topic ...
/// pattern [read|write|readwrite|deny] FILTER    all clients, wherever it stands; %u and %c
/// ```
///
/// Blanks at the end of a line count for nothing, nor do spaces before its first word. A FILTER may hold blanks when an
/// access stands before it, and a NAME always may. What mosquitto refuses is refused here, with all other errors of the file.
/// Refused besides are NUL, what is not UTF-8, and names that no client can have.
struct AccessFile {
  static var byteCountMax: Int { 1 << 20 }

  private let errors: ErrorList
  private let nameBytesMax: Int
  private var list = UserRuleList()
  private var subject = UserRule.Subject.anonymous
  private var isFull = false

  /// What is wrong goes to `errors`.
  static func read(_ bytes: [UInt8], nameBytesMax: Int, errors: ErrorList) -> UserRuleList {
    var file = AccessFile(errors: errors, nameBytesMax: nameBytesMax)
    bytes.lend { file.read($0) }
    return file.list
  }

  private init(errors: ErrorList, nameBytesMax: Int) {
    self.errors = errors
    self.nameBytesMax = nameBytesMax
  }

  private mutating func read(_ bytes: Bytes) {
    var start = 0
    var number = 1
    while start < bytes.count {
      let end = bytes.firstIndex(of: UInt8(ascii: "\n"), from: start) ?? bytes.count
      read(line: bytes[start..<end].trimmingEnd, number)
      start = end + 1
      number += 1
    }
  }

  private mutating func read(line: Bytes, _ number: Int) {
    guard !line.isEmpty, line[0] != UInt8(ascii: "#") else { return }
    if let nul = line.firstIndex(of: 0) { return complain(number, nul, Text("a NUL byte; expected text")) }
    guard UTF8Check.isValid(line) else { return complain(number, 0, Text("not UTF-8 text")) }
    var words = Words(line)
    guard let (keyword, at) = words.next() else { return }
    if keyword == Bytes("topic") {
      readRule(&words, subject, number, at)
    } else if keyword == Bytes("pattern") {
      readRule(&words, .everybody, number, at)
    } else if keyword == Bytes("user") {
      readUser(&words, number, at)
    } else {
      var text = Text("unknown word ")
      text.add(quoted: keyword.array())
      text.add("; expected user, topic or pattern")
      text.addSuggestion(for: keyword.array(), of: ["user", "topic", "pattern"])
      complain(number, at, text)
    }
  }

  private mutating func readUser(_ words: inout Words, _ number: Int, _ keywordAt: Int) {
    guard let (name, at) = words.rest() else {
      subject = .user([])
      return complain(number, keywordAt, Text("'user' without a name; expected 'user NAME'"))
    }
    subject = .user(name.array())
    guard name.count > nameBytesMax else { return }
    var text = Text("the user's name has ")
    text.add(name.count, of: "byte")
    text.add("; expected at most ")
    text.add(nameBytesMax)
    text.add("; see limits: user_name_bytes")
    complain(number, at, text)
  }

  private mutating func readRule(
    _ words: inout Words, _ subject: UserRule.Subject, _ number: Int, _ keywordAt: Int
  ) {
    guard let (first, firstAt) = words.next() else {
      return complain(
        number, keywordAt, Text("a filter is missing; expected such as 'topic read home/#' or 'topic home/#'"))
    }
    var access = Access.readWrite
    var (filter, at) = (first, firstAt)
    if let (rest, restAt) = words.rest() {
      guard let named = AccessFile.access(first) else {
        var text = Text()
        text.add(quoted: first.array())
        text.add(" is no access; expected read, write, readwrite or deny")
        text.addSuggestion(for: first.array(), of: AccessFile.accessWords)
        return complain(number, firstAt, text)
      }
      access = named
      (filter, at) = (rest, restAt)
    }
    guard Topic.isValidFilter(filter) else {
      return complain(number, at, AccessFile.complaint(aboutFilter: filter.array()))
    }
    guard !list.add(UserRule(subject, access, filter.array())), !isFull else { return }
    isFull = true  // told once
    complain(number, keywordAt, Text(UserRuleList.tooManyRoles))
  }

  static var accessWords: [StaticString] { ["read", "write", "readwrite", "deny"] }

  private static func access(_ word: Bytes) -> Access? {
    if word == Bytes("read") { return .read }
    if word == Bytes("write") { return .write }
    if word == Bytes("readwrite") { return .readWrite }
    return word == Bytes("deny") ? .deny : nil
  }

  static func complaint(aboutFilter filter: [UInt8]) -> Text {
    var text = Text()
    text.add(quoted: filter)
    text.add(" is no topic filter; expected 1 to 65535 bytes, '+' alone in its level and '#' alone in the last one")
    return text
  }

  private func complain(_ number: Int, _ index: Int, _ text: Text) {
    errors.add(Place(line: number, column: index + 1), text)
  }
}

/// The words of a line, as strtok(3) finds them: spaces alone divide them.
private struct Words {
  private let line: Bytes
  private var position = 0

  init(_ line: Bytes) { self.line = line }

  /// The next word and where it begins; nil when nothing but spaces is left.
  mutating func next() -> (word: Bytes, at: Int)? {
    while position < line.count, line[position] == UInt8(ascii: " ") { position += 1 }
    guard position < line.count else { return nil }
    let start = position
    position = line.firstIndex(of: UInt8(ascii: " "), from: start) ?? line.count
    return (line[start..<position], start)
  }

  /// All that is left, without the blanks before it; nil when there is nothing.
  mutating func rest() -> (words: Bytes, at: Int)? {
    while position < line.count, line[position].isBlank { position += 1 }
    return position < line.count ? (line.from(position), position) : nil
  }
}

extension UInt8 {
  /// As isspace(3) has it in the C locale.
  fileprivate var isBlank: Bool { self == 0x20 || self >= 0x09 && self <= 0x0D }
}

extension Bytes {
  /// Without the blanks at the end.
  fileprivate var trimmingEnd: Bytes {
    var end = count
    while end > 0, self[end - 1].isBlank { end -= 1 }
    return first(end)
  }
}

/// An ACL file on its own, for tests and tools.
public enum AccessFiles {
  /// The rules of a file, or everything that is wrong with it.
  public static func read(_ file: [UInt8], nameBytesMax: Int) -> Result<[UserRule], ConfigurationErrors> {
    let errors = ErrorList(file: [UInt8](ascii: "acl"))
    let rules = AccessFile.read(file, nameBytesMax: nameBytesMax, errors: errors).rules
    do throws(ConfigurationErrors) {
      try errors.check()
    } catch {
      return .failure(error)
    }
    return .success(rules)
  }
}
