import Bounded
import MQTTWire
import Testing

@testable import MQTTBroker

/// Rules as they are compiled, without a broker.
@Suite struct AccessRulesTests {
  /// Sessions of given names, and rules.
  private final class Room {
    var sessions: SessionStore
    var rights: Rights
    private let spare: RulesRoom
    private let region: UnsafeMutableRawBufferPointer
    let roles: [String: Role]

    init(_ sizes: AccessSizes = .forTests, roles: [String: Role] = ["ann": 1, "bob": 255]) {
      let limits = Limits.forTests
      let keys = BrokerKeys(repeatable: 1)
      var plan = Reservation.counting()
      _ = SessionStore(limits: limits, keys: keys, userNameBytes: sizes.userNameBytes, in: &plan)
      _ = Rights(limits: limits, sizes: sizes, in: &plan)
      region = .zeroed(plan.byteCount)
      var reservation = Reservation(region: region)
      sessions = SessionStore(limits: limits, keys: keys, userNameBytes: sizes.userNameBytes, in: &reservation)
      rights = Rights(limits: limits, sizes: sizes, in: &reservation)
      spare = RulesRoom(sizes)
      self.roles = roles
    }

    deinit { region.deallocate() }

    func use(_ rules: TestRules) throws(RuleProblem) {
      try rules.fill(&spare.rules, roles: roles)
      rights.replace(&spare.rules)
    }

    func session(_ clientID: String, user: String) -> Handle<Session> {
      let session = withBytes([UInt8](clientID.utf8)) { sessions.begin($0, version: .v5) }!
      withBytes([UInt8](user.utf8)) {
        sessions.setIdentity(session, Identity(userName: $0, role: roles[user] ?? 0))
      }
      return session
    }

    func may(_ isWriting: Bool, _ session: Handle<Session>, _ topic: String) -> Bool {
      withBytes([UInt8](topic.utf8)) { rights.match($0) }
      return isWriting ? rights.mayWrite(session, sessions) : rights.mayRead(session, sessions)
    }

    func maySubscribe(_ session: Handle<Session>, _ filter: String) -> Bool {
      withBytes([UInt8](filter.utf8)) { rights.maySubscribe(session, to: $0, sessions) }
    }
  }

  // MARK: One rule

  struct Row {
    let filter: String
    let matching: [String]
    let others: [String]
  }

  static let rows = [
    Row(filter: "a/b", matching: ["a/b"], others: ["a", "a/b/c", "a/", "b", "a/B", "/a/b"]),
    Row(filter: "a/+", matching: ["a/b", "a/"], others: ["a", "a/b/c", "b/a"]),
    Row(filter: "a/#", matching: ["a", "a/", "a/b", "a/b/c"], others: ["ab", "b", "$SYS/a"]),
    Row(filter: "#", matching: ["a", "/", "a/b/c"], others: ["$SYS", "$SYS/a", "$x"]),
    Row(filter: "+", matching: ["a"], others: ["$SYS", "a/b", "/"]),
    Row(filter: "+/#", matching: ["a", "a/b"], others: ["$SYS/a", "$SYS"]),
    Row(filter: "+/b", matching: ["a/b", "/b"], others: ["$a/b", "b"]),
    Row(filter: "$SYS/#", matching: ["$SYS", "$SYS/a/b"], others: ["SYS/a", "a", "$SYSx"]),
    Row(filter: "$SYS/+/c", matching: ["$SYS/b/c"], others: ["$SYS/b", "a/b/c"]),
    Row(filter: "/", matching: ["/"], others: ["a", "//", "/a"]),
    Row(filter: "%c/x", matching: ["%c/x"], others: ["one/x"]),  // a plain rule has no patterns
  ]

