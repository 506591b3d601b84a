public import Bounded
public import LinuxIO

/// A password file: read whole into a table, or changed by one user.
public enum PasswordFile {
  /// The largest file that `tapline passwd` changes.
  public static var byteCountMax: Int { 1 << 20 }

  public enum Outcome: Equatable, BitwiseCopyable, Sendable {
    /// Something is wrong and was reported; the table is empty.
    case refused
    case loaded
    /// Any user of the machine may read or change the file, which deserves a warning.
    case loadedOpenToOthers
  }

  /// Fills `table` from the file at `path`, without allocating.
  /// - Parameters:
  ///   - place: where the file's bytes lie meanwhile; a larger file is refused.
  ///   - report: called with each thing that is wrong, in the order of the lines.
  public static func load(
    _ path: Bytes, into table: inout PasswordTable, by place: UnsafeMutableRawBufferPointer,
    iterationsMax: Int = PasswordEntry.iterationsMaxDefault, report: (PasswordFileError) -> Void
  ) -> Outcome {
    do throws(PasswordFileError) {
      let (byteCount, status) = try read(path, into: place)
      let file = Bytes(UnsafeRawBufferPointer(rebasing: place[..<byteCount]))
      guard table.fill(from: file, iterationsMax: iterationsMax, report: report) else { return .refused }
      return status.isOpenToOthers ? .loadedOpenToOthers : .loaded
    } catch {
      table.removeAll()
      report(error)
      return .refused
    }
  }

  /// The file's bytes at the front of `place`, and how many they are.
  public static func read(
    _ path: Bytes, into place: UnsafeMutableRawBufferPointer
  ) throws(PasswordFileError) -> (byteCount: Int, status: FileStatus) {
    do throws(LinuxError) {
      return try Files.read(path, into: place)
    } catch {
      throw PasswordFileError(line: 0, problem(error, byteCountMax: place.count))
    }
  }

  private static func problem(_ error: LinuxError, byteCountMax: Int) -> PasswordFileError.Problem {
    if error == .noEntry { return .absent }
    if error == .isDirectory { return .directory }
    if error == .invalid { return .notRegular }
    if error == .fileTooLarge { return .tooLarge(byteCountMax: byteCountMax) }
    return .unreadable(error)
  }

  /// The file with `name`'s line written anew, where the user's first one stood or at the end. Every other line stays as it
  /// is, byte for byte.
  public static func setting(_ name: Bytes, to entry: PasswordEntry, in file: Bytes) -> [UInt8] {
    var text = Text()
    var isSet = false
    var lines = PasswordLines(file)
    while let line = lines.next() {
      guard line.isUser(name) else {
        text.add(file[line.start..<line.end])
        continue
      }
      if !isSet {
        addLine(name, entry, &text)
        text.add(file[(line.start + line.bytes.count)..<line.end])
      }
      isSet = true
    }
    if !isSet {
      if let last = text.bytes.last, last != UInt8(ascii: "\n") { text.endLine() }
      addLine(name, entry, &text)
      text.endLine()
    }
    return text.bytes
  }

  /// The file without the lines of `name`; nil when there is none.
  public static func removing(_ name: Bytes, from file: Bytes) -> [UInt8]? {
    var text = Text()
    var isFound = false
    var lines = PasswordLines(file)
    while let line = lines.next() {
      if line.isUser(name) {
        isFound = true
      } else {
        text.add(file[line.start..<line.end])
      }
    }
    return isFound ? text.bytes : nil
  }

  /// The first line that stands in no password file: /etc/passwd named by mistake, for one. Nil when there is none.
  public static func foreignLine(in file: Bytes) -> Int? {
    var lines = PasswordLines(file)
    while let line = lines.next() {
      if !line.isNobody, line.bytes.count(of: UInt8(ascii: ":")) != 1 { return line.number }
    }
    return nil
  }

  private static func addLine(_ name: Bytes, _ entry: PasswordEntry, _ text: inout Text) {
    text.add(name)
    text.add(byte: UInt8(ascii: ":"))
    entry.write(into: &text)
  }
}
