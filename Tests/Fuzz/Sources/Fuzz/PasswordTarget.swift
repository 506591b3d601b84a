import Bounded
import Glibc
import TaplineConfiguration

/// Any bytes as a password file: it is refused with errors that name its lines and say nothing of what stands there, or the
/// table holds its users and no others. And as a file that `tapline passwd` changes: the other lines stay.
func fuzzPasswords(_ input: inout Input) {
  let file = input.rest()
  let capacity = 4
  let byteCount = 1 << 14
  guard let memory = aligned_alloc(Reservation.alignment, byteCount) else { return }
  defer { free(memory) }
  memset(memory, 0, byteCount)
  var reservation = Reservation(region: UnsafeMutableRawBufferPointer(start: memory, count: byteCount))
  var table = PasswordTable(capacity: capacity, nameBytesMax: 16, in: &reservation)
  var errors: [PasswordFileError] = []
  let isGood = withLent(file) { table.fill(from: $0, iterationsMax: 100_000) { errors.append($0) } }
  check(isGood == errors.isEmpty, "\(errors.count) errors")
  check(isGood || table.count == 0, "\(table.count) users of a refused file")

  let lines = file.split(separator: 10, omittingEmptySubsequences: false).map { line in
    line.last == 13 ? Array(line.dropLast()) : Array(line)
  }
  var last = 0
  for error in errors {
    check(error.line > last && error.line <= lines.count, "line \(error.line) of \(lines.count) behind \(last)")
    last = error.line
    let text = error.text.bytes
    check(!text.contains { $0 < 32 || $0 > 126 }, "line \(error.line): \(text.hex)")
    let line = lines[error.line - 1]
    check(line.count < 40 || !contains(text, line), "the error quotes its line")
  }
  for place in 0..<table.count {
    let name = table.name(at: place)
    check(table.find(name) != nil, "user \(place) is not found")
    check(lines.contains { $0.starts(with: name.array() + [0x3A, 0x24]) }, "user \(place) is not in the file")
  }
  withLent(file) { checkChanges($0, lines) }
}

private func checkChanges(_ file: Bytes, _ lines: [[UInt8]]) {
  let name = [UInt8]("bob".utf8)
  func others(_ lines: [[UInt8]]) -> [[UInt8]] { lines.filter { !$0.isEmpty && !$0.starts(with: name + [0x3A]) } }
  func split(_ file: [UInt8]) -> [[UInt8]] {
    file.split(separator: 10, omittingEmptySubsequences: false).map { $0.last == 13 ? Array($0.dropLast()) : Array($0) }
  }
  let entry = withLent([1, 2, 3]) { PasswordEntry(password: $0, salt: $0, iterations: 1) }
  withLent(name) { bob in
    let set = PasswordFile.setting(bob, to: entry, in: file)
    check(others(split(set)) == others(lines), "setting changes another line")
    check(split(set).count { $0.starts(with: name + [0x3A]) } == 1, "not one line of the user")
    if let rest = PasswordFile.removing(bob, from: file) {
      check(split(rest).filter { !$0.isEmpty } == others(lines), "removing changes another line")
    } else {
      check(!lines.contains { $0.starts(with: name + [0x3A]) }, "the user is there still")
    }
  }
}

private func contains(_ text: [UInt8], _ part: [UInt8]) -> Bool {
  guard text.count >= part.count else { return false }
  return (0...(text.count - part.count)).contains { text[$0..<($0 + part.count)].elementsEqual(part) }
}
