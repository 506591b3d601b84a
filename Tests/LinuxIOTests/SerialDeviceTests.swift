import Bounded
import CLinux
import Glibc
import Testing

@testable import LinuxIO

/// Serial devices, with pseudo-terminals in their place.
@Suite struct SerialDeviceTests {
  /// A master and its slave's path.
  private func pseudoTerminal() throws -> (master: Int32, path: String) {
    let master = Glibc.open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK)
    var isLocked: Int32 = 0
    try #require(master >= 0 && ioctl(master, UInt(0x4004_5431), &isLocked) == 0)  // TIOCSPTLCK
    var number: Int32 = 0
    try #require(ioctl(master, UInt(0x8004_5430), &number) == 0)  // TIOCGPTN
    return (master, "/dev/pts/\(number)")
  }

  private func open(_ path: String, _ settings: SerialSettings = SerialSettings()) throws -> Int32 {
    try withBytes(path) { try SerialDevice.open($0, settings) }
  }

  @Test func aLineIsRawAndMarksErrors() throws {
    let (master, path) = try pseudoTerminal()
    let fd = try open(path, SerialSettings(baud: 9600))
    var line = termios()
    #expect(tcgetattr(fd, &line) == 0)
    #expect(line.c_lflag & tcflag_t(ICANON | ECHO | ISIG) == 0)
    #expect(line.c_iflag & tcflag_t(INPCK | PARMRK) == tcflag_t(INPCK | PARMRK))
    #expect(line.c_iflag & tcflag_t(IXON | IXOFF | ICRNL | ISTRIP) == 0)
    #expect(line.c_oflag & tcflag_t(OPOST) == 0)
    #expect(line.c_cflag & tcflag_t(CSIZE) == tcflag_t(CS8) && line.c_cflag & tcflag_t(CLOCAL) != 0)
    #expect(cfgetospeed(&line) == speed_t(B9600))
    #expect(fcntl(fd, F_GETFL) & O_NONBLOCK != 0 && fcntl(fd, F_GETFD) & FD_CLOEXEC != 0)
    for descriptor in [fd, master] { Transport.close(descriptor) }
  }

  /// Bytes of every value go both ways; coming in, 0xFF is doubled, as marks begin with it.
  @Test func bytesGoBothWays() throws {
    let (master, path) = try pseudoTerminal()
    let fd = try open(path)
    let all = (0...255).map { UInt8($0) }
    func send(_ bytes: [UInt8], to descriptor: Int32) {
      bytes.withUnsafeBytes { _ = Transport.write(descriptor, Bytes($0)) }
    }
    func receive(from descriptor: Int32, count: Int) -> [UInt8] {
      var found: [UInt8] = []
      var buffer = [UInt8](repeating: 0, count: 1024)
      while found.count < count {
        guard clinux_wait_readable(descriptor, Int64(Patience.milliseconds) * 1_000_000) == 1 else { break }
        let taken = buffer.withUnsafeMutableBytes { memory -> Int in
          if case .bytes(let count) = Transport.read(descriptor, into: memory) { count } else { 0 }
        }
        found += buffer[..<taken]
      }
      return found
    }
    send(all, to: master)
    #expect(receive(from: fd, count: 257) == all + [0xFF])
    send(all, to: fd)
    #expect(receive(from: master, count: 256) == all)
    for descriptor in [fd, master] { Transport.close(descriptor) }
  }

  @Test func whatCannotBeOpenedIsRefused() throws {
    let directory = TemporaryDirectory()
    directory.file("plain", "x")
    #expect(errno { _ = try open(directory.path + "/none") } == ENOENT)
    #expect(errno { _ = try open(directory.path + "/plain") } == ENOTTY)
    let (master, path) = try pseudoTerminal()
    #expect(errno { _ = try open(path, SerialSettings(baud: 115_000)) } == EINVAL)
    Transport.close(master)
  }

  /// Start bit, 8 bits, stop bit, and a parity bit where there is one.
  @Test func aByteTakesItsTime() {
    #expect(SerialSettings(baud: 1000).nanosecondsPerByte == 10_000_000)
    #expect(SerialSettings(baud: 1000, parity: .odd).nanosecondsPerByte == 11_000_000)
  }
}
