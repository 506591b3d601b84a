import Bounded
import Testing

@testable import TaplineConfiguration

@Suite("Users of a password file") struct PasswordTableTests {
  private static let salt = "AAECAwQFBgcICQoL"
  private static let hash = String(repeating: "A", count: 86) + "=="
  private static let good = "$7$101$\(salt)$\(hash)"

  struct Case: CustomTestStringConvertible, Sendable {
    let file: String
    let line: Int
    let problem: PasswordFileError.Problem
    let text: String

    init(_ file: String, _ problem: PasswordFileError.Problem, _ text: String) { self.init(file, 1, problem, text) }

    init(_ file: String, _ line: Int, _ problem: PasswordFileError.Problem, _ text: String) {
      self.file = file
      self.line = line
      self.problem = problem
      self.text = text
    }

    var testDescription: String { text }
  }

  static let wrong = [
    Case("anna", .noColon, "line 1: there is no colon; expected USER:HASH, as tapline passwd writes it"),
    Case("# a\n\nx:\(good)\nanna\n", 4, .noColon, "line 4: there is no colon"),
    Case(":\(good)", .name(.empty), "line 1: the user name is empty"),
    Case(
      String(repeating: "n", count: 65) + ":\(good)", .name(.tooLong(byteCountMax: 64)),
      "line 1: the user name is longer than 64 bytes"),
    Case("a\tb:\(good)", .name(.controlCharacter), "line 1: the user name has a control character"),
    Case("a\u{7F}:\(good)", .name(.controlCharacter), "line 1: the user name has a control character"),
    Case("a\u{0}b:\(good)", .name(.controlCharacter), "line 1: the user name has a control character"),
    Case("a\u{85}b:\(good)", .name(.controlCharacter), "line 1: the user name has a control character"),
    Case(" anna:\(good)", .name(.outerBlank), "line 1: the user name begins or ends with a blank"),
    Case("anna :\(good)", .name(.outerBlank), "line 1: the user name begins or ends with a blank"),
    Case(
      "a:\(good)\n#\nb:\(good)\na:\(good)\n", 4, .duplicate(firstLine: 1),
      "line 4: the user has a line already, line 1; remove one of the two"),
    Case("a:", .noHash, "line 1: the user has no password hash; set a password with tapline passwd"),
    Case("a:$7$101$\(salt)$", .noHash, "line 1: the user has no password hash"),
    Case("a:$6$\(salt)$", .noHash, "line 1: the user has no password hash"),
    Case("a:secret", .plainText, "line 1: the password is in plain text; replace it with tapline passwd"),
    Case("a: \(good)", .plainText, "line 1: the password is in plain text"),
    Case("a:$argon2id$v=19$m=47104,t=1,p=1$c2FsdA$aGFzaA", .argon2, "mosquitto_passwd -H sha512-pbkdf2"),
    Case("a:$", .unknownScheme, "line 1: unknown hash scheme; set the password with tapline passwd or"),
    Case("a:$2b$12$abc", .unknownScheme, "line 1: unknown hash scheme"),
    Case("a:$77$101$\(salt)$\(hash)", .unknownScheme, "line 1: unknown hash scheme"),
    Case("a:$7$", .wrongIterations, "line 1: the iterations are no number from 1 on"),
    Case("a:$7", .wrongFields(.pbkdf2), "line 1: expected $7$ITERATIONS$SALT$HASH"),
    Case("a:$7$101$\(salt)", .wrongFields(.pbkdf2), "line 1: expected $7$ITERATIONS$SALT$HASH"),
    Case("a:$7$101$$\(hash)", .wrongFields(.pbkdf2), "line 1: expected $7$ITERATIONS$SALT$HASH"),
    Case("a:\(good)$", .wrongFields(.pbkdf2), "line 1: expected $7$ITERATIONS$SALT$HASH"),
    Case("a:$6$\(salt)", .wrongFields(.saltedSHA512), "line 1: expected $6$SALT$HASH"),
    Case("a:$6$101$\(salt)$\(hash)", .wrongFields(.saltedSHA512), "line 1: expected $6$SALT$HASH"),
    Case("a:$7$0$\(salt)$\(hash)", .wrongIterations, "line 1: the iterations are no number from 1 on"),
    Case("a:$7$-1$\(salt)$\(hash)", .wrongIterations, "line 1: the iterations are no number from 1 on"),
    Case("a:$7$1e3$\(salt)$\(hash)", .wrongIterations, "line 1: the iterations are no number from 1 on"),
    Case(
      "a:$7$1000001$\(salt)$\(hash)", .tooManyIterations(max: 1_000_000),
      "line 1: there are more iterations than the limit of 1000000; set the password with tapline passwd -I 20000"),
    Case("a:$7$1000000000$\(salt)$\(hash)", .tooManyIterations(max: 1_000_000), "line 1: there are more iterations"),
    Case("a:$7$4294967297$\(salt)$\(hash)", .tooManyIterations(max: 1_000_000), "line 1: there are more iterations"),
    Case(
      "a:$7$\(String(repeating: "9", count: 300))$\(salt)$\(hash)", .tooManyIterations(max: 1_000_000),
      "line 1: there are more iterations"),
    Case("a:$7$101$AAE$\(hash)", .saltNotBase64, "line 1: the salt is not base64"),
    Case("a:$7$101$\(hash)AAAA$\(hash)", .saltNotBase64, "line 1: the salt is not base64"),
    Case(
      "a:$7$101$\(String(repeating: "A", count: 88))$\(hash)", .saltTooLong, "line 1: the salt is longer than 64 bytes"),
    Case(
      "a:$6$\(salt)$abc.", .hashNotBase64, "line 1: the hash is not base64; $6$ and $7$ are mosquitto's schemes, not"),
    Case("a:\(good) ", .hashNotBase64, "line 1: the hash is not base64"),
    Case("a:\(good):x", .hashNotBase64, "line 1: the hash is not base64"),
    Case("a:$7$101$\(salt)$AAAA", .wrongHashLength, "line 1: the hash is not 64 bytes long"),
    Case(
      "a:$7$101$\(salt)$\(String(repeating: "A", count: 84))", .wrongHashLength, "line 1: the hash is not 64 bytes long"
    ),
    Case(
      "a:$7$101$\(salt)$\(String(repeating: "A", count: 88))", .wrongHashLength, "line 1: the hash is not 64 bytes long"
    ),
    Case(String(repeating: "x", count: 300), .noColon, "line 1: there is no colon"),
    Case("a:" + String(repeating: "x", count: 298), .plainText, "line 1: the password is in plain text"),
    Case(
      "a:$7$101$\(salt)$" + String(repeating: "A", count: 300), .wrongHashLength,
      "line 1: the hash is not 64 bytes long"),
    Case(
      (0...8).map { "u\($0):\(good)\n" }.joined(), 9, .tooManyUsers(max: 8),
      "line 9: there are more users than the limit of 8; remove some, or raise the limit"),
  ]

