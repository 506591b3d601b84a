import Bounded
import MQTTWire
import TaplineConfiguration
import Testing

@testable import MQTTBroker
@testable import Tapline

@Suite("Who a client is")
struct AuthenticatorTests {
  /// An authenticator whose passwords are checked when the test says so.
  private final class Desk {
    let authenticator: Authenticator
    var now = Instant(nanoseconds: 1_000_000_000)
    private var count: UInt64 = 0
    var closed: Set<UInt32> = []
    var rules = reserved { AccessRules(sizes: UserSettings(users: 8).sizes.access, in: &$0) }

    init(_ users: UserSettings) throws {
      authenticator = reserved { Authenticator(users, key: HashKey(low: 1, high: 2), in: &$0) }
      try authenticator.tables.fill(users, &rules)
    }

    /// `ha/3`: accepted as ha with role 3; `0x86`: refused; `later`.
    func connect(
      user: String?, password: String? = nil, anonymous: Bool = false, certificate: StaticString? = nil,
      uid: UInt32? = nil, from address: UInt32 = 7, transport: UInt32 = 1
    ) -> String {
      count += 1
      let userBytes = user.map { [UInt8]($0.utf8) } ?? []
      let passwordBytes = password.map { [UInt8]($0.utf8) } ?? []
      return userBytes.withUnsafeBytes { userBuffer in
        passwordBytes.withUnsafeBytes { passwordBuffer in
          let credentials = Credentials(
            clientID: Bytes("c"), userName: user == nil ? nil : Bytes(userBuffer),
            password: password == nil ? nil : Bytes(passwordBuffer), version: .v5, allowsAnonymous: anonymous,
            serial: LinkSerial(count: count, place: 0), transport: transport, now: now)
          switch authenticator.judge(
            credentials, certificateName: certificate.map { Bytes($0) }, uid: uid, from: SourceAddress(ipv4: address),
            isOpen: { !closed.contains($0) })
          {
          case .verdict(let verdict): return Desk.words(verdict)
          case .refused(let reason, let cause): return "\(Desk.words(.refuse(reason))) \(cause)"
          case .later: return "later"
          }
        }
      }
    }

    static func words(_ verdict: Verdict) -> String {
      switch verdict {
      case .accept(let identity): "\(plain(identity.userName))/\(identity.role)"
      case .refuse(let reason): "0x" + String(reason.rawValue, radix: 16, uppercase: true)
      }
    }

    /// Checks the next password, as the lane does. nil: none waits.
    func check() -> String? {
      guard let place = authenticator.nextCheck(isOpen: { !closed.contains($0) }) else { return nil }
      return finish(place)
    }

    /// Transports of logins that have given way, the newest first.
    func givenWay() -> [UInt32] {
      var transports: [UInt32] = []
      while let login = authenticator.nextGivenWay() { transports.append(login.transport) }
      return transports
    }

    func finish(_ place: Int) -> String {
      let isRight = authenticator.queue.check(place)
      guard let verdict = authenticator.checked(place, isRight: isRight, at: now) else { return "again" }
      defer { authenticator.queue.end(place) }
      return Desk.words(verdict)
    }
  }

  private static var users: UserSettings {
    UserSettings(
      passwords: [("ha", "secret"), ("pump", ""), ("ab", "x")], rules: [rule("pump", "a"), rule("ha", "b")],
      unix: [(1000, "ha"), (0, "admin")])
  }

  @Test func whoHasNoNameNeedsAListenerThatSaysSo() throws {
    let desk = try Desk(Self.users)
    #expect(desk.connect(user: nil) == "0x87")
    #expect(desk.connect(user: nil, anonymous: true) == "/0")
    #expect(desk.connect(user: nil, password: "secret", anonymous: true) == "0x86 badName")
    #expect(desk.authenticator.figures.denied == 2)
  }

