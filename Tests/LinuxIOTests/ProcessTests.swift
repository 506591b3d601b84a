import Bounded
import CLinux
import Glibc
import Testing

@testable import LinuxIO

@Suite struct ProcessTests {
  @Test func blockedSignalsAreReadFromTheDescriptor() throws {
    let signals = try Signals()
    defer { signals.close() }
    #expect(signals.next() == nil)
    for (number, signal) in [
      (CLINUX_SIGUSR1, Signals.Signal.report), (CLINUX_SIGHUP, .reload), (CLINUX_SIGTERM, .stop),
      (CLINUX_SIGINT, .stop),
    ] {
      #expect(clinux_signal_self(Int32(number)) == 0)
      #expect(signals.next() == signal)
    }
    #expect(signals.next() == nil)
  }

  @Test func everyKeyIsAnother() throws {
    var hashes: Set<UInt64> = []
    for _ in 0..<100 { hashes.insert(try Process.randomKey().hash(.empty)) }
    #expect(hashes.count == 100)
  }

  @Test func moreRandomBytesThanOneCallGives() {
    // Beyond 33,554,431 bytes getrandom(2) is short.
    let count = 33_554_431 + 64
    var bytes = [UInt8](repeating: 0, count: count)
    #expect(bytes.withUnsafeMutableBytes { clinux_random($0.baseAddress!, count) } == 0)
    #expect(bytes.suffix(64).contains { $0 != 0 })
  }

  @Test func mappedMemoryIsZeroedWholePagesAndWritable() throws {
    for byteCount in [1, 4096, 4097, 3_000_000] {
      let memory = try MappedMemory(byteCount: byteCount)
      #expect(memory.byteCount >= byteCount && memory.byteCount % 4096 == 0 && memory.byteCount < byteCount + 65_536)
      #expect(UInt(bitPattern: memory.base) % 4096 == 0)
      #expect(memory.buffer.allSatisfy { $0 == 0 })
      memory.buffer[memory.byteCount - 1] = 1
      memory.release()
    }
  }

  @Test func mappedMemoryIsResident() throws {
    let memory = try MappedMemory(byteCount: 1 << 20)
    var resident = [UInt8](repeating: 0, count: memory.byteCount / 4096)
    #expect(mincore(memory.base, memory.byteCount, &resident) == 0)
    #expect(resident.allSatisfy { $0 & 1 == 1 })
    memory.release()
  }

  @Test func memoryThatIsNotThereIsAnError() {
    #expect(errno { _ = try MappedMemory(byteCount: 1 << 60) } == ENOMEM)
  }

