import Bounded
import CLinux

/// A directory's entries, read without allocating.
enum Directory {
  /// The entry whose name begins with `prefix` and is `wanted`, with the lowest number at its end: of `hwmon9` and
  /// `hwmon10` the first. One without a number comes last. Nil when there is none, or the directory cannot be read.
  /// Names of more than 64 bytes are passed over.
  static func lowest(in folder: Bytes, prefix: Bytes, wanted: (Bytes) -> Bool) -> FixedText<64>? {
    var lowest = Int64.max
    var best: FixedText<64>?
    _ = forEach(folder) { entry, _ in
      guard entry.hasPrefix(prefix), entry.count <= 64 else { return }
      let number = entry.trailingDecimal ?? .max - 1
      guard number < lowest, wanted(entry) else { return }
      lowest = number
      best = FixedText<64>(entry)
    }
    return best
  }

  /// Whether `path` is a symbolic link to `name`, alone or as the last part of a longer path.
  static func isLink(_ path: Bytes, to name: Bytes) -> Bool {
    var target = FixedText<256>()
    let count = target.fill { buffer in
      var length: Int64 = 0
      let answer = withPath(path) { path in
        length = clinux_readlink(path, buffer.baseAddress!, buffer.count)
        return 0
      }
      return answer < 0 ? Int64(answer) : length
    }
    guard count > 0 else { return false }
    return target.withBytes { target in
      let start = target.count - name.count
      return target == name || start > 0 && target.from(start) == name && target[start - 1] == UInt8(ascii: "/")
    }
  }

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
