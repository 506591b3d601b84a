import Bounded
import MQTTWire
import Testing

@Suite struct TopicTests {
  @Test(arguments: [
    "a", "/", "//", "a/b", "/a", "a/", " ", "Accounts payable", "$SYS/x", "$share/x/y", "κ/λ", "12345678",
  ])
  func goodNames(_ name: String) {
    #expect(Topic.isValidName(lent(name)))
    #expect(Topic.isValidFilter(lent(name)))
  }

  @Test(arguments: [
    "", "+", "#", "a/+", "a/#", "a+b", "12345678#", "1234567+", "+2345678", "1234#678", "a\0b", "12345\08901",
  ])
  func badNames(_ name: String) {
    #expect(!Topic.isValidName(lent(name)))
  }

  /// §4.7.1.2, §4.7.1.3.
  @Test(arguments: [
    "#", "+", "/#", "/+", "+/+", "+/#", "+/tennis/#", "sport/+/player1", "sport/tennis/#", "$SYS/#", "+//+",
  ])
  func goodFilters(_ filter: String) {
    #expect(Topic.isValidFilter(lent(filter)))
  }

  @Test(arguments: [
    "", "a#", "sport/tennis#", "#/", "#/a", "sport/tennis/#/ranking", "##", "sport+", "+a", "a/+b/c", "++",
    "+#", "a\0",
  ])
  func badFilters(_ filter: String) {
    #expect(!Topic.isValidFilter(lent(filter)))
  }

  /// §4.7.3: 65 535 bytes at most.
  @Test func longestTopic() {
    let longest = [UInt8](repeating: 0x61, count: 65_535)
    #expect(Topic.isValidName(lent(longest)))
    #expect(Topic.isValidFilter(lent(longest)))
    #expect(!Topic.isValidName(lent(longest + [0x61])))
    #expect(!Topic.isValidFilter(lent(longest + [0x61])))
  }

  @Test func textThatIsNotUTF8() {
    #expect(!Topic.isValidName(lent([0x61, 0xFF])))
    #expect(!Topic.isValidFilter(lent([0x61, 0x2F, 0xC0, 0x80])))
  }

  struct Match: Sendable {
    let filter: String
    let name: String
    let matches: Bool

    init(_ filter: String, _ name: String, _ matches: Bool) {
      self.filter = filter
      self.name = name
      self.matches = matches
    }
  }

