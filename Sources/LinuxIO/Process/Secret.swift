public import Bounded
import CLinux

/// A password in memory of its own, which is overwritten at the end. The memory never grows, so no copy stays behind.
///
/// Invariant: 0 <= count <= Secret.byteCountMax.
public final class Secret {
  /// A password of MQTT has no more (§3.1.3.6).
  public static var byteCountMax: Int { 65_535 }

  private let memory: MappedMemory
  public private(set) var count = 0

  public init() throws(LinuxError) { memory = try MappedMemory(byteCount: Secret.byteCountMax + 1) }

  deinit {
    clinux_forget(memory.base, memory.byteCount)
    memory.release()
  }

  public var bytes: Bytes { Bytes(memory.base, count: count) }

  public func isEqual(to other: Secret) -> Bool { bytes == other.bytes }

  /// Appends a byte; false when there is no room.
  func append(_ byte: UInt8) -> Bool {
    guard count < Secret.byteCountMax else { return false }
    memory.base.storeBytes(of: byte, toByteOffset: count, as: UInt8.self)
    count += 1
    return true
  }

  func removeLast() {
    precondition(count > 0)
    count -= 1
  }
}

/// Where a password comes from.
public enum SecretSource {
  public enum Problem: Error, Equatable, BitwiseCopyable, Sendable {
    /// SIGINT or SIGTERM came while it was asked for.
    case interrupted
    case tooLong
    case failed(LinuxError)
  }

  /// Keeps this process from leaving a core dump, and other processes of the user from reading its memory.
  public static func refuseCoreDump() { _ = clinux_refuse_core_dump() }

  /// Takes a password from the command line and overwrites the argument, so that ps(1) no longer shows it.
  public static func take(argument index: Int) throws(Problem) -> Secret {
    let secret = try make()
    var isFit = true
    if let argument = Process.argument(index) {
      for place in 0..<argument.count where isFit { isFit = secret.append(argument[place]) }
      clinux_forget_argument(Int32(clamping: index))
    }
    guard isFit else { throw .tooLong }
    return secret
  }

  public static func isTerminal(_ fd: Int32) -> Bool { clinux_is_terminal(fd) == 1 }

  /// Reads one line of `fd`, without its end (LF or CR LF), and nothing beyond it. Blocks.
  public static func readLine(_ fd: Int32) throws(Problem) -> Secret {
    let secret = try make()
    while try readByte(fd, into: secret) {}
    return secret
  }

  /// Reads one line that is typed at the terminal `fd`. The terminal does not show it, and shows again what is typed when
  /// this function returns or throws.
  /// - Parameter ask: prints the question; called when the terminal shows nothing any more.
  public static func readHidden(_ fd: Int32, ask: () -> Void) throws(Problem) -> Secret {
    // A signal must not end the process while the terminal is mute.
    let signals = try run { () throws(LinuxError) in try Signals() }
    defer { signals.close() }
    let poller = try run { () throws(LinuxError) in
      let poller = try Poller(eventsMax: 2)
      try poller.add(signals.fd, token: 0, interest: .read)
      try poller.add(fd, token: 1, interest: .read)
      try check(clinux_terminal_echo(fd, 0))
      return poller
    }
    defer { _ = clinux_terminal_echo(fd, 1) }
    ask()
    while true {
      let eventCount = poller.wait(timeoutMilliseconds: -1)
      var isTyped = false
      for index in 0..<eventCount {
        if poller.event(index).token == 1 {
          isTyped = true
        } else if signals.next() == .stop {
          throw .interrupted
        }
      }
      if isTyped { return try readLine(fd) }  // a terminal hands over whole lines
    }
  }

  private static func make() throws(Problem) -> Secret { try run { () throws(LinuxError) in try Secret() } }

  private static func run<Value>(_ body: () throws(LinuxError) -> Value) throws(Problem) -> Value {
    do throws(LinuxError) { return try body() } catch { throw .failed(error) }
  }

  /// False at the end of the line, or of the input.
  private static func readByte(_ fd: Int32, into secret: Secret) throws(Problem) -> Bool {
    var byte: UInt8 = 0
    defer { clinux_forget(&byte, 1) }
    var count: Int64
    repeat { count = clinux_read(fd, &byte, 1) } while count == -Int64(CLINUX_EINTR)
    guard count >= 0 else { throw .failed(LinuxError(errno: Int32(-count))) }
    guard count > 0, byte != UInt8(ascii: "\n") else {
      if count > 0, secret.count > 0, secret.bytes[secret.count - 1] == UInt8(ascii: "\r") { secret.removeLast() }
      return false
    }
    guard secret.append(byte) else { throw .tooLong }
    return true
  }
}
