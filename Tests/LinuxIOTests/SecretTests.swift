import Bounded
import Glibc
import Testing

@testable import LinuxIO

@Suite("Passwords from a pipe and from a terminal") struct SecretTests {
  /// What `readLine` makes of this input, and what it leaves of it.
  private func line(of input: String) throws -> (line: String, rest: String) {
    var ends: [Int32] = [0, 0]
    #expect(pipe(&ends) == 0)
    #expect(write(input, to: ends[1]) == input.utf8.count)
    close(ends[1])
    defer { close(ends[0]) }
    let secret = try SecretSource.readLine(ends[0])
    let line = text(secret.bytes)
    let rest = readText(ends[0])
    return (line, rest == "<closed>" ? "" : rest)
  }

  @Test(arguments: [
    ("", "", ""), ("\n", "", ""), ("secret", "secret", ""), ("secret\n", "secret", ""), ("secret\r\n", "secret", ""),
    ("\r\n", "", ""), ("a\rb\r\nc", "a\rb", "c"), ("one\ntwo\n", "one", "two\n"), (" a b \n", " a b ", ""),
    ("pässwörd\n", "pässwörd", ""), ("secret\r", "secret\r", ""),
  ])
  func oneLine(input: String, line: String, rest: String) throws {
    let found = try self.line(of: input)
    #expect(found.line == line && found.rest == rest)
  }

  @Test func aDescriptorThatIsNone() {
    #expect(throws: SecretSource.Problem.failed(LinuxError(errno: EBADF))) { try SecretSource.readLine(-1) }
  }

  @Test func noMoreThanMQTTAllows() throws {
    let secret = try Secret()
    for _ in 0..<Secret.byteCountMax { #expect(secret.append(0x61)) }
    #expect(!secret.append(0x62))
    #expect(secret.count == 65_535 && !secret.bytes.contains(0x62))
    secret.removeLast()
    #expect(secret.append(0x63) && secret.bytes[65_534] == 0x63)
  }

  private struct Terminal {
    let master: Int32
    let slave: Int32

    init() {
      let master = open("/dev/ptmx", O_RDWR | O_NOCTTY)
      var isLocked: Int32 = 0
      var number: Int32 = 0
      let isUnlocked = ioctl(master, UInt(0x4004_5431), &isLocked) == 0  // TIOCSPTLCK
      let isNumbered = ioctl(master, UInt(0x8004_5430), &number) == 0  // TIOCGPTN
      precondition(isUnlocked && isNumbered)
      self.master = master
      slave = open("/dev/pts/\(number)", O_RDWR | O_NOCTTY)
      precondition(slave >= 0)
    }

    var isEchoing: Bool {
      var line = termios()
      return tcgetattr(slave, &line) == 0 && line.c_lflag & tcflag_t(ECHO) != 0
    }

    func close() {
      Glibc.close(slave)
      Glibc.close(master)
    }
  }

  @Test func aTerminalHidesWhatIsTypedAndShowsAgain() throws {
    let terminal = Terminal()
    defer { terminal.close() }
    #expect(SecretSource.isTerminal(terminal.slave) && terminal.isEchoing)
    var wasAsked = false
    let secret = try SecretSource.readHidden(terminal.slave) {
      wasAsked = !terminal.isEchoing  // hidden before anything is asked
      #expect(write("sesame\n", to: terminal.master) == 7)
    }
    #expect(wasAsked && text(secret.bytes) == "sesame" && terminal.isEchoing)
    // The terminal has given nothing back of it.
    #expect(fcntl(terminal.master, F_SETFL, O_NONBLOCK) == 0)
    #expect(readText(terminal.master) == "<would block>")
  }

  @Test func aPipeIsNoTerminal() {
    var ends: [Int32] = [0, 0]
    #expect(pipe(&ends) == 0)
    #expect(!SecretSource.isTerminal(ends[0]) && !SecretSource.isTerminal(-1))
    #expect(throws: SecretSource.Problem.failed(LinuxError(errno: ENOTTY))) {
      try SecretSource.readHidden(ends[0]) { Issue.record("asked") }
    }
    for end in ends { close(end) }
  }
}
