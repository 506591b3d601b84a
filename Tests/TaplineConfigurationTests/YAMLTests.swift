import Bounded
import CYAML
import Testing

/// What libyaml says about a text: one line an event, `line:column kind text`.
func events(_ yaml: String) -> [String] {
  [UInt8](yaml.utf8).withUnsafeBytes { yaml in
    let parser = cyaml_open(yaml.baseAddress, Int64(yaml.count))
    defer { cyaml_close(parser) }
    var lines: [String] = []
    var event = cyaml_event()
    repeat {
      let content =
        cyaml_next(parser, &event) >= 0 && event.count > 0
        ? String(decoding: Bytes(event.text!, count: Int(event.count)).array(), as: UTF8.self) : ""
      let kinds = ["end", event.quoted != 0 ? "quoted" : "plain", "{", "}", "[", "]", "alias", "error"]
      let marks = (event.anchored != 0 ? "&" : "") + (event.tagged != 0 ? "!" : "")
      lines.append(
        "\(event.line):\(event.column) \(kinds[Int(event.type)])\(marks)" + (content.isEmpty ? "" : " " + content))
    } while event.type != Int32(CYAML_STREAM_END) && event.type != Int32(CYAML_ERROR) && lines.count < 100
    let last = event.type
    #expect(cyaml_next(parser, &event) == last)  // the end is repeated
    return lines
  }
}

@Suite struct YAMLTests {
  @Test func eventsHavePositions() {
    #expect(
      events("taps:\n  outputs:\n    relay: {pin: GPIO17, 'active': \"low\"}\nlist:\n- 1\n- |\n  two\n") == [
        "1:1 {", "1:1 plain taps", "2:3 {", "2:3 plain outputs", "3:5 {", "3:5 plain relay", "3:12 {",
        "3:13 plain pin",
        "3:18 plain GPIO17", "3:26 quoted active", "3:36 quoted low", "3:41 }", "4:1 }", "4:1 }", "4:1 plain list",
        "5:1 [",
        "5:3 plain 1", "6:3 quoted two\n", "8:1 ]", "8:1 }", "8:1 end",
      ])
  }

  @Test func onAndYesStayText() {
    #expect(
      events("a: ON\nb: yes\nc: ~\nd:\n").filter { $0.contains("plain") }.map {
        $0.split(separator: " ", maxSplits: 2).last!
      }
        == ["a", "ON", "b", "yes", "c", "~", "d", "plain"])
  }

  @Test func columnsCountCharacters() {
    #expect(events("é: ü\n")[2] == "1:4 plain ü")
  }

  @Test func aliasesAnchorsAndTagsShow() {
    #expect(
      events("a: &x !!str 1\nb: *x\n") == [
        "1:1 {", "1:1 plain a", "1:4 plain&! 1", "2:1 plain b", "2:4 alias x", "3:1 }", "3:1 end",
      ])
  }

  @Test func anEmptyTextIsOnlyItsEnd() { #expect(events("") == ["1:1 end"]) }

  @Test(arguments: [
    ("a: [1, 2\nb: 3\n", "2:2 error did not find expected ',' or ']'"),
    ("a: b: c\n", "1:5 error mapping values are not allowed in this context"),
    ("\ta: 1\n", "1:1 error found character that cannot start any token"),
    ("a: 1\n---\nb: 2\n", "2:1 error a second document"),
    ("a: \"x\n", "2:1 error found unexpected end of stream"),
  ])
  func errorsHavePositions(yaml: String, last: String) { #expect(events(yaml).last == last) }

  @Test func bytesThatAreNoUTF8AreAnError() {
    let bytes: [UInt8] = [0x61, 0x3A, 0x20, 0xFF, 0x0A]
    bytes.withUnsafeBytes { bytes in
      let parser = cyaml_open(bytes.baseAddress, Int64(bytes.count))
      defer { cyaml_close(parser) }
      var event = cyaml_event()
      while cyaml_next(parser, &event) != CYAML_ERROR && event.type != Int32(CYAML_STREAM_END) {}
      #expect(event.type == Int32(CYAML_ERROR) && event.line == 1)
    }
  }
}