  static let matchTable = [
    // §4.7.1.2
    Match("sport/tennis/player1/#", "sport/tennis/player1", true),
    Match("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
    Match("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
    Match("sport/tennis/player1/#", "sport/tennis/player10", false),
    Match("sport/#", "sport", true), Match("sport/#", "sport/", true), Match("sport/#", "sports", false),
    Match("#", "a", true), Match("#", "/", true), Match("/#", "/", true), Match("/#", "a", false),
    // §4.7.1.3
    Match("sport/tennis/+", "sport/tennis/player1", true), Match("sport/tennis/+", "sport/tennis/p/ranking", false),
    Match("sport/+", "sport", false), Match("sport/+", "sport/", true),
    Match("+/+", "/finance", true), Match("/+", "/finance", true), Match("+", "/finance", false),
    Match("+", "a", true), Match("+/#", "a", true), Match("+/#", "a/b/c", true), Match("+/+", "a", false),
    Match("a/+/c", "a/b/c", true), Match("a/+/c", "a//c", true), Match("a/+/c", "a/b", false),
    Match("a/+/#", "a/b", true), Match("a/+/#", "a", false), Match("a/b", "a/b", true), Match("a/b", "a/b/", false),
    Match("a/b/", "a/b", false), Match("ACCOUNTS", "Accounts", false), Match("/a", "a", false),
    // §4.7.2
    Match("#", "$SYS/x", false), Match("+/monitor/Clients", "$SYS/monitor/Clients", false),
    Match("$SYS/#", "$SYS/", true), Match("$SYS/#", "$SYS", true),
    Match("$SYS/monitor/+", "$SYS/monitor/Clients", true),
    Match("+/$a", "x/$a", true), Match("x/#", "x/$a", true), Match("+", "$", false), Match("$", "$", true),
  ]

  @Test(arguments: matchTable) func matching(_ row: Match) {
    #expect(Topic.matches(filter: lent(row.filter), name: lent(row.name)) == row.matches)
  }

  /// Against the rule read level by level.
  @Test func matchingAgainstAModel() {
    func model(_ filter: [Substring], _ name: [Substring]) -> Bool {
      guard let first = filter.first else { return name.isEmpty }
      if first == "#" { return true }
      guard let level = name.first else { return false }
      return (first == "+" || first == level) && model(Array(filter.dropFirst()), Array(name.dropFirst()))
    }
    var random = SeededGenerator(seed: 471)
    let levels = ["", "a", "b", "ab", "$", "$a", "+", "#"]
    var matched = 0
    for _ in 0..<50_000 {
      let filter = (0...random.below(4)).map { _ in levels[random.below(8)] }.joined(separator: "/")
      let name = (0...random.below(4)).map { _ in levels[random.below(6)] }.joined(separator: "/")
      let isValid = withLent([UInt8](filter.utf8)) { Topic.isValidFilter($0) }
      #expect(isValid == (!filter.isEmpty && !filter.dropLast().contains("#")))
      guard isValid, !name.isEmpty else { continue }
      let expected =
        !(name.hasPrefix("$") && (filter.hasPrefix("+") || filter.hasPrefix("#")))
        && model(
          filter.split(separator: "/", omittingEmptySubsequences: false),
          name.split(separator: "/", omittingEmptySubsequences: false))
      let matches = withLent([UInt8](filter.utf8)) { filter in
        withLent([UInt8](name.utf8)) { Topic.matches(filter: filter, name: $0) }
      }
      if matches != expected { Issue.record("\(filter) \(name) \(matches)") }
      if matches { matched += 1 }
    }
    #expect(matched > 1_000)
  }

  /// A filter that was not judged, or no filter at all, must not stop the program.
  @Test func matchingAnythingNeverTraps() {
    var random = SeededGenerator(seed: 472)
    let alphabet = [UInt8]("/+#$a".utf8)
    for _ in 0..<50_000 {
      let filter = (0..<random.below(7)).map { _ in alphabet[random.below(5)] }
      let name = (0..<random.below(7)).map { _ in alphabet[random.below(5)] }
      withLent(filter) { filter in
        withLent(name) { name in
          _ = Topic.matches(filter: filter, name: name)
          _ = Topic.isValidFilter(filter)
          _ = SharedFilter(filter)
        }
      }
    }
  }

  @Test(arguments: [
    ("a//b", ["a", "", "b"]), ("/", ["", ""]), ("a", ["a"]), ("", [""]), ("a/", ["a", ""]),
    ("$SYS/#", ["$SYS", "#"]),
  ])
  func levels(_ topic: String, _ expected: [String]) {
    var reader = LevelReader(lent(topic))
    for level in expected { #expect(reader.next()?.array() == [UInt8](level.utf8)) }
    #expect(reader.next() == nil)
    #expect(reader.next() == nil)
    #expect(Topic.levelCount(lent(topic)) == expected.count)
  }

  @Test(arguments: [
    ("$SYS", true), ("$SYS/", true), ("$SYS/broker/uptime", true), ("$SYS1", false), ("$SYSTEM/a", false),
    ("$SY", false), ("$", false), ("", false), ("a/$SYS", false), ("$sys/a", false), ("SYS/a", false),
  ])
  func sys(_ topic: String, _ isSys: Bool) { #expect(Topic.isSys(lent(topic)) == isSys) }

  // MARK: Shared subscriptions (§4.8.2)

  @Test(arguments: [
    ("$share/consumer1/sport/tennis/+", "consumer1", "sport/tennis/+"), ("$share/g//finance", "g", "/finance"),
    ("$share/g/#", "g", "#"), ("$share/g//", "g", "/"), ("$share/κ/a", "κ", "a"), ("$share/$/a", "$", "a"),
  ]) func goodShares(_ text: String, _ group: String, _ filter: String) {
    let shared = SharedFilter(lent(text))
    #expect(shared?.group.array() == [UInt8](group.utf8))
    #expect(shared?.filter.array() == [UInt8](filter.utf8))
  }

  @Test(arguments: [
    "$share/", "$share//", "$share//a", "$share/g", "$share/g/", "$share/+/a", "$share/a#/b", "$share/g/a#",
    "$share/g/+a",
  ])
  func badShares(_ text: String) {
    #expect(SharedFilter.isShare(lent(text)))
    #expect(SharedFilter(lent(text)) == nil)
  }

  @Test(arguments: ["", "$share", "$shared/g/a", "/$share/g/a", "a", "$SHARE/g/a"]) func noShares(_ text: String) {
    #expect(!SharedFilter.isShare(lent(text)))
    #expect(SharedFilter(lent(text)) == nil)
  }
}
