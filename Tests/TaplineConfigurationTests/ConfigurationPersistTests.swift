import Bounded
import Taps
import Testing

@testable import TaplineConfiguration

@Suite("`persist`")
struct ConfigurationPersistTests {
  static func taps(_ text: String) -> String { "taps:\n  \(text)" }

  @Test func aPathOrAMapping() throws {
    #expect(try readConfiguration("").taps.persist == nil)
    var expected = PersistSettings(file: [UInt8]("/var/lib/x".utf8))
    #expect(try readConfiguration(Self.taps("persist: /var/lib/x")).taps.persist == expected)
    #expect(try readConfiguration(Self.taps("persist: {file: /var/lib/x}")).taps.persist == expected)
    #expect(expected.intervalNanoseconds == 60_000_000_000)
    expected.intervalNanoseconds = 300_000_000_000
    #expect(try readConfiguration(Self.taps("persist: {file: /var/lib/x, interval: 5m}")).taps.persist == expected)
  }

  @Test func restoreNeedsAFile() throws {
    let outputs = "outputs: {relay: {pin: GPIO1, initial: restore}}"
    let good = try readConfiguration(Self.taps("persist: /x\n  \(outputs)"))
    #expect(good.taps.outputs[0].initial == .restore)
    // The order in the file does not matter.
    #expect(errorLines([UInt8](Self.taps("\(outputs)\n  persist: /x").utf8)) == [])
    #expect(
      errorLines([UInt8](Self.taps(outputs).utf8)) == [
        "t.yaml:2:42: 'initial: restore' needs a file to restore from; expected 'persist: /var/lib/tapline/taps' in 'taps'"
      ])
  }

  static let wrong = [
    WrongCase(taps("persist: taps"), "t.yaml:2:12: 'persist' is 'taps'; expected a path that begins with /"),
    WrongCase(taps("persist:"), "t.yaml:2:3: 'persist' has no value; expected a path that begins with /"),
    WrongCase(taps("persist: []"), "t.yaml:2:12: 'persist' is a list; expected a path that begins with /"),
    WrongCase(
      taps("persist: /var/lib/"),
      "t.yaml:2:12: a state file's name ends with '/'; expected a file such as /var/lib/tapline/taps"),
    WrongCase(
      taps("persist: {}"),
      "t.yaml:2:12: 'persist' without a 'file'; expected such as {file: /var/lib/tapline/taps, interval: 60s}"),
    WrongCase(
      taps("persist: {fiel: /x}"),
      "t.yaml:2:12: 'persist' without a 'file'; "
        + "expected such as {file: /var/lib/tapline/taps, interval: 60s}",
      "t.yaml:2:13: unknown key 'fiel' in 'persist'; expected file or interval; did you mean 'file'?"),
    WrongCase(
      taps("persist: {file: /x, interval: 100ms}"),
      "t.yaml:2:33: 'interval' is '100ms'; expected a time such as 500ms, 2s, 5m or 1h, from 1s to 1d"),
  ]

  @Test(arguments: wrong) func wrongOnesAreTold(wrong: WrongCase) {
    #expect(errorLines([UInt8](wrong.yaml.utf8)) == wrong.errors)
  }
}
