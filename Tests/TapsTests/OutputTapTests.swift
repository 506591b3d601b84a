import Bounded
import MQTTWire
import Testing

@testable import Taps

@Suite struct OutputTapTests {
  let table = board(outputs: [output("relay")])
  let now = Instant(nanoseconds: 0)

  func answer(_ payload: String) -> String { answer([UInt8](payload.utf8)) }

  func answer(_ payload: [UInt8]) -> String {
    withLent(payload) { bytes in
      switch table.setReceived(output: 0, bytes, by: Bytes("me"), at: now) {
      case .set(let sets): return sets[0].active ? "set on" : "set off"
      case .refuse(let code, let text): return "\(code.rawValue): \(text.text)"
      }
    }
  }

  func heal(active: Bool) -> [String] {
    messages(table.lineHealed(output: 0, active: active, at: now.moment))
  }

  func fail(_ reason: Bytes) -> [String] {
    messages(table.lineFailed(output: 0, reason, at: now.moment))
  }

  func set(active: Bool, wallNanoseconds: Int64 = 0, by: Bytes = .empty) -> TapUpdate {
    table.lineSet(LineSet(output: 0, active: active, by: by), at: Moment(at: now, wallNanoseconds: wallNanoseconds))
  }

  static let notUnderstood = "153: expected ON, OFF, TOGGLE, 1, 0, true or false"

  @Test(arguments: [
    ("ON", "set on"), ("on", "set on"), ("On", "set on"), ("oN", "set on"), ("1", "set on"), ("true", "set on"),
    ("TRUE", "set on"), ("True", "set on"), ("OFF", "set off"), ("off", "set off"), ("oFf", "set off"),
    ("0", "set off"), ("false", "set off"), ("FALSE", "set off"), ("TOGGLE", "set on"), ("toggle", "set on"),
    ("Toggle", "set on"), (" ON", "set on"), ("ON ", "set on"), ("\tON\r\n", "set on"), ("\n\n off \n", "set off"),
    ("\u{0B}1\u{0C}", "set on"),
  ]) func commandIsUnderstood(payload: String, expected: String) {
    _ = heal(active: false)
    #expect(answer(payload) == expected)
    #expect(table.outputs[0].refusedCount == 0)
  }

  @Test(arguments: [
    "", " ", "\n", "O", "O N", "ONN", "ON\0", "\0ON", "ON.", "OF", "OFFF", "2", "-1", "+1", "00", "01", "1.0", "10",
    "tru", "truee", "yes", "no", "T", "TOGGL", "TOGGLED", "\"ON\"", "ON OFF", "ON,OFF", "ÖN",
    "ON\u{A0}", "ON\u{0E}", "\u{08}ON", "ON\u{1F}", "ON!", "\u{FEFF}ON", "ＯＮ", "@N", "`ff", "o\u{0E}", "oF&", "\u{11}",
  ]) func neighbourOfACommandIsNot(payload: String) {
    _ = heal(active: false)
    #expect(answer(payload) == OutputTapTests.notUnderstood)
    #expect(table.outputs[0].state == .driven(active: false))
    #expect(table.outputs[0].refusedCount == 1)
  }

  /// Each byte of each command with each other value: understood exactly if it is the other case, or makes
  /// another word, or is whitespace at an end that leaves a word.
  @Test func oneChangedByteIsNotUnderstood() {
    _ = heal(active: false)
    let words = ["on", "off", "toggle", "1", "0", "true", "false"]
    for word in words {
      for index in word.utf8.indices.enumerated().map({ $0.offset }) {
        for value in UInt8.min...UInt8.max {
          var payload = [UInt8](word.utf8)
          payload[index] = value
          let lowered = payload.map { (65...90).contains($0) ? $0 + 32 : $0 }
          let blanks: [UInt8] = [9, 10, 11, 12, 13, 32]
          let trimmed = lowered.drop { blanks.contains($0) }.reversed().drop { blanks.contains($0) }.reversed()
          let isWord = words.contains { [UInt8]($0.utf8) == Array(trimmed) }
          check(!answer(payload).hasPrefix("153: expected ") == isWord, "\(payload)")
        }
      }
    }
  }

