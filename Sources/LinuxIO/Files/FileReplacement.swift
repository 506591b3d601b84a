public import Bounded
import CLinux

extension Files {
  /// Writes a file anew, whole or not at all: on an error the file is as it was. A crash may leave NAME.new behind.
  /// - Parameter status: of the file that was there, whose permissions and owner the new one gets.
  public static func replace(_ path: Bytes, with bytes: Bytes, keeping status: FileStatus) throws(LinuxError) {
    try check(replace(path, with: bytes, status))
  }

  /// Makes a file that only its owner may read, whole or not at all. A file that is there already is replaced.
  public static func createPrivate(_ path: Bytes, with bytes: Bytes) throws(LinuxError) {
    try check(replace(path, with: bytes, nil, permissions: 0o600))
  }

  /// Makes a file that everybody may read, whatever the process's umask, whole or not at all. A file that is there already is
  /// replaced.
  public static func createPublic(_ path: Bytes, with bytes: Bytes) throws(LinuxError) {
    try check(replace(path, with: bytes, nil, permissions: 0o644, isExact: true))
  }

  /// Lets the members of a group read a file that only its owner may read. Only the superuser and the group's members may.
  public static func share(_ path: Bytes, withGroup group: UInt32) throws(LinuxError) {
    let fd = try check(withPath(path) { clinux_open_read_now($0) })
    defer { _ = clinux_close(fd) }
    var status = clinux_file_status()
    try check(clinux_file_status(fd, &status))
    if status.group != group { try check(clinux_set_owner(fd, status.owner, group)) }
    try check(clinux_set_permissions(fd, 0o640))
  }

  /// Writes a file anew, whole or not at all. 0 or -errno; then the file is as it was.
  static func replace(_ path: Bytes, with bytes: Bytes) -> Int32 { replace(path, with: bytes, nil) }

  private static func replace(
    _ path: Bytes, with bytes: Bytes, _ status: FileStatus?, permissions: UInt32 = 0o640, isExact: Bool = false
  ) -> Int32 {
    var new = FixedText<512>(path)
    new.append(".new")
    let answer = new.withBytes { new in
      withPath(new) { new in
        _ = clinux_unlink(new)  // left over from a crash
        let answer = create(new, bytes, status, permissions, isExact)
        let renamed = answer < 0 ? answer : withPath(path) { clinux_rename(new, $0) }
        if renamed < 0 { _ = clinux_unlink(new) }
        return renamed
      }
    }
    guard answer >= 0 else { return answer }
    return syncDirectory(of: path)
  }

  private static func create(
    _ path: UnsafePointer<CChar>, _ bytes: Bytes, _ status: FileStatus?, _ permissions: UInt32, _ isExact: Bool
  ) -> Int32 {
    // Nobody else may read it before its owner is set.
    let fd = clinux_create(path, status == nil ? permissions : 0o600)
    guard fd >= 0 else { return fd }
    var answer = status.map { dress(fd, $0) } ?? 0
    if isExact, answer >= 0 { answer = clinux_set_permissions(fd, permissions) }
    var start = 0
    while start < bytes.count, answer >= 0 {
      let count = clinux_write(fd, bytes.buffer.baseAddress! + start, bytes.count - start)
      if count > 0 {
        start += Int(count)
      } else if count != -Int64(CLINUX_EINTR) {
        answer = count < 0 ? Int32(count) : -Int32(CLINUX_EIO)
      }
    }
    if answer >= 0 { answer = clinux_sync(fd) }
    let closed = clinux_close(fd)
    return answer < 0 ? answer : closed
  }

  /// Gives a new file an old one's owner and permissions. Only the superuser may give files away.
  private static func dress(_ fd: Int32, _ status: FileStatus) -> Int32 {
    var own = clinux_file_status()
    let answer = clinux_file_status(fd, &own)
    guard answer >= 0 else { return answer }
    if own.owner != status.owner || own.group != status.group {
      let answer = clinux_set_owner(fd, status.owner, status.group)
      guard answer >= 0 else { return answer }
    }
    return clinux_set_permissions(fd, status.permissions)
  }

  private static func syncDirectory(of path: Bytes) -> Int32 {
    var end = path.count
    while end > 0, path[end - 1] != UInt8(ascii: "/") { end -= 1 }
    let fd = withPath(end == 0 ? Bytes(".") : path.first(max(end - 1, 1))) { clinux_open_directory($0) }
    guard fd >= 0 else { return fd }
    defer { _ = clinux_close(fd) }
    let answer = clinux_sync(fd)
    // Some file systems cannot; the file itself is safe then as far as they go.
    return answer == -Int32(CLINUX_EINVAL) ? 0 : answer
  }

  /// Renames a file to NAME.bad, so that it is there to be looked at and no longer in the way. 0 or -errno.
  public static func setAside(_ path: Bytes) throws(LinuxError) {
    var bad = FixedText<512>(path)
    bad.append(".bad")
    let answer = bad.withBytes { bad in withPath(bad) { bad in withPath(path) { clinux_rename($0, bad) } } }
    try check(answer)
  }
}
