public import Bounded
import CLinux

/// What the kernel answered instead of doing what was asked.
public struct LinuxError: Error, Equatable, BitwiseCopyable, Sendable {
  /// As in errno(3), 1 or more.
  public var errno: Int32

  public init(errno: Int32) { self.errno = errno }

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
