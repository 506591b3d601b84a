import Foundation
import Testing

/// A wrong configuration and everything that is printed about it.
struct WrongCase: Sendable, CustomTestStringConvertible {
  let yaml: String
  let errors: [String]

  init(_ yaml: String, _ errors: String...) { self.init(yaml, list: errors) }

  init(_ yaml: String, list errors: [String]) {
    self.yaml = yaml
    self.errors = errors
  }

  var testDescription: String { yaml.replacingOccurrences(of: "\n", with: "⏎") }
}

/// `settings` as one tap's settings, in one line under `taps:`.
func output(_ settings: String) -> String { "taps:\n  outputs:\n    relay: {\(settings)}" }
func input(_ settings: String) -> String { "taps:\n  inputs:\n    bell: {\(settings)}" }
func counter(_ settings: String) -> String { "taps:\n  counters:\n    gas: {\(settings)}" }
func sensor(_ settings: String) -> String { "taps:\n  sensors:\n    air: {\(settings)}" }