  @Test func filesAreReadWholeOrRefused() throws {
    let directory = TemporaryDirectory()
    let content = String(repeating: "0123456789abcde\n", count: 1000)
    directory.file("f", content)
    let path = directory.path + "/f"
    for bytesMax in [16_000, 16_001, 1 << 20] {
      #expect(try withBytes(path) { try Files.read($0, bytesMax: bytesMax) } == Array(content.utf8))
    }
    #expect(errno { _ = try withBytes(path) { try Files.read($0, bytesMax: 15_999) } } == EFBIG)
    #expect(errno { _ = try withBytes(path + "x") { try Files.read($0, bytesMax: 10) } } == ENOENT)
    #expect(errno { _ = try withBytes(directory.path) { try Files.read($0, bytesMax: 10) } } == EISDIR)
    #expect(errno { _ = try withBytes("a\0b") { try Files.read($0, bytesMax: 10) } } == EINVAL)
    #expect(
      errno { _ = try withBytes(String(repeating: "a", count: 512)) { try Files.read($0, bytesMax: 10) } }
        == ENAMETOOLONG)
  }

  @Test func systemMemoryIsKnown() throws {
    #expect(try #require(SystemMemory.availableBytes()) > 1 << 20)
    if let limit = SystemMemory.controlGroupBytes() { #expect(limit > 0) }
  }

  @Test(arguments: [
    ("MemAvailable:   123 kB", "MemAvailable:", Int64(123)), ("max\n", "", nil), ("7\n", "", 7), ("", "", nil),
    ("x", "y", nil),
  ])
  func numbersAreFoundAfterTheirKey(content: String, key: String, value: Int64?) {
    #expect(withBytes(content) { content in withBytes(key) { SystemMemory.number(after: $0, in: content) } } == value)
  }

  @Test func argumentsAndEnvironmentAreThere() {
    #expect(Process.argumentCount == CommandLine.arguments.count)
    for (index, argument) in CommandLine.arguments.enumerated() {
      #expect(Process.argument(index).map { text($0) } == argument)
    }
    #expect(Process.argument(Process.argumentCount) == nil && Process.argument(-1) == nil)
    setenv("TAPLINE_TEST", "value", 1)
    #expect(Process.environment("TAPLINE_TEST").map { text($0) } == "value")
    #expect(Process.environment("TAPLINE_TEST_UNSET") == nil)
    #expect(Process.uid == getuid() && Process.pid == getpid())
    #expect(!Process.hostName().isEmpty)
  }

  @Test func theServiceManagerIsTold() throws {
    let directory = TemporaryDirectory()
    for path in [directory.path + "/notify", "@tapline-test-\(getpid())"] {
      let receiver = clinux_datagram_socket()
      var address = try withBytes(path) { try unixAddress($0) }
      #expect(clinux_bind(receiver, &address) == 0)
      let manager = withBytes(path) {
        ServiceManager(socket: $0, watchdogMicroseconds: Bytes("5000000"), watchdogPID: nil)
      }
      #expect(manager.isPresent && manager.watchdogNanoseconds == 5_000_000_000)
      manager.ready()
      manager.keepAlive()
      manager.reloading(monotonicMicroseconds: 1_234_567)
      #expect(manager.notify(Bytes("STATUS=3 clients")))
      for expected in ["READY=1", "WATCHDOG=1", "RELOADING=1\nMONOTONIC_USEC=1234567", "STATUS=3 clients"] {
        #expect(readText(receiver) == expected)
      }
      Transport.close(receiver)
    }
  }

  @Test func withoutAServiceManagerNothingHappens() {
    let none = ServiceManager(socket: nil, watchdogMicroseconds: nil, watchdogPID: nil)
    #expect(!none.isPresent && none.watchdogNanoseconds == nil && !none.notify(Bytes("READY=1")))
    let gone = ServiceManager(socket: Bytes("/nonexistent/notify"), watchdogMicroseconds: Bytes("x"), watchdogPID: nil)
    #expect(!gone.isPresent && gone.watchdogNanoseconds == nil)
    let other = ServiceManager(socket: nil, watchdogMicroseconds: Bytes("5000000"), watchdogPID: Bytes("1"))
    #expect(other.watchdogNanoseconds == nil)  // sd_watchdog_enabled(3): meant for another process
  }

  @Test func errorsHaveTexts() {
    #expect(text(LinuxError(errno: EACCES).text) == "Permission denied")
    #expect(text(LinuxError(errno: 9999).text) == "Unknown error")
  }

  @Test func fixedTextIsCutWhereItEnds() {
    var name = FixedText<4>()
    let whole = name.append("abc")
    let cut = name.append("de")
    #expect(whole && !cut && text(name) == "abcd")
    let digit = name.append(decimal: 1)
    #expect(!digit)
    name.truncate(to: 1)
    let number = name.append(decimal: 207)
    #expect(number && text(name) == "a207" && name == Bytes("a207") && name != Bytes("a20"))
    let filled = name.fill { _ in -5 }
    #expect(filled == -5 && name.isEmpty)
    #expect(written { FixedText<8>(Bytes("longer than it")).write(to: &$0) } == "longer t")
  }
}
