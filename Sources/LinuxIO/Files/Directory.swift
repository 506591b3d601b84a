import Bounded
import CLinux

/// A directory's entries, read without allocating.
enum Directory {
  enum Kind { case link, other }

  /// Calls `body` with each name, in no order, `.` and `..` left out. 0 or -errno.
  static func forEach(_ path: Bytes, _ body: (Bytes, Kind) -> Void) -> Int32 {
    let fd = withPath(path) { clinux_open_directory($0) }
    guard fd >= 0 else { return fd }
    defer { _ = clinux_close(fd) }
    // struct linux_dirent64: inode u64, offset s64, length u16, type u8, name with NUL. A name has 255 bytes at most.
    return withUnsafeTemporaryAllocation(byteCount: 1024, alignment: 8) { buffer in
      while true {
        let count = clinux_directory_read(fd, buffer.baseAddress!, buffer.count)
        guard count > 0 else { return Int32(count) }
        var start = 0
        while start < Int(count) {
          let length = Int(buffer.load(fromByteOffset: start + 16, as: UInt16.self))
          let field = Bytes(UnsafeRawBufferPointer(rebasing: buffer[(start + 19)..<(start + length)]))
          let name = field.first(field.firstIndex(of: 0) ?? field.count)
          let isLink = buffer[start + 18] == 10  // DT_LNK
          if name != Bytes("."), name != Bytes("..") { body(name, isLink ? .link : .other) }
          start += length
        }
      }
    }
  }
}
