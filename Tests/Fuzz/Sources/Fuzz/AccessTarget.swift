import Bounded
import Glibc
import MQTTBroker
import MQTTWire
import Tapline
import TaplineConfiguration
import Taps

/// Any bytes as an ACL file, by way of a configuration's `acl_file` in memory: it is refused with errors that name its
/// lines, or every rule is a filter that a table of the size that is asked for takes.
func fuzzAccess(_ input: inout Input) {
  let file = input.rest()
  switch AccessFiles.read(file, nameBytesMax: 16) {
  case .failure(let errors):
    check(!errors.list.isEmpty && errors.list.count <= ConfigurationErrors.listMax, "\(errors.list.count) errors")
    let lineCount = 1 + file.count { $0 == 10 }
    for error in errors.list {
      check(!error.text.isEmpty && !error.text.contains { $0 < 32 }, "control characters")
      guard let place = error.place else { continue }
      check(
        (1...lineCount).contains(place.line) && place.column <= file.count + 1, "line \(place.line) of \(lineCount)")
    }
  case .success(let rules):
    check(rules.count <= 1 + file.count { $0 == 10 }, "\(rules.count) rules")
    var users = UserSettings()
    users.hasRules = true
    users.rules = rules
    users.fitToRules()
    let sizes = users.sizes.access
    var counting = Reservation.counting()
    _ = AccessRules(sizes: sizes, in: &counting)
    guard let memory = aligned_alloc(Reservation.alignment, counting.byteCount) else { return }
    defer { free(memory) }
    memset(memory, 0, counting.byteCount)
    var reservation = Reservation(region: UnsafeMutableRawBufferPointer(start: memory, count: counting.byteCount))
    var table = AccessRules(sizes: sizes, in: &reservation)
    table.clear()
    for rule in rules {
      check(withLent(rule.filter) { Topic.isValidFilter($0) }, "no filter: \(rule.filter.hex)")
      if case .user(let name) = rule.subject { check((1...16).contains(name.count), "a name of \(name.count) bytes") }
      let isAdded = withLent(rule.filter) { filter in
        do throws(RuleProblem) {
          try table.add(.everybody, rule.access, filter: filter)
          return true
        } catch {
          return false
        }
      }
      check(isAdded, "no room for a rule")
    }
  }
}