  /// The listener's word is for those without a name: a wrong password is no anonymous client.
  @Test(arguments: [false, true]) func aNameNeedsItsPassword(anonymous: Bool) throws {
    let desk = try Desk(Self.users)
    for (user, password, answer) in [
      ("ha", "secret", "ha/2"), ("pump", "", "pump/1"), ("ab", "x", "ab/0"), ("ha", "secre", "0x86"),
      ("ha", "secret2", "0x86"), ("ha", "", "0x86"), ("nobody", "secret", "0x86"), ("nobody", "", "0x86"),
      ("h", "secret", "0x86"), ("hab", "secret", "0x86"),
    ] {
      #expect(desk.connect(user: user, password: password, anonymous: anonymous) == "later")
      #expect(desk.check() == answer, "\(user) \(password)")
    }
    for (user, password) in [("", "x"), ("", ""), (String(repeating: "n", count: 17), "x")] {
      #expect(desk.connect(user: user, password: password, anonymous: anonymous) == "0x86 badName")
    }
    #expect(desk.connect(user: "ha", anonymous: anonymous) == "0x86 noPassword")
    #expect(
      desk.connect(user: "ha", password: String(repeating: "p", count: 256), anonymous: anonymous) == "0x86 badPassword"
    )
    #expect(desk.connect(user: "ha", password: String(repeating: "p", count: 255), anonymous: anonymous) == "later")
    #expect(desk.check() == "0x86" && desk.check() == nil)
    #expect(desk.authenticator.figures.accepted == 3)
  }

  /// It beats user name, password and uid.
  @Test func aCertificateNamesItsUser() throws {
    let desk = try Desk(Self.users)
    #expect(desk.connect(user: nil, certificate: "ha") == "ha/2")
    #expect(desk.connect(user: "pump", password: "wrong", certificate: "ha", uid: 0) == "ha/2")
    #expect(desk.connect(user: nil, certificate: "unheard of") == "unheard of/0")
    #expect(desk.connect(user: "ha", password: "secret", certificate: "a name of 17 byte") == "0x86 badName")
    #expect(desk.check() == nil && desk.authenticator.figures.denied == 1)
  }

  @Test func usersOfThisMachineNeedNoPassword() throws {
    let desk = try Desk(Self.users)
    #expect(desk.connect(user: nil, uid: 1000) == "ha/2")
    #expect(desk.connect(user: nil, uid: 0) == "admin/0")
    // Whatever the CONNECT says, the kernel's word wins.
    #expect(desk.connect(user: "pump", password: "wrong", uid: 1000) == "ha/2")
    #expect(desk.connect(user: nil, uid: 1001) == "0x87")
    #expect(desk.connect(user: nil, anonymous: true, uid: 1001) == "/0")
    #expect(desk.connect(user: "ha", password: "secret", uid: 1001) == "later")
    #expect(desk.check() == "ha/2")
  }

  @Test func withoutAPasswordFileNoPasswordIsRight() throws {
    let desk = try Desk(UserSettings(unix: [(0, "admin")]))
    #expect(desk.connect(user: "admin", password: "x", anonymous: true) == "0x86 noPassword")
    #expect(desk.connect(user: nil, anonymous: true) == "/0")
    #expect(desk.connect(user: nil, uid: 0) == "admin/0")
  }

  @Test func aFullQueueRefuses() throws {
    let desk = try Desk(Self.users)
    #expect(desk.connect(user: "ha", password: "secret", from: 1, transport: 1) == "later")
    #expect(desk.connect(user: "ha", password: "secret", from: 1, transport: 2) == "later")
    #expect(desk.connect(user: "ha", password: "secret", from: 1, transport: 3) == "0x97 addressNoRoom")
    #expect(desk.connect(user: "ha", password: "secret", from: 2, transport: 4) == "later")
    #expect(desk.connect(user: "ha", password: "secret", from: 2, transport: 5) == "later")
    // Two addresses have two each, and the newest of them gives way to a third one, which then has as many as another.
    #expect(desk.givenWay() == [])
    #expect(desk.connect(user: "ha", password: "secret", from: 3, transport: 6) == "later")
    #expect(desk.givenWay() == [5])
    #expect(desk.connect(user: "ha", password: "secret", from: 3, transport: 7) == "0x97 noRoom")
    #expect(desk.authenticator.figures.refused == 3)
    #expect(desk.authenticator.takeRefused(at: desk.now) == 3)
    #expect(desk.authenticator.takeRefused(at: desk.now) == nil)
    // Connections that have ended make room, and are not checked; nobody gives way for them.
    desk.closed = [1, 4]
    #expect(desk.connect(user: "ha", password: "secret", from: 3, transport: 7) == "later")
    #expect(desk.connect(user: "ha", password: "secret", from: 4, transport: 8) == "later")
    #expect(desk.givenWay() == [])
    #expect(desk.connect(user: "ha", password: "secret", from: 5, transport: 9) == "later")
    #expect(desk.givenWay() == [7])
    #expect(desk.connect(user: "ha", password: "secret", from: 6, transport: 10) == "0x97 noRoom")
    #expect((0..<5).map { _ in desk.check() } == ["ha/2", "ha/2", "ha/2", "ha/2", nil])
    desk.now = desk.now.adding(seconds: 59)
    #expect(desk.authenticator.takeRefused(at: desk.now) == nil)
    desk.now = desk.now.adding(seconds: 1)
    #expect(desk.authenticator.takeRefused(at: desk.now) == 2)
  }

  /// An address that has no login waiting is not refused while another has two, whoever arrives in which order; and
  /// everybody that came in is answered or told that it gave way, once.
  @Test(arguments: UInt64(0)..<8) func oneThatWaitsKeepsItsPlace(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    var settings = Self.users
    (settings.sizes.logins, settings.sizes.loginsPerAddress) = (2 + random.below(15), 1 + random.below(6))
    let desk = try Desk(settings)
    var waiting: [UInt32: UInt32] = [:]  // address by transport
    var checked: (place: Int, transport: UInt32)?
    func count(_ address: UInt32) -> Int { waiting.values.count { $0 == address } }
    for transport in UInt32(1)..<3000 {
      let address = UInt32(1 + random.below(random.oneIn(2) ? 4 : 24))
      let (own, most) = (count(address), Set(waiting.values).map(count).max() ?? 0)
      let said = desk.connect(user: "ha", password: "secret", from: address, transport: transport)
      if own == 0, most >= 2 { #expect(said == "later") }
      for loser in desk.givenWay() {
        let removed = waiting.removeValue(forKey: loser)
        let address = try #require(removed)
        #expect(count(address) >= 1 && count(address) + 1 == most)
        #expect(said == "later")
      }
      if said == "later" { waiting[transport] = address }
      if let (place, transport) = checked {
        #expect(desk.authenticator.queue[place].transport == transport)  // it never gives way
        if random.oneIn(3) {
          #expect(desk.finish(place) == "ha/2")
          checked = nil
        }
      } else if random.oneIn(2), let place = desk.authenticator.nextCheck(isOpen: { _ in true }) {
        let transport = desk.authenticator.queue[place].transport
        let removed = waiting.removeValue(forKey: transport)
        #expect(removed != nil)
        checked = (place, transport)
      }
      #expect(desk.authenticator.queue.count == waiting.count + (checked == nil ? 0 : 1))
    }
  }

  /// Ten wrong ones at once, then one in six seconds: of that name from that address, and of nobody else.
  @Test func guessingHasARate() throws {
    let desk = try Desk(Self.users)
    func guess(_ user: String, from address: UInt32) -> String? {
      let said = desk.connect(user: user, password: "wrong", from: address)
      return said == "later" ? desk.check() : said
    }
    for _ in 0..<10 { #expect(guess("ha", from: 1) == "0x86") }
    #expect(guess("ha", from: 1) == "0x9F tooOften")
    // A right password is refused as well, from there.
    #expect(desk.connect(user: "ha", password: "secret", from: 1) == "0x9F tooOften")
    #expect(desk.connect(user: "ha", password: "secret", from: 2) == "later")
    #expect(desk.check() == "ha/2")
    #expect(guess("pump", from: 1) == "0x86")
    desk.now = desk.now.adding(seconds: 5)
    #expect(guess("ha", from: 1) == "0x9F tooOften")
    desk.now = desk.now.adding(seconds: 1)
    #expect(guess("ha", from: 1) == "0x86")
    #expect(guess("ha", from: 1) == "0x9F tooOften")
    // Names that nobody has are counted, too.
    for _ in 0..<10 { #expect(guess("nobody", from: 1) == "0x86") }
    #expect(guess("nobody", from: 1) == "0x9F tooOften")
    // More names than there are places for: nobody is refused who has not guessed.
    for number in 0..<200 { #expect(guess("n\(number)", from: 1) == "0x86") }
  }

  /// What was checked against a table that is not in force any more is checked again.
  @Test func aReloadDuringACheckIsNotMissed() throws {
    let desk = try Desk(Self.users)
    #expect(desk.connect(user: "ha", password: "secret") == "later")
    let place = try #require(desk.authenticator.nextCheck(isOpen: { _ in true }))
    let next = reserved { UserTables(Self.users.sizes, in: &$0) }
    try next.fill(UserSettings(passwords: [("ha", "changed")], rules: [rule("ha", "b")]), &desk.rules)
    desk.authenticator.tables = next
    desk.authenticator.tablesChanged()
    desk.authenticator.isPaused = true
    #expect(desk.finish(place) == "again")
    #expect(desk.check() == nil)  // sessions are being judged
    desk.authenticator.isPaused = false
    #expect(desk.check() == "0x86")
    #expect(desk.connect(user: "ha", password: "changed") == "later")
    #expect(desk.check() == "ha/1")
  }

  @Test func whoIsKeptByOtherTables() throws {
    let desk = try Desk(Self.users)
    let old = desk.authenticator.tables
    let next = reserved { UserTables(Self.users.sizes, in: &$0) }
    try next.fill(
      UserSettings(passwords: [("ha", "secret"), ("pump", "new"), ("eve", "x")], unix: [(5, "admin")]), &desk.rules)
    func isKept(_ name: String) -> Bool { lent(name) { next.keeps($0, of: old) } }
    #expect(isKept(""))
    #expect(!isKept("ha"))  // no user of this machine is ha any more
    #expect(!isKept("pump") && !isKept("ab"))
    #expect(isKept("admin") && isKept("eve"))
    let same = reserved { UserTables(Self.users.sizes, in: &$0) }
    try same.fill(Self.users, &desk.rules)
    for name in ["", "ha", "pump", "ab", "admin"] { #expect(lent(name) { same.keeps($0, of: old) }) }
  }

  @Test func whatHasNoRoomIsTold() throws {
    let tables = reserved { UserTables(Self.users.sizes, in: &$0) }
    var rules = reserved { AccessRules(sizes: Self.users.sizes.access, in: &$0) }
    func problem(_ users: UserSettings) -> String {
      do throws(UserProblem) {
        try tables.fill(users, &rules)
        return ""
      } catch {
        return String(decoding: error.text.bytes, as: UTF8.self)
      }
    }
    #expect(problem(Self.users) == "")
    #expect(
      problem(UserSettings(passwords: (0..<9).map { ("u\($0)", "x") }))
        == "limits: users (8) is too little for what is in the file; raise it and restart")
    #expect(
      problem(UserSettings(rules: (0..<9).map { rule("u", "\($0)") }))
        == "limits: acl_rules (8) is too little for what is in the file; raise it and restart")
    #expect(
      problem(UserSettings(rules: (0..<5).map { rule("u\($0)", "a") }))
        == "more users have rules than there was room for at the start; restart")
    #expect(
      problem(UserSettings(unix: (0..<5).map { ($0, "u\($0)") }))
        == "there are more users under 'unix' than there was room for at the start; restart")
    #expect(problem(Self.users) == "")
  }
}