  @Test func topics() {
    #expect(table.outputs[0].stateTopic.text == "home/cellar/relay")
    #expect(table.outputs[0].commandTopic.text == "home/cellar/relay/set")
    #expect(table.outputs[0].pulseTopic.text == "home/cellar/relay/pulse")
    #expect(table.outputs[0].statsTopic.isEmpty)
    #expect(table.outputs[0].faultTopic.text == "home/cellar/relay/fault")
  }

  @Test func toggleIsTheOppositeOfWhatTheLineHas() {
    _ = heal(active: false)
    #expect(answer("TOGGLE") == "set on")
    #expect(answer("TOGGLE") == "set on")  // nothing was set yet
    _ = set(active: true)
    #expect(answer("TOGGLE") == "set off")
  }

  @Test func everySetIsPublishedWithItsCause() throws {
    #expect(heal(active: false) == ["home/cellar/relay=OFF"])
    let client = StaticString("thermostat")
    let update = set(active: true, wallNanoseconds: 1_000, by: Bytes(client))
    #expect(messages(update) == ["home/cellar/relay=ON"])
    let state = try #require(update.state)
    #expect(state.retain)
    #expect(try userProperties(state) == ["ts=1970-01-01T00:00:00.000001Z", "by=thermostat"])
    #expect(messages(set(active: true)) == ["home/cellar/relay=ON"])
  }

  @Test func beforeItsRequestALineTakesNoCommand() {
    #expect(answer("ON") == "131: line is not requested yet")
    #expect(answer("nonsense") == OutputTapTests.notUnderstood)
  }

  @Test func faultIsPublishedOnceNamedInTheAnswerAndCleared() {
    let busy = StaticString("line GPIO17 busy: held by spi0 CS0")
    #expect(fail(Bytes(busy)) == ["home/cellar/relay/fault=\(busy)"])
    #expect(fail(Bytes(busy)) == [])
    #expect(answer("ON") == "131: \(busy)")
    #expect(answer("nonsense") == OutputTapTests.notUnderstood)
    #expect(table.outputs[0].faultText.text == "\(busy)")
    #expect(
      fail(Bytes("line GPIO17 is gone"))
        == ["home/cellar/relay/fault=line GPIO17 is gone"])
    #expect(
      heal(active: false)
        == ["home/cellar/relay/fault=", "home/cellar/relay=OFF"])
    #expect(table.outputs[0].faultText.isEmpty)
    // The same text again is news after it was cleared.
    #expect(
      fail(Bytes("line GPIO17 is gone"))
        == ["home/cellar/relay/fault=line GPIO17 is gone"])
  }

  @Test func lineIsRequestedAgainWithWhatItHadLast() {
    let world = OutputWorld([output("pump") { $0.initial = .on }])
    #expect(world.isOn("pump"))
    world.set("pump", "OFF")
    world.isBroken[0] = true
    #expect(world.set("pump", "ON") == "131: broken")
    world.isBroken[0] = false
    world.open(0)
    #expect(!world.isOn("pump"))
  }

  /// A Reason String and a payload with Payload Format Indicator 1 must be UTF-8, whatever the kernel's names hold.
  @Test(
    arguments: [
      ([0x61, 0x0A, 0x62, 0x00, 0x7F], "a?b??"), ([0x61, 0xFF, 0xC3], "a??"), ([0xC3, 0xBC], "ü"), ([], "fault"),
    ] as [([UInt8], String)]) func faultTextIsUTF8(reason: [UInt8], expected: String)
  {
    let text = withLent(reason) { fail($0) }
    #expect(text == ["home/cellar/relay/fault=\(expected)"])
  }

  @Test func faultTextIsCutBetweenCharacters() {
    for padding in 90...97 {
      let reason = [UInt8](repeating: 0x61, count: padding) + [UInt8]("€€€".utf8)
      _ = withLent(reason) { fail($0) }
      let text = table.outputs[0].faultText.text
      #expect(String(decoding: reason, as: UTF8.self).hasPrefix(text))
      #expect(text.utf8.count <= 96 && text.utf8.count > 93)
    }
  }
}