  @Test(arguments: wrong) func aWrongLineIsRefusedWithItsRemedy(_ row: Case) {
    let world = PasswordWorld()
    #expect(world.fill(MosquittoLines.ann) == [])
    let errors = world.fill(row.file)
    #expect(errors == [PasswordFileError(line: row.line, row.problem)])
    for error in errors {
      let text = String(decoding: error.text.bytes, as: UTF8.self)
      #expect(text.contains(row.text), "\(text)")
      #expect(!text.contains(Self.salt) && !text.contains("AAAA") && !text.contains("secret"))
    }
  }

  @Test func aNameThatIsNotUTF8() {
    for bytes in [[0xFF], [0xC3], [0xED, 0xA0, 0x80], [0xC0, 0x80]] as [[UInt8]] {
      let errors = PasswordWorld().fill(bytes + [UInt8](":\(Self.good)".utf8))
      #expect(errors == [PasswordFileError(line: 1, .name(.notUTF8))], "\(bytes)")
    }
  }

  @Test func everyWrongLineIsReported() {
    let world = PasswordWorld(capacity: 2)
    let errors = world.fill("x\na:\(Self.good)\n:\nb:\(Self.good)\nc:y\nd:\(Self.good)\ne\nf:\(Self.good)\n")
    #expect(errors.map { $0.line } == [1, 3, 5, 6])  // nothing more of a file with too many users
    #expect(errors.last?.problem == .tooManyUsers(max: 2))
  }

