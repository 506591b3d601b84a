import Bounded
import MQTTBroker
import MQTTWire
import Taps

func utf8(_ text: String) -> [UInt8] { [UInt8](text.utf8) }

/// Lends a view of a text's bytes.
@discardableResult func withBytes<Answer>(_ text: String, _ body: (Bytes) -> Answer) -> Answer {
  utf8(text).withUnsafeBytes { body(Bytes($0)) }
}

func milliseconds(_ value: Int64) -> Int64 { value * 1_000_000 }
func seconds(_ value: Int64) -> Int64 { value * 1_000_000_000 }

// MARK: - Settings

/// Taps below `b`, all pins different.
func settings(_ change: (inout TapSettings) -> Void) -> TapSettings {
  var settings = TapSettings(base: utf8("b"))
  change(&settings)
  if let problem = settings.problem() { preconditionFailure("\(problem.place): \(problem.text)") }
  return settings
}

func output(_ name: String, _ change: (inout OutputSettings) -> Void = { _ in }) -> OutputSettings {
  var settings = OutputSettings(name: utf8(name), pin: LineAddress(line: utf8("pin-" + name)))
  change(&settings)
  return settings
}

func input(_ name: String) -> InputSettings {
  InputSettings(name: utf8(name), pin: LineAddress(line: utf8("pin-" + name)))
}

func counter(_ name: String) -> CounterSettings {
  CounterSettings(name: utf8(name), pin: LineAddress(line: utf8("pin-" + name)))
}

func level(_ name: String, _ change: (inout LevelSettings) -> Void = { _ in }) -> LevelSettings {
  var settings = LevelSettings(name: utf8(name), target: .led(name: utf8("led-" + name), trigger: []))
  change(&settings)
  return settings
}

func group(_ name: String, deadTimeMilliseconds: Int64 = 0, _ mode: OutputGroupSettings.Mode = .wait)
  -> OutputGroupSettings
{
  var group = OutputGroupSettings(name: utf8(name))
  group.deadTimeNanoseconds = milliseconds(deadTimeMilliseconds)
  group.mode = mode
  return group
}

/// - Parameter when: as in the configuration, `b/relay == ON`.
func rule(
  _ name: String, _ when: String, _ actions: [RuleAction] = [], publish topic: String? = nil, payload: String? = nil,
  _ change: (inout RuleSettings) -> Void = { _ in }
) -> RuleSettings {
  guard let when = RuleWhen(parsing: utf8(when)) else { preconditionFailure("\(when)") }
  var settings = RuleSettings(name: utf8(name), when: when)
  settings.actions = actions
  settings.message = topic.map { RuleMessage(topic: utf8($0), payload: payload.map { utf8($0) }) }
  change(&settings)
  return settings
}

func on(_ output: Int) -> RuleAction { .output(output, OutputCommand(.on)) }
func off(_ output: Int) -> RuleAction { .output(output, OutputCommand(.off)) }

/// 2^-32 of the full power on a straight scale; `level` is 0...10000.
func share(_ level: Int) -> UInt64 { LevelScale().share(of: level) }

extension Limits {
  /// The defaults, a tenth as large where it only costs the tests time.
  static var forTests: Limits {
    var limits = Limits()
    limits.connectionsMax = 32
    limits.pendingConnectionsMax = 16
    limits.sessionsMax = 48
    limits.topicNodesMax = 1023
    limits.subscriptionsMax = 128
    limits.messagesMax = 512
    limits.blockBytes = 256
    limits.blockCount = 2048
    limits.retainedMax = 256
    limits.deliveriesMax = 512
    return limits
  }
}
