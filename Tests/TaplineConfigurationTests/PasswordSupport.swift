import Bounded
import Glibc
import Testing

@testable import TaplineConfiguration

/// Lines that mosquitto_passwd 2.0.11 wrote, with their passwords.
enum MosquittoLines {
  /// mosquitto_passwd -H sha512
  static let ann =
    "ann:$6$T+S2vwg5R2RX6Ic7$jqhAtA2hkO5JrZMyQiIdeEMR91e5oQ6mtKU5HB0zFEyxWJjcRFfU7jniMu+k2QfKATKGaCrN30XKSfQ7wGu6+Q=="
  static let annPassword = "secret"
  /// mosquitto_passwd -H sha512-pbkdf2
  static let bob =
    "bob:$7$101$ZUdACFCeTsn/dsVE$L0lUbKb+cx50A45nneAqWQG1WDB8ThCQ/3JhlLqXaZf/Q8FJ46v3W9pVMD18JfHeJDf90DoiJVG0Q9sZLLTftg=="
  static let bobPassword = "correct horse"
  /// mosquitto_passwd -H sha512-pbkdf2 -I 1000
  static let zoe =
    "zoë:$7$1000$QEB1zLg1BUfYfbEx$5BjupG6iYbLT9OQ7CowcueST/H5NMT5ez7+UJ15uiZy5c2/ggp/WaeRIEXxY9Sh8683TIeJZBRTXde/DlziktQ=="
  static let zoePassword = "pässwörd"
}

/// A table in memory of its own.
final class PasswordWorld {
  var table: PasswordTable
  private let region: UnsafeMutableRawBufferPointer

  init(capacity: Int = 8, nameBytesMax: Int = 64) {
    let byteCount = 1 << 17
    region = .allocate(byteCount: byteCount, alignment: Reservation.alignment)
    memset(region.baseAddress!, 0, byteCount)
    var reservation = Reservation(region: region)
    table = PasswordTable(capacity: capacity, nameBytesMax: nameBytesMax, in: &reservation)
  }

  deinit { region.deallocate() }

  /// What is wrong with a file of this text.
  func fill(_ text: [UInt8], iterationsMax: Int = PasswordEntry.iterationsMaxDefault) -> [PasswordFileError] {
    var errors: [PasswordFileError] = []
    let isGood = text.lend { table.fill(from: $0, iterationsMax: iterationsMax) { errors.append($0) } }
    #expect(isGood == errors.isEmpty)
    if !isGood { #expect(table.count == 0) }
    return errors
  }

  func fill(_ text: String, iterationsMax: Int = PasswordEntry.iterationsMaxDefault) -> [PasswordFileError] {
    fill([UInt8](text.utf8), iterationsMax: iterationsMax)
  }

  var names: [String] { (0..<table.count).map { String(decoding: table.name(at: $0).array(), as: UTF8.self) } }

  func find(_ name: String) -> PasswordEntry? { [UInt8](name.utf8).lend { table.find($0) } }

  func lets(_ name: String, _ password: String) -> Bool { find(name)?.matches(password) ?? false }
}

extension PasswordEntry {
  func matches(_ password: String) -> Bool { [UInt8](password.utf8).lend { matches($0) } }

  /// As it stands in a file behind the colon.
  var text: String {
    var text = Text()
    write(into: &text)
    return String(decoding: text.bytes, as: UTF8.self)
  }
}
