import Bounded
import MQTTWire
import TaplineConfiguration
import Taps

@testable import MQTTBroker
@testable import Tapline

/// Makes what a reservation gives memory to, in memory that is never given back.
func reserved<Made: ~Copyable>(_ make: (inout Reservation) -> Made) -> Made {
  var counting = Reservation.counting()
  _ = make(&counting)
  var reservation = Reservation(region: .zeroed(max(64, counting.byteCount)))
  return make(&reservation)
}

func lent<Answer>(_ text: String, _ body: (Bytes) throws -> Answer) rethrows -> Answer {
  try Array(text.utf8).withUnsafeBytes { try body(Bytes($0)) }
}

func plain(_ bytes: Bytes) -> String { String(decoding: bytes.array(), as: UTF8.self) }

extension UserSettings {
  /// Users with their passwords, and rules as `(subject, access, filter)`.
  init(
    passwords: [(name: String, password: String)]? = nil, rules: [UserRule]? = nil,
    unix: [(uid: UInt32, name: String)] = [], logins: Int = 4, perAddress: Int = 2, users: Int = 8
  ) {
    self.init()
    if let passwords {
      passwordFile = [UInt8]("/passwd".utf8)
      var file = Text()
      for (name, password) in passwords {
        file.add([UInt8]("\(name):".utf8))
        lent(password) { PasswordEntry(password: $0, salt: Bytes("salt"), iterations: 1) }.write(into: &file)
        file.endLine()
      }
      self.passwords = file.bytes
      passwordCount = passwords.count
    }
    hasRules = rules != nil
    self.rules = rules ?? []
    unixUsers = unix.map { UnixUser(uid: $0.uid, name: [UInt8]($0.name.utf8)) }
    sizes.users = users
    sizes.nameBytes = 16
    sizes.roles = 4
    sizes.unixUsers = 4
    sizes.logins = logins
    sizes.loginsPerAddress = perAddress
    sizes.access = AccessSizes(rules: 8, levels: 32, nameBytes: 256, userNameBytes: 16)
  }
}

func rule(_ user: String, _ filter: String) -> UserRule {
  UserRule(.user([UInt8](user.utf8)), .readWrite, [UInt8](filter.utf8))
}
