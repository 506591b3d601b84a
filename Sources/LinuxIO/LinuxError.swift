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
