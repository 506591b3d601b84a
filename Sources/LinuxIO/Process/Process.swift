public import Bounded
import CLinux

/// The process's arguments, environment and identity.
public enum Process {
  public static var argumentCount: Int { Int(clinux_argument_count()) }

  /// The argument at `index`, from 0 (the program); nil beyond the last. Lives as long as the process.
  public static func argument(_ index: Int) -> Bytes? {
    clinux_argument(Int32(clamping: index)).map { bytes(fromCString: $0) }
  }

  /// An environment variable's value, nil when it is not set.
  public static func environment(_ name: StaticString) -> Bytes? {
    precondition(name.utf8Start[name.utf8CodeUnitCount] == 0)
    return name.withUTF8Buffer { buffer in
      buffer.withMemoryRebound(to: CChar.self) { clinux_environment($0.baseAddress!).map { bytes(fromCString: $0) } }
    }
  }

  public static var uid: UInt32 { clinux_uid() }
  public static var pid: Int32 { clinux_pid() }

  /// The machine's name, empty when there is none.
  public static func hostName() -> FixedText<64> {
    var name = FixedText<64>()
    _ = name.fill { buffer in
      let text = buffer.baseAddress!.assumingMemoryBound(to: CChar.self)
      guard clinux_hostname(text, buffer.count) == 0 else { return 0 }
      return Int64(bytes(fromCString: text).count)
    }
    return name
  }

  /// Raises the number of descriptors the process may have to `wanted`, if the hard limit allows; the number then.
  public static func raiseDescriptorLimit(to wanted: Int) throws(LinuxError) -> Int {
    let limit = clinux_raise_descriptor_limit(Int64(wanted))
    guard limit >= 0 else { throw LinuxError(errno: Int32(-limit)) }
    return Int(limit)
  }

  /// Opens /dev/null as each of the descriptors 0 to 2 that is closed, so that no file, socket or eventfd of ours becomes one
  /// of them, into which the log would be written. First of all, before the process opens anything.
  public static func fillStandardDescriptors() throws(LinuxError) { try check(clinux_fill_standard_descriptors()) }

  /// 128 bits from the kernel's random number generator. Waits for its seed in the first second after power-on.
  public static func randomKey() throws(LinuxError) -> HashKey {
    var words = InlineArray<2, UInt64>(repeating: 0)
    let result = withUnsafeMutableBytes(of: &words) { clinux_random($0.baseAddress!, $0.count) }
    try check(result)
    return HashKey(low: words[0], high: words[1])
  }

  /// Fills `bytes` from the same generator.
  public static func fillRandom(_ bytes: inout [UInt8]) throws(LinuxError) {
    try check(bytes.withUnsafeMutableBytes { clinux_random($0.baseAddress, $0.count) })
  }

  public static func exit(_ status: Int32) -> Never { clinux_exit(status) }
}
