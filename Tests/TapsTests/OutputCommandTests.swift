import Bounded
import MQTTWire
import Testing

@testable import Taps

@Suite struct DurationTextTests {
  static let good: [(String, Int64)] = [
    ("500ms", milliseconds(500)), ("1ms", milliseconds(1)), ("2s", seconds(2)), ("5m", seconds(300)),
    ("1h", seconds(3600)), ("7d", seconds(604_800)), ("1.5s", milliseconds(1500)), ("0.001s", milliseconds(1)),
    (" 2s ", seconds(2)), ("007s", seconds(7)), ("0.5h", seconds(1800)), ("604800s", seconds(604_800)),
    (".5s", milliseconds(500)), ("1.s", seconds(1)), ("1e3ms", seconds(1)), ("2.5E-1s", milliseconds(250)),
  ]

  @Test(arguments: good) func isUnderstood(text: String, nanoseconds: Int64) {
    #expect(withLent(text) { DurationText.parse($0, bare: .seconds) } == nanoseconds)
    #expect(withLent(text) { DurationText.parse($0, bare: .milliseconds) } == nanoseconds)
  }

  @Test func aBareNumberCountsWhatItsPlaceSays() {
    #expect(withLent("30") { DurationText.parse($0, bare: .seconds) } == seconds(30))
    #expect(withLent("30") { DurationText.parse($0, bare: .milliseconds) } == milliseconds(30))
    #expect(withLent("0.25") { DurationText.parse($0, bare: .seconds) } == milliseconds(250))
    #expect(withLent("1e3") { DurationText.parse($0, bare: .milliseconds) } == seconds(1))
  }

  @Test(arguments: [
    "", " ", "s", "ms", "0", "0s", "0ms", "-1s", "1es", "1e", "e3", "1e 3s", ".s", "1 s", "1S", "1sec", "1s2", "1m30s",
    "s1", "8d",
    "604801s", "0.0005s", "99999999999999999999s", "9223372036854775807h", "1w", "1\0", "NaN", "∞s",
  ]) func isNot(text: String) {
    #expect(withLent(text) { DurationText.parse($0, bare: .seconds) } == nil)
  }

  @Test func isWrittenRoundedUp() {
    let cases: [(Int64, String)] = [
      (0, "0 ms"), (1, "1 ms"), (999_000_000, "999 ms"), (seconds(1), "1 s"), (seconds(1) + 1, "2 s"),
      (seconds(44), "44 s"), (seconds(86_400), "86400 s"),
    ]
    for (value, text) in cases { #expect(written { DurationText.write(nanoseconds: value, into: &$0) } == text) }
  }
}

@Suite struct OutputCommandTests {
  func set(_ payload: String) -> String {
    withLent(payload) { payload in
      do throws(OutputCommandError) { return text(try OutputCommand(set: payload)) } catch { return text(error) }
    }
  }

  func pulse(_ payload: String, configured: Int64 = 0) -> String {
    withLent(payload) { payload in
      do throws(OutputCommandError) {
        return text(try OutputCommand(pulse: payload, configuredNanoseconds: configured))
      } catch {
        return text(error)
      }
    }
  }

  func text(_ command: OutputCommand) -> String {
    "\(command.level)" + (command.forNanoseconds.map { " \($0 / 1_000_000)" } ?? "")
  }

  func text(_ error: OutputCommandError) -> String {
    switch error {
    case .notUnderstood(let text): return "\(text)"
    case .unknownKey(let key): return "unknown key \(key.text)"
    }
  }

  @Test(arguments: [
    ("ON", "on"), ("toggle", "toggle"), ("{\"state\":\"ON\"}", "on"), ("{\"state\":\"off\"}", "off"),
    ("{\"state\":true}", "on"), ("{\"state\":0}", "off"), ("{\"state\":\"1\"}", "on"),
    ("{\"state\":\"Toggle\"}", "toggle"),
    ("{\"state\":\"ON\",\"for\":\"30s\"}", "on 30000"), (" {\"for\":30,\"state\":\"OFF\"} ", "off 30000"),
    ("{\"state\":\"ON\",\"for\":0.5}", "on 500"), ("{\"state\":\"ON\",\"for\":\"2\"}", "on 2000"),
    ("{\"state\":\"toggle\",\"for\":\"1h\"}", "toggle 3600000"), ("{\"state\":\"ON\",\"for\":2.5e+1}", "on 25000"),
    ("{\"state\":\"\\u004f\\u004E\"}", "on"), ("{\"st\\u0061te\":\"ON\",\"for\":\"3\\u0030s\"}", "on 30000"),
  ]) func setIsUnderstood(payload: String, expected: String) {
    #expect(set(payload) == expected)
  }

  static let state = "state: expected ON, OFF or TOGGLE"
  static let length = "for: expected 500ms, 2s, 5m, 1h or seconds, 1ms to 7d"
  static let json = "expected JSON: an object with its members"

