import Bounded
import Foundation
import LinuxIO
import Testing

@testable import TaplineConfiguration

@Suite("A password file as a whole") struct PasswordFileTests {
  private static let all = """
    # the house
    \(MosquittoLines.ann)

    \(MosquittoLines.bob)
    \(MosquittoLines.zoe)

    """

  // MARK: Base64

  @Test(arguments: [
    ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
    ("foobar", "Zm9vYmFy"),
  ])
  func base64OfTheStandard(bytes: String, text: String) {  // RFC 4648, 10
    var encoded = Text()
    [UInt8](bytes.utf8).lend { Base64.encode($0, into: &encoded) }
    #expect(String(decoding: encoded.bytes, as: UTF8.self) == text)
    #expect(decoded(text) == [UInt8](bytes.utf8))
  }

  @Test(arguments: [
    "Z", "Zg", "Zg=", "Zg===", "=", "====", "Z===", "Zh==", "Zm9=", "Zm9v\n", " Zm9v", "Zm9v ", "Zm 9", "Zm9v====",
    "Zg==Zg==", "Zg=a", "Zm-_", "Zm9\u{0}", "Zm9.", "Zm9v Zg==", "ZÄ",
  ])
  func base64ThatIsNone(text: String) { #expect(decoded(text) == nil) }

  @Test func base64OfAllBytesAgreesWithFoundation() {
    var generator = SeededGenerator(seed: 5)
    for count in 0...70 {
      let bytes = generator.bytes(count)
      var text = Text()
      bytes.lend { Base64.encode($0, into: &text) }
      #expect(text.bytes == [UInt8](Data(bytes).base64EncodedString().utf8))
      var output = InlineArray<64, UInt8>(repeating: 0)
      let answer = text.bytes.lend { Base64.decode($0, into: &output) }
      #expect(answer == (count <= 64 ? .bytes(count) : .tooMany))
      if count <= 64 { #expect((0..<count).allSatisfy { output[$0] == bytes[$0] }) }
    }
  }

  private func decoded(_ text: String) -> [UInt8]? {
    var output = InlineArray<64, UInt8>(repeating: 0)
    guard case .bytes(let count) = [UInt8](text.utf8).lend({ Base64.decode($0, into: &output) }) else { return nil }
    return (0..<count).map { output[$0] }
  }

  // MARK: Changes

  private func set(_ name: String, in file: String) -> String {
    let entry = [UInt8]("p".utf8).lend { password in
      [UInt8](repeating: 0, count: 3).lend { PasswordEntry(password: password, salt: $0, iterations: 1) }
    }
    let bytes = [UInt8](name.utf8).lend { name in
      [UInt8](file.utf8).lend { PasswordFile.setting(name, to: entry, in: $0) }
    }
    return String(decoding: bytes, as: UTF8.self).replacing(/\$7\$1\$AAAA\$[A-Za-z0-9+\/=]{88}/, with: "NEW")
  }

  @Test(arguments: [
    ("", "b:NEW\n"), ("# x\n", "# x\nb:NEW\n"), ("# x", "# x\nb:NEW\n"), ("a:1\nb:2\nc:3\n", "a:1\nb:NEW\nc:3\n"),
    ("a:1\r\nb:2\r\nc:3\r\n", "a:1\r\nb:NEW\r\nc:3\r\n"), ("b:2", "b:NEW"), ("b:2\nb:3\nb:4\nc:5", "b:NEW\nc:5"),
    ("#b:2\nbb:2\n b:2\n", "#b:2\nbb:2\n b:2\nb:NEW\n"), ("b\nb:", "b\nb:NEW"),
    ("\n\n# \t \r\n", "\n\n# \t \r\nb:NEW\n"),
  ])
  func aUserIsSetAndTheOtherLinesStay(file: String, expected: String) { #expect(set("b", in: file) == expected) }

  @Test(
    arguments: [
      ("b:2", ""), ("a:1\nb:2\nc:3\n", "a:1\nc:3\n"), ("b:2\r\na:1\r\nb:3\r\n# b:", "a:1\r\n# b:"),
      ("a:1\nb:2", "a:1\n"), ("bb:1\n", nil), ("#b:1\n", nil), ("", nil), ("b\n", nil), (" b:1", nil),
    ] as [(String, String?)])
  func aUserIsRemovedAndTheOtherLinesStay(file: String, expected: String?) {
    let rest = [UInt8]("b".utf8).lend { name in [UInt8](file.utf8).lend { PasswordFile.removing(name, from: $0) } }
    #expect(rest.map { String(decoding: $0, as: UTF8.self) } == expected)
  }

  @Test func aFileOfAnotherKindIsSeen() {
    func foreign(_ text: String) -> Int? { [UInt8](text.utf8).lend { PasswordFile.foreignLine(in: $0) } }
    #expect(foreign("root:x:0:0:root:/root:/bin/bash\n") == 1)
    #expect(foreign("# x\n\nlisteners:\n  - address: tcp://[::]:1883\n") == 4)
    #expect(foreign(Self.all + "word\n") == 6)
    #expect(foreign(Self.all) == nil && foreign("") == nil)
    #expect(foreign("a:plain\nb:$argon2id$v=19$m=1,t=1,p=1$x$y") == nil)
  }

  // MARK: Files

  private final class Folder {
    let path: String
    init() {
      path = NSTemporaryDirectory() + "/tapline-users-\(UUID().uuidString)"
      try! FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }
    deinit { try? FileManager.default.removeItem(atPath: path) }

    func file(_ text: String, mode: Int = 0o600) -> String {
      let file = path + "/users"
      try! text.write(toFile: file, atomically: false, encoding: .utf8)
      try! FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: file)
      return file
    }
  }

  private func load(
    _ path: String, byteCountMax: Int = 4096, _ world: PasswordWorld
  ) -> (PasswordFile.Outcome, [PasswordFileError]) {
    var place = [UInt8](repeating: 0, count: byteCountMax)
    var errors: [PasswordFileError] = []
    let outcome = [UInt8](path.utf8).lend { path in
      place.withUnsafeMutableBytes { place in
        PasswordFile.load(path, into: &world.table, by: place) { errors.append($0) }
      }
    }
    #expect(outcome != .refused || world.table.count == 0)
    return (outcome, errors)
  }

  @Test(arguments: [
    (0o600, false), (0o400, false), (0o640, false), (0o660, false), (0o644, true), (0o604, true), (0o602, true),
  ])
  func aFileThatOthersReadIsWarnedOf(mode: Int, isOpen: Bool) {
    let folder = Folder()
    let world = PasswordWorld()
    let (outcome, errors) = load(folder.file(Self.all, mode: mode), world)
    #expect(outcome == (isOpen ? .loadedOpenToOthers : .loaded) && errors.isEmpty && world.table.count == 3)
  }

  @Test func filesThatAreNoPasswordFile() {
    let folder = Folder()
    let world = PasswordWorld()
    func problem(_ path: String, byteCountMax: Int = 4096) -> String {
      #expect(load(folder.file(Self.all), world).0 == .loaded)
      let (outcome, errors) = load(path, byteCountMax: byteCountMax, world)
      #expect(outcome == .refused && errors.count == 1 && errors.first?.line == 0)
      return errors.first.map { String(decoding: $0.text.bytes, as: UTF8.self) } ?? ""
    }
    #expect(problem(folder.path + "/none") == "there is no such file; make it with tapline passwd -c")
    #expect(problem(folder.path) == "this is a directory; expected a password file")
    #expect(problem("/dev/null") == "this is no regular file; expected a password file")
    #expect(mkfifo(folder.path + "/fifo", 0o600) == 0)
    #expect(problem(folder.path + "/fifo") == "this is no regular file; expected a password file")
    #expect(problem(folder.path + "/users/x") == "the file cannot be read: Not a directory")
    let size = Self.all.utf8.count
    let tooLarge = problem(folder.path + "/users", byteCountMax: size - 1)
    #expect(tooLarge == "the file is larger than the limit of \(size - 1) bytes")
    #expect(load(folder.path + "/users", byteCountMax: size, world).0 == .loaded)
  }

  // MARK: Damage

  @Test func cutAtEveryLength() {
    let file = [UInt8](Self.all.utf8)
    let world = PasswordWorld()
    // A line is whole with its last character, and its end adds nothing.
    let ends = ["ann", "bob", "zoë"].map { file.count - rest(after: $0) }
    for count in 0...file.count {
      let errors = world.fill([UInt8](file.prefix(count)))
      guard errors.isEmpty else { continue }
      #expect(world.names == Array(["ann", "bob", "zoë"].prefix(ends.filter { $0 <= count }.count)), "\(count)")
    }
    for end in ends {
      #expect(world.fill([UInt8](file.prefix(end))) == [] && world.fill([UInt8](file.prefix(end - 1))).count == 1)
    }
  }

  /// Bytes behind the line of this user.
  private func rest(after name: String) -> Int {
    let lines = Self.all.split(separator: "\n", omittingEmptySubsequences: false)
    let index = lines.firstIndex { $0.hasPrefix(name + ":") }!
    return lines[(index + 1)...].reduce(0) { $0 + 1 + $1.utf8.count }
  }

  /// What is kept of a damaged file is what a plain reader finds in it.
  @Test func damagedFilesAreRefusedOrReadAsTheyStand() {
    var generator = SeededGenerator(seed: 20_261_130)
    let world = PasswordWorld()
    var kept = 0
    for round in 0..<4000 {
      var file = [UInt8](Self.all.utf8)
      for _ in 0...generator.below(3) {
        let place = generator.below(file.count)
        switch generator.below(5) {
        case 0: file[place] ^= 1 << UInt8(generator.below(8))
        case 1: file[place] = [10, 13, 0x24, 0x3A, 0x3D, 0x41, 0x23, 0][generator.below(8)]
        case 2: file.remove(at: place)
        case 3: file.insert(generator.byte(), at: place)
        default: file.removeSubrange(place..<min(file.count, place + generator.below(40)))
        }
        if file.isEmpty { file = [10] }
      }
      guard world.fill(file).isEmpty else { continue }
      kept += 1
      var said: [String] = []
      for line in file.split(separator: 10, omittingEmptySubsequences: false) {
        var line = Array(line)
        if line.last == 13 { line.removeLast() }
        if line.first == 0x23 || line.allSatisfy({ $0 == 32 || $0 == 9 }) { continue }
        said.append(String(decoding: line, as: UTF8.self))
      }
      let read = world.names.map { "\($0):\(world.find($0)!.text)" }
      // Leading zeros of the iterations are all that may be written in two ways.
      #expect(read == said.map { $0.replacing(/:\$7\$0+/, with: ":$7$") }, "round \(round)")
    }
    #expect(kept > 100)
  }
}
