import Bounded
import MQTTWire
import Taps
import Testing

@Suite struct TapPatternTests {
  func filter(_ pattern: TapPattern) -> String { written(capacity: 70_000) { pattern.writeFilter(into: &$0) } }

  /// pattern, filter, topic, captures as "name=value" in order, "#=rest"; nil: no match
  static let matches: [(String, String, String, [String]?)] = [
    ("sensors/{room}/temperature", "sensors/+/temperature", "sensors/kitchen/temperature", ["room=kitchen"]),
    ("sensors/{room}/temperature", "sensors/+/temperature", "sensors//temperature", ["room="]),
    ("sensors/{room}/temperature", "sensors/+/temperature", "sensors/a/b/temperature", nil),
    ("sensors/{room}/temperature", "sensors/+/temperature", "sensors/a/temperature/", nil),
    ("sensors/{room}/temperature", "sensors/+/temperature", "sensors/temperature", nil),
    ("sensors/{room}/temperature", "sensors/+/temperature", "/sensors/a/temperature", nil),
    ("{a}", "+", "x", ["a=x"]),
    ("{a}", "+", "x/y", nil),
    ("{a}", "+", "$SYS", nil),
    ("{a}/#", "+/#", "$SYS/uptime", nil),
    ("+/x", "+/x", "$SYS/x", nil),
    ("#", "#", "$SYS/x", nil),
    ("#", "#", "a/b", ["#=a/b"]),
    ("$SYS/{what}", "$SYS/+", "$SYS/uptime", ["what=uptime"]),
    ("{a}/{b}", "+/+", "/", ["a=", "b="]),
    ("/{a}", "/+", "/x", ["a=x"]),
    ("{a}/", "+/", "x/", ["a=x"]),
    ("+/{b}", "+/+", "x/y", ["b=y"]),
    ("a/{b}/#", "a/+/#", "a/b", ["b=b"]),
    ("a/{b}/#", "a/+/#", "a/b/", ["b=b"]),
    ("a/{b}/#", "a/+/#", "a/b/c/d", ["b=b", "#=c/d"]),
    ("a/{b}/#", "a/+/#", "a", nil),
    ("plain/topic", "plain/topic", "plain/topic", []),
    ("plain/topic", "plain/topic", "plain/topics", nil),
    (
      "{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}", "+/+/+/+/+/+/+/+", "1/2/3/4/5/6/7/8",
      ["a=1", "b=2", "c=3", "d=4", "e=5", "f=6", "g=7", "h=8"]
    ),
    ("küche/{Raum_1-b}", "küche/+", "küche/größe", ["Raum_1-b=größe"]),
  ]

  @Test(arguments: matches)
  func capturesAndFilter(text: String, filterText: String, topic: String, expected: [String]?) throws {
    try withLent(text) { text in
      let pattern = try TapPattern(text)
      #expect(filter(pattern) == filterText)
      withLent(topic) { topic in
        let captures = pattern.captures(of: topic)
        #expect((captures == nil) == (expected == nil))
        // The filter means the same to the broker.
        withLent(filterText) { #expect(Topic.matches(filter: $0, name: topic) == (expected != nil)) }
        guard let captures, let expected else { return }
        for each in expected {
          let parts = each.split(separator: "=", omittingEmptySubsequences: false).map(String.init)
          if parts[0] == "#" {
            #expect(captures.rest.text == parts[1])
          } else {
            withLent(parts[0]) { #expect(captures[$0]?.text == parts[1]) }
          }
        }
        #expect(captures.count == expected.filter { !$0.hasPrefix("#") }.count)
        if !expected.contains(where: { $0.hasPrefix("#") }) { #expect(captures.rest.isEmpty) }
      }
    }
  }

  @Test func aLiteralIsAskedByLiteral() throws {
    let pattern = try TapPattern("sensors/{room}/{what}")
    withLent("sensors/attic/humidity") { topic in
      let captures = pattern.captures(of: topic)
      #expect(captures?["room"]?.text == "attic")
      #expect(captures?["what"]?.text == "humidity")
      #expect(captures?["roo"] == nil)
      #expect(captures?["rooms"] == nil)
    }
  }

  @Test(
    arguments: [
      ("", .empty), ("a\0", .notUTF8), ("$share/g/a", .shared), ("a/b+", .wildcardNotAlone),
      ("+a", .wildcardNotAlone), ("a#", .wildcardNotAlone), ("##", .wildcardNotAlone), ("{a+}", .wildcardNotAlone),
      ("#/a", .hashNotLast), ("a/#/", .hashNotLast), ("#/#", .hashNotLast), ("{}", .nameEmpty), ("a/{}/b", .nameEmpty),
      ("{a}b", .nameNotAlone), ("b{a}", .nameNotAlone), ("{a", .nameNotAlone), ("a}", .nameNotAlone),
      ("{", .nameNotAlone), ("}", .nameNotAlone), ("}{", .nameNotAlone), ("{a/b}", .nameNotAlone),
      ("{a b}", .nameCharacter), ("{a{b}}", .nameCharacter), ("{größe}", .nameCharacter), ("{a}/{a}", .nameTwice),
      ("{a}/{b}/{a}", .nameTwice), ("1/{1}/{2}/{3}/{4}/{5}/{6}/{7}/{8}/{9}", .tooManyNames),
    ] as [(String, TapPatternError)]) func errors(text: String, expected: TapPatternError)
  {
    withLent(text) { text in
      #expect(throws: expected) { try TapPattern(text) }
    }
    #expect(!Bytes(expected.text).isEmpty)
  }

  @Test func lengthAndEncoding() {
    withLent([UInt8](repeating: 0x61, count: 65_535)) { text in #expect(throws: Never.self) { try TapPattern(text) } }
    withLent([UInt8](repeating: 0x61, count: 65_536)) { text in
      #expect(throws: TapPatternError.tooLong) { try TapPattern(text) }
    }
    withLent([0x61, 0xFF]) { text in #expect(throws: TapPatternError.notUTF8) { try TapPattern(text) } }
  }

  /// Random texts of a small alphabet: whatever is accepted is a valid filter that matches as the broker does.
  @Test(arguments: [1, 2, 3, 4] as [UInt64]) func agreesWithTheBroker(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let pieces = ["a", "b", "/", "/", "/", "{x}", "{y}", "+", "#", "$", "{", "}"]
    func text(of count: Int) -> String { (0..<count).map { _ in pieces[random.below(pieces.count)] }.joined() }
    var accepted = 0
    for _ in 0..<20_000 {
      withLent(text(of: 1 + random.below(7))) { bytes in
        guard let pattern = try? TapPattern(bytes) else { return }
        accepted += 1
        withLent(filter(pattern)) { filter in
          check(Topic.isValidFilter(filter), bytes.text)
          let name = (0..<(1 + random.below(6))).map { _ in ["a", "b", "/", "/", "$"][random.below(5)] }.joined()
          withLent(name) { topic in
            let matches = Topic.matches(filter: filter, name: topic)
            check((pattern.captures(of: topic) != nil) == matches, "\(bytes.text) \(name)")
          }
        }
      }
    }
    #expect(accepted > 1_000)
  }
}