  @Test(arguments: [
    ("{}", state), ("{\"for\":\"1s\"}", state), ("{\"state\":\"UP\"}", state), ("{\"state\":null}", state),
    ("{\"state\":2}", state), ("{\"state\":\"ON\",\"for\":\"soon\"}", length), ("{\"state\":\"ON\",\"for\":0}", length),
    ("{\"state\":\"ON\",\"for\":-1}", length), ("{\"state\":\"ON\",\"for\":true}", length),
    ("{\"state\":\"ON\",\"for\":1e9}", length), ("{\"state\":\"ON\",\"for\":\"8d\"}", length),
    ("{\"state\":\"ON\",\"state\":\"ON\"}", "a key is given twice"),
    ("{\"state\":\"ON\",\"form\":\"1s\"}", "unknown key form"), ("{\"level\":\"ON\"}", "unknown key level"),
    ("{\"state\":\"ON\"", json), ("{ON}", json), ("{\"form\":1", json),
    ("{\"state\":{}}", state), ("{\"state\":[\"ON\"]}", state), ("{\"state\":\"\\ud800\"}", state),
    ("{\"state\":{\"state\":\"ON\"}}", state), ("{\"state\":\"ON\",\"for\":[1]}", length),
    ("{\"state\":\"\(String(repeating: "\\n", count: 65))ON\"}", state),
    // A member that is misspelt may have been a `for`, so unknown ones are refused, nested or not.
    ("{\"state\":\"ON\",\"color\":{\"r\":1,\"for\":1}}", "unknown key color"),
    ("{\"state\":\"ON\",\"f\\u00fcr\":[]}", "unknown key f\\u00fcr"),
    ("{\"state\":\"ON\",\"color\":{\"r\":01}}", json), ("{\"state\":\"ON\",\"color\":{\"r\":1}", json),
    ("{\"state\":" + String(repeating: "[", count: 16), "expected JSON of at most 16 levels"),
    ("{\"state\":\"ON\",\"st\\u0061te\":\"ON\"}", "a key is given twice"),
    ("{\"state\":\"ON\"" + String(repeating: " ", count: 250) + "}", "expected at most 256 bytes"),
  ]) func setIsNot(payload: String, expected: String) {
    #expect(set(payload) == expected)
  }

  @Test(arguments: [
    ("500", "on 500"), ("1", "on 1"), ("250ms", "on 250"), ("2s", "on 2000"), (" 10 \n", "on 10"), ("", "on 400"),
    (" ", "on 400"), ("{}", "on 400"), ("{\"level\":\"OFF\"}", "off 400"), ("{\"for\":\"500ms\"}", "on 500"),
    ("{\"for\":2,\"level\":\"off\"}", "off 2000"), ("{\"for\":\"1m\",\"level\":\"ON\"}", "on 60000"),
  ]) func pulseIsUnderstood(payload: String, expected: String) {
    #expect(pulse(payload, configured: milliseconds(400)) == expected)
  }

  static let number = "expected milliseconds or {\"for\":\"500ms\"}, 1ms to 7d"

  @Test(arguments: [
    ("", "no pulse is configured: expected milliseconds"), ("{}", "no pulse is configured: expected milliseconds"),
    ("0", number), ("-5", number), ("ON", number), ("five", number), ("604800001", number),
    (String(repeating: "0", count: 300), number), ("{\"level\":\"TOGGLE\",\"for\":1}", "level: expected ON or OFF"),
    ("{\"state\":\"ON\",\"for\":1}", "unknown key state"), ("{\"for\":\"x\"}", length),
  ]) func pulseIsNot(payload: String, expected: String) {
    #expect(pulse(payload) == expected)
  }

  @Test func anUnknownKeyIsNamedInUTF8WithoutControlCharacters() {
    let world = OutputWorld([output("relay")])
    #expect(world.set("relay", "{\"tür\":1}") == "153: unknown key tür")
    #expect(world.set("relay", "{\"a\u{7F}b\":1}") == "153: unknown key a?b")
    let long = String(repeating: "ü", count: 60)
    #expect(world.set("relay", "{\"\(long)\":1}") == "153: unknown key \(long.prefix(32))")
    #expect(world.table.outputs[0].refusedCount == 3)
  }

  @Test func answersForAResponseTopic() {
    #expect(written { OutputAnswer.write(state: true, into: &$0) } == "{\"ok\":true,\"state\":\"ON\"}")
    #expect(written { OutputAnswer.write(state: false, into: &$0) } == "{\"ok\":true,\"state\":\"OFF\"}")
    #expect(
      written { OutputAnswer.write(refusal: Bytes("unknown key \"a\\b\""), into: &$0) }
        == "{\"ok\":false,\"reason\":\"unknown key \\\"a\\\\b\\\"\"}")
  }
}