  @Test func linesOfMosquitto() {
    let world = PasswordWorld()
    #expect(world.fill([MosquittoLines.ann, MosquittoLines.bob, MosquittoLines.zoe].joined(separator: "\n")) == [])
    #expect(world.names == ["ann", "bob", "zoë"])
    #expect(world.lets("ann", MosquittoLines.annPassword))
    #expect(world.lets("bob", MosquittoLines.bobPassword))
    #expect(world.lets("zoë", MosquittoLines.zoePassword))
    for password in ["", "Secret", "secret ", "secre", "secret\u{0}", MosquittoLines.bobPassword] {
      #expect(!world.lets("ann", password))
    }
    #expect(!world.lets("bob", MosquittoLines.annPassword) && !world.lets("zoë", MosquittoLines.bobPassword))
    for name in ["", "an", "annn", "Ann", "ann\u{0}", "zoe"] { #expect(world.find(name) == nil) }
    #expect(world.find("ann")?.scheme == .saltedSHA512 && world.find("zoë")?.iterations == 1000)
  }

  @Test(arguments: [
    "", "\n", "\r\n", "# nobody\n", "#a:secret\n", " \t\n", "\n\n\n", "#",
  ])
  func aFileOfNobody(_ text: String) {
    let world = PasswordWorld()
    #expect(world.fill(text) == [] && world.table.count == 0)
    #expect(world.fill(MosquittoLines.bob) == [])
    #expect(world.fill(text) == [] && world.find("bob") == nil)  // what was there is forgotten
  }

  @Test func lineEnds() {
    for end in ["", "\n", "\r\n", "\n\n", "\r\n\r\n# x"] {
      let world = PasswordWorld()
      #expect(world.fill(MosquittoLines.ann + "\r\n" + MosquittoLines.bob + end) == [])
      #expect(world.names == ["ann", "bob"] && world.lets("bob", MosquittoLines.bobPassword))
    }
    // Two at the end of a line are one too many.
    #expect(PasswordWorld().fill(MosquittoLines.ann + "\r\r\n").map { $0.problem } == [.hashNotBase64])
  }

  @Test func namesUpToTheLimit() {
    for limit in [1, 2, 64, 255] {
      let world = PasswordWorld(capacity: 3, nameBytesMax: limit)
      let names = ["a", "b", "c"].map { String(repeating: $0, count: limit) }
      #expect(world.fill(names.map { "\($0):\(Self.good)\n" }.joined()) == [])
      #expect(world.names == names)
      #expect(names.allSatisfy { world.find($0) != nil } && world.find(names[0] + "a") == nil)
      #expect(world.fill("\(names[0])a:\(Self.good)").map { $0.problem } == [.name(.tooLong(byteCountMax: limit))])
    }
  }

  @Test func iterationsUpToTheLimit() {
    #expect(PasswordWorld().fill("a:$7$1000000$\(Self.salt)$\(Self.hash)") == [])
    #expect(PasswordWorld().fill("a:$7$5000$\(Self.salt)$\(Self.hash)", iterationsMax: 5000) == [])
    let errors = PasswordWorld().fill("a:$7$5001$\(Self.salt)$\(Self.hash)", iterationsMax: 5000)
    #expect(errors.map { $0.problem } == [.tooManyIterations(max: 5000)])
    #expect(errors.first.map { String(decoding: $0.text.bytes, as: UTF8.self) }?.hasSuffix("-I 5000") == true)
  }

  @Test func asManyUsersAsThereAreRows() {
    for capacity in [0, 1, 2, 3, 64] {
      let world = PasswordWorld(capacity: capacity)
      let lines = (0..<capacity).map { "user\($0):\(Self.good)\n" }.joined()
      for _ in 0..<3 {
        #expect(world.fill(lines) == [] && world.table.count == capacity && world.table.capacity == capacity)
        for index in 0..<capacity { #expect(world.find("user\(index)") != nil) }
        #expect(world.fill(lines + "x:\(Self.good)").map { $0.problem } == [.tooManyUsers(max: capacity)])
      }
    }
  }

  // MARK: Entries

  @Test func anUnknownUserTakesAsLongAsTheCostliest() {
    let world = PasswordWorld()
    #expect(world.table.decoy.iterations == 101 && world.table.decoy.scheme == .pbkdf2)
    #expect(world.fill(MosquittoLines.ann) == [])
    #expect(world.table.decoy.scheme == .saltedSHA512)
    #expect(world.fill([MosquittoLines.zoe, MosquittoLines.ann, MosquittoLines.bob].joined(separator: "\n")) == [])
    #expect(world.table.decoy.iterations == 1000 && world.table.decoy.scheme == .pbkdf2)
    #expect(world.fill("") == [])
    #expect(world.table.decoy.iterations == 101)
  }

  @Test func nothingMatchesADecoy() {
    for scheme in [PasswordScheme.pbkdf2, .saltedSHA512] {
      let decoy = PasswordEntry.decoy(scheme, iterations: 1)
      for password in ["", "a", "secret"] { #expect(!decoy.matches(password)) }
    }
  }

  @Test func entriesThatDifferInAnything() {
    let entries = [
      "$7$101$AAECAw==$\(Self.hash)", "$7$102$AAECAw==$\(Self.hash)", "$6$AAECAw==$\(Self.hash)",
      "$7$101$AAECAwA=$\(Self.hash)",
      "$7$101$AAECBA==$\(Self.hash)", "$7$101$AAECAw==$\(String(repeating: "A", count: 85))Q==",
      "$7$1$AAECAw==$\(Self.hash)",
    ].map { text in
      let world = PasswordWorld()
      #expect(world.fill("a:\(text)") == [])
      return world.find("a")!
    }
    for (place, one) in entries.enumerated() {
      for (other, another) in entries.enumerated() { #expect(one.isSame(as: another) == (place == other)) }
    }
    let decoy = PasswordEntry.decoy(.saltedSHA512, iterations: 1)
    #expect(decoy.isSame(as: decoy) && entries.allSatisfy { !$0.isSame(as: decoy) })
  }

  @Test func aNewPasswordIsReadBack() {
    for (password, saltBytes) in [("x", 1), ("correct horse", 12), (String(repeating: "ä", count: 200), 64)] {
      let salt = (0..<saltBytes).map { UInt8(truncatingIfNeeded: $0 &* 37) }
      let entry = [UInt8](password.utf8).lend { password in
        salt.lend { PasswordEntry(password: password, salt: $0, iterations: 7) }
      }
      #expect(entry.matches(password) && !entry.matches(password + "x") && !entry.matches(password + "\0"))
      let world = PasswordWorld()
      #expect(world.fill("a:\(entry.text)\n") == [])
      #expect(world.lets("a", password) && world.find("a")?.text == entry.text)
    }
    let world = PasswordWorld()
    #expect(world.fill(MosquittoLines.ann) == [])
    #expect(world.find("ann").map { "ann:" + $0.text } == MosquittoLines.ann)
  }
}
