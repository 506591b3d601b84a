import Bounded
import LinuxIO
import Taps

/// The files that `users:` names: the password file, the ACL file, and /etc/passwd and /etc/group for names of this machine's
/// users and groups.
package enum UserFiles {
  static var byteCountMax: Int { 1 << 20 }

  /// A file's bytes, and whether every user of the machine may read or change it; nil, with an error where its name stands,
  /// when it cannot be read.
  static func read(
    _ path: [UInt8], namedAt place: Place, errors: ErrorList
  ) -> (bytes: [UInt8], isOpenToOthers: Bool)? {
    do throws(LinuxError) {
      return try read(path)
    } catch {
      var text = Text()
      text.add(quoted: path)
      switch error {
      case .noEntry: text.add(" is not there; expected a file, which 'tapline passwd' or an editor makes")
      case .isDirectory: text.add(" is a directory; expected a file")
      case .invalid: text.add(" is no regular file; expected a file")
      case .fileTooLarge: text.add(" is larger than 1 MiB")
      case .accessDenied: text.add(" cannot be read: Permission denied; expected a file that the user tapline may read")
      default:
        text.add(" cannot be read: ")
        text.add(error.text)
      }
      errors.add(place, text)
      return nil
    }
  }

  /// How many users a password file has, each of whose errors goes to `errors`.
  static func checkPasswords(_ file: [UInt8], nameBytesMax: Int, errors: ErrorList) -> Int {
    file.lend { bytes in
      var lineCount = 1
      var lines = PasswordLines(bytes)
      while lines.next() != nil { lineCount += 1 }
      var counting = Reservation.counting()
      _ = PasswordTable(capacity: lineCount, nameBytesMax: nameBytesMax, in: &counting)
      let memory = UnsafeMutableRawBufferPointer.allocate(
        byteCount: counting.byteCount, alignment: Reservation.alignment)
      defer { memory.deallocate() }
      memory.initializeMemory(as: UInt8.self, repeating: 0)
      var reservation = Reservation(region: memory)
      var table = PasswordTable(capacity: lineCount, nameBytesMax: nameBytesMax, in: &reservation)
      let isGood = table.fill(from: bytes) { error in
        errors.add(Place(line: max(1, error.line), column: 1), PasswordFileError(line: 0, error.problem).text)
      }
      return isGood ? table.count : 0
    }
  }

  /// The uid that /etc/passwd has for a name; nil when it has none.
  static func uid(ofUserNamed name: [UInt8], in file: [UInt8]) -> UInt32? {
    file.lend { bytes in
      var start = 0
      while start < bytes.count {
        let end = bytes.firstIndex(of: UInt8(ascii: "\n"), from: start) ?? bytes.count
        let line = bytes[start..<end]
        start = end + 1
        guard let first = line.firstIndex(of: UInt8(ascii: ":")), name.lend({ $0 == line.first(first) }),
          let second = line.firstIndex(of: UInt8(ascii: ":"), from: first + 1)
        else { continue }
        let third = line.firstIndex(of: UInt8(ascii: ":"), from: second + 1) ?? line.count
        return Values.integer(line[(second + 1)..<third].array()).flatMap { UInt32(exactly: $0) }
      }
      return nil
    }
  }

  /// A group's number: that of /etc/group for a name, or the number itself; nil when there is no such group.
  package static func gid(_ group: [UInt8]) -> UInt32? {
    if let number = Values.integer(group) { return UInt32(exactly: number) }
    return (try? read([UInt8](ascii: "/etc/group"))).flatMap { uid(ofUserNamed: group, in: $0.bytes) }
  }

  static var machineUsers: [UInt8] { (try? read([UInt8](ascii: "/etc/passwd")))?.bytes ?? [] }

  private static func read(_ path: [UInt8]) throws(LinuxError) -> (bytes: [UInt8], isOpenToOthers: Bool) {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCountMax, alignment: 16)
    defer { memory.deallocate() }
    let (byteCount, status) = try path.lend { path throws(LinuxError) in try Files.read(path, into: memory) }
    return ([UInt8](UnsafeRawBufferPointer(rebasing: memory[..<byteCount])), status.isOpenToOthers)
  }
}
