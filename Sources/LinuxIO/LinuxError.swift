public import Bounded
import CLinux

/// What the kernel answered instead of doing what was asked.
public struct LinuxError: Error, Equatable, BitwiseCopyable, Sendable {
  /// As in errno(3), 1 or more.
  public var errno: Int32

  public init(errno: Int32) { self.errno = errno }

  private init(_ errno: Int) { self.init(errno: Int32(errno)) }

  /// EPERM.
  public static var notPermitted: LinuxError { LinuxError(CLINUX_EPERM) }
  /// ENOENT: nothing has that name.
  public static var noEntry: LinuxError { LinuxError(CLINUX_ENOENT) }
  /// ENXIO: a device or line without what was asked of it.
  public static var noDeviceOrAddress: LinuxError { LinuxError(CLINUX_ENXIO) }
  /// EACCES.
  public static var accessDenied: LinuxError { LinuxError(CLINUX_EACCES) }
  /// EBUSY: somebody else has it.
  public static var busy: LinuxError { LinuxError(CLINUX_EBUSY) }
  /// ENODEV.
  public static var noDevice: LinuxError { LinuxError(CLINUX_ENODEV) }
  /// ENOTDIR: a part of a path that is no directory.
  public static var notDirectory: LinuxError { LinuxError(CLINUX_ENOTDIR) }
  /// EISDIR.
  public static var isDirectory: LinuxError { LinuxError(CLINUX_EISDIR) }
  /// EINVAL.
  public static var invalid: LinuxError { LinuxError(CLINUX_EINVAL) }
  /// EFBIG.
  public static var fileTooLarge: LinuxError { LinuxError(CLINUX_EFBIG) }
  /// EROFS.
  public static var readOnlyFileSystem: LinuxError { LinuxError(CLINUX_EROFS) }
  /// ENAMETOOLONG.
  public static var nameTooLong: LinuxError { LinuxError(CLINUX_ENAMETOOLONG) }
  /// EADDRINUSE.
  public static var addressInUse: LinuxError { LinuxError(CLINUX_EADDRINUSE) }
  /// EADDRNOTAVAIL: no interface has the address.
  public static var addressNotAvailable: LinuxError { LinuxError(CLINUX_EADDRNOTAVAIL) }

  /// A sentence in static memory, not translated: "Permission denied".
  public var text: Bytes { bytes(fromCString: clinux_error_text(errno)) }
}

/// `result` of a shim, which is -errno when negative.
@discardableResult
func check(_ result: Int32) throws(LinuxError) -> Int32 {
  guard result >= 0 else { throw LinuxError(errno: -result) }
  return result
}

/// A C string's bytes without its NUL; they live as long as the string.
func bytes(fromCString text: UnsafePointer<CChar>) -> Bytes {
  var count = 0
  while text[count] != 0 { count += 1 }
  return Bytes(UnsafeRawPointer(text), count: count)
}

/// Longest path that is passed to the kernel; no sysfs, device or socket path comes near.
let pathBytesMax = 511

/// Calls `body` with `path` and a NUL after it. -ENAMETOOLONG over 511 bytes, -EINVAL with a NUL inside.
func withPath(_ path: Bytes, _ body: (UnsafePointer<CChar>) -> Int32) -> Int32 {
  guard path.count <= pathBytesMax else { return -Int32(CLINUX_ENAMETOOLONG) }
  guard !path.contains(0) else { return -Int32(CLINUX_EINVAL) }
  return withUnsafeTemporaryAllocation(byteCount: pathBytesMax + 1, alignment: 8) { buffer in
    buffer.copyMemory(from: path.buffer)
    buffer[path.count] = 0
    return buffer.withMemoryRebound(to: CChar.self) { body($0.baseAddress!) }
  }
}
