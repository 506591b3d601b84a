public import Bounded
import CLinux

/// Who may do what with a regular file.
public struct FileStatus: BitwiseCopyable, Sendable {
  /// Permission bits, 0o7777 at most.
  public let permissions: UInt32
  public let owner: UInt32
  public let group: UInt32

  /// Whether any user of the machine may read, write or run the file.
  public var isOpenToOthers: Bool { permissions & 0o007 != 0 }
}

extension Files {
  /// Reads a regular file into `place`, without allocating and without waiting for anybody.
  /// - Returns: the byte count, and who may do what with the file.
  /// - Throws: EFBIG when there are more bytes than `place` has, EISDIR for a directory, EINVAL for another file that is
  ///   not regular.
  public static func read(
    _ path: Bytes, into place: UnsafeMutableRawBufferPointer
  ) throws(LinuxError) -> (byteCount: Int, status: FileStatus) {
    let fd = try check(withPath(path) { clinux_open_read_now($0) })
    defer { _ = clinux_close(fd) }
    var status = clinux_file_status()
    try check(clinux_file_status(fd, &status))
    guard status.kind != Int32(CLINUX_DIRECTORY) else { throw .isDirectory }
    guard status.kind == Int32(CLINUX_REGULAR) else { throw .invalid }
    var start = 0
    var extra: UInt8 = 0
    while true {
      let count =
        start < place.count
        ? clinux_read(fd, place.baseAddress! + start, place.count - start) : clinux_read(fd, &extra, 1)
      if count == -Int64(CLINUX_EINTR) { continue }
      guard count >= 0 else { throw LinuxError(errno: Int32(-count)) }
      guard count > 0 else { break }
      guard start < place.count else { throw .fileTooLarge }
      start += Int(count)
    }
    return (
      start, FileStatus(permissions: status.permissions, owner: status.owner, group: status.group)
    )
  }

  /// Whether `path` is a symbolic link.
  public static func isLink(_ path: Bytes) -> Bool {
    var target: UInt8 = 0
    return withPath(path) { clinux_readlink($0, &target, 1) >= 0 ? 0 : -1 } == 0
  }
}