  @Test func aRuleCoversItsTopicsAndNoOthers() throws {
    for row in AccessRulesTests.rows {
      for access in [Access.read, .write, .readWrite, .deny] {
        let room = Room()
        let ann = room.session("one", user: "ann")
        let bob = room.session("two", user: "bob")
        let nobody = room.session("three", user: "")
        var rules = [TestRule(subject: .user("ann"), access: access, filter: row.filter)]
        if access == .deny {  // what is not denied is allowed
          for filter in ["#", "$SYS/#", "$x", "$a/#", "$SYSx"] {
            rules.append(TestRule(subject: .user("ann"), access: .readWrite, filter: filter))
          }
        }
        try room.use(TestRules(rules))
        for (topics, isMatch) in [(row.matching, true), (row.others, false)] {
          for topic in topics {
            let mayRead = access == .deny ? !isMatch : isMatch && access != .write
            let mayWrite = access == .deny ? !isMatch : isMatch && access != .read
            #expect(room.may(false, ann, topic) == mayRead, "read \(topic) by \(access) \(row.filter)")
            #expect(room.may(true, ann, topic) == mayWrite, "write \(topic) by \(access) \(row.filter)")
            for other in [bob, nobody] {
              #expect(!room.may(false, other, topic) && !room.may(true, other, topic), "\(topic)")
            }
          }
        }
      }
    }
  }

  // MARK: Order (29)

  /// Whatever the order, a denial beats what others allow; anonymous clients have the rules before any user.
  @Test func theOrderOfRulesMeansNothing() throws {
    let lines: [TestRule] = [
      TestRule(subject: .user("ann"), access: .readWrite, filter: "a/#"),
      TestRule(subject: .user("ann"), access: .deny, filter: "a/secret/#"),
      TestRule(subject: .user("ann"), access: .read, filter: "a/secret/open"),
      TestRule(subject: .everybody, access: .deny, filter: "a/%c/off"),
    ]
    for first in lines.indices {
      for second in lines.indices where second != first {
        for third in lines.indices where third != first && third != second {
          let fourth = 6 - first - second - third
          let room = Room()
          let ann = room.session("one", user: "ann")
          try room.use(TestRules([first, second, third, fourth].map { lines[$0] }))
          #expect(room.may(false, ann, "a/b"))
          #expect(room.may(true, ann, "a/two/off"))
          for topic in ["a/secret", "a/secret/open", "a/secret/x", "a/one/off", "b"] {
            #expect(!room.may(false, ann, topic), "\(topic)")
          }
        }
      }
    }
  }

  // MARK: Patterns (28)

