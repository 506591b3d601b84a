public import Bounded
import CLinux

/// Whole files at start-up. Allocates.
public enum Files {
  /// A file's bytes; EFBIG when there are more than `bytesMax`.
  public static func read(_ path: Bytes, bytesMax: Int) throws(LinuxError) -> [UInt8] {
    let fd = try check(withPath(path) { clinux_open_read($0) })
    defer { _ = clinux_close(fd) }
    var content: [UInt8] = []
    while true {
      let start = content.count
      content.append(contentsOf: repeatElement(0, count: min(4096, bytesMax + 1 - start)))
      let count = content.withUnsafeMutableBytes { clinux_read(fd, $0.baseAddress! + start, $0.count - start) }
      guard count >= 0 else {
        content.removeLast(content.count - start)
        if count == -Int64(CLINUX_EINTR) { continue }
        throw LinuxError(errno: Int32(-count))
      }
      content.removeLast(content.count - start - Int(count))
      guard count > 0 else { return content }
      guard content.count <= bytesMax else { throw .fileTooLarge }
    }
  }
}

extension Files {
  /// The absolute path of a directory, without links. ENOTDIR where there is something else.
  public static func directory(_ path: Bytes) throws(LinuxError) -> [UInt8] {
    _ = try clinux_close(check(withPath(path) { clinux_open_directory($0) }))
    var text = [UInt8](repeating: 0, count: pathBytesMax + 1)
    let answer = text.withUnsafeMutableBytes { text in
      let place = text.baseAddress!.assumingMemoryBound(to: CChar.self)
      return withPath(path) { clinux_real_path($0, place, text.count) }
    }
    try check(answer)
    return [UInt8](text.prefix { $0 != 0 })
  }
}

/// How much memory there is for a reservation; nil where the kernel does not say.
public enum SystemMemory {
  /// MemAvailable of /proc/meminfo in bytes.
  public static func availableBytes() -> Int64? {
    guard let text = try? Files.read(Bytes("/proc/meminfo"), bytesMax: 16_384) else { return nil }
    return text.withUnsafeBytes { number(after: Bytes("MemAvailable:"), in: Bytes($0)) }.map {
      min($0, .max / 1024) * 1024
    }
  }

  /// The least memory.max of this process's control group (version 2) and those above it, in bytes; nil without a
  /// limit.
  public static func controlGroupBytes() -> Int64? {
    guard let text = try? Files.read(Bytes("/proc/self/cgroup"), bytesMax: 4096) else { return nil }
    var least: Int64?
    text.withUnsafeBytes { content in
      let whole = Bytes(content)
      guard whole.hasPrefix(Bytes("0::/")) else { return }
      var path = FixedText<400>()
      path.append("/sys/fs/cgroup")
      path.append(whole[3..<(whole.firstIndex(of: 10) ?? whole.count)])
      while path.count > 14 {
        let group = path.count
        path.append("/memory.max")
        let limit = path.withBytes { path in try? Files.read(path, bytesMax: 64) }
        if let limit, let bytes = limit.withUnsafeBytes({ Bytes($0).leadingDecimal }) {  // or `max`
          least = min(least ?? bytes, bytes)
        }
        var parent = group - 1
        while path[parent] != UInt8(ascii: "/") { parent -= 1 }
        path.truncate(to: parent)
      }
    }
    return least
  }

  /// The decimal number that follows `key` and blanks; nil when there is none.
  static func number(after key: Bytes, in text: Bytes) -> Int64? {
    for start in 0...max(0, text.count - key.count) where text.from(start).hasPrefix(key) {
      var index = start + key.count
      while index < text.count, text[index] == 32 { index += 1 }
      return text.decimal(from: index)?.value
    }
    return nil
  }
}
