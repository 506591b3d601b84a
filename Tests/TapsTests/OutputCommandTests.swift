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

@Suite struct JsonObjectTests {
  /// The members as text, or the error.
  func read(_ text: String) -> String { read([UInt8](text.utf8)) }

  func read(_ text: [UInt8]) -> String {
    withLent(text) { bytes in
      var found: [String] = []
      do throws(JsonError) {
        var reader = try JsonObjectReader(bytes)
        while let (key, value) = try reader.next() {
          switch value {
          case .string(let text): found.append("\(key.text)='\(text.text)'")
          case .number(let text): found.append("\(key.text)=\(text.text)")
          case .bool(let isTrue): found.append("\(key.text)=\(isTrue)")
          case .null: found.append("\(key.text)=null")
          }
        }
        return found.joined(separator: " ")
      } catch {
        return "\(error)"
      }
    }
  }

  @Test(arguments: [
    ("{}", ""), (" { } ", ""), ("{\"a\":1}", "a=1"), ("{\"a\":\"b\"}", "a='b'"), ("{\"\":\"\"}", "=''"),
    ("\t{ \"a\" : true ,\r\n\"b\":false,\"c\" : null}\n", "a=true b=false c=null"),
    ("{\"a\":-0.5e+10,\"b\":0,\"c\":10E2,\"d\":1e-9}", "a=-0.5e+10 b=0 c=10E2 d=1e-9"),
    ("{\"ü\":\"€😀\"}", "ü='€😀'"), ("{\"a\":1,\"a\":2}", "a=1 a=2"), ("{\"a\":\"\u{7F}\"}", "a='\u{7F}'"),
  ]) func isRead(text: String, expected: String) {
    #expect(read(text) == expected)
  }

  @Test(arguments: [
    "", " ", "{", "}", "{}{}", "{},", "[]", "1", "\"a\"", "null", "{a:1}", "{'a':1}", "{\"a\"}", "{\"a\":}", "{\"a\":1",
    "{\"a\":1,}", "{,}", "{\"a\" 1}", "{\"a\":1 \"b\":2}", "{\"a\":01}", "{\"a\":+1}", "{\"a\":.5}", "{\"a\":1.}",
    "{\"a\":1e}", "{\"a\":-}", "{\"a\":tru}", "{\"a\":truee}", "{\"a\":TRUE}", "{\"a\":nul}", "{\"a\":NaN}",
    "{\"a\":\"b}", "{\"a\":\"\n\"}", "{\"a\":\"\0\"}", "{\"a:1}", "{\"a\":1}x", "\u{FEFF}{}", "{\"a\":1}\0", "{1:2}",
    "{\"a\":\u{A0}1}", "/**/{}",
  ]) func isMalformed(text: String) {
    #expect(read(text) == "malformed")
  }

  @Test func whatNoCommandNeedsIsRefusedAsSuch() {
    #expect(read("{\"a\":{}}") == "nested")
    #expect(read("{\"a\":[1]}") == "nested")
    #expect(read("{\"a\":\"\\n\"}") == "escaped")
    #expect(read("{\"\\u0061\":1}") == "escaped")
    #expect(read([0x7B, 0x22, 0xFF, 0x22, 0x3A, 0x31, 0x7D]) == "malformed")  // §8.1: UTF-8
  }

  /// Cut short anywhere it is no object; nothing is read beyond its end.
  @Test func everyCutIsMalformed() {
    let whole = [UInt8]("{\"state\":\"ON\",\"for\":-1.5e3,\"x\":true,\"y\":null}".utf8)
    #expect(read(whole) == "state='ON' for=-1.5e3 x=true y=null")
    for count in 0..<whole.count { #expect(read(Array(whole[..<count])) == "malformed") }
  }

  @Test(arguments: 1...4 as ClosedRange<UInt64>) func randomTextNeverTraps(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let alphabet = [UInt8]("{}[]:,\"\\ab01.-+eE tfn\n\u{C3}\u{BC}".utf8) + [0, 0xFF]
    for _ in 0..<20_000 {
      let count = random.below(16)
      _ = read([0x7B] + (0..<count).map { _ in alphabet[random.below(alphabet.count)] })
    }
  }

  @Test func stringsAreEscaped() {
    let text = [UInt8]("a\"b\\c\u{01}\n\u{1F}ü".utf8)
    #expect(withLent(text) { text in written { $0.writeJsonString(text) } } == "\"a\\\"b\\\\c\\u0001\\u000a\\u001fü\"")
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
    ("{\"state\":{}}", "expected JSON without objects and lists inside"),
    ("{\"state\":\"\\u004fN\"}", "expected JSON without \\ in its texts"),
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