  /// A value is the text of one level: it is never a wildcard, never brings a level along, and is not looked at for `%`.
  @Test(arguments: [
    "one", "a+b", "+", "#", "a/b", "a#", "%u", "%c", "x\0y", "$SYS", "", "ä", String(repeating: "x", count: 60),
  ])
  func aPatternIsLiteral(value: String) throws {
    let isPlain = !value.isEmpty && !value.contains { "+#/\0".contains($0) }
    let topics = [
      "in/\(value)/out", "in/other/out", "in/a/b/out", "in/one/out", "$SYS/out", "\(value)/out", "other/out",
    ]
    for pattern in ["in/%c/out", "in/%u/out", "%c/out", "%u/out"] {
      for access in [Access.readWrite, .deny] {
        let isUser = pattern.contains("%u")
        let sizes = AccessSizes(rules: 8, levels: 32, nameBytes: 256, userNameBytes: 255)
        let room = Room(sizes)
        let session = room.session(isUser || value.isEmpty ? "id" : value, user: isUser ? value : "ann")
        var rules = [TestRule(subject: .everybody, access: access, filter: pattern)]
        if access == .deny {
          rules += ["#", "$SYS/#"].map { TestRule(subject: .everybody, access: .readWrite, filter: $0) }
        }
        try room.use(TestRules(rules))
        for topic in topics where !topic.isEmpty && !topic.contains(where: { "+#\0".contains($0) }) {
          let mine = isUser ? value : value.isEmpty ? "id" : value
          let filled = pattern.replacing("%c", with: mine).replacing("%u", with: mine)
          var isMatch = (isPlain || !isUser && value.isEmpty) && topic == filled
          if topic.hasPrefix("$") { isMatch = false }
          #expect(
            room.may(true, session, topic) == (isMatch == (access == .readWrite)), "\(pattern) \(access) \(topic)")
        }
      }
    }
  }

  @Test func aPatternMayHaveBothNamesInOneLevel() throws {
    let room = Room()
    let session = room.session("c1", user: "ann")
    try room.use(TestRules("pattern write x-%u.%c-y/+/%%u%c"))
    #expect(room.may(true, session, "x-ann.c1-y/z/%annc1"))
    for topic in [
      "x-ann.c1-y/z/annc1", "x-ann.c2-y/z/%annc1", "x-bob.c1-y/z/%annc1", "x-ann.c1-y/z", "x-ann.c1-yy/z/%annc1",
    ] {
      #expect(!room.may(true, session, topic), "\(topic)")
    }
    #expect(!room.may(true, room.session("c1x", user: ""), "x-.c1x-y/z/%c1x"))  // no user name, no %u
  }

  // MARK: The model

  /// Random rules, topics and clients: what is compiled says what the plain model says.
  @Test(arguments: Array(1...24) as [UInt64]) func agreesWithTheModel(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let names = ["a", "b", "ab", "", "$S", "c1", "ann", "%c"]
    func level(_ more: [String]) -> String {
      let all = names + more
      return all[random.below(all.count)]
    }
    func filter(_ more: [String]) -> String {
      var levels = (0...random.below(4)).map { _ in level(more) }
      if random.oneIn(3) { levels.append("#") }
      let text = levels.joined(separator: "/")
      return text.isEmpty ? "+" : text
    }
    let roles: [String: Role] = ["ann": 1, "bob": 63, "cat": 64, "dan": 255]
    for _ in 0..<6 {
      let room = Room(roles: roles)
      let users = ["", "ann", "bob", "cat", "dan", "none", "a/b"]
      let clients = ["c1", "c2", "a+", "$S", "ab", "b", "ann"].map { ($0, users[random.below(users.count)]) }
      let members = clients.map { room.session($0.0, user: $0.1) }
      let subjects: [TestRule.Subject] = [.anonymous, .everybody, .everybody] + roles.keys.sorted().map { .user($0) }
      let rules = (0..<random.below(16)).map { _ in
        TestRule(
          subject: subjects[random.below(subjects.count)], access: Access(rawValue: UInt8(random.below(4)))!,
          filter: filter(["+", "+", "%c", "%u", "x%c"]))
      }
      try room.use(TestRules(rules))
      let model = ModelRules(rules: rules)
      for _ in 0..<60 {
        let topic = (0...random.below(4)).map { _ in level([]) }.joined(separator: "/")
        guard !topic.isEmpty else { continue }
        for (index, client) in clients.enumerated() {
          for isWriting in [false, true] {
            let expected = model.may(isWriting, user: client.1, clientID: client.0, topic)
            #expect(
              room.may(isWriting, members[index], topic) == expected, "\(client) \(isWriting) \(topic) by \(rules)")
          }
        }
      }
    }
  }

  // MARK: Filters

  /// Topics of up to four levels, of names that filters have and of one that none has.
  private static let topics: [String] = {
    let names = ["a", "b", "z", "$S"]
    var all = names
    var last = names
    for _ in 0..<3 {
      last = last.flatMap { start in names.map { "\(start)/\($0)" } }
      all += last
    }
    return all
  }()

  private static func matching(_ filter: String) -> Set<Int> {
    Set(topics.indices.filter { ModelRules.matches(filter, isPattern: filter, topics[$0]) })
  }

  /// SUBSCRIBE is granted where a rule allows something that the filter matches, and none denies all of it.
  @Test(arguments: Array(1...8) as [UInt64]) func aFilterIsJudgedByWhatItMatches(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let names = ["a", "b", "+", "+", "$S"]
    func filter() -> String {
      var levels = (0..<random.below(3)).map { _ in names[random.below(names.count)] }
      if levels.isEmpty || random.oneIn(2) { levels.append(random.oneIn(2) ? "#" : "a") }
      return levels.joined(separator: "/")
    }
    let room = Room()
    let ann = room.session("one", user: "ann")
    let bob = room.session("two", user: "bob")
    for _ in 0..<40 {
      let (allowed, denied) = (filter(), random.oneIn(3) ? filter() : nil)
      var rules = [TestRule(subject: .user("ann"), access: random.oneIn(2) ? .read : .readWrite, filter: allowed)]
      if let denied { rules.append(TestRule(subject: .user("ann"), access: .deny, filter: denied)) }
      rules.append(TestRule(subject: .user("ann"), access: .write, filter: "b/#"))  // is no right to read
      try room.use(TestRules(rules))
      let may = AccessRulesTests.matching(allowed)
      let mayNot = denied.map(AccessRulesTests.matching) ?? []
      for _ in 0..<12 {
        let wanted = filter()
        let matched = AccessRulesTests.matching(wanted)
        let expected = !may.isDisjoint(with: matched) && !matched.isSubset(of: mayNot)
        #expect(room.maySubscribe(ann, wanted) == expected, "\(wanted), may \(allowed), not \(denied ?? "-")")
        #expect(!room.maySubscribe(bob, wanted))
      }
    }
  }

  @Test func aPatternsFilterIsItsClients() throws {
    let room = Room()
    let one = room.session("one", user: "ann")
    let odd = room.session("#", user: "ann")
    try room.use(TestRules("pattern read d/%c/#\npattern deny d/%c/no/#"))
    for (filter, isGranted) in [
      ("d/one/x", true), ("d/+/x", true), ("d/#", true), ("#", true), ("d/two/x", false), ("d/one/no", false),
      ("d/one/no/#", false), ("d/one/+", true), ("+", false), ("d/one", true),
    ] {
      #expect(room.maySubscribe(one, filter) == isGranted, "\(filter)")
      #expect(!room.maySubscribe(odd, filter), "\(filter)")
    }
  }

  // MARK: Room

  @Test func whatDoesNotFitIsSaid() {
    let sizes = AccessSizes(rules: 2, levels: 4, nameBytes: 5)
    func fill(_ text: String) -> RuleProblem? {
      let room = RulesRoom(sizes)
      do throws(RuleProblem) {
        try TestRules(text).fill(&room.rules, roles: [:])
      } catch {
        return error
      }
      return nil
    }
    #expect(fill("topic a/b/c/d") == nil)
    #expect(fill("topic a/b\ntopic a/b/c/d") == nil)  // levels are shared
    #expect(fill("topic a/b/c/d/e") == .noRoom(of: .levels))
    #expect(fill("topic a/b/c\ntopic b/c") == .noRoom(of: .levels))
    #expect(fill("topic a\ntopic a\ntopic a") == .noRoom(of: .rules))
    #expect(fill("topic abcde") == nil)
    #expect(fill("topic abcdef") == .noRoom(of: .nameBytes))
    #expect(fill("topic +/abcde/#") == nil)
    for bad in ["a#", "#/a", "a+", "+a/b", "a/#/b"] { #expect(fill("topic \(bad)") == .badFilter, "\(bad)") }
    #expect(fill("topic \u{0}") == .badFilter)
  }

  /// Rules of an earlier list leave nothing behind.
  @Test func aListIsForgotten() throws {
    let room = Room()
    let ann = room.session("one", user: "ann")
    for round in 0..<5 {
      try room.use(TestRules("user ann\ntopic read r\(round)/#\npattern write w\(round)/%c"))
      for other in 0..<5 {
        #expect(room.may(false, ann, "r\(other)/x") == (other == round))
        #expect(room.may(true, ann, "w\(other)/one") == (other == round))
      }
    }
  }

  @Test func withoutSizesNothingIsReserved() {
    var plan = Reservation.counting()
    _ = Rights(limits: .forTests, sizes: .none, in: &plan)
    #expect(plan.byteCount == 0)
    var with = Reservation.counting()
    _ = Rights(limits: .forTests, sizes: .forTests, in: &with)
    #expect(with.byteCount > 0)
  }

  /// Sessions are many.
  @Test func aSessionIsNoLargerForItsUser() { #expect(MemoryLayout<Session>.stride == 144) }
}
